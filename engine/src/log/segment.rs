//! Segment files: a header, blocks, and once sealed a footer with the index.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::block::{self, Block, BlockHeader, HEADER_BYTES};
use super::index::{Chunk, IndexEntry};
use crate::batch::checksum;
use crate::store::{Destination, LogFile, READ_MARGIN, Store};
use crate::{Error, PartitionId, Result};

/// The on-disk format this version writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
/// Bytes before the first block.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 64;
/// From here on a read pays without the kernel's read-ahead, from the disk straight into memory of our own.
pub(crate) const LARGE_READ_BYTES: usize = 64 << 10;
const SEGMENT_MAGIC: &[u8; 8] = b"TIDEGATE";
const TRAILER_BYTES: u64 = 32;
const TRAILER_MAGIC: &[u8; 8] = b"TGFOOTER";

/// A segment's number: given out in order of creation, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SegmentId(pub u64);

/// What wrote a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SegmentKind {
    /// Group commit: blocks in log order, state records among them.
    Log,
    /// Reclaim or compaction: copies of what lives, sorted by partition. Overrides the chunks it covers.
    Sorted,
}

impl SegmentKind {
    /// The file's name in the store.
    pub(crate) fn file_name(self, id: SegmentId) -> String {
        match self {
            Self::Log => format!("log-{:016x}.seg", id.0),
            Self::Sorted => format!("sorted-{:016x}.seg", id.0),
        }
    }
}

/// An open segment. Readers hold it while they read, so a deleted one goes when the last has finished.
pub(crate) struct Segment {
    pub id: SegmentId,
    pub kind: SegmentKind,
    pub name: String,
    pub file: Arc<dyn LogFile>,
}

/// What a sealed segment says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footer {
    /// Number of the first block in it.
    pub first_sequence: u64,
    /// Number of the first block after it.
    pub next_sequence: u64,
    /// Checksum of its last block (of the one before it, if it has none).
    pub last_crc: u32,
    /// Where its blocks end.
    pub blocks_end: u64,
    /// Every partition's chunks, by partition and offset.
    pub chunks: Vec<(PartitionId, Chunk)>,
}

impl Segment {
    /// Creates a segment file of `capacity` bytes with its header, durable.
    pub(crate) fn create(store: &dyn Store, id: SegmentId, kind: SegmentKind, capacity: u64) -> Result<Self> {
        let name = kind.file_name(id);
        let doing = |error: &io::Error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull,
            _ => Error::io(format!("creating {name}"), error),
        };
        let file = store.create(&name, capacity).map_err(|e| doing(&e))?;
        file.write_at(0, &header(id), Destination::Disk).and_then(|()| file.sync()).map_err(|e| doing(&e))?;
        Ok(Self { id, kind, name, file })
    }

    /// Opens a segment file and checks its header.
    pub(crate) fn open(store: &dyn Store, id: SegmentId, kind: SegmentKind) -> Result<Self> {
        let name = kind.file_name(id);
        let file = store.open(&name).map_err(|e| Error::io(format!("opening {name}"), &e))?;
        let segment = Self { id, kind, name, file };
        let found = segment.read(0, SEGMENT_HEADER_BYTES as usize)?;
        let word = |at: usize| found.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
        let (version, crc) = (word(8), word(60));
        // A header that was not wholly written has no version.
        if found[..8] == *SEGMENT_MAGIC && version > FORMAT_VERSION && checksum(&found[..60]) == crc {
            return Err(Error::Format { file: segment.name, found: version, supported: FORMAT_VERSION });
        }
        if found[..] != header(id)[..] {
            return Err(segment.corrupt(0, "the segment's header does not check"));
        }
        Ok(segment)
    }

    /// The error for damage at `position`.
    pub(crate) fn corrupt(&self, position: u64, reason: &str) -> Error {
        Error::Corrupt { file: self.name.clone(), position, reason: reason.to_owned() }
    }

    /// Reads exactly `length` bytes.
    pub(crate) fn read(&self, position: u64, length: usize) -> Result<Bytes> {
        if length >= LARGE_READ_BYTES {
            let mut buffer = vec![0; length + READ_MARGIN];
            let start = self.read_into(position, length, &mut buffer)?;
            return Ok(Bytes::from(buffer).slice(start..start + length));
        }
        let mut buffer = BytesMut::zeroed(length);
        self.file.read_at(position, &mut buffer).map_err(|error| self.unreadable(position, &error))?;
        Ok(buffer.freeze())
    }

    /// Writes all of `bytes`. Nothing is durable before a sync.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: nothing happened, try again. Any other: the segment's end is unknown.
    pub(crate) fn write(&self, position: u64, bytes: &[u8], to: Destination) -> Result<()> {
        self.file.write_at(position, bytes, to).map_err(|error| match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::DiskFull,
            _ => Error::io(format!("writing {}", self.name), &error),
        })
    }

    /// Reads exactly `length` bytes into a buffer that has [`READ_MARGIN`] more, and says where in it they begin.
    pub(crate) fn read_into(&self, position: u64, length: usize, buffer: &mut [u8]) -> Result<usize> {
        self.file.read_large(position, length, buffer).map_err(|error| self.unreadable(position, &error))
    }

    fn unreadable(&self, position: u64, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.corrupt(position, "the file ends too early"),
            _ => Error::io(format!("reading {} at {position}", self.name), error),
        }
    }

    /// The footer, if the segment was sealed. A segment that was not ends in no trailer.
    pub(crate) fn footer(&self) -> Result<Option<Footer>> {
        let size = self.file.size().map_err(|e| Error::io(format!("reading {}", self.name), &e))?;
        let Some(at) = size.checked_sub(TRAILER_BYTES).filter(|at| *at >= SEGMENT_HEADER_BYTES) else {
            return Ok(None);
        };
        let trailer = self.read(at, TRAILER_BYTES as usize)?;
        let (Some(position), Some(length), Some(crc)) = (long(&trailer, 8), long(&trailer, 16), long(&trailer, 24))
        else {
            return Ok(None);
        };
        if trailer[..8] != *TRAILER_MAGIC || position.checked_add(length) != Some(at) {
            return Ok(None);
        }
        let encoded = self.read(position, usize::try_from(length).unwrap_or(0))?;
        if u64::from(checksum(&encoded)) != crc {
            return Err(self.corrupt(position, "the footer's checksum does not match"));
        }
        postcard::from_bytes(&encoded).map(Some).map_err(|_| self.corrupt(position, "the footer does not decode"))
    }

    /// Writes the footer after the blocks, makes it durable and cuts the file behind it.
    pub(crate) fn seal(&self, footer: Footer, index: &[u8]) -> Result<()> {
        let doing = |error: &io::Error| Error::io(format!("sealing {}", self.name), error);
        let mut tail = index.to_vec();
        let footer_position = footer.blocks_end + tail.len() as u64;
        let encoded = postcard::to_stdvec(&footer).map_err(|e| Error::Invalid(e.to_string()))?;
        tail.extend_from_slice(&encoded);
        tail.extend_from_slice(TRAILER_MAGIC);
        tail.extend_from_slice(&footer_position.to_le_bytes());
        tail.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
        tail.extend_from_slice(&u64::from(checksum(&encoded)).to_le_bytes());
        // It is read again by its small parts, which the page cache serves best, and nothing will be written behind it.
        self.file.write_at(footer.blocks_end, &tail, Destination::PageCache).map_err(|e| doing(&e))?;
        self.file.sync().map_err(|e| doing(&e))?;
        self.file.seal(footer.blocks_end + tail.len() as u64).map_err(|e| doing(&e))
    }

    /// What begins at `position` if it is a block of this segment, which need not check.
    pub(crate) fn header_at(&self, position: u64, end: u64) -> Result<Option<BlockHeader>> {
        if position + HEADER_BYTES as u64 > end {
            return Ok(None);
        }
        Ok(BlockHeader::parse(&self.read(position, HEADER_BYTES)?, self.id.0))
    }

    /// The block at `position`, or why there is none.
    pub(crate) fn block_at(&self, position: u64, end: u64) -> Result<Found> {
        if position + HEADER_BYTES as u64 > end {
            return Ok(Found::End);
        }
        let start = self.read(position, HEADER_BYTES)?;
        let Some(header) = BlockHeader::parse(&start, self.id.0) else {
            return Ok(if start.iter().all(|byte| *byte == 0) {
                Found::End
            } else {
                Found::Bad("no block begins here")
            });
        };
        if position + u64::from(header.length) > end {
            return Ok(Found::Bad("the block claims more than the file has"));
        }
        let bytes = self.read(position, header.length as usize)?;
        Ok(match block::decode(header, &bytes) {
            Ok(block) => Found::Block(block),
            Err(reason) => Found::Bad(reason),
        })
    }
}

/// Looks for blocks so much at a time.
const SEARCH_BYTES: usize = 1 << 20;

impl Segment {
    /// Where the last byte that is not zero lies, at `from` or behind it.
    pub(crate) fn written_end(&self, from: u64, end: u64) -> Result<u64> {
        let mut written = from;
        let mut at = from;
        while at < end {
            let length = SEARCH_BYTES.min(usize::try_from(end - at).unwrap_or(SEARCH_BYTES));
            if let Some(last) = self.read(at, length)?.iter().rposition(|byte| *byte != 0) {
                written = at + last as u64 + 1;
            }
            at += length as u64;
        }
        Ok(written)
    }

    /// The first block that checks at `from` or behind it.
    pub(crate) fn next_block(&self, from: u64, end: u64) -> Result<Option<u64>> {
        let mut at = from;
        while at < end {
            // Three bytes more than is moved on, so that a magic number across the border is seen.
            let length = (SEARCH_BYTES + 3).min(usize::try_from(end - at).unwrap_or(SEARCH_BYTES));
            let bytes = self.read(at, length)?;
            for found in memchr::memmem::find_iter(&bytes, &block::MAGIC.to_le_bytes()).map(|found| at + found as u64) {
                if let Found::Block(_) = self.block_at(found, end)? {
                    return Ok(Some(found));
                }
            }
            at += SEARCH_BYTES as u64;
        }
        Ok(None)
    }
}

/// What lies at a position where a block should begin.
pub(crate) enum Found {
    /// A block that checks.
    Block(Block),
    /// Zeros or the end of the file: nothing was ever written here.
    End,
    /// Something that does not check.
    Bad(&'static str),
}

/// Collects index entries while blocks are written or scanned, and makes chunks of them when the segment is sealed.
pub(crate) fn build_index(
    id: SegmentId,
    blocks_end: u64,
    partitions: &[(PartitionId, Vec<IndexEntry>)],
) -> (Vec<u8>, Vec<(PartitionId, Chunk)>) {
    let mut index = Vec::new();
    let mut chunks = Vec::new();
    for (partition, entries) in partitions {
        let encoded = super::index::encode_chunks(id, entries, |bytes| put(&mut index, blocks_end, bytes));
        chunks.extend(encoded.into_iter().map(|chunk| (*partition, chunk)));
    }
    (index, chunks)
}

/// Appends encoded entries to a segment's index and says where in the file they will be.
pub(crate) fn put(index: &mut Vec<u8>, blocks_end: u64, bytes: &[u8]) -> (u64, u32) {
    let position = blocks_end + index.len() as u64;
    index.extend_from_slice(bytes);
    (position, u32::try_from(bytes.len()).unwrap_or(u32::MAX))
}

fn header(id: SegmentId) -> [u8; SEGMENT_HEADER_BYTES as usize] {
    let mut header = [0; SEGMENT_HEADER_BYTES as usize];
    header[..8].copy_from_slice(SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&id.0.to_le_bytes());
    let crc = checksum(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
}
