//! Kafka's record batch v2: checked, taken apart, put together.

use bytes::Bytes;

use crate::Result;

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
    pub headers: Vec<Header>,
}

/// A record header. Names are UTF-8 by Kafka's protocol; that is checked when a batch is taken apart, not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name, UTF-8.
    pub name: Bytes,
    /// Value, or null.
    pub value: Option<Bytes>,
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
    /// [`crate::Error::BadBatch`].
    pub fn split_from(bytes: &mut Bytes) -> Result<Self> {
        let _ = bytes;
        todo!()
    }

    /// Decodes (and decompresses) the records. Memory is bounded by `max_decompressed` bytes; offsets are counted from `base_offset`
    /// (a batch shared between partitions carries another one in its header).
    ///
    /// # Errors
    /// [`crate::Error::BadBatch`].
    pub fn records(&self, base_offset: u64, max_decompressed: usize) -> Result<Vec<Record>> {
        let _ = (base_offset, max_decompressed);
        todo!()
    }

    /// Packs records into one uncompressed batch. Offsets count from 0, the producer is none.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] when there is no record or a length is over 2^31-1.
    pub fn pack(records: &[Record]) -> Result<Self> {
        let _ = records;
        todo!()
    }
}
