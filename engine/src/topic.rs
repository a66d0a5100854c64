//! A topic as its users see it: an immutable snapshot, replaced whole when the topic changes.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{PartitionId, TopicConfig, TopicName};

/// A topic at one moment. Cheap to share; ask the engine again to see later changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Never reused, so a topic deleted and created again is another topic (Kafka's topic id, KIP-516).
    pub id: Uuid,
    /// Namespace and name.
    pub name: TopicName,
    /// What the topic was created or last altered with.
    pub config: TopicConfig,
    /// The engine's partition of each partition index, in order.
    pub partitions: Vec<PartitionId>,
    /// When it was created, in milliseconds since the Unix epoch.
    pub created_at_ms: i64,
}

impl Topic {
    /// The engine's partition for a partition index, if the topic has that many.
    #[must_use]
    pub fn partition(&self, index: u32) -> Option<PartitionId> {
        self.partitions.get(index as usize).copied()
    }
}
