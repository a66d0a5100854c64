//! Records out of a batch (<https://kafka.apache.org/documentation/#record>): lengths are zigzag varints, bytes are shared.

use bytes::Bytes;

use super::compress::Codec;
use super::header::HEADER_BYTES;
use super::{Batch, Headers, Record, bad, headers};
use crate::{Error, Result};

/// The fewest bytes a record takes: six varints and the attributes.
const MIN_RECORD_BYTES: usize = 7;
/// The fewest bytes a header takes: two varints.
const MIN_HEADER_BYTES: usize = 2;
/// What a header counts for against the memory limit. Decoded it takes nothing of its own, but about so much where somebody
/// makes values of name and value, which a compressed batch of empty ones would otherwise make any number of.
const HEADER_COST: usize = 64;

/// What a walk over a batch's records has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Every record has a key (a compacted topic takes no other).
    pub keyed: bool,
    /// The largest record timestamp, ms since the Unix epoch: what the header claims is the producer's word.
    pub max_timestamp_ms: i64,
}

/// The records of one batch, in order. See [`Batch::iter`].
#[derive(Debug)]
pub struct Records {
    payload: Bytes,
    position: usize,
    left: u32,
    base_offset: u64,
    last_offset_delta: u32,
    base_timestamp_ms: i64,
    append_time_ms: Option<i64>,
    headers_budget: usize,
}

impl Batch {
    /// Decompresses the records to at most `max_decompressed` bytes and gives them one by one; offsets count from
    /// `base_offset`. The headers of one record may also count for `max_decompressed` bytes of memory.
    /// After an error the iteration ends.
    ///
    /// # Errors
    /// [`Error::BadBatch`].
    pub fn iter(&self, base_offset: u64, max_decompressed: usize) -> Result<Records> {
        let header = &self.header;
        Ok(Records {
            payload: self.payload(max_decompressed)?,
            position: 0,
            left: header.record_count,
            base_offset,
            last_offset_delta: header.last_offset_delta,
            base_timestamp_ms: header.base_timestamp_ms,
            append_time_ms: header.is_log_append_time().then_some(header.max_timestamp_ms),
            headers_budget: max_decompressed,
        })
    }

    /// Decodes (and decompresses) the records. `max_decompressed` bounds the decompressed bytes, and also the memory of the
    /// decoded records and headers themselves; offsets count from `base_offset` (a batch shared between partitions carries
    /// another one in its header).
    ///
    /// # Errors
    /// [`Error::BadBatch`].
    pub fn records(&self, base_offset: u64, max_decompressed: usize) -> Result<Vec<Record>> {
        let records = self.iter(base_offset, max_decompressed)?;
        let count = self.header.record_count as usize;
        let mut budget = max_decompressed;
        charge(&mut budget, count, size_of::<Record>())?;
        let mut decoded = Vec::with_capacity(count);
        for record in records {
            let record = record?;
            charge(&mut budget, record.headers.len(), HEADER_COST)?;
            decoded.push(record);
        }
        Ok(decoded)
    }

    /// Walks the records without building them, as a broker does before it takes a batch: what passes, [`Batch::records`] decodes
    /// with the same limit. Offset deltas must be 0, 1, 2… as producers write them. Allocates nothing when the batch is not
    /// compressed; otherwise at most `max_decompressed`.
    ///
    /// # Errors
    /// [`Error::BadBatch`].
    pub fn check_records(&self, max_decompressed: usize) -> Result<Facts> {
        let decompressed = match self.header.codec()? {
            Codec::None => None,
            _ => Some(self.payload(max_decompressed)?),
        };
        let mut rest = decompressed.as_deref().unwrap_or(&self.bytes[HEADER_BYTES..]);
        let mut keyed = true;
        let mut max_delta = i64::MIN;
        let mut headers = 0;
        for expected in 0..self.header.record_count {
            let record = RawRecord::split_from(&mut rest)?;
            record.check_headers()?;
            headers += record.header_count;
            if record.offset_delta != i64::from(expected) {
                return Err(bad(format!("record {expected} has the offset delta {}", record.offset_delta)));
            }
            keyed &= record.key.is_some();
            max_delta = max_delta.max(record.timestamp_delta);
        }
        if !rest.is_empty() {
            return Err(bad("bytes are left over after the last record"));
        }
        let mut budget = max_decompressed;
        charge(&mut budget, self.header.record_count as usize, size_of::<Record>())?;
        charge(&mut budget, headers, HEADER_COST)?;
        let max_timestamp_ms = match self.header.is_log_append_time() {
            true => self.header.max_timestamp_ms,
            false => self.header.base_timestamp_ms.wrapping_add(max_delta),
        };
        Ok(Facts { keyed, max_timestamp_ms })
    }

    /// The records' bytes, decompressed; shared with the batch when it is not compressed.
    fn payload(&self, max_decompressed: usize) -> Result<Bytes> {
        let codec = self.header.codec()?;
        let stored = self.bytes.slice(HEADER_BYTES..);
        let payload = match codec {
            Codec::None => stored,
            _ => codec.decompress(&stored, max_decompressed)?.into(),
        };
        // A claim of millions of records is refused before anybody reserves room for them.
        let count = self.header.record_count as usize;
        if payload.len() / MIN_RECORD_BYTES < count {
            return Err(bad(format!("{count} records do not fit in {} bytes", payload.len())));
        }
        Ok(payload)
    }
}

fn charge(budget: &mut usize, count: usize, each: usize) -> Result<()> {
    let cost = count.saturating_mul(each);
    *budget = budget.checked_sub(cost).ok_or_else(|| bad("the decoded records are over the memory limit"))?;
    Ok(())
}

impl Records {
    fn decode_next(&mut self) -> Result<Record> {
        let mut rest = &self.payload[self.position..];
        let before = rest.len();
        let raw = RawRecord::split_from(&mut rest)?;
        let consumed = before - rest.len();
        let record = self.build(&raw)?;
        self.position += consumed;
        if self.left == 1 && self.position != self.payload.len() {
            return Err(bad("bytes are left over after the last record"));
        }
        Ok(record)
    }

    fn build(&self, raw: &RawRecord<'_>) -> Result<Record> {
        let share = |bytes: &[u8]| self.payload.slice_ref(bytes);
        let delta = u64::try_from(raw.offset_delta).ok().filter(|delta| *delta <= u64::from(self.last_offset_delta));
        let delta = delta.ok_or_else(|| bad(format!("the offset delta {} is outside the batch", raw.offset_delta)))?;
        Ok(Record {
            offset: self.base_offset.checked_add(delta).ok_or_else(|| bad("the offset is over 2^64-1"))?,
            timestamp_ms: match self.append_time_ms {
                Some(time) => time,
                None => self.base_timestamp_ms.wrapping_add(raw.timestamp_delta),
            },
            key: raw.key.map(share),
            value: raw.value.map(share),
            headers: self.build_headers(raw)?,
        })
    }

    fn build_headers(&self, raw: &RawRecord<'_>) -> Result<Headers> {
        let mut budget = self.headers_budget;
        charge(&mut budget, raw.header_count, HEADER_COST)?;
        raw.check_headers()?;
        Ok(match raw.header_count {
            0 => Headers::default(),
            count => Headers::checked(self.payload.slice_ref(raw.headers), count),
        })
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let record = self.decode_next();
        self.left = if record.is_ok() { self.left - 1 } else { 0 };
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}

/// What is wrong with a record. Small, because it is returned for every field.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a record is cut")]
    Cut,
    #[error("a varint is over 64 bits")]
    OverLong,
    #[error("a length is negative or over what is left")]
    Length,
    #[error("a length is null that may not be")]
    Null,
    #[error("a record claims more headers than fit in it")]
    HeaderCount,
    #[error("a header name is not UTF-8")]
    HeaderName,
    #[error("bytes are left over in a record")]
    LeftOver,
}

impl From<Malformed> for Error {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        bad(malformed.to_string())
    }
}

/// One record, still where it lies.
struct RawRecord<'a> {
    timestamp_delta: i64,
    offset_delta: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    header_count: usize,
    headers: &'a [u8],
}

impl<'a> RawRecord<'a> {
    #[inline(always)]
    fn split_from(rest: &mut &'a [u8]) -> Result<Self, Malformed> {
        let mut body = split_bytes(rest)?.ok_or(Malformed::Null)?;
        let (_attributes, fields) = body.split_first().ok_or(Malformed::Cut)?;
        body = fields;
        let timestamp_delta = varint(&mut body)?;
        let offset_delta = varint(&mut body)?;
        let key = split_bytes(&mut body)?;
        let value = split_bytes(&mut body)?;
        let header_count = varint(&mut body)?.cast_unsigned();
        if header_count > (body.len() / MIN_HEADER_BYTES) as u64 {
            return Err(Malformed::HeaderCount);
        }
        Ok(Self { timestamp_delta, offset_delta, key, value, header_count: header_count as usize, headers: body })
    }

    #[inline]
    fn check_headers(&self) -> Result<(), Malformed> {
        if self.headers.is_empty() { Ok(()) } else { headers::check(self.headers, self.header_count) }
    }
}

/// A length and as many bytes; length -1 is null.
#[inline(always)]
pub(super) fn split_bytes<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let length = varint(rest)?;
    if length == -1 {
        return Ok(None);
    }
    // A negative one is far over what is left.
    let length = usize::try_from(length.cast_unsigned()).map_err(|_| Malformed::Length)?;
    let (bytes, after) = rest.split_at_checked(length).ok_or(Malformed::Length)?;
    *rest = after;
    Ok(Some(bytes))
}

/// A zigzag varint of up to 64 bits. Lengths are 32 bits on the wire; a longer one fails where it is used.
#[inline(always)]
fn varint(rest: &mut &[u8]) -> Result<i64, Malformed> {
    match **rest {
        [first, ref after @ ..] if first < 0x80 => {
            *rest = after;
            Ok(unzigzag(u64::from(first)))
        }
        [first, second, ref after @ ..] if second < 0x80 => {
            *rest = after;
            Ok(unzigzag(u64::from(first & 0x7f) | u64::from(second) << 7))
        }
        _ => long_varint(rest),
    }
}

#[inline(never)]
fn long_varint(rest: &mut &[u8]) -> Result<i64, Malformed> {
    let mut value = 0;
    for (index, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            *rest = &rest[index + 1..];
            return if index == 9 && byte > 1 { Err(Malformed::OverLong) } else { Ok(unzigzag(value)) };
        }
    }
    Err(if rest.len() < 10 { Malformed::Cut } else { Malformed::OverLong })
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
