//! Getting space back: dead segments are deleted, mostly dead ones rewritten, compacted topics keep the last value of each
//! key. In the background, at a bounded rate; what is read is checked, what is written replaces the old only once durable.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, Record};
use crate::counters::Counters;
use crate::log::{Chunk, IndexEntry, Manifest, Segment, SegmentId, SegmentKind, Sorted, SortedWriter};
use crate::partition::Partition;
use crate::shard::{Inner, Shard};
use crate::{Error, PartitionId, Result};

/// Compaction begins when so much (in percent) of a partition's sealed bytes were written since the last time.
const DIRTY_PERCENT: u64 = 50;
/// Sealed segments smaller than this share of a whole one are joined, once there are enough of them to fill one.
const SMALL_SEGMENT_DIVISOR: u64 = 4;

impl Shard {
    /// The reclaim thread: a round at every interval, and a rest after each that is as long as its copying is to take.
    pub(crate) fn run_reclaim(&self) {
        loop {
            let before = self.counters.rewritten_bytes.load(std::sync::atomic::Ordering::Relaxed);
            if let Err(error) = self.reclaim() {
                tracing::warn!(%error, "space could not be reclaimed; it will be tried again");
            }
            let copied = self.counters.rewritten_bytes.load(std::sync::atomic::Ordering::Relaxed) - before;
            let rest = Duration::from_millis(copied * 1000 / self.config.reclaim_bytes_per_second.max(1));
            let mut inner = self.lock();
            if inner.failed.is_none() {
                self.reclaim_due.wait_for(&mut inner, rest.max(self.config.maintenance_interval));
            }
            if inner.failed.is_some() {
                return;
            }
        }
    }

    /// One round: at most one segment is written.
    pub(crate) fn reclaim(&self) -> Result<()> {
        // A topic that cannot be compacted keeps nobody else's space.
        let compacted = if self.lock().reclaim_plan.is_none() { self.compact() } else { Ok(()) };
        compacted.and(self.reclaim_segments())
    }

    fn reclaim_segments(&self) -> Result<()> {
        if self.lock().reclaim_plan.is_none() {
            let plan = self.plan_reclaim()?;
            self.lock().reclaim_plan = plan;
        }
        let Some(plan) = self.take_durable_plan() else { return Ok(()) };
        let done =
            plan.dead.iter().try_for_each(|id| self.delete_segment(*id)).and_then(|()| self.rewrite(&plan.rewrite));
        if done.is_err() {
            self.lock().segments_changed = true;
        }
        done
    }

    fn plan_reclaim(&self) -> Result<Option<ReclaimPlan>> {
        let Some(usage) = self.segment_usage()? else { return Ok(None) };
        let dead: Vec<SegmentId> = usage.iter().filter(|(_, usage)| usage.live == 0).map(|(id, _)| *id).collect();
        let chosen = self.choose_for_rewrite(&usage);
        if dead.is_empty() && chosen.is_empty() {
            return Ok(None);
        }
        let inner = self.lock();
        Ok(Some(ReclaimPlan { after: inner.queued, dead, rewrite: chunks_of(&inner, &chosen) }))
    }

    /// The plan, once no crash can bring back what it leaves out. Until then the log is asked for a sync.
    fn take_durable_plan(&self) -> Option<ReclaimPlan> {
        let mut inner = self.lock();
        let after = inner.reclaim_plan.as_ref()?.after;
        if after > inner.durable {
            inner.mark_wanted = true;
            self.work.notify_one();
            return None;
        }
        inner.reclaim_plan.take()
    }

    /// What lives in each sealed segment that recovery does not need; none when nothing has died since the last time.
    fn segment_usage(&self) -> Result<Option<BTreeMap<SegmentId, SegmentUsage>>> {
        let snapshot = self.manifest.lock().manifest.snapshot.as_ref().map_or(0, |(_, next_sequence)| *next_sequence);
        let mut inner = self.lock();
        let changed =
            !std::mem::take(&mut inner.state.dropped).is_empty() || std::mem::take(&mut inner.segments_changed);
        if !changed {
            return Ok(None);
        }
        let mut usage = BTreeMap::new();
        let mut waits = false;
        for (id, next_sequence) in &inner.sealed {
            waits |= *next_sequence > snapshot;
            if *next_sequence <= snapshot
                && let Some(segment) = inner.segments.get(id)
            {
                let size = segment.file.size().map_err(|e| Error::io(format!("reading {}", segment.name), &e))?;
                usage.insert(*id, SegmentUsage { live: 0, size });
            }
        }
        for chunk in inner.state.partitions().flat_map(|(_, partition)| &partition.chunks) {
            if let Some(usage) = usage.get_mut(&chunk.segment) {
                usage.live += chunk.bytes;
            }
        }
        // A segment newer than the snapshot is looked at again when there is a newer snapshot.
        inner.segments_changed = waits;
        Ok(Some(usage))
    }

    fn choose_for_rewrite(&self, usage: &BTreeMap<SegmentId, SegmentUsage>) -> HashSet<SegmentId> {
        let small = |usage: &SegmentUsage| usage.size < self.config.segment_bytes / SMALL_SEGMENT_DIVISOR;
        let damaged = self.lock().damaged.clone();
        let alive = usage.iter().filter(|(id, usage)| usage.live > 0 && !damaged.contains(id));
        let mut chosen = HashSet::new();
        let mut live = 0;
        let mut dead = 0;
        for (id, usage) in alive {
            let is_mostly_dead = self.is_mostly_dead(*id, usage);
            if (!is_mostly_dead && !small(usage)) || live + usage.live > self.config.segment_bytes {
                continue;
            }
            live += usage.live;
            dead += u64::from(is_mostly_dead);
            chosen.insert(*id);
        }
        // Joining small ones is worth a copy only when they fill a segment; a dead half is worth one at any time.
        if dead > 0 || live >= self.config.segment_bytes / 2 { chosen } else { HashSet::new() }
    }

    /// Of a copy only the batches count: what it takes beside them is nothing that another copy would do without.
    fn is_mostly_dead(&self, id: SegmentId, usage: &SegmentUsage) -> bool {
        let is_below_share = |size: u64| usage.live * 100 < size * u64::from(self.config.reclaim_live_percent);
        let copy = self.lock().segments.get(&id).filter(|segment| segment.kind == SegmentKind::Sorted).cloned();
        is_below_share(usage.size)
            && copy.is_none_or(|copy| {
                let footer = copy.footer().ok().flatten();
                footer.is_some_and(|footer| is_below_share(footer.chunks.iter().map(|(_, chunk)| chunk.bytes).sum()))
            })
    }

    fn delete_segment(&self, id: SegmentId) -> Result<()> {
        let store = self.environment.store.as_ref();
        self.manifest.lock().change(store, |manifest| {
            manifest.segments.retain(|(segment, _)| *segment != id);
            manifest.skipped.retain(|skipped| skipped.segment != id);
        })?;
        let segment = {
            let mut inner = self.lock();
            inner.sealed.remove(&id);
            inner.damaged.remove(&id);
            inner.segments.remove(&id)
        };
        if let Some(segment) = segment {
            store.delete(&segment.name).map_err(|e| Error::io(format!("removing {}", segment.name), &e))?;
            tracing::debug!(file = segment.name, "deleted a segment in which nothing lived");
        }
        Counters::add(&self.counters.segments_deleted, 1);
        Ok(())
    }

    // ---- rewriting ----------------------------------------------------------------------------------------------

    /// Copies what lives in some chunks into one sorted segment. A body shared by several partitions is copied once.
    fn rewrite(&self, chunks: &[PlannedChunk]) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let live: u64 = chunks.iter().map(|(_, _, chunk, _)| chunk.bytes).sum();
        let mut shared: HashMap<(SegmentId, u64), u64> = HashMap::new();
        self.copy(live, chunks.iter().map(|(id, _, chunk, _)| (*id, *chunk)), |output| {
            chunks.iter().try_for_each(|planned| {
                self.rewrite_chunk(planned, &mut shared, output).inspect_err(|error| {
                    if matches!(error, Error::Corrupt { .. }) {
                        self.lock().damaged.insert(planned.3.id);
                    }
                })
            })
        })
    }

    fn rewrite_chunk(
        &self,
        (id, log_start, chunk, segment): &PlannedChunk,
        shared: &mut HashMap<(SegmentId, u64), u64>,
        output: &mut SortedWriter,
    ) -> Result<()> {
        for entry in self.entries(chunk, segment)?.iter().filter(|entry| entry.end() > *log_start) {
            let original = (chunk.segment, entry.position);
            match shared.get(&original).filter(|_| entry.shared) {
                Some(position) => output.refer(IndexEntry { position: *position, ..*entry }),
                None if entry.shared => {
                    let position = output.add_shared(*id, entry, self.stored_batch(segment, entry)?)?;
                    shared.insert(original, position);
                }
                None => output.add(*id, entry, self.stored_batch(segment, entry)?)?,
            }
        }
        output.end_chunk(*id, chunk.first, chunk.end)
    }

    /// Fills a segment for copies and puts it in the place of the chunks it was made from. If it cannot be filled, nothing of
    /// it is left.
    fn copy(
        &self,
        live: u64,
        old: impl Iterator<Item = (PartitionId, Chunk)>,
        fill: impl FnOnce(&mut SortedWriter) -> Result<()>,
    ) -> Result<()> {
        let mut output = self.begin_sorted(live)?;
        let name = output.name().to_owned();
        match fill(&mut output).and_then(|()| output.finish()) {
            Ok(sorted) => self.install_sorted(sorted, old),
            Err(error) => {
                let _ = self.environment.store.delete(&name);
                Err(error)
            }
        }
    }

    /// A segment for copies. It enters the manifest only when it is complete.
    fn begin_sorted(&self, live: u64) -> Result<SortedWriter> {
        let store = self.environment.store.as_ref();
        let id = {
            let mut manifest = self.manifest.lock();
            let id = SegmentId(manifest.current(store)?.next_segment);
            manifest.change(store, |manifest| manifest.next_segment += 1)?;
            id
        };
        SortedWriter::create(store, id, live)
    }

    fn stored_batch(&self, segment: &Segment, entry: &IndexEntry) -> Result<Batch> {
        let mut bytes = segment.read(entry.position, entry.length as usize)?;
        Batch::split_from(&mut bytes).map_err(|error| segment.corrupt(entry.position, &error.to_string()))
    }

    /// Makes a sorted segment part of the log and lets its chunks take the place of those it was made from.
    fn install_sorted(&self, sorted: Sorted, old: impl Iterator<Item = (PartitionId, Chunk)>) -> Result<()> {
        let Sorted { segment, chunks: new, bytes } = sorted;
        let store = self.environment.store.as_ref();
        let enter = |manifest: &mut Manifest| manifest.segments.push((segment.id, SegmentKind::Sorted));
        let entered = self.manifest.lock().change(store, enter);
        // After any other error the manifest may name it.
        if entered == Err(Error::DiskFull) {
            let _ = store.delete(&segment.name);
        }
        entered?;
        Counters::add(&self.counters.rewritten_bytes, bytes);
        let mut inner = self.lock();
        inner.sealed.insert(segment.id, 0);
        inner.segments.insert(segment.id, segment);
        inner.segments_changed = true;
        let old: HashSet<(PartitionId, SegmentId, u64)> =
            old.map(|(id, chunk)| (id, chunk.segment, chunk.first)).collect();
        let partitions: BTreeSet<PartitionId> = old.iter().map(|(id, ..)| *id).collect();
        for id in partitions {
            if let Some(partition) = inner.state.partition_mut(id) {
                partition.chunks.retain(|chunk| !old.contains(&(id, chunk.segment, chunk.first)));
            }
        }
        for (id, chunk) in new {
            if let Some(partition) = inner.state.partition_mut(id).filter(|partition| chunk.end > partition.log_start) {
                let at = partition.chunks.partition_point(|other| other.first < chunk.first);
                partition.chunks.insert(at, chunk);
            }
        }
        Ok(())
    }

    // ---- compaction ---------------------------------------------------------------------------------------------

    /// Compacts one partition that has become dirty enough.
    fn compact(&self) -> Result<()> {
        let Some((id, chunks, tombstones)) = self.choose_for_compaction() else { return Ok(()) };
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Ok(()) };
        let (from, end) = (first.0.first, last.0.end);
        let compacted = self.compact_chunks(id, &chunks, from..end, tombstones);
        // Where it cannot be done it is tried again when there is more, and others have their turn; a full disk passes.
        if compacted != Err(Error::DiskFull)
            && let Some(partition) = self.lock().state.partition_mut(id)
        {
            partition.compacted_below = end;
        }
        compacted
    }

    fn compact_chunks(
        &self,
        id: PartitionId,
        chunks: &[(Chunk, Arc<Segment>)],
        covers: Range<u64>,
        tombstones: Duration,
    ) -> Result<()> {
        let Range { start: from, end } = covers;
        let newest = self.newest_offsets(chunks)?;
        let keep_after_ms = self.environment.clock.now_ms().saturating_sub(crate::maintain::millis(tombstones));
        let keeps = |record: &Record| {
            // No later record can replace one without a key.
            let Some(key) = &record.key else { return true };
            let is_newest = newest.get(&digest(key)) == Some(&record.offset);
            (is_newest && (record.value.is_some() || record.timestamp_ms >= keep_after_ms)) || record.offset + 1 == end
        };
        let bytes = chunks.iter().map(|(chunk, _)| chunk.bytes).sum();
        self.copy(bytes, chunks.iter().map(|(chunk, _)| (id, *chunk)), |output| {
            let mut covered = from;
            for (chunk, segment) in chunks {
                for entry in self.entries(chunk, segment)?.iter() {
                    let batch = self.stored_batch(segment, entry)?;
                    let records = batch.records(entry.base_offset, self.config.max_decompressed_bytes)?;
                    let kept: Vec<Record> = records.into_iter().filter(&keeps).collect();
                    if let Some(batch) = batch.repack(entry.base_offset, &kept)? {
                        output.add(id, entry, batch)?;
                    }
                    if output.chunk_is_full() {
                        output.end_chunk(id, covered, entry.end())?;
                        covered = entry.end();
                    }
                }
            }
            if covered < end {
                output.end_chunk(id, covered, end)?;
            }
            Ok(())
        })
    }

    #[allow(clippy::type_complexity)]
    fn choose_for_compaction(&self) -> Option<(PartitionId, Vec<(Chunk, Arc<Segment>)>, Duration)> {
        let inner = self.lock();
        let mut dirty = inner.state.partitions().filter(|(_, partition)| is_dirty(partition));
        let (id, partition) = dirty.next()?;
        let tombstones = partition.topic.as_ref()?.config.retention.tombstones;
        let chunks =
            partition.chunks.iter().filter_map(|chunk| Some((*chunk, Arc::clone(inner.segments.get(&chunk.segment)?))));
        Some((id, chunks.collect(), tombstones))
    }

    /// The last offset of every key.
    fn newest_offsets(&self, chunks: &[(Chunk, Arc<Segment>)]) -> Result<HashMap<u128, u64>> {
        let mut newest = HashMap::new();
        for (chunk, segment) in chunks {
            for entry in self.entries(chunk, segment)?.iter() {
                let batch = self.stored_batch(segment, entry)?;
                for record in batch.records(entry.base_offset, self.config.max_decompressed_bytes)? {
                    if let Some(key) = &record.key {
                        newest.insert(digest(key), record.offset);
                    }
                }
                if newest.len() > self.config.max_compaction_keys {
                    return Err(Error::LimitReached {
                        setting: "max_compaction_keys",
                        limit: self.config.max_compaction_keys,
                    });
                }
            }
        }
        Ok(newest)
    }
}

/// A partition's log start, one of its chunks, and where that lies.
type PlannedChunk = (PartitionId, u64, Chunk, Arc<Segment>);

/// What to give back, decided at one moment. It is done when every change queued before that moment is durable: a crash
/// must not bring back a topic, a log start or a scheduled record whose bytes are gone.
pub(crate) struct ReclaimPlan {
    after: u64,
    dead: Vec<SegmentId>,
    rewrite: Vec<PlannedChunk>,
}

struct SegmentUsage {
    live: u64,
    size: u64,
}

fn chunks_of(inner: &Inner, segments: &HashSet<SegmentId>) -> Vec<PlannedChunk> {
    let mut chunks = Vec::new();
    for (id, partition) in inner.state.partitions() {
        for chunk in partition.chunks.iter().filter(|chunk| segments.contains(&chunk.segment)) {
            if let Some(segment) = inner.segments.get(&chunk.segment) {
                chunks.push((id, partition.log_start, *chunk, Arc::clone(segment)));
            }
        }
    }
    chunks
}

fn is_dirty(partition: &Partition) -> bool {
    let compacts = partition.topic.as_ref().is_some_and(|topic| topic.config.retention.compact);
    if !compacts {
        return false;
    }
    let total: u64 = partition.chunks.iter().map(|chunk| chunk.bytes).sum();
    let dirty: u64 =
        partition.chunks.iter().filter(|chunk| chunk.end > partition.compacted_below).map(|chunk| chunk.bytes).sum();
    dirty > 0 && dirty * 100 >= total * DIRTY_PERCENT
}

/// A key's digest: 128 bits are enough that two keys never meet.
fn digest(key: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(key)
}
