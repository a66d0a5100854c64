//! What happens beside appends: opening and closing, the maintenance thread, timers, snapshots, the spare segment.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::Batch;
use crate::counters::Counters;
use crate::log::{Entry, SNAPSHOT_MAGIC, SegmentKind, TailCache, Writer, recover, seal_object};
use crate::record::StateRecord;
use crate::retention::LastLook;
use crate::schedule::SCHEDULE_PARTITION;
use crate::shard::{Haste, Inner, Kind, Origin, Purpose, Shard, state_reserve};
use crate::state::SNAPSHOT_VERSION;
use crate::store::Environment;
use crate::waiting::Wakes;
use crate::{Commit, Durability, EngineConfig, Error, PartitionId, Recovery, Result, Topic, Usage, Write};

/// What nobody waits for is all the same not to be forgotten in a crash a minute later.
const MAX_LAZY_COMMIT: Duration = Duration::from_secs(10);
/// Longer, and a limit of a few days would not be one.
const MAX_RETENTION_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The most partitions a topic can have.
const MAX_TOPIC_PARTITIONS: u32 = 10_000;

impl Shard {
    /// Opens the shard's log and recovers its state.
    pub(crate) fn open(config: EngineConfig, environment: Environment) -> Result<(Self, Recovery)> {
        check_config(&config)?;
        let started = environment.clock.monotonic();
        let recovered = recover(&config, environment.store.as_ref())?;
        let writer = Writer::new(recovered.position.clone(), config.segment_bytes);
        let mut state = recovered.state;
        state.dedupe.forget(environment.clock.now_ms() - millis(config.dedupe_window));
        let inner = Inner {
            state,
            pending: std::collections::VecDeque::new(),
            pending_bytes: 0,
            pending_change_bytes: 0,
            gathering: 1,
            queued: 0,
            written: 0,
            durable: 0,
            reclaim_plan: None,
            tail: TailCache::new(config.tail_cache_bytes),
            segments: recovered.segments,
            sealed: recovered.sealed,
            segments_changed: true,
            damaged: std::collections::HashSet::new(),
            active: recovered.position.segment.id,
            spare: recovered.spare,
            room: writer.room(),
            reserve: state_reserve(config.segment_bytes),
            disk_full: false,
            failed: None,
            snapshot_wanted: recovered.replayed_bytes >= config.segment_bytes / 2,
            snapshot_taken: None,
            bytes_since_snapshot: recovered.replayed_bytes,
            mark_wanted: false,
            unmarked: recovered.replayed_bytes > 0,
            leases: 0,
            dead_letters: Vec::new(),
            next_due: None,
            limits_looked_at: LastLook::default(),
        };
        let took = environment.clock.monotonic().saturating_sub(started);
        let report = Recovery { replayed_bytes: recovered.replayed_bytes, torn_bytes: recovered.torn_bytes, took };
        Ok((Self::new(config, environment, inner, writer, recovered.manifest), report))
    }

    /// The maintenance thread: a round at every interval and whenever a lease or timer is due.
    pub(crate) fn run_maintenance(&self) {
        loop {
            self.maintain();
            let mut inner = self.lock();
            if inner.failed.is_some() {
                return;
            }
            let now = self.environment.clock.monotonic();
            let wait = inner.next_due.map_or(self.config.maintenance_interval, |due| due.saturating_sub(now));
            self.due.wait_for(&mut inner, wait.min(self.config.maintenance_interval));
        }
    }

    /// One round of maintenance.
    pub(crate) fn maintain(&self) {
        self.lock().next_due = None;
        self.prepare_spare();
        self.mark_when_idle();
        self.deliver_due();
        self.bury_dead_letters();
        self.expire_leases();
        self.read_ahead.expire(self.environment.clock.monotonic());
        self.retain();
        if let Err(error) = self.publish_snapshot() {
            tracing::warn!(%error, "no snapshot could be stored; it will be tried again");
        }
    }

    /// Makes maintenance run at `due` (monotonic) or earlier.
    pub(crate) fn wake_at(&self, inner: &mut Inner, due: Duration) {
        if inner.next_due.is_none_or(|next| due < next) {
            inner.next_due = Some(due);
            self.due.notify_one();
        }
    }

    /// Keeps one empty segment ready, so that rolling never waits and a full disk is noticed before it hurts.
    pub(crate) fn prepare_spare(&self) {
        let _preparing = self.preparing.lock();
        let wanted = {
            let inner = self.lock();
            inner.spare.is_none()
                && inner.failed.is_none()
                && (inner.disk_full || inner.room < self.config.segment_bytes / 2)
        };
        if !wanted {
            return;
        }
        let created = self.create_segment(SegmentKind::Log);
        let mut inner = self.lock();
        match created {
            Ok(segment) => {
                if std::mem::take(&mut inner.disk_full) {
                    tracing::info!("there is disk space again: publishing works");
                }
                inner.spare = Some(segment);
                self.work.notify_one();
            }
            Err(Error::DiskFull) => inner.note_disk_full(),
            Err(error) => tracing::warn!(%error, "could not prepare the next segment"),
        }
    }

    /// When nothing is on its way, marks the last block as durable: should it decay, that is not taken for a torn write.
    fn mark_when_idle(&self) {
        let mut inner = self.lock();
        if inner.unmarked && inner.pending.is_empty() && inner.failed.is_none() {
            inner.mark_wanted = true;
            self.work.notify_one();
        }
    }

    // ---- timers -------------------------------------------------------------------------------------------------

    /// Appends scheduled batches whose time has come to where they were meant to go.
    fn deliver_due(&self) {
        let now_ms = self.environment.clock.now_ms();
        let mut after = None;
        let mut failed = 0;
        loop {
            let next = self.lock().state.schedule.due(now_ms, after);
            let Some((due, targets)) = next else { break };
            after = Some(due);
            match self.deliver_scheduled(due.1, targets) {
                Ok(true) => {}
                // Due before it was written; so are those behind it.
                Ok(false) => {
                    let soon = self.environment.clock.monotonic() + Duration::from_millis(1);
                    let mut inner = self.lock();
                    if !inner.disk_full {
                        self.wake_at(&mut inner, soon);
                    }
                    break;
                }
                Err(Error::DiskFull | Error::Poisoned(_) | Error::Closed) => break,
                Err(error) => {
                    failed += 1;
                    if failed == 1 {
                        let offset = due.1;
                        tracing::warn!(%error, offset, "a scheduled batch cannot be delivered; it will be tried again");
                    }
                }
            }
        }
        let mut inner = self.lock();
        // What is due and could not be delivered is tried again with the next round of maintenance.
        if let Some(next_ms) = inner.state.schedule.next_after(now_ms) {
            let wait = Duration::from_millis(u64::try_from(next_ms - now_ms).unwrap_or(0));
            let due = self.environment.clock.monotonic() + wait;
            self.wake_at(&mut inner, due);
        }
    }

    /// False when the batch cannot be read yet.
    fn deliver_scheduled(&self, offset: u64, targets: Vec<PartitionId>) -> Result<bool> {
        let read = self.load(self.plan_read(SCHEDULE_PARTITION, offset, 1)?)?.read;
        let Some(mut bytes) = read.batches.into_iter().next() else { return Ok(false) };
        let batch = Batch::split_from(&mut bytes)?;
        let given_up = batch.header.base_offset != offset;
        if given_up {
            tracing::warn!(offset, "a scheduled batch was given up with the part of the log it was in");
        }
        let mut inner = self.lock();
        let partitions: Vec<_> = targets.into_iter().filter(|id| inner.state.partition(*id).is_ok()).collect();
        let done = StateRecord::ScheduledDone { offset };
        let mark = Entry::State(done.encode()?);
        // What is appended cannot be taken back, so whatever may refuse it comes first.
        inner.check_writable(std::slice::from_ref(&mark), Purpose::Change)?;
        let mut entries = Vec::new();
        if !partitions.is_empty() && !given_up {
            let write = Write { partitions, batch, dedupe: None, deliver_at_ms: None };
            self.append_all(&mut inner, vec![write], Origin::Engine, &mut entries)?;
        }
        entries.push(mark);
        inner.state.apply(&done);
        drop(self.queue(&mut inner, entries, Kind::Both, Durability::Fsync, Haste::Awaited, None));
        Ok(true)
    }

    // ---- snapshots ----------------------------------------------------------------------------------------------

    /// Encodes the state as it is once everything taken so far is written. Called by the committer, with the queue empty.
    pub(crate) fn take_snapshot(&self, inner: &mut Inner, next_sequence: u64) -> Result<()> {
        inner.snapshot_wanted = false;
        inner.bytes_since_snapshot = 0;
        inner.snapshot_taken =
            Some((seal_object(SNAPSHOT_MAGIC, SNAPSHOT_VERSION, &inner.state.snapshot())?, next_sequence));
        Ok(())
    }

    /// Stores the snapshot the committer has taken, once the log up to it is durable.
    fn publish_snapshot(&self) -> Result<()> {
        let taken = {
            // The committer holds the writer while a snapshot's block is on its way: what is seen here is durable.
            let _writer = self.writer.lock();
            self.lock().snapshot_taken.take()
        };
        let Some((contents, next_sequence)) = taken else { return Ok(()) };
        if self.lock().failed.as_ref().is_some_and(|error| *error != Error::Closed) {
            return Ok(());
        }
        self.store_snapshot(&contents, next_sequence).inspect_err(|_| {
            // Unless there is a newer one by now.
            self.lock().snapshot_taken.get_or_insert((contents, next_sequence));
        })
    }

    fn store_snapshot(&self, contents: &[u8], next_sequence: u64) -> Result<()> {
        let store = self.environment.store.as_ref();
        let name = format!("snapshot-{next_sequence:016x}");
        store.put(&name, contents).map_err(|e| match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::DiskFull,
            _ => Error::io(format!("writing {name}"), &e),
        })?;
        let mut manifest = self.manifest.lock();
        let old = manifest.manifest.snapshot.clone();
        manifest.change(store, |manifest| manifest.snapshot = Some((name.clone(), next_sequence)))?;
        if let Some((old, _)) = old.filter(|(old, _)| *old != name) {
            store.delete(&old).map_err(|e| Error::io(format!("removing {old}"), &e))?;
        }
        Counters::add(&self.counters.snapshots, 1);
        Ok(())
    }

    // ---- closing ------------------------------------------------------------------------------------------------

    /// Commits what is queued with a last snapshot and a mark, and refuses everything from then on.
    pub(crate) fn close(&self) -> Result<()> {
        if let Some(error) = self.lock().failed.clone() {
            return if error == Error::Closed { Ok(()) } else { Err(error) };
        }
        self.lock().snapshot_wanted = true;
        let committed = self.turn().and_then(|_| self.publish_snapshot());
        self.lock().mark_wanted = true;
        let committed = committed.and_then(|()| self.turn());
        let mut inner = self.lock();
        inner.failed.get_or_insert(Error::Closed);
        let pending = std::mem::take(&mut inner.pending);
        let mut wakes = Wakes::default();
        for (id, partition) in inner.state.partitions_mut() {
            partition.wake(id, &mut wakes);
        }
        inner.state.wake_groups(&mut wakes);
        drop(inner);
        wakes.send();
        drop(pending);
        self.work.notify_all();
        self.due.notify_all();
        self.reclaim_due.notify_all();
        committed.map(drop)
    }

    /// What the shard holds now.
    pub(crate) fn usage(&self) -> Usage {
        let inner = self.lock();
        Usage {
            topics: inner.state.topic_count(),
            partitions: inner.state.topics().map(|topic| topic.partitions.len()).sum(),
            groups: inner.state.groups.len(),
            leases: inner.state.groups.values().map(crate::group::Group::in_flight).sum(),
            dedupe_keys: inner.state.dedupe.len(),
            scheduled: inner.state.schedule.len(),
            table_entries: inner.state.tables.len(),
            segments: inner.segments.len(),
            tail_cache_bytes: inner.tail.bytes(),
            pending_bytes: inner.pending_bytes,
            disk_full: inner.disk_full,
            poisoned: matches!(inner.failed, Some(Error::Poisoned(_))),
        }
    }

    // ---- topics -------------------------------------------------------------------------------------------------

    /// Writes a topic as it should be, with partitions added up to `count`.
    pub(crate) fn set_topic(&self, inner: &mut Inner, mut topic: Topic, count: u32) -> Result<(Arc<Topic>, Commit)> {
        if count == 0 || count > MAX_TOPIC_PARTITIONS {
            return Err(Error::Invalid(format!("a topic has 1 to {MAX_TOPIC_PARTITIONS} partitions, not {count}")));
        }
        let first = inner.state.next_partition().0;
        let more = count - u32::try_from(topic.partitions.len()).unwrap_or(count).min(count);
        let live = inner.state.topics().map(|topic| topic.partitions.len()).sum::<usize>();
        if live + more as usize > self.config.max_partitions {
            return Err(Error::LimitReached { setting: "max_partitions", limit: self.config.max_partitions });
        }
        topic.partitions.extend((first..first + more).map(PartitionId));
        let id = topic.id;
        let commit = self.change_all(inner, vec![StateRecord::TopicSet(topic)], Durability::Fsync)?;
        let topic = inner.state.topic_by_id(id).cloned().ok_or(Error::UnknownTopicId(id))?;
        Ok((topic, commit))
    }
}

fn check_config(config: &EngineConfig) -> Result<()> {
    let checks = [
        (config.segment_bytes >= 4 << 10, "segment_bytes must be at least 4 KiB"),
        (config.pending_bytes >= 1 << 10, "pending_bytes must be at least 1 KiB"),
        (config.reclaim_live_percent <= 95, "reclaim_live_percent must be at most 95"),
        (!config.maintenance_interval.is_zero(), "maintenance_interval must not be zero"),
        (config.lazy_commit <= MAX_LAZY_COMMIT, "lazy_commit must be at most 10 s"),
        (config.retention_interval <= MAX_RETENTION_INTERVAL, "retention_interval must be at most one day"),
    ];
    match checks.iter().find(|(ok, _)| !ok) {
        Some((_, message)) => Err(Error::Invalid((*message).to_owned())),
        None => Ok(()),
    }
}

pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Segments are read back in the order of their numbers, so they must be used in that order, whoever made them ready.
    #[test]
    fn segments_are_used_in_the_order_of_their_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let config = EngineConfig { segment_bytes: 2 << 20, ..EngineConfig::default() };
        let shard = Shard::open(config, Environment::local(directory.path()).unwrap()).unwrap().0;
        let (done, mut used) = (AtomicBool::new(false), Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        shard.lock().room = 0;
                        shard.prepare_spare();
                    }
                });
            }
            for _ in 0..100 {
                used.push(shard.next_segment().map(|segment| segment.id));
            }
            done.store(true, Ordering::Relaxed);
        });
        let used: Vec<_> = used.into_iter().map(Result::unwrap).collect();
        assert!(used.is_sorted(), "{used:?}");
    }
}
