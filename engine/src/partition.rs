//! One partition: its bounds, where its batches lie, and who waits for more.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use crate::batch::BatchHeader;
use crate::log::{Chunk, IndexEntry};
use crate::producer::Producers;
use crate::waiting::{Readers, Signal, Wakes};
use crate::{Durability, Error, PartitionId, Result, Topic};

/// A partition's state. Offsets run `log_start <= high_watermark <= next_offset`.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Its topic; none for the schedule's own partition.
    pub topic: Option<Arc<Topic>>,
    /// Its number within the topic.
    pub index: u32,
    /// First offset kept.
    pub log_start: u64,
    /// Readers see what is below.
    pub high_watermark: u64,
    /// The next record's offset.
    pub next_offset: u64,
    /// Largest timestamp appended, ms since the Unix epoch; -1 before the first.
    pub max_timestamp_ms: i64,
    /// Idempotent producers.
    pub producers: Producers,
    /// Batches in the active segment.
    pub active: VecDeque<IndexEntry>,
    /// Batches in sealed segments, by offset.
    pub chunks: VecDeque<Chunk>,
    /// Compaction has been over what is below; not remembered over a restart.
    pub compacted_below: u64,
    /// Readers at the tail.
    pub readers: Readers,
    /// Groups that consume it and were waited for.
    pub groups: Vec<Weak<Signal>>,
}

impl Partition {
    pub(crate) fn new(topic: Option<Arc<Topic>>, index: u32) -> Self {
        Self { topic, index, max_timestamp_ms: -1, ..Self::default() }
    }

    /// The durability of appends to it. The schedule's own partition has none to wait for: the batch's topics decide.
    pub(crate) fn durability(&self) -> Durability {
        self.topic.as_ref().map_or(Durability::Memory, |topic| topic.config.durability)
    }

    /// Takes a batch into account and returns the offset of its first record. Used by appends and by recovery alike.
    pub(crate) fn push(&mut self, header: &BatchHeader, max_producers: usize) -> u64 {
        let base_offset = self.next_offset;
        self.next_offset += u64::from(header.last_offset_delta) + 1;
        self.max_timestamp_ms = self.max_timestamp_ms.max(header.max_timestamp_ms);
        if header.producer_id >= 0 && header.base_sequence >= 0 {
            self.producers.remember(header, base_offset, max_producers);
        }
        base_offset
    }

    /// Lets readers see what is below `offset` and wakes those who waited for it.
    pub(crate) fn publish(&mut self, id: PartitionId, offset: u64, wakes: &mut Wakes) {
        self.high_watermark = self.high_watermark.max(offset);
        self.readers.wake(self.high_watermark, wakes);
        self.wake_groups(id, wakes);
    }

    /// Somebody waits for more.
    pub(crate) fn has_readers(&self) -> bool {
        let is_awaited = |signal: &Weak<Signal>| signal.upgrade().is_some_and(|signal| signal.is_awaited());
        !self.readers.is_empty() || self.groups.iter().any(is_awaited)
    }

    /// Wakes every waiter.
    pub(crate) fn wake(&mut self, id: PartitionId, wakes: &mut Wakes) {
        self.readers.wake_all(wakes);
        self.wake_groups(id, wakes);
    }

    /// Wakes those who wait for the groups that consume it.
    pub(crate) fn wake_groups(&mut self, id: PartitionId, wakes: &mut Wakes) {
        let wake = |signal: &Weak<Signal>| signal.upgrade().map(|signal| signal.note(id, wakes)).is_some();
        self.groups.retain(wake);
    }

    /// Wakes a group's waiters too when there is something new.
    pub(crate) fn add_group(&mut self, signal: &Arc<Signal>) {
        if !self.groups.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(signal))) {
            self.groups.push(Arc::downgrade(signal));
        }
    }

    /// Checks that reading may begin at `offset`.
    pub(crate) fn check_bounds(&self, offset: u64) -> Result<()> {
        if (self.log_start..=self.high_watermark).contains(&offset) {
            Ok(())
        } else {
            Err(Error::OffsetOutOfRange { offset, log_start: self.log_start, end: self.high_watermark })
        }
    }

    /// Moves the first kept offset up and forgets chunks wholly below it, which it returns. The active segment's entries
    /// stay: if the move is lost in a crash, the footer they go to must have them.
    pub(crate) fn advance_log_start(&mut self, offset: u64) -> Vec<Chunk> {
        self.log_start = self.log_start.max(offset);
        let mut dropped = Vec::new();
        while let Some(chunk) = self.chunks.front()
            && chunk.end <= self.log_start
        {
            dropped.extend(self.chunks.pop_front());
        }
        dropped
    }

    /// The active segment's batches that are kept.
    pub(crate) fn live(&self) -> impl Iterator<Item = &IndexEntry> {
        self.active.iter().skip_while(|entry| entry.end() <= self.log_start)
    }

    /// Stored bytes from `offset` on, to the granularity of a chunk or batch.
    pub(crate) fn bytes_from(&self, offset: u64) -> u64 {
        let chunks = self.chunks.iter().rev().take_while(|chunk| chunk.end > offset);
        let active = self.active.iter().rev().take_while(|entry| entry.end() > offset);
        chunks.map(|chunk| chunk.bytes).sum::<u64>() + active.map(|entry| u64::from(entry.length)).sum::<u64>()
    }

    /// Largest timestamp of the first chunk or batch that has records from `offset` on: no older than the record there.
    pub(crate) fn timestamp_at(&self, offset: u64) -> Option<i64> {
        let chunk = self.chunks.iter().find(|chunk| chunk.end > offset).map(|chunk| chunk.max_timestamp_ms);
        chunk.or_else(|| {
            let at = self.active.partition_point(|entry| entry.end() <= offset);
            self.active.get(at).map(|entry| entry.max_timestamp_ms)
        })
    }
}
