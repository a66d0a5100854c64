//! What handing out and settling costs: `cargo bench -p tidegate-engine --bench lease`. Processor time is the whole
//! process's, the committer included; compare it with wall time only on a quiet machine.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss, missing_docs)]

use std::time::Instant;

use bytes::Bytes;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::group::{GroupConfig, LeaseRequest, Settlement};
use tidegate_engine::store::Environment;
use tidegate_engine::{Durability, Engine, EngineConfig, GroupName, Retention, TopicConfig, TopicName, Write};

/// Records in one stored batch.
const BATCH: usize = 150;

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn batch(headers: usize) -> Batch {
    let header = |index: usize| (format!("header-{index}"), Some("value"));
    let value = Some(Bytes::from(vec![b'x'; 100]));
    let headers = (0..headers).map(header).collect();
    let record = Record { timestamp_ms: i64::MAX / 2, value, headers, ..Record::default() };
    Batch::pack(&vec![record; BATCH]).unwrap()
}

async fn run(engine: &Engine, what: &str, topic: &str, credit: usize, acknowledge: bool, total: usize) {
    let group = GroupName::new("default", &format!("{what}-{topic}-{credit}")).unwrap();
    let topics = vec![TopicName::new("default", topic).unwrap()];
    engine.create_group(group.clone(), GroupConfig { topics, ..GroupConfig::default() }).unwrap().wait().await.unwrap();
    let consumer = engine.new_consumer();
    let request =
        LeaseRequest { consumer, max_messages: credit, max_bytes: 1 << 20, deadline: None, acknowledge, waited: false };
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut done = 0;
    while done < total {
        let deliveries = engine.lease(&group, request).await.unwrap();
        done += deliveries.len();
        if !acknowledge {
            let settlements = deliveries.iter().map(|delivery| Settlement::Acknowledge(delivery.lease)).collect();
            let (results, commit) = engine.settle(&group, settlements).unwrap();
            assert!(results.iter().all(Result::is_ok));
            drop(commit);
        }
        // As a session does between two pieces of work: others run.
        tokio::task::yield_now().await;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{what:24} {topic:8} credit {credit:3}: {:.3} µs CPU, {:.3} µs wall per record",
        cpu / done as f64 * 1e6,
        seconds / done as f64 * 1e6
    );
}

async fn fill(engine: &Engine, topic: &str, headers: usize, total: usize) {
    let retention = Retention { time: None, ..Retention::default() };
    let config = TopicConfig { durability: Durability::PageCache, retention, ..TopicConfig::default() };
    let (topic, commit) = engine.create_topic(TopicName::new("default", topic).unwrap(), 1, config).unwrap();
    commit.wait().await.unwrap();
    let batch = batch(headers);
    for _ in 0..total / BATCH {
        engine.append(vec![Write::new(topic.partitions[0], batch.clone())]).await.commit.wait().await.unwrap();
    }
}

/// One group of many topics, of which few have anything, and many consumers that wait.
async fn wide(engine: &Engine, namespace: &str, topics: usize, consumers: usize) {
    let names: Vec<_> = (0..topics).map(|index| TopicName::new(namespace, &format!("t{index}")).unwrap()).collect();
    let mut partitions = Vec::new();
    let mut last = None;
    for name in &names {
        let config = TopicConfig { durability: Durability::PageCache, ..TopicConfig::default() };
        let (topic, commit) = engine.create_topic(name.clone(), 1, config).unwrap();
        partitions.push(topic.partitions[0]);
        last = Some(commit);
    }
    last.unwrap().wait().await.unwrap();
    let group = GroupName::new(namespace, "all").unwrap();
    let config = GroupConfig { topics: names, ..GroupConfig::default() };
    engine.create_group(group.clone(), config).unwrap().wait().await.unwrap();
    let consumer = engine.new_consumer();
    let acknowledge = true;
    let request =
        LeaseRequest { consumer, max_messages: 50, max_bytes: 1 << 20, deadline: None, acknowledge, waited: false };
    // Every partition is started.
    while !engine.lease(&group, request).await.unwrap().is_empty() {}
    let waiting: Vec<_> = (0..consumers).map(|_| engine.watch_group(&group)).collect();
    let batch = Batch::pack(&[Record { timestamp_ms: i64::MAX / 2, ..Record::default() }]).unwrap();
    let rounds = 2_000;
    let (mut watching, mut asking) = (0.0, 0.0);
    for round in 0..rounds {
        let partition = partitions[round * 7919 % topics];
        engine.append(vec![Write::new(partition, batch.clone())]).await.commit.wait().await.unwrap();
        let start = Instant::now();
        drop(engine.watch_group(&group));
        watching += start.elapsed().as_secs_f64();
        let start = Instant::now();
        while !engine.lease(&group, request).await.unwrap().is_empty() {}
        asking += start.elapsed().as_secs_f64();
    }
    drop(waiting);
    println!(
        "{topics} topics, {consumers} consumers: {:.2} µs to wait and leave, {:.1} µs to get one record and find no other",
        watching / rounds as f64 * 1e6,
        asking / rounds as f64 * 1e6
    );
}

#[tokio::main]
async fn main() {
    let directory =
        tempfile::tempdir_in(std::env::var("TIDEGATE_BENCH_DIR").unwrap_or_else(|_| ".".to_owned())).unwrap();
    let config = EngineConfig { tail_cache_bytes: 512 << 20, ..EngineConfig::default() };
    let (engine, _) = Engine::open(config, Environment::local(directory.path()).unwrap()).unwrap();
    let total = 1_500_000;
    fill(&engine, "plain", 0, total).await;
    fill(&engine, "headers", 3, total).await;
    for topic in ["plain", "headers"] {
        for (credit, total) in [(1, 150_000), (50, total), (200, total)] {
            run(&engine, "lease and acknowledge", topic, credit, false, total).await;
            run(&engine, "acknowledge on delivery", topic, credit, true, total).await;
        }
    }
    wide(&engine, "few", 10, 1_000).await;
    wide(&engine, "many", 10_000, 1_000).await;
    engine.close().await.unwrap();
}
