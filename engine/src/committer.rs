//! The committer: one thread that takes everything queued, writes it with one write and one sync, lets readers see it, and
//! answers who waited.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;

use crate::counters::Counters;
use crate::gather::Gather;
use crate::log::{Entry, IndexEntry, Segment, SegmentKind, Writer, add_index_entries, max_index_bytes};
use crate::partition::Partition;
use crate::shard::{Haste, Inner, Kind, Pending, Shard, state_reserve};
use crate::store::Destination;
use crate::waiting::Wakes;
use crate::{Durability, Error, PartitionId, Result};

/// One group commit takes at most about so many bytes.
pub(crate) const MAX_COMMIT_BYTES: usize = 8 << 20;
/// While the disk is full the committer tries again so often.
const DISK_FULL_RETRY: Duration = Duration::from_millis(100);

impl Shard {
    /// The committer's thread: commits while there is work, until the shard is closed or poisoned.
    pub(crate) fn run_committer(&self) {
        let mut gather = Gather::new(self.config.commit_gather);
        loop {
            self.gather(&mut gather);
            match self.turn() {
                Ok(true) => {}
                Ok(false) => {
                    if self.lock().failed.is_some() {
                        return;
                    }
                }
                Err(Error::DiskFull) => {
                    self.prepare_spare();
                    std::thread::sleep(DISK_FULL_RETRY);
                }
                Err(_) => return,
            }
        }
    }

    /// Waits for work, and where that has paid, a moment longer for more of it.
    fn gather(&self, gather: &mut Gather) {
        let mut inner = self.lock();
        // Where company is sure to come the committer is woken once, by the last of it and not by the first.
        let anticipated = inner.has_no_work().then(|| gather.anticipate()).flatten();
        if let Some(wait) = anticipated {
            self.wait_for_company(&mut inner, gather, wait);
        }
        if inner.has_no_work() && inner.failed.is_none() {
            self.work.wait(&mut inner);
        }
        if self.has_time(&inner) && inner.failed.is_none() {
            self.work.wait_for(&mut inner, self.config.lazy_commit);
        }
        let waiting = inner.pending.len();
        if anticipated.is_none()
            && waiting > 0
            && let Some(wait) = gather.plan(waiting)
        {
            self.wait_for_company(&mut inner, gather, wait);
        }
        gather.wrote(inner.pending.len(), self.environment.clock.monotonic());
    }

    fn wait_for_company(&self, inner: &mut MutexGuard<'_, Inner>, gather: &mut Gather, wait: (usize, Duration)) {
        if inner.failed.is_some() {
            return;
        }
        // The first is no company.
        let before = inner.pending.len().max(1);
        inner.gathering = wait.0;
        self.work.wait_for(inner, wait.1);
        inner.gathering = 1;
        gather.learn(before, inner.pending.len());
    }

    /// There is something to do that nobody waits for.
    fn has_time(&self, inner: &Inner) -> bool {
        !inner.has_no_work()
            && !inner.snapshot_wanted
            && !inner.mark_wanted
            && inner.pending_bytes < self.lazy_bytes()
            && inner.pending.iter().all(|pending| pending.haste != Haste::Awaited)
    }

    /// Commits what is queued, once. False when there was nothing to do.
    ///
    /// # Errors
    /// [`Error::DiskFull`]: what did not fit is still queued. Any other: the shard is poisoned.
    pub(crate) fn turn(&self) -> Result<bool> {
        let mut writer = self.writer.lock();
        let Some((mut taken, mut mark)) = self.take(writer.next_sequence() + 1) else { return Ok(false) };
        let mut committed =
            self.make_room(&mut writer, &taken).and_then(|()| self.commit(&mut writer, &mut taken, mark));
        if committed == Err(Error::DiskFull) {
            taken = self.put_back(&writer, taken, true);
            mark &= self.has_unmarked_changes(&writer);
            committed = self.commit(&mut writer, &mut taken, mark).and(Err(Error::DiskFull));
        }
        match committed {
            Ok(()) => Ok(true),
            Err(Error::DiskFull) => {
                if !taken.is_empty() {
                    self.put_back(&writer, taken, false);
                }
                Err(Error::DiskFull)
            }
            Err(error) => {
                let poisoned = self.poison(&error);
                taken.into_iter().for_each(|pending| pending.finish(&Err(poisoned.clone())));
                Err(poisoned)
            }
        }
    }

    /// The disk is full. What was taken is queued again and written when it can be, for its changes are made; but who waits for
    /// anything in the queue is told. Returns, if that is wanted, what of the queue fits the space there is.
    fn put_back(&self, writer: &Writer, taken: Vec<Pending>, take_fitting: bool) -> Vec<Pending> {
        let mut inner = self.lock();
        inner.note_disk_full();
        // It was to be of a state with all of these applied, and they are not written.
        if inner.snapshot_taken.as_ref().is_some_and(|(_, next_sequence)| *next_sequence > writer.next_sequence()) {
            inner.snapshot_taken = None;
            inner.snapshot_wanted = true;
        }
        inner.put_back(taken);
        let fitting = if take_fitting { inner.take_fitting(writer.room()) } else { Vec::new() };
        // Who waits to be admitted is let through, to be refused.
        inner.pending.iter_mut().for_each(|pending| drop(pending.budget.take()));
        let undecided = inner.pending.iter_mut().filter_map(|pending| pending.done.take()).collect::<Vec<_>>();
        drop(inner);
        undecided.into_iter().for_each(|done| drop(done.send(Err(Error::Undecided))));
        fitting
    }

    /// Whether a mark would tell of anything new; while the disk is full space for others is not to be had.
    fn has_unmarked_changes(&self, writer: &Writer) -> bool {
        let inner = self.lock();
        writer.room() > 0 && inner.durable < inner.written
    }

    /// Takes from the queue what makes one block, and a snapshot of the state as of exactly that block if one is wanted.
    fn take(&self, next_sequence: u64) -> Option<(Vec<Pending>, bool)> {
        let mut inner = self.lock();
        if inner.failed.is_some() {
            return None;
        }
        let everything = inner.snapshot_wanted;
        let mark = std::mem::take(&mut inner.mark_wanted);
        if inner.pending.is_empty() && !everything && !mark {
            return None;
        }
        let mut taken = Vec::new();
        let mut bytes = 0;
        while (everything || bytes < MAX_COMMIT_BYTES)
            && let Some(pending) = inner.pending.pop_front()
        {
            bytes += pending.size();
            inner.discount_pending(&pending);
            taken.push(pending);
        }
        if everything && let Err(error) = self.take_snapshot(&mut inner, next_sequence) {
            tracing::warn!(%error, "no snapshot could be taken");
        }
        Some((taken, mark || everything))
    }

    /// Goes on in the next segment where the active one is too full.
    fn make_room(&self, writer: &mut Writer, taken: &[Pending]) -> Result<()> {
        let mut needed = Needed::default();
        taken.iter().for_each(|pending| needed.add(pending));
        let needed = needed.bytes(state_reserve(self.config.segment_bytes));
        if needed > writer.room() && !writer.is_empty() { self.roll(writer) } else { Ok(()) }
    }

    fn commit(&self, writer: &mut Writer, taken: &mut Vec<Pending>, mark: bool) -> Result<()> {
        let size = taken.iter().map(Pending::size).sum::<usize>();
        let last = taken.last().map(|pending| pending.number);
        let has_entries = taken.iter().any(|pending| !pending.entries.is_empty());
        // What somebody waits for without a sync goes where it is soonest.
        let soonest =
            taken.iter().any(|pending| pending.durability != Durability::Fsync && pending.haste == Haste::Awaited);
        let to = if soonest { Destination::PageCache } else { Destination::Disk };
        let entries = taken.iter().flat_map(|pending| &pending.entries);
        let written = (has_entries || mark).then(|| writer.write(entries, size, to)).transpose()?;
        if let Some(written) = &written {
            let index = index_entries(taken, written.position, &written.payloads);
            self.publish_written(writer, written.bytes.clone(), written.position, index);
            self.lock().unmarked = has_entries;
        }
        let durable = taken.iter().any(|pending| pending.durability == Durability::Fsync) || mark;
        if durable && taken.iter().any(|pending| pending.durability != Durability::Fsync) {
            // Who asked only for the page cache need not wait for the disk.
            let wakes = self.lock().publish_offsets(taken, Durability::PageCache);
            wakes.send();
            taken.retain_mut(|pending| pending.durability == Durability::Fsync || !pending.finish_early());
        }
        if durable && writer.is_unsynced() {
            writer.sync()?;
            Counters::add(&self.counters.syncs, 1);
        }
        let mut inner = self.lock();
        inner.note_progress(last, durable);
        let wakes = inner.publish_offsets(taken, Durability::Fsync);
        drop(inner);
        wakes.send();
        // The last first: a session that answers in order waits for its first, and when that wakes it the others are there.
        taken.drain(..).rev().for_each(|pending| pending.finish(&Ok(())));
        Ok(())
    }

    /// Enters what was written into the indexes and the tail cache.
    fn publish_written(
        &self,
        writer: &mut Writer,
        bytes: bytes::Bytes,
        position: u64,
        index: Vec<(PartitionId, IndexEntry)>,
    ) {
        Counters::add(&self.counters.written_bytes, bytes.len() as u64);
        Counters::add(&self.counters.blocks, 1);
        let mut inner = self.lock();
        inner.bytes_since_snapshot += bytes.len() as u64;
        let (entries, mut firsts) = (index.len(), 0);
        for (id, entry) in index {
            if let Some(partition) = inner.state.partition_mut(id) {
                firsts += usize::from(partition.active.is_empty());
                partition.active.push_back(entry);
            } else {
                let deleted = inner.state.deleted_active.entry(id).or_default();
                firsts += usize::from(deleted.is_empty());
                deleted.push(entry);
            }
        }
        writer.keep_for_index(max_index_bytes(entries, firsts));
        inner.room = writer.room();
        if inner.spare.is_none() && !inner.disk_full && inner.room < self.config.segment_bytes / 2 {
            // Before what is admitted comes to more than there is space reserved for.
            self.wake_at(&mut inner, Duration::ZERO);
        }
        let active = inner.active;
        inner.tail.push(active, position, bytes);
    }

    /// Seals the active segment and goes on in the next.
    fn roll(&self, writer: &mut Writer) -> Result<()> {
        let next = self.next_segment()?;
        let index: Vec<_> = {
            let inner = self.lock();
            let written = inner.state.partitions().filter(|(_, partition)| !partition.active.is_empty());
            let written = written.map(|(id, partition)| (id, partition.active.iter().copied().collect::<Vec<_>>()));
            let deleted = inner.state.deleted_active.iter().map(|(id, entries)| (*id, entries.clone()));
            written.chain(deleted.filter(|(_, entries)| !entries.is_empty())).collect()
        };
        let (footer, chunks) = writer.seal(&index)?;
        writer.switch_to(Arc::clone(&next));
        let mut inner = self.lock();
        for (_, partition) in inner.state.partitions_mut() {
            partition.active.clear();
            partition.active.shrink_to_fit();
        }
        inner.state.deleted_active.clear();
        for (id, chunk) in chunks {
            inner.state.add_chunk(id, chunk);
        }
        let sealed = inner.active;
        inner.sealed.insert(sealed, footer.next_sequence);
        inner.segments_changed = true;
        inner.active = next.id;
        inner.room = writer.room();
        inner.segments.insert(next.id, next);
        inner.snapshot_wanted |= inner.bytes_since_snapshot >= self.config.segment_bytes / 2;
        self.due.notify_one();
        Ok(())
    }

    pub(crate) fn next_segment(&self) -> Result<Arc<Segment>> {
        let _preparing = self.preparing.lock();
        let spare = self.lock().spare.take();
        spare.map_or_else(|| self.create_segment(SegmentKind::Log), Ok)
    }

    /// After a failed write or sync nothing that follows could be trusted: everybody is told, and a restart is needed.
    fn poison(&self, error: &Error) -> Error {
        tracing::error!(%error, "the log failed: it takes no more writes until a restart");
        let poisoned = Error::Poisoned(error.to_string());
        let mut inner = self.lock();
        inner.failed = Some(poisoned.clone());
        (inner.pending_bytes, inner.pending_change_bytes) = (0, 0);
        let pending = std::mem::take(&mut inner.pending);
        drop(inner);
        pending.into_iter().for_each(|pending| pending.finish(&Err(poisoned.clone())));
        poisoned
    }
}

impl Inner {
    fn note_progress(&mut self, written: Option<u64>, durable: bool) {
        // What was overtaken has an earlier number.
        self.written = self.written.max(written.unwrap_or(0));
        if durable {
            self.durable = self.written;
        }
    }

    /// Lets readers see batches of topics whose durability is reached. Who waited for them is woken by the caller, without
    /// the lock: that takes system calls.
    fn publish_offsets(&mut self, taken: &[Pending], reached: Durability) -> Wakes {
        let mut wakes = Wakes::default();
        let mut publish = |id: PartitionId, end: u64| {
            if let Some(partition) = self.state.partition_mut(id)
                && partition.durability() <= reached
            {
                partition.publish(id, end, &mut wakes);
            }
        };
        for entry in taken.iter().flat_map(|pending| &pending.entries) {
            match entry {
                Entry::Batch { partition, base_offset, header, .. } => {
                    publish(*partition, base_offset + u64::from(header.last_offset_delta) + 1)
                }
                Entry::Shared { targets, header, .. } => {
                    for (id, base_offset) in targets {
                        publish(*id, base_offset + u64::from(header.last_offset_delta) + 1);
                    }
                }
                Entry::State(_) => {}
            }
        }
        wakes
    }

    /// Nothing for the committer to do.
    pub(crate) fn has_no_work(&self) -> bool {
        self.pending.is_empty() && !self.snapshot_wanted && !self.mark_wanted
    }

    /// Whether somebody waits to read what these bring.
    pub(crate) fn has_readers(&self, entries: &[Entry]) -> bool {
        let has_readers = |id| self.state.partition(id).is_ok_and(Partition::has_readers);
        entries.iter().any(|entry| match entry {
            Entry::Batch { partition, .. } => has_readers(*partition),
            Entry::Shared { targets, .. } => targets.iter().any(|(id, _)| has_readers(*id)),
            Entry::State(_) => false,
        })
    }

    fn put_back(&mut self, taken: Vec<Pending>) {
        for pending in taken.into_iter().rev() {
            self.count_pending(&pending);
            self.pending.push_front(pending);
        }
    }

    /// Takes from the queue what fits `room`: the first of the batches, and the first of the changes of state, which may overtake
    /// batches that wait for space, but not what is both.
    fn take_fitting(&mut self, room: u64) -> Vec<Pending> {
        let (mut needed, reserve) = (Needed::default(), self.reserve);
        let (mut batch_waits, mut change_waits) = (false, false);
        let (fitting, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending).into_iter().partition(|pending| {
            let is_next = !change_waits && (pending.kind == Kind::Change || !batch_waits);
            let mut with_it = needed;
            with_it.add(pending);
            let fits = is_next && with_it.bytes(reserve) <= room;
            if fits {
                needed = with_it;
            } else {
                batch_waits |= pending.kind != Kind::Change;
                change_waits |= pending.kind != Kind::Publish;
            }
            fits
        });
        self.pending = rest.into();
        fitting.iter().for_each(|pending| self.discount_pending(pending));
        fitting
    }
}

/// Space of a segment that what is to be written needs.
#[derive(Debug, Clone, Copy, Default)]
struct Needed {
    batches: u64,
    changes: u64,
}

impl Needed {
    fn add(&mut self, pending: &Pending) {
        let of = if pending.kind == Kind::Change { &mut self.changes } else { &mut self.batches };
        // At most: each may be the first of its partition.
        let targets = pending.entries.iter().map(Entry::targets).sum();
        *of += pending.size() as u64 + max_index_bytes(targets, targets);
    }

    /// Batches leave a reserve for changes of state: those with them, or others.
    fn bytes(self, reserve: u64) -> u64 {
        if self.batches == 0 { self.changes } else { self.batches + self.changes.max(reserve) }
    }
}

impl Pending {
    pub(crate) fn size(&self) -> usize {
        self.entries.iter().map(Entry::size).sum()
    }

    fn finish(self, result: &Result<()>) {
        if let Some(done) = self.done {
            let _ = done.send(result.clone());
        }
    }

    /// Tells its waiter and keeps nothing for later; true, so that it can be let go.
    fn finish_early(&mut self) -> bool {
        if let Some(done) = self.done.take() {
            let _ = done.send(Ok(()));
        }
        true
    }
}

fn index_entries(taken: &[Pending], block: u64, payloads: &[u32]) -> Vec<(PartitionId, IndexEntry)> {
    let mut index = Vec::with_capacity(payloads.len());
    for (entry, payload) in taken.iter().flat_map(|pending| &pending.entries).zip(payloads) {
        add_index_entries(entry, block + u64::from(*payload), &mut index);
    }
    index
}
