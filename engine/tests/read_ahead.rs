//! Reading ahead brings what reading brings, once, and hides nothing.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use support::*;
use tidegate_engine::batch::Batch;
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig, Error, PartitionId, TopicConfig};

/// A read's size: about five of the batches below.
const READ: usize = 10_000;

fn open_with(directory: &Path, read_ahead_bytes: usize) -> Engine {
    let config = EngineConfig { read_ahead_bytes, ..small() };
    Engine::open_manual(config, Environment::local(directory).unwrap()).unwrap().0
}

/// Batches of 2 KB in two partitions, by turns: 600 KB in segments of 64 KiB.
async fn fill(directory: &Path) -> [PartitionId; 2] {
    let engine = open_with(directory, 0);
    let (a, b) = (topic(&engine, "a", 1, TopicConfig::default()).await, topic(&engine, "b", 1, <_>::default()).await);
    let partitions = [a.partitions[0], b.partitions[0]];
    for round in 0..150 {
        for partition in partitions {
            append(&engine, partition, &[&format!("{round} {}", "x".repeat(2000))]).await;
        }
    }
    engine.close().await.unwrap();
    partitions
}

/// Reads from `offset`: what there is, and where it ends.
async fn read(engine: &Engine, partition: PartitionId, offset: u64) -> Result<(Vec<Bytes>, u64), Error> {
    read_some(engine, partition, offset, READ).await
}

async fn read_some(engine: &Engine, of: PartitionId, offset: u64, most: usize) -> Result<(Vec<Bytes>, u64), Error> {
    let runs = engine.read(of, offset, most).await?.batches;
    let mut end = offset;
    for run in &runs {
        let mut run = run.clone();
        while !run.is_empty() {
            end = Batch::split_from(&mut run).unwrap().header.end_offset();
        }
    }
    Ok((runs, end))
}

/// Everything in a partition, and how many bytes were read for it.
async fn read_through(engine: &Engine, partition: PartitionId) -> (Vec<u8>, u64) {
    let before = count(&engine.counters().read_bytes);
    let (mut found, mut offset) = (Vec::new(), 0);
    let end = engine.partition(partition).unwrap().high_watermark;
    while offset < end {
        let (runs, next) = read(engine, partition, offset).await.unwrap();
        assert!(next > offset);
        offset = next;
        found.extend(runs.concat());
    }
    (found, count(&engine.counters().read_bytes) - before)
}

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test]
async fn everything_is_read_once_and_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let partitions = fill(directory.path()).await;
    let mut found = Vec::new();
    for read_ahead_bytes in [0, 5_000, READ, 1 << 20] {
        let engine = open_with(directory.path(), read_ahead_bytes);
        for partition in partitions {
            found.push(read_through(&engine, partition).await);
        }
        let ahead = count(&engine.counters().read_ahead_bytes);
        assert_eq!(ahead > 100_000, read_ahead_bytes > 0, "{ahead} bytes with {read_ahead_bytes}");
    }
    let (bytes, costs): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    for (one, other) in bytes.iter().zip(&bytes[2..]) {
        assert!(one == other);
    }
    assert_eq!(costs[0], costs[4], "no span is read twice, none is left over");
    assert_eq!(costs[0], costs[6]);
}

#[tokio::test]
async fn batches_larger_than_what_is_asked_for_are_read_once_too() {
    let directory = tempfile::tempdir().unwrap();
    let [a, _] = fill(directory.path()).await;
    let engine = open_with(directory.path(), 1 << 20);
    let bytes = || count(&engine.counters().read_bytes);
    let mut served = 0;
    for offset in 0..20 {
        let (runs, next) = read_some(&engine, a, offset, 100).await.unwrap();
        assert_eq!(next, offset + 1);
        served += runs.concat().len() as u64;
    }
    let ahead = bytes() - served;
    let (more, next) = read(&engine, a, 20).await.unwrap();
    assert_eq!((more.concat().len() as u64, next), (ahead, 21), "less than is asked for now, and read already");
    let (less, next) = read_some(&engine, a, 21, 100).await.unwrap();
    assert!(next == 22 && less.concat().len() < READ / 2, "what was read ahead is more than is asked for now");
}

#[tokio::test]
async fn with_threads_it_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let partitions = fill(directory.path()).await;
    let manual = open_with(directory.path(), 0);
    let expected = read_through(&manual, partitions[0]).await.0;
    drop(manual);
    let engine = open(directory.path());
    assert!(read_through(&engine, partitions[0]).await.0 == expected);
    engine.close().await.unwrap();
}

#[tokio::test]
async fn only_who_goes_on_is_read_for_and_only_within_the_limit() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = fill(directory.path()).await;
    let engine = open_with(directory.path(), READ);
    let bytes = || count(&engine.counters().read_bytes);
    let (_, a1) = read(&engine, a, 0).await.unwrap();
    let one = bytes();
    let (_, b1) = read(&engine, b, 0).await.unwrap();
    let (_, _) = read(&engine, b, b1 + 20).await.unwrap();
    let three = bytes();
    assert!(three <= 3 * one + one / 2, "nobody has gone on yet: {three}");
    let (_, a2) = read(&engine, a, a1).await.unwrap();
    let ahead = bytes() - three;
    assert!(ahead > one + one / 2, "the next was read as well: {ahead}");
    let (_, _) = read(&engine, b, b1).await.unwrap();
    let full = bytes() - three - ahead;
    assert!(full < one + one / 2, "there is room for one: {full}");
    let before = bytes();
    let (_, a3) = read(&engine, a, a2).await.unwrap();
    assert!(a3 > a2 && bytes() - before < one + one / 2, "it was there, and the one behind it is read");
}

#[tokio::test]
async fn damage_is_told_as_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let [a, _] = fill(directory.path()).await;
    let segment = directory.path().join("log-0000000000000001.seg");
    fs::OpenOptions::new().write(true).open(segment).unwrap().write_all_at(b"damage", 40_000).unwrap();
    let mut told = Vec::new();
    for read_ahead_bytes in [0, 1 << 20] {
        let engine = open_with(directory.path(), read_ahead_bytes);
        let mut offset = 0;
        let error = loop {
            match read(&engine, a, offset).await {
                Ok((_, next)) => offset = next,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        told.push((error.to_string(), offset, count(&engine.counters().corrupt_reads)));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].2, 1);
}

#[tokio::test]
async fn what_is_deleted_is_not_served_and_what_reclaim_moves_is() {
    let directory = tempfile::tempdir().unwrap();
    let [a, b] = fill(directory.path()).await;
    let expected = read_through(&open_with(directory.path(), 0), a).await.0;
    let engine = open_with(directory.path(), 1 << 20);
    let mut found = Vec::new();
    let (mut offset_a, mut offset_b) = (0, 0);
    for _ in 0..3 {
        let (runs, next) = read(&engine, a, offset_a).await.unwrap();
        found.extend(runs.concat());
        offset_a = next;
        offset_b = read(&engine, b, offset_b).await.unwrap().1;
    }
    let (_, deleted) = engine.delete_records(b, None).unwrap();
    settle(&engine).await;
    deleted.wait().await.unwrap();
    let gone = read(&engine, b, offset_b).await.unwrap_err();
    assert!(matches!(gone, Error::OffsetOutOfRange { .. }), "{gone}");
    let deleted = engine.delete_topic(&name("b")).unwrap();
    settle(&engine).await;
    deleted.wait().await.unwrap();
    for _ in 0..20 {
        engine.maintain().unwrap();
        settle(&engine).await;
    }
    assert!(count(&engine.counters().rewritten_bytes) > 0);
    let gone = read(&engine, b, offset_b).await.unwrap_err();
    assert!(matches!(gone, Error::UnknownPartition), "{gone}");
    let end = engine.partition(a).unwrap().high_watermark;
    while offset_a < end {
        let (runs, next) = read(&engine, a, offset_a).await.unwrap();
        found.extend(runs.concat());
        offset_a = next;
    }
    assert!(found == expected);
}
