//! Records that wait for their delivery time: kept in a partition of their own, delivered by a second append when due.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

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

    /// When the next one will be due of those that are not yet, wall-clock ms since the Unix epoch.
    pub(crate) fn next_after(&self, now_ms: i64) -> Option<i64> {
        self.by_due.range((now_ms.saturating_add(1), 0)..).next().map(|(due_ms, _)| *due_ms)
    }

    /// The first that is due behind the one named, with when it was due, its offset, and where it goes.
    pub(crate) fn due(&self, now_ms: i64, after: Option<(i64, u64)>) -> Option<((i64, u64), Vec<PartitionId>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let due = *self.by_due.range((from, Bound::Unbounded)).next().filter(|(due_ms, _)| *due_ms <= now_ms)?;
        self.waiting.get(&due.1).map(|(_, targets)| (due, targets.clone()))
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
