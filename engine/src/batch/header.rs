//! The 61 bytes that open a record batch, field by field
//! (<https://kafka.apache.org/documentation/#recordbatch>).

use bytes::{Buf, BufMut};

use super::compress::Codec;
use super::{BatchHeader, bad};
use crate::Result;

/// Size of a batch header in bytes.
pub const HEADER_BYTES: usize = 61;
/// Where the checksum lies.
pub(super) const CRC_AT: usize = 17;
/// First byte the checksum covers.
pub(super) const CRC_FROM: usize = 21;
/// Where the attributes lie.
pub(super) const ATTRIBUTES_AT: usize = 21;
/// Where the largest timestamp lies.
pub(super) const MAX_TIMESTAMP_AT: usize = 35;

/// Bytes before the ones the batch's own length field counts.
const LENGTH_EXCLUDES: usize = 12;
const MAGIC: u8 = 2;

/// Attribute bit: the records' time is the append's, found in the header.
pub(super) const LOG_APPEND_TIME: u16 = 1 << 3;
const TRANSACTIONAL: u16 = 1 << 4;
const CONTROL: u16 = 1 << 5;
/// Attribute bit: the base timestamp is the horizon for deletes (KIP-534). Not used here.
pub(super) const DELETE_HORIZON: u16 = 1 << 6;

impl BatchHeader {
    /// The offset after its last record's.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.base_offset + u64::from(self.last_offset_delta) + 1
    }

    /// Reads a header and checks that it can be one. The checksum is not looked at.
    ///
    /// # Errors
    /// [`crate::Error::BadBatch`] when there are less than 61 bytes, or a field has an impossible value.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let Some(mut raw) = bytes.first_chunk::<HEADER_BYTES>().map(<[u8; HEADER_BYTES]>::as_slice) else {
            return Err(bad(format!("{} bytes are less than a batch header's {HEADER_BYTES}", bytes.len())));
        };
        let base_offset = raw.get_i64();
        let length: usize = unsigned(raw.get_i32(), "batch length")?;
        let leader_epoch = raw.get_i32();
        let magic = raw.get_u8();
        if magic != MAGIC {
            return Err(bad(format!("magic {magic} is not supported, only record batches v2")));
        }
        let header = Self {
            base_offset: unsigned(base_offset, "base offset")?,
            size: length + LENGTH_EXCLUDES,
            leader_epoch,
            crc: raw.get_u32(),
            attributes: raw.get_u16(),
            last_offset_delta: unsigned(raw.get_i32(), "last offset delta")?,
            base_timestamp_ms: raw.get_i64(),
            max_timestamp_ms: raw.get_i64(),
            producer_id: raw.get_i64(),
            producer_epoch: raw.get_i16(),
            base_sequence: raw.get_i32(),
            record_count: unsigned(raw.get_i32(), "record count")?,
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<()> {
        if self.size < HEADER_BYTES {
            return Err(bad(format!("a batch length of {} bytes leaves no room for the header", self.size)));
        }
        if self.record_count == 0 {
            return Err(bad("the batch has no record"));
        }
        // A compacted batch keeps its last offset when it loses records, so the delta may be larger.
        if self.last_offset_delta < self.record_count - 1 {
            let (delta, count) = (self.last_offset_delta, self.record_count);
            return Err(bad(format!("a last offset delta of {delta} is too small for {count} records")));
        }
        if self.base_offset.checked_add(u64::from(self.last_offset_delta)).is_none_or(|last| last >= i64::MAX as u64) {
            return Err(bad("the last offset is over 2^63-1"));
        }
        self.codec().map(drop)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`crate::Error::BadBatch`] for a codec that Kafka does not define.
    pub fn codec(&self) -> Result<Codec> {
        Codec::from_attributes(self.attributes)
            .ok_or_else(|| bad(format!("compression codec {} is unknown", self.attributes & 7)))
    }

    /// Offset of the last record (or of the last one there was, in a compacted batch).
    #[must_use]
    pub fn last_offset(&self) -> u64 {
        self.base_offset + u64::from(self.last_offset_delta)
    }

    /// The records' time is the append's.
    #[must_use]
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// The batch is part of a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// The batch holds markers for readers (end of a transaction), not records for consumers.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// The first 16 bytes (base offset, batch length, leader epoch) with another place in the log.
    /// The checksum does not cover them, so a stored batch is moved by replacing them.
    #[must_use]
    pub fn patch(&self, base_offset: u64, leader_epoch: i32) -> [u8; 16] {
        let mut patched = [0; 16];
        let mut to = patched.as_mut_slice();
        to.put_u64(base_offset);
        to.put_u32((self.size - LENGTH_EXCLUDES) as u32);
        to.put_i32(leader_epoch);
        patched
    }

    /// Writes the header with the checksum as it stands.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        to.put_slice(&self.patch(self.base_offset, self.leader_epoch));
        to.put_u8(MAGIC);
        to.put_u32(self.crc);
        to.put_u16(self.attributes);
        to.put_u32(self.last_offset_delta);
        to.put_i64(self.base_timestamp_ms);
        to.put_i64(self.max_timestamp_ms);
        to.put_i64(self.producer_id);
        to.put_i16(self.producer_epoch);
        to.put_i32(self.base_sequence);
        to.put_u32(self.record_count);
    }
}

fn unsigned<Signed: Copy + std::fmt::Display, Unsigned: TryFrom<Signed>>(
    value: Signed,
    field: &str,
) -> Result<Unsigned> {
    Unsigned::try_from(value).map_err(|_| bad(format!("the {field} is {value}")))
}
