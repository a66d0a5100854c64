//! The log on a real directory: what is written is read, and survives reopening.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig, Error, PartitionId, Topic, TopicConfig, TopicName, Write};

fn small() -> EngineConfig {
    EngineConfig { segment_bytes: 64 << 10, tail_cache_bytes: 16 << 10, ..EngineConfig::default() }
}

fn open(directory: &Path) -> Engine {
    Engine::open(small(), Environment::local(directory).unwrap()).unwrap().0
}

async fn topic(engine: &Engine, name: &str, partitions: u32) -> Arc<Topic> {
    let name = TopicName::new("default", name).unwrap();
    let (topic, commit) = engine.create_topic(name, partitions, TopicConfig::default()).unwrap();
    commit.wait().await.unwrap();
    topic
}

fn batch(values: &[String]) -> Batch {
    let record = |value: &String| Record {
        timestamp_ms: i64::MAX / 2,
        value: Some(Bytes::from(value.clone())),
        ..Record::default()
    };
    Batch::pack(&values.iter().map(record).collect::<Vec<_>>()).unwrap()
}

async fn append(engine: &Engine, partition: PartitionId, values: &[String]) -> u64 {
    let appends = engine.append(vec![Write::new(partition, batch(values))]).await;
    appends.commit.wait().await.unwrap();
    appends.results[0].clone().unwrap().base_offset.unwrap()
}

async fn read_all(engine: &Engine, partition: PartitionId) -> Vec<(u64, String)> {
    let mut records = Vec::new();
    let mut offset = engine.partition(partition).unwrap().log_start;
    loop {
        let read = engine.read(partition, offset, 20_000).await.unwrap();
        if read.batches.is_empty() {
            return records;
        }
        for mut run in read.batches {
            while !run.is_empty() {
                let batch = Batch::split_from(&mut run).unwrap();
                for record in batch.records(batch.header.base_offset, 1 << 20).unwrap() {
                    offset = record.offset + 1;
                    records.push((record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_read_and_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let topic = topic(&engine, "orders", 2).await;
    let mut expected = [Vec::new(), Vec::new()];
    for round in 0..300u64 {
        let at = usize::try_from(round % 2).unwrap();
        let values = [format!("{round} {}", "x".repeat(200)), format!("{round} second")];
        let offset = append(&engine, topic.partitions[at], &values).await;
        for (value, offset) in values.into_iter().zip(offset..) {
            expected[at].push((offset, value));
        }
        if round % 70 == 69 {
            for at in 0..2 {
                assert!(read_all(&engine, topic.partitions[at]).await == expected[at], "round {round}");
            }
        }
    }
    assert!(engine.usage().segments > 1, "the test should roll segments");
    engine.close().await.unwrap();
    drop(engine);
    let engine = open(directory.path());
    for at in 0..2 {
        assert!(read_all(&engine, topic.partitions[at]).await == expected[at]);
    }
    assert_eq!(append(&engine, topic.partitions[0], &["next".to_owned()]).await, expected[0].len() as u64);
    assert_eq!(engine.topic("default", "orders").unwrap().id, topic.id);
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
            let appends = engine.append(vec![Write::new(partition, batch(std::slice::from_ref(&value)))]).await;
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
