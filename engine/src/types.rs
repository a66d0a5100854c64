//! What goes into the engine and what comes out of it.

use std::time::Duration;

use bytes::Bytes;

use crate::batch::Batch;
use crate::commit::Commit;
use crate::group::{OffsetCommit, Settlement};
use crate::{Durability, GroupName, PartitionId, Result};

/// What was found and done when the engine was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Log bytes replayed after the newest snapshot.
    pub replayed_bytes: u64,
    /// Bytes of an unfinished last write that were cut off; they were never acknowledged as durable.
    pub torn_bytes: u64,
    /// How long opening took.
    pub took: Duration,
}

/// One batch for one partition, or for several that will share the stored bytes.
#[derive(Debug, Clone)]
pub struct Write {
    /// Where to: almost always one.
    pub partitions: Vec<PartitionId>,
    /// The batch; its base offset is replaced.
    pub batch: Batch,
    /// Free-form idempotency key, if the publisher gave one.
    pub dedupe: Option<DedupeKey>,
    /// Deliver not before this wall-clock time (ms since the Unix epoch): the batch gets its offset only then.
    pub deliver_at_ms: Option<i64>,
}

impl Write {
    /// A plain write to one partition.
    #[must_use]
    pub fn new(partition: PartitionId, batch: Batch) -> Self {
        Self { partitions: vec![partition], batch, dedupe: None, deliver_at_ms: None }
    }
}

/// A free-form idempotency key and a digest of what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeKey {
    /// Scope and key, hashed by the caller (128 bits of a good hash).
    pub key: u128,
    /// Digest of the body: the same key with another body is refused.
    pub body: u64,
}

/// Where one write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record in the (first) partition; none when the batch waits for its delivery time.
    pub base_offset: Option<u64>,
    /// Append time in ms since the Unix epoch, when the topic stamps records with it; otherwise -1.
    pub append_time_ms: i64,
    /// First offset kept in the partition.
    pub log_start: u64,
    /// The durability the write has when its [`Commit`] is done.
    pub durability: Durability,
    /// The write was recognised as a repeat; the offset is the first one's.
    pub duplicate: bool,
}

/// The outcome of [`crate::Engine::append`]: a result per write in order, and the moment they are durable.
pub struct Appends {
    /// Per write: where it goes, or why not.
    pub results: Vec<Result<Appended>>,
    /// Done when every accepted write has the durability of its topic.
    pub commit: Commit,
}

/// Writes and progress that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Atomic {
    /// Batches.
    pub writes: Vec<Write>,
    /// Offsets committed with them.
    pub offsets: Vec<(GroupName, Vec<OffsetCommit>)>,
    /// Leases settled with them; if one is gone nothing happens.
    pub settlements: Vec<(GroupName, Vec<Settlement>)>,
}

/// A partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// First offset kept.
    pub log_start: u64,
    /// Next offset a reader has not been able to see yet.
    pub high_watermark: u64,
    /// Stored bytes between the two, to the granularity of a batch.
    pub bytes: u64,
    /// Largest record timestamp, ms since the Unix epoch, or -1.
    pub max_timestamp_ms: i64,
}

/// Stored batches from one read.
#[derive(Debug, Clone)]
pub struct Read {
    /// Runs of whole batches in offset order, as stored, base offsets right. The first may begin below the offset asked for.
    pub batches: Vec<Bytes>,
    /// As [`PartitionInfo::high_watermark`].
    pub high_watermark: u64,
    /// As [`PartitionInfo::log_start`].
    pub log_start: u64,
}

/// The first record at or after a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: u64,
    /// Its timestamp, ms since the Unix epoch.
    pub timestamp_ms: i64,
}

/// What the engine holds at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Topics.
    pub topics: usize,
    /// Partitions.
    pub partitions: usize,
    /// Groups.
    pub groups: usize,
    /// Leases outstanding over all groups.
    pub leases: usize,
    /// Idempotency keys remembered.
    pub dedupe_keys: usize,
    /// Records waiting for their delivery time.
    pub scheduled: usize,
    /// Keys over all tables.
    pub table_entries: usize,
    /// Segments of the log.
    pub segments: usize,
    /// Bytes in the tail cache.
    pub tail_cache_bytes: usize,
    /// Bytes appended and not yet written.
    pub pending_bytes: usize,
    /// Publishing is refused for want of disk space.
    pub disk_full: bool,
    /// A write or sync failed: nothing is taken until a restart.
    pub poisoned: bool,
}
