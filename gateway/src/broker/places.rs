//! Partitions by their index, and positions on them by an end or a time.

use std::collections::HashMap;

use tidegate_engine::{PartitionId, Topic};

use super::{Broker, Draft, Error, Kind, Principal, Result};

/// A partition: its index in its topic and the engine's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Counted from 0.
    pub index: u32,
    /// Unique in the engine.
    pub id: PartitionId,
}

/// A position that every partition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The first record kept.
    Earliest,
    /// The next record to be stored.
    Latest,
    /// The first record at this time (ms since the Unix epoch) or later; where there is none, the end.
    Time(i64),
}

impl Place {
    /// A partition by its index.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn find(topic: &Topic, index: u32) -> Result<Self> {
        let id = topic.partition(index).ok_or_else(|| {
            let count = topic.partitions.len();
            let name = &topic.name;
            let words = format!("topic '{name}' has {count} partitions, counted from 0: there is no partition {index}");
            Error::new(Kind::NotFound, words)
        })?;
        Ok(Self { index, id })
    }

    /// Every partition of a topic, in order.
    pub fn all(topic: &Topic) -> impl Iterator<Item = Self> {
        topic.partitions.iter().zip(0..).map(|(id, index)| Self { index, id: *id })
    }
}

impl Broker {
    /// Where a message goes. A message that may be sent again must find the same partition again: without a key of its own
    /// it goes by its idempotency key, or that of its batch.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a partition that is not there.
    pub fn place_draft(&self, topic: &Topic, draft: &Draft, batch_key: Option<&[u8]>) -> Result<Place> {
        match draft.partition {
            Some(index) => Place::find(topic, index),
            None => Ok(self.place(topic, draft.key.as_deref().or(draft.idempotency_key.as_deref()).or(batch_key))),
        }
    }

    /// The offset of a position.
    ///
    /// # Errors
    /// As [`Broker::read`].
    pub async fn offset_at(&self, partition: PartitionId, anchor: Anchor) -> Result<u64> {
        let info = self.partition(partition)?;
        Ok(match anchor {
            Anchor::Earliest => info.log_start,
            Anchor::Latest => info.high_watermark,
            Anchor::Time(at_ms) => {
                let found = self.offset_for_time(partition, at_ms).await?;
                found.map_or(info.high_watermark, |found| found.offset)
            }
        })
    }

    /// The topic and index of every partition the principal may read.
    #[must_use]
    pub(super) fn partition_names(&self, principal: &Principal) -> HashMap<PartitionId, (String, u32)> {
        let topics = self.topics(principal);
        let named = topics
            .iter()
            .flat_map(|topic| Place::all(topic).map(|place| (place.id, (topic.name.name().to_owned(), place.index))));
        named.collect()
    }
}
