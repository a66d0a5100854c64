//! Groups on the log: leases, settlement, retries, dead letters, lag, all of it over a restart.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::*;
use tempfile::TempDir;
use tidegate_engine::batch::{Batch, Headers, Record};
use tidegate_engine::group::{
    ConsumerId, Delivery, GroupConfig, LeaseRequest, Mode, OffsetCommit, Retry, Settlement, Start,
};
use tidegate_engine::store::Environment;
use tidegate_engine::{Atomic, DedupeKey, Engine, EngineConfig, Error, GroupName, PartitionId, TopicConfig, Write};

fn group(name: &str) -> GroupName {
    GroupName::new("default", name).unwrap()
}

async fn with_records(engine: &Engine, count: usize) -> PartitionId {
    let partition = topic(engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    for index in 0..count {
        append(engine, partition, &[&index.to_string()]).await;
    }
    partition
}

async fn create(engine: &Engine, config: GroupConfig) -> GroupName {
    let commit = engine.create_group(group("workers"), GroupConfig { topics: vec![name("orders")], ..config }).unwrap();
    settle(engine).await;
    commit.wait().await.unwrap();
    group("workers")
}

/// An engine with so many records, and a group that is to consume them.
async fn started(records: usize, config: GroupConfig) -> (TempDir, Engine, PartitionId, GroupName) {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let partition = with_records(&engine, records).await;
    let workers = create(&engine, config).await;
    (directory, engine, partition, workers)
}

fn request(consumer: ConsumerId, max_messages: usize) -> LeaseRequest {
    LeaseRequest { consumer, max_messages, max_bytes: 1 << 20, deadline: None, acknowledge: false, waited: false }
}

async fn lease(engine: &Engine, name: &GroupName, max_messages: usize) -> Vec<Delivery> {
    engine.lease(name, request(engine.new_consumer(), max_messages)).await.unwrap()
}

fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.record.offset).collect()
}

fn redelivered(deliveries: &[Delivery]) -> Vec<u64> {
    offsets(&deliveries.iter().filter(|delivery| delivery.redelivered).cloned().collect::<Vec<_>>())
}

async fn acknowledge(engine: &Engine, name: &GroupName, deliveries: &[Delivery]) {
    let settlements = deliveries.iter().map(|delivery| Settlement::Acknowledge(delivery.lease)).collect();
    let (results, commit) = engine.settle(name, settlements).unwrap();
    assert!(results.iter().all(Result::is_ok));
    settle(engine).await;
    commit.wait().await.unwrap();
}

#[tokio::test]
async fn what_is_acknowledged_does_not_come_back_and_the_rest_does() {
    let (directory, engine, _, workers) = started(6, GroupConfig::default()).await;
    let deliveries = lease(&engine, &workers, 4).await;
    assert_eq!(offsets(&deliveries), [0, 1, 2, 3]);
    acknowledge(&engine, &workers, &[deliveries[0].clone(), deliveries[2].clone()]).await;
    assert_eq!(engine.lag(&workers).unwrap()[0].messages, 4);
    drop(engine);
    let engine = open_manual(directory.path());
    assert_eq!(offsets(&lease(&engine, &workers, 10).await), [1, 3, 4, 5]);
    let (results, _commit) = engine.settle(&workers, vec![Settlement::Acknowledge(deliveries[1].lease)]).unwrap();
    assert_eq!(results, [Err(Error::LeaseGone)], "a lease from before the restart is nobody's");
}

#[tokio::test]
async fn released_and_dropped_leases_come_back_in_order_uncounted() {
    let (_directory, engine, _, workers) = started(5, GroupConfig::default()).await;
    let consumer = engine.new_consumer();
    let deliveries = engine.lease(&workers, request(consumer, 3)).await.unwrap();
    drop(engine.settle(&workers, vec![Settlement::Release(deliveries[1].lease)]).unwrap());
    engine.release_consumer(&workers, consumer).unwrap();
    let again = lease(&engine, &workers, 10).await;
    assert_eq!(offsets(&again), [0, 1, 2, 3, 4], "what was given back comes before what nobody has looked at");
    assert!(again.iter().all(|delivery| delivery.attempt == 1));
    assert_eq!(redelivered(&again), [0, 1, 2]);
}

#[tokio::test]
async fn what_may_have_been_handed_out_before_a_restart_is_called_redelivered() {
    let (directory, engine, partition, workers) = started(4, GroupConfig::default()).await;
    let deliveries = lease(&engine, &workers, 2).await;
    assert_eq!(redelivered(&deliveries), []);
    acknowledge(&engine, &workers, &deliveries[..1]).await;
    drop(engine);
    let engine = open_manual(directory.path());
    append(&engine, partition, &["new"]).await;
    let deliveries = lease(&engine, &workers, 9).await;
    assert_eq!(offsets(&deliveries), [1, 2, 3, 4]);
    assert_eq!(redelivered(&deliveries), [1, 2, 3]);
    drop(engine.seek(&workers, &[(partition, 1)]).unwrap());
    assert_eq!(redelivered(&lease(&engine, &workers, 9).await), [], "a seek begins anew");
}

#[tokio::test]
async fn the_start_of_a_group_may_be_lost_but_not_the_doubt() {
    let (directory, engine, partition, workers) = started(2, GroupConfig::default()).await;
    assert_eq!(redelivered(&lease(&engine, &workers, 1).await), []);
    // Nothing is written after the lease: where the group began is forgotten with it.
    drop(engine);
    let engine = open_manual(directory.path());
    assert!(engine.committed(&workers).unwrap().is_empty());
    append(&engine, partition, &["new"]).await;
    let deliveries = lease(&engine, &workers, 9).await;
    assert_eq!((offsets(&deliveries), redelivered(&deliveries)), (vec![0, 1, 2], vec![0, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_keeps_failing_ends_in_the_dead_letter_topic() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    let dead = topic(&engine, "dead", 1, TopicConfig::default()).await.partitions[0];
    with_records(&engine, 1).await;
    let retry = Retry { min: Duration::from_millis(20), max: Duration::from_millis(40), multiplier: 2.0 };
    let config =
        GroupConfig { max_deliveries: Some(3), retry, dead_letter: Some(name("dead")), ..GroupConfig::default() };
    let workers = create(&engine, config).await;
    for attempt in 1..=3 {
        let mut deliveries = Vec::new();
        while deliveries.is_empty() {
            let mut watch = engine.watch_group(&workers);
            deliveries = lease(&engine, &workers, 1).await;
            if deliveries.is_empty() {
                watch.changed().await;
            }
        }
        assert_eq!(deliveries[0].attempt, attempt);
        let reject = Settlement::Reject {
            lease: deliveries[0].lease,
            delay: None,
            reason: Some("broken".into()),
            dead_letter: false,
        };
        engine.settle(&workers, vec![reject]).unwrap().1.wait().await.unwrap();
    }
    engine.watch(&[(dead, 0)]).changed().await;
    let copy = &read_records(&engine, dead).await[0];
    let header = |name| std::str::from_utf8(copy.headers.named(name).next().unwrap().unwrap()).unwrap();
    assert_eq!(header("dead-letter-reason"), "broken");
    assert_eq!(header("dead-letter-topic"), "orders");
    assert_eq!(header("dead-letter-attempts"), "3");
    assert_eq!(engine.lag(&workers).unwrap()[0].messages, 0);
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_behind_a_dead_one_of_its_key_is_not_slept_through() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    topic(&engine, "dead", 1, TopicConfig::default()).await;
    let orders = topic(&engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    let keyed = Batch::pack(&[record(Some("k"), Some("first")), record(Some("k"), Some("second"))]).unwrap();
    write(&engine, Write::new(orders, keyed)).await;
    let config = GroupConfig { mode: Mode::OrderedByKey, dead_letter: Some(name("dead")), ..GroupConfig::default() };
    let workers = create(&engine, config).await;
    let first = lease(&engine, &workers, 9).await;
    assert_eq!(offsets(&first), [0]);
    let reject = Settlement::Reject { lease: first[0].lease, delay: None, reason: None, dead_letter: true };
    drop(engine.settle(&workers, vec![reject]).unwrap());
    // Nothing is written and nothing settled from here on: only the copy's completion can wake the consumer.
    loop {
        let mut watch = engine.watch_group(&workers);
        let second = lease(&engine, &workers, 9).await;
        if offsets(&second) == [1] {
            break;
        }
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    }
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_lease_is_delivered_again_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open(directory.path());
    with_records(&engine, 1).await;
    let workers =
        create(&engine, GroupConfig { ack_deadline: Duration::from_millis(50), ..GroupConfig::default() }).await;
    let first = lease(&engine, &workers, 1).await;
    let mut watch = engine.watch_group(&workers);
    assert!(lease(&engine, &workers, 1).await.is_empty());
    watch.changed().await;
    let second = lease(&engine, &workers, 1).await;
    assert_eq!((second[0].record.offset, second[0].attempt), (0, 2));
    let (results, _commit) = engine.settle(&workers, vec![Settlement::Acknowledge(first[0].lease)]).unwrap();
    assert_eq!(results, [Err(Error::LeaseGone)]);
    acknowledge(&engine, &workers, &second).await;
    engine.close().await.unwrap();
}

#[tokio::test]
async fn assigned_and_shared_members_exclude_each_other_and_progress_carries_over() {
    let (_directory, engine, partition, workers) = started(6, GroupConfig::default()).await;
    let commit = OffsetCommit { partition, offset: 2, leader_epoch: -1, metadata: "note".to_owned() };
    engine.set_assigned(&workers, true).unwrap();
    drop(engine.commit_offsets(&workers, vec![commit.clone()]).unwrap());
    let refused = engine.lease(&workers, request(engine.new_consumer(), 9)).await;
    assert!(matches!(refused, Err(Error::GroupMode { mode: "assigned", .. })));
    engine.set_assigned(&workers, false).unwrap();
    let deliveries = lease(&engine, &workers, 3).await;
    assert_eq!(offsets(&deliveries), [2, 3, 4]);
    assert!(matches!(engine.set_assigned(&workers, true), Err(Error::GroupMode { mode: "shared", .. })));
    acknowledge(&engine, &workers, &deliveries[..1]).await;
    drop(engine.settle(&workers, deliveries[1..].iter().map(|d| Settlement::Release(d.lease)).collect()).unwrap());
    engine.set_assigned(&workers, true).unwrap();
    assert_eq!(engine.committed(&workers).unwrap()[0].offset, 3);
}

#[tokio::test]
async fn writes_and_progress_happen_together_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    with_records(&engine, 2).await;
    let out = topic(&engine, "out", 1, TopicConfig::default()).await.partitions[0];
    let workers = create(&engine, GroupConfig::default()).await;
    let deliveries = lease(&engine, &workers, 2).await;
    let atomic = |index: usize| Atomic {
        writes: vec![Write::new(out, batch(&["made from it"]))],
        settlements: vec![(workers.clone(), vec![Settlement::Acknowledge(deliveries[index].lease)])],
        ..Atomic::default()
    };
    let (appended, commit) = engine.append_atomic(atomic(0)).await.unwrap();
    assert_eq!(appended[0].base_offset, Some(0));
    settle(&engine).await;
    commit.wait().await.unwrap();
    assert!(matches!(engine.append_atomic(atomic(0)).await, Err(Error::LeaseGone)), "settled before");
    settle(&engine).await;
    assert_eq!(read_all(&engine, out).await.len(), 1);
    drop(engine);
    let engine = open_manual(directory.path());
    assert_eq!(offsets(&lease(&engine, &workers, 9).await), [1]);
}

/// What is refused must leave no trace: an offset given out and never written would be a gap that no restart gets over.
#[tokio::test]
async fn an_atomic_write_that_does_not_agree_with_itself_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let config = EngineConfig { max_dedupe_keys: 2, max_scheduled: 1, ..small() };
    let open = || Engine::open_manual(config.clone(), Environment::local(directory.path()).unwrap()).unwrap().0;
    let engine = open();
    let out = topic(&engine, "out", 1, TopicConfig::default()).await.partitions[0];
    let plain = || Write::new(out, batch(&["value"]));
    let keyed = |key, body| Write { dedupe: Some(DedupeKey { key, body }), ..plain() };
    let delayed = || Write { deliver_at_ms: Some(FUTURE_MS), ..plain() };
    let sequenced = |count: usize| {
        let header = [&7i64.to_be_bytes()[..], &0i16.to_be_bytes(), &0i32.to_be_bytes()].concat();
        let mut bytes = batch(&vec!["value"; count]).bytes.to_vec();
        bytes[43..57].copy_from_slice(&header);
        let crc = crc_fast::crc32_iscsi(&bytes[21..]).to_be_bytes();
        bytes[17..21].copy_from_slice(&crc);
        Write::new(out, Batch::split_from(&mut bytes.into()).unwrap())
    };
    let refused = async |engine: &Engine, writes| {
        let refused = engine.append_atomic(Atomic { writes, ..Atomic::default() }).await;
        refused.map(|(appended, _)| appended).unwrap_err()
    };
    let limit = |setting, limit| Error::LimitReached { setting, limit };
    assert_eq!(refused(&engine, vec![keyed(1, 1), keyed(1, 2)]).await, Error::IdempotencyMismatch);
    assert_eq!(refused(&engine, (0..3).map(|key| keyed(key, 1)).collect()).await, limit("max_dedupe_keys", 2));
    assert_eq!(refused(&engine, vec![plain(), delayed(), delayed()]).await, limit("max_scheduled", 1));
    assert!(matches!(refused(&engine, vec![sequenced(1), sequenced(2)]).await, Error::Invalid(_)));
    assert_eq!((append(&engine, out, &["first"]).await, engine.usage().dedupe_keys), (0, 0));

    // What only repeats itself is fine, also at the limit.
    for round in 0..2 {
        let writes = vec![keyed(1, 1), keyed(2, 1), keyed(1, 1)];
        let (appended, commit) = engine.append_atomic(Atomic { writes, ..Atomic::default() }).await.unwrap();
        settle(&engine).await;
        commit.wait().await.unwrap();
        let offsets: Vec<_> = appended.iter().map(|appended| (appended.base_offset, appended.duplicate)).collect();
        assert_eq!(offsets, [(Some(1), round > 0), (Some(2), round > 0), (Some(1), true)]);
    }
    drop(engine);
    assert_eq!(read_all(&open(), out).await.len(), 3);
}

#[tokio::test]
async fn an_atomic_write_of_progress_alone_is_refused_after_the_end() {
    let (_directory, engine, partition, workers) = started(1, GroupConfig::default()).await;
    engine.close().await.unwrap();
    let commit = OffsetCommit { partition, offset: 1, leader_epoch: -1, metadata: String::new() };
    let atomic = Atomic { offsets: vec![(workers, vec![commit])], ..Atomic::default() };
    assert!(matches!(engine.append_atomic(atomic).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_group_that_starts_at_the_latest_record_sees_only_what_comes() {
    let (_directory, engine, partition, workers) =
        started(3, GroupConfig { start: Start::Latest, ..GroupConfig::default() }).await;
    assert!(lease(&engine, &workers, 9).await.is_empty());
    append(&engine, partition, &["new"]).await;
    assert_eq!(offsets(&lease(&engine, &workers, 9).await), [3]);
}

#[tokio::test]
async fn batches_of_many_records_are_leased_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let partition = topic(&engine, "orders", 1, TopicConfig::default()).await.partitions[0];
    for _ in 0..3 {
        append(&engine, partition, &["a", "b", "c", "d"]).await;
    }
    let workers = create(&engine, GroupConfig::default()).await;
    let mut seen = Vec::new();
    for credit in [1, 2, 3, 1, 9] {
        let deliveries = lease(&engine, &workers, credit).await;
        assert!(deliveries.len() <= credit);
        seen.extend(offsets(&deliveries));
    }
    assert_eq!(seen, (0..12).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_acknowledged_as_it_is_handed_out_needs_no_settlement() {
    let (directory, engine, _, workers) = started(6, GroupConfig { max_in_flight: 1, ..GroupConfig::default() }).await;
    let leased = lease(&engine, &workers, 9).await;
    assert_eq!(offsets(&leased), [0]);
    let at_once = |max_messages| LeaseRequest { acknowledge: true, ..request(ConsumerId(77), max_messages) };
    let taken = engine.lease(&workers, at_once(3)).await.unwrap();
    assert_eq!(offsets(&taken), [1, 2, 3], "however many leases others hold");
    assert_eq!(engine.usage().leases, 1);
    assert_eq!(engine.lag(&workers).unwrap()[0].messages, 3);
    let (results, _commit) = engine.settle(&workers, vec![Settlement::Release(taken[0].lease)]).unwrap();
    assert_eq!(results, [Err(Error::LeaseGone)]);
    settle(&engine).await;
    drop(engine);
    let engine = open_manual(directory.path());
    let taken = engine.lease(&workers, at_once(9)).await.unwrap();
    assert_eq!((offsets(&taken), redelivered(&taken)), (vec![0, 4, 5], vec![0, 4, 5]));
    assert_eq!(engine.lag(&workers).unwrap()[0].messages, 0);
}

#[tokio::test]
async fn a_consumer_that_waited_gets_what_lives_no_longer_than_its_arrival() {
    let (_directory, engine, partition, workers) = started(0, GroupConfig::default()).await;
    let short = async |value| {
        let headers = Headers::from_iter([("ttl-ms", Some("0"))]);
        let record = Record { timestamp_ms: 1_000, headers, ..record(None, Some(value)) };
        write(&engine, Write::new(partition, Batch::pack(&[record]).unwrap())).await;
    };
    let waited = LeaseRequest { waited: true, ..request(engine.new_consumer(), 2) };
    for value in ["0", "1", "2"] {
        short(value).await;
    }
    let deliveries = engine.lease(&workers, waited).await.unwrap();
    assert_eq!(offsets(&deliveries), [0, 1], "as much as it could take");
    drop(engine.settle(&workers, vec![Settlement::Release(deliveries[0].lease)]).unwrap());
    assert!(lease(&engine, &workers, 9).await.is_empty(), "what comes back and what came for nobody is too old");
    short("3").await;
    assert!(lease(&engine, &workers, 9).await.is_empty());
    assert!(engine.lease(&workers, waited).await.unwrap().is_empty(), "somebody has looked at it");
}

#[tokio::test]
async fn a_purge_takes_what_nobody_holds() {
    let (directory, engine, _, workers) = started(6, GroupConfig { max_in_flight: 9, ..GroupConfig::default() }).await;
    let leased = lease(&engine, &workers, 3).await;
    acknowledge(&engine, &workers, &leased[..1]).await;
    let (_, _commit) = engine.settle(&workers, vec![Settlement::Release(leased[1].lease)]).unwrap();
    let (purged, _commit) = engine.purge(&workers).unwrap();
    assert_eq!(purged, 4, "one is done and one is held");
    assert_eq!(engine.purge(&workers).unwrap().0, 0);
    assert!(lease(&engine, &workers, 9).await.is_empty());
    let (results, _commit) = engine.settle(&workers, vec![Settlement::Release(leased[2].lease)]).unwrap();
    assert_eq!(results, [Ok(())]);
    assert_eq!(offsets(&lease(&engine, &workers, 9).await), [2], "what was held comes back");
    settle(&engine).await;
    drop(engine);
    let engine = open_manual(directory.path());
    assert_eq!(offsets(&lease(&engine, &workers, 9).await), [2]);
}

#[tokio::test]
async fn a_group_that_never_began_can_be_purged() {
    let (_directory, engine, _, workers) = started(3, GroupConfig::default()).await;
    assert_eq!(engine.purge(&workers).unwrap().0, 3);
    assert!(lease(&engine, &workers, 9).await.is_empty());
}

/// A batch whose checksum is right and whose records are not what it says: gzip that is none.
fn undecodable() -> Batch {
    let mut bytes = batch(&["lost", "too"]).bytes.to_vec();
    bytes[22] |= 1;
    let crc = u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..])).unwrap();
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::split_from(&mut bytes.into()).unwrap()
}

#[tokio::test]
async fn a_batch_that_cannot_be_decoded_is_named_and_does_not_stop_the_group() {
    let directory = tempfile::tempdir().unwrap();
    let engine = open_manual(directory.path());
    let partition = with_records(&engine, 1).await;
    write(&engine, Write::new(partition, undecodable())).await;
    append(&engine, partition, &["after"]).await;
    let workers = create(&engine, GroupConfig::default()).await;
    let deliveries = lease(&engine, &workers, 9).await;
    assert_eq!(offsets(&deliveries), [0, 3]);
    acknowledge(&engine, &workers, &deliveries).await;
    assert_eq!(engine.lag(&workers).unwrap()[0].messages, 2, "it is not acknowledged");
    assert_eq!(engine.counters().undecodable.load(std::sync::atomic::Ordering::Relaxed), 1);

    // What order its keys have is not known: a group that must keep it goes on only when it is moved.
    let config = GroupConfig { mode: Mode::OrderedByKey, topics: vec![name("orders")], ..GroupConfig::default() };
    drop(engine.create_group(group("ordered"), config).unwrap());
    assert_eq!(offsets(&lease(&engine, &group("ordered"), 9).await), [0]);
    let error = engine.lease(&group("ordered"), request(engine.new_consumer(), 9)).await.unwrap_err();
    assert!(matches!(error, Error::Undecodable { from: 1, to: 3, .. }), "{error}");
    drop(engine.seek(&group("ordered"), &[(partition, 3)]).unwrap());
    assert_eq!(offsets(&lease(&engine, &group("ordered"), 9).await), [3]);
}

#[tokio::test]
async fn a_waiting_consumer_hears_of_new_partitions_and_leaves_no_trace() {
    let (_directory, engine, _, workers) = started(0, GroupConfig::default()).await;
    let mut watch = engine.watch_group(&workers);
    assert!(lease(&engine, &workers, 9).await.is_empty());
    let (topic, _) = engine.grow_topic(&name("orders"), 2).unwrap();
    settle(&engine).await;
    tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    let mut watch = engine.watch_group(&workers);
    let others: Vec<_> = (0..100).map(|_| engine.watch_group(&workers)).collect();
    assert!(lease(&engine, &workers, 9).await.is_empty());
    drop(others);
    append(&engine, topic.partitions[1], &["in the new one"]).await;
    tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap();
    assert_eq!(lease(&engine, &workers, 9).await.len(), 1);
}
