//! Where a partition's batches lie: entries in memory for the active segment, chunks in the footer of a sealed one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::Entry;
use super::segment::SegmentId;
use crate::batch::BatchHeader;
use crate::{Error, PartitionId, Result};

/// Entries in one chunk of a sealed segment's index: what is loaded and cached as one piece.
pub(crate) const CHUNK_ENTRIES: usize = 4096;
/// No entry takes more of a segment's index, unless it is the first of its partition: that takes so much more there and in the
/// footer.
const MAX_ENTRY_BYTES: u64 = 28;
const MAX_FIRST_ENTRY_BYTES: u64 = 96;

/// No more is taken by the index of so many entries of so many partitions.
pub(crate) fn max_index_bytes(entries: usize, partitions: usize) -> u64 {
    // One in so many begins another chunk.
    let chunks = partitions + entries / CHUNK_ENTRIES;
    entries as u64 * MAX_ENTRY_BYTES + chunks as u64 * MAX_FIRST_ENTRY_BYTES
}

/// One stored batch of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Offset of its first record in this partition.
    pub base_offset: u64,
    /// Byte position in the segment.
    pub position: u64,
    /// Bytes.
    pub length: u32,
    /// Offset of its last record less `base_offset`.
    pub last_offset_delta: u32,
    /// Largest timestamp in it, ms since the Unix epoch.
    pub max_timestamp_ms: i64,
    /// The stored bytes carry another base offset, because other partitions share them.
    pub shared: bool,
}

impl IndexEntry {
    /// The offset after its last record.
    pub(crate) fn end(&self) -> u64 {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }
}

/// A run of one partition's batches in one sealed segment, and where its index entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chunk {
    /// The segment.
    pub segment: SegmentId,
    /// First offset covered (compaction may have removed its record).
    pub first: u64,
    /// Offset after the last covered.
    pub end: u64,
    /// Stored bytes of the batches.
    pub bytes: u64,
    /// Largest timestamp, ms since the Unix epoch.
    pub max_timestamp_ms: i64,
    /// Where the encoded entries lie in the segment file.
    pub index_position: u64,
    /// How many bytes they are.
    pub index_length: u32,
}

/// The index entries of one stored entry: one per partition it is for.
pub(crate) fn add_index_entries(entry: &Entry, position: u64, index: &mut Vec<(PartitionId, IndexEntry)>) {
    let make = |header: &BatchHeader, base_offset, length: usize, shared| IndexEntry {
        base_offset,
        position,
        length: u32::try_from(length).unwrap_or(u32::MAX),
        last_offset_delta: header.last_offset_delta,
        max_timestamp_ms: header.max_timestamp_ms,
        shared,
    };
    match entry {
        Entry::Batch { partition, base_offset, header, bytes } => {
            index.push((*partition, make(header, *base_offset, bytes.len(), false)))
        }
        Entry::Shared { targets, header, bytes } => {
            index.extend(targets.iter().map(|(id, base_offset)| (*id, make(header, *base_offset, bytes.len(), true))));
        }
        Entry::State(_) => {}
    }
}

/// Decoded entries of a chunk, shared with the cache.
pub(crate) type Entries = Arc<[IndexEntry]>;

/// Splits a partition's entries into chunks and encodes each; `write` says where the encoded bytes were put.
pub(crate) fn encode_chunks(
    segment: SegmentId,
    entries: &[IndexEntry],
    mut write: impl FnMut(&[u8]) -> (u64, u32),
) -> Vec<Chunk> {
    entries
        .chunks(CHUNK_ENTRIES)
        .map(|part| encode_chunk(segment, part, part[0].base_offset, part[part.len() - 1].end(), &mut write))
        .collect()
}

/// Encodes one chunk that covers `first..end`.
pub(crate) fn encode_chunk(
    segment: SegmentId,
    entries: &[IndexEntry],
    first: u64,
    end: u64,
    write: &mut impl FnMut(&[u8]) -> (u64, u32),
) -> Chunk {
    let mut bytes = Vec::with_capacity(entries.len() * 8 + 4);
    let mut previous = Previous::default();
    for entry in entries {
        put_unsigned(&mut bytes, entry.base_offset.wrapping_sub(previous.end));
        put_unsigned(&mut bytes, entry.position.wrapping_sub(previous.position_end));
        put_unsigned(&mut bytes, u64::from(entry.length) << 1 | u64::from(entry.shared));
        put_unsigned(&mut bytes, u64::from(entry.last_offset_delta));
        put_signed(&mut bytes, entry.max_timestamp_ms.wrapping_sub(previous.timestamp));
        previous = Previous::after(entry);
    }
    let crc = crate::batch::checksum(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let (index_position, index_length) = write(&bytes);
    Chunk {
        segment,
        first,
        end,
        bytes: entries.iter().map(|entry| u64::from(entry.length)).sum(),
        max_timestamp_ms: entries.iter().map(|entry| entry.max_timestamp_ms).max().unwrap_or(-1),
        index_position,
        index_length,
    }
}

/// Decodes a chunk's entries after checking their checksum.
///
/// # Errors
/// [`Error::Corrupt`] naming `file`.
pub(crate) fn decode_chunk(file: &str, chunk: &Chunk, bytes: &[u8]) -> Result<Vec<IndexEntry>> {
    let corrupt = |reason: &str| Error::Corrupt {
        file: file.to_owned(),
        position: chunk.index_position,
        reason: reason.to_owned(),
    };
    let (mut bytes, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| corrupt("the index is cut short"))?;
    if crate::batch::checksum(bytes) != u32::from_le_bytes(*crc) {
        return Err(corrupt("the index's checksum does not match"));
    }
    let mut entries = Vec::new();
    let mut previous = Previous::default();
    while !bytes.is_empty() {
        let entry = decode_entry(&mut bytes, &previous).ok_or_else(|| corrupt("the index does not decode"))?;
        previous = Previous::after(&entry);
        entries.push(entry);
    }
    Ok(entries)
}

#[derive(Default)]
struct Previous {
    end: u64,
    position_end: u64,
    timestamp: i64,
}

impl Previous {
    fn after(entry: &IndexEntry) -> Self {
        Self {
            end: entry.end(),
            position_end: entry.position + u64::from(entry.length),
            timestamp: entry.max_timestamp_ms,
        }
    }
}

fn decode_entry(bytes: &mut &[u8], previous: &Previous) -> Option<IndexEntry> {
    let base_offset = previous.end.wrapping_add(get_unsigned(bytes)?);
    let position = previous.position_end.wrapping_add(get_unsigned(bytes)?);
    let length_and_flag = get_unsigned(bytes)?;
    Some(IndexEntry {
        base_offset,
        position,
        length: u32::try_from(length_and_flag >> 1).ok()?,
        shared: length_and_flag & 1 == 1,
        last_offset_delta: u32::try_from(get_unsigned(bytes)?).ok()?,
        max_timestamp_ms: previous.timestamp.wrapping_add(get_signed(bytes)?),
    })
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

fn get_unsigned(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn get_signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = get_unsigned(bytes)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry() -> impl Strategy<Value = IndexEntry> {
        (0..u64::MAX / 4, 0..u64::MAX / 4, 0..u32::MAX / 2, any::<u32>(), any::<i64>(), any::<bool>()).prop_map(
            |(base_offset, position, length, last_offset_delta, max_timestamp_ms, shared)| IndexEntry {
                base_offset,
                position,
                length,
                last_offset_delta,
                max_timestamp_ms,
                shared,
            },
        )
    }

    proptest! {
        #[test]
        fn entries_come_back(entries in proptest::collection::vec(entry(), 1..50)) {
            let mut stored = Vec::new();
            let chunk = encode_chunk(SegmentId(1), &entries, 0, u64::MAX, &mut |bytes| {
                stored = bytes.to_vec();
                (0, u32::try_from(bytes.len()).unwrap_or(0))
            });
            prop_assert_eq!(decode_chunk("file", &chunk, &stored), Ok(entries));
        }

        #[test]
        fn damage_is_named(position in 0usize..100, bit in 0u8..8) {
            let entries = [IndexEntry { base_offset: 5, position: 64, length: 100, last_offset_delta: 3, max_timestamp_ms: 7, shared: false }; 3];
            let mut stored = Vec::new();
            let chunk = encode_chunk(SegmentId(1), &entries, 0, 9, &mut |bytes| {
                stored = bytes.to_vec();
                (0, 0)
            });
            let position = position % stored.len();
            stored[position] ^= 1 << bit;
            let named = matches!(decode_chunk("file", &chunk, &stored), Err(Error::Corrupt { .. }));
            prop_assert!(named);
        }
    }
}
