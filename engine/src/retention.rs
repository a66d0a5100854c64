//! What topics keep: log starts move up behind what every group has acknowledged, in every round of maintenance, and to the
//! topics' limits of time and bytes, every `retention_interval`.
//!
//! Until then records older than their topic's limit can be read, also those that were so when they were written. Space
//! is not lost by it: it comes back in whole segments, so bytes are looked at when a segment is full. A topic is over its
//! limit by what a segment holds and a round of maintenance lets in, however fast it is written. On a full disk waiting for the
//! interval would refuse publishes for nothing: there every round looks at both limits. But it notes only what gives space
//! back, because it has little space to note it in.

use std::time::Duration;

use crate::log::{IndexEntry, SegmentId};
use crate::maintain::millis;
use crate::partition::Partition;
use crate::record::StateRecord;
use crate::shard::{Inner, Purpose, Shard};
use crate::{Durability, PartitionId, Retention};

/// When topics were last held to their limits.
#[derive(Debug, Default)]
pub(crate) struct LastLook {
    /// Monotonic; none since the start.
    at: Option<Duration>,
    /// The segment that was written to then.
    active: Option<SegmentId>,
}

/// Which limits a round of maintenance looks at.
#[derive(Debug, Clone, Copy)]
struct Due {
    time: bool,
    bytes: bool,
}

impl LastLook {
    fn due(&self, inner: &Inner, now: Duration, interval: Duration) -> Due {
        let time = inner.disk_full || self.at.is_none_or(|at| now.saturating_sub(at) >= interval);
        Due { time, bytes: time || self.active != Some(inner.active) }
    }
}

impl Shard {
    /// Moves log starts up as each topic's retention says, and forgets idempotency keys whose window is over.
    pub(crate) fn retain(&self) {
        let (now, now_ms) = (self.environment.clock.monotonic(), self.environment.clock.now_ms());
        let mut inner = self.lock();
        if inner.failed.is_some() {
            return;
        }
        let due = inner.limits_looked_at.due(&inner, now, self.config.retention_interval);
        let starts = new_starts(&inner, due, now_ms);
        let records: Vec<_> =
            starts.into_iter().map(|(partition, offset)| StateRecord::LogStart { partition, offset }).collect();
        let done = records.is_empty()
            || match self.change_for(Purpose::Freeing, &mut inner, records, Durability::PageCache) {
                Ok(_) => true,
                Err(error) => {
                    tracing::warn!(%error, "retention has to wait");
                    false
                }
            };
        // What could not be written is looked at again in the next round.
        if done && due.bytes {
            let at = if due.time { Some(now) } else { inner.limits_looked_at.at };
            inner.limits_looked_at = LastLook { at, active: Some(inner.active) };
        }
        inner.state.dedupe.forget(now_ms - millis(self.config.dedupe_window));
    }
}

/// Where partitions should begin by their topics' retention, if that is further up than they do.
fn new_starts(inner: &Inner, due: Due, now_ms: i64) -> Vec<(PartitionId, u64)> {
    let mut starts = Vec::new();
    let mut acknowledged = None;
    let is_worth_noting = |partition: &Partition, start: u64| {
        let is_full = inner.disk_full && inner.spare.is_none();
        start > partition.log_start && (!is_full || partition.chunks.front().is_some_and(|first| first.end <= start))
    };
    for topic in inner.state.topics() {
        let retention = &topic.config.retention;
        if !retention.until_acknowledged && !due.bytes {
            continue;
        }
        for id in &topic.partitions {
            let Ok(partition) = inner.state.partition(*id) else { continue };
            let mut start = start_by_limits(partition, retention, due, now_ms);
            if retention.until_acknowledged {
                let acknowledged = acknowledged.get_or_insert_with(|| inner.state.acknowledged_by_all());
                start = start.max(acknowledged.get(id).copied().unwrap_or(start));
            }
            if is_worth_noting(partition, start) {
                starts.push((*id, start.min(partition.high_watermark)));
            }
        }
    }
    // The same on every run of a simulation.
    starts.sort_unstable();
    starts
}

fn start_by_limits(partition: &Partition, retention: &Retention, due: Due, now_ms: i64) -> u64 {
    let mut start = partition.log_start;
    if let Some(time) = retention.time.filter(|_| due.time) {
        start = start.max(start_by_time(partition, now_ms.saturating_sub(millis(time))));
    }
    if let Some(bytes) = retention.bytes.filter(|_| due.bytes) {
        start = start.max(start_by_bytes(partition, bytes));
    }
    start
}

fn start_by_time(partition: &Partition, before_ms: i64) -> u64 {
    let chunks = partition.chunks.iter().take_while(|chunk| chunk.max_timestamp_ms < before_ms).map(|chunk| chunk.end);
    let whole = chunks.last().unwrap_or(partition.log_start);
    if partition.chunks.back().is_some_and(|last| last.end > whole) {
        return whole;
    }
    partition.live().take_while(|entry| entry.max_timestamp_ms < before_ms).last().map_or(whole, IndexEntry::end)
}

fn start_by_bytes(partition: &Partition, limit: u64) -> u64 {
    let mut excess = partition.bytes_from(partition.log_start).saturating_sub(limit);
    let mut start = partition.log_start;
    let chunks = partition.chunks.iter().map(|chunk| (chunk.end, chunk.bytes));
    let active = partition.live().map(|entry| (entry.end(), u64::from(entry.length)));
    for (end, bytes) in chunks.chain(active) {
        if bytes > excess {
            break;
        }
        excess -= bytes;
        start = end;
    }
    start
}
