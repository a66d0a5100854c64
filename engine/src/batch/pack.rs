//! Records into a batch.

use bytes::{BufMut, Bytes};

use super::compress::Codec;
use super::header::{ATTRIBUTES_AT, CRC_AT, CRC_FROM, DELETE_HORIZON, HEADER_BYTES, LOG_APPEND_TIME, MAX_TIMESTAMP_AT};
use super::{Batch, BatchHeader, Record};
use crate::{Error, Result};

/// The largest length Kafka's protocol can say.
const MAX_BYTES: usize = i32::MAX as usize;

impl Batch {
    /// Packs records into one uncompressed batch. Offsets count from 0, the producer is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no record or a length is over 2^31-1.
    pub fn pack(records: &[Record]) -> Result<Self> {
        let (first, count) = first_and_count(records)?;
        let header = BatchHeader {
            base_offset: 0,
            size: 0,
            leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp_ms: first.timestamp_ms,
            max_timestamp_ms: max_timestamp(records),
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: count,
        };
        let mut bytes = start(records)?;
        for (delta, record) in records.iter().enumerate() {
            write_record(&mut bytes, record, delta as u64, first.timestamp_ms);
        }
        seal(header, bytes)
    }

    /// The batch again with only the records in `keep` (from [`Batch::records`] with this `base_offset`, in order), as
    /// compaction leaves it: its offsets, producer and codec stay. None when nothing is kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a record's offset is not the batch's, or they are not in order.
    pub fn repack(&self, base_offset: u64, keep: &[Record]) -> Result<Option<Self>> {
        if keep.is_empty() {
            return Ok(None);
        }
        check_offsets(keep, base_offset, self.header.last_offset_delta)?;
        let (first, count) = first_and_count(keep)?;
        let append_time = self.header.is_log_append_time();
        let header = BatchHeader {
            base_offset,
            attributes: self.header.attributes & !DELETE_HORIZON,
            base_timestamp_ms: first.timestamp_ms,
            max_timestamp_ms: if append_time { self.header.max_timestamp_ms } else { max_timestamp(keep) },
            record_count: count,
            ..self.header
        };
        let mut bytes = start(keep)?;
        for record in keep {
            write_record(&mut bytes, record, record.offset - base_offset, first.timestamp_ms);
        }
        match header.codec()? {
            Codec::None => {}
            codec => {
                let compressed = codec.compress(&bytes[HEADER_BYTES..])?;
                bytes.truncate(HEADER_BYTES);
                bytes.extend_from_slice(&compressed);
            }
        }
        seal(header, bytes).map(Some)
    }

    /// The batch with its records stamped with the time of the append (ms since the Unix epoch) instead of the producer's.
    #[must_use]
    pub fn with_append_time(&self, now_ms: i64) -> Self {
        let mut header = self.header;
        header.attributes |= LOG_APPEND_TIME;
        header.max_timestamp_ms = now_ms;
        let mut bytes = self.bytes.to_vec();
        (&mut bytes[ATTRIBUTES_AT..]).put_u16(header.attributes);
        (&mut bytes[MAX_TIMESTAMP_AT..]).put_i64(now_ms);
        header.crc = write_crc(&mut bytes);
        Self { header, bytes: bytes.into() }
    }
}

fn first_and_count(records: &[Record]) -> Result<(&Record, u32)> {
    let first = records.first().ok_or_else(|| Error::Invalid("a batch needs at least one record".into()))?;
    let count = i32::try_from(records.len()).map_err(|_| too_long())?;
    Ok((first, count.cast_unsigned()))
}

fn check_offsets(records: &[Record], base_offset: u64, last_delta: u32) -> Result<()> {
    let last = base_offset.saturating_add(u64::from(last_delta));
    let inside = records.iter().all(|record| (base_offset..=last).contains(&record.offset));
    if inside && records.is_sorted_by(|one, next| one.offset < next.offset) {
        return Ok(());
    }
    Err(Error::Invalid("the records kept are not of this batch, or not in order".into()))
}

fn max_timestamp(records: &[Record]) -> i64 {
    records.iter().map(|record| record.timestamp_ms).max().unwrap_or(-1)
}

/// A buffer with a hole for the header and room for the records, as far as can be told before they are written.
fn start(records: &[Record]) -> Result<Vec<u8>> {
    let room: usize = records.iter().map(|record| record.size() + 16 + 8 * record.headers.len()).sum();
    if room > MAX_BYTES {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + room);
    bytes.resize(HEADER_BYTES, 0);
    Ok(bytes)
}

fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Result<Batch> {
    if bytes.len() > MAX_BYTES {
        return Err(too_long());
    }
    header.size = bytes.len();
    let mut head = Vec::with_capacity(HEADER_BYTES);
    header.write(&mut head);
    bytes[..HEADER_BYTES].copy_from_slice(&head);
    header.crc = write_crc(&mut bytes);
    Ok(Batch { header, bytes: Bytes::from(bytes) })
}

fn write_crc(bytes: &mut [u8]) -> u32 {
    let crc = super::checksum(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    crc
}

fn write_record(to: &mut Vec<u8>, record: &Record, offset_delta: u64, base_timestamp_ms: i64) {
    let timestamp_delta = record.timestamp_ms.wrapping_sub(base_timestamp_ms);
    put_varint(to, body_size(record, offset_delta, timestamp_delta) as i64);
    to.push(0);
    put_varint(to, timestamp_delta);
    put_varint(to, offset_delta.cast_signed());
    put_bytes(to, record.key.as_deref());
    put_bytes(to, record.value.as_deref());
    put_varint(to, record.headers.len() as i64);
    for header in &record.headers {
        put_bytes(to, Some(&header.name));
        put_bytes(to, header.value.as_deref());
    }
}

fn body_size(record: &Record, offset_delta: u64, timestamp_delta: i64) -> usize {
    let headers: usize =
        record.headers.iter().map(|header| bytes_size(Some(&header.name)) + bytes_size(header.value.as_deref())).sum();
    1 + varint_size(timestamp_delta)
        + varint_size(offset_delta.cast_signed())
        + bytes_size(record.key.as_deref())
        + bytes_size(record.value.as_deref())
        + varint_size(record.headers.len() as i64)
        + headers
}

fn bytes_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(bytes.len() as i64) + bytes.len())
}

fn put_bytes(to: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(to, -1),
        Some(bytes) => {
            put_varint(to, bytes.len() as i64);
            to.extend_from_slice(bytes);
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn put_varint(to: &mut Vec<u8>, value: i64) {
    let mut left = zigzag(value);
    while left >= 0x80 {
        to.push(left as u8 | 0x80);
        left >>= 7;
    }
    to.push(left as u8);
}

fn too_long() -> Error {
    Error::Invalid("the batch is over 2^31-1 bytes or records".into())
}
