//! The log on a real directory: what is written is read, and survives reopening.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use support::*;
use tidegate_engine::group::GroupConfig;
use tidegate_engine::store::Environment;
use tidegate_engine::store::faulty::{End, Fault, FaultyStore, SimulatedClock};
use tidegate_engine::{Durability, Engine, EngineConfig, Error, GroupName, TopicConfig, TopicName, Write};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_and_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let topic = topic(&engine, "orders", 2, TopicConfig::default()).await;
    let mut expected = [Vec::new(), Vec::new()];
    for round in 0..300u64 {
        let at = usize::try_from(round % 2).unwrap();
        let values = [format!("{round} {}", "x".repeat(200)), format!("{round} second")];
        let offset = append(&engine, topic.partitions[at], &[&values[0], &values[1]]).await;
        for (value, offset) in values.into_iter().zip(offset..) {
            expected[at].push((offset, value));
        }
        if round % 70 == 69 {
            for (partition, expected) in topic.partitions.iter().zip(&expected) {
                assert!(read_all(&engine, *partition).await == *expected, "round {round}");
            }
        }
    }
    assert!(engine.usage().segments > 1, "the test should roll segments");
    engine.close().await.unwrap();
    drop(engine);
    let engine = open(directory.path());
    for (partition, expected) in topic.partitions.iter().zip(&expected) {
        assert!(read_all(&engine, *partition).await == *expected);
    }
    assert_eq!(append(&engine, topic.partitions[0], &["next"]).await, expected[0].len() as u64);
    assert_eq!(engine.topic("default", "orders").unwrap().id, topic.id);
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_can_be_read_however_durable_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    for durability in [Durability::Memory, Durability::PageCache, Durability::Fsync] {
        let config = TopicConfig { durability, ..TopicConfig::default() };
        let partition = topic(&engine, &format!("{durability:?}"), 1, config).await.partitions[0];
        for offset in 0..200 {
            let appends = engine.append(vec![Write::new(partition, batch(&["value"]))]).await;
            appends.commit.wait().await.unwrap();
            assert_eq!(engine.partition(partition).unwrap().high_watermark, offset + 1, "{durability:?}");
            assert_eq!(engine.read(partition, offset, 1).await.unwrap().batches.len(), 1, "{durability:?}");
        }
    }
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_written_together_and_at_once_when_somebody_comes_to_read() {
    let directory = tempfile::tempdir().unwrap();
    // So long that only a reader, or `sync`, can have ended it.
    let long = Duration::from_secs(10);
    let config = EngineConfig { lazy_commit: long, maintenance_interval: long, ..small() };
    let engine = Engine::open(config, Environment::local(directory.path()).unwrap()).unwrap().0;
    let config = TopicConfig { durability: Durability::Memory, ..TopicConfig::default() };
    let partition = topic(&engine, "orders", 1, config).await.partitions[0];
    let publish = async |count: u64| {
        for _ in 0..count {
            engine.append_untold(vec![Write::new(partition, batch(&["value"]))]).await.pop().unwrap().unwrap();
        }
    };
    let end = || engine.partition(partition).unwrap().high_watermark;
    let blocks = || engine.counters().blocks.load(Ordering::Relaxed);

    engine.sync().unwrap().wait().await.unwrap();
    let before = blocks();
    publish(100).await;
    assert_eq!((end(), blocks()), (0, before), "nobody waits");
    tokio::time::timeout(long / 2, engine.watch(&[(partition, 0)]).changed()).await.unwrap();
    assert_eq!((end(), blocks()), (100, before + 1), "all together, for the reader");

    publish(1).await;
    let group = GroupName::new("default", "workers").unwrap();
    let config = GroupConfig { topics: vec![name("orders")], ..GroupConfig::default() };
    engine.create_group(group.clone(), config).unwrap().wait().await.unwrap();
    let mut watch = engine.watch_group(&group);
    publish(1).await;
    tokio::time::timeout(long / 2, watch.changed()).await.unwrap();
    assert!(end() > 100, "a reader who was there first");

    publish(1).await;
    engine.sync().unwrap().wait().await.unwrap();
    assert_eq!(end(), 103, "synced");
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn much_that_nobody_waits_for_is_written_so_that_there_is_room_for_more() {
    let directory = tempfile::tempdir().unwrap();
    let long = Duration::from_secs(10);
    let config = EngineConfig { lazy_commit: long, pending_bytes: 16 << 10, ..small() };
    let engine = Engine::open(config, Environment::local(directory.path()).unwrap()).unwrap().0;
    let config = TopicConfig { durability: Durability::Memory, ..TopicConfig::default() };
    let partition = topic(&engine, "orders", 1, config).await.partitions[0];
    // Small ones take more room than they have bytes.
    for size in [1, 1 << 10] {
        let value = "x".repeat(size);
        let publish = async {
            for count in 0..100 {
                engine.append_untold(vec![Write::new(partition, batch(&[&value]))]).await.pop().unwrap().unwrap();
                if count == 0 {
                    // Now the committer has seen it, and waits.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        };
        tokio::time::timeout(long / 2, publish).await.unwrap();
    }
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_just_vanished_loses_nothing_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    let mut partition = None;
    for round in 0..5 {
        let (engine, _) = Engine::open_manual(small(), Environment::local(directory.path()).unwrap()).unwrap();
        let partition = *partition.get_or_insert_with(|| {
            let name = TopicName::new("default", "orders").unwrap();
            let (topic, _commit) = engine.create_topic(name, 1, TopicConfig::default()).unwrap();
            engine.turn().unwrap();
            topic.partitions[0]
        });
        for index in 0..40 {
            let value = format!("{round}-{index}-{}", "y".repeat(700));
            let appends = engine.append(vec![Write::new(partition, batch(&[&value]))]).await;
            engine.turn().unwrap();
            appends.commit.wait().await.unwrap();
            expected.push((expected.len() as u64, value));
        }
        if round == 2 {
            engine.maintain().unwrap();
        }
        // No close: what is in memory is gone.
        drop(engine);
    }
    let engine = open(directory.path());
    assert!(read_all(&engine, partition.unwrap()).await == expected);
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = Environment::local(directory.path()).unwrap();
    assert!(matches!(Environment::local(directory.path()), Err(Error::Locked)));
}

/// A segment that could not be entered into the manifest, as far as could be told, and was: another one is written in its
/// place, and it stays empty. What its space held before is not a block that was lost.
#[tokio::test]
async fn a_segment_that_was_never_used_is_no_damage() {
    let mut entered = 0;
    for (seed, call) in (0..8).flat_map(|seed| (3..120).map(move |call| (seed, call))) {
        let store = FaultyStore::new(seed);
        store.inject(call, Fault::Device);
        let environment = |store: &FaultyStore| Environment {
            store: Arc::new(store.clone()),
            clock: Arc::new(SimulatedClock::new(1_700_000_000_000)),
        };
        let Ok((engine, _)) = Engine::open_manual(small(), environment(&store)) else { continue };
        let Ok((topic, _)) = engine.create_topic(name("orders"), 1, TopicConfig::default()) else { continue };
        let partition = topic.partitions[0];
        let value = "x".repeat(9_000);
        for _ in 0..20 {
            drop(engine.append(vec![Write::new(partition, batch(&[&value]))]).await);
            let _ = engine.turn();
            let _ = engine.maintain();
        }
        let Ok(info) = engine.partition(partition) else { continue };
        // Twice: the first start seals what it finds, the second relies on that.
        let mut store = store;
        for end in [End::Process, End::Power] {
            store = store.restart(end);
            let (engine, _) = Engine::open_manual(small(), environment(&store)).unwrap();
            entered += usize::from(engine.usage().segments > 3);
            let found = engine.partition(partition).map_or(0, |found| found.high_watermark);
            assert!(found >= info.high_watermark, "seed {seed}, call {call}: {found} of {info:?}");
        }
    }
    assert!(entered > 0, "in no run was there a segment too many");
}

#[tokio::test]
async fn a_header_that_was_not_wholly_written_is_no_newer_version() {
    let directory = tempfile::tempdir().unwrap();
    drop(open_manual(directory.path()));
    let path = directory.path().join("log-00000000000000ff.seg");
    let mut header = [0xab; 4096];
    header[..8].copy_from_slice(b"TIDEGATE");
    std::fs::write(&path, header).unwrap();
    drop(open_manual(directory.path()));
    assert!(!path.exists(), "nothing was ever written to it");
    header[8..12].copy_from_slice(&200u32.to_le_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &header[..60]);
    header[60..64].copy_from_slice(&u32::try_from(crc).unwrap().to_le_bytes());
    std::fs::write(&path, header).unwrap();
    let error = Engine::open_manual(small(), Environment::local(directory.path()).unwrap()).map(drop).unwrap_err();
    assert!(matches!(error, Error::Format { found: 200, .. }), "{error}");
    assert!(path.exists());
}

#[tokio::test]
async fn whoever_waits_is_told_that_the_disk_is_full_and_what_was_accepted_is_written_later() {
    let store = FaultyStore::new(7);
    let clock = Arc::new(SimulatedClock::new(1_700_000_000_000));
    let environment = Environment { store: Arc::new(store.clone()), clock };
    let (engine, _) = Engine::open_manual(EngineConfig { pending_bytes: 200_000, ..small() }, environment).unwrap();
    let partition = topic(&engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    store.set_capacity(store.used());
    let value = "x".repeat(9_000);
    let mut commits = Vec::new();
    for _ in 0..20 {
        commits.push(engine.append(vec![Write::new(partition, batch(&[&value]))]).await.commit);
    }
    assert_eq!(engine.turn(), Err(Error::DiskFull));
    let mut answers = Vec::new();
    for commit in commits {
        answers.push(commit.wait().await);
    }
    let written = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!(written > 1 && answers[written..].iter().all(|answer| *answer == Err(Error::Undecided)), "{answers:?}");
    assert_eq!(read_all(&engine, partition).await.len(), written, "what fits is written");
    // The queue is as full as it may be, and still nobody waits.
    let refused = engine.append(vec![Write::new(partition, batch(&["new"]))]).await;
    assert_eq!(refused.results, [Err(Error::DiskFull)]);
    store.set_capacity(u64::MAX);
    engine.maintain().unwrap();
    settle(&engine).await;
    assert_eq!(read_all(&engine, partition).await.len(), 20);
    assert_eq!(append(&engine, partition, &["new"]).await, 20);
}
