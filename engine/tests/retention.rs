//! When topics are held to their limits: in their own time, but before they cost space.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::group::GroupConfig;
use tidegate_engine::store::Environment;
use tidegate_engine::store::faulty::{FaultyStore, SimulatedClock};
use tidegate_engine::{Engine, EngineConfig, GroupName, PartitionId, Retention, TopicConfig, Write};

const NOW_MS: i64 = 1_700_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);
const INTERVAL: Duration = Duration::from_secs(300);

/// An engine that has been up for a while: it looked at the limits when it started.
fn open() -> (Engine, FaultyStore, Arc<SimulatedClock>) {
    let (store, clock) = (FaultyStore::new(7), Arc::new(SimulatedClock::new(NOW_MS)));
    let environment = Environment { store: Arc::new(store.clone()), clock: clock.clone() };
    let config = EngineConfig { retention_interval: INTERVAL, ..small() };
    let engine = Engine::open_manual(config, environment).unwrap().0;
    engine.maintain().unwrap();
    (engine, store, clock)
}

async fn limited(engine: &Engine, name: &str, retention: Retention) -> PartitionId {
    topic(engine, name, 1, TopicConfig { retention, ..TopicConfig::default() }).await.partitions[0]
}

fn by_time() -> Retention {
    Retention { time: Some(HOUR), ..Retention::default() }
}

fn by_bytes(bytes: u64) -> Retention {
    Retention { time: None, bytes: Some(bytes), ..Retention::default() }
}

/// A record that is twice as old as an hour.
async fn append_old(engine: &Engine, partition: PartitionId, length: usize) {
    let record =
        Record { timestamp_ms: NOW_MS - 7_200_000, value: Some(vec![b'x'; length].into()), ..Record::default() };
    write(engine, Write::new(partition, Batch::pack(&[record]).unwrap())).await;
}

async fn rounds(engine: &Engine, count: usize) {
    for _ in 0..count {
        engine.maintain().unwrap();
        settle(engine).await;
    }
}

fn log_start(engine: &Engine, partition: PartitionId) -> u64 {
    engine.partition(partition).unwrap().log_start
}

#[tokio::test]
async fn records_that_were_too_old_when_they_were_written_can_be_read_until_limits_are_looked_at() {
    let (engine, _, clock) = open();
    let (old, many) = (limited(&engine, "old", by_time()).await, limited(&engine, "many", by_bytes(1)).await);
    for _ in 0..2 {
        append_old(&engine, old, 10).await;
        append(&engine, many, &["small"]).await;
    }
    clock.advance(INTERVAL - Duration::from_secs(1));
    rounds(&engine, 3).await;
    assert_eq!((read_all(&engine, old).await.len(), read_all(&engine, many).await.len()), (2, 2));
    clock.advance(Duration::from_secs(1));
    rounds(&engine, 1).await;
    assert_eq!((log_start(&engine, old), log_start(&engine, many)), (2, 1));
    append_old(&engine, old, 10).await;
    rounds(&engine, 3).await;
    assert_eq!(read_all(&engine, old).await.len(), 1, "the next look is an interval later");
}

#[tokio::test]
async fn a_restart_looks_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let environment = Environment {
            clock: Arc::new(SimulatedClock::new(NOW_MS)),
            ..Environment::local(directory.path()).unwrap()
        };
        Engine::open_manual(EngineConfig { retention_interval: INTERVAL, ..small() }, environment).unwrap().0
    };
    let engine = open();
    let old = limited(&engine, "old", by_time()).await;
    append_old(&engine, old, 10).await;
    drop(engine);
    let engine = open();
    rounds(&engine, 1).await;
    assert_eq!(log_start(&engine, old), 1);
}

/// However fast it is written, a topic with a limit of bytes is over it by what a segment holds.
#[tokio::test]
async fn a_full_segment_has_bytes_looked_at() {
    let (engine, _, _) = open();
    let (old, many) = (limited(&engine, "old", by_time()).await, limited(&engine, "many", by_bytes(10_000)).await);
    append_old(&engine, old, 10).await;
    let mut most = 0;
    for _ in 0..300 {
        append(&engine, many, &[&"m".repeat(2_000)]).await;
        rounds(&engine, 1).await;
        most = most.max(engine.usage().segments);
    }
    let kept = engine.partition(many).unwrap();
    let kept = kept.high_watermark - kept.log_start;
    assert!(kept <= (10_000 + small().segment_bytes) / 2_000 + 1, "{kept} records of 2 kB are left");
    assert!(most <= 5, "600 kB were written, and there were {most} segments of 64 KiB");
    assert_eq!(log_start(&engine, old), 0, "its time comes with the interval");
}

#[tokio::test]
async fn a_full_disk_has_both_looked_at() {
    let (engine, store, _) = open();
    let old = limited(&engine, "old", by_time()).await;
    for _ in 0..100 {
        append_old(&engine, old, 2_000).await;
    }
    rounds(&engine, 3).await;
    assert_eq!(log_start(&engine, old), 0);
    store.set_capacity(store.used());
    let mut was_full = false;
    for _ in 0..100 {
        append_old(&engine, old, 2_000).await;
        rounds(&engine, 1).await;
        was_full |= engine.usage().disk_full;
    }
    assert!(was_full, "the test should fill the disk");
    assert!(log_start(&engine, old) > 100, "what was too old made room for what was written");
}

#[tokio::test]
async fn queues_are_looked_at_in_every_round() {
    let (engine, _, _) = open();
    let retention = Retention { time: None, until_acknowledged: true, ..Retention::default() };
    let queue = limited(&engine, "queue", retention).await;
    let group = GroupName::new("default", "queue").unwrap();
    let config = GroupConfig { topics: vec![name("queue")], ..GroupConfig::default() };
    drop(engine.create_group(group.clone(), config).unwrap());
    append(&engine, queue, &["one"]).await;
    drop(engine.purge(&group).unwrap());
    settle(&engine).await;
    rounds(&engine, 1).await;
    assert_eq!(log_start(&engine, queue), 1);
}
