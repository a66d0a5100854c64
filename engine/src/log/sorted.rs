//! Writing a sorted segment: copies of batches, partition by partition.

use std::sync::Arc;

use super::block::{self, Chain, Entry};
use super::index::{CHUNK_ENTRIES, Chunk, IndexEntry, encode_chunk};
use super::segment::{Footer, SEGMENT_HEADER_BYTES, Segment, SegmentId, SegmentKind, put};
use crate::batch::Batch;
use crate::store::{Destination, Store};
use crate::{Error, PartitionId, Result};

/// Copies are written in blocks of about so much.
const BLOCK_BYTES: usize = 1 << 20;

/// A partition, the entries of one of its chunks, and the offsets from and up to which that goes.
type EndedChunk = (PartitionId, Vec<IndexEntry>, u64, u64);

/// A sorted segment, written and sealed.
pub(crate) struct Sorted {
    pub segment: Arc<Segment>,
    /// Its chunks, in the order they were ended.
    pub chunks: Vec<(PartitionId, Chunk)>,
    /// Bytes of its blocks.
    pub bytes: u64,
}

/// A sorted segment being written.
pub(crate) struct SortedWriter {
    segment: Arc<Segment>,
    position: u64,
    /// Batches not yet written, and which entry of `chunk` each is: their positions are known once their block is written.
    block: Vec<(Entry, usize)>,
    block_bytes: usize,
    chunk: Vec<IndexEntry>,
    chunks: Vec<EndedChunk>,
}

impl SortedWriter {
    /// Creates the segment's file with room for `live` bytes of batches.
    pub(crate) fn create(store: &dyn Store, id: SegmentId, live: u64) -> Result<Self> {
        let segment = Arc::new(Segment::create(store, id, SegmentKind::Sorted, live + live / 8 + (64 << 10))?);
        Ok(Self {
            segment,
            position: SEGMENT_HEADER_BYTES,
            block: Vec::new(),
            block_bytes: 0,
            chunk: Vec::new(),
            chunks: Vec::new(),
        })
    }

    /// The name of its file.
    pub(crate) fn name(&self) -> &str {
        &self.segment.name
    }

    /// Whether the chunk at hand has as many entries as one should.
    pub(crate) fn chunk_is_full(&self) -> bool {
        self.chunk.len() >= CHUNK_ENTRIES
    }

    /// Adds a partition's own batch to the chunk at hand.
    pub(crate) fn add(&mut self, partition: PartitionId, entry: &IndexEntry, batch: Batch) -> Result<()> {
        let stored =
            Entry::Batch { partition, base_offset: entry.base_offset, header: batch.header, bytes: batch.bytes };
        self.push(stored, IndexEntry { shared: false, ..*entry })?;
        if self.block_bytes >= BLOCK_BYTES { self.write_block() } else { Ok(()) }
    }

    /// Adds a batch that other partitions will refer to, and returns its position.
    pub(crate) fn add_shared(&mut self, partition: PartitionId, entry: &IndexEntry, batch: Batch) -> Result<u64> {
        let targets = vec![(partition, entry.base_offset)];
        self.write_block()?;
        self.push(Entry::Shared { targets, header: batch.header, bytes: batch.bytes }, *entry)?;
        self.write_block()?;
        Ok(self.chunk.last().map_or(0, |entry| entry.position))
    }

    /// Adds an entry for a batch that is in the segment already.
    pub(crate) fn refer(&mut self, entry: IndexEntry) {
        self.chunk.push(entry);
    }

    /// Ends the chunk at hand: it is the partition's and covers `first..end`.
    pub(crate) fn end_chunk(&mut self, partition: PartitionId, first: u64, end: u64) -> Result<()> {
        self.write_block()?;
        self.chunks.push((partition, std::mem::take(&mut self.chunk), first, end));
        Ok(())
    }

    /// Seals the segment: durable when it returns, with its chunks in the order they were ended.
    pub(crate) fn finish(self) -> Result<Sorted> {
        let mut index = Vec::new();
        let mut chunks = Vec::with_capacity(self.chunks.len());
        for (partition, entries, first, end) in &self.chunks {
            let mut write = |bytes: &[u8]| put(&mut index, self.position, bytes);
            chunks.push((*partition, encode_chunk(self.segment.id, entries, *first, *end, &mut write)));
        }
        let footer = Footer {
            first_sequence: 0,
            next_sequence: 0,
            last_crc: 0,
            blocks_end: self.position,
            chunks: chunks.clone(),
        };
        self.segment.seal(footer, &index)?;
        Ok(Sorted { segment: self.segment, chunks, bytes: self.position })
    }

    fn push(&mut self, stored: Entry, entry: IndexEntry) -> Result<()> {
        let (Entry::Batch { header, bytes, .. } | Entry::Shared { header, bytes, .. }) = &stored else { return Ok(()) };
        let length = u32::try_from(bytes.len()).map_err(|_| Error::Invalid("a batch over 4 GiB".to_owned()))?;
        let max_timestamp_ms = header.max_timestamp_ms;
        self.block_bytes += stored.size();
        self.block.push((stored, self.chunk.len()));
        self.chunk.push(IndexEntry { length, max_timestamp_ms, ..entry });
        Ok(())
    }

    fn write_block(&mut self) -> Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let mut buffer = Vec::with_capacity(self.block_bytes + block::HEADER_BYTES);
        let mut payloads = Vec::new();
        let entries = self.block.iter().map(|(entry, _)| entry);
        block::encode(&mut buffer, self.segment.id.0, Chain::default(), entries, &mut payloads);
        self.segment.write(self.position, &buffer, Destination::PageCache)?;
        for ((_, at), payload) in self.block.drain(..).zip(payloads) {
            self.chunk[at].position = self.position + u64::from(payload);
        }
        self.position += buffer.len() as u64;
        self.block_bytes = 0;
        Ok(())
    }
}
