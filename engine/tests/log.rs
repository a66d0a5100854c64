//! The log on a real directory: what is written is read, and survives reopening.
#![allow(clippy::unwrap_used)]

mod support;

use support::*;
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, Error, TopicConfig, TopicName, Write};

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
