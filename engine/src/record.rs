//! Changes of state, as they are written to the log between the batches.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::group::{GroupConfig, GroupRecord};
use crate::{Error, GroupName, PartitionId, Result, Topic};

/// One change of state. Stored in postcard's encoding: variants and fields are only ever added at the end of the
/// enum, as new variants, because what was written must stay readable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum StateRecord {
    /// A topic was created, altered or grown: the whole of it as it now is.
    TopicSet(Topic),
    /// A topic was deleted.
    TopicDeleted(Uuid),
    /// A partition's first kept offset moved.
    LogStart { partition: PartitionId, offset: u64 },
    /// A group was created or its settings replaced.
    GroupSet { name: GroupName, config: GroupConfig },
    /// A group was deleted.
    GroupDeleted(GroupName),
    /// A group's progress changed.
    Group { name: GroupName, record: GroupRecord },
    /// Producer ids below `next` may have been handed out.
    ProducerIds { next: i64 },
    /// An idempotency key was used for the write next to this record.
    Dedupe { key: u128, body: u64, partition: PartitionId, base_offset: Option<u64>, at_ms: i64 },
    /// The batch at `offset` of the schedule's own partition waits for its time.
    Scheduled { offset: u64, due_ms: i64, targets: Vec<PartitionId> },
    /// It was delivered, or there was nobody left to deliver it to.
    ScheduledDone { offset: u64 },
    /// A table's key has this value, or none any more.
    TableSet { table: String, key: String, value: Option<Vec<u8>> },
}

impl StateRecord {
    pub(crate) fn encode(&self) -> Result<Bytes> {
        postcard::to_stdvec(self)
            .map(Bytes::from)
            .map_err(|e| Error::Invalid(format!("a state record does not encode: {e}")))
    }

    /// None when the bytes were written by a version that knows more.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}
