//! The one writer of the log: encodes blocks into the active segment, syncs, seals.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{self, Chain, Entry, HEADER_BYTES};
use super::buffers::Buffers;
use super::index::{Chunk, IndexEntry};
use super::segment::{Footer, SEGMENT_HEADER_BYTES, Segment, build_index};
use crate::store::Destination;
use crate::{Error, PartitionId, Result};

/// Memory of blocks that have left the tail cache, kept for the next ones: of one of the largest, or many of the usual. No
/// setting: one leaves as the next comes, so that more would never be used.
const BLOCK_BUFFER_BYTES: usize = 8 << 20;

/// Kept for the rest of the footer, and for blocks that come on top of what fits: marks, and the beginning of each block.
const FOOTER_BYTES: u64 = 16 << 10;

/// Where recovery, or a roll, leaves the writer.
#[derive(Clone)]
pub(crate) struct Position {
    /// The segment being written.
    pub segment: Arc<Segment>,
    /// Where the next block goes.
    pub position: u64,
    /// What it continues.
    pub chain: Chain,
    /// Number of the first block in the segment.
    pub first_sequence: u64,
    /// Space that is kept for the segment's index.
    pub index_bytes: u64,
}

impl Position {
    /// The beginning of an empty segment.
    pub(crate) fn start_of(segment: Arc<Segment>, chain: Chain) -> Self {
        Self { segment, position: SEGMENT_HEADER_BYTES, chain, first_sequence: chain.sequence, index_bytes: 0 }
    }
}

/// A block that was written.
pub(crate) struct Written {
    /// Byte position of the block in its segment.
    pub position: u64,
    /// The block as written.
    pub bytes: Bytes,
    /// Position of each entry's payload within the block.
    pub payloads: Vec<u32>,
}

/// Writes the active segment.
pub(crate) struct Writer {
    at: Position,
    capacity: u64,
    buffers: Buffers,
}

impl Writer {
    /// A writer that goes on at a position, in segments of `capacity` bytes.
    pub(crate) fn new(at: Position, capacity: u64) -> Self {
        Self { at, capacity, buffers: Buffers::new(BLOCK_BUFFER_BYTES) }
    }

    /// Number of the next block.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.at.chain.sequence
    }

    /// Whether the last block was written after the last sync, or no later block says that it was synced.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.at.chain.synced_below < self.at.chain.sequence
    }

    /// Bytes of blocks that still fit, leaving room for the footer.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.at.position + self.at.index_bytes + FOOTER_BYTES)
    }

    /// Keeps space for what was written to be found again.
    pub(crate) fn keep_for_index(&mut self, bytes: u64) {
        self.at.index_bytes += bytes;
    }

    /// Whether the segment holds any block.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.position == SEGMENT_HEADER_BYTES
    }

    /// Writes one block. Nothing is durable before [`Writer::sync`].
    ///
    /// # Errors
    /// [`Error::DiskFull`]: nothing happened, try again. Any other: the log is broken.
    pub(crate) fn write<'a>(
        &mut self,
        entries: impl Iterator<Item = &'a Entry> + Clone,
        size: usize,
        to: Destination,
    ) -> Result<Written> {
        let mut payloads = Vec::new();
        let mut buffer = self.buffers.empty(HEADER_BYTES + size, self.at.position);
        let from = buffer.len();
        let crc = block::encode(&mut buffer, self.at.segment.id.0, self.at.chain, entries, &mut payloads);
        let bytes = self.buffers.share(buffer, from);
        self.at.segment.write(self.at.position, &bytes, to)?;
        let position = self.at.position;
        self.at.position += bytes.len() as u64;
        self.at.chain.sequence += 1;
        self.at.chain.previous_crc = crc;
        Ok(Written { position, bytes, payloads })
    }

    /// Makes every block written so far durable.
    ///
    /// # Errors
    /// What was written since the last sync may be gone; the log is broken.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.at.segment.file.sync().map_err(|e| Error::io(format!("syncing {}", self.at.segment.name), &e))?;
        self.at.chain.synced_below = self.at.chain.sequence;
        Ok(())
    }

    /// Seals the active segment with its index: it is durable and never written again.
    ///
    /// # Errors
    /// The log is broken.
    pub(crate) fn seal(
        &mut self,
        index: &[(PartitionId, Vec<IndexEntry>)],
    ) -> Result<(Footer, Vec<(PartitionId, Chunk)>)> {
        let (encoded, chunks) = build_index(self.at.segment.id, self.at.position, index);
        let footer = Footer {
            first_sequence: self.at.first_sequence,
            next_sequence: self.at.chain.sequence,
            last_crc: self.at.chain.previous_crc,
            blocks_end: self.at.position,
            chunks: chunks.clone(),
        };
        self.at.segment.seal(footer.clone(), &encoded)?;
        self.at.chain.synced_below = self.at.chain.sequence;
        Ok((footer, chunks))
    }

    /// Goes on in a new, empty segment.
    pub(crate) fn switch_to(&mut self, segment: Arc<Segment>) {
        self.at = Position::start_of(segment, self.at.chain);
    }
}
