//! What several engine tests share: an engine without threads, packing, reading everything back.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::store::Environment;
use tidegate_engine::{Appended, Engine, EngineConfig, PartitionId, Topic, TopicConfig, TopicName, Write};

/// Later than any retention reaches.
pub const FUTURE_MS: i64 = i64::MAX / 2;

pub fn small() -> EngineConfig {
    EngineConfig {
        segment_bytes: 64 << 10,
        tail_cache_bytes: 16 << 10,
        maintenance_interval: Duration::from_millis(20),
        retention_interval: Duration::ZERO,
        ..EngineConfig::default()
    }
}

pub fn open(directory: &Path) -> Engine {
    Engine::open(small(), Environment::local(directory).unwrap()).unwrap().0
}

pub fn open_manual(directory: &Path) -> Engine {
    Engine::open_manual(small(), Environment::local(directory).unwrap()).unwrap().0
}

pub fn name(name: &str) -> TopicName {
    TopicName::new("default", name).unwrap()
}

pub async fn topic(engine: &Engine, topic: &str, partitions: u32, config: TopicConfig) -> Arc<Topic> {
    let (topic, commit) = engine.create_topic(name(topic), partitions, config).unwrap();
    settle(engine).await;
    commit.wait().await.unwrap();
    topic
}

/// Commits what is queued, for an engine without threads; harmless for one with.
pub async fn settle(engine: &Engine) {
    while engine.turn().unwrap() {}
}

pub fn record(key: Option<&str>, value: Option<&str>) -> Record {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Record { timestamp_ms: FUTURE_MS, key: key.map(bytes), value: value.map(bytes), ..Record::default() }
}

pub fn batch(values: &[&str]) -> Batch {
    Batch::pack(&values.iter().map(|value| record(None, Some(value))).collect::<Vec<_>>()).unwrap()
}

pub async fn write(engine: &Engine, write: Write) -> Appended {
    let appends = engine.append(vec![write]).await;
    settle(engine).await;
    appends.commit.wait().await.unwrap();
    appends.results[0].clone().unwrap()
}

pub async fn append(engine: &Engine, partition: PartitionId, values: &[&str]) -> u64 {
    write(engine, Write::new(partition, batch(values))).await.base_offset.unwrap()
}

pub async fn read_records(engine: &Engine, partition: PartitionId) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let info = engine.partition(partition).unwrap();
    let mut offset = info.log_start;
    while offset < info.high_watermark {
        let read = engine.read(partition, offset, 20_000).await.unwrap();
        let before = offset;
        for mut run in read.batches {
            while !run.is_empty() {
                let batch = Batch::split_from(&mut run).unwrap();
                offset = batch.header.base_offset + u64::from(batch.header.last_offset_delta) + 1;
                let decoded = batch.records(batch.header.base_offset, 1 << 20).unwrap();
                records.extend(decoded.into_iter().filter(|record| record.offset >= info.log_start));
            }
        }
        assert!(offset > before, "a read below the high watermark brings something");
    }
    records
}

pub async fn read_all(engine: &Engine, partition: PartitionId) -> Vec<(u64, String)> {
    let text = |record: Record| (record.offset, String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap());
    read_records(engine, partition).await.into_iter().map(text).collect()
}
