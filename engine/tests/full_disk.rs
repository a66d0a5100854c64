//! A disk that fills up: what was accepted waits for space, and the space comes back without anybody's help once there is
//! something to remove.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::group::{GroupConfig, LeaseRequest, Settlement};
use tidegate_engine::store::faulty::{End, FaultyStore, SimulatedClock};
use tidegate_engine::store::{Clock, Environment};
use tidegate_engine::{Appends, Engine, EngineConfig, Error, GroupName, PartitionId, Retention, TopicConfig, Write};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const BEFORE: usize = 30;
const STUCK: usize = 40;

/// An engine whose disk is full: with records of a topic that are too old after an hour, and more accepted of another, which
/// keeps its records, than there is space for.
struct Full {
    engine: Engine,
    store: FaultyStore,
    clock: Arc<SimulatedClock>,
    old: PartitionId,
    orders: PartitionId,
    /// The last were acknowledged to nobody.
    values: Vec<String>,
    acknowledged: usize,
}

fn workers() -> GroupName {
    GroupName::new("default", "workers").unwrap()
}

fn open(store: &FaultyStore, clock: &Arc<SimulatedClock>) -> Engine {
    try_open(store, clock).unwrap()
}

fn try_open(store: &FaultyStore, clock: &Arc<SimulatedClock>) -> Result<Engine, Error> {
    let environment = Environment { store: Arc::new(store.clone()), clock: clock.clone() };
    Engine::open_manual(EngineConfig { segment_bytes: 256 << 10, ..small() }, environment).map(|(engine, _)| engine)
}

async fn limited(engine: &Engine, name: &str, time: Option<Duration>) -> PartitionId {
    let retention = Retention { time, ..Retention::default() };
    topic(engine, name, 1, TopicConfig { retention, ..TopicConfig::default() }).await.partitions[0]
}

/// What came of each append, once the disk was found full.
async fn told(engine: &Engine, appends: Vec<Appends>) -> Vec<Result<(), Error>> {
    assert_eq!(engine.turn(), Err(Error::DiskFull));
    let mut told = Vec::new();
    for append in appends {
        told.push(append.commit.wait().await);
    }
    told
}

impl Full {
    async fn new(seed: u64) -> Self {
        let (store, clock) = (FaultyStore::new(seed), Arc::new(SimulatedClock::new(NOW_MS)));
        let engine = open(&store, &clock);
        let (old, orders) = (limited(&engine, "old", Some(HOUR)).await, limited(&engine, "orders", None).await);
        let config = GroupConfig { topics: vec![name("orders")], ..GroupConfig::default() };
        drop(engine.create_group(workers(), config).unwrap());
        let mut values = Vec::new();
        for number in 0..BEFORE {
            let record = Record { timestamp_ms: NOW_MS, value: Some(vec![b'x'; 45_000].into()), ..Record::default() };
            write(&engine, Write::new(old, Batch::pack(&[record]).unwrap())).await;
            values.push(format!("{number}"));
            append(&engine, orders, &[&values[number]]).await;
            engine.maintain().unwrap();
        }
        // Less than a segment, and enough for what is removed to be noted and what lives beside it to be copied.
        store.set_capacity(store.used() + (64 << 10));
        let mut appends = Vec::new();
        for number in 0..STUCK {
            values.push(format!("{number:09000}"));
            appends.push(engine.append(vec![Write::new(orders, batch(&[&values[BEFORE + number]]))]).await);
        }
        let told = told(&engine, appends).await;
        let written = told.iter().take_while(|answer| answer.is_ok()).count();
        assert!(written < STUCK && told[written..].iter().all(|answer| *answer == Err(Error::Undecided)), "{told:?}");
        Self { engine, store, clock, old, orders, values, acknowledged: BEFORE + written }
    }

    /// A round of maintenance. Copying what lives in mostly dead segments finds no space.
    fn maintain(&self) {
        assert!(matches!(self.engine.maintain(), Ok(()) | Err(Error::DiskFull)));
    }

    /// Commits, and says whether everything could be written.
    fn turn(&self) -> bool {
        match self.engine.turn() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error, Error::DiskFull);
                false
            }
        }
    }

    /// One consumer takes some and acknowledges them while the disk is full.
    async fn consume(&self, count: usize) {
        let consumer = self.engine.new_consumer();
        let (max_bytes, deadline) = (1 << 20, None);
        let request =
            LeaseRequest { consumer, max_messages: count, max_bytes, deadline, acknowledge: false, waited: false };
        let taken = self.engine.lease(&workers(), request).await.unwrap();
        assert_eq!(taken.len(), count);
        let settlements = taken.iter().map(|delivery| Settlement::Acknowledge(delivery.lease)).collect();
        let (results, commit) = self.engine.settle(&workers(), settlements).unwrap();
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        self.turn();
        commit.wait().await.unwrap();
    }

    fn consumed(&self) -> usize {
        let kept = self.engine.partition(self.orders).unwrap().high_watermark;
        kept as usize - self.engine.lag(&workers()).unwrap()[0].messages as usize
    }

    async fn stored(&self) -> usize {
        let stored = read_all(&self.engine, self.orders).await;
        let expected = self.values.iter().take(stored.len()).enumerate().map(|(at, value)| (at as u64, value.clone()));
        assert!(stored.iter().cloned().eq(expected), "in order and without gaps");
        stored.len()
    }

    /// Everything that was accepted is written in the end, or after a restart everything acknowledged, and publishing works.
    async fn recovers(&mut self, restarted: bool) {
        for _ in 0..20 {
            self.maintain();
            self.turn();
        }
        assert!(!self.engine.usage().disk_full, "what is too old should make room");
        let stored = self.stored().await;
        let least = if restarted { self.acknowledged } else { self.values.len() };
        assert!(stored >= least, "{stored} of {least}");
        assert_eq!(append(&self.engine, self.orders, &["new"]).await, stored as u64);
        assert!(self.engine.partition(self.old).unwrap().log_start > 0);
    }

    async fn restart(&mut self, end: End) {
        self.store = self.store.restart(end);
        self.clock = Arc::new(self.clock.restarted());
        self.engine = try_open(&self.store, &self.clock).unwrap_or_else(|error| {
            // Where the end of the log looks like a write that was cut off it is sealed at once, which takes another segment.
            assert_eq!(error, Error::DiskFull);
            self.store.set_capacity(self.store.used() + (320 << 10));
            open(&self.store, &self.clock)
        });
        let stored = self.stored().await;
        assert!(stored >= self.acknowledged, "{stored} of {}", self.acknowledged);
        assert!(self.clock.now_ms() >= NOW_MS);
    }
}

#[tokio::test]
async fn retention_makes_room_for_what_waits_for_space() {
    let mut full = Full::new(1).await;
    for _ in 0..3 {
        full.maintain();
        assert!(!full.turn(), "nothing can be removed yet");
    }
    assert!(full.stored().await < full.values.len());
    full.clock.advance(2 * HOUR);
    full.recovers(false).await;
}

#[tokio::test]
async fn consumers_go_on_while_publishes_wait_for_space() {
    let mut full = Full::new(2).await;
    full.consume(5).await;
    full.consume(7).await;
    assert_eq!(full.consumed(), 12);
    full.restart(End::Power).await;
    assert_eq!(full.consumed(), 12);
    full.clock.advance(2 * HOUR);
    full.recovers(true).await;
    assert_eq!(full.consumed(), 12);
}

/// Consuming must not use up the space in which retention notes what it removes.
#[tokio::test]
async fn retention_makes_room_after_consumers_have_used_up_theirs() {
    let mut full = Full::new(3).await;
    let consumer = full.engine.new_consumer();
    let request =
        LeaseRequest { consumer, max_messages: 1, max_bytes: 1, deadline: None, acknowledge: false, waited: false };
    let mut settled = 0;
    let refused = loop {
        let taken = full.engine.lease(&workers(), request).await.unwrap();
        let settlements = taken.iter().map(|one| Settlement::Reject {
            lease: one.lease,
            delay: Some(Duration::ZERO),
            reason: None,
            dead_letter: false,
        });
        match full.engine.settle(&workers(), settlements.collect()) {
            Ok((_, commit)) => {
                full.turn();
                commit.wait().await.unwrap();
                settled += 1;
            }
            Err(error) => break error,
        }
        assert!(settled < 10_000, "the disk is full");
    };
    assert_eq!((refused, settled > 10), (Error::DiskFull, true));
    full.clock.advance(2 * HOUR);
    full.recovers(false).await;
}

/// A crash anywhere between the full disk and its end.
#[tokio::test]
async fn a_crash_on_the_way_loses_nothing_acknowledged() {
    for seed in 0..16 {
        for steps in 0..8 {
            let mut full = Full::new(seed).await;
            full.consume(5).await;
            full.clock.advance(2 * HOUR);
            for step in 0..steps {
                match step % 2 {
                    0 => full.maintain(),
                    _ => drop(full.turn()),
                }
            }
            full.restart(if seed % 2 == 0 { End::Power } else { End::Process }).await;
            assert_eq!(full.consumed(), 5);
            full.recovers(true).await;
        }
    }
}

/// A topic that is deleted while its own records wait for space gives its space to others, also over a restart.
#[tokio::test]
async fn a_topic_whose_records_wait_can_be_deleted() {
    for end in [None, Some(End::Process), Some(End::Power)] {
        let mut full = Full::new(4).await;
        let record = Record { timestamp_ms: NOW_MS, value: Some(vec![b'x'; 9_000].into()), ..Record::default() };
        let deleted = full.engine.delete_topic(&name("orders")).unwrap();
        full.turn();
        deleted.wait().await.unwrap();
        if let Some(end) = end {
            let store = full.store.restart(end);
            full.engine = open(&store, &full.clock);
            full.store = store;
        }
        assert!(full.engine.topic("default", "orders").is_none());
        full.clock.advance(2 * HOUR);
        for _ in 0..20 {
            full.maintain();
            full.turn();
        }
        assert!(!full.engine.usage().disk_full);
        write(&full.engine, Write::new(full.old, Batch::pack(&[record]).unwrap())).await;
        for end in [End::Process, End::Power] {
            full.store = full.store.restart(end);
            full.engine = open(&full.store, &full.clock);
            assert_eq!(full.engine.partition(full.old).unwrap().high_watermark, BEFORE as u64 + 1);
        }
    }
}

/// The index of a segment must fit the space that was reserved for it, whatever is written: to one partition or to many at once.
#[tokio::test]
async fn a_segment_can_be_sealed_on_a_full_disk_whatever_is_in_it() {
    for (partitions, together, values) in [(1000, true, 40), (1000, false, 3_000), (1, false, 6_000)] {
        let (store, clock) = (FaultyStore::new(5), Arc::new(SimulatedClock::new(NOW_MS)));
        let engine = open(&store, &clock);
        let wide = topic(&engine, "wide", partitions, TopicConfig::default()).await;
        // The next segment is reserved, and nothing more is to be had.
        while store.contents().keys().filter(|name| name.ends_with(".seg")).count() < 2 {
            append(&engine, wide.partitions[0], &[&"some".repeat(500)]).await;
            engine.maintain().unwrap();
        }
        store.set_capacity(store.used());
        for number in 0..values {
            let at = number % wide.partitions.len();
            let targets = if together { wide.partitions.clone() } else { vec![wide.partitions[at]] };
            let small = Write { partitions: targets, ..Write::new(wide.partitions[at], batch(&["small"])) };
            drop(engine.append(vec![small]).await);
            if number % 500 == 499 || together {
                let turned = engine.turn();
                assert!(matches!(turned, Ok(_) | Err(Error::DiskFull)), "{turned:?}");
            }
        }
        assert!(!engine.usage().poisoned);
    }
}
