//! Batches decoded for groups, and what was read behind them: consumers with little credit come back for the rest.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::batch::{Batch, BatchHeader, Record};
use crate::shard::Shard;
use crate::{PartitionId, Result};

/// No more is kept of one partition.
const MAX_AHEAD_BYTES: usize = 1 << 20;

/// A stored batch that does not decode, though its bytes check.
pub(crate) struct Undecodable {
    pub from: u64,
    pub to: u64,
    pub reason: String,
}

/// A batch's records, and the offsets it stands for.
pub(crate) struct Decoded {
    pub base_offset: u64,
    pub end: u64,
    bytes: usize,
    pub records: Vec<Record>,
}

/// A record that shares its batch's memory with the others that were read together: a copy costs one count, not one for
/// every field.
#[derive(Clone)]
pub struct SharedRecord {
    batch: Arc<Decoded>,
    index: usize,
}

impl Decoded {
    /// One of the records, to be handed out.
    pub(crate) fn share(self: &Arc<Self>, index: usize) -> SharedRecord {
        SharedRecord { batch: Arc::clone(self), index }
    }
}

impl From<Record> for SharedRecord {
    /// A record on its own.
    fn from(record: Record) -> Self {
        let (base_offset, bytes) = (record.offset, record.size());
        let alone = Decoded { base_offset, end: base_offset.saturating_add(1), bytes, records: vec![record] };
        Self { batch: Arc::new(alone), index: 0 }
    }
}

impl Deref for SharedRecord {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.batch.records[self.index]
    }
}

impl fmt::Debug for SharedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl PartialEq for SharedRecord {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// What was read of a partition a moment ago: the batch last decoded, and the stored ones behind it. Consumers with little
/// credit come back for the rest.
pub(crate) struct Ahead {
    batch: Arc<Decoded>,
    stored: Vec<Bytes>,
}

/// That of every partition.
#[derive(Default)]
pub(crate) struct AheadCache {
    of: HashMap<PartitionId, Ahead>,
    bytes: usize,
}

impl AheadCache {
    fn remove(&mut self, partition: PartitionId) {
        self.bytes -= self.of.remove(&partition).map_or(0, |ahead| ahead.bytes());
    }

    fn insert(&mut self, partition: PartitionId, ahead: Ahead, limit: usize) {
        // It is no more than a convenience: when it is full it starts afresh.
        if self.bytes > limit {
            *self = Self::default();
        }
        self.bytes += ahead.bytes();
        self.bytes -= self.of.insert(partition, ahead).map_or(0, |before| before.bytes());
    }
}

/// How much a consumer can take.
#[derive(Clone, Copy)]
pub(crate) struct Credit {
    pub messages: usize,
    pub bytes: usize,
}

/// What there is of it at an offset.
pub(crate) enum Found {
    Decoded(Arc<Decoded>),
    Stored(Vec<Bytes>),
    Nothing,
}

impl Ahead {
    fn bytes(&self) -> usize {
        self.batch.bytes + self.stored.iter().map(Bytes::len).sum::<usize>()
    }

    fn at(&self, offset: u64) -> Found {
        if (self.batch.base_offset..self.batch.end).contains(&offset) {
            return Found::Decoded(Arc::clone(&self.batch));
        }
        let first = self.stored.first().and_then(|run| BatchHeader::parse(run).ok());
        let covers = |header: BatchHeader| (header.base_offset..header.end_offset()).contains(&offset);
        if first.is_some_and(covers) { Found::Stored(self.stored.clone()) } else { Found::Nothing }
    }
}

impl Shard {
    /// What was read a moment ago, if it is what lies at `offset`.
    pub(crate) fn look_ahead(&self, partition: PartitionId, offset: u64) -> Found {
        self.ahead.lock().of.get(&partition).map_or(Found::Nothing, |ahead| ahead.at(offset))
    }

    /// Decodes batches until they hold as much as is `wanted` from `offset` on, or one cannot be decoded.
    pub(crate) fn decode(
        &self,
        partition: PartitionId,
        offset: u64,
        stored: Vec<Bytes>,
        wanted: Credit,
    ) -> Result<(Vec<Arc<Decoded>>, Option<Undecodable>)> {
        let mut decoded = Vec::new();
        let (mut found, mut bytes) = (0, 0);
        let mut bad = None;
        let mut stored = VecDeque::from(stored);
        while found < wanted.messages
            && bytes < wanted.bytes
            && let Some(run) = stored.front_mut()
        {
            if run.is_empty() {
                stored.pop_front();
                continue;
            }
            let batch = Batch::split_from(run)?;
            let BatchHeader { base_offset, .. } = batch.header;
            let end = batch.header.end_offset();
            let records = match batch.header.is_control() {
                true => Ok(Vec::new()),
                false => batch.records(base_offset, self.config.max_decompressed_bytes),
            };
            match records {
                Ok(records) => {
                    found += records.iter().filter(|record| record.offset >= offset).count();
                    bytes += batch.bytes.len();
                    decoded.push(Arc::new(Decoded { base_offset, end, bytes: batch.bytes.len(), records }));
                }
                Err(error) => {
                    bad = Some(Undecodable { from: base_offset, to: end, reason: error.to_string() });
                    break;
                }
            }
        }
        stored.retain(|run| !run.is_empty());
        if let Some(last) = decoded.last().filter(|_| bad.is_none()) {
            self.keep_ahead(partition, Ahead { batch: Arc::clone(last), stored: stored.into() });
        }
        Ok((decoded, bad))
    }

    /// A group has gone on to `offset`: nothing below it will be wanted soon.
    pub(crate) fn leave_behind(&self, partition: PartitionId, offset: u64) {
        let mut ahead = self.ahead.lock();
        if ahead.of.get(&partition).is_some_and(|ahead| ahead.stored.is_empty() && ahead.batch.end <= offset) {
            ahead.remove(partition);
        }
    }

    fn keep_ahead(&self, partition: PartitionId, ahead: Ahead) {
        let worth_it = ahead.batch.records.len() > 1 || !ahead.stored.is_empty();
        if !worth_it || ahead.bytes() > MAX_AHEAD_BYTES {
            return;
        }
        self.ahead.lock().insert(partition, ahead, self.config.index_cache_bytes / 2);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::group::{GroupConfig, LeaseRequest};
    use crate::store::Environment;
    use crate::{Engine, EngineConfig, GroupName, TopicConfig, TopicName, Write};

    /// A batch may be a small part of the memory it was read into, so nothing is kept that nobody will come for.
    #[tokio::test]
    async fn what_was_handed_out_to_its_end_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let config = EngineConfig { segment_bytes: 4 << 20, ..EngineConfig::default() };
        let engine = Engine::open_manual(config, Environment::local(directory.path()).unwrap()).unwrap().0;
        let topic = TopicName::new("default", "topic").unwrap();
        let partition = engine.create_topic(topic.clone(), 1, TopicConfig::default()).unwrap().0.partitions[0];
        let group = GroupName::new("default", "group").unwrap();
        drop(
            engine.create_group(group.clone(), GroupConfig { topics: vec![topic], ..GroupConfig::default() }).unwrap(),
        );
        for _ in 0..2 {
            let records = vec![Record { value: Some("value".into()), ..Record::default() }; 3];
            drop(engine.append(vec![Write::new(partition, Batch::pack(&records).unwrap())]).await);
        }
        engine.turn().unwrap();
        let consumer = engine.new_consumer();
        let request = |max_messages| LeaseRequest {
            consumer,
            max_messages,
            max_bytes: 1 << 20,
            deadline: None,
            acknowledge: false,
            waited: false,
        };
        for (asked, kept) in [(2, true), (1, true), (2, true), (1, false)] {
            assert_eq!(engine.lease(&group, request(asked)).await.unwrap().len(), asked);
            let ahead = engine.shard.ahead.lock();
            assert_eq!((ahead.of.contains_key(&partition), ahead.bytes > 0), (kept, kept));
        }
    }
}
