//! Space comes back, and what lives is not touched by it.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::*;
use tidegate_engine::batch::Batch;
use tidegate_engine::store::Environment;
use tidegate_engine::store::faulty::{FaultyStore, SimulatedClock};
use tidegate_engine::{DedupeKey, Engine, EngineConfig, Error, PartitionId, Retention, TopicConfig, Write};

fn forever() -> Retention {
    Retention { time: None, ..Retention::default() }
}

#[tokio::test]
async fn dead_segments_are_deleted_and_mostly_dead_ones_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let short = TopicConfig { retention: Retention { bytes: Some(10_000), ..forever() }, ..TopicConfig::default() };
    let busy = topic(&engine, "busy", 1, short).await;
    let kept = topic(&engine, "kept", 1, TopicConfig { retention: forever(), ..TopicConfig::default() }).await;
    let mut expected = Vec::new();
    for round in 0..400 {
        append(&engine, busy.partitions[0], &[&format!("{round} {}", "b".repeat(1500))]).await;
        if round % 20 == 0 {
            let value = format!("kept {round} {}", "k".repeat(300));
            expected.push((append(&engine, kept.partitions[0], &[&value]).await, value));
        }
        if round % 10 == 0 {
            engine.maintain().unwrap();
            settle(&engine).await;
        }
    }
    for _ in 0..20 {
        engine.maintain().unwrap();
        settle(&engine).await;
    }
    let used = engine.usage().segments;
    assert!(used <= 5, "600 KB were written and about 20 KB live, yet there are {used} segments of 64 KiB");
    assert!(read_all(&engine, kept.partitions[0]).await == expected);
    let log_start = engine.partition(busy.partitions[0]).unwrap().log_start;
    assert!(log_start > 300, "retention by bytes should have moved the log start, it is {log_start}");
    drop(engine);
    let engine = open_manual(directory.path());
    assert!(read_all(&engine, kept.partitions[0]).await == expected);
    assert_eq!(engine.partition(busy.partitions[0]).unwrap().log_start, log_start);
}

#[tokio::test]
async fn a_compacted_topic_with_limits_keeps_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let retention = Retention { compact: true, bytes: Some(20_000), ..forever() };
    let config = TopicConfig { retention, ..TopicConfig::default() };
    let table = topic(&engine, "table", 1, config).await.partitions[0];
    for round in 0..300u32 {
        let value = format!("{round} {}", "v".repeat(700));
        write(&engine, Write::new(table, Batch::pack(&[record(Some(&format!("key{round}")), Some(&value))]).unwrap()))
            .await;
    }
    for _ in 0..10 {
        engine.maintain().unwrap();
        settle(&engine).await;
    }
    // Sealed segments, of 64 KiB here, are removed whole; everything together would be 220 KB.
    let partition = engine.partition(table).unwrap();
    assert!(partition.log_start > 0 && partition.bytes < 20_000 + (128 << 10), "{} bytes are kept", partition.bytes);
    let kept = read_all(&engine, table).await;
    assert_eq!(kept.len() as u64, 300 - partition.log_start);
}

#[test]
fn who_asks_for_the_last_value_of_each_key_gets_it_for_ever() {
    let default = Retention::default();
    let compacting = default.compacting(Some(true));
    assert_eq!((compacting.compact, compacting.time, compacting.bytes), (true, None, None));
    let limited = Retention { compact: true, ..default.clone() };
    assert_eq!(limited.compacting(Some(true)), limited, "it compacts already, with its limits");
    assert_eq!(limited.compacting(None), limited);
    assert_eq!(default.compacting(None), default);
}

#[tokio::test]
async fn compaction_keeps_the_last_value_of_each_key() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let config = TopicConfig { retention: Retention { compact: true, ..forever() }, ..TopicConfig::default() };
    let table = topic(&engine, "table", 1, config).await.partitions[0];
    let other =
        topic(&engine, "other", 1, TopicConfig { retention: forever(), ..TopicConfig::default() }).await.partitions[0];
    for round in 0..300u32 {
        let value = format!("{round} {}", "v".repeat(700));
        let records = [
            record(Some(&format!("key{}", round % 7)), Some(&value)),
            record(Some("once"), (round > 0).then_some("x")),
        ];
        write(&engine, Write::new(table, Batch::pack(&records).unwrap())).await;
        append(&engine, other, &[&round.to_string()]).await;
    }
    let before = engine.counters().rewritten_bytes.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(before, 0);
    for _ in 0..10 {
        engine.maintain().unwrap();
        settle(&engine).await;
    }
    let check = async |engine: &tidegate_engine::Engine| {
        let records = read_records(engine, table).await;
        assert!(records.len() < 250, "600 records of 8 keys should shrink, {} are left", records.len());
        assert!(records.windows(2).all(|pair| pair[0].offset < pair[1].offset));
        for key in 0..7u64 {
            let newest =
                records.iter().rfind(|record| record.key.as_deref() == Some(format!("key{key}").as_bytes())).unwrap();
            let round = (0..300).rev().find(|round| round % 7 == key).unwrap();
            assert_eq!(newest.offset, round * 2);
        }
        assert_eq!(read_all(engine, other).await.len(), 300);
    };
    check(&engine).await;
    drop(engine);
    check(&open_manual(directory.path())).await;
}

#[tokio::test]
async fn fan_out_stores_the_body_once_even_after_a_rewrite() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let wide = topic(&engine, "wide", 50, TopicConfig { retention: forever(), ..TopicConfig::default() }).await;
    let short = TopicConfig { retention: Retention { bytes: Some(1), ..forever() }, ..TopicConfig::default() };
    let busy = topic(&engine, "busy", 1, short).await;
    append(&engine, wide.partitions[3], &["only here"]).await;
    let before = engine.counters().written_bytes.load(std::sync::atomic::Ordering::Relaxed);
    let body = "body".repeat(75);
    let shared = Write { partitions: wide.partitions.clone(), ..Write::new(wide.partitions[0], batch(&[&body])) };
    assert_eq!(write(&engine, shared).await.base_offset, Some(0));
    let written = engine.counters().written_bytes.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert!(written < 1500, "300 bytes for 50 partitions took {written}");
    for round in 0..200 {
        append(&engine, busy.partitions[0], &[&format!("{round} {}", "b".repeat(1000))]).await;
    }
    for _ in 0..10 {
        engine.maintain().unwrap();
        settle(&engine).await;
    }
    assert!(engine.counters().rewritten_bytes.load(std::sync::atomic::Ordering::Relaxed) > 0);
    let mut engine = engine;
    for _ in 0..2 {
        for (index, partition) in wide.partitions.iter().enumerate() {
            let mut expected = vec![(0, body.clone())];
            if index == 3 {
                expected = vec![(0, "only here".to_owned()), (1, body.clone())];
            }
            assert!(read_all(&engine, *partition).await == expected, "partition {index}");
        }
        drop(engine);
        engine = open_manual(directory.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_records_come_at_their_time_and_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let topic =
        topic(&engine, "later", 1, TopicConfig { retention: forever(), ..TopicConfig::default() }).await.partitions[0];
    let now_ms =
        i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    for (value, delay) in [("second", 400), ("first", 200)] {
        let write = Write { deliver_at_ms: Some(now_ms + delay), ..Write::new(topic, batch(&[value])) };
        assert_eq!(support::write(&engine, write).await.base_offset, None);
    }
    assert!(read_all(&engine, topic).await.is_empty());
    engine.close().await.unwrap();
    drop(engine);
    let engine = open(directory.path());
    assert_eq!(engine.usage().scheduled, 2);
    engine.watch(&[(topic, 1)]).changed().await;
    assert_eq!(read_all(&engine, topic).await, [(0, "first".to_owned()), (1, "second".to_owned())]);
    assert_eq!(engine.usage().scheduled, 0);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn a_delayed_record_that_cannot_be_delivered_does_not_hold_up_those_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SimulatedClock::new(1_700_000_000_000));
    let environment = Environment { clock: clock.clone(), ..Environment::local(directory.path()).unwrap() };
    let config = EngineConfig { tail_cache_bytes: 0, ..small() };
    let engine = Engine::open_manual(config, environment).unwrap().0;
    let retention = TopicConfig { retention: forever(), ..TopicConfig::default() };
    let later = topic(&engine, "later", 1, retention.clone()).await.partitions[0];
    let large = "larger than will be allowed ".repeat(20);
    for (value, delay) in [("this one decays", 1_000), (&large, 2_000), ("small", 3_000)] {
        let deliver_at_ms = Some(1_700_000_000_000 + delay);
        write(&engine, Write { deliver_at_ms, ..Write::new(later, batch(&[value])) }).await;
    }
    // The page they are in is full and will not be written again.
    let other = topic(&engine, "other", 1, retention.clone()).await.partitions[0];
    append(&engine, other, &[&"x".repeat(8 << 10)]).await;
    drop(engine.alter_topic(&name("later"), TopicConfig { max_message_bytes: 100, ..retention }).unwrap());
    let path = directory.path().join("log-0000000000000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(15).position(|found| found == b"this one decays").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    clock.advance(Duration::from_secs(5));
    for _ in 0..2 {
        engine.maintain().unwrap();
        settle(&engine).await;
    }
    assert_eq!(read_all(&engine, later).await, [(0, large), (1, "small".to_owned())]);
    assert_eq!(engine.usage().scheduled, 1, "it is kept, until an operator gives it up");
}

#[tokio::test]
async fn an_idempotency_key_is_part_of_the_write() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = open_manual(directory.path());
    let topic =
        topic(&engine, "orders", 1, TopicConfig { retention: forever(), ..TopicConfig::default() }).await.partitions[0];
    let keyed = |body| Write { dedupe: Some(DedupeKey { key: 7, body }), ..Write::new(topic, batch(&["once"])) };
    assert_eq!(write(&engine, keyed(1)).await.base_offset, Some(0));
    append(&engine, topic, &["between"]).await;
    for _ in 0..2 {
        let repeat = write(&engine, keyed(1)).await;
        assert_eq!((repeat.base_offset, repeat.duplicate), (Some(0), true));
        let appends = engine.append(vec![keyed(2)]).await;
        assert!(matches!(appends.results[0], Err(Error::IdempotencyMismatch)));
        drop(engine);
        engine = open_manual(directory.path());
    }
    assert_eq!(read_all(&engine, topic).await.len(), 2);
}

const NOW_MS: i64 = 1_700_000_000_000;

fn simulated(config: EngineConfig) -> (Engine, FaultyStore) {
    let store = FaultyStore::new(1);
    let clock = Arc::new(SimulatedClock::new(NOW_MS));
    let environment = Environment { store: Arc::new(store.clone()), clock };
    (Engine::open_manual(config, environment).unwrap().0, store)
}

async fn kept_for_ever(engine: &Engine, name: &str, compact: bool) -> PartitionId {
    let retention = Retention { compact, ..forever() };
    topic(engine, name, 1, TopicConfig { retention, ..TopicConfig::default() }).await.partitions[0]
}

async fn fill(engine: &Engine, partition: PartitionId, count: usize) {
    for round in 0..count {
        append(engine, partition, &[&format!("{round} {}", "b".repeat(1500))]).await;
    }
}

/// Rounds of maintenance, whatever reclaim has to say.
async fn maintain(engine: &Engine, rounds: usize) {
    for _ in 0..rounds {
        let _ = engine.maintain();
        settle(engine).await;
    }
}

async fn remove_all(engine: &Engine, partition: PartitionId) {
    drop(engine.delete_records(partition, None).unwrap());
    settle(engine).await;
}

#[tokio::test]
async fn a_topic_that_cannot_be_compacted_does_not_hold_up_others() {
    let (engine, _) = simulated(EngineConfig { max_compaction_keys: 10, ..small() });
    let many = kept_for_ever(&engine, "many keys", true).await;
    let few = kept_for_ever(&engine, "one key", true).await;
    let busy = kept_for_ever(&engine, "busy", false).await;
    for round in 0..100u32 {
        for (table, key) in [(many, format!("key{round}")), (few, "key".to_owned())] {
            let value = "v".repeat(700);
            write(&engine, Write::new(table, Batch::pack(&[record(Some(&key), Some(&value))]).unwrap())).await;
        }
    }
    fill(&engine, busy, 200).await;
    let before = engine.usage().segments;
    remove_all(&engine, busy).await;
    maintain(&engine, 20).await;
    assert!(engine.usage().segments + 3 < before, "of {before} segments {} are left", engine.usage().segments);
    assert_eq!(read_all(&engine, many).await.len(), 100);
    assert!(read_all(&engine, few).await.len() < 50, "it could be compacted");
}

#[tokio::test]
async fn a_damaged_segment_is_not_copied_again_and_again_and_does_not_hold_up_others() {
    let (engine, store) = simulated(EngineConfig { tail_cache_bytes: 0, ..small() });
    let (busy, kept) = (kept_for_ever(&engine, "busy", false).await, kept_for_ever(&engine, "kept", false).await);
    for value in ["whole", "decayed"] {
        append(&engine, kept, &[value]).await;
    }
    fill(&engine, busy, 100).await;
    append(&engine, kept, &["in a later segment"]).await;
    fill(&engine, busy, 100).await;
    let segments = engine.usage().segments;
    let (file, bytes) = store.contents().into_iter().find(|(name, _)| name.starts_with("log-")).unwrap();
    store.flip(&file, bytes.windows(7).position(|found| found == b"decayed").unwrap(), 1);
    remove_all(&engine, busy).await;
    maintain(&engine, 20).await;
    let files: Vec<_> = store.contents().into_keys().filter(|name| name.ends_with(".seg")).collect();
    // One more is ready to be written next.
    assert!(files.len() <= engine.usage().segments + 1, "{files:?} for {} segments", engine.usage().segments);
    assert!(engine.usage().segments <= 4 && segments > 4, "{} of {segments} are left", engine.usage().segments);
    assert!(engine.read(kept, 0, 1).await.is_ok() && engine.read(kept, 2, 1).await.is_ok());
    assert!(matches!(engine.read(kept, 1, 1).await, Err(Error::Corrupt { .. })));
    let before = store.calls();
    maintain(&engine, 20).await;
    assert_eq!(store.calls(), before, "nothing is left to be done");
}

/// What a copy takes beside the records is nothing that another copy would do without.
#[tokio::test]
async fn small_records_of_many_partitions_are_copied_once() {
    let (engine, _) = simulated(small());
    let config = TopicConfig { retention: forever(), ..TopicConfig::default() };
    let wide = topic(&engine, "wide", 100, config).await.partitions.clone();
    let busy = kept_for_ever(&engine, "busy", false).await;
    for partition in &wide {
        append(&engine, *partition, &["small"]).await;
    }
    fill(&engine, busy, 100).await;
    remove_all(&engine, busy).await;
    let copied = || engine.counters().rewritten_bytes.load(std::sync::atomic::Ordering::Relaxed);
    maintain(&engine, 10).await;
    let before = copied();
    maintain(&engine, 10).await;
    assert!(before > 0 && copied() == before, "{} bytes were copied again", copied() - before);
    for partition in wide {
        assert_eq!(read_all(&engine, partition).await.len(), 1);
    }
}

#[tokio::test]
async fn a_segment_too_large_to_be_rewritten_does_not_hold_up_those_behind_it() {
    let (engine, _) = simulated(small());
    let table = kept_for_ever(&engine, "table", true).await;
    let (busy, kept) = (kept_for_ever(&engine, "busy", false).await, kept_for_ever(&engine, "kept", false).await);
    // Many chunks of compacted records in one sorted segment, much larger than a segment of the log.
    for round in 0..13_000u32 {
        let records = [record(Some(&format!("key{round}")), Some(&"v".repeat(20)))];
        let appends = engine.append(vec![Write::new(table, Batch::pack(&records).unwrap())]).await;
        drop(appends.commit);
        if round % 100 == 99 {
            settle(&engine).await;
        }
    }
    maintain(&engine, 5).await;
    fill(&engine, busy, 60).await;
    for _ in 0..3 {
        append(&engine, kept, &["kept"]).await;
        fill(&engine, busy, 60).await;
    }
    drop(engine.delete_records(table, Some(8_200)).unwrap());
    remove_all(&engine, busy).await;
    let before = engine.usage().segments;
    maintain(&engine, 20).await;
    assert!(engine.usage().segments <= 4, "of {before} segments {} are left", engine.usage().segments);
    assert_eq!((read_all(&engine, kept).await.len(), read_all(&engine, table).await.len()), (3, 13_000 - 8_200));
}

#[tokio::test]
async fn a_snapshot_that_found_no_space_is_stored_as_soon_as_there_is_some() {
    let (engine, store) = simulated(small());
    let busy = kept_for_ever(&engine, "busy", false).await;
    fill(&engine, busy, 60).await;
    let snapshots = || engine.counters().snapshots.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(snapshots(), 0);
    store.set_capacity(store.used());
    let _ = engine.maintain();
    assert_eq!(snapshots(), 0, "there is no space");
    store.set_capacity(u64::MAX);
    maintain(&engine, 2).await;
    assert_eq!(snapshots(), 1);
    remove_all(&engine, busy).await;
    let before = engine.usage().segments;
    maintain(&engine, 3).await;
    assert!(engine.usage().segments < before, "what it is needed for");
}

/// A topic created anew is another one: what its name was used for before does not count.
#[tokio::test]
async fn an_idempotency_key_goes_with_its_topic() {
    let (engine, _) = simulated(small());
    let keyed =
        |partition| Write { dedupe: Some(DedupeKey { key: 7, body: 1 }), ..Write::new(partition, batch(&["once"])) };
    let before = kept_for_ever(&engine, "orders", false).await;
    assert!(!write(&engine, keyed(before)).await.duplicate);
    drop(engine.delete_topic(&name("orders")).unwrap());
    let again = kept_for_ever(&engine, "orders", false).await;
    assert!(!write(&engine, keyed(again)).await.duplicate);
    assert!(write(&engine, keyed(again)).await.duplicate);
    assert_eq!(read_all(&engine, again).await.len(), 1);
}
