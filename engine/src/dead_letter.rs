//! Records that a group gave up: copied to its dead-letter topic together with what ends them for the group.

use std::time::Duration;

use bytes::Bytes;

use crate::ahead::{Credit, Undecodable};
use crate::batch::{Batch, Header, Headers, Record};
use crate::counters::Counters;
use crate::group::{DeadLetter, Death, LeaseId, key_hash};
use crate::log::Entry;
use crate::record::StateRecord;
use crate::shard::{Haste, Inner, Kind, Origin, Shard};
use crate::{Durability, Error, GroupName, PartitionId, Result, TopicName, Write, header_names};

impl Shard {
    /// Dead letters are copied by maintenance, because that may have to read the disk.
    pub(crate) fn queue_dead_letters(&self, inner: &mut Inner, name: &GroupName, letters: Vec<DeadLetter>) {
        if !letters.is_empty() {
            inner.dead_letters.extend(letters.into_iter().map(|letter| (name.clone(), letter)));
            self.wake_at(inner, Duration::ZERO);
        }
    }

    /// Copies records that were given up to their groups' dead-letter topics. Called by maintenance.
    pub(crate) fn bury_dead_letters(&self) {
        let letters = std::mem::take(&mut self.lock().dead_letters);
        for (name, letter) in letters {
            match self.bury(&name, &letter) {
                Ok(()) => Counters::add(&self.counters.dead_lettered, 1),
                // The lease expires and the record comes round again: nothing is lost.
                Err(error) => {
                    tracing::warn!(%error, group = %name, "a record could not be dead-lettered; it will be tried again")
                }
            }
        }
    }

    fn bury(&self, name: &GroupName, letter: &DeadLetter) -> Result<()> {
        let LeaseId { partition, offset, .. } = letter.lease;
        let read = self.load(self.plan_read(partition, offset, 1)?)?.read;
        let (decoded, bad) = self.decode(partition, offset, read.batches, Credit { messages: 1, bytes: 1 })?;
        if let Some(Undecodable { reason, .. }) = bad {
            return Err(Error::BadBatch(reason));
        }
        let record = decoded.iter().flat_map(|batch| &batch.records).find(|record| record.offset == offset);
        let mut inner = self.lock();
        let group = inner.state.group(name)?;
        let Some(done) = group.dead_lettered(std::slice::from_ref(letter)) else { return Ok(()) };
        let mut entries = Vec::new();
        if let (Some(record), Some(topic)) = (record, group.config().dead_letter.clone()) {
            let copy = dead_letter_copy(&inner, name, letter, record)?;
            let target = dead_letter_partition(&inner, &topic, record)?;
            self.append_all(&mut inner, vec![Write::new(target, copy)], Origin::Engine, &mut entries)?;
        }
        let done = StateRecord::Group { name: name.clone(), record: done };
        entries.push(Entry::State(done.encode()?));
        inner.state.apply(&done);
        // In a group ordered by key, the record may have kept others of its key back.
        self.after_return(&mut inner, name);
        drop(self.queue(&mut inner, entries, Kind::Both, Durability::Fsync, Haste::Awaited, None));
        Ok(())
    }
}

fn dead_letter_partition(inner: &Inner, topic: &TopicName, record: &Record) -> Result<PartitionId> {
    let found = inner.state.topic(topic.namespace(), topic.name()).ok_or_else(|| Error::UnknownTopic(topic.clone()))?;
    let spread = record.key.as_deref().map_or(record.offset, key_hash);
    let index = usize::try_from(spread % found.partitions.len().max(1) as u64).unwrap_or(0);
    found.partitions.get(index).copied().ok_or(Error::UnknownPartition)
}

/// The record as it was, with headers that say where it came from and why it was given up.
fn dead_letter_copy(inner: &Inner, name: &GroupName, letter: &DeadLetter, record: &Record) -> Result<Batch> {
    let partition = inner.state.partition(letter.lease.partition)?;
    let death: &str = match letter.death {
        Death::Rejected => "rejected",
        Death::DeliveryLimit => "delivery-limit",
        Death::Expired => "expired",
    };
    let reason = letter.reason.clone().unwrap_or_else(|| Bytes::from_static(death.as_bytes()));
    let topic = partition.topic.as_ref().map(|topic| topic.name.to_string()).unwrap_or_default();
    let said = [
        (header_names::DEAD_LETTER_REASON, reason),
        (header_names::DEAD_LETTER_TOPIC, Bytes::from(topic)),
        (header_names::DEAD_LETTER_PARTITION, Bytes::from(partition.index.to_string())),
        (header_names::DEAD_LETTER_OFFSET, Bytes::from(record.offset.to_string())),
        (header_names::DEAD_LETTER_ATTEMPTS, Bytes::from(letter.attempts.to_string())),
        (header_names::DEAD_LETTER_GROUP, Bytes::from(name.to_string())),
    ];
    // Given up again: the last story is the one that counts. Its time to live is over, so it goes too.
    let is_replaced = |header: &Header<'_>| {
        let mut names = said.iter().map(|(name, _)| *name).chain([header_names::TTL_MS]);
        names.any(|name| header.name == name.as_bytes())
    };
    let mut headers: Headers = record.headers.iter().filter(|header| !is_replaced(header)).collect();
    said.iter().for_each(|(name, value)| headers.push(name, Some(value)));
    Batch::pack(&[Record { headers, ..record.clone() }])
}
