//! One seed's world: a disk, a clock, an engine that crashes and comes back, and the checker that watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::batch::Batch;
use tidegate_engine::group::{GroupConfig, Mode, Retry};
use tidegate_engine::store::faulty::{End, Fault, FaultyStore, Random, SimulatedClock};
use tidegate_engine::store::{Clock, Environment};
use tidegate_engine::{
    Commit, Durability, Engine, EngineConfig, Error, GroupName, PartitionId, Retention, Topic, TopicConfig, TopicName,
};
use uuid::Uuid;

use crate::checker::{Bounds, Checker, Fate, Sure, UnitId, Verdict};
use crate::consume::Held;
use crate::executor::{Asked, ask};
use crate::publish::{Keyed, Producer};
use crate::value::{self, Value};

/// What a commit that was not answered yet stands for.
#[derive(Debug)]
pub enum Waiting {
    Units(Vec<UnitId>),
    Topic { id: Uuid, partitions: usize },
    Deletion(Uuid),
    Progress { group: GroupName, number: u64 },
    Settlements { group: GroupName, ended: Vec<(PartitionId, u64)> },
    Atomic { unit: UnitId, number: u64, group: Option<GroupName>, ended: Vec<(PartitionId, u64)> },
    Seek { group: GroupName, partition: PartitionId, to: u64 },
    Put(usize),
    Nothing,
}

/// See the module.
pub struct World {
    pub random: Random,
    /// Faults come only as told.
    scripted: bool,
    pub store: FaultyStore,
    pub clock: Arc<SimulatedClock>,
    pub config: EngineConfig,
    pub engine: Engine,
    pub checker: Checker,
    pub waiting: Vec<(Asked<Result<(), Error>>, Waiting)>,
    pub next_value: Value,
    pub next_number: u64,
    pub producers: Vec<Producer>,
    pub keyed: Vec<Keyed>,
    /// Atomic writes and the progress of [`LEDGER`] made with them.
    pub ledger: Vec<(UnitId, u64)>,
    /// Atomic writes since the last start, and the records settled with them that no move of the group came after.
    pub transformed: Vec<(UnitId, GroupName, Vec<(PartitionId, u64)>)>,
    pub held: Vec<Held>,
    pub consumers: BTreeMap<GroupName, Vec<tidegate_engine::group::ConsumerId>>,
    /// Faults injected before this process started.
    faults_before: usize,
    pub poisoned: bool,
    pub closing: bool,
    pub full: bool,
    pub crashes: u64,
    pub acknowledged: u64,
}

/// The group whose progress is the number of the last atomic write.
pub const LEDGER: &str = "ledger";
/// The groups that stay.
const GROUPS: [&str; 3] = ["shared", "ordered", LEDGER];
/// Where dead letters go.
pub const DEAD: &str = "dead";
/// The topics that shared groups consume; they are never deleted.
pub const JOBS: [&str; 2] = ["jobs", "queue"];

pub fn topic_name(name: &str) -> TopicName {
    TopicName::new("default", name).unwrap()
}

pub fn group_name(name: &str) -> GroupName {
    GroupName::new("default", name).unwrap()
}

fn random_config(random: &mut Random) -> EngineConfig {
    let mut pick = |choices: &[u64]| *random.pick(choices).unwrap();
    EngineConfig {
        segment_bytes: pick(&[64 << 10, 64 << 10, 160 << 10]),
        tail_cache_bytes: pick(&[0, 4 << 10, 64 << 10]) as usize,
        index_cache_bytes: pick(&[0, 1 << 10, 1 << 20]) as usize,
        read_ahead_bytes: pick(&[0, 1 << 10, 1 << 20]) as usize,
        pending_bytes: pick(&[64 << 10, 1 << 20]) as usize,
        reclaim_bytes_per_second: pick(&[64 << 10, 1 << 30]),
        reclaim_live_percent: pick(&[10, 50, 90]) as u8,
        max_table_entries: pick(&[4, 1000]) as usize,
        retention_interval: Duration::from_secs(pick(&[0, 10, 300])),
        max_producers_per_partition: 100,
        ..EngineConfig::default()
    }
}

impl World {
    /// An empty disk, an engine on it, and the topics and groups that stay.
    pub fn new(seed: u64) -> Result<Self, String> {
        let mut random = Random::new(seed);
        let config = random_config(&mut random);
        Self::start(random, config, None)
    }

    /// The same with settings of one's own, and a fault at some call of the storage; no other comes by chance.
    pub fn scripted(seed: u64, config: EngineConfig, fault: Option<(u64, Fault)>) -> Result<Self, String> {
        Self::start(Random::new(seed), config, Some(fault))
    }

    fn start(mut random: Random, config: EngineConfig, script: Option<Option<(u64, Fault)>>) -> Result<Self, String> {
        let store = FaultyStore::new(random.bits());
        let clock = Arc::new(SimulatedClock::new(1_700_000_000_000));
        if let Some(Some((call, fault))) = script {
            store.inject(call, fault);
        }
        let mut environment = Environment { store: Arc::new(store.clone()), clock: clock.clone() };
        let mut opened = Engine::open_manual(config.clone(), environment.clone());
        let mut process = store.clone();
        if opened.is_err() && !store.injected().is_empty() {
            process = store.restart(End::Power);
            environment.store = Arc::new(process.clone());
            opened = Engine::open_manual(config.clone(), environment);
        }
        let (engine, _) = opened.map_err(|error| format!("first open: {error}"))?;
        let mut world = Self {
            random,
            scripted: script.is_some(),
            store: process,
            clock,
            config,
            engine,
            checker: Checker::default(),
            waiting: Vec::new(),
            next_value: 1,
            next_number: 1,
            producers: Vec::new(),
            keyed: Vec::new(),
            ledger: Vec::new(),
            transformed: Vec::new(),
            held: Vec::new(),
            consumers: BTreeMap::new(),
            faults_before: 0,
            poisoned: false,
            closing: false,
            full: false,
            crashes: 0,
            acknowledged: 0,
        };
        world.tick();
        world.set_up()?;
        Ok(world)
    }

    /// Makes what is missing of the topics and groups that stay, however often it takes.
    fn set_up(&mut self) -> Verdict {
        for _ in 0..4 {
            self.make_topics()?;
            self.make_groups()?;
            for _ in 0..4 {
                self.turn()?;
            }
            if self.waiting.is_empty() && self.complete() && !self.poisoned {
                self.new_consumers();
                return Ok(());
            }
            if self.undisturbed() {
                return Err(format!("never answered: {:?}", self.waiting_for()));
            }
            self.restart(End::Power)?;
        }
        Err("topics and groups cannot be made".into())
    }

    fn complete(&self) -> bool {
        let topics = [DEAD, JOBS[0], JOBS[1]].iter().all(|name| self.engine.topic("default", name).is_some());
        topics && GROUPS.iter().all(|name| self.engine.group(&group_name(name)).is_some())
    }

    fn make_topics(&mut self) -> Verdict {
        let keep = Retention { time: None, ..Retention::default() };
        let queue = Retention { until_acknowledged: true, ..keep.clone() };
        for (name, partitions, retention) in [(DEAD, 1, keep.clone()), (JOBS[0], 2, keep), (JOBS[1], 1, queue)] {
            if self.engine.topic("default", name).is_none() {
                self.create_topic(name, partitions, TopicConfig { retention, ..TopicConfig::default() })?;
            }
        }
        Ok(())
    }

    fn make_groups(&mut self) -> Verdict {
        for name in GROUPS {
            let config = match name {
                "shared" => self.shared_config(Mode::Shared, Some(3)),
                "ordered" => self.shared_config(Mode::OrderedByKey, None),
                _ => GroupConfig::default(),
            };
            match self.engine.create_group(group_name(name), config) {
                Ok(commit) => self.wait(commit, Waiting::Nothing),
                Err(Error::GroupExists(_)) => {}
                Err(error) => self.expected("create group", &error)?,
            }
        }
        Ok(())
    }

    fn shared_config(&mut self, mode: Mode, max_deliveries: Option<u32>) -> GroupConfig {
        GroupConfig {
            topics: JOBS.map(topic_name).to_vec(),
            mode,
            ack_deadline: Duration::from_secs(10),
            max_deliveries,
            retry: Retry { min: Duration::from_millis(500 * self.random.below(3)), ..Retry::default() },
            dead_letter: max_deliveries.map(|_| topic_name(DEAD)),
            max_in_flight: 1 + self.random.below(30) as u32,
            ..GroupConfig::default()
        }
    }

    // ---- answers ------------------------------------------------------------------------------------------------

    /// What was not answered yet.
    pub fn waiting_for(&self) -> Vec<&Waiting> {
        self.waiting.iter().map(|(_, what)| what).collect()
    }

    pub fn wait(&mut self, commit: Commit, what: Waiting) {
        self.waiting.push((Box::pin(commit.wait()), what));
    }

    /// Commits what is pending, once, and takes the answers.
    pub fn turn(&mut self) -> Verdict {
        let turned = self.engine.turn();
        self.checker.note(format!("turn: {turned:?}"));
        match turned {
            Ok(_) | Err(Error::DiskFull) => {}
            Err(ref error) => self.expected("turn", error)?,
        }
        self.take_answers()?;
        if turned == Err(Error::DiskFull) && !self.waiting.is_empty() {
            return Err(format!("the disk is full, and nobody is told: {:?}", self.waiting_for()));
        }
        Ok(())
    }

    pub fn take_answers(&mut self) -> Verdict {
        let mut still = Vec::new();
        for (mut future, what) in std::mem::take(&mut self.waiting) {
            match ask(&mut future) {
                None => still.push((future, what)),
                Some(Ok(())) => {
                    let managing = |what: &Waiting| matches!(what, Waiting::Topic { .. } | Waiting::Put(_));
                    if managing(&what) && still.iter().any(|(_, earlier)| managing(earlier)) {
                        return Err(format!("{what:?} is answered before what was asked earlier"));
                    }
                    self.answered(what)?;
                }
                Some(Err(error)) => {
                    self.expected("wait", &error)?;
                    self.unanswered(&what);
                }
            }
        }
        self.waiting = still;
        Ok(())
    }

    fn answered(&mut self, what: Waiting) -> Verdict {
        match what {
            Waiting::Units(units) => {
                self.acknowledged += units.len() as u64;
                units.into_iter().try_for_each(|unit| self.checker.acknowledged(unit))
            }
            Waiting::Topic { id, partitions } => {
                self.checker.topic_acknowledged(id, partitions);
                Ok(())
            }
            Waiting::Deletion(id) => {
                self.checker.topic_is(id, Sure::No);
                Ok(())
            }
            Waiting::Progress { group, number } => self.checker.commit_acknowledged(&group, number),
            Waiting::Settlements { group, ended } => self.checker.settlement_acknowledged(&group, &ended),
            Waiting::Atomic { unit, number, group, ended } => {
                self.acknowledged += 1;
                self.checker.acknowledged(unit)?;
                self.checker.commit_acknowledged(&group_name(LEDGER), number)?;
                group.map_or(Ok(()), |group| self.checker.settlement_acknowledged(&group, &ended))
            }
            Waiting::Seek { group, partition, to } => {
                self.checker.sought(&group, partition, to, true);
                Ok(())
            }
            Waiting::Put(number) => self.checker.put_acknowledged(number),
            Waiting::Nothing => Ok(()),
        }
    }

    fn unanswered(&mut self, what: &Waiting) {
        match what {
            Waiting::Units(units) => units.iter().for_each(|unit| self.checker.unanswered(*unit)),
            Waiting::Atomic { unit, .. } => self.checker.unanswered(*unit),
            _ => {}
        }
    }

    /// Polls a future until it answers, turning the engine in between. None when it does not.
    pub fn drive<T>(&mut self, mut future: Asked<T>) -> Result<Option<T>, String> {
        for _ in 0..20 {
            if let Some(output) = ask(&mut future) {
                return Ok(Some(output));
            }
            self.turn()?;
        }
        let stuck = !self.full && self.undisturbed();
        if stuck { Err("a call is never answered".into()) } else { Ok(None) }
    }

    /// Whether nothing was done to this process's storage.
    pub fn undisturbed(&self) -> bool {
        self.store.injected().len() == self.faults_before
    }

    /// An error is fine only if something was done that explains it.
    pub fn expected(&mut self, doing: &str, error: &Error) -> Verdict {
        self.checker.note(format!("{doing}: {error}"));
        let explained = match error {
            Error::Poisoned(_) => {
                self.poisoned = true;
                self.checker.poisoned();
                !self.undisturbed()
            }
            Error::Io { .. } => !self.undisturbed(),
            Error::Closed => self.closing || !self.undisturbed(),
            Error::DiskFull | Error::Undecided => self.full || !self.undisturbed(),
            Error::UnknownPartition | Error::UnknownTopic(_) | Error::LimitReached { .. } => true,
            _ => false,
        };
        if explained { Ok(()) } else { Err(format!("{doing} failed: {error}")) }
    }

    // ---- time ---------------------------------------------------------------------------------------------------

    pub fn tick(&mut self) {
        self.checker.clock(self.clock.now_ms());
    }

    pub fn advance(&mut self, by: Duration) {
        self.clock.advance(by);
        self.tick();
    }

    pub fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    // ---- topics -------------------------------------------------------------------------------------------------

    pub fn create_topic(&mut self, name: &str, partitions: u32, config: TopicConfig) -> Verdict {
        self.checker.note(format!("create {name}, {partitions} partitions, {config:?}"));
        match self.engine.create_topic(topic_name(name), partitions, config.clone()) {
            Ok((topic, commit)) => {
                let (durability, retention) = (config.durability, &config.retention);
                self.checker.topic_created(topic.id, name, &topic.partitions, durability, retention)?;
                self.wait(commit, Waiting::Topic { id: topic.id, partitions: topic.partitions.len() });
                Ok(())
            }
            Err(error) => self.expected("create topic", &error),
        }
    }

    /// Some topic that is there, of those that `which` likes.
    pub fn some_topic(&mut self, which: impl Fn(&Topic) -> bool) -> Option<Arc<Topic>> {
        let mut topics = self.engine.topics();
        topics.retain(|topic| which(topic));
        self.random.pick(&topics).cloned()
    }

    /// Some partition anything may be published to, and the durability of its topic.
    pub fn some_partition(&mut self) -> Option<(PartitionId, Durability)> {
        let topic = self.some_topic(|topic| topic.name.name() != DEAD)?;
        self.random.pick(&topic.partitions).map(|partition| (*partition, topic.config.durability))
    }

    // ---- ends and beginnings ------------------------------------------------------------------------------------

    /// The process ends, the next one opens what is left, perhaps after a few that ended in the middle of opening.
    pub fn restart(&mut self, end: End) -> Verdict {
        self.waiting.clear();
        self.held.clear();
        self.poisoned = false;
        self.closing = false;
        let mut end = end;
        for attempt in 0.. {
            self.crashes += 1;
            self.checker.crash(end);
            self.store = self.store.restart(end);
            self.faults_before = self.store.injected().len();
            self.clock = Arc::new(self.clock.restarted());
            if !self.scripted && attempt < 3 && self.random.chance(30) {
                let fault = *self.random.pick(&[Fault::Crash, Fault::Crash, Fault::Device, Fault::Full]).unwrap();
                let call = self.random.below(40);
                self.store.inject(call, fault);
            }
            let environment = Environment { store: Arc::new(self.store.clone()), clock: self.clock.clone() };
            match Engine::open_manual(self.config.clone(), environment) {
                Ok((engine, recovery)) => {
                    self.checker.note(format!("opened: {recovery:?}"));
                    self.engine = engine;
                    if !self.store.crashed() {
                        break;
                    }
                }
                Err(error) => {
                    self.checker.note(format!("open: {error}"));
                    if self.undisturbed() && !(self.full && error == Error::DiskFull) {
                        return Err(format!("opening after {end:?} failed: {error}"));
                    }
                    if self.full && error == Error::DiskFull {
                        self.enlarge();
                    }
                }
            }
            end = if self.random.chance(50) { End::Power } else { End::Process };
        }
        self.new_consumers();
        self.forget_lost_partitions();
        self.verify(true)
    }

    /// Publishers give up on partitions that never came to be: others get their numbers.
    fn forget_lost_partitions(&mut self) {
        let engine = self.engine.clone();
        let is_there = |partition: &PartitionId| engine.partition(*partition).is_ok();
        self.producers.retain(|producer| is_there(&producer.partition));
        self.keyed.retain(|keyed| keyed.write.partitions.iter().all(is_there));
    }

    /// There is space again.
    pub fn enlarge(&mut self) {
        self.store.set_capacity(u64::MAX);
        self.full = false;
    }

    fn new_consumers(&mut self) {
        for name in ["shared", "ordered"] {
            let consumers = (0..3).map(|_| self.engine.new_consumer()).collect();
            self.consumers.insert(group_name(name), consumers);
        }
    }

    // ---- looking at everything ----------------------------------------------------------------------------------

    /// Reads every partition and every group's progress.
    pub fn verify(&mut self, recovered: bool) -> Verdict {
        if self.store.crashed() {
            return Ok(());
        }
        self.store.calm();
        let topics = self.engine.topics();
        if recovered {
            let found: Vec<_> =
                topics.iter().map(|topic| (topic.id, topic.name.name().to_owned(), topic.partitions.clone())).collect();
            self.checker.topics_are(&found)?;
        }
        for partition in topics.iter().flat_map(|topic| topic.partitions.clone()) {
            self.scan(partition, recovered)?;
        }
        for name in ["assigned-a", "assigned-b", LEDGER].map(group_name) {
            let found = match self.engine.committed(&name) {
                Ok(found) => found,
                Err(Error::UnknownGroup(_)) => Vec::new(),
                Err(error) => return Err(format!("committed: {error}")),
            };
            let found: Vec<_> = found.iter().map(|committed| (committed.partition, committed.offset)).collect();
            self.checker.progress_seen(&name, &found, recovered)?;
        }
        self.look_at_tables(recovered)?;
        if recovered {
            self.checker.recovered()?;
            self.check_atomics()?;
        }
        Ok(())
    }

    fn scan(&mut self, partition: PartitionId, recovered: bool) -> Verdict {
        let mut got = Vec::new();
        let info = self.engine.partition(partition).map_err(|e| format!("partition {partition}: {e}"))?;
        let bounds = Bounds { log_start: info.log_start, high_watermark: info.high_watermark };
        let mut from = bounds.log_start;
        while from < bounds.high_watermark {
            let max_bytes = 1 + self.random.index(30_000);
            let Some((records, next, _)) = self.read(partition, from, max_bytes)? else {
                return Err(format!("partition {partition} cannot be read at {from}"));
            };
            if next <= from {
                break;
            }
            got.extend(records.into_iter().filter(|(offset, _)| *offset >= from));
            from = next;
        }
        self.checker.scanned(partition, &got, bounds, recovered)
    }

    /// Records of one read with the offset to go on from, or none when storage failed on purpose.
    pub fn read(
        &mut self,
        partition: PartitionId,
        from: u64,
        max_bytes: usize,
    ) -> Result<Option<(Vec<(u64, Value)>, u64, Bounds)>, String> {
        let engine = self.engine.clone();
        let answer = self.drive(Box::pin(async move { engine.read(partition, from, max_bytes).await }))?;
        let read = match answer {
            Some(Ok(read)) => read,
            Some(Err(error)) => return self.expected("read", &error).map(|()| None),
            None => return Ok(None),
        };
        let (mut records, mut next) = (Vec::new(), from);
        for mut bytes in read.batches {
            while !bytes.is_empty() {
                let batch = Batch::split_from(&mut bytes).map_err(|e| format!("read of {partition}: {e}"))?;
                let base = batch.header.base_offset;
                next = base + u64::from(batch.header.last_offset_delta) + 1;
                for record in batch.records(base, 1 << 24).map_err(|e| format!("read of {partition}: {e}"))? {
                    records.push((record.offset, value::decode(&record.value.unwrap_or_default())?));
                }
            }
        }
        let bounds = Bounds { log_start: read.log_start, high_watermark: read.high_watermark };
        if records.last().is_some_and(|(offset, _)| *offset >= bounds.high_watermark) {
            let offsets: Vec<u64> = records.iter().map(|(offset, _)| *offset).collect();
            return Err(format!("read of {partition} from {from}, {max_bytes} bytes: {offsets:?} of {bounds:?}"));
        }
        Ok(Some((records, next, bounds)))
    }

    /// Writes and progress that were made together are there together.
    fn check_atomics(&mut self) -> Verdict {
        let last = match self.engine.committed(&group_name(LEDGER)) {
            Ok(committed) => committed.first().map_or(0, |committed| committed.offset),
            // The process ended before it was made.
            Err(Error::UnknownGroup(_)) => 0,
            Err(error) => return Err(format!("ledger: {error}")),
        };
        for &(unit, number) in &self.ledger {
            match self.checker.fate(unit) {
                Fate::Kept if number > last => {
                    return Err(format!("unit {unit} is there without its progress {number}: {last}"));
                }
                Fate::Failed if number == last => {
                    return Err(format!("progress {number} is there without its unit {unit}"));
                }
                _ => {}
            }
        }
        // Once: what is settled again later, after a move of the group, is another settlement.
        for (unit, group, ended) in std::mem::take(&mut self.transformed) {
            if self.checker.fate(unit) == Fate::Kept {
                self.checker.settlement_acknowledged(&group, &ended)?;
            }
        }
        Ok(())
    }
}
