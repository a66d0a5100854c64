//! Every on-disk format ever released opens: one directory per version under `fixtures/`, written once by that version.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::*;
use tidegate_engine::group::{GroupConfig, LeaseRequest, OffsetCommit, Settlement};
use tidegate_engine::{Appended, DedupeKey, Durability, Engine, GroupName, Retention, TableEntry, TopicConfig, Write};

/// Enough for several sealed segments and a sorted one.
const ORDERS: usize = 60;
const NEWEST: u32 = 2;

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn group(name: &str) -> GroupName {
    GroupName::new("default", name).unwrap()
}

fn for_ever(compact: bool) -> TopicConfig {
    let retention = Retention { time: None, compact, tombstones: FOR_EVER, ..Retention::default() };
    TopicConfig { durability: Durability::PageCache, retention, max_message_bytes: 4_000, log_append_time: false }
}

const FOR_EVER: std::time::Duration = std::time::Duration::from_secs(1_000_000_000);

fn order(index: usize) -> String {
    format!("order {index} {}", "x".repeat(400))
}

async fn once(engine: &Engine) -> Appended {
    let partition = engine.topic("default", "keyed").unwrap().partitions[0];
    let dedupe = Some(DedupeKey { key: 42, body: 7 });
    write(engine, Write { dedupe, ..Write::new(partition, batch(&["only once"])) }).await
}

async fn lease(engine: &Engine, max_messages: usize) -> Vec<tidegate_engine::group::Delivery> {
    let request = LeaseRequest {
        consumer: engine.new_consumer(),
        max_messages,
        max_bytes: 1 << 20,
        deadline: None,
        acknowledge: false,
        waited: false,
    };
    engine.lease(&group("shared"), request).await.unwrap()
}

/// Writes the fixture of the newest version: `cargo test --test format -- --ignored`. For a new format only.
#[tokio::test]
#[ignore = "writes into the source tree; a released format is never written again"]
async fn write_the_newest() {
    let directory = fixture(NEWEST);
    assert!(!directory.exists(), "the format is released: {} stays as it is", directory.display());
    fs::create_dir_all(&directory).unwrap();
    let engine = open_manual(&directory);
    let orders = topic(&engine, "orders", 2, for_ever(false)).await.partitions.clone();
    topic(&engine, "keyed", 1, for_ever(true)).await;
    for index in 0..ORDERS {
        append(&engine, orders[index % 2], &[&order(index)]).await;
    }
    once(&engine).await;
    let offsets = vec![OffsetCommit { partition: orders[0], offset: 11, leader_epoch: 0, metadata: "note".into() }];
    let commit = engine.commit_offsets(&group("assigned"), offsets).unwrap();
    settle(&engine).await;
    commit.wait().await.unwrap();
    let shared = GroupConfig { topics: vec![name("orders")], max_deliveries: Some(9), ..GroupConfig::default() };
    let commit = engine.create_group(group("shared"), shared).unwrap();
    settle(&engine).await;
    commit.wait().await.unwrap();
    let deliveries = lease(&engine, 3).await;
    let (_, commit) = engine.settle(&group("shared"), vec![Settlement::Acknowledge(deliveries[1].lease)]).unwrap();
    settle(&engine).await;
    commit.wait().await.unwrap();
    drop(put(&engine, "bindings", "a", Some("before the snapshot")));
    drop(put(&engine, "bindings", "b", Some("replaced")));
    settle(&engine).await;
    engine.close().await.unwrap();
    drop(engine);
    let engine = open_manual(&directory);
    append(&engine, orders[0], &["after the snapshot"]).await;
    drop(put(&engine, "bindings", "b", Some("after the snapshot")));
    // Without closing: what came since is in the log only.
    settle(&engine).await;
}

fn put(engine: &Engine, table: &str, key: &str, value: Option<&'static str>) -> tidegate_engine::Commit {
    let entry = TableEntry { table: table.into(), key: key.into(), value: value.map(Into::into) };
    engine.put(vec![entry]).unwrap()
}

#[tokio::test]
async fn version_1_opens_with_everything_in_it() {
    opens_with_everything(1).await;
}

#[tokio::test]
async fn version_2_opens_with_everything_in_it() {
    let engine = opens_with_everything(2).await;
    let table = [("a".to_owned(), "before the snapshot".into()), ("b".to_owned(), "after the snapshot".into())];
    assert_eq!(engine.table("bindings"), table);
}

async fn opens_with_everything(version: u32) -> Engine {
    let directory = copy(&fixture(version));
    let engine = open_manual(directory.path());
    let orders = engine.topic("default", "orders").unwrap();
    assert_eq!(orders.config, for_ever(false));
    let mut expected: [Vec<(u64, String)>; 2] = [Vec::new(), Vec::new()];
    for index in 0..ORDERS {
        expected[index % 2].push(((index / 2) as u64, order(index)));
    }
    expected[0].push((30, "after the snapshot".into()));
    for (partition, expected) in orders.partitions.iter().zip(expected) {
        assert_eq!(read_all(&engine, *partition).await, expected);
    }
    let keyed = engine.topic("default", "keyed").unwrap();
    assert!(keyed.config.retention.compact);
    assert_eq!(read_all(&engine, keyed.partitions[0]).await, [(0, "only once".to_owned())]);

    let committed = engine.committed(&group("assigned")).unwrap();
    assert_eq!((committed[0].offset, committed[0].metadata.as_str()), (11, "note"));
    let shared = engine.group(&group("shared")).unwrap();
    assert_eq!(shared.config.max_deliveries, Some(9));
    let left: usize = lease(&engine, 1_000).await.len();
    assert_eq!(left, ORDERS, "everything but the one acknowledged");
    engine
}

#[tokio::test]
async fn every_version_goes_on() {
    for version in 1..=NEWEST {
        let directory = copy(&fixture(version));
        let engine = open_manual(directory.path());
        let orders = engine.topic("default", "orders").unwrap();
        assert_eq!(append(&engine, orders.partitions[0], &["new"]).await, 31);
        drop(put(&engine, "bindings", "c", Some("new")));
        engine.close().await.unwrap();
        drop(engine);
        let engine = open_manual(directory.path());
        assert_eq!(read_all(&engine, orders.partitions[0]).await.last().unwrap(), &(31, "new".to_owned()));
        assert_eq!(engine.value("bindings", "c").unwrap(), "new");
    }
}

#[tokio::test]
async fn a_newer_version_is_refused_and_left_alone() {
    let directory = copy(&fixture(1));
    let manifest = directory.path().join("manifest");
    let mut bytes = fs::read(&manifest).unwrap();
    bytes[8] = 200; // the format version, after the eight bytes of the name
    fs::write(&manifest, &bytes).unwrap();
    let environment = tidegate_engine::store::Environment::local(directory.path()).unwrap();
    let error = Engine::open_manual(small(), environment).map(drop).unwrap_err();
    assert!(matches!(error, tidegate_engine::Error::Format { found: 200, .. }), "{error}");
    assert_eq!(fs::read(&manifest).unwrap(), bytes);
}
