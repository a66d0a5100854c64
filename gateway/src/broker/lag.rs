//! What groups have still to consume.

use std::collections::HashMap;
use std::time::Duration;

use super::{Action, Broker, Principal, Result};

/// What a group has still to consume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupLag {
    /// Messages not acknowledged.
    pub messages: u64,
    /// Their stored bytes, to the granularity of a batch.
    pub bytes: u64,
    /// Timestamp of the oldest of them, in milliseconds since 1970.
    pub oldest_timestamp_ms: Option<i64>,
    /// By partition.
    pub partitions: Vec<PartitionLag>,
}

/// What a group has still to consume of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: u32,
    /// Everything below is acknowledged; none without any progress.
    pub committed: Option<u64>,
    /// Messages not acknowledged.
    pub messages: u64,
    /// Their stored bytes, to the granularity of a batch.
    pub bytes: u64,
    /// Timestamp of the oldest of them, in milliseconds since 1970.
    pub oldest_timestamp_ms: Option<i64>,
}

impl GroupLag {
    /// How old the oldest message is at `now_ms`.
    #[must_use]
    pub fn oldest_age(&self, now_ms: i64) -> Option<Duration> {
        let age = |ms| u64::try_from(now_ms.saturating_sub(ms)).unwrap_or_default();
        self.oldest_timestamp_ms.map(|ms| Duration::from_millis(age(ms)))
    }
}

impl Broker {
    /// What a group has still to consume, in all and of each partition that the principal may read.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Forbidden`].
    pub fn lag(&self, principal: &Principal, name: &str) -> Result<GroupLag> {
        let group = self.group_name(principal, Action::Read, name)?;
        let lags = self.engine.lag(&group)?;
        let committed: HashMap<_, _> =
            self.engine.committed(&group)?.into_iter().map(|progress| (progress.partition, progress.offset)).collect();
        let names = self.partition_names(principal);
        let partitions = lags.iter().filter_map(|lag| {
            let (topic, partition) = names.get(&lag.partition)?.clone();
            Some(PartitionLag {
                topic,
                partition,
                committed: committed.get(&lag.partition).copied(),
                messages: lag.messages,
                bytes: lag.bytes,
                oldest_timestamp_ms: lag.oldest_timestamp_ms,
            })
        });
        Ok(GroupLag {
            messages: lags.iter().map(|lag| lag.messages).sum(),
            bytes: lags.iter().map(|lag| lag.bytes).sum(),
            oldest_timestamp_ms: lags.iter().filter_map(|lag| lag.oldest_timestamp_ms).min(),
            partitions: partitions.collect(),
        })
    }
}
