//! What appending and reading cost in CPU: `cargo bench -p tidegate-engine --bench append`.
//!
//! Prints, per batch size and durability, records and megabytes per second and CPU seconds per million records of 100 bytes,
//! with five batches in flight as a client has.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss, missing_docs)]

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::store::Environment;
use tidegate_engine::{Durability, Engine, EngineConfig, Retention, TopicConfig, TopicName, Write};

const IN_FLIGHT: usize = 5;

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn batch(records: usize) -> Batch {
    let value = Bytes::from(vec![b'x'; 100]);
    let record = Record { timestamp_ms: i64::MAX / 2, value: Some(value), ..Record::default() };
    Batch::pack(&vec![record; records]).unwrap()
}

async fn run(durability: Durability, records: usize, total: usize) {
    let directory =
        tempfile::tempdir_in(std::env::var("TIDEGATE_BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let (engine, _) = Engine::open(EngineConfig::default(), Environment::local(directory.path()).unwrap()).unwrap();
    let retention = Retention { time: None, ..Retention::default() };
    let config = TopicConfig { durability, retention, ..TopicConfig::default() };
    let (topic, commit) = engine.create_topic(TopicName::new("default", "bench").unwrap(), 1, config).unwrap();
    commit.wait().await.unwrap();
    let partition = topic.partitions[0];
    let batch = batch(records);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut waiting = VecDeque::new();
    for _ in 0..total / records {
        if waiting.len() == IN_FLIGHT {
            let commit: tidegate_engine::Commit = waiting.pop_front().unwrap();
            commit.wait().await.unwrap();
        }
        // As off a socket: every batch is its own bytes.
        let bytes = Bytes::from(batch.bytes.to_vec());
        let fresh = Batch { header: batch.header, bytes };
        waiting.push_back(engine.append(vec![Write::new(partition, fresh)]).await.commit);
    }
    for commit in waiting {
        commit.wait().await.unwrap();
    }
    print("append", durability, records, batch.bytes.len(), total, start, cpu);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut offset = 0;
    while offset < engine.partition(partition).unwrap().high_watermark {
        let read = engine.read(partition, offset, 1 << 20).await.unwrap();
        let mut last = read.batches.last().unwrap().clone();
        while !last.is_empty() {
            let header = tidegate_engine::batch::BatchHeader::parse(&last).unwrap();
            offset = header.base_offset + u64::from(header.last_offset_delta) + 1;
            last = last.slice(header.size..);
        }
    }
    print("read", durability, records, batch.bytes.len(), total, start, cpu);
    let syncs = engine.counters().syncs.load(std::sync::atomic::Ordering::Relaxed);
    let blocks = engine.counters().blocks.load(std::sync::atomic::Ordering::Relaxed);
    println!("    {blocks} blocks, {syncs} syncs for {} batches", total / records);
    engine.close().await.unwrap();
}

fn print(what: &str, durability: Durability, records: usize, bytes: usize, total: usize, start: Instant, cpu: f64) {
    let seconds = start.elapsed().as_secs_f64();
    let megabytes = (total / records * bytes) as f64 / 1e6;
    println!(
        "{what:6} {durability:?} batches of {bytes} bytes: {:.0} records/s, {:.0} MB/s, {:.3} CPU s per million records",
        total as f64 / seconds,
        megabytes / seconds,
        (cpu_seconds() - cpu) / (total as f64 / 1e6)
    );
}

#[tokio::main]
async fn main() {
    for durability in [Durability::Fsync, Durability::PageCache] {
        for (records, total) in [(1, 100_000), (150, 4_000_000), (2400, 10_000_000)] {
            run(durability, records, total).await;
        }
    }
}
