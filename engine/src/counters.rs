//! What the engine has done since it was opened: plain atomics, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the engine was opened.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes written to the log, framing included.
    pub written_bytes: AtomicU64,
    /// Group commits written.
    pub blocks: AtomicU64,
    /// Syncs of the log.
    pub syncs: AtomicU64,
    /// Bytes read from segment files (not from the tail cache).
    pub read_bytes: AtomicU64,
    /// Of what was read ahead, the bytes that a reader came for.
    pub read_ahead_bytes: AtomicU64,
    /// Snapshots written.
    pub snapshots: AtomicU64,
    /// Segments deleted because nothing in them lived.
    pub segments_deleted: AtomicU64,
    /// Bytes that reclaim and compaction have copied.
    pub rewritten_bytes: AtomicU64,
    /// Records dead-lettered.
    pub dead_lettered: AtomicU64,
    /// Batches that groups came to and could not decode.
    pub undecodable: AtomicU64,
    /// Reads that met data which does not check.
    pub corrupt_reads: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
