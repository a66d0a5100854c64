#![allow(clippy::unwrap_used, clippy::expect_used)]

mod behaviour;
mod cost;
mod model;

use std::time::Duration;

use super::record::Acknowledged;
use super::state::{Bounds, Grant, Next, Offer, Outcome, Settled};
use super::*;

const P: PartitionId = PartitionId(7);
const Q: PartitionId = PartitionId(8);
const A: ConsumerId = ConsumerId(1);
const B: ConsumerId = ConsumerId(2);

fn group(config: GroupConfig) -> Group {
    let mut group = Group::new(GroupName::new("default", "g").unwrap(), config);
    for partition in [P, Q] {
        group.apply(&Group::start(partition, 0));
    }
    group
}

fn dead_letter_topic() -> Option<TopicName> {
    Some(TopicName::new("default", "dead").unwrap())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Offers a record as the walk of a batch does. The token is the offset plus 100 for each second of the deadline.
fn offer(group: &mut Group, offset: u64, key: Option<u64>, consumer: ConsumerId, deadline: u64) -> Outcome {
    let offer = Offer { partition: P, offset, key, expires_at_ms: None };
    let grant = Grant { consumer, token: offset + 100 * deadline, deadline: seconds(deadline), acknowledge: false };
    group.lease(&offer, &grant, 0)
}

/// Handed out for the first time.
const FIRST: Outcome = Outcome::Leased { attempt: 1, redelivered: false };

/// Handed out again.
fn again(attempt: u32) -> Outcome {
    Outcome::Leased { attempt, redelivered: true }
}

fn id(offset: u64, deadline: u64) -> LeaseId {
    LeaseId { partition: P, offset, token: offset + 100 * deadline }
}

fn lease(group: &mut Group, offsets: std::ops::Range<u64>, consumer: ConsumerId) {
    for offset in offsets {
        assert!(matches!(offer(group, offset, None, consumer, 30), Outcome::Leased { .. }), "{offset}");
    }
}

fn apply(group: &mut Group, settled: Settled) -> Vec<Result<(), crate::Error>> {
    settled.records.iter().for_each(|record| group.apply(record));
    settled.results
}

fn settle(group: &mut Group, settlements: &[Settlement]) -> Vec<Result<(), crate::Error>> {
    let settled = group.settle(settlements, Duration::ZERO, 0);
    apply(group, settled)
}

fn acknowledge(group: &mut Group, offsets: impl IntoIterator<Item = u64>) {
    let acks: Vec<_> = offsets.into_iter().map(|offset| Settlement::Acknowledge(id(offset, 30))).collect();
    assert!(settle(group, &acks).iter().all(Result::is_ok));
}

fn reject(lease: LeaseId) -> Settlement {
    Settlement::Reject { lease, delay: None, reason: None, dead_letter: false }
}

fn bounds(high_watermark: u64) -> [Bounds; 1] {
    [Bounds { partition: P, log_start: 0, high_watermark }]
}

/// Where it goes on, in partitions with these bounds.
fn ask(group: &mut Group, bounds: &[Bounds], acknowledge: bool, now_ms: i64) -> Result<Option<Next>, crate::Error> {
    let partitions: Vec<_> = bounds.iter().map(|bounds| bounds.partition).collect();
    let of = |id| bounds.iter().find(|bounds| bounds.partition == id).copied();
    group.next(&partitions, of, acknowledge, now_ms)
}

fn next(group: &mut Group, high_watermark: u64, now_ms: i64) -> Option<u64> {
    match ask(group, &bounds(high_watermark), false, now_ms).unwrap()? {
        Next::Read { offset, .. } => Some(offset),
        Next::Start(_) => panic!("it has been started"),
    }
}
