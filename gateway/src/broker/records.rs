//! Records by offset, whoever asks for them.

use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::{Error as EngineError, PartitionId};

use super::{Broker, Error, Kind, Result};

/// How much one step looks at.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    /// Records returned.
    pub messages: usize,
    /// Bytes, as stored and as returned.
    pub bytes: usize,
}

/// Records in offset order.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page begins.
    pub next_offset: u64,
    /// First offset kept.
    pub log_start: u64,
    /// Next offset to be written.
    pub high_watermark: u64,
}

impl Broker {
    /// Refuses to begin behind the next message to be stored. What was removed before an offset is no reason to.
    ///
    /// # Errors
    /// [`super::Kind::OutOfRange`], [`super::Kind::NotFound`].
    pub fn check_begin(&self, partition: PartitionId, offset: u64) -> Result<()> {
        let info = self.partition(partition)?;
        let (log_start, end) = (info.log_start, info.high_watermark);
        match offset <= end {
            true => Ok(()),
            false => Err(EngineError::OffsetOutOfRange { offset, log_start, end }.into()),
        }
    }

    /// The records from `offset` on that are `wanted`. The page ends when a limit is reached, or where what one read brought
    /// ends. The caller has authorized with [`Broker::topic_for_read`].
    ///
    /// # Errors
    /// As [`Broker::read`].
    pub async fn read_page(
        &self,
        partition: PartitionId,
        offset: u64,
        limit: ReadLimit,
        wanted: impl Fn(&Record) -> bool,
    ) -> Result<Page> {
        let read = self.read(partition, offset, limit.bytes).await?;
        let (log_start, high_watermark) = (read.log_start, read.high_watermark);
        let mut page = Page { records: Vec::new(), next_offset: offset, log_start, high_watermark };
        let mut bytes = 0;
        for mut run in read.batches {
            while !run.is_empty() {
                let batch = Batch::split_from(&mut run).map_err(damaged)?;
                for record in self.records_of(&batch)? {
                    let record = record.map_err(damaged)?;
                    if record.offset < page.next_offset {
                        continue;
                    }
                    let next_offset = record.offset + 1;
                    if wanted(&record) {
                        if page.records.len() >= limit.messages || (bytes > 0 && bytes + record.size() > limit.bytes) {
                            return Ok(page);
                        }
                        bytes += record.size();
                        page.records.push(record);
                    }
                    page.next_offset = next_offset;
                }
                page.next_offset = page.next_offset.max(batch.header.last_offset() + 1);
            }
        }
        Ok(page)
    }

    /// The record at an offset.
    ///
    /// # Errors
    /// [`Kind::NotFound`] when there is none: not yet, not any more, or compaction removed it.
    pub async fn record_at(&self, partition: PartitionId, offset: u64) -> Result<Record> {
        let limit = ReadLimit { messages: 1, bytes: 1 };
        let info = self.partition(partition)?;
        if (info.log_start..info.high_watermark).contains(&offset) {
            let page = self.read_page(partition, offset, limit, |_| true).await?;
            if let Some(record) = page.records.into_iter().next().filter(|record| record.offset == offset) {
                return Ok(record);
            }
        }
        Err(Error::new(Kind::NotFound, format!("there is no message at offset {offset}")))
    }

    fn records_of(&self, batch: &Batch) -> Result<impl Iterator<Item = tidegate_engine::Result<Record>> + use<>> {
        // Transaction markers are no messages.
        let records = match batch.header.is_control() {
            true => None,
            false => {
                let limit = self.engine.config().max_decompressed_bytes;
                Some(batch.iter(batch.header.base_offset, limit).map_err(damaged)?)
            }
        };
        Ok(records.into_iter().flatten())
    }
}

/// A stored batch that does not decode is not the reader's mistake.
fn damaged(error: EngineError) -> Error {
    Error::new(Kind::Corrupt, format!("a stored batch does not decode: {error}"))
}
