//! Records that wait for their delivery time: kept in a partition of their own, delivered by a second append when due.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::PartitionId;

/// The schedule's own partition. It belongs to no topic.
pub(crate) const SCHEDULE_PARTITION: PartitionId = PartitionId(0);

/// What waits, by the offset its batch has in [`SCHEDULE_PARTITION`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    waiting: BTreeMap<u64, (i64, Vec<PartitionId>)>,
    by_due: BTreeSet<(i64, u64)>,
}

impl Schedule {
    pub(crate) fn add(&mut self, offset: u64, due_ms: i64, targets: Vec<PartitionId>) {
        self.by_due.insert((due_ms, offset));
        self.waiting.insert(offset, (due_ms, targets));
    }

    pub(crate) fn remove(&mut self, offset: u64) -> Option<Vec<PartitionId>> {
        let (due_ms, targets) = self.waiting.remove(&offset)?;
        self.by_due.remove(&(due_ms, offset));
        Some(targets)
    }

    /// When the next one is due, wall-clock ms since the Unix epoch.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.by_due.first().map(|(due_ms, _)| *due_ms)
    }

    /// The next one that is due.
    pub(crate) fn due(&self, now_ms: i64) -> Option<(u64, Vec<PartitionId>)> {
        let (due_ms, offset) = *self.by_due.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.waiting.get(&offset).map(|(_, targets)| (offset, targets.clone()))
    }

    /// The first offset still needed; none when nothing waits.
    pub(crate) fn first_offset(&self) -> Option<u64> {
        self.waiting.keys().next().copied()
    }

    /// Records waiting.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
