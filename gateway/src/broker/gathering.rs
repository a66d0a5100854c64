//! Messages that came together, gathered into as few writes as may be: one for each partition.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_engine::batch::{Batch, HEADER_BYTES, Record};
use tidegate_engine::{Appended, DedupeKey, PartitionId, Topic, Write};

use super::draft::{dedupe_key, first_u64};
use super::{Draft, Place, Result};

/// Messages on their way into writes.
pub struct Gathering<'a> {
    namespace: &'a str,
    /// Idempotency key of the whole.
    key: Option<Bytes>,
    now_ms: i64,
    groups: Vec<Group>,
    /// Of each partition, the group that takes further messages.
    open: HashMap<PartitionId, usize>,
    /// The same of the partition that had the last message: often the next one goes there too.
    last: Option<(PartitionId, usize)>,
}

/// Messages that go to one partition in one batch.
pub struct Group {
    /// Their topic.
    pub topic: Arc<Topic>,
    /// Their partition.
    pub place: Place,
    /// Which messages they are, as they were numbered.
    pub positions: Vec<usize>,
    records: Vec<Record>,
    bytes: usize,
    hasher: Option<Box<blake3::Hasher>>,
    dedupe: Option<DedupeKey>,
    deliver_at_ms: Option<i64>,
}

impl<'a> Gathering<'a> {
    /// Nothing yet. An idempotency key covers the whole.
    #[must_use]
    pub fn new(namespace: &'a str, key: Option<Bytes>, now_ms: i64) -> Self {
        Self { namespace, key, now_ms, groups: Vec::new(), open: HashMap::new(), last: None }
    }

    /// The idempotency key of the whole.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// What was gathered.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Puts a message into a group: with others of its partition if it may, and always after them.
    pub fn add(&mut self, position: usize, topic: &Arc<Topic>, place: Place, draft: Draft) {
        let dedupe =
            draft.idempotency_key.as_deref().map(|key| draft.dedupe(self.namespace, topic.name.name(), key, 0));
        let digest = self.key.as_ref().map(|_| draft.digest());
        let (record, deliver_at_ms) = draft.into_record(self.now_ms);
        let alone = dedupe.is_some() || deliver_at_ms.is_some();
        let bytes = packed_bytes(&record);
        let last = self.last.filter(|(id, _)| *id == place.id).map(|(_, index)| index);
        let open = last.or_else(|| self.open.get(&place.id).copied());
        let max_bytes = topic.config.max_message_bytes as usize;
        let joined = open.filter(|index| !alone && self.groups[*index].bytes + bytes <= max_bytes);
        let index = joined.unwrap_or_else(|| {
            let next = self.groups.len();
            if alone {
                self.open.remove(&place.id);
            } else {
                self.open.insert(place.id, next);
            }
            self.groups.push(Group::new(topic, place, dedupe, deliver_at_ms));
            next
        });
        self.last = (!alone).then_some((place.id, index));
        let group = &mut self.groups[index];
        group.positions.push(position);
        group.records.push(record);
        group.bytes += bytes;
        if let Some(digest) = digest {
            group.hasher.get_or_insert_default().update(&digest.to_le_bytes());
        }
    }

    /// The writes, one for each group in order.
    ///
    /// # Errors
    /// [`super::Kind::Invalid`] for a message that no batch can hold.
    pub fn writes(&self) -> Result<Vec<Write>> {
        let write = |(part, group): (u64, &Group)| {
            let batch = Batch::pack(&group.records)?;
            let dedupe = group.dedupe.clone().or_else(|| self.dedupe_group(group, part));
            Ok(Write { partitions: vec![group.place.id], batch, dedupe, deliver_at_ms: group.deliver_at_ms })
        };
        (0..).zip(&self.groups).map(write).collect()
    }

    /// The idempotency key of the whole covers each of its writes; sent again, it falls into the same writes. They are
    /// counted from 1: 0 is a message's own.
    fn dedupe_group(&self, group: &Group, part: u64) -> Option<DedupeKey> {
        let key = dedupe_key(self.namespace, group.topic.name.name(), self.key.as_deref()?, part + 1);
        Some(DedupeKey { key, body: first_u64(&group.hasher.as_ref()?.finalize()) })
    }
}

impl Group {
    fn new(topic: &Arc<Topic>, place: Place, dedupe: Option<DedupeKey>, deliver_at_ms: Option<i64>) -> Self {
        Self {
            topic: Arc::clone(topic),
            place,
            positions: Vec::new(),
            records: Vec::new(),
            bytes: HEADER_BYTES,
            hasher: None,
            dedupe,
            deliver_at_ms,
        }
    }

    /// The stored timestamp of the group's nth message.
    #[must_use]
    pub fn timestamp_ms(&self, appended: &Appended, nth: usize) -> Option<i64> {
        stored_timestamp_ms(appended, self.records.get(nth)?.timestamp_ms)
    }
}

/// The stored timestamp of a message. That of a repeat is the first one's, which the write does not tell.
#[must_use]
pub fn stored_timestamp_ms(appended: &Appended, sent_ms: i64) -> Option<i64> {
    match appended.append_time_ms {
        _ if appended.duplicate => None,
        stamped if stamped >= 0 => Some(stamped),
        _ => Some(sent_ms),
    }
}

/// Not more than the record takes in a batch.
fn packed_bytes(record: &Record) -> usize {
    // Lengths and deltas are variable-length integers of at most 5 and 10 bytes.
    const RECORD_OVERHEAD: usize = 40;
    record.size() + RECORD_OVERHEAD
}
