//! A batch written record by record, with nothing in between: lengths come before what they are the length of, so room
//! is left for them by a good guess, and what follows is moved in the few cases where the guess was wrong.

use bytes::{BufMut, Bytes};

use super::header::{CRC_AT, CRC_FROM, HEADER_BYTES};
use super::headers::put_header;
use super::{Batch, BatchHeader, Record};
use crate::{Error, Result};

/// The largest length the format can say.
const MAX_BYTES: usize = i32::MAX as usize;
/// Room taken at first: for the header and a few small records.
const FIRST_ROOM: usize = 1 << 10;
/// What a record has besides key, value and headers is seldom more.
const RECORD_OVERHEAD: usize = 16;

/// Builds one uncompressed batch. Offsets count from 0, the producer is none.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    /// A hole for the header, and the records.
    bytes: Vec<u8>,
    /// Where the last finished record ends.
    end: usize,
    count: u32,
    base_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// A record being written. It is part of the batch when [`RecordBuilder::finish`] has said so.
#[derive(Debug)]
pub struct RecordBuilder<'a> {
    batch: &'a mut BatchBuilder,
    timestamp_ms: i64,
    /// How many bytes were left for the record's length.
    guess: usize,
    headers_at: usize,
    headers: usize,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// A batch without records.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room(FIRST_ROOM - HEADER_BYTES)
    }

    /// A batch without records, and room for so many bytes of them.
    #[must_use]
    pub fn with_room(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + room.min(MAX_BYTES));
        bytes.resize(HEADER_BYTES, 0);
        Self { bytes, end: HEADER_BYTES, count: 0, base_timestamp_ms: 0, max_timestamp_ms: i64::MIN }
    }

    /// How many records there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The size of the batch so far, its header included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.end
    }

    /// Starts a record.
    #[inline]
    pub fn record(&mut self, timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> RecordBuilder<'_> {
        self.record_at(self.count.into(), timestamp_ms, key, value)
    }

    /// Starts a record with another offset than the next.
    #[inline]
    pub(super) fn record_at(
        &mut self,
        offset_delta: u64,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> RecordBuilder<'_> {
        if self.count == 0 {
            self.base_timestamp_ms = timestamp_ms;
        }
        let to = &mut self.bytes;
        // One that was not finished is forgotten.
        to.truncate(self.end);
        let likely = key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len) + RECORD_OVERHEAD;
        let guess = varint_size(likely as i64);
        to.reserve(likely);
        // The length, as many bytes as guessed, and the attributes.
        to.extend_from_slice(&[0; 11][..guess + 1]);
        put_varint(to, timestamp_ms.wrapping_sub(self.base_timestamp_ms));
        put_varint(to, offset_delta.cast_signed());
        put_bytes(to, key);
        put_bytes(to, value);
        let headers_at = to.len();
        to.push(0);
        RecordBuilder { batch: self, timestamp_ms, guess, headers_at, headers: 0 }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// As [`RecordBuilder::finish`].
    pub fn push(&mut self, record: &Record) -> Result<()> {
        self.record(record.timestamp_ms, record.key.as_deref(), record.value.as_deref()).headers_of(record).finish()
    }

    /// The batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no record.
    pub fn finish(self) -> Result<Batch> {
        if self.count == 0 {
            return Err(Error::Invalid("a batch needs at least one record".into()));
        }
        let header = BatchHeader {
            base_offset: 0,
            size: 0,
            leader_epoch: -1,
            crc: 0,
            attributes: 0,
            last_offset_delta: self.count - 1,
            base_timestamp_ms: self.base_timestamp_ms,
            max_timestamp_ms: self.max_timestamp_ms,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: self.count,
        };
        seal(header, self.into_bytes())
    }

    /// How many records there are, the first's timestamp, the largest.
    pub(super) fn facts(&self) -> (u32, i64, i64) {
        (self.count, self.base_timestamp_ms, self.max_timestamp_ms)
    }

    /// A hole for the header, and the records.
    pub(super) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.end);
        self.bytes
    }
}

impl RecordBuilder<'_> {
    /// Adds a header; its name is UTF-8.
    #[inline]
    pub fn header(&mut self, name: &[u8], value: Option<&[u8]>) {
        put_header(&mut self.batch.bytes, name, value);
        self.headers += 1;
    }

    /// Adds a header whose value `write` appends.
    #[inline]
    pub fn header_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let to = &mut self.batch.bytes;
        put_bytes(to, Some(name));
        let at = to.len();
        to.push(0);
        write(to);
        let length = to.len() - at - 1;
        put_varint_at(to, at, 1, length as i64);
        self.headers += 1;
    }

    /// Adds a record's headers.
    #[inline]
    pub(super) fn headers_of(mut self, record: &Record) -> Self {
        self.batch.bytes.extend_from_slice(record.headers.encoded());
        self.headers += record.headers.len();
        self
    }

    /// How many headers it has so far.
    #[must_use]
    pub fn header_count(&self) -> usize {
        self.headers
    }

    /// Makes it part of the batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the batch would be over 2^31-1 bytes or records; it is then as it was before the record.
    #[inline]
    pub fn finish(self) -> Result<()> {
        let batch = self.batch;
        let to = &mut batch.bytes;
        put_varint_at(to, self.headers_at, 1, self.headers as i64);
        let length = to.len() - batch.end - self.guess;
        put_varint_at(to, batch.end, self.guess, length as i64);
        if to.len() > MAX_BYTES || batch.count == i32::MAX as u32 {
            to.truncate(batch.end);
            return Err(too_long());
        }
        batch.end = to.len();
        batch.count += 1;
        batch.max_timestamp_ms = batch.max_timestamp_ms.max(self.timestamp_ms);
        Ok(())
    }
}

/// Writes the header into its hole, and the checksum.
pub(super) fn seal(mut header: BatchHeader, mut bytes: Vec<u8>) -> Result<Batch> {
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

#[cold]
fn too_long() -> Error {
    Error::Invalid("the batch is over 2^31-1 bytes or records".into())
}

pub(super) fn write_crc(bytes: &mut [u8]) -> u32 {
    let crc = super::checksum(&bytes[CRC_FROM..]);
    bytes[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    crc
}

#[inline]
pub(super) fn put_bytes(to: &mut impl BufMut, bytes: Option<&[u8]>) {
    match bytes {
        None => to.put_u8(1),
        Some(bytes) => {
            put_varint(to, bytes.len() as i64);
            to.put_slice(bytes);
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

#[inline]
fn put_varint(to: &mut impl BufMut, value: i64) {
    let mut left = zigzag(value);
    while left >= 0x80 {
        to.put_u8(left as u8 | 0x80);
        left >>= 7;
    }
    to.put_u8(left as u8);
}

/// Writes a varint at `at`, where `guess` bytes were left for it.
#[inline]
fn put_varint_at(to: &mut Vec<u8>, at: usize, guess: usize, value: i64) {
    let size = varint_size(value);
    if size != guess {
        make_room(to, at + guess, at + size);
    }
    let mut left = zigzag(value);
    for byte in &mut to[at..at + size] {
        *byte = left as u8 | 0x80;
        left >>= 7;
    }
    to[at + size - 1] &= 0x7f;
}

/// Moves what begins at `from` to `target`.
#[cold]
fn make_room(to: &mut Vec<u8>, from: usize, target: usize) {
    let end = to.len();
    if target > from {
        to.resize(end + target - from, 0);
    }
    to.copy_within(from..end, target);
    to.truncate(end + target - from);
}
