//! A group's durable changes and its snapshot, as they are stored.

use serde::{Deserialize, Serialize};

use super::{GroupConfig, OffsetCommit};
use crate::{GroupName, PartitionId};

/// One durable change of a group's progress. Stored in postcard's encoding: variants are only ever added at the end, and no
/// variant's fields change, because what was written must stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum GroupRecord {
    /// The group begins to consume a partition here, unless it has progress there already.
    Started { partition: PartitionId, offset: u64 },
    /// A consumer committed: everything below is done, everything from there on is not.
    Committed(Vec<OffsetCommit>),
    /// The group was moved.
    Sought(Vec<(PartitionId, u64)>),
    /// Progress on partitions was deleted.
    Forgotten(Vec<PartitionId>),
    /// Records are done, or were found not to exist.
    Acknowledged(Vec<Acknowledged>),
    /// Records failed and will be delivered again.
    Failed(Vec<Failed>),
}

/// A run of offsets that are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    pub partition: PartitionId,
    /// The first of them.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
}

/// A record that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub partition: PartitionId,
    pub offset: u64,
    /// How often by now.
    pub attempts: u32,
    /// Not to be delivered before, ms since the Unix epoch.
    pub due_ms: i64,
}

/// The durable state of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct GroupSnapshot {
    pub name: GroupName,
    pub config: GroupConfig,
    pub partitions: Vec<PartitionSnapshot>,
}

/// The durable state of a group on one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionSnapshot {
    /// Where it is, with what the consumer said to it.
    pub committed: OffsetCommit,
    /// Done above it, as first offset and the one after the last.
    pub acknowledged: Vec<(u64, u64)>,
    /// Failed and not done: offset, attempts, due time.
    pub failed: Vec<(u64, u32, i64)>,
}

/// Joins neighbouring offsets into runs. Costs a sort only when they come out of order.
pub(crate) fn runs(mut offsets: Vec<(PartitionId, u64)>) -> Vec<Acknowledged> {
    if !offsets.is_sorted() {
        offsets.sort_unstable();
    }
    let mut runs: Vec<Acknowledged> = Vec::new();
    for (partition, offset) in offsets {
        match runs.last_mut() {
            Some(run) if run.partition == partition && offset <= run.to => run.to = run.to.max(offset + 1),
            _ => runs.push(Acknowledged { partition, from: offset, to: offset + 1 }),
        }
    }
    runs
}
