//! Tables: keyed state beside the topics, in the same log.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use support::*;
use tidegate_engine::group::GroupConfig;
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig, Error, GroupName, TableEntry, TopicConfig};

fn entry(key: &str, value: Option<&'static str>) -> TableEntry {
    TableEntry { table: "bindings".to_owned(), key: key.to_owned(), value: value.map(Into::into) }
}

fn found(engine: &Engine) -> Vec<(String, String)> {
    let table = engine.table("bindings");
    table.into_iter().map(|(key, value)| (key, String::from_utf8(value.to_vec()).unwrap())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn open_with(directory: &Path, max_table_entries: usize) -> Engine {
    let config = EngineConfig { max_table_entries, ..small() };
    Engine::open_manual(config, Environment::local(directory).unwrap()).unwrap().0
}

#[tokio::test]
async fn the_last_value_wins_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let entries = vec![entry("b", Some("1")), entry("a", Some("1")), entry("c", Some("1")), entry("b", Some("2"))];
    let commit = engine.put(entries).unwrap();
    settle(&engine).await;
    commit.wait().await.unwrap();
    let commit = engine.put(vec![entry("c", None), entry("d", None)]).unwrap();
    settle(&engine).await;
    commit.wait().await.unwrap();
    let expected = pairs(&[("a", "1"), ("b", "2")]);
    assert_eq!(found(&engine), expected);
    assert_eq!((engine.value("bindings", "b").unwrap(), engine.value("bindings", "c")), ("2".into(), None));
    assert_eq!((engine.value("other", "b"), engine.usage().table_entries), (None, 2));
    drop(engine);
    // From the log.
    let engine = open_manual(directory.path());
    assert_eq!(found(&engine), expected);
    engine.close().await.unwrap();
    drop(engine);
    // From the snapshot.
    let engine = open_manual(directory.path());
    assert_eq!((found(&engine), engine.usage().table_entries), (expected, 2));
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_with(directory.path(), 2);
    drop(engine.put(vec![entry("a", Some("1"))]).unwrap());
    let refused = engine.put(vec![entry("a", Some("2")), entry("b", Some("2")), entry("c", Some("2"))]).map(drop);
    assert_eq!(refused, Err(Error::LimitReached { setting: "max_table_entries", limit: 2 }));
    assert_eq!(found(&engine), pairs(&[("a", "1")]));
    drop(engine.put(vec![entry("b", Some("2")), entry("a", None), entry("c", Some("2"))]).unwrap());
    assert_eq!(found(&engine), pairs(&[("b", "2"), ("c", "2")]));
}

#[tokio::test]
async fn a_later_change_is_never_there_without_an_earlier_one() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let (_, first) = engine.create_topic(name("orders"), 1, TopicConfig::default()).unwrap();
    let group = GroupName::new("default", "workers").unwrap();
    let config = GroupConfig { topics: vec![name("orders")], ..GroupConfig::default() };
    let second = engine.create_group(group.clone(), config).unwrap();
    let last = engine.put(vec![entry("queue", Some("orders"))]).unwrap();
    settle(&engine).await;
    drop((first, second));
    last.wait().await.unwrap();
    drop(engine);
    let engine = open_manual(directory.path());
    assert!(engine.topic("default", "orders").is_some() && engine.group(&group).is_some());
    assert_eq!(engine.value("bindings", "queue").unwrap(), "orders");
}
