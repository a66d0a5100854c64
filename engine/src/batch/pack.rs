//! Records into a batch.

use bytes::BufMut;

use super::builder::{BatchBuilder, seal, write_crc};
use super::compress::Codec;
use super::header::{ATTRIBUTES_AT, DELETE_HORIZON, HEADER_BYTES, LOG_APPEND_TIME, MAX_TIMESTAMP_AT};
use super::{Batch, BatchHeader, Record};
use crate::{Error, Result};

impl Batch {
    /// Packs records into one uncompressed batch. Offsets count from 0, the producer is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no record or a length is over 2^31-1.
    pub fn pack(records: &[Record]) -> Result<Self> {
        let mut builder = BatchBuilder::with_room(room(records));
        for record in records {
            builder.push(record)?;
        }
        builder.finish()
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
        let mut builder = BatchBuilder::with_room(room(keep));
        for record in keep {
            let (key, value) = (record.key.as_deref(), record.value.as_deref());
            let delta = record.offset - base_offset;
            builder.record_at(delta, record.timestamp_ms, key, value).headers_of(record).finish()?;
        }
        let (record_count, base_timestamp_ms, max_timestamp_ms) = builder.facts();
        let append_time = self.header.is_log_append_time();
        let header = BatchHeader {
            base_offset,
            attributes: self.header.attributes & !DELETE_HORIZON,
            base_timestamp_ms,
            max_timestamp_ms: if append_time { self.header.max_timestamp_ms } else { max_timestamp_ms },
            record_count,
            ..self.header
        };
        let mut bytes = builder.into_bytes();
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

fn check_offsets(records: &[Record], base_offset: u64, last_delta: u32) -> Result<()> {
    let last = base_offset.saturating_add(u64::from(last_delta));
    let inside = records.iter().all(|record| (base_offset..=last).contains(&record.offset));
    if inside && records.is_sorted_by(|one, next| one.offset < next.offset) {
        return Ok(());
    }
    Err(Error::Invalid("the records kept are not of this batch, or not in order".into()))
}

/// How many bytes the records will take, as far as can be told before they are written.
fn room(records: &[Record]) -> usize {
    records.iter().map(|record| record.size() + 16).sum()
}
