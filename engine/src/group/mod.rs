//! Groups: named progress on topics, shared consumption with leases, lag.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

mod lease;
mod order;
mod progress;
mod ranges;
mod record;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use order::key_hash;
pub(crate) use record::{GroupRecord, GroupSnapshot};
pub(crate) use state::{Bounds, DeadLetter, Death, Grant, Group, Next, Offer, Outcome};

pub use crate::ahead::SharedRecord;
use crate::{GroupName, PartitionId, TopicName};

/// How a shared group hands out records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Any consumer takes the next record.
    #[default]
    Shared,
    /// Records of one key go one after the other: none is leased while an earlier one of its key is outstanding.
    OrderedByKey,
}

/// Where a group starts on a partition it has no progress for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At the first record kept.
    #[default]
    Earliest,
    /// At the next record to be written.
    Latest,
    /// At the first record with this timestamp (ms since the Unix epoch) or a later one.
    Timestamp(i64),
}

/// Delay before a rejected record is delivered again: `min * multiplier^(attempt-1)`, at most `max`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// Delay after the first failed attempt.
    pub min: Duration,
    /// The longest delay.
    pub max: Duration,
    /// Growth per attempt, at least 1.
    pub multiplier: f64,
}

impl Default for Retry {
    fn default() -> Self {
        Self { min: Duration::ZERO, max: Duration::from_secs(600), multiplier: 2.0 }
    }
}

impl Retry {
    /// The delay after so many failed attempts.
    #[must_use]
    pub fn delay(&self, attempts: u32) -> Duration {
        if self.min.is_zero() {
            return Duration::ZERO;
        }
        let grown = self.min.as_secs_f64() * self.multiplier.powf(f64::from(attempts.saturating_sub(1)));
        // A multiplier that nobody checked may make it infinite, negative or no number.
        if grown >= 0.0 && grown < self.max.as_secs_f64() { Duration::from_secs_f64(grown) } else { self.max }
    }
}

/// Settings of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupConfig {
    /// The topics it consumes when shared. An assigned group commits to any topic.
    pub topics: Vec<TopicName>,
    /// How records are handed out.
    pub mode: Mode,
    /// Where it starts.
    pub start: Start,
    /// How long a lease lasts when the consumer does not say.
    pub ack_deadline: Duration,
    /// Failed attempts after which a record is dead-lettered (or dropped, with no `dead_letter`). `None` is unlimited.
    pub max_deliveries: Option<u32>,
    /// Delay between attempts.
    pub retry: Retry,
    /// Where records go that failed too often or were rejected for good.
    pub dead_letter: Option<TopicName>,
    /// The most leases outstanding. As many records, but at least 10,000, may also wait for their retry delay or behind another
    /// one of their key; past that nothing new is read.
    pub max_in_flight: u32,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            mode: Mode::default(),
            start: Start::default(),
            ack_deadline: Duration::from_secs(30),
            max_deliveries: None,
            retry: Retry::default(),
            dead_letter: None,
            max_in_flight: 10_000,
        }
    }
}

/// A committed offset, as a consumer sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetCommit {
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to consume.
    pub offset: u64,
    /// Leader epoch of the last consumed record, or -1.
    pub leader_epoch: i32,
    /// The consumer's own note.
    pub metadata: String,
}

/// One consumer's identity within the engine, for the leases it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u64);

/// What a consumer asks for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest {
    /// Who will hold the leases.
    pub consumer: ConsumerId,
    /// At most so many records.
    pub max_messages: usize,
    /// Stop after so many bytes of keys, values and headers (at least one record is given).
    pub max_bytes: usize,
    /// How long the leases last; the group's `ack_deadline` if none.
    pub deadline: Option<Duration>,
    /// The records are acknowledged as they are handed out: there is no lease to settle, and no limit of leases counts. Whoever
    /// asks for this loses what it does not get to process. Nothing waits for that to be durable: after a crash some may come
    /// again.
    pub acknowledge: bool,
    /// The consumer has found nothing and could have taken more ever since: what nobody has looked at came while it waited,
    /// and is its own however short its time to live.
    pub waited: bool,
}

/// Names a lease for its settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// The record's partition.
    pub partition: PartitionId,
    /// The record's offset.
    pub offset: u64,
    /// Which lease of that record: a settlement of an earlier, expired one is refused.
    pub token: u64,
}

/// A record handed to a consumer under a lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// For its settlement; of no use where the record was acknowledged as it was handed out.
    pub lease: LeaseId,
    /// The record's topic.
    pub topic: TopicName,
    /// Partition index within the topic.
    pub partition_index: u32,
    /// The record, its offset included.
    pub record: SharedRecord,
    /// 1 more than the attempts that failed.
    pub attempt: u32,
    /// Some consumer of the group had this record before: it failed, was given back, or may have been handed out before a
    /// restart, which is not written down (so after one, whatever was not acknowledged counts). Nothing is known of before a seek.
    pub redelivered: bool,
    /// When the lease expires, wall-clock ms since the Unix epoch; now, where there is none.
    pub deadline_ms: i64,
}

/// What becomes of a leased record.
#[derive(Debug, Clone, PartialEq)]
pub enum Settlement {
    /// Done: never delivered again to this group.
    Acknowledge(LeaseId),
    /// Give it back unharmed: delivered again, the attempt not counted.
    Release(LeaseId),
    /// It failed: delivered again after a delay, dead-lettered after `max_deliveries`.
    Reject {
        /// The lease.
        lease: LeaseId,
        /// Overrides the group's retry delay.
        delay: Option<Duration>,
        /// Why, for the dead-letter headers.
        reason: Option<Bytes>,
        /// Dead-letter it now, whatever the count.
        dead_letter: bool,
    },
    /// Give me more time, counted from now.
    Extend(LeaseId, Duration),
}

impl Settlement {
    /// The lease it settles.
    #[must_use]
    pub fn lease(&self) -> &LeaseId {
        match self {
            Self::Acknowledge(lease) | Self::Release(lease) | Self::Extend(lease, _) | Self::Reject { lease, .. } => {
                lease
            }
        }
    }
}

/// A group at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupInfo {
    /// Its name.
    pub name: GroupName,
    /// Its settings.
    pub config: GroupConfig,
    /// Leases outstanding.
    pub in_flight: usize,
    /// Records waiting for a retry delay.
    pub delayed: usize,
}

/// Committed progress on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to consume: everything below is acknowledged.
    pub offset: u64,
    /// As committed, or -1.
    pub leader_epoch: i32,
    /// As committed.
    pub metadata: String,
}

/// What a group has still to consume on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The partition.
    pub partition: PartitionId,
    /// Unacknowledged records (offsets, for a partition with gaps).
    pub messages: u64,
    /// Their stored bytes, to the granularity of a batch.
    pub bytes: u64,
    /// Timestamp of the oldest unacknowledged batch, ms since the Unix epoch; none when there is no lag.
    pub oldest_timestamp_ms: Option<i64>,
}
