//! A block: what one group commit writes. See `engine/FORMAT.md` for the bytes.

use bytes::{BufMut, Bytes};

use crate::PartitionId;
use crate::batch::BatchHeader;

/// Opens every block.
pub(super) const MAGIC: u32 = 0x4b42_4754; // "TGBK", little-endian
/// Bytes before the entry table.
pub(crate) const HEADER_BYTES: usize = 48;
/// No block is larger: a length field that claims more is damage.
pub(crate) const MAX_BLOCK_BYTES: usize = 1 << 30;

const KIND_BATCH: u8 = 1;
const KIND_SHARED: u8 = 2;
const KIND_STATE: u8 = 3;

/// One thing written: a batch for one partition, a batch for several, or a change of state.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    /// A record batch with the offset it got in its partition.
    Batch { partition: PartitionId, base_offset: u64, header: BatchHeader, bytes: Bytes },
    /// One body for several partitions, each with its own offset; stored with base offset 0.
    Shared { targets: Vec<(PartitionId, u64)>, header: BatchHeader, bytes: Bytes },
    /// An encoded [`crate::record::StateRecord`].
    State(Bytes),
}

impl Entry {
    /// Bytes this entry adds to a block.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Batch { bytes, .. } => 9 + bytes.len(),
            Self::Shared { targets, bytes, .. } => 9 + 12 * targets.len() + bytes.len(),
            Self::State(bytes) => 5 + bytes.len(),
        }
    }

    /// How many partitions' indexes it adds to.
    pub(crate) fn targets(&self) -> usize {
        match self {
            Self::Batch { .. } => 1,
            Self::Shared { targets, .. } => targets.len(),
            Self::State(_) => 0,
        }
    }
}

/// A block's place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// Size of the whole block.
    pub length: u32,
    /// Entries in its table.
    pub entries: u32,
    /// The segment it was written to: a block left from a file's earlier life names another.
    pub segment: u64,
    /// Number of the block in the whole log, without gaps. Copied blocks (sorted segments) carry 0.
    pub sequence: u64,
    /// Blocks numbered below this were durable when this one was written: if one of them does not check, that is damage and not a torn write.
    pub synced_below: u64,
    /// Bytes of the entry table.
    pub table: u32,
    /// Checksum of the block before it: a block left behind by a crash does not fit what was written since.
    pub previous_crc: u32,
    /// Checksum of everything in the block after this field.
    pub crc: u32,
}

/// What a new block continues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Number of the next block.
    pub sequence: u64,
    /// Checksum of the last block.
    pub previous_crc: u32,
    /// Blocks numbered below this are durable.
    pub synced_below: u64,
}

impl BlockHeader {
    /// Reads a header; none where the bytes do not begin a block of this segment.
    pub(crate) fn parse(bytes: &[u8], segment: u64) -> Option<Self> {
        let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let long = |at: usize| bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let header = Self {
            crc: word(4)?,
            length: word(8)?,
            entries: word(12)?,
            segment: long(16)?,
            sequence: long(24)?,
            synced_below: long(32)?,
            table: word(40)?,
            previous_crc: word(44)?,
        };
        let sane = word(0)? == MAGIC
            && header.segment == segment
            && header.length as usize >= HEADER_BYTES + header.table as usize
            && header.length as usize <= MAX_BLOCK_BYTES;
        sane.then_some(header)
    }
}

/// Appends a block to `out`, pushes each entry's payload position relative to the block's start, and returns the checksum.
pub(crate) fn encode<'a>(
    out: &mut Vec<u8>,
    segment: u64,
    chain: Chain,
    entries: impl Iterator<Item = &'a Entry> + Clone,
    positions: &mut Vec<u32>,
) -> u32 {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    let mut count = 0;
    for entry in entries.clone() {
        encode_table_entry(out, entry);
        count += 1;
    }
    let table = out.len() - start - HEADER_BYTES;
    for entry in entries {
        positions.push(small(out.len() - start));
        match entry {
            Entry::Batch { base_offset, header, bytes, .. } => {
                out.put_slice(&header.patch(*base_offset, 0));
                out.put_slice(&bytes[16..]);
            }
            Entry::Shared { header, bytes, .. } => {
                out.put_slice(&header.patch(0, 0));
                out.put_slice(&bytes[16..]);
            }
            Entry::State(bytes) => out.put_slice(bytes),
        }
    }
    let block = &mut out[start..];
    let length = small(block.len());
    block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    block[8..12].copy_from_slice(&length.to_le_bytes());
    block[12..16].copy_from_slice(&u32::to_le_bytes(count));
    block[16..24].copy_from_slice(&segment.to_le_bytes());
    block[24..32].copy_from_slice(&chain.sequence.to_le_bytes());
    block[32..40].copy_from_slice(&chain.synced_below.to_le_bytes());
    block[40..44].copy_from_slice(&small(table).to_le_bytes());
    block[44..48].copy_from_slice(&chain.previous_crc.to_le_bytes());
    let crc = crate::batch::checksum(&block[8..]);
    block[4..8].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn encode_table_entry(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::Batch { partition, bytes, .. } => {
            out.put_u8(KIND_BATCH);
            out.put_u32_le(small(bytes.len()));
            out.put_u32_le(partition.0);
        }
        Entry::Shared { targets, bytes, .. } => {
            out.put_u8(KIND_SHARED);
            out.put_u32_le(small(bytes.len()));
            out.put_u32_le(small(targets.len()));
            for (partition, base_offset) in targets {
                out.put_u32_le(partition.0);
                out.put_u64_le(*base_offset);
            }
        }
        Entry::State(bytes) => {
            out.put_u8(KIND_STATE);
            out.put_u32_le(small(bytes.len()));
        }
    }
}

/// A checked block, its entries with their payload positions relative to the block's start.
#[derive(Debug)]
pub(crate) struct Block {
    pub header: BlockHeader,
    pub entries: Vec<(u32, Entry)>,
}

/// Takes a block apart after checking its checksum.
pub(crate) fn decode(header: BlockHeader, bytes: &Bytes) -> Result<Block, &'static str> {
    if crate::batch::checksum(&bytes[8..]) != header.crc {
        return Err("the block's checksum does not match");
    }
    let table_end = HEADER_BYTES + header.table as usize;
    let mut table = bytes.slice(HEADER_BYTES..table_end);
    let mut position = table_end;
    let mut entries = Vec::new();
    for _ in 0..header.entries {
        let entry = decode_entry(&mut table, bytes, position).ok_or("the block's table does not fit its payload")?;
        let length = match &entry {
            Entry::Batch { bytes, .. } | Entry::Shared { bytes, .. } | Entry::State(bytes) => bytes.len(),
        };
        entries.push((small(position), entry));
        position += length;
    }
    if position == bytes.len() && table.is_empty() {
        Ok(Block { header, entries })
    } else {
        Err("the block's table does not fit its payload")
    }
}

fn decode_entry(table: &mut Bytes, block: &Bytes, position: usize) -> Option<Entry> {
    use bytes::Buf;
    let kind = table.try_get_u8().ok()?;
    let length = table.try_get_u32_le().ok()? as usize;
    let end = position.checked_add(length).filter(|end| *end <= block.len())?;
    let bytes = block.slice(position..end);
    match kind {
        KIND_BATCH => {
            let partition = PartitionId(table.try_get_u32_le().ok()?);
            let header = BatchHeader::parse(&bytes).ok()?;
            Some(Entry::Batch { partition, base_offset: header.base_offset, header, bytes })
        }
        KIND_SHARED => {
            let count = table.try_get_u32_le().ok()?;
            let mut targets = Vec::new();
            for _ in 0..count {
                targets.push((PartitionId(table.try_get_u32_le().ok()?), table.try_get_u64_le().ok()?));
            }
            Some(Entry::Shared { targets, header: BatchHeader::parse(&bytes).ok()?, bytes })
        }
        KIND_STATE => Some(Entry::State(bytes)),
        _ => None,
    }
}

/// Blocks are bounded by [`MAX_BLOCK_BYTES`], so every length in one fits 32 bits.
fn small(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
