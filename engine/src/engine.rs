//! The engine's public face: open, manage topics and groups, append, read, lease, settle, close.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use uuid::Uuid;

use crate::commit::{Commit, Watch};
use crate::counters::Counters;
use crate::group::{
    Committed, ConsumerId, Delivery, GroupConfig, GroupInfo, LeaseId, LeaseRequest, OffsetCommit, PartitionLag,
    Settlement,
};
use crate::record::StateRecord;
use crate::shard::Shard;
use crate::store::Environment;
use crate::{
    Appended, Appends, Atomic, EngineConfig, Error, GroupName, PartitionId, PartitionInfo, Read, Recovery, Result,
    TimedOffset, Topic, TopicConfig, TopicName, Usage, Write,
};

/// Producer ids are taken from the log in blocks of so many.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// One open data directory. Clones share it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shard: Arc<Shard>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    producer_ids: Arc<Mutex<std::ops::Range<i64>>>,
    next_consumer: Arc<AtomicU64>,
}

impl Engine {
    /// Opens or creates the data directory: newest snapshot, then the log after it. Starts the committer and maintenance.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Format`], [`Error::Locked`], [`Error::Io`]: nothing was changed beyond cutting an unfinished write.
    pub fn open(config: EngineConfig, environment: Environment) -> Result<(Self, Recovery)> {
        let (engine, recovery) = Self::open_manual(config, environment)?;
        let committer = Arc::clone(&engine.shard);
        let maintenance = Arc::clone(&engine.shard);
        let reclaim = Arc::clone(&engine.shard);
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|e| Error::io("starting a thread", &e))
        };
        let threads = vec![
            spawn("committer", Box::new(move || committer.run_committer()))?,
            spawn("maintenance", Box::new(move || maintenance.run_maintenance()))?,
            spawn("reclaim", Box::new(move || reclaim.run_reclaim()))?,
        ];
        *engine.threads.lock() = threads;
        Ok((engine, recovery))
    }

    /// Opens without any thread: nothing is committed before [`Engine::turn`], nothing maintained before
    /// [`Engine::maintain`]. Deterministic, for simulation.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn open_manual(config: EngineConfig, environment: Environment) -> Result<(Self, Recovery)> {
        let (shard, recovery) = Shard::open(config, environment)?;
        let engine = Self {
            shard: Arc::new(shard),
            threads: Arc::default(),
            producer_ids: Arc::new(Mutex::new(0..0)),
            next_consumer: Arc::new(AtomicU64::new(1)),
        };
        Ok((engine, recovery))
    }

    /// Commits what is queued, once. False when there was nothing to do.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: what did not fit is still queued. Any other: the engine is poisoned.
    pub fn turn(&self) -> Result<bool> {
        self.shard.turn()
    }

    /// Does what maintenance and reclaim do in one round: retention, timers, lease expiry, snapshot, rewriting.
    ///
    /// # Errors
    /// Why space could not be reclaimed.
    pub fn maintain(&self) -> Result<()> {
        self.shard.maintain();
        self.shard.reclaim()
    }

    /// Writes everything admitted, a last snapshot and a mark of the clean end, and stops. Later calls fail with [`Error::Closed`].
    ///
    /// # Errors
    /// [`Error::Poisoned`], [`Error::DiskFull`]: what was acknowledged is safe all the same.
    pub async fn close(&self) -> Result<()> {
        let shard = Arc::clone(&self.shard);
        let threads = std::mem::take(&mut *self.threads.lock());
        if threads.is_empty() {
            return shard.close();
        }
        let closing = tokio::task::spawn_blocking(move || {
            let closed = shard.close();
            threads.into_iter().for_each(|thread| drop(thread.join()));
            closed
        });
        closing.await.unwrap_or(Err(Error::Closed))
    }

    /// Whether it was opened without threads.
    pub(crate) fn is_manual(&self) -> bool {
        self.threads.lock().is_empty()
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.shard.config
    }

    /// Totals since it was opened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shard.counters
    }

    /// What it holds now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.shard.usage()
    }

    // ---- topics -------------------------------------------------------------------------------------------------

    /// Creates a topic with `partitions` partitions (at least 1).
    ///
    /// # Errors
    /// [`Error::TopicExists`], [`Error::Invalid`], [`Error::LimitReached`], or why nothing can be written.
    pub fn create_topic(&self, name: TopicName, partitions: u32, config: TopicConfig) -> Result<(Arc<Topic>, Commit)> {
        let mut inner = self.shard.lock();
        if inner.state.topic(name.namespace(), name.name()).is_some() {
            return Err(Error::TopicExists(name));
        }
        if inner.state.topic_count() >= self.config().max_topics {
            return Err(Error::LimitReached { setting: "max_topics", limit: self.config().max_topics });
        }
        let id = self.shard.topic_id(&inner, &name);
        let topic =
            Topic { id, name, config, partitions: Vec::new(), created_at_ms: self.shard.environment.clock.now_ms() };
        self.shard.set_topic(&mut inner, topic, partitions)
    }

    /// Deletes a topic, its records and every group's progress on it.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], or why nothing can be written.
    pub fn delete_topic(&self, name: &TopicName) -> Result<Commit> {
        let mut inner = self.shard.lock();
        let topic = known(inner.state.topic(name.namespace(), name.name()), name)?;
        self.shard.change_all(&mut inner, vec![StateRecord::TopicDeleted(topic.id)], crate::Durability::Fsync)
    }

    /// Replaces a topic's settings.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::Invalid`], or why nothing can be written.
    pub fn alter_topic(&self, name: &TopicName, config: TopicConfig) -> Result<(Arc<Topic>, Commit)> {
        let mut inner = self.shard.lock();
        let topic = known(inner.state.topic(name.namespace(), name.name()), name)?;
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        self.shard.set_topic(&mut inner, Topic { config, ..Topic::clone(&topic) }, count)
    }

    /// Adds partitions until there are `partitions`. A topic never shrinks.
    ///
    /// # Errors
    /// [`Error::UnknownTopic`], [`Error::Invalid`] when it has as many or more, [`Error::LimitReached`], or why nothing can be written.
    pub fn grow_topic(&self, name: &TopicName, partitions: u32) -> Result<(Arc<Topic>, Commit)> {
        let mut inner = self.shard.lock();
        let topic = known(inner.state.topic(name.namespace(), name.name()), name)?;
        if partitions as usize <= topic.partitions.len() {
            let has = topic.partitions.len();
            return Err(Error::Invalid(format!(
                "topic '{name}' has {has} partitions; ask for more than that, a topic cannot shrink"
            )));
        }
        self.shard.set_topic(&mut inner, Topic::clone(&topic), partitions)
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, namespace: &str, name: &str) -> Option<Arc<Topic>> {
        self.shard.lock().state.topic(namespace, name).cloned()
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.shard.lock().state.topic_by_id(id).cloned()
    }

    /// Every topic of every namespace, ordered by namespace and name.
    #[must_use]
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.shard.lock().state.topics().cloned().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Removes every record below `offset` (below the high watermark if none). Returns the new log start.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`], [`Error::OffsetOutOfRange`], or why nothing can be written.
    pub fn delete_records(&self, partition: PartitionId, offset: Option<u64>) -> Result<(u64, Commit)> {
        let mut inner = self.shard.lock();
        let found = inner.state.partition(partition)?;
        let offset = offset.unwrap_or(found.high_watermark);
        if offset > found.high_watermark {
            return Err(Error::OffsetOutOfRange { offset, log_start: found.log_start, end: found.high_watermark });
        }
        let offset = offset.max(found.log_start);
        let commit = self.shard.change_all(
            &mut inner,
            vec![StateRecord::LogStart { partition, offset }],
            crate::Durability::Fsync,
        )?;
        Ok((offset, commit))
    }

    // ---- publishing ---------------------------------------------------------------------------------------------

    /// Appends batches, each on its own: one failing does not touch the others. Waits while `pending_bytes` is used up.
    /// Calls made one after the other keep their order on every partition.
    pub async fn append(&self, writes: Vec<Write>) -> Appends {
        let budget = self.shard.admit(writes.iter().map(|write| write.batch.bytes.len()).sum()).await;
        let (results, commit) = self.shard.append(writes, budget, true);
        Appends { results, commit }
    }

    /// Appends batches for a publisher that is told nothing of it but a refusal: a result for each, in order. What goes to
    /// topics of [`crate::Durability::Memory`] only is written, and can be read, when somebody waits to read it, or within
    /// `lazy_commit`; [`Engine::sync`] waits for it. Otherwise as [`Engine::append`].
    pub async fn append_untold(&self, writes: Vec<Write>) -> Vec<Result<Appended>> {
        let budget = self.shard.admit(writes.iter().map(|write| write.batch.bytes.len()).sum()).await;
        self.shard.append(writes, budget, false).0
    }

    /// Appends batches and progress together or not at all.
    ///
    /// # Errors
    /// The first reason why not; nothing happened then.
    pub async fn append_atomic(&self, atomic: Atomic) -> Result<(Vec<Appended>, Commit)> {
        let budget = self.shard.admit(atomic.writes.iter().map(|write| write.batch.bytes.len()).sum()).await;
        self.shard.append_atomic(atomic, budget)
    }

    /// Done when everything appended, settled and changed before it is on stable storage, whatever durability it asked for,
    /// and can be read.
    ///
    /// # Errors
    /// Why nothing can be written.
    pub fn sync(&self) -> Result<Commit> {
        self.shard.change_all(&mut self.shard.lock(), Vec::new(), crate::Durability::Fsync)
    }

    /// Allocates a producer id that no producer had before, durable when it returns.
    ///
    /// # Errors
    /// Why nothing can be written.
    pub async fn allocate_producer_id(&self) -> Result<i64> {
        if let Some(id) = self.producer_ids.lock().next() {
            return Ok(id);
        }
        let (first, commit) = {
            let mut inner = self.shard.lock();
            let first = inner.state.next_producer_id;
            let records = vec![StateRecord::ProducerIds { next: first + PRODUCER_ID_BLOCK }];
            (first, self.shard.change_all(&mut inner, records, crate::Durability::Fsync)?)
        };
        commit.wait().await?;
        *self.producer_ids.lock() = first + 1..first + PRODUCER_ID_BLOCK;
        Ok(first)
    }

    // ---- reading ------------------------------------------------------------------------------------------------

    /// Whole batches from the one containing `offset` on, up to `max_bytes` (but always one batch if there is any).
    /// At the high watermark the result is empty.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`], [`Error::OffsetOutOfRange`], [`Error::Corrupt`], [`Error::Io`].
    pub async fn read(&self, partition: PartitionId, offset: u64, max_bytes: usize) -> Result<Read> {
        let plan = self.shard.plan_read(partition, offset, max_bytes)?;
        if plan.is_cached() {
            return Ok(self.shard.load(plan)?.read);
        }
        self.read_on(partition, offset, max_bytes, plan).await
    }

    /// A partition's bounds.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`].
    pub fn partition(&self, partition: PartitionId) -> Result<PartitionInfo> {
        let inner = self.shard.lock();
        let found = inner.state.partition(partition)?;
        Ok(PartitionInfo {
            log_start: found.log_start,
            high_watermark: found.high_watermark,
            bytes: found.bytes_from(found.log_start),
            max_timestamp_ms: found.max_timestamp_ms,
        })
    }

    /// The first record whose timestamp is `timestamp_ms` or later.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub async fn offset_for_time(&self, partition: PartitionId, timestamp_ms: i64) -> Result<Option<TimedOffset>> {
        self.blocking(move |shard| shard.find_time(partition, timestamp_ms)).await
    }

    /// The record with the largest timestamp.
    ///
    /// # Errors
    /// As [`Engine::read`].
    pub async fn offset_of_max_timestamp(&self, partition: PartitionId) -> Result<Option<TimedOffset>> {
        self.blocking(move |shard| shard.find_max_timestamp(partition)).await
    }

    /// Wakes when the high watermark of any partition is above the offset given with it (or the partition is gone).
    #[must_use]
    pub fn watch(&self, positions: &[(PartitionId, u64)]) -> Watch {
        Watch::partitions(&self.shard, positions)
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    /// Creates a group.
    ///
    /// # Errors
    /// [`Error::GroupExists`], [`Error::UnknownTopic`], [`Error::LimitReached`], or why nothing can be written.
    pub fn create_group(&self, name: GroupName, config: GroupConfig) -> Result<Commit> {
        self.shard.create_group(name, config)
    }

    /// Replaces a group's settings; its progress stays.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], [`Error::UnknownTopic`], or why nothing can be written.
    pub fn alter_group(&self, name: &GroupName, config: GroupConfig) -> Result<Commit> {
        self.shard.alter_group(name, config)
    }

    /// Deletes a group and its progress.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], [`Error::GroupMode`] while it has assigned members, or why nothing can be written.
    pub fn delete_group(&self, name: &GroupName) -> Result<Commit> {
        self.shard.delete_group(name)
    }

    /// A group by name.
    #[must_use]
    pub fn group(&self, name: &GroupName) -> Option<GroupInfo> {
        self.shard.lock().state.groups.get(name).map(crate::group::Group::info)
    }

    /// Every group, ordered by namespace and name.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupInfo> {
        self.shard.lock().state.groups.values().map(crate::group::Group::info).collect()
    }

    /// Marks the group as assigned (a coordinator has members in it) or no longer so. Not durable. Creates the group if needed.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while leases are outstanding.
    pub fn set_assigned(&self, name: &GroupName, assigned: bool) -> Result<()> {
        self.shard.set_assigned(name, assigned)
    }

    /// Commits offsets; a group that does not exist is created.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while leases are outstanding, [`Error::UnknownPartition`], or why nothing can be written.
    pub fn commit_offsets(&self, name: &GroupName, offsets: Vec<OffsetCommit>) -> Result<Commit> {
        self.shard.commit_offsets(name, offsets)
    }

    /// Forgets committed offsets of partitions.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], or why nothing can be written.
    pub fn delete_offsets(&self, name: &GroupName, partitions: &[PartitionId]) -> Result<Commit> {
        self.shard.delete_offsets(name, partitions)
    }

    /// Committed progress, by partition.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`].
    pub fn committed(&self, name: &GroupName) -> Result<Vec<Committed>> {
        Ok(self.shard.lock().state.group(name)?.committed())
    }

    /// Moves the group on partitions: leases there are dropped, acknowledgements at and above the offset forgotten.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], [`Error::GroupMode`] while it has assigned members, [`Error::OffsetOutOfRange`], or why nothing can be written.
    pub fn seek(&self, name: &GroupName, positions: &[(PartitionId, u64)]) -> Result<Commit> {
        self.shard.seek(name, positions)
    }

    /// Acknowledges everything that no consumer holds: how many records that are, and the moment it is durable.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], [`Error::GroupMode`] while it has assigned members, or why nothing can be written.
    pub fn purge(&self, name: &GroupName) -> Result<(u64, Commit)> {
        self.shard.purge(name)
    }

    /// Leases records to a consumer; empty when there is none to give. Wait with [`Engine::watch_group`], made before asking.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], [`Error::GroupMode`] while it has assigned members, [`Error::Corrupt`], [`Error::Io`].
    pub async fn lease(&self, name: &GroupName, request: LeaseRequest) -> Result<Vec<Delivery>> {
        let engine = self.clone();
        crate::consume::lease(&engine, &self.shard, name, request).await
    }

    /// Settles leases: a result for each, in order, and the moment they are durable.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`], or why nothing can be written.
    pub fn settle(&self, name: &GroupName, settlements: Vec<Settlement>) -> Result<(Vec<Result<()>>, Commit)> {
        self.shard.settle(name, &settlements, true)
    }

    /// Settles leases for a consumer that is told nothing of it: a result for each, in order. They are written with what
    /// is written next, within milliseconds; [`Engine::sync`] waits for them. What a crash forgets is delivered again.
    ///
    /// # Errors
    /// As [`Engine::settle`].
    pub fn settle_untold(&self, name: &GroupName, settlements: &[Settlement]) -> Result<Vec<Result<()>>> {
        self.shard.settle(name, settlements, false).map(|(results, _)| results)
    }

    /// Whether none of these leases is settled, over or void.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`].
    pub fn holds(&self, name: &GroupName, leases: &[LeaseId]) -> Result<bool> {
        Ok(self.shard.lock().state.group_mut(name)?.holds(leases))
    }

    /// Returns every lease of a consumer, uncounted.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`].
    pub fn release_consumer(&self, name: &GroupName, consumer: ConsumerId) -> Result<()> {
        self.shard.release_consumer(name, consumer)
    }

    /// A consumer id nobody else has.
    #[must_use]
    pub fn new_consumer(&self) -> ConsumerId {
        ConsumerId(self.next_consumer.fetch_add(1, Ordering::Relaxed))
    }

    /// Lag per partition of the group's topics and of every partition it has progress on.
    ///
    /// # Errors
    /// [`Error::UnknownGroup`].
    pub fn lag(&self, name: &GroupName) -> Result<Vec<PartitionLag>> {
        self.shard.lag(name)
    }

    /// Wakes when the group may have records to lease: something written, returned, or due after its delay.
    #[must_use]
    pub fn watch_group(&self, name: &GroupName) -> Watch {
        self.watch_group_since(name, self.shard.next_token())
    }

    /// As [`Engine::watch_group`], for a consumer that was last given leases with this token, 0 for none: who was served
    /// longest ago is woken first.
    #[must_use]
    pub fn watch_group_since(&self, name: &GroupName, token: u64) -> Watch {
        Watch::group(&self.shard, name, token)
    }
}

fn known(topic: Option<&Arc<Topic>>, name: &TopicName) -> Result<Arc<Topic>> {
    topic.cloned().ok_or_else(|| Error::UnknownTopic(name.clone()))
}
