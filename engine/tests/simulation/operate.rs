//! What operators, clocks and disks do meanwhile.

use std::time::Duration;

use tidegate_engine::store::faulty::{End, Fault};
use tidegate_engine::{Durability, Retention, TopicConfig};

use crate::checker::{Sure, Verdict};
use crate::world::{DEAD, JOBS, Waiting, World};

impl World {
    fn random_topic(&mut self) -> TopicConfig {
        let durability = *self
            .random
            .pick(&[Durability::Fsync, Durability::Fsync, Durability::PageCache, Durability::Memory])
            .unwrap();
        let mut retention = Retention { time: None, ..Retention::default() };
        match self.random.below(8) {
            0 => retention.time = Some(Duration::from_secs(1 + self.random.below(300))),
            1 => retention.bytes = Some(self.random.below(50_000)),
            2 => retention.until_acknowledged = true,
            3 => retention.compact = true,
            _ => {}
        }
        TopicConfig { durability, retention, ..TopicConfig::default() }
    }

    /// A topic comes, grows or goes.
    pub fn change_topics(&mut self) -> Verdict {
        match self.random.below(4) {
            0 | 1 => {
                let name = format!("t{}", self.random.below(5));
                if self.engine.topic("default", &name).is_some() {
                    return Ok(());
                }
                let partitions = 1 + self.random.below(3) as u32;
                let config = self.random_topic();
                self.create_topic(&name, partitions, config)
            }
            2 => self.grow_topic(),
            _ => self.delete_topic(),
        }
    }

    fn grow_topic(&mut self) -> Verdict {
        let Some(topic) = self.some_topic(|topic| topic.name.name() != DEAD && topic.partitions.len() < 4) else {
            return Ok(());
        };
        let partitions = topic.partitions.len() as u32 + 1;
        self.checker.note(format!("grow {:?} to {partitions}", topic.name));
        match self.engine.grow_topic(&topic.name, partitions) {
            Ok((topic, commit)) => {
                self.checker.topic_grown(topic.id, &topic.partitions)?;
                self.wait(commit, Waiting::Topic { id: topic.id, partitions: topic.partitions.len() });
                Ok(())
            }
            Err(error) => self.expected("grow topic", &error),
        }
    }

    fn delete_topic(&mut self) -> Verdict {
        let lasting = |name: &str| name == DEAD || JOBS.contains(&name);
        let Some(topic) = self.some_topic(|topic| !lasting(topic.name.name())) else { return Ok(()) };
        self.checker.note(format!("delete {:?}", topic.name));
        match self.engine.delete_topic(&topic.name) {
            Ok(commit) => {
                self.checker.topic_is(topic.id, Sure::Maybe);
                self.wait(commit, Waiting::Deletion(topic.id));
                Ok(())
            }
            Err(error) => self.expected("delete topic", &error),
        }
    }

    /// Somebody removes the first records of a partition.
    pub fn remove_records(&mut self) -> Verdict {
        let lasting = |name: &str| name == DEAD || JOBS.contains(&name);
        let Some(topic) = self.some_topic(|topic| !lasting(topic.name.name())) else { return Ok(()) };
        let Some(&partition) = self.random.pick(&topic.partitions) else { return Ok(()) };
        let Ok(info) = self.engine.partition(partition) else { return Ok(()) };
        let below = info.log_start + self.random.below(info.high_watermark - info.log_start + 1);
        self.checker.note(format!("remove {partition} below {below}"));
        self.checker.removal_asked(partition, below);
        match self.engine.delete_records(partition, Some(below)) {
            Ok((_, commit)) => {
                self.wait(commit, Waiting::Nothing);
                Ok(())
            }
            Err(error) => self.expected("delete records", &error),
        }
    }

    /// Retention, timers, snapshots, reclaim.
    pub fn maintain(&mut self) -> Verdict {
        self.checker.note("maintain");
        // What maintenance could not do it tries again; the promises are checked all the same.
        let _ = self.engine.maintain();
        Ok(())
    }

    /// Time passes; now and then somebody sets the date.
    pub fn pass_time(&mut self) {
        if self.random.chance(6) {
            let by = self.random.below(1_200_000) as i64 - 600_000;
            self.checker.note(format!("the date moves by {by} ms"));
            self.clock.jump(by);
            self.checker.date_moved(by);
        }
        let by = Duration::from_millis(self.random.below(8_000));
        self.advance(by);
    }

    /// A call of the storage some way ahead will fail.
    pub fn plan_fault(&mut self) {
        let kinds = [Fault::Crash, Fault::Crash, Fault::Crash, Fault::Device, Fault::Full];
        let fault = *self.random.pick(&kinds).unwrap();
        let calls = self.random.below(60);
        self.checker.note(format!("{fault:?} planned {calls} calls from now"));
        self.store.inject(calls, fault);
    }

    /// The disk is as full as it is, or has room again.
    pub fn fill_or_free(&mut self) -> Verdict {
        if !self.full {
            let room = self.random.below(3 * self.config.segment_bytes);
            self.checker.note(format!("the disk has {room} bytes left"));
            self.store.set_capacity(self.store.used() + room);
            self.full = true;
            return Ok(());
        }
        self.checker.note("the disk has room again");
        self.enlarge();
        if self.undisturbed() && !self.poisoned { self.publishing_resumes() } else { Ok(()) }
    }

    /// With room again, everything that waited is answered and publishing works, without a restart.
    fn publishing_resumes(&mut self) -> Verdict {
        for _ in 0..5 {
            self.advance(Duration::from_secs(2));
            self.maintain()?;
            self.turn()?;
        }
        if !self.undisturbed() {
            return Ok(());
        }
        if !self.waiting.is_empty() {
            return Err(format!("with room again, never answered: {:?}", self.waiting_for()));
        }
        self.publish_plain()?;
        for _ in 0..5 {
            self.turn()?;
        }
        if self.waiting.is_empty() || !self.undisturbed() { Ok(()) } else { Err("publishing does not resume".into()) }
    }

    /// Stops in order and starts again.
    pub fn close_and_reopen(&mut self) -> Verdict {
        self.checker.note("close");
        self.closing = true;
        let engine = self.engine.clone();
        let closed = self.drive(Box::pin(async move { engine.close().await }))?;
        self.take_answers()?;
        if let Some(Err(error)) = closed {
            self.expected("close", &error)?;
        }
        self.restart(End::Process)
    }
}
