//! The shard: one state, one commit log. Appends change the state and queue their bytes under one short lock; the
//! committer writes everything queued with one write and one sync, then lets readers see it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::ahead::AheadCache;
use crate::batch::Batch;
use crate::committer::MAX_COMMIT_BYTES;
use crate::counters::Counters;
use crate::group::DeadLetter;
use crate::log::{Buffers, Entry, Segment, SegmentId, SegmentKind, StoredManifest, TailCache, Writer};
use crate::producer::Judgement;
use crate::read::IndexCache;
use crate::read_ahead::ReadAhead;
use crate::reclaim::ReclaimPlan;
use crate::record::StateRecord;
use crate::retention::LastLook;
use crate::schedule::SCHEDULE_PARTITION;
use crate::state::State;
use crate::store::Environment;
use crate::{Appended, Commit, Durability, EngineConfig, Error, PartitionId, Result, Write};

/// Memory of reads kept for the next ones: of four of the largest, which is as many as a machine of a few cores has at a time.
/// No setting: less makes reads of cold data cost more processor time, and more would be used by more cores only.
const READ_BUFFER_BYTES: usize = 16 << 20;
/// Space of the active segment that is kept from batches: for settlements and other changes of state while the disk is full,
/// so that consuming can go on. Less where a segment is smaller than so many times as much.
const STATE_RESERVE_BYTES: u64 = 1 << 20;
const SEGMENTS_RESERVE: u64 = 64;
/// A part of it is kept from those, too: for what gives space back, which must not find that consuming has used up the rest.
const FREEING_SHARE: u64 = 4;

/// The unit of ownership and of durability. See the module.
pub(crate) struct Shard {
    pub config: EngineConfig,
    pub environment: Environment,
    pub inner: Mutex<Inner>,
    pub writer: Mutex<Writer>,
    pub manifest: Mutex<StoredManifest>,
    /// Held from before a log segment is created until it is the spare or in use: segments are used in the order of their
    /// numbers, which is the order in which they are read back.
    pub preparing: Mutex<()>,
    /// The committer waits here for work.
    pub work: Condvar,
    /// Maintenance waits here for its next turn.
    pub due: Condvar,
    /// The reclaim thread waits here for its next round.
    pub reclaim_due: Condvar,
    /// What was read of each partition that is consumed with leases and may be wanted next.
    pub ahead: Mutex<AheadCache>,
    /// Numbers for leases: never the same twice, also not after a restart.
    pub tokens: AtomicU64,
    /// Batches an operator has given up, by segment and position.
    pub skipped: HashSet<(SegmentId, u64)>,
    pub counters: Counters,
    pub index_cache: IndexCache,
    pub read_buffers: Buffers,
    pub read_ahead: ReadAhead,
    budget: Arc<Semaphore>,
}

/// What the lock protects.
pub(crate) struct Inner {
    pub state: State,
    pub pending: VecDeque<Pending>,
    pub pending_bytes: usize,
    /// Of these, what are changes of state alone.
    pub pending_change_bytes: usize,
    /// The committer is woken when so many are queued.
    pub gathering: usize,
    /// Changes of state queued, written and synced since the shard was opened, as the number of the last one.
    pub queued: u64,
    pub written: u64,
    pub durable: u64,
    /// Space to be given back once the changes that freed it are durable.
    pub reclaim_plan: Option<ReclaimPlan>,
    pub tail: TailCache,
    /// Open segments; the last log segment is the active one.
    pub segments: BTreeMap<SegmentId, Arc<Segment>>,
    /// Sealed segments, with the number of the first block after each (0 for sorted ones).
    pub sealed: BTreeMap<SegmentId, u64>,
    /// A segment was added or may have become unneeded since reclaim last looked.
    pub segments_changed: bool,
    /// Segments that reclaim could not copy: it would fail again until an operator gives the damage up.
    pub damaged: HashSet<SegmentId>,
    pub active: SegmentId,
    /// Created ahead of need, so that rolling does not wait for the disk.
    pub spare: Option<Arc<Segment>>,
    /// Bytes that still fit the active segment, as of the last commit.
    pub room: u64,
    /// Of these, what batches leave alone.
    pub reserve: u64,
    /// The last attempt to reserve space failed.
    pub disk_full: bool,
    /// Why nothing can be written any more.
    pub failed: Option<Error>,
    /// A snapshot should be taken with the next commit.
    pub snapshot_wanted: bool,
    /// One was: its bytes and the first block it does not contain.
    pub snapshot_taken: Option<(Vec<u8>, u64)>,
    /// Log bytes written since the last snapshot.
    pub bytes_since_snapshot: u64,
    /// An empty block should confirm that the last one was durable.
    pub mark_wanted: bool,
    /// The last block holds entries, and no later one says that it was durable.
    pub unmarked: bool,
    /// Leases outstanding over all groups; counted exactly at every round of maintenance.
    pub leases: usize,
    /// Records given up, to be copied.
    pub dead_letters: Vec<(crate::GroupName, DeadLetter)>,
    /// When maintenance should next look after leases and timers (monotonic).
    pub next_due: Option<Duration>,
    /// When topics were last held to their limits of time and bytes.
    pub limits_looked_at: LastLook,
}

/// Who wants something appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Somebody outside.
    Publisher,
    /// The engine: it was accepted before, so a topic's limit of size that was lowered since, or that is another topic's,
    /// does not stop it.
    Engine,
}

/// What of the log something is, for its order while there is no space for all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Batches with their idempotency keys and delivery times, or nothing at all. It gives no space back, and no change of state
    /// is about a record that was not written yet, so such changes may be written before it.
    Publish,
    /// Changes of state alone. They keep their order.
    Change,
    /// Batches with changes of state that belong to them: nothing is written before it.
    Both,
}

/// What space is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Batches.
    Publish,
    /// Changes of state.
    Change,
    /// Changes of state that give space back.
    Freeing,
}

/// How soon something queued is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Somebody waits to be told of it, or to read it.
    Awaited,
    /// Nobody does yet, but who wants to read waits for it.
    Unseen,
    /// A change of state, which is seen as it is made.
    Seen,
}

/// Entries that must be in one block, and who waits for them.
pub(crate) struct Pending {
    pub entries: Vec<Entry>,
    pub kind: Kind,
    /// Of the last change of state up to here.
    pub number: u64,
    pub durability: Durability,
    pub haste: Haste,
    pub done: Option<oneshot::Sender<Result<()>>>,
    /// Held until it is written, or until the disk is found full.
    pub budget: Option<OwnedSemaphorePermit>,
}

impl Shard {
    pub(crate) fn new(
        config: EngineConfig,
        environment: Environment,
        inner: Inner,
        writer: Writer,
        manifest: StoredManifest,
    ) -> Self {
        let budget = Arc::new(Semaphore::new(kib(config.pending_bytes) as usize));
        let skipped = manifest.manifest.skipped.iter().map(|skipped| (skipped.segment, skipped.position)).collect();
        let now_ms = u64::try_from(environment.clock.now_ms()).unwrap_or(0);
        let tokens = AtomicU64::new(now_ms << 20);
        let config_index = config.index_cache_bytes;
        let read_ahead = ReadAhead::new(config.read_ahead_bytes);
        Self {
            config,
            environment,
            inner: Mutex::new(inner),
            writer: Mutex::new(writer),
            manifest: Mutex::new(manifest),
            preparing: Mutex::new(()),
            work: Condvar::new(),
            due: Condvar::new(),
            reclaim_due: Condvar::new(),
            ahead: Mutex::default(),
            tokens,
            skipped,
            counters: Counters::default(),
            read_buffers: Buffers::new(READ_BUFFER_BYTES),
            read_ahead,
            index_cache: IndexCache::new(config_index),
            budget,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Waits until `bytes` more may be queued. Larger than the whole budget waits for all of it.
    pub(crate) async fn admit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let permits = kib(bytes).min(kib(self.config.pending_bytes));
        Arc::clone(&self.budget).acquire_many_owned(permits).await.ok()
    }

    /// Makes changes of state that belong together.
    pub(crate) fn change_all(
        &self,
        inner: &mut Inner,
        records: Vec<StateRecord>,
        durability: Durability,
    ) -> Result<Commit> {
        self.change_for(Purpose::Change, inner, records, durability)
    }

    pub(crate) fn change_for(
        &self,
        purpose: Purpose,
        inner: &mut Inner,
        records: Vec<StateRecord>,
        durability: Durability,
    ) -> Result<Commit> {
        let entries = records.iter().map(|record| record.encode().map(Entry::State)).collect::<Result<Vec<_>>>()?;
        inner.check_writable(&entries, purpose)?;
        for record in &records {
            inner.state.apply(record);
        }
        let kind = if entries.is_empty() { Kind::Publish } else { Kind::Change };
        let is_seen = kind == Kind::Change && durability == Durability::Memory;
        let haste = if is_seen { Haste::Seen } else { Haste::Awaited };
        Ok(self.queue(inner, entries, kind, durability, haste, None))
    }

    /// Appends batches, each on its own. `told`: somebody waits to hear of it.
    pub(crate) fn append(
        &self,
        writes: Vec<Write>,
        budget: Option<OwnedSemaphorePermit>,
        told: bool,
    ) -> (Vec<Result<Appended>>, Commit) {
        let now_ms = self.environment.clock.now_ms();
        let mut inner = self.lock();
        let mut entries = Vec::with_capacity(writes.len());
        let mut durability = Durability::Memory;
        let mut results = Vec::with_capacity(writes.len());
        for write in writes {
            let result = self.place(&mut inner, write, Origin::Publisher, now_ms, &mut entries);
            if let Ok(appended) = &result {
                durability = durability.max(appended.durability);
            }
            results.push(result);
        }
        if results.iter().all(Result::is_err) {
            return (results, Commit::ready(Ok(())));
        }
        let is_awaited = told || durability != Durability::Memory || inner.has_readers(&entries);
        let haste = if is_awaited { Haste::Awaited } else { Haste::Unseen };
        let commit = self.queue(&mut inner, entries, Kind::Publish, durability, haste, budget);
        (results, commit)
    }

    /// Appends everything or nothing: `check` has been passed by the caller under the same lock.
    pub(crate) fn append_all(
        &self,
        inner: &mut Inner,
        writes: Vec<Write>,
        origin: Origin,
        entries: &mut Vec<Entry>,
    ) -> Result<Vec<Appended>> {
        self.judge_together(inner, &writes, origin)?;
        let now_ms = self.environment.clock.now_ms();
        writes.into_iter().map(|write| self.place(inner, write, origin, now_ms, entries)).collect()
    }

    /// Queues entries for the committer. Who does not wait is told at once.
    pub(crate) fn queue(
        &self,
        inner: &mut Inner,
        entries: Vec<Entry>,
        kind: Kind,
        durability: Durability,
        haste: Haste,
        budget: Option<OwnedSemaphorePermit>,
    ) -> Commit {
        inner.queued += u64::from(kind != Kind::Publish);
        let mut pending = Pending { entries, kind, number: inner.queued, durability, haste, done: None, budget };
        inner.count_pending(&pending);
        let is_awaited = haste == Haste::Awaited;
        let commit = if is_awaited {
            let (done, wait) = oneshot::channel();
            pending.done = Some(done);
            Commit::waiting(wait)
        } else {
            Commit::ready(Ok(()))
        };
        inner.pending.push_back(pending);
        // The first one ends the committer's rest. What nobody waits for does not end its patience, unless it is much.
        let is_first = inner.pending.len() == 1 && inner.gathering == 1;
        let is_much = inner.pending_bytes >= self.lazy_bytes();
        if is_first || is_much || (is_awaited && inner.pending.len() >= inner.gathering) {
            self.work.notify_one();
        }
        commit
    }

    /// Somebody waits to read: what was queued without haste is wanted now.
    pub(crate) fn hasten(&self, inner: &mut Inner) {
        let mut unseen = inner.pending.iter_mut().filter(|pending| pending.haste == Haste::Unseen).peekable();
        if unseen.peek().is_some() {
            unseen.for_each(|pending| pending.haste = Haste::Awaited);
            self.work.notify_one();
        }
    }

    /// More is not left waiting: publishers may wait for the room it takes.
    pub(crate) fn lazy_bytes(&self) -> usize {
        MAX_COMMIT_BYTES.min(self.config.pending_bytes / 2)
    }

    /// Whether all of these can be placed one after the other: each alone, and beside the others. Once the first is placed it is
    /// too late to refuse one.
    fn judge_together(&self, inner: &Inner, writes: &[Write], origin: Origin) -> Result<()> {
        let (mut bytes, mut scheduled) = (0, 0);
        let (mut keys, mut producers) = (HashMap::new(), HashSet::new());
        for write in writes {
            if self.judge(inner, write, origin)?.is_some() {
                continue;
            }
            if let Some(key) = &write.dedupe
                && let Some(body) = keys.insert(key.key, key.body)
            {
                if body != key.body {
                    return Err(Error::IdempotencyMismatch);
                }
                continue;
            }
            let header = &write.batch.header;
            if header.producer_id >= 0 && !producers.insert((write.partitions[0], header.producer_id)) {
                return Err(Error::Invalid("two batches of one idempotent producer are for one partition".to_owned()));
            }
            bytes += write.batch.bytes.len() + 64;
            scheduled += usize::from(write.deliver_at_ms.is_some());
        }
        let limits = [
            ("max_dedupe_keys", self.config.max_dedupe_keys, inner.state.dedupe.len(), keys.len()),
            ("max_scheduled", self.config.max_scheduled, inner.state.schedule.len(), scheduled),
        ];
        if let Some((setting, limit, ..)) =
            limits.into_iter().find(|(_, limit, has, more)| *more > 0 && has + more > *limit)
        {
            return Err(Error::LimitReached { setting, limit });
        }
        inner.check_room(bytes, Purpose::Publish)
    }

    /// What a write is: new, a repeat, or refused. Changes nothing.
    fn judge(&self, inner: &Inner, write: &Write, origin: Origin) -> Result<Option<Appended>> {
        if let Some(error) = &inner.failed {
            return Err(error.clone());
        }
        let durability = inner.state.strongest_durability(&write.partitions)?;
        for id in &write.partitions {
            let partition = inner.state.partition(*id)?;
            let limit = partition.topic.as_ref().map_or(usize::MAX, |topic| topic.config.max_message_bytes as usize);
            if write.batch.bytes.len() > limit && origin == Origin::Publisher {
                return Err(Error::TooLarge { bytes: write.batch.bytes.len(), limit });
            }
        }
        let Some(first) = write.partitions.first().copied() else {
            return Err(Error::Invalid("a write names no partition".to_owned()));
        };
        let partition = inner.state.partition(first)?;
        let repeat = |base_offset| Appended {
            base_offset,
            append_time_ms: -1,
            log_start: partition.log_start,
            durability,
            duplicate: true,
        };
        if let Some(key) = &write.dedupe
            && let Some(used) =
                inner.state.dedupe.look_up(key, self.config.max_dedupe_keys, |id| inner.state.partition(id).is_ok())?
        {
            return Ok(Some(repeat(used.base_offset)));
        }
        let header = &write.batch.header;
        if header.producer_id >= 0
            && header.base_sequence >= 0
            && let Judgement::Repeated(offset) = partition.producers.judge(header)?
        {
            return Ok(Some(repeat(Some(offset))));
        }
        if write.deliver_at_ms.is_some() && inner.state.schedule.len() >= self.config.max_scheduled {
            return Err(Error::LimitReached { setting: "max_scheduled", limit: self.config.max_scheduled });
        }
        inner.check_room(write.batch.bytes.len() + 64, Purpose::Publish)?;
        Ok(None)
    }

    /// Gives a write its offsets and adds its entries.
    fn place(
        &self,
        inner: &mut Inner,
        write: Write,
        origin: Origin,
        now_ms: i64,
        entries: &mut Vec<Entry>,
    ) -> Result<Appended> {
        if let Some(repeat) = self.judge(inner, &write, origin)? {
            return Ok(repeat);
        }
        let first = write.partitions[0];
        let (log_start, stamp) = {
            let partition = inner.state.partition(first)?;
            (partition.log_start, partition.topic.as_ref().is_some_and(|topic| topic.config.log_append_time))
        };
        let durability = inner.state.strongest_durability(&write.partitions)?;
        let batch = if stamp { write.batch.with_append_time(now_ms) } else { write.batch };
        let mut records = Vec::new();
        let base_offset = match write.deliver_at_ms.filter(|due_ms| *due_ms > now_ms) {
            Some(due_ms) => {
                let offset = push_one(&mut inner.state, SCHEDULE_PARTITION, batch, entries)?;
                records.push(StateRecord::Scheduled { offset, due_ms, targets: write.partitions });
                None
            }
            None => Some(push(&mut inner.state, write.partitions, batch, entries)?),
        };
        if let Some(key) = write.dedupe {
            records.push(StateRecord::Dedupe {
                key: key.key,
                body: key.body,
                partition: first,
                base_offset,
                at_ms: now_ms,
            });
        }
        for record in records {
            entries.push(Entry::State(record.encode()?));
            inner.state.apply(&record);
        }
        let append_time_ms = if stamp { now_ms } else { -1 };
        Ok(Appended { base_offset, append_time_ms, log_start, durability, duplicate: false })
    }

    /// A new topic's id: unique here because partition ids are never reused.
    pub(crate) fn topic_id(&self, inner: &Inner, name: &crate::TopicName) -> uuid::Uuid {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.environment.clock.now_ms().to_be_bytes());
        bytes[8..12].copy_from_slice(&inner.state.next_partition().0.to_be_bytes());
        bytes[12..].copy_from_slice(&crate::batch::checksum(name.name().as_bytes()).to_be_bytes());
        uuid::Uuid::new_v8(bytes)
    }

    /// Creates a segment and enters it into the manifest.
    pub(crate) fn create_segment(&self, kind: SegmentKind) -> Result<Arc<Segment>> {
        let store = self.environment.store.as_ref();
        let mut manifest = self.manifest.lock();
        let id = SegmentId(manifest.current(store)?.next_segment);
        let segment = Segment::create(store, id, kind, self.config.segment_bytes)?;
        let entered = manifest.change(store, |manifest| {
            manifest.next_segment += 1;
            manifest.segments.push((id, kind));
        });
        // After any other error the manifest may name it.
        if entered == Err(Error::DiskFull) {
            let _ = store.delete(&segment.name);
        }
        entered.map(|()| Arc::new(segment))
    }
}

impl Inner {
    /// From now on what does not fit the reserved space is refused; said once.
    pub(crate) fn note_disk_full(&mut self) {
        if !std::mem::replace(&mut self.disk_full, true) {
            tracing::error!(
                "the disk is full: publishing will be refused, consuming goes on; free space or enlarge the volume"
            );
        }
    }

    /// Whether entries may be queued.
    pub(crate) fn check_writable(&self, entries: &[Entry], purpose: Purpose) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.check_room(entries.iter().map(Entry::size).sum(), purpose)
    }

    /// While the disk is full only what still fits the reserved space is taken. What batches leave of it is for changes of state,
    /// whatever batches wait, and the last of that for those that give space back.
    pub(crate) fn check_room(&self, bytes: usize, purpose: Purpose) -> Result<()> {
        if !self.disk_full || self.spare.is_some() {
            return Ok(());
        }
        let (all, changes) = (self.pending_bytes as u64, self.pending_change_bytes as u64);
        let for_changes = self.room.saturating_sub(all - changes).max(self.room.min(self.reserve));
        let (queued, kept, room) = match purpose {
            Purpose::Publish => (all, self.reserve, self.room),
            Purpose::Change => (changes, self.reserve / FREEING_SHARE, for_changes),
            Purpose::Freeing => (changes, 0, for_changes),
        };
        if queued + bytes as u64 + kept <= room { Ok(()) } else { Err(Error::DiskFull) }
    }

    pub(crate) fn count_pending(&mut self, pending: &Pending) {
        let size = pending.size();
        self.pending_bytes += size;
        self.pending_change_bytes += if pending.kind == Kind::Change { size } else { 0 };
    }

    pub(crate) fn discount_pending(&mut self, pending: &Pending) {
        let size = pending.size();
        self.pending_bytes -= size;
        self.pending_change_bytes -= if pending.kind == Kind::Change { size } else { 0 };
    }
}

/// What batches leave of a segment for changes of state.
pub(crate) fn state_reserve(segment_bytes: u64) -> u64 {
    STATE_RESERVE_BYTES.min(segment_bytes / SEGMENTS_RESERVE)
}

/// Adds one batch to the partitions' ends: one entry, however many they are. Returns the first one's offset.
fn push(state: &mut State, partitions: Vec<PartitionId>, batch: Batch, entries: &mut Vec<Entry>) -> Result<u64> {
    if let [partition] = partitions[..] {
        return push_one(state, partition, batch, entries);
    }
    let mut targets = Vec::with_capacity(partitions.len());
    for id in partitions {
        let base_offset = state.push_batch(id, &batch.header).ok_or(Error::UnknownPartition)?;
        targets.push((id, base_offset));
    }
    let first = targets.first().map_or(0, |(_, base_offset)| *base_offset);
    entries.push(Entry::Shared { targets, header: batch.header, bytes: batch.bytes });
    Ok(first)
}

fn push_one(state: &mut State, partition: PartitionId, batch: Batch, entries: &mut Vec<Entry>) -> Result<u64> {
    let base_offset = state.push_batch(partition, &batch.header).ok_or(Error::UnknownPartition)?;
    entries.push(Entry::Batch { partition, base_offset, header: batch.header, bytes: batch.bytes });
    Ok(base_offset)
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX >> 3).min(u32::MAX >> 3)
}
