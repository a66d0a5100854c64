//! Stored bytes that do not check: never silently served, never silently dropped.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use support::*;
use tidegate_engine::store::{Environment, LocalStore};
use tidegate_engine::{Engine, Error, PartitionId, TopicConfig, inspect, skip};

const FLIPS: u64 = 1500;

/// A closed data directory with sealed segments, a snapshot and an active segment, and what is in it.
async fn fill(directory: &Path) -> (PartitionId, Vec<(u64, String)>) {
    let engine = open_manual(directory);
    let partition = topic(&engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    let mut expected = Vec::new();
    for round in 0..120 {
        let value = format!("{round} {}", "x".repeat(900));
        expected.push((append(&engine, partition, &[&value]).await, value));
    }
    engine.maintain().unwrap();
    for round in 0..10 {
        let value = format!("after {round}");
        expected.push((append(&engine, partition, &[&value]).await, value));
    }
    engine.close().await.unwrap();
    (partition, expected)
}

async fn read_after_opening(directory: &Path, partition: PartitionId) -> Result<Vec<(u64, String)>, Error> {
    let (engine, _) = Engine::open_manual(small(), Environment::local(directory)?)?;
    let end = engine.partition(partition)?.high_watermark;
    let mut offset = 0;
    while offset < end {
        let read = engine.read(partition, offset, 10_000).await?;
        let Some(mut last) = read.batches.into_iter().next_back() else { break };
        while !last.is_empty() {
            let batch = tidegate_engine::batch::Batch::split_from(&mut last)?;
            offset = batch.header.base_offset + u64::from(batch.header.last_offset_delta) + 1;
        }
    }
    Ok(read_all(&engine, partition).await)
}

fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.map(|path| (path.clone(), fs::metadata(path).unwrap().len())).collect();
    files.sort();
    files
}

fn flip(path: &Path, position: u64, bits: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ bits], position).unwrap();
}

#[tokio::test]
async fn a_flipped_byte_loses_nothing_or_is_named() {
    let original = tempfile::tempdir().unwrap();
    let (partition, expected) = fill(original.path()).await;
    let scratch = tempfile::tempdir().unwrap();
    let total: u64 = files(original.path()).iter().map(|(_, size)| size).sum();
    let (mut whole, mut named) = (0, 0);
    for step in 0..FLIPS {
        // A stride that shares no factor with anything visits all parts of all files.
        let mut at = step * (total / FLIPS) + step % 61;
        fs::remove_dir_all(scratch.path()).unwrap();
        fs::create_dir(scratch.path()).unwrap();
        for (path, size) in files(original.path()) {
            let copy = scratch.path().join(path.file_name().unwrap());
            fs::copy(&path, &copy).unwrap();
            if at < size {
                flip(&copy, at, 1 << (step % 8));
            }
            at = at.wrapping_sub(size).max(if at < size { u64::MAX } else { 0 });
        }
        match read_after_opening(scratch.path(), partition).await {
            Ok(records) => {
                assert!(records == expected, "flip {step}: records are missing or wrong and nobody said so");
                whole += 1;
            }
            Err(Error::Corrupt { file, .. } | Error::Format { file, .. }) => {
                assert!(!file.is_empty());
                named += 1;
            }
            Err(other) => panic!("flip {step}: {other}"),
        }
    }
    println!("{FLIPS} flips: {whole} harmless, {named} named");
    assert!(named > 0 && whole > 0);
}

#[tokio::test]
async fn an_unfinished_last_write_is_cut_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let partition = topic(&engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    append(&engine, partition, &["whole"]).await;
    drop(engine);
    let (log, size) =
        files(directory.path()).into_iter().find(|(path, _)| path.to_string_lossy().ends_with(".seg")).unwrap();
    let contents = fs::read(&log).unwrap();
    let end = contents.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    assert!(end < size);
    flip(&log, end, 0xff);
    let (engine, recovery) = Engine::open_manual(small(), Environment::local(directory.path()).unwrap()).unwrap();
    assert!(recovery.torn_bytes > 0, "{recovery:?}");
    assert!(read_all(&engine, partition).await.is_empty());
    assert_eq!(append(&engine, partition, &["again"]).await, 0);
    drop(engine);
    assert_eq!(read_all(&open_manual(directory.path()), partition).await, [(0, "again".to_owned())]);
}

#[tokio::test]
async fn damage_is_inspected_and_given_up_only_when_told() {
    let directory = tempfile::tempdir().unwrap();
    let (partition, expected) = fill(directory.path()).await;
    let (sealed, _) =
        files(directory.path()).into_iter().find(|(path, _)| path.to_string_lossy().ends_with(".seg")).unwrap();
    let name = sealed.file_name().unwrap().to_str().unwrap().to_owned();
    flip(&sealed, 20_000, 1);
    let Err(Error::Corrupt { file, position, .. }) = read_after_opening(directory.path(), partition).await else {
        panic!("the damage should be met");
    };
    assert_eq!(file, name);
    {
        let store = LocalStore::open(directory.path()).unwrap();
        let found = inspect(&store).unwrap();
        let segment = found.segments.iter().find(|segment| segment.file == name).unwrap();
        assert_eq!(segment.damage.len(), 1);
        assert!(skip(&store, &name, 100).is_err(), "nothing is damaged there");
        skip(&store, &name, position).unwrap();
    }
    let left = read_after_opening(directory.path(), partition).await.unwrap();
    assert_eq!(left.len(), expected.len() - 1);
    assert!(left.iter().all(|record| expected.contains(record)));
}

#[tokio::test]
async fn zeros_in_place_of_a_durable_block_are_damage() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let partition = topic(&engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    for value in ["first", "second", "third"] {
        append(&engine, partition, &[value]).await;
    }
    drop(engine);
    let (log, _) =
        files(directory.path()).into_iter().find(|(path, _)| path.to_string_lossy().ends_with(".seg")).unwrap();
    let blocks = fs::read(&log).unwrap();
    let starts: Vec<_> =
        blocks.windows(4).enumerate().filter(|(_, bytes)| bytes == b"TGBK").map(|(at, _)| at).collect();
    let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
    file.write_all_at(&[0; 48], starts[1] as u64).unwrap();
    let opened = read_after_opening(directory.path(), partition).await;
    assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
}
