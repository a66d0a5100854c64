//! Consumers of every kind: by offset, assigned, shared.

use std::time::Duration;

use tidegate_engine::group::{ConsumerId, LeaseId, LeaseRequest, OffsetCommit, Settlement};
use tidegate_engine::store::Clock;
use tidegate_engine::{Error, GroupName, PartitionId};

use crate::checker::{Delivered, Settled, SharedRules, Verdict};
use crate::value;
use crate::world::{DEAD, JOBS, Waiting, World, group_name};

/// A lease some consumer has not settled yet. It may have run out.
#[derive(Debug, Clone)]
pub struct Held {
    pub group: GroupName,
    pub consumer: ConsumerId,
    pub lease: LeaseId,
}

impl World {
    // ---- by offset ----------------------------------------------------------------------------------------------

    /// Reads somewhere.
    pub fn read_somewhere(&mut self) -> Verdict {
        let Some(topic) = self.some_topic(|_| true) else { return Ok(()) };
        let Some(&partition) = self.random.pick(&topic.partitions) else { return Ok(()) };
        let info = self.engine.partition(partition).map_err(|e| format!("partition {partition}: {e}"))?;
        let from = info.log_start + self.random.below(info.high_watermark - info.log_start + 1);
        let max_bytes = 1 + self.random.index(20_000);
        self.checker.note(format!("read {partition} from {from} of {}..{}", info.log_start, info.high_watermark));
        let Some((records, _, bounds)) = self.read(partition, from, max_bytes)? else { return Ok(()) };
        self.checker.read(partition, from, &records, bounds)
    }

    /// Past the end there is an error and not an empty answer.
    pub fn read_outside(&mut self) -> Verdict {
        let Some((partition, _)) = self.some_partition() else { return Ok(()) };
        let Ok(info) = self.engine.partition(partition) else { return Ok(()) };
        let engine = self.engine.clone();
        let beyond = info.high_watermark + 1 + self.random.below(10);
        match self.drive(Box::pin(async move { engine.read(partition, beyond, 100).await }))? {
            Some(Err(Error::OffsetOutOfRange { .. })) | None => Ok(()),
            Some(Err(error)) => self.expected("read outside", &error),
            Some(Ok(read)) => Err(format!("read {read:?} at {beyond}, past the end of {info:?}")),
        }
    }

    // ---- assigned -----------------------------------------------------------------------------------------------

    /// An assigned group commits how far it is, or goes back on purpose.
    pub fn commit_progress(&mut self) -> Verdict {
        let group = group_name(["assigned-a", "assigned-b"][self.random.index(2)]);
        let Some((partition, _)) = self.some_partition() else { return Ok(()) };
        let Ok(info) = self.engine.partition(partition) else { return Ok(()) };
        let offset = info.log_start + self.random.below(info.high_watermark - info.log_start + 1);
        if let Err(error) = self.engine.set_assigned(&group, true) {
            return self.expected("set assigned", &error);
        }
        self.next_number += 1;
        let number = self.next_number;
        self.checker.note(format!("{group} commits {offset} on {partition} ({number})"));
        self.checker.commit_asked(&group, number, &[(partition, offset)]);
        let commit = OffsetCommit { partition, offset, leader_epoch: -1, metadata: number.to_string() };
        match self.engine.commit_offsets(&group, vec![commit]) {
            Ok(commit) => {
                self.wait(commit, Waiting::Progress { group, number });
                self.take_answers()
            }
            Err(error) => {
                self.checker.commit_refused(&group, number);
                self.expected("commit offsets", &error)
            }
        }
    }

    // ---- shared -------------------------------------------------------------------------------------------------

    fn rules(&self, group: &GroupName) -> Option<SharedRules> {
        let config = self.engine.group(group)?.config;
        let topics = JOBS.iter().filter_map(|name| self.engine.topic("default", name));
        let dead = self.engine.topic("default", DEAD).and_then(|topic| topic.partition(0));
        Some(SharedRules {
            partitions: topics.flat_map(|topic| topic.partitions.clone()).collect(),
            ordered_by_key: config.mode == tidegate_engine::group::Mode::OrderedByKey,
            max_deliveries: config.max_deliveries,
            dead_letters: config.dead_letter.and(dead),
            max_in_flight: config.max_in_flight as usize,
        })
    }

    fn some_consumer(&mut self) -> Option<(GroupName, ConsumerId)> {
        let group = group_name(["shared", "ordered"][self.random.index(2)]);
        let consumer = self.random.pick(self.consumers.get(&group)?).copied()?;
        Some((group, consumer))
    }

    /// Some consumer asks for records.
    pub fn lease_some(&mut self) -> Verdict {
        let Some((group, consumer)) = self.some_consumer() else { return Ok(()) };
        let request = LeaseRequest {
            consumer,
            max_messages: 1 + self.random.index(10),
            max_bytes: 1 + self.random.index(20_000),
            deadline: self.random.chance(30).then(|| Duration::from_millis(500 + self.random.below(20_000))),
            acknowledge: self.random.chance(20),
            waited: false,
        };
        self.lease(&group, request).map(|_| ())
    }

    /// How many were leased.
    pub fn lease(&mut self, group: &GroupName, request: LeaseRequest) -> Result<usize, String> {
        let Some(rules) = self.rules(group) else { return Err(format!("group {group} is gone")) };
        self.checker.shared_group(group, rules);
        let (engine, name, now) = (self.engine.clone(), group.clone(), self.now());
        let deliveries = match self.drive(Box::pin(async move { engine.lease(&name, request).await }))? {
            Some(Ok(deliveries)) => deliveries,
            Some(Err(error)) => return self.expected("lease", &error).map(|()| 0),
            None => return Ok(0),
        };
        if deliveries.len() > request.max_messages {
            return Err(format!("{} records for a request of {}", deliveries.len(), request.max_messages));
        }
        let until = now + request.deadline.unwrap_or(Duration::from_secs(10));
        let mut got = Vec::new();
        for delivery in &deliveries {
            let LeaseId { partition, offset, token } = delivery.lease;
            let value = value::decode(delivery.record.value.as_deref().unwrap_or_default())?;
            let (attempt, redelivered, acknowledged) = (delivery.attempt, delivery.redelivered, request.acknowledge);
            got.push(Delivered { partition, offset, value, token, attempt, redelivered, acknowledged });
            if !request.acknowledge {
                self.held.push(Held { group: group.clone(), consumer: request.consumer, lease: delivery.lease });
            }
            if delivery.record.offset != offset {
                return Err(format!("a lease of {offset} carries the record of {}", delivery.record.offset));
            }
        }
        self.checker.note(format!("{group} {:?} at {now:?} until {until:?} gets {got:?}", request.consumer));
        for one in &got {
            // Later ones of the same answer count the earlier ones as held.
            self.checker.delivered(group, request.consumer.0, std::slice::from_ref(one), now, until)?;
        }
        Ok(got.len())
    }

    /// Leases of one group, taken out of those to be settled.
    pub fn take_held(&mut self, most: usize) -> Vec<Held> {
        let Some(group) = self.random.pick(&self.held).map(|held| held.group.clone()) else { return Vec::new() };
        let count = self.random.index(most + 1);
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(at) = self.held.iter().position(|held| held.group == group)
        {
            taken.push(self.held.swap_remove(at));
        }
        taken
    }

    pub fn still_holds(&self, held: &Held) -> bool {
        let LeaseId { partition, offset, token } = held.lease;
        self.checker.holds(&held.group, partition, offset, token, self.now())
    }

    /// Tells the checker what became of a lease.
    pub fn lease_settled(&mut self, held: &Held, how: Settled) -> Verdict {
        let LeaseId { partition, offset, token } = held.lease;
        self.checker.settled(&held.group, (partition, offset, token), how)
    }

    /// Settles some leases, each in some way.
    pub fn settle_some(&mut self) -> Verdict {
        let held = self.take_held(6);
        let settlements: Vec<Settlement> = held.iter().map(|held| self.settlement(held.lease)).collect();
        self.settle(held, settlements)
    }

    fn settlement(&mut self, lease: LeaseId) -> Settlement {
        match self.random.below(10) {
            0 => Settlement::Release(lease),
            1 => Settlement::Extend(lease, Duration::from_secs(self.random.below(30))),
            2 | 3 => Settlement::Reject {
                lease,
                delay: self.random.chance(50).then(|| Duration::from_millis(self.random.below(5_000))),
                reason: None,
                dead_letter: self.random.chance(20),
            },
            _ => Settlement::Acknowledge(lease),
        }
    }

    pub fn settle(&mut self, held: Vec<Held>, settlements: Vec<Settlement>) -> Verdict {
        let Some(group) = held.first().map(|held| held.group.clone()) else { return Ok(()) };
        self.checker.note(format!("{group} settles at {:?}: {settlements:?}", self.now()));
        let (results, commit) = match self.engine.settle(&group, settlements.clone()) {
            Ok(answer) => answer,
            Err(error) => {
                self.held.extend(held);
                return self.expected("settle", &error);
            }
        };
        let mut ended = Vec::new();
        for ((held, settlement), result) in held.iter().zip(&settlements).zip(results) {
            match result {
                Ok(()) => ended.extend(self.settled(held, settlement)?),
                Err(Error::LeaseGone) if !self.still_holds(held) => {}
                Err(Error::LeaseGone) => return Err(format!("{held:?} is said to be gone")),
                Err(error) => self.expected("settlement", &error)?,
            }
        }
        self.wait(commit, Waiting::Settlements { group, ended });
        self.take_answers()
    }

    /// The record, if it was the end of it.
    fn settled(&mut self, held: &Held, settlement: &Settlement) -> Result<Option<(PartitionId, u64)>, String> {
        let at = (held.lease.partition, held.lease.offset);
        let now = self.now();
        match settlement {
            Settlement::Acknowledge(_) => self.lease_settled(held, Settled::Acknowledged).map(|()| Some(at)),
            Settlement::Release(_) => self.lease_settled(held, Settled::Returned { not_before: now }).map(|()| None),
            Settlement::Reject { delay, dead_letter, .. } => {
                let given_up = *dead_letter || self.checker.is_last_attempt(&held.group, at);
                let not_before = now + delay.unwrap_or_default();
                let how = if given_up { Settled::GivenUp } else { Settled::Returned { not_before } };
                self.lease_settled(held, how).map(|()| None)
            }
            Settlement::Extend(_, by) => {
                self.checker.extended(&held.group, at.0, at.1, self.now() + *by);
                self.held.push(held.clone());
                Ok(None)
            }
        }
    }

    /// Somebody moves a group, back or forth.
    pub fn seek(&mut self) -> Verdict {
        let group = group_name(["shared", "ordered"][self.random.index(2)]);
        let Some(topic) = self.some_topic(|topic| topic.name.name() == JOBS[0]) else { return Ok(()) };
        let Some(&partition) = self.random.pick(&topic.partitions) else { return Ok(()) };
        let Ok(info) = self.engine.partition(partition) else { return Ok(()) };
        let to = info.log_start + self.random.below(info.high_watermark - info.log_start + 1);
        self.checker.note(format!("{group} goes to {to} of {partition}"));
        match self.engine.seek(&group, &[(partition, to)]) {
            Ok(commit) => {
                self.checker.sought(&group, partition, to, false);
                for (_, _, ended) in self.transformed.iter_mut().filter(|(_, of, _)| *of == group) {
                    ended.retain(|(of, offset)| *of != partition || *offset < to);
                }
                self.wait(commit, Waiting::Seek { group, partition, to });
                // Nothing is leased before the answer, so what is settled later comes after the move.
                self.turn()?;
                self.turn()
            }
            Err(error) => self.expected("seek", &error),
        }
    }

    /// A consumer leaves; another takes its place.
    pub fn consumer_leaves(&mut self) -> Verdict {
        let Some((group, consumer)) = self.some_consumer() else { return Ok(()) };
        self.checker.note(format!("{group} {consumer:?} leaves"));
        if let Err(error) = self.engine.release_consumer(&group, consumer) {
            return self.expected("release consumer", &error);
        }
        self.checker.consumer_left(&group, consumer.0);
        self.held.retain(|held| held.consumer != consumer || held.group != group);
        let next = self.engine.new_consumer();
        for known in self.consumers.get_mut(&group).into_iter().flatten() {
            if *known == consumer {
                *known = next;
            }
        }
        Ok(())
    }

    /// The first record of a time on, compared with what is known of the partition.
    pub fn find_by_time(&mut self) -> Verdict {
        let Some((partition, _)) = self.some_partition() else { return Ok(()) };
        let Ok(info) = self.engine.partition(partition) else { return Ok(()) };
        let time = self.clock.now_ms() - self.random.below(120_000) as i64;
        let engine = self.engine.clone();
        match self.drive(Box::pin(async move { engine.offset_for_time(partition, time).await }))? {
            Some(Ok(found)) => {
                let found = found.map(|found| (found.offset, found.timestamp_ms));
                let bounds = (info.log_start, info.high_watermark);
                self.checker.time_found(partition, time, found, bounds)
            }
            Some(Err(error)) => self.expected("offset for time", &error),
            None => Ok(()),
        }
    }

    /// Everything there is, and everything that comes back, is leased and acknowledged.
    pub fn drain(&mut self) -> Verdict {
        for name in ["shared", "ordered"] {
            let group = group_name(name);
            let mut idle = 0;
            while idle < 8 {
                let consumer = self.engine.new_consumer();
                let request = LeaseRequest {
                    consumer,
                    max_messages: 100,
                    max_bytes: 1 << 20,
                    deadline: None,
                    acknowledge: false,
                    waited: false,
                };
                let count = self.lease(&group, request)?;
                let (mine, others) = std::mem::take(&mut self.held).into_iter().partition(|held| held.group == group);
                self.held = others;
                let mine: Vec<Held> = mine;
                let live: Vec<Held> = mine.into_iter().filter(|held| self.still_holds(held)).collect();
                let settlements = live.iter().map(|held| Settlement::Acknowledge(held.lease)).collect();
                self.settle(live, settlements)?;
                self.turn()?;
                idle = if count == 0 { idle + 1 } else { 0 };
                if count == 0 {
                    self.advance(Duration::from_secs(120));
                    self.maintain()?;
                    self.turn()?;
                }
            }
            self.checker.drained(&group)?;
            let lag = self.engine.lag(&group).map_err(|e| format!("lag: {e}"))?;
            if let Some(behind) = lag.iter().find(|lag| lag.messages > 0) {
                return Err(format!("{group} is drained and has a lag: {behind:?}"));
            }
        }
        Ok(())
    }
}
