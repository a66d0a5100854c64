//! Kafka's record batch v2: checked, taken apart, put together.

mod builder;
mod compress;
mod header;
mod headers;
mod pack;
mod records;
#[cfg(test)]
mod tests;

pub use builder::{BatchBuilder, RecordBuilder};
pub use compress::Codec;
pub use header::HEADER_BYTES;
pub use headers::{Header, Headers, HeadersIter};
pub use records::{Facts, Records};

use bytes::Bytes;

use crate::{Error, Result};

/// One record of a batch. Bytes are shared with the batch they came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Offset in its partition; ignored when a batch is built.
    pub offset: u64,
    /// Milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
    /// Key, or none.
    pub key: Option<Bytes>,
    /// Value; none is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in the order written; names may repeat.
    pub headers: Headers,
}

impl Record {
    /// Bytes of key, value and headers, these as a batch has them.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.key) + length(&self.value) + self.headers.encoded().len()
    }
}

/// The 61 bytes that open a record batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: u64,
    /// Size of the whole batch in bytes, this header included.
    pub size: usize,
    /// The leader epoch its broker wrote.
    pub leader_epoch: i32,
    /// CRC-32C over everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transactional and control bits.
    pub attributes: u16,
    /// Offset of the last record less `base_offset`.
    pub last_offset_delta: u32,
    /// First record's timestamp.
    pub base_timestamp_ms: i64,
    /// Largest timestamp (or the append's).
    pub max_timestamp_ms: i64,
    /// Idempotent producer, or -1.
    pub producer_id: i64,
    /// Its epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
    /// Records in the batch.
    pub record_count: u32,
}

/// A whole record batch whose header, length and checksum are right.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Its header.
    pub header: BatchHeader,
    /// The batch as it came, header included.
    pub bytes: Bytes,
}

impl Batch {
    /// Takes the first batch off `bytes` after checking its header, length and checksum.
    ///
    /// # Errors
    /// [`Error::BadBatch`]; `bytes` is then as it was.
    pub fn split_from(bytes: &mut Bytes) -> Result<Self> {
        let header = BatchHeader::parse(bytes)?;
        if header.size > bytes.len() {
            return Err(bad(format!("a batch of {} bytes is cut after {}", header.size, bytes.len())));
        }
        let crc = checksum(&bytes[header::CRC_FROM..header.size]);
        if crc != header.crc {
            return Err(bad(format!("the checksum is {crc:08x}, the header says {:08x}", header.crc)));
        }
        Ok(Self { header, bytes: bytes.split_to(header.size) })
    }

    /// Checks the header for what a producer may send: no control batch, no gaps, and a sequence if it is idempotent.
    /// The records are another matter: [`Batch::check_records`].
    ///
    /// # Errors
    /// [`Error::BadBatch`].
    pub fn validate_for_append(&self) -> Result<()> {
        let header = &self.header;
        if header.is_control() {
            return Err(bad("a producer may not write control batches"));
        }
        if header.last_offset_delta != header.record_count - 1 {
            let (delta, count) = (header.last_offset_delta, header.record_count);
            return Err(bad(format!("the last offset delta is {delta} with {count} records")));
        }
        let idempotent = header.producer_id >= 0;
        if header.producer_id < -1 || (idempotent && (header.producer_epoch < 0 || header.base_sequence < 0)) {
            return Err(bad("the producer id, epoch and sequence do not go together"));
        }
        if header.is_transactional() && !idempotent {
            return Err(bad("a transactional batch needs a producer id"));
        }
        Ok(())
    }
}

/// CRC-32C (Castagnoli), with the processor's carry-less multiplication where it has one.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cold]
fn bad(reason: impl Into<String>) -> Error {
    Error::BadBatch(reason.into())
}
