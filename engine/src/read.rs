//! Reading a partition: what is in memory is found under the lock and shared, the rest is read and checked outside it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::batch::{Batch, Record};
use crate::counters::Counters;
use crate::log::{Chunk, Entries, IndexEntry, Segment, SegmentId, decode_chunk};
use crate::shard::{Inner, Shard};
use crate::{Error, PartitionId, Read, Result, TimedOffset};

/// Batches at most so far apart in a segment are read with one call.
const READ_GAP_BYTES: u64 = 16 << 10;
/// One call reads at most about so much.
const READ_SPAN_BYTES: u64 = 4 << 20;

/// What to read, decided under the lock.
pub(crate) struct Plan {
    offset: u64,
    high_watermark: u64,
    log_start: u64,
    max_bytes: usize,
    chunks: Vec<(Chunk, Arc<Segment>)>,
    pieces: Vec<Piece>,
}

/// What a plan brought.
pub(crate) struct Loaded {
    pub read: Read,
    /// How many bytes it is.
    pub bytes: usize,
    /// Where it ended, if that was in the store.
    pub end: Option<u64>,
}

/// A batch, or a run of batches that lie next to each other.
enum Piece {
    Cached(Bytes),
    Stored(Arc<Segment>, IndexEntry),
}

impl Plan {
    /// The partition's high watermark and the start of its log.
    pub(crate) fn bounds(&self) -> (u64, u64) {
        (self.high_watermark, self.log_start)
    }

    /// Whether nothing has to be read from the store.
    pub(crate) fn is_cached(&self) -> bool {
        self.chunks.is_empty() && self.pieces.iter().all(|piece| matches!(piece, Piece::Cached(_)))
    }
}

impl Shard {
    /// Decides what a read from `offset` consists of.
    pub(crate) fn plan_read(&self, id: PartitionId, offset: u64, max_bytes: usize) -> Result<Plan> {
        let inner = self.lock();
        let partition = inner.state.partition(id)?;
        partition.check_bounds(offset)?;
        let mut plan = Plan {
            offset,
            high_watermark: partition.high_watermark,
            log_start: partition.log_start,
            max_bytes,
            chunks: Vec::new(),
            pieces: Vec::new(),
        };
        let first = partition.chunks.partition_point(|chunk| chunk.end <= offset);
        let mut planned = 0;
        for chunk in partition.chunks.range(first..) {
            if planned >= max_bytes as u64 {
                return Ok(plan);
            }
            let segment = inner.segments.get(&chunk.segment).ok_or_else(|| missing(chunk.segment))?;
            plan.chunks.push((*chunk, Arc::clone(segment)));
            // How much of the first chunk lies before the offset is not known yet.
            planned += if plan.chunks.len() == 1 { 0 } else { chunk.bytes };
        }
        let budget = max_bytes.saturating_sub(usize::try_from(planned).unwrap_or(usize::MAX));
        let first = partition.active.partition_point(|entry| entry.end() <= offset);
        plan_active(&inner, partition.active.range(first..), partition.high_watermark, budget, &mut plan.pieces)?;
        Ok(plan)
    }

    /// Carries a plan out. Blocks on the store unless the plan is cached.
    pub(crate) fn load(&self, plan: Plan) -> Result<Loaded> {
        self.try_load(plan).inspect_err(|_| Counters::add(&self.counters.corrupt_reads, 1))
    }

    /// The same, of no consequence if it fails.
    pub(crate) fn try_load(&self, plan: Plan) -> Result<Loaded> {
        let mut pieces = Vec::new();
        let mut bytes = 0;
        let mut more = true;
        for (chunk, segment) in &plan.chunks {
            let entries = self.entries(chunk, segment)?;
            let first = entries.partition_point(|entry| entry.end() <= plan.offset);
            for entry in &entries[first..] {
                more = more && (bytes == 0 || bytes + entry.length as usize <= plan.max_bytes);
                if more {
                    bytes += entry.length as usize;
                    pieces.push(Piece::Stored(Arc::clone(segment), *entry));
                }
            }
        }
        for piece in plan.pieces {
            let length = piece.length();
            more = more && (bytes == 0 || bytes + length <= plan.max_bytes || plan.chunks.is_empty());
            if more {
                bytes += length;
                pieces.push(piece);
            }
        }
        let end = match pieces.last() {
            Some(Piece::Stored(_, entry)) => Some(entry.end()),
            _ => None,
        };
        let batches = self.load_pieces(pieces)?;
        Ok(Loaded {
            read: Read { batches, high_watermark: plan.high_watermark, log_start: plan.log_start },
            bytes,
            end,
        })
    }

    /// The decoded index of a chunk, from the cache or the segment's file.
    pub(crate) fn entries(&self, chunk: &Chunk, segment: &Segment) -> Result<Entries> {
        if let Some(entries) = self.index_cache.get(chunk) {
            return Ok(entries);
        }
        let encoded = segment.read(chunk.index_position, chunk.index_length as usize)?;
        let mut entries = decode_chunk(&segment.name, chunk, &encoded)?;
        entries.retain(|entry| !self.skipped.contains(&(segment.id, entry.position)));
        let entries: Entries = entries.into();
        self.index_cache.put(chunk, Arc::clone(&entries));
        Ok(entries)
    }

    fn load_pieces(&self, pieces: Vec<Piece>) -> Result<Vec<Bytes>> {
        let mut batches = Vec::new();
        let mut span: Vec<IndexEntry> = Vec::new();
        let mut segment: Option<Arc<Segment>> = None;
        for piece in pieces {
            match piece {
                Piece::Stored(of, entry) => {
                    let fits =
                        segment.as_ref().is_some_and(|segment| segment.id == of.id && continues_span(&span, &entry));
                    if !fits {
                        self.load_span(segment.as_deref(), &span, &mut batches)?;
                        span.clear();
                    }
                    segment = Some(of);
                    span.push(entry);
                }
                Piece::Cached(bytes) => {
                    self.load_span(segment.as_deref(), &span, &mut batches)?;
                    span.clear();
                    batches.push(bytes);
                }
            }
        }
        self.load_span(segment.as_deref(), &span, &mut batches)?;
        Ok(batches)
    }

    /// Reads batches that lie close together with one call, checks each, and joins those that touch.
    fn load_span(&self, segment: Option<&Segment>, span: &[IndexEntry], batches: &mut Vec<Bytes>) -> Result<()> {
        let (Some(segment), Some(first), Some(last)) = (segment, span.first(), span.last()) else { return Ok(()) };
        let length = usize::try_from(last.position + u64::from(last.length) - first.position).unwrap_or(0);
        let bytes = self.read_buffers.read(segment, first.position, length)?;
        Counters::add(&self.counters.read_bytes, length as u64);
        // Few batches far apart would keep all that lies between them in memory for as long as anybody holds one of them.
        let is_sparse = 2 * span.iter().map(|entry| entry.length as usize).sum::<usize>() < length;
        let take = |range: Range<usize>| match is_sparse {
            true => Bytes::copy_from_slice(&bytes[range]),
            false => bytes.slice(range),
        };
        let mut run: Option<(usize, usize)> = None;
        for entry in span {
            let from = usize::try_from(entry.position - first.position).unwrap_or(0);
            let to = from + entry.length as usize;
            check_stored(segment, entry, &bytes.slice(from..to))?;
            match run {
                Some((start, end)) if end == from && !entry.shared => run = Some((start, to)),
                _ => {
                    batches.extend(run.take().map(|(start, end)| take(start..end)));
                    if entry.shared {
                        batches.push(with_base_offset(&bytes[from..to], entry.base_offset));
                    } else {
                        run = Some((from, to));
                    }
                }
            }
        }
        batches.extend(run.map(|(start, end)| take(start..end)));
        Ok(())
    }

    // ---- by time ------------------------------------------------------------------------------------------------

    /// The first record at `timestamp_ms` or later that readers can see.
    pub(crate) fn find_time(&self, id: PartitionId, timestamp_ms: i64) -> Result<Option<TimedOffset>> {
        self.find_record(id, |newest| newest >= timestamp_ms, |record| record.timestamp_ms >= timestamp_ms)
    }

    /// The first record that has the partition's largest timestamp.
    pub(crate) fn find_max_timestamp(&self, id: PartitionId) -> Result<Option<TimedOffset>> {
        let largest = {
            let inner = self.lock();
            let partition = inner.state.partition(id)?;
            let visible = partition.live().filter(|entry| entry.end() <= partition.high_watermark);
            partition
                .chunks
                .iter()
                .map(|chunk| chunk.max_timestamp_ms)
                .chain(visible.map(|entry| entry.max_timestamp_ms))
                .max()
        };
        let Some(largest) = largest else { return Ok(None) };
        self.find_record(id, |newest| newest >= largest, |record| record.timestamp_ms >= largest)
    }

    /// The first visible record that matches, looking only into batches whose newest timestamp may.
    fn find_record(
        &self,
        id: PartitionId,
        may: impl Fn(i64) -> bool,
        matches: impl Fn(&Record) -> bool,
    ) -> Result<Option<TimedOffset>> {
        let (chunks, active, log_start, high_watermark) = {
            let inner = self.lock();
            let partition = inner.state.partition(id)?;
            let chunks = partition.chunks.iter().filter(|chunk| may(chunk.max_timestamp_ms));
            let chunks = chunks.map(|chunk| (*chunk, inner.segments.get(&chunk.segment).cloned())).collect::<Vec<_>>();
            let active = partition.live().filter(|entry| may(entry.max_timestamp_ms)).copied().collect::<Vec<_>>();
            (chunks, active, partition.log_start, partition.high_watermark)
        };
        let look = |base_offset: u64| -> Result<Option<TimedOffset>> {
            let read = self.load(self.plan_read(id, base_offset.max(log_start), 1)?)?.read;
            let Some(mut bytes) = read.batches.into_iter().next() else { return Ok(None) };
            let batch = Batch::split_from(&mut bytes)?;
            let records = batch.records(batch.header.base_offset, self.config.max_decompressed_bytes)?;
            let found = records
                .iter()
                .find(|record| record.offset >= log_start && record.offset < high_watermark && matches(record));
            Ok(found.map(|record| TimedOffset { offset: record.offset, timestamp_ms: record.timestamp_ms }))
        };
        for (chunk, segment) in chunks {
            let segment = segment.ok_or_else(|| missing(chunk.segment))?;
            for entry in self
                .entries(&chunk, &segment)?
                .iter()
                .filter(|entry| may(entry.max_timestamp_ms) && entry.end() > log_start)
            {
                if let Some(found) = look(entry.base_offset)? {
                    return Ok(Some(found));
                }
            }
        }
        for entry in active.iter().filter(|entry| entry.end() <= high_watermark && entry.end() > log_start) {
            if let Some(found) = look(entry.base_offset)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Piece {
    fn length(&self) -> usize {
        match self {
            Self::Cached(bytes) => bytes.len(),
            Self::Stored(_, entry) => entry.length as usize,
        }
    }
}

/// Plans batches of the active segment: from the tail cache where they are still there, neighbours joined.
fn plan_active<'a>(
    inner: &Inner,
    entries: impl Iterator<Item = &'a IndexEntry>,
    high_watermark: u64,
    budget: usize,
    pieces: &mut Vec<Piece>,
) -> Result<()> {
    let segment = inner.segments.get(&inner.active).ok_or_else(|| missing(inner.active))?;
    let mut planned = 0;
    let mut run: Option<(u64, usize)> = None;
    // Neighbours lie in one block, so what holds a run's first batch holds all of it.
    let flush = |run: Option<(u64, usize)>, pieces: &mut Vec<Piece>| -> Result<()> {
        let Some((position, length)) = run else { return Ok(()) };
        let bytes = inner.tail.get(inner.active, position, length).ok_or_else(|| missing(inner.active))?;
        pieces.push(Piece::Cached(bytes));
        Ok(())
    };
    for entry in entries.take_while(|entry| entry.end() <= high_watermark) {
        if planned > 0 && planned + entry.length as usize > budget {
            break;
        }
        planned += entry.length as usize;
        let length = entry.length as usize;
        match run {
            Some((position, so_far)) if position + so_far as u64 == entry.position && !entry.shared => {
                run = Some((position, so_far + length))
            }
            _ => {
                flush(run.take(), pieces)?;
                match inner.tail.get(inner.active, entry.position, length) {
                    Some(bytes) if entry.shared => {
                        pieces.push(Piece::Cached(with_base_offset(&bytes, entry.base_offset)))
                    }
                    Some(_) => run = Some((entry.position, length)),
                    None => pieces.push(Piece::Stored(Arc::clone(segment), *entry)),
                }
            }
        }
    }
    flush(run, pieces)
}

fn continues_span(span: &[IndexEntry], next: &IndexEntry) -> bool {
    let (Some(first), Some(last)) = (span.first(), span.last()) else { return true };
    let end = last.position + u64::from(last.length);
    next.position >= end
        && next.position - end <= READ_GAP_BYTES
        && next.position + u64::from(next.length) - first.position <= READ_SPAN_BYTES
}

/// Every byte read back is checked: the batch's own checksum, and against the index what the checksum does not cover.
fn check_stored(segment: &Segment, entry: &IndexEntry, bytes: &Bytes) -> Result<()> {
    let corrupt = |reason: &str| segment.corrupt(entry.position, reason);
    let mut rest = bytes.clone();
    let batch = Batch::split_from(&mut rest).map_err(|error| corrupt(&error.to_string()))?;
    if !rest.is_empty()
        || (batch.header.base_offset != entry.base_offset && !entry.shared)
        || batch.header.leader_epoch != 0
    {
        return Err(corrupt("the batch is not the one the index names"));
    }
    Ok(())
}

fn with_base_offset(bytes: &[u8], base_offset: u64) -> Bytes {
    let mut patched = BytesMut::from(bytes);
    patched[..8].copy_from_slice(&base_offset.to_be_bytes());
    patched.freeze()
}

fn missing(segment: SegmentId) -> Error {
    Error::Invalid(format!("segment {} is not open", segment.0))
}

/// Decoded chunks, bounded in bytes; the one loaded first goes first.
#[derive(Default)]
pub(crate) struct IndexCache {
    held: Mutex<Held>,
    limit: usize,
}

#[derive(Default)]
struct Held {
    chunks: HashMap<(SegmentId, u64), Entries>,
    order: VecDeque<(SegmentId, u64)>,
    bytes: usize,
}

impl IndexCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { held: Mutex::default(), limit }
    }

    fn get(&self, chunk: &Chunk) -> Option<Entries> {
        self.held.lock().chunks.get(&(chunk.segment, chunk.index_position)).cloned()
    }

    fn put(&self, chunk: &Chunk, entries: Entries) {
        let key = (chunk.segment, chunk.index_position);
        let size = size_of_val(&*entries);
        let mut held = self.held.lock();
        if size > self.limit || held.chunks.insert(key, entries).is_some() {
            return;
        }
        held.bytes += size;
        held.order.push_back(key);
        while held.bytes > self.limit {
            let Some(oldest) = held.order.pop_front() else { break };
            if let Some(entries) = held.chunks.remove(&oldest) {
                held.bytes -= size_of_val(&*entries);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::store::Environment;
    use crate::{Engine, EngineConfig, TopicConfig, TopicName, Write};

    /// Whoever holds a few small batches must not hold all that lies between them in the log.
    #[tokio::test]
    async fn what_lies_between_batches_is_not_kept_with_them() {
        let directory = tempfile::tempdir().unwrap();
        let config = EngineConfig { segment_bytes: 4 << 20, tail_cache_bytes: 0, ..EngineConfig::default() };
        let engine = Engine::open_manual(config, Environment::local(directory.path()).unwrap()).unwrap().0;
        let name = TopicName::new("default", "topic").unwrap();
        let (topic, _) = engine.create_topic(name, 2, TopicConfig::default()).unwrap();
        for _ in 0..20 {
            for (partition, size) in topic.partitions.iter().zip([10, 10_000]) {
                let record = Record { value: Some(vec![b'x'; size].into()), ..Record::default() };
                drop(engine.append(vec![Write::new(*partition, Batch::pack(&[record]).unwrap())]).await);
            }
            engine.turn().unwrap();
        }
        let waiting = || engine.shard.read_buffers.waiting_bytes();
        let small = engine.read(topic.partitions[0], 0, 1 << 20).await.unwrap();
        assert!(small.batches.len() == 20 && waiting() > 0, "it is used again while the batches are held");
        let large = engine.read(topic.partitions[1], 0, 1 << 20).await.unwrap();
        let held = waiting();
        drop(large);
        assert!(waiting() > held, "these were not copied");
    }
}
