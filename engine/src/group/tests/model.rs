//! Random histories of a group against a naive model of what it owes its consumers.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const PARTITIONS: [PartitionId; 2] = [P, Q];
/// Records are stored in batches of so many offsets.
const BATCH: u64 = 4;
const RETRY: Duration = Duration::from_secs(3);

#[derive(Debug, Clone)]
enum Op {
    Publish {
        partition: usize,
        key: u8,
        lives: bool,
    },
    Lease {
        consumer: u64,
        most: usize,
        deadline: u64,
        acknowledge: bool,
    },
    /// Ask where to go on, and go there only later.
    Ask,
    WalkLate {
        consumer: u64,
    },
    Settle {
        picks: Vec<(prop::sample::Index, Deed)>,
    },
    Copy {
        lost: bool,
    },
    Advance {
        seconds: u64,
    },
    ReleaseConsumer {
        consumer: u64,
    },
    Seek {
        partition: usize,
        to: prop::sample::Index,
    },
    Commit {
        partition: usize,
        to: prop::sample::Index,
    },
    Trim {
        partition: usize,
        to: prop::sample::Index,
    },
    Compact {
        partition: usize,
        offset: prop::sample::Index,
    },
    Restart {
        from_snapshot: bool,
    },
    SwitchMode,
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Acknowledge,
    Release,
    Reject,
    RejectForGood,
    Extend,
}

/// What the group owes for one record.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Owed {
    Delivery {
        due_ms: i64,
    },
    Leased {
        token: u64,
        consumer: ConsumerId,
        deadline: Duration,
    },
    /// To be copied; comes round again after the deadline.
    Dying {
        deadline: Duration,
    },
    Nothing,
}

#[derive(Debug, Clone)]
struct Stored {
    key: Option<u64>,
    expires_at_ms: Option<i64>,
    exists: bool,
    owed: Owed,
    attempts: u32,
    handed_out: bool,
    /// It was there when the group last lost its memory.
    doubtful: bool,
}

#[derive(Debug, Default)]
struct Log {
    start: u64,
    records: Vec<Stored>,
}

impl Log {
    fn end(&self) -> u64 {
        self.records.len() as u64
    }

    fn kept(&mut self) -> impl Iterator<Item = (u64, &mut Stored)> {
        (0..).zip(&mut self.records).skip(self.start as usize)
    }
}

struct World {
    group: Group,
    logs: BTreeMap<PartitionId, Log>,
    /// Everything written since the snapshot.
    written: Vec<GroupRecord>,
    snapshot: GroupSnapshot,
    now: Duration,
    token: u64,
    asked: Option<Next>,
    dying: Vec<DeadLetter>,
    /// Every lease ever given.
    leases: Vec<LeaseId>,
}

impl World {
    fn new(config: GroupConfig) -> Self {
        let group = group(config);
        let snapshot = group.snapshot();
        let logs = PARTITIONS.map(|partition| (partition, Log::default())).into();
        let (written, dying, leases) = (Vec::new(), Vec::new(), Vec::new());
        Self { group, logs, written, snapshot, now: seconds(1), token: 0, asked: None, dying, leases }
    }

    fn now_ms(&self) -> i64 {
        self.now.as_millis() as i64
    }

    fn log(&mut self, partition: PartitionId) -> &mut Log {
        self.logs.get_mut(&partition).unwrap()
    }

    fn stored(&mut self, id: &LeaseId) -> &mut Stored {
        &mut self.log(id.partition).records[id.offset as usize]
    }

    fn bounds(&self) -> Vec<Bounds> {
        let bounds = |(id, log): (&PartitionId, &Log)| Bounds {
            partition: *id,
            log_start: log.start,
            high_watermark: log.end(),
        };
        self.logs.iter().map(bounds).collect()
    }

    fn write(&mut self, record: GroupRecord) {
        let record: GroupRecord = postcard::from_bytes(&postcard::to_stdvec(&record).unwrap()).unwrap();
        self.group.apply(&record);
        self.written.push(record);
    }

    // ---- delivery -----------------------------------------------------------------------------------------------

    fn lease(&mut self, consumer: ConsumerId, most: usize, deadline: u64, acknowledge: bool) {
        let mut given = 0;
        let mut turns = 0;
        while given < most {
            let (bounds, now_ms) = (self.bounds(), self.now_ms());
            let Some(next) = ask(&mut self.group, &bounds, acknowledge, now_ms).unwrap() else {
                return self.check_nothing_is_due();
            };
            given += self.walk(next, consumer, most - given, deadline, acknowledge);
            turns += 1;
            // Records that have to be copied stop even those who keep nothing.
            let full = self.group.in_flight() >= self.group.config().max_in_flight as usize;
            if acknowledge && full && turns >= PARTITIONS.len() {
                return;
            }
            assert!(turns < 1_000, "the group sends its consumer round in circles");
        }
    }

    /// Walks the batches from a place on, as a shard does. One batch in a walk.
    fn walk(&mut self, next: Next, consumer: ConsumerId, most: usize, deadline: u64, acknowledge: bool) -> usize {
        let Next::Read { partition, offset } = next else { panic!("every partition is started") };
        let log = &self.logs[&partition];
        let mut walked = offset;
        let first = (offset.max(log.start)..log.end()).find(|o| log.records[*o as usize].exists);
        let end = first.map_or(log.end(), |first| ((first / BATCH + 1) * BATCH).min(log.end()));
        let mut given = 0;
        for at in walked.max(log.start)..end {
            let stored = &self.logs[&partition].records[at as usize];
            if !stored.exists {
                continue;
            }
            let offer = Offer { partition, offset: at, key: stored.key, expires_at_ms: stored.expires_at_ms };
            if walked < at {
                self.group.skip_gap(partition, walked, at);
            }
            if given == most {
                return self.finish_walk(given);
            }
            match self.offer(&offer, consumer, deadline, acknowledge) {
                Outcome::Leased { .. } => given += 1,
                Outcome::Skip | Outcome::Dead(_) => {}
                Outcome::Full | Outcome::Moved => return self.finish_walk(given),
            }
            walked = at + 1;
        }
        if walked < end {
            self.group.skip_gap(partition, walked, end);
        }
        self.finish_walk(given)
    }

    fn finish_walk(&mut self, given: usize) -> usize {
        if let Some(record) = self.group.take_skipped() {
            let GroupRecord::Acknowledged(runs) = &record else { panic!("skipping acknowledges") };
            let now_ms = self.now_ms();
            for run in runs {
                let log = self.log(run.partition);
                for offset in run.from.max(log.start)..run.to {
                    let stored = &mut log.records[offset as usize];
                    let expired = stored.expires_at_ms.is_some_and(|at| at <= now_ms);
                    let done = stored.owed == Owed::Nothing;
                    assert!(!stored.exists || expired || done, "{offset} was skipped");
                    assert!(!matches!(stored.owed, Owed::Leased { .. } | Owed::Dying { .. }), "{offset} is held");
                    stored.owed = Owed::Nothing;
                }
            }
            self.write(record);
        }
        given
    }

    fn offer(&mut self, offer: &Offer, consumer: ConsumerId, deadline: u64, acknowledge: bool) -> Outcome {
        self.token += 1;
        let grant = Grant { consumer, token: self.token, deadline: self.now + seconds(deadline), acknowledge };
        let now_ms = self.now_ms();
        let ordered = self.group.config().mode == Mode::OrderedByKey;
        let outcome = self.group.lease(offer, &grant, now_ms);
        let earlier =
            &self.logs[&offer.partition].records[self.logs[&offer.partition].start as usize..offer.offset as usize];
        let busy = earlier.iter().any(|one| one.exists && one.key == offer.key && one.owed != Owed::Nothing);
        let id = LeaseId { partition: offer.partition, offset: offer.offset, token: grant.token };
        let stored = self.stored(&id);
        let expired = stored.expires_at_ms.is_some_and(|at| at <= now_ms);
        match &outcome {
            Outcome::Leased { attempt, redelivered } => {
                assert!(matches!(stored.owed, Owed::Delivery { due_ms } if due_ms <= now_ms), "{id:?} is {stored:?}");
                assert_eq!(*attempt, stored.attempts + 1);
                assert!(*redelivered || !stored.handed_out, "{id:?} was handed out before");
                assert!(!*redelivered || stored.handed_out || stored.doubtful, "{id:?} was never handed out");
                stored.handed_out = true;
                assert!(!expired, "its time to live is over");
                assert!(!(ordered && offer.key.is_some() && busy), "{id:?} is out of order");
                stored.owed = match acknowledge {
                    true => Owed::Nothing,
                    false => Owed::Leased { token: grant.token, consumer, deadline: grant.deadline },
                };
                if !acknowledge {
                    self.leases.push(id);
                }
            }
            Outcome::Dead(dead) => {
                assert!(matches!(stored.owed, Owed::Delivery { .. }) && expired);
                assert_eq!((dead.attempts, dead.death), (stored.attempts, Death::Expired));
                stored.owed = Owed::Dying { deadline: grant.deadline };
                self.dying.push(dead.clone());
            }
            _ => {}
        }
        outcome
    }

    /// The group says that it has nothing to give: then nothing may be due, unless as much is in flight as may be.
    fn check_nothing_is_due(&mut self) {
        let now_ms = self.now_ms();
        if self.group.in_flight() >= self.group.config().max_in_flight as usize {
            return;
        }
        let ordered = self.group.config().mode == Mode::OrderedByKey;
        for log in self.logs.values_mut() {
            let mut busy = Vec::new();
            for (offset, stored) in log.kept() {
                let blocked = ordered && stored.key.is_some() && busy.contains(&stored.key);
                let due = matches!(stored.owed, Owed::Delivery { due_ms } if due_ms <= now_ms);
                assert!(!(due && stored.exists && !blocked), "{offset} is due and not given: {stored:?}");
                if stored.owed != Owed::Nothing {
                    busy.push(stored.key);
                }
            }
        }
    }

    // ---- settlement ---------------------------------------------------------------------------------------------

    fn settle(&mut self, picks: &[(prop::sample::Index, Deed)]) {
        if self.leases.is_empty() {
            return;
        }
        let settlements: Vec<_> = picks.iter().map(|(pick, deed)| deed.of(*pick.get(&self.leases))).collect();
        let (now, now_ms) = (self.now, self.now_ms());
        let checked = self.group.check(&settlements);
        let settled = self.group.settle(&settlements, now, now_ms);
        assert!(checked.is_err() || settled.results.iter().all(Result::is_ok));
        let mut dead = settled.dead_letters.iter();
        for ((_, deed), (settlement, result)) in picks.iter().zip(settlements.iter().zip(&settled.results)) {
            let id = settlement.lease();
            let trimmed = id.offset < self.log(id.partition).start;
            let stored = self.stored(id);
            let live = matches!(stored.owed, Owed::Leased { token, .. } if token == id.token);
            assert!(result.is_ok() == live || trimmed, "{settlement:?} of {stored:?} is {result:?}");
            if result.is_ok() {
                self.settle_in_model(id, *deed, &mut dead);
            }
        }
        assert!(dead.next().is_none());
        self.finish_settling(settled);
    }

    fn settle_in_model<'a>(&mut self, id: &LeaseId, deed: Deed, dead: &mut impl Iterator<Item = &'a DeadLetter>) {
        let (now, now_ms) = (self.now, self.now_ms());
        let config = self.group.config().clone();
        let stored = self.stored(id);
        match deed {
            Deed::Acknowledge => stored.owed = Owed::Nothing,
            Deed::Release => stored.owed = Owed::Delivery { due_ms: 0 },
            Deed::Extend => {
                let Owed::Leased { deadline, .. } = &mut stored.owed else { return };
                *deadline = now + seconds(7);
            }
            Deed::Reject | Deed::RejectForGood => {
                let dies = matches!(deed, Deed::RejectForGood) || config.max_deliveries == Some(stored.attempts + 1);
                stored.fail(dies, &config, now, now_ms);
                if dies && config.dead_letter.is_some() {
                    assert_eq!(dead.next().map(|dead| dead.lease), Some(*id));
                }
            }
        }
    }

    fn finish_settling(&mut self, settled: Settled) {
        settled.records.into_iter().for_each(|record| self.write(record));
        self.dying.extend(settled.dead_letters);
    }

    fn expire(&mut self) {
        let (now, now_ms) = (self.now, self.now_ms());
        let config = self.group.config().clone();
        for log in self.logs.values_mut() {
            for (_, stored) in log.kept() {
                if let Owed::Leased { deadline, .. } | Owed::Dying { deadline } = stored.owed
                    && deadline <= now
                {
                    let dies = config.max_deliveries.is_some_and(|max| stored.attempts + 1 >= max);
                    stored.fail(dies, &config, now, now_ms);
                }
            }
        }
        assert!(self.group.in_flight() == 0 || self.group.next_expiry().is_some());
        let settled = self.group.expire(now, now_ms);
        self.finish_settling(settled);
    }

    fn copy(&mut self, lost: bool) {
        let dying = std::mem::take(&mut self.dying);
        if lost {
            return;
        }
        if let Some(record) = self.group.dead_lettered(&dying) {
            let GroupRecord::Acknowledged(runs) = &record else { panic!("copying acknowledges") };
            for run in runs {
                let log = self.log(run.partition);
                for offset in run.from..run.to {
                    let stored = &mut log.records[offset as usize];
                    assert!(matches!(stored.owed, Owed::Dying { .. }) || offset < log.start);
                    stored.owed = Owed::Nothing;
                }
            }
            self.write(record);
        }
    }

    fn release_consumer(&mut self, consumer: ConsumerId) {
        for log in self.logs.values_mut() {
            for stored in &mut log.records {
                if matches!(stored.owed, Owed::Leased { consumer: holder, .. } if holder == consumer) {
                    stored.owed = Owed::Delivery { due_ms: 0 };
                }
            }
        }
        self.group.release_consumer(consumer);
    }

    // ---- positions ----------------------------------------------------------------------------------------------

    fn reposition(&mut self, partition: PartitionId, to: u64, record: Result<GroupRecord, crate::Error>) {
        let Ok(record) = record else { return };
        self.write(record);
        for (offset, stored) in (0..).zip(&mut self.log(partition).records) {
            stored.owed = if offset < to { Owed::Nothing } else { Owed::Delivery { due_ms: 0 } };
            stored.attempts = 0;
            stored.handed_out = false;
            stored.doubtful = false;
        }
        assert_eq!(self.group.lowest_unacknowledged(partition), to);
    }

    fn restart(&mut self, from_snapshot: bool) {
        let mut replayed = Group::restore(self.snapshot.clone());
        self.written.iter().for_each(|record| replayed.apply(record));
        if from_snapshot {
            self.snapshot = self.group.snapshot();
            self.snapshot = postcard::from_bytes(&postcard::to_stdvec(&self.snapshot).unwrap()).unwrap();
            self.written.clear();
        }
        for bounds in self.bounds() {
            for group in [&mut replayed, &mut self.group] {
                group.advance_log_start(bounds.partition, bounds.log_start);
            }
        }
        assert_eq!(replayed.snapshot(), self.group.snapshot());
        self.group = if from_snapshot { Group::restore(self.group.snapshot()) } else { replayed };
        for bounds in self.bounds() {
            self.group.doubt_deliveries(bounds.partition, bounds.high_watermark);
        }
        self.forget_leases();
        self.dying.clear();
    }

    fn forget_leases(&mut self) {
        for log in self.logs.values_mut() {
            for (_, stored) in log.kept() {
                stored.doubtful = true;
                if matches!(stored.owed, Owed::Leased { .. } | Owed::Dying { .. }) {
                    // A record that failed before it was leased again is past its due time.
                    stored.owed = Owed::Delivery { due_ms: 0 };
                }
            }
        }
        assert_eq!(self.group.in_flight(), 0);
    }

    fn switch_mode(&mut self) {
        let mode = match self.group.config().mode {
            Mode::Shared => Mode::OrderedByKey,
            Mode::OrderedByKey => Mode::Shared,
        };
        self.group.set_config(GroupConfig { mode, ..self.group.config().clone() });
        self.snapshot = self.group.snapshot();
        self.written.clear();
        self.forget_leases();
    }

    fn check_lag(&self) {
        for (partition, log) in &self.logs {
            let open = (0..).zip(&log.records).skip(log.start as usize);
            let owed = open.filter(|(_, stored)| stored.owed != Owed::Nothing).count() as u64;
            assert_eq!(self.group.unacknowledged(*partition, log.start, log.end()), owed);
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Publish { partition, key, lives } => {
                let key = (*key > 0).then_some(u64::from(*key));
                let expires_at_ms = (!lives).then_some(self.now_ms() + 4_000);
                let owed = Owed::Delivery { due_ms: 0 };
                let stored =
                    Stored { key, expires_at_ms, exists: true, owed, attempts: 0, handed_out: false, doubtful: false };
                self.log(PARTITIONS[*partition]).records.push(stored);
            }
            Op::Lease { consumer, most, deadline, acknowledge } => {
                self.lease(ConsumerId(*consumer), *most, *deadline, *acknowledge)
            }
            Op::Ask => {
                let (bounds, now_ms) = (self.bounds(), self.now_ms());
                self.asked = ask(&mut self.group, &bounds, false, now_ms).unwrap();
            }
            Op::WalkLate { consumer } => {
                if let Some(next) = self.asked.take() {
                    self.walk(next, ConsumerId(*consumer), 3, 5, false);
                }
            }
            Op::Settle { picks } => self.settle(picks),
            Op::Copy { lost } => self.copy(*lost),
            Op::Advance { seconds: by } => {
                self.now += seconds(*by);
                self.expire();
            }
            Op::ReleaseConsumer { consumer } => self.release_consumer(ConsumerId(*consumer)),
            Op::Seek { partition, to } => {
                let (partition, to) = self.place(*partition, to);
                let record = self.group.seek(&[(partition, to)]);
                self.reposition(partition, to, record);
            }
            Op::Commit { partition, to } => {
                let (partition, offset) = self.place(*partition, to);
                let commit = OffsetCommit { partition, offset, leader_epoch: 1, metadata: "m".to_owned() };
                let record = self.group.commit(vec![commit]);
                self.reposition(partition, offset, record);
            }
            Op::Trim { partition, to } => {
                let (partition, to) = self.place(*partition, to);
                self.log(partition).start = to;
            }
            Op::Compact { partition, offset } => {
                let log = self.log(PARTITIONS[*partition]);
                if !log.records.is_empty() {
                    let at = offset.index(log.records.len());
                    log.records[at].exists = false;
                }
            }
            Op::Restart { from_snapshot } => self.restart(*from_snapshot),
            Op::SwitchMode => self.switch_mode(),
        }
    }

    /// A partition, and an offset of it that is kept or the next to be written.
    fn place(&mut self, partition: usize, to: &prop::sample::Index) -> (PartitionId, u64) {
        let log = self.log(PARTITIONS[partition]);
        (PARTITIONS[partition], log.start + to.index((log.end() - log.start) as usize + 1) as u64)
    }

    /// Whatever happened, a consumer that acknowledges everything comes to the end.
    fn drain(&mut self) {
        for _ in 0..300 {
            self.now += seconds(40);
            self.expire();
            self.lease(A, 1_000, 30, false);
            self.copy(false);
            let live = self.leases.split_off(0);
            let acks: Vec<_> = live.into_iter().map(Settlement::Acknowledge).collect();
            let (now, now_ms) = (self.now, self.now_ms());
            let settled = self.group.settle(&acks, now, now_ms);
            for (ack, _) in acks.iter().zip(&settled.results).filter(|(_, result)| result.is_ok()) {
                self.stored(ack.lease()).owed = Owed::Nothing;
            }
            self.finish_settling(settled);
            if self.bounds().iter().all(|b| self.group.unacknowledged(b.partition, b.log_start, b.high_watermark) == 0)
            {
                return;
            }
        }
        panic!("something is never delivered: {:?} {:?}", self.group, self.logs);
    }
}

impl Stored {
    fn fail(&mut self, dies: bool, config: &GroupConfig, now: Duration, now_ms: i64) {
        if !dies {
            self.attempts += 1;
            self.owed = Owed::Delivery { due_ms: now_ms + RETRY.as_millis() as i64 };
        } else if config.dead_letter.is_some() {
            self.owed = Owed::Dying { deadline: now + seconds(30) };
        } else {
            self.owed = Owed::Nothing;
        }
    }
}

impl Deed {
    fn of(self, lease: LeaseId) -> Settlement {
        match self {
            Self::Acknowledge => Settlement::Acknowledge(lease),
            Self::Release => Settlement::Release(lease),
            Self::Reject => reject(lease),
            Self::RejectForGood => Settlement::Reject { lease, delay: None, reason: None, dead_letter: true },
            Self::Extend => Settlement::Extend(lease, seconds(7)),
        }
    }
}

fn any_op() -> impl Strategy<Value = Op> {
    let (partition, consumer, place) = (|| 0..2usize, || 1..4u64, any::<prop::sample::Index>);
    let deed = prop_oneof![
        5 => Just(Deed::Acknowledge),
        1 => Just(Deed::Release),
        2 => Just(Deed::Reject),
        1 => Just(Deed::RejectForGood),
        1 => Just(Deed::Extend),
    ];
    let picks = prop::collection::vec((place(), deed), 1..8);
    prop_oneof![
        12 => (partition(), 0..4u8, prop::bool::weighted(0.85))
            .prop_map(|(partition, key, lives)| Op::Publish { partition, key, lives }),
        8 => (consumer(), 1..6usize, 1..9u64, prop::bool::weighted(0.2)).prop_map(|(consumer, most, deadline, acknowledge)| {
            Op::Lease { consumer, most, deadline, acknowledge }
        }),
        2 => Just(Op::Ask),
        2 => consumer().prop_map(|consumer| Op::WalkLate { consumer }),
        8 => picks.prop_map(|picks| Op::Settle { picks }),
        2 => any::<bool>().prop_map(|lost| Op::Copy { lost }),
        4 => (1..6u64).prop_map(|seconds| Op::Advance { seconds }),
        1 => consumer().prop_map(|consumer| Op::ReleaseConsumer { consumer }),
        1 => (partition(), place()).prop_map(|(partition, to)| Op::Seek { partition, to }),
        1 => (partition(), place()).prop_map(|(partition, to)| Op::Commit { partition, to }),
        1 => (partition(), place()).prop_map(|(partition, to)| Op::Trim { partition, to }),
        2 => (partition(), place()).prop_map(|(partition, offset)| Op::Compact { partition, offset }),
        1 => any::<bool>().prop_map(|from_snapshot| Op::Restart { from_snapshot }),
        1 => Just(Op::SwitchMode),
    ]
}

fn any_config() -> impl Strategy<Value = GroupConfig> {
    (any::<bool>(), prop::option::of(1..4u32), any::<bool>(), prop_oneof![Just(3u32), Just(1_000)]).prop_map(
        |(ordered, max_deliveries, dead, max_in_flight)| GroupConfig {
            mode: if ordered { Mode::OrderedByKey } else { Mode::Shared },
            max_deliveries,
            dead_letter: if dead { dead_letter_topic() } else { None },
            max_in_flight,
            retry: Retry { min: RETRY, max: RETRY, multiplier: 1.0 },
            ..GroupConfig::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn a_group_keeps_its_promises(config in any_config(), ops in prop::collection::vec(any_op(), 1..120)) {
        let mut world = World::new(config);
        for op in &ops {
            world.run(op);
            world.check_lag();
        }
        world.restart(false);
        world.drain();
    }
}
