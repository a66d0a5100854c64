//! A group's progress on one partition.
//!
//! Every offset below `committed` or in `acknowledged` is done. Every other one below `cursor` is tracked in exactly one place:
//! leased (the group keeps those), `ready`, `delayed`, or held behind another one of its key. Nobody has looked at the offsets
//! from `cursor` on since the group was opened, though they may have failed before that. A batch that cannot be decoded is
//! passed over until the next start or move of the group: its offsets below `cursor` are nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::order::Keys;
use super::ranges::RangeSet;
use super::record::{Failed, PartitionSnapshot};
use super::{Committed, OffsetCommit};
use crate::PartitionId;

/// How often a record has failed and when it may be delivered again (ms since the Unix epoch).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub attempts: u32,
    pub due_ms: i64,
}

/// What became of a record when it was handed out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    /// How often it failed.
    pub failures: u32,
    /// Somebody had it already, or may have had.
    pub redelivered: bool,
}

/// What may be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is handed out to nobody and may be now.
    Free(History),
    /// It is done, leased, waiting, or was set aside just now to wait.
    Taken,
    /// It would have to be set aside, and too many are.
    Full,
    /// It is further on than anybody has looked.
    Ahead,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Progress {
    // durable
    committed: u64,
    leader_epoch: i32,
    metadata: String,
    acknowledged: RangeSet,
    failed: BTreeMap<u64, Failure>,
    // volatile
    cursor: u64,
    /// To be handed out before anything from `cursor` on; whether each was handed out before.
    ready: BTreeMap<u64, bool>,
    /// What lies below may have been handed out by an earlier life that nothing else is known of.
    doubtful_below: u64,
    delayed: BTreeSet<(i64, u64)>,
    keys: Keys,
}

impl Progress {
    /// Progress that begins at an offset.
    pub(crate) fn at(offset: u64, leader_epoch: i32, metadata: String) -> Self {
        Self {
            committed: offset,
            leader_epoch,
            metadata,
            acknowledged: RangeSet::default(),
            failed: BTreeMap::new(),
            cursor: offset,
            ready: BTreeMap::new(),
            doubtful_below: 0,
            delayed: BTreeSet::new(),
            keys: Keys::default(),
        }
    }

    /// The lowest offset that is not done.
    pub(crate) fn position(&self) -> u64 {
        self.committed
    }

    pub(crate) fn committed(&self, partition: PartitionId) -> Committed {
        let (offset, leader_epoch) = (self.committed, self.leader_epoch);
        Committed { partition, offset, leader_epoch, metadata: self.metadata.clone() }
    }

    /// Offsets of the partition that are not done.
    pub(crate) fn unacknowledged(&self, log_start: u64, high_watermark: u64) -> u64 {
        let open = self.committed.max(log_start)..high_watermark;
        open.end.saturating_sub(open.start) - self.acknowledged.count_within(&open)
    }

    /// Failed records that wait for their time, or will be looked at again after a restart.
    pub(crate) fn delayed(&self) -> usize {
        self.delayed.len() + self.failed.range(self.cursor..).count()
    }

    /// Records set aside: for their time, or behind another one of their key.
    pub(crate) fn waiting(&self) -> usize {
        self.delayed.len() + self.keys.held()
    }

    /// When the next delayed record is due, ms since the Unix epoch.
    pub(crate) fn next_retry(&self) -> Option<i64> {
        self.delayed.first().map(|(due_ms, _)| *due_ms)
    }

    pub(crate) fn attempts(&self, offset: u64) -> u32 {
        if self.failed.is_empty() { 0 } else { self.failed.get(&offset).map_or(0, |failure| failure.attempts) }
    }

    /// Whatever is not done below `offset` may have been handed out already, and nobody remembers.
    pub(crate) fn doubt_below(&mut self, offset: u64) {
        self.doubtful_below = self.doubtful_below.max(offset);
    }

    /// The first offset that nobody has looked at, done or not.
    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// See [`Progress::doubt_below`].
    pub(crate) fn doubtful_below(&self) -> u64 {
        self.doubtful_below
    }

    /// Nothing waits any more.
    pub(crate) fn reset(&mut self) {
        *self = Self::at(self.committed, -1, String::new());
    }

    // ---- handing out --------------------------------------------------------------------------------------------

    /// The lowest offset to be delivered again, now.
    pub(crate) fn next_ready(&mut self, now_ms: i64) -> Option<u64> {
        while let Some(&(due_ms, offset)) = self.delayed.first()
            && due_ms <= now_ms
        {
            self.delayed.pop_first();
            self.ready.insert(offset, true);
        }
        self.ready.first_key_value().map(|(offset, _)| *offset)
    }

    /// The first offset nobody has looked at.
    pub(crate) fn next_unread(&mut self) -> u64 {
        self.cursor = self.acknowledged.first_missing(self.cursor.max(self.committed));
        self.cursor
    }

    /// Whether a record may be handed out. If it is free it must be now, or be put back with [`Progress::give_back`]; where
    /// it is not `kept` it must be acknowledged before anybody looks at the next walk's records.
    pub(crate) fn take(&mut self, offset: u64, key: Option<u64>, now_ms: i64, may_wait: bool, kept: bool) -> Turn {
        if offset < self.cursor {
            let ready = if self.ready.is_empty() { None } else { self.ready.remove(&offset) };
            return ready.map_or(Turn::Taken, |handed_out| Turn::Free(self.history(offset, handed_out)));
        }
        if self.next_unread() != offset {
            return if offset < self.cursor { Turn::Taken } else { Turn::Ahead };
        }
        let due_ms = self.failed.get(&offset).map_or(i64::MIN, |failure| failure.due_ms);
        let blocked = key.is_some_and(|key| self.keys.is_busy(key));
        let waits = blocked || due_ms > now_ms;
        if waits && !may_wait {
            return Turn::Full;
        }
        self.cursor += 1;
        if let Some(key) = key.filter(|_| waits || kept) {
            self.keys.push(key, offset);
        }
        if waits && !blocked {
            self.delayed.insert((due_ms, offset));
        }
        if waits { Turn::Taken } else { Turn::Free(self.history(offset, false)) }
    }

    fn history(&self, offset: u64, handed_out: bool) -> History {
        let failures = self.attempts(offset);
        History { failures, redelivered: handed_out || failures > 0 || offset < self.doubtful_below }
    }

    /// A record that was taken comes back unharmed, to its place in the order.
    pub(crate) fn give_back(&mut self, offset: u64, handed_out: bool) {
        if offset >= self.committed && offset < self.cursor {
            self.ready.insert(offset, handed_out);
        }
    }

    /// What lies in a range cannot be decoded: the group goes on behind it, and it stays unacknowledged.
    pub(crate) fn pass_over(&mut self, range: &Range<u64>) {
        self.ready.retain(|offset, _| !range.contains(offset));
        if range.contains(&self.next_unread()) {
            self.cursor = range.end;
        }
    }

    /// Nothing exists in a range: nobody need look at it again. True when that was news.
    pub(crate) fn skip(&mut self, range: &Range<u64>) -> bool {
        let next = self.next_unread();
        if range.contains(&next) {
            self.cursor = range.end;
        }
        range.contains(&next) || self.ready.range(range.clone()).next().is_some()
    }

    // ---- durable changes ----------------------------------------------------------------------------------------

    /// Records are done.
    pub(crate) fn acknowledge(&mut self, range: Range<u64>) {
        self.forget(range.clone());
        if range.start <= self.committed {
            self.committed = self.committed.max(range.end);
            self.absorb();
        } else {
            self.acknowledged.insert(range);
        }
    }

    fn absorb(&mut self) {
        if !self.acknowledged.is_empty() {
            self.committed = self.acknowledged.first_missing(self.committed);
            self.acknowledged.remove_below(self.committed);
        }
        self.cursor = self.cursor.max(self.committed);
    }

    /// Offsets below the log's start count as done.
    pub(crate) fn advance_log_start(&mut self, log_start: u64) {
        if log_start > self.committed {
            self.acknowledge(self.committed..log_start);
        }
    }

    /// A record failed.
    pub(crate) fn fail(&mut self, failed: &Failed) {
        let Failed { offset, attempts, due_ms, .. } = *failed;
        if offset < self.committed || self.acknowledged.contains(offset) {
            return;
        }
        if let Some(before) = self.failed.insert(offset, Failure { attempts, due_ms }) {
            self.delayed.remove(&(before.due_ms, offset));
        }
        if offset < self.cursor {
            self.delayed.insert((due_ms, offset));
        }
    }

    /// Drops what is known of records, and lets those go that waited behind them.
    fn forget(&mut self, range: Range<u64>) {
        while let Some((&offset, _)) = self.ready.range(range.clone()).next() {
            self.ready.remove(&offset);
        }
        while let Some((&offset, failure)) = self.failed.range(range.clone()).next() {
            self.delayed.remove(&(failure.due_ms, offset));
            self.failed.remove(&offset);
        }
        let Self { keys, failed, ready, delayed, .. } = self;
        keys.remove(range, |freed| match failed.get(&freed) {
            Some(failure) => drop(delayed.insert((failure.due_ms, freed))),
            None => drop(ready.insert(freed, false)),
        });
    }

    // ---- snapshots ----------------------------------------------------------------------------------------------

    pub(crate) fn snapshot(&self, partition: PartitionId) -> PartitionSnapshot {
        let Committed { partition, offset, leader_epoch, metadata } = self.committed(partition);
        PartitionSnapshot {
            committed: OffsetCommit { partition, offset, leader_epoch, metadata },
            acknowledged: self.acknowledged.iter().map(|range| (range.start, range.end)).collect(),
            failed: self.failed.iter().map(|(offset, failure)| (*offset, failure.attempts, failure.due_ms)).collect(),
        }
    }

    pub(crate) fn restore(snapshot: PartitionSnapshot) -> (PartitionId, Self) {
        let OffsetCommit { partition, offset, leader_epoch, metadata } = snapshot.committed;
        let mut progress = Self::at(offset, leader_epoch, metadata);
        progress.acknowledged = snapshot.acknowledged.into_iter().map(|(from, to)| from..to).collect();
        let failed = snapshot.failed.into_iter();
        progress.failed = failed.map(|(offset, attempts, due_ms)| (offset, Failure { attempts, due_ms })).collect();
        (partition, progress)
    }
}
