//! Opening the log: manifest, newest snapshot, footers of sealed segments, then the blocks after the snapshot.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::block::{Block, BlockHeader, Chain, Entry};
use super::index::{Chunk, IndexEntry, add_index_entries, max_index_bytes};
use super::manifest::{Manifest, Skipped, StoredManifest, open_object, undecodable};
use super::segment::{Footer, Found, SEGMENT_HEADER_BYTES, Segment, SegmentId, SegmentKind};
use super::writer::{Position, Writer};
use crate::record::StateRecord;
use crate::state::{SNAPSHOT_VERSION, Snapshot, State};
use crate::store::{Destination, Store};
use crate::{EngineConfig, Error, PartitionId, Result};

/// Opens a snapshot.
pub(crate) const SNAPSHOT_MAGIC: &[u8; 8] = b"TGSNAPSH";

/// How much of a segment's end is written again at once.
const REWRITE_BYTES: usize = 4 << 20;

/// An opened log.
pub(crate) struct Recovered {
    pub state: State,
    pub segments: BTreeMap<SegmentId, Arc<Segment>>,
    pub sealed: BTreeMap<SegmentId, u64>,
    pub position: Position,
    pub spare: Option<Arc<Segment>>,
    pub manifest: StoredManifest,
    pub replayed_bytes: u64,
    pub torn_bytes: u64,
}

/// Opens the log in a store, creating it if the store is empty.
///
/// # Errors
/// [`Error::Corrupt`] names file and position of what does not check and is not merely an unfinished last write.
pub(crate) fn recover(config: &EngineConfig, store: &dyn Store) -> Result<Recovered> {
    let mut manifest = StoredManifest::load(store)?;
    remove_leftovers(store, &manifest.manifest)?;
    let (state, replay_from) = load_snapshot(config, store, &manifest.manifest)?;
    let mut recovery = Recovery {
        state,
        replay_from,
        skipped: manifest.manifest.skipped.clone(),
        chain: None,
        after_gap: false,
        segments: BTreeMap::new(),
        sealed: BTreeMap::new(),
        open: Vec::new(),
        chunks: Vec::new(),
        replayed_bytes: 0,
        torn_bytes: 0,
    };
    for (id, kind) in manifest.manifest.segments.clone() {
        recovery.load(store, id, kind)?;
    }
    let position = recovery.find_position(config, store, &mut manifest)?;
    recovery.install_chunks();
    let spare =
        recovery.open.iter().map(|open| &open.segment).find(|segment| segment.id > position.segment.id).cloned();
    recovery.finish(&position);
    Ok(Recovered {
        state: recovery.state,
        segments: recovery.segments,
        sealed: recovery.sealed,
        position,
        spare,
        manifest,
        replayed_bytes: recovery.replayed_bytes,
        torn_bytes: recovery.torn_bytes,
    })
}

/// A crash between creating a file and entering it into the manifest leaves a file that holds nothing, or only copies;
/// one between taking a segment out and deleting it leaves one whose number was given out. A log segment that holds a
/// block and was never entered is not ours to remove.
fn remove_leftovers(store: &dyn Store, manifest: &Manifest) -> Result<()> {
    let names = store.list().map_err(|e| Error::io("listing the data directory", &e))?;
    let known: Vec<String> = manifest.segments.iter().map(|(id, kind)| kind.file_name(*id)).collect();
    let snapshot = manifest.snapshot.as_ref().map(|(name, _)| name.as_str());
    for name in names {
        let is_copy = (name.starts_with("sorted-") && !known.contains(&name))
            || (name.starts_with("snapshot-") && Some(name.as_str()) != snapshot);
        let unlisted = log_segment(&name).filter(|_| !known.contains(&name));
        let is_leftover = match unlisted {
            Some(id) => id.0 < manifest.next_segment || holds_no_block(store, id)?,
            None => is_copy,
        };
        if is_leftover {
            store.delete(&name).map_err(|e| Error::io(format!("removing {name}"), &e))?;
        } else if unlisted.is_some() {
            return Err(Error::Corrupt {
                file: "manifest".to_owned(),
                position: 0,
                reason: format!("it does not list {name}"),
            });
        }
    }
    Ok(())
}

/// The number of the log segment a file is named after.
fn log_segment(name: &str) -> Option<SegmentId> {
    let id = name.strip_prefix("log-")?.strip_suffix(".seg")?;
    u64::from_str_radix(id, 16).ok().map(SegmentId)
}

fn holds_no_block(store: &dyn Store, id: SegmentId) -> Result<bool> {
    let segment = match Segment::open(store, id, SegmentKind::Log) {
        Ok(segment) => segment,
        Err(Error::Corrupt { .. }) => return Ok(true),
        Err(error) => return Err(error),
    };
    let size = segment.file.size().map_err(|e| Error::io(format!("reading {}", segment.name), &e))?;
    Ok(!matches!(segment.block_at(SEGMENT_HEADER_BYTES, size)?, Found::Block(_)))
}

fn load_snapshot(config: &EngineConfig, store: &dyn Store, manifest: &Manifest) -> Result<(State, u64)> {
    let Some((name, next_sequence)) = &manifest.snapshot else { return Ok((State::new(config), 0)) };
    let contents = store.get(name).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            Error::Corrupt { file: name.clone(), position: 0, reason: "it is missing".to_owned() }
        }
        _ => Error::io(format!("reading {name}"), &error),
    })?;
    let (version, body) = open_object(name, SNAPSHOT_MAGIC, SNAPSHOT_VERSION, &contents)?;
    let snapshot = Snapshot::decode(version, body).ok_or_else(|| undecodable(name))?;
    Ok((State::restore(config, snapshot), *next_sequence))
}

/// A log segment without a footer, after it was scanned.
struct Open {
    segment: Arc<Segment>,
    first_sequence: u64,
    /// Number after its last block, and that one's checksum; those of the block before it, if it has none.
    next_sequence: u64,
    last_crc: u32,
    end: u64,
    /// Where the scan stopped at something that is not a block.
    torn: bool,
    /// Blocks, by number and position, of which no later one says that they were synced.
    unproven: VecDeque<(u64, u64)>,
    index: Vec<(PartitionId, IndexEntry)>,
}

impl Open {
    fn note_block(&mut self, header: &BlockHeader) {
        self.next_sequence = header.sequence + 1;
        self.last_crc = header.crc;
        self.unproven.push_back((header.sequence, self.end));
        while self.unproven.front().is_some_and(|(sequence, _)| *sequence < header.synced_below) {
            self.unproven.pop_front();
        }
        self.end += u64::from(header.length);
    }

    /// Makes durable what readers are about to see. Syncing is not enough: after a sync that failed the system may hold
    /// the bytes in memory, call them clean, and never write them. So they are written again.
    fn make_durable(&mut self) -> Result<()> {
        let doing = |error: &std::io::Error| Error::io(format!("rewriting the end of {}", self.segment.name), error);
        let mut at = self.unproven.front().map_or(self.end, |(_, position)| *position);
        while at < self.end {
            let length = REWRITE_BYTES.min(usize::try_from(self.end - at).unwrap_or(REWRITE_BYTES));
            let bytes = self.segment.read(at, length)?;
            self.segment.file.write_at(at, &bytes, Destination::Disk).map_err(|e| doing(&e))?;
            at += length as u64;
        }
        self.segment.file.sync().map_err(|e| doing(&e))?;
        self.unproven.clear();
        Ok(())
    }
}

struct Recovery {
    state: State,
    replay_from: u64,
    skipped: Vec<Skipped>,
    /// What the next block must continue; none before the first.
    chain: Option<Chain>,
    /// The next block comes after a gap that an operator has accepted: it may continue anything.
    after_gap: bool,
    segments: BTreeMap<SegmentId, Arc<Segment>>,
    sealed: BTreeMap<SegmentId, u64>,
    open: Vec<Open>,
    chunks: Vec<(PartitionId, Chunk, SegmentKind)>,
    replayed_bytes: u64,
    torn_bytes: u64,
}

impl Recovery {
    fn load(&mut self, store: &dyn Store, id: SegmentId, kind: SegmentKind) -> Result<()> {
        let segment = Arc::new(Segment::open(store, id, kind)?);
        self.segments.insert(id, Arc::clone(&segment));
        match (segment.footer()?, kind) {
            (Some(footer), _) => self.load_sealed(&segment, footer, kind),
            (None, SegmentKind::Log) => self.load_open(segment),
            (None, SegmentKind::Sorted) => Err(segment.corrupt(0, "it has no footer")),
        }
    }

    fn load_sealed(&mut self, segment: &Arc<Segment>, footer: Footer, kind: SegmentKind) -> Result<()> {
        self.sealed.insert(segment.id, footer.next_sequence);
        self.chunks.extend(footer.chunks.into_iter().map(|(id, chunk)| (id, chunk, kind)));
        if kind == SegmentKind::Sorted {
            return Ok(());
        }
        if footer.next_sequence > self.replay_from {
            let scanned = self.scan(segment, footer.blocks_end)?;
            if scanned.torn || scanned.end != footer.blocks_end {
                return Err(segment.corrupt(scanned.end, "a block in a sealed segment does not check"));
            }
        }
        self.chain = Some(Chain {
            sequence: footer.next_sequence,
            previous_crc: footer.last_crc,
            synced_below: footer.next_sequence,
        });
        Ok(())
    }

    fn load_open(&mut self, segment: Arc<Segment>) -> Result<()> {
        let size = segment.file.size().map_err(|e| Error::io(format!("reading {}", segment.name), &e))?;
        // A later segment whose first block is not the next one: a block is missing between the two. If it is the next one,
        // what does not check was there before the space was ours.
        if let Some(last) = self.open.last()
            && last.torn
            && let Found::Block(first) = segment.block_at(SEGMENT_HEADER_BYTES, size)?
            && self
                .chain
                .map_or(first.header.sequence > self.replay_from, |chain| chain.sequence != first.header.sequence)
        {
            return Err(last.segment.corrupt(last.end, "a block does not check, and a later segment follows it"));
        }
        let mut scanned = self.scan(&segment, size)?;
        // Zeros where a block would begin are the end of the log only if nothing lies behind them.
        scanned.torn = scanned.torn || segment.written_end(scanned.end, size)? > scanned.end;
        if scanned.torn {
            self.check_torn(&segment, scanned.end, size)?;
        }
        let next = self.chain.map_or(0, |chain| chain.sequence);
        // What does not check may have been there before the space was ours, unless it is told by its number.
        let claimed = if scanned.torn { segment.header_at(scanned.end, size)? } else { None };
        let is_used = scanned.end > SEGMENT_HEADER_BYTES
            || claimed.is_some_and(|header| (next..self.replay_from).contains(&header.sequence));
        if is_used && next < self.replay_from {
            let reason = format!("the log ends before block {}, up to which it was durable", self.replay_from);
            return Err(segment.corrupt(scanned.end, &reason));
        }
        self.open.push(scanned);
        Ok(())
    }

    /// Reads a segment's blocks up to `size`, or to the first that does not check.
    fn scan(&mut self, segment: &Arc<Segment>, size: u64) -> Result<Open> {
        let first_sequence = self.chain.map_or(0, |chain| chain.sequence);
        let mut open = Open {
            segment: Arc::clone(segment),
            first_sequence,
            next_sequence: first_sequence,
            last_crc: self.chain.map_or(0, |chain| chain.previous_crc),
            end: SEGMENT_HEADER_BYTES,
            torn: false,
            unproven: VecDeque::new(),
            index: Vec::new(),
        };
        loop {
            if let Some(length) = self.skipped_at(segment.id, open.end) {
                open.end += length;
                self.after_gap = true;
                continue;
            }
            let block = match segment.block_at(open.end, size)? {
                Found::Block(block) => block,
                Found::End => return Ok(open),
                Found::Bad(_) => return Ok(Open { torn: true, ..open }),
            };
            let is_first = open.end == SEGMENT_HEADER_BYTES;
            if !self.continues(&block.header, is_first) {
                return Ok(Open { torn: true, ..open });
            }
            if is_first {
                open.first_sequence = block.header.sequence;
            }
            self.apply(segment, open.end, &block, &mut open.index)?;
            open.note_block(&block.header);
        }
    }

    /// Whether a block comes next. Segments wholly before the snapshot may have been reclaimed, so a segment may begin
    /// later than the one before it ended, but not later than the snapshot.
    fn continues(&mut self, header: &BlockHeader, is_first: bool) -> bool {
        if std::mem::take(&mut self.after_gap) {
            return true;
        }
        match self.chain {
            Some(chain) if chain.sequence == header.sequence => {
                chain.previous_crc == header.previous_crc || (is_first && header.previous_crc == 0)
            }
            Some(chain) => is_first && chain.sequence < header.sequence && header.sequence <= self.replay_from,
            None => header.sequence <= self.replay_from,
        }
    }

    fn skipped_at(&self, segment: SegmentId, position: u64) -> Option<u64> {
        self.skipped
            .iter()
            .find(|skipped| skipped.segment == segment && skipped.position == position)
            .map(|skipped| skipped.length)
    }

    fn apply(
        &mut self,
        segment: &Segment,
        position: u64,
        block: &Block,
        index: &mut Vec<(PartitionId, IndexEntry)>,
    ) -> Result<()> {
        let header = &block.header;
        let replay = header.sequence >= self.replay_from;
        for (payload, entry) in &block.entries {
            let at = position + u64::from(*payload);
            add_index_entries(entry, at, index);
            if replay {
                self.replay(entry).map_err(|reason| segment.corrupt(at, reason))?;
            }
        }
        if replay {
            self.replayed_bytes += u64::from(header.length);
        }
        self.chain = Some(Chain {
            sequence: header.sequence + 1,
            previous_crc: header.crc,
            synced_below: header.synced_below.max(self.chain.map_or(0, |chain| chain.synced_below)),
        });
        Ok(())
    }

    fn replay(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let lenient = !self.skipped.is_empty();
        match entry {
            Entry::Batch { partition, base_offset, header, .. } => {
                self.replay_batch(*partition, *base_offset, header, lenient)
            }
            Entry::Shared { targets, header, .. } => {
                targets.iter().try_for_each(|(id, base_offset)| self.replay_batch(*id, *base_offset, header, lenient))
            }
            Entry::State(bytes) => {
                let record =
                    StateRecord::decode(bytes).ok_or("a state record does not decode: a newer version wrote it")?;
                self.state.apply(&record);
                Ok(())
            }
        }
    }

    /// A batch must continue its partition, except behind a gap that an operator has accepted.
    fn replay_batch(
        &mut self,
        id: PartitionId,
        base_offset: u64,
        header: &crate::batch::BatchHeader,
        lenient: bool,
    ) -> Result<(), &'static str> {
        let Some(partition) = self.state.partition_mut(id) else { return Ok(()) };
        if lenient && base_offset > partition.next_offset {
            partition.next_offset = base_offset;
        }
        if partition.next_offset != base_offset {
            return Err("a batch does not continue its partition");
        }
        self.state.push_batch(id, header);
        Ok(())
    }

    /// Tells an unfinished last write, which is cut, from damage, which is not ours to cut: a later block that says the
    /// bad one was durable proves damage.
    fn check_torn(&mut self, segment: &Segment, position: u64, size: u64) -> Result<()> {
        let expected = self.chain.map_or(0, |chain| chain.sequence);
        let mut at = position;
        while let Some(found) = segment.next_block(at, size)? {
            if let Found::Block(block) = segment.block_at(found, size)?
                && block.header.sequence >= expected
                && block.header.synced_below > expected
            {
                return Err(segment.corrupt(position, "a block that was durable does not check"));
            }
            at = found + 1;
        }
        let torn = segment.written_end(position, size)? - position;
        self.torn_bytes += torn;
        tracing::warn!(file = segment.name, position, bytes = torn, "cut an unfinished write off the end of the log");
        Ok(())
    }

    /// Where writing goes on. What was cut off is never written over: its segment is sealed there and a new one begun.
    fn find_position(
        &mut self,
        config: &EngineConfig,
        store: &dyn Store,
        manifest: &mut StoredManifest,
    ) -> Result<Position> {
        let chain = self.chain.filter(|chain| chain.sequence >= self.replay_from);
        let chain = chain.unwrap_or(Chain { sequence: self.replay_from, ..Chain::default() });
        let active = self
            .open
            .iter()
            .rposition(|open| open.end > SEGMENT_HEADER_BYTES || open.torn)
            .or((!self.open.is_empty()).then_some(0));
        let torn = active.is_some_and(|at| self.open[at].torn);
        if let Some(at) = active
            && !torn
        {
            self.seal_before(at)?;
            // What is about to be continued must be durable first: blocks after it will say that it was.
            let open = &mut self.open[at];
            open.make_durable()?;
            return Ok(Position {
                segment: Arc::clone(&open.segment),
                position: open.end,
                chain: Chain { synced_below: chain.sequence, ..chain },
                first_sequence: open.first_sequence,
                index_bytes: index_bytes(&open.index),
            });
        }
        let chain = Chain { synced_below: chain.sequence, ..chain };
        let next = active.map_or(0, |at| at + 1);
        self.seal_before(next)?;
        if let Some(spare) = self.open.get(next) {
            return Ok(Position::start_of(Arc::clone(&spare.segment), chain));
        }
        let id = SegmentId(manifest.manifest.next_segment);
        let segment = Arc::new(Segment::create(store, id, SegmentKind::Log, config.segment_bytes)?);
        manifest.change(store, |manifest| {
            manifest.next_segment += 1;
            manifest.segments.push((id, SegmentKind::Log));
        })?;
        self.segments.insert(id, Arc::clone(&segment));
        Ok(Position::start_of(segment, chain))
    }

    /// Seals every open segment before the one that will be written.
    fn seal_before(&mut self, at: usize) -> Result<()> {
        for index in 0..at {
            self.open[index].make_durable()?;
            let open = &self.open[index];
            let footer_of = open.segment.id;
            // Segments behind one that was never used may have been sealed before.
            let next =
                self.open.get(index + 1).filter(|_| open.end > SEGMENT_HEADER_BYTES).map(|next| next.first_sequence);
            let next_sequence = next.unwrap_or(open.next_sequence);
            let position = Position {
                segment: Arc::clone(&open.segment),
                position: open.end,
                chain: Chain { sequence: next_sequence, previous_crc: open.last_crc, synced_below: next_sequence },
                first_sequence: open.first_sequence,
                index_bytes: index_bytes(&open.index),
            };
            let (footer, chunks) = Writer::new(position, 0).seal(&by_partition(&open.index))?;
            self.sealed.insert(footer_of, footer.next_sequence);
            self.chunks.extend(chunks.into_iter().map(|(id, chunk)| (id, chunk, SegmentKind::Log)));
            self.open[index].index.clear();
        }
        Ok(())
    }

    /// Gives each partition its chunks, oldest segment first: a run of a sorted segment's chunks takes the place of
    /// everything it covers, because it was made from that.
    fn install_chunks(&mut self) {
        self.chunks.sort_by_key(|(id, chunk, _)| (chunk.segment, *id, chunk.first));
        let chunks = std::mem::take(&mut self.chunks);
        let continues = |a: &(PartitionId, Chunk, SegmentKind), b: &(PartitionId, Chunk, SegmentKind)| {
            a.0 == b.0 && a.1.segment == b.1.segment && a.1.end == b.1.first
        };
        for run in chunks.chunk_by(continues) {
            let [(id, first, kind), ..] = run else { continue };
            let Some(partition) = self.state.partition_mut(*id) else { continue };
            let end = run.last().map_or(first.end, |(_, last, _)| last.end);
            if *kind == SegmentKind::Sorted {
                partition.chunks.retain(|old| old.first < first.first || old.end > end);
            }
            for (_, chunk, _) in run.iter().filter(|(_, chunk, _)| chunk.end > partition.log_start) {
                let at = partition.chunks.partition_point(|old| old.first < chunk.first);
                partition.chunks.insert(at, *chunk);
            }
        }
    }

    /// Puts the active segment's index into the partitions and lets readers see everything recovered.
    fn finish(&mut self, position: &Position) {
        let index = self
            .open
            .iter_mut()
            .find(|open| open.segment.id == position.segment.id)
            .map(|open| std::mem::take(&mut open.index));
        for (id, entry) in index.unwrap_or_default() {
            if let Some(partition) = self.state.partition_mut(id) {
                partition.active.push_back(entry);
            }
        }
        for (_, partition) in self.state.partitions_mut() {
            partition.high_watermark = partition.next_offset;
        }
        self.state.doubt_deliveries();
    }
}

/// Writes a log segment's footer anew from its blocks, which end at `blocks_end`.
pub(crate) fn rebuild_footer(segment: &Segment, blocks_end: u64) -> Result<()> {
    let mut index = Vec::new();
    let mut first_sequence = None;
    let mut chain = Chain::default();
    let mut at = SEGMENT_HEADER_BYTES;
    while let Found::Block(block) = segment.block_at(at, blocks_end)? {
        block
            .entries
            .iter()
            .for_each(|(payload, entry)| add_index_entries(entry, at + u64::from(*payload), &mut index));
        first_sequence.get_or_insert(block.header.sequence);
        chain = Chain {
            sequence: block.header.sequence + 1,
            previous_crc: block.header.crc,
            synced_below: block.header.sequence + 1,
        };
        at += u64::from(block.header.length);
    }
    if at != blocks_end {
        return Err(segment.corrupt(at, "a block before the damaged index does not check either: skip that first"));
    }
    let position = Position {
        segment: Arc::new(Segment {
            id: segment.id,
            kind: segment.kind,
            name: segment.name.clone(),
            file: Arc::clone(&segment.file),
        }),
        position: at,
        chain,
        first_sequence: first_sequence.unwrap_or_default(),
        index_bytes: index_bytes(&index),
    };
    Writer::new(position, 0).seal(&by_partition(&index)).map(drop)
}

fn index_bytes(index: &[(PartitionId, IndexEntry)]) -> u64 {
    let partitions: HashSet<PartitionId> = index.iter().map(|(id, _)| *id).collect();
    max_index_bytes(index.len(), partitions.len())
}

fn by_partition(index: &[(PartitionId, IndexEntry)]) -> Vec<(PartitionId, Vec<IndexEntry>)> {
    let mut sorted: HashMap<PartitionId, Vec<IndexEntry>> = HashMap::new();
    for (id, entry) in index {
        sorted.entry(*id).or_default().push(*entry);
    }
    let mut sorted: Vec<_> = sorted.into_iter().collect();
    sorted.sort_unstable_by_key(|(id, _)| *id);
    sorted
}
