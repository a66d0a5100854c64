//! The engine's public face: open, manage topics and groups, append, read, lease, settle, close.

use std::time::Duration;

use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

use crate::batch::Batch;
use crate::group::{
    Committed, ConsumerId, Delivery, GroupConfig, GroupInfo, LeaseRequest, OffsetCommit, PartitionLag, Settlement,
};
use crate::store::Environment;
use crate::{Durability, EngineConfig, Error, GroupName, PartitionId, Result, Topic, TopicConfig, TopicName};

/// One open data directory. Clones share it.
#[derive(Clone)]
pub struct Engine {
    _private: Arc<()>,
}

/// What was found and done when the engine was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Log bytes replayed after the newest snapshot.
    pub replayed_bytes: u64,
    /// Bytes of an unfinished last write that were cut off; they were never acknowledged as durable.
    pub torn_bytes: u64,
    /// How long opening took.
    pub took: Duration,
}

/// One batch for one partition, or for several that will share the stored bytes.
#[derive(Debug, Clone)]
pub struct Write {
    /// Where to: almost always one.
    pub partitions: Vec<PartitionId>,
    /// The batch; its base offset is replaced.
    pub batch: Batch,
    /// Free-form idempotency key, if the publisher gave one.
    pub dedupe: Option<DedupeKey>,
    /// Deliver not before this wall-clock time (ms since the Unix epoch): the batch gets its offset only then.
    pub deliver_at_ms: Option<i64>,
}

impl Write {
    /// A plain write to one partition.
    #[must_use]
    pub fn new(partition: PartitionId, batch: Batch) -> Self {
        Self { partitions: vec![partition], batch, dedupe: None, deliver_at_ms: None }
    }
}

/// A free-form idempotency key and a digest of what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DedupeKey {
    /// Scope and key, hashed by the caller (128 bits of a good hash).
    pub key: u128,
    /// Digest of the body: the same key with another body is refused.
    pub body: u64,
}

/// Where one write went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the batch's first record in the (first) partition; none when the batch waits for its delivery time.
    pub base_offset: Option<u64>,
    /// Append time in ms since the Unix epoch, when the topic stamps records with it; otherwise -1.
    pub append_time_ms: i64,
    /// First offset kept in the partition.
    pub log_start: u64,
    /// The durability the write has when its [`Commit`] is done.
    pub durability: Durability,
    /// The write was recognised as a repeat; the offset is the first one's.
    pub duplicate: bool,
}

/// The outcome of [`Engine::append`]: a result per write in order, and the moment they are durable.
pub struct Appends {
    /// Per write: where it goes, or why not.
    pub results: Vec<Result<Appended>>,
    /// Done when every accepted write has the durability of its topic.
    pub commit: Commit,
}

/// Writes and progress that happen together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Atomic {
    /// Batches.
    pub writes: Vec<Write>,
    /// Offsets committed with them.
    pub offsets: Vec<(GroupName, Vec<OffsetCommit>)>,
    /// Leases settled with them; if one is gone nothing happens.
    pub settlements: Vec<(GroupName, Vec<Settlement>)>,
}

/// Resolves when what it stands for has the durability it was promised, or fails when that can never be.
/// Dropping it forgets about the answer, not about the write.
pub struct Commit {
    _private: (),
}

impl Commit {
    /// Waits.
    ///
    /// # Errors
    /// [`Error::Poisoned`] or [`Error::Closed`]: it is unknown whether the write survives.
    pub async fn wait(self) -> Result<()> {
        todo!()
    }
}

/// A partition at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionInfo {
    /// First offset kept.
    pub log_start: u64,
    /// Next offset a reader has not been able to see yet.
    pub high_watermark: u64,
    /// Stored bytes between the two, to the granularity of a batch.
    pub bytes: u64,
    /// Largest record timestamp, ms since the Unix epoch, or -1.
    pub max_timestamp_ms: i64,
}

/// Stored batches from one read.
#[derive(Debug, Clone)]
pub struct Read {
    /// Runs of whole batches in offset order, as stored, base offsets right. The first may begin below the offset asked for.
    pub batches: Vec<Bytes>,
    /// As [`PartitionInfo::high_watermark`].
    pub high_watermark: u64,
    /// As [`PartitionInfo::log_start`].
    pub log_start: u64,
}

/// The first record at or after a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOffset {
    /// Its offset.
    pub offset: u64,
    /// Its timestamp, ms since the Unix epoch.
    pub timestamp_ms: i64,
}

/// Wakes its owner when there is something new. See [`Engine::watch`] and [`Engine::watch_group`].
pub struct Watch {
    _private: (),
}

impl Watch {
    /// Returns when something watched has changed since the watch was made (at once if it had already), or the engine closes.
    pub async fn changed(&mut self) {
        todo!()
    }
}

#[allow(unused_variables, clippy::unused_async, clippy::todo, clippy::missing_errors_doc)]
impl Engine {
    /// Opens or creates the data directory: newest snapshot, then the log after it.
    pub fn open(config: EngineConfig, environment: Environment) -> Result<(Self, Recovery)> {
        todo!()
    }

    /// Writes everything admitted, a last snapshot and a mark of the clean end, and stops. Later calls fail with [`Error::Closed`].
    pub async fn close(&self) -> Result<()> {
        todo!()
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        todo!()
    }

    // ---- topics -------------------------------------------------------------------------------------------------

    /// Creates a topic with `partitions` partitions (at least 1).
    pub fn create_topic(&self, name: TopicName, partitions: u32, config: TopicConfig) -> Result<(Arc<Topic>, Commit)> {
        todo!()
    }

    /// Deletes a topic, its records and every group's progress on it.
    pub fn delete_topic(&self, name: &TopicName) -> Result<Commit> {
        todo!()
    }

    /// Replaces a topic's settings.
    pub fn alter_topic(&self, name: &TopicName, config: TopicConfig) -> Result<(Arc<Topic>, Commit)> {
        todo!()
    }

    /// Adds partitions until there are `partitions`. A topic never shrinks.
    pub fn grow_topic(&self, name: &TopicName, partitions: u32) -> Result<(Arc<Topic>, Commit)> {
        todo!()
    }

    /// A topic by name. Takes a read lock, allocates nothing.
    #[must_use]
    pub fn topic(&self, namespace: &str, name: &str) -> Option<Arc<Topic>> {
        todo!()
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        todo!()
    }

    /// Every topic of every namespace, ordered by namespace and name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        todo!()
    }

    /// Removes every record below `offset` (the high watermark if none).
    pub fn delete_records(&self, partition: PartitionId, offset: Option<u64>) -> Result<(u64, Commit)> {
        todo!()
    }

    // ---- publishing ---------------------------------------------------------------------------------------------

    /// Appends batches, each on its own: one failing does not touch the others. Waits while `pending_bytes` is used up.
    /// Calls made one after the other keep their order on every partition.
    pub async fn append(&self, writes: Vec<Write>) -> Appends {
        todo!()
    }

    /// Appends batches and progress together or not at all.
    pub async fn append_atomic(&self, atomic: Atomic) -> Result<(Vec<Appended>, Commit)> {
        todo!()
    }

    /// Allocates a producer id that no producer had before, durable when it returns.
    pub async fn allocate_producer_id(&self) -> Result<i64> {
        todo!()
    }

    // ---- reading ------------------------------------------------------------------------------------------------

    /// Whole batches from the one containing `offset` on, up to `max_bytes` (but always one batch if there is any).
    /// At the high watermark the result is empty.
    pub async fn read(&self, partition: PartitionId, offset: u64, max_bytes: usize) -> Result<Read> {
        todo!()
    }

    /// A partition's bounds.
    pub fn partition(&self, partition: PartitionId) -> Result<PartitionInfo> {
        todo!()
    }

    /// The first record whose timestamp is `timestamp_ms` or later.
    pub async fn offset_for_time(&self, partition: PartitionId, timestamp_ms: i64) -> Result<Option<TimedOffset>> {
        todo!()
    }

    /// The record with the largest timestamp.
    pub async fn offset_of_max_timestamp(&self, partition: PartitionId) -> Result<Option<TimedOffset>> {
        todo!()
    }

    /// Wakes when the high watermark of any partition is above the offset given with it (or the partition is gone).
    #[must_use]
    pub fn watch(&self, positions: &[(PartitionId, u64)]) -> Watch {
        todo!()
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    /// Creates a group.
    pub fn create_group(&self, name: GroupName, config: GroupConfig) -> Result<Commit> {
        todo!()
    }

    /// Replaces a group's settings; its progress stays.
    pub fn alter_group(&self, name: &GroupName, config: GroupConfig) -> Result<Commit> {
        todo!()
    }

    /// Deletes a group and its progress. Refused with [`Error::GroupMode`] while it has assigned members.
    pub fn delete_group(&self, name: &GroupName) -> Result<Commit> {
        todo!()
    }

    /// A group by name.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<GroupInfo> {
        todo!()
    }

    /// Every group, ordered by namespace and name.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupInfo> {
        todo!()
    }

    /// Marks the group as assigned (a coordinator has members in it) or no longer so. Not durable. Creates the group if needed.
    /// Refused with [`Error::GroupMode`] while leases are outstanding.
    pub fn set_assigned(&self, name: &GroupName, assigned: bool) -> Result<()> {
        todo!()
    }

    /// Commits offsets; a group that does not exist is created.
    pub fn commit_offsets(&self, name: &GroupName, offsets: Vec<OffsetCommit>) -> Result<Commit> {
        todo!()
    }

    /// Forgets committed offsets of partitions.
    pub fn delete_offsets(&self, name: &GroupName, partitions: &[PartitionId]) -> Result<Commit> {
        todo!()
    }

    /// Committed progress, by partition.
    pub fn committed(&self, name: &GroupName) -> Result<Vec<Committed>> {
        todo!()
    }

    /// Moves the group on a partition: leases there are dropped, acknowledgements at and above `offset` forgotten.
    pub fn seek(&self, name: &GroupName, positions: &[(PartitionId, u64)]) -> Result<Commit> {
        todo!()
    }

    /// Leases records to a consumer; empty when there is none to give. Wait with [`Engine::watch_group`].
    pub async fn lease(&self, name: &GroupName, request: LeaseRequest) -> Result<Vec<Delivery>> {
        todo!()
    }

    /// Settles leases: a result for each, in order, and the moment they are durable.
    pub fn settle(&self, name: &GroupName, settlements: Vec<Settlement>) -> Result<(Vec<Result<()>>, Commit)> {
        todo!()
    }

    /// Returns every lease of a consumer, uncounted.
    pub fn release_consumer(&self, name: &GroupName, consumer: ConsumerId) -> Result<()> {
        todo!()
    }

    /// A consumer id nobody else has.
    #[must_use]
    pub fn new_consumer(&self) -> ConsumerId {
        todo!()
    }

    /// Lag per partition of the group's topics and of every partition it has progress on.
    pub fn lag(&self, name: &GroupName) -> Result<Vec<PartitionLag>> {
        todo!()
    }

    /// Wakes when the group may have records to lease: something written, returned, or due after its delay.
    #[must_use]
    pub fn watch_group(&self, name: &GroupName) -> Watch {
        todo!()
    }
}

#[allow(dead_code)]
fn _unused(_: Error) {}
