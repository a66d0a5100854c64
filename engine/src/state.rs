//! Everything the engine remembers, as one deterministic state: the log's records applied in order, live and in recovery
//! by the same code.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::batch::BatchHeader;
use crate::dedupe::Dedupe;
use crate::group::{Bounds, Group, GroupSnapshot, Next};
use crate::log::{Chunk, IndexEntry};
use crate::partition::Partition;
use crate::producer::Producers;
use crate::record::StateRecord;
use crate::schedule::{SCHEDULE_PARTITION, Schedule};
use crate::table::{Tables, TablesRef, TablesSnapshot};
use crate::waiting::{Subscription, Wakes};
use crate::{Durability, EngineConfig, Error, GroupName, PartitionId, Result, Topic};

/// The engine's state. Volatile parts (waiters, leases, indexes) live beside the durable ones.
pub(crate) struct State {
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Arc<Topic>>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
    /// Indexed by partition id; none where a topic was deleted.
    partitions: Vec<Option<Box<Partition>>>,
    pub groups: BTreeMap<GroupName, Group>,
    subscriptions: HashMap<GroupName, Subscription>,
    /// Changes of topics and groups so far: subscriptions are as of one of them.
    changes: u64,
    pub dedupe: Dedupe,
    /// Deleted partitions' batches in the active segment: a crash may undo the deletion, so its footer must have them.
    pub deleted_active: BTreeMap<PartitionId, Vec<IndexEntry>>,
    pub schedule: Schedule,
    pub next_producer_id: i64,
    pub tables: Tables,
    /// Chunks that lost their partition or fell below its log start since reclaim last looked.
    pub dropped: Vec<Chunk>,
    max_producers: usize,
}

/// A snapshot's contents, borrowed while it is written.
#[derive(Serialize)]
struct SnapshotRef<'a> {
    topics: Vec<&'a Topic>,
    next_partition: u32,
    partitions: Vec<(PartitionId, u64, u64, i64, &'a Producers)>,
    groups: Vec<GroupSnapshot>,
    dedupe: &'a Dedupe,
    schedule: &'a Schedule,
    next_producer_id: i64,
    tables: TablesRef<'a>,
}

/// A snapshot's contents, owned when it is read.
#[derive(Deserialize)]
pub(crate) struct Snapshot {
    topics: Vec<Topic>,
    next_partition: u32,
    partitions: Vec<(PartitionId, u64, u64, i64, Producers)>,
    groups: Vec<GroupSnapshot>,
    dedupe: Dedupe,
    schedule: Schedule,
    next_producer_id: i64,
    /// Behind the rest since version 2.
    #[serde(skip)]
    tables: TablesSnapshot,
}

/// The newest version of a snapshot's contents.
pub(crate) const SNAPSHOT_VERSION: u32 = 2;

impl Snapshot {
    /// Reads the contents of any version; none when they do not decode.
    pub(crate) fn decode(version: u32, contents: &[u8]) -> Option<Self> {
        let (mut snapshot, rest): (Self, _) = postcard::take_from_bytes(contents).ok()?;
        if version >= 2 {
            snapshot.tables = postcard::from_bytes(rest).ok()?;
        }
        Some(snapshot)
    }
}

impl State {
    /// The state of an empty store.
    pub(crate) fn new(config: &EngineConfig) -> Self {
        Self {
            by_name: HashMap::new(),
            by_id: HashMap::new(),
            partitions: vec![Some(Box::new(Partition::new(None, 0)))],
            groups: BTreeMap::new(),
            subscriptions: HashMap::new(),
            changes: 0,
            dedupe: Dedupe::default(),
            deleted_active: BTreeMap::new(),
            schedule: Schedule::default(),
            next_producer_id: 0,
            tables: Tables::default(),
            dropped: Vec::new(),
            max_producers: config.max_producers_per_partition,
        }
    }

    /// The state a snapshot holds.
    pub(crate) fn restore(config: &EngineConfig, snapshot: Snapshot) -> Self {
        let mut state = Self::new(config);
        state.partitions.resize_with(snapshot.next_partition as usize, || None);
        for topic in snapshot.topics {
            state.set_topic(topic);
        }
        for (id, log_start, next_offset, max_timestamp_ms, producers) in snapshot.partitions {
            if let Some(partition) = state.partition_mut(id) {
                partition.log_start = log_start;
                partition.next_offset = next_offset;
                partition.high_watermark = next_offset;
                partition.max_timestamp_ms = max_timestamp_ms;
                partition.producers = producers;
            }
        }
        state.groups =
            snapshot.groups.into_iter().map(Group::restore).map(|group| (group.name().clone(), group)).collect();
        state.dedupe = snapshot.dedupe;
        state.schedule = snapshot.schedule;
        state.next_producer_id = snapshot.next_producer_id;
        state.tables = Tables::restore(snapshot.tables);
        state
    }

    /// Encodes the durable parts.
    pub(crate) fn snapshot(&self) -> impl Serialize + '_ {
        let partitions =
            self.partitions().map(|(id, p)| (id, p.log_start, p.next_offset, p.max_timestamp_ms, &p.producers));
        SnapshotRef {
            topics: self.by_id.values().map(AsRef::as_ref).collect(),
            next_partition: self.next_partition().0,
            partitions: partitions.collect(),
            groups: self.groups.values().map(Group::snapshot).collect(),
            dedupe: &self.dedupe,
            schedule: &self.schedule,
            next_producer_id: self.next_producer_id,
            tables: self.tables.snapshot(),
        }
    }

    /// Applies one change. Whoever makes a record has checked that it can be applied; one about something deleted since does nothing.
    pub(crate) fn apply(&mut self, record: &StateRecord) {
        if matches!(record, StateRecord::TopicSet(_) | StateRecord::TopicDeleted(_) | StateRecord::GroupSet { .. }) {
            self.changes += 1;
        }
        match record {
            StateRecord::TopicSet(topic) => self.set_topic(topic.clone()),
            StateRecord::TopicDeleted(id) => self.delete_topic(*id),
            StateRecord::LogStart { partition, offset } => self.advance_log_start(*partition, *offset),
            StateRecord::GroupSet { name, config } => match self.groups.get_mut(name) {
                Some(group) => group.set_config(config.clone()),
                None => {
                    self.groups.insert(name.clone(), Group::new(name.clone(), config.clone()));
                }
            },
            StateRecord::GroupDeleted(name) => {
                self.groups.remove(name);
                self.wake_group(name);
                self.subscriptions.remove(name);
            }
            StateRecord::Group { name, record } => {
                if let Some(group) = self.groups.get_mut(name) {
                    group.apply(record);
                }
            }
            StateRecord::ProducerIds { next } => self.next_producer_id = self.next_producer_id.max(*next),
            StateRecord::Dedupe { key, body, partition, base_offset, at_ms } => {
                self.dedupe.remember(*key, *body, *partition, *base_offset, *at_ms);
            }
            StateRecord::Scheduled { offset, due_ms, targets } => self.schedule.add(*offset, *due_ms, targets.clone()),
            StateRecord::ScheduledDone { offset } => {
                self.schedule.remove(*offset);
                self.advance_schedule();
            }
            StateRecord::TableSet { table, key, value } => self.tables.set(table, key, value.as_deref()),
        }
    }

    /// Takes a batch into account: the offset of its first record, or none when the partition is gone.
    pub(crate) fn push_batch(&mut self, id: PartitionId, header: &BatchHeader) -> Option<u64> {
        let limit = self.max_producers;
        self.partition_mut(id).map(|partition| partition.push(header, limit))
    }

    // ---- topics -------------------------------------------------------------------------------------------------

    pub(crate) fn topic(&self, namespace: &str, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(namespace)?.get(name)
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_id.values()
    }

    pub(crate) fn topic_count(&self) -> usize {
        self.by_id.len()
    }

    fn set_topic(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        for (index, id) in topic.partitions.iter().enumerate() {
            let slot = id.0 as usize;
            if self.partitions.len() <= slot {
                self.partitions.resize_with(slot + 1, || None);
            }
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let partition = self.partitions[slot].get_or_insert_with(|| Box::new(Partition::new(None, index)));
            partition.topic = Some(Arc::clone(&topic));
        }
        // It may have grown: who waits for its groups looks again, and then waits for the new partitions too.
        if let Some(first) = topic.partitions.first().and_then(|id| self.partition_mut(*id)) {
            let mut wakes = Wakes::default();
            first.wake_groups(topic.partitions[0], &mut wakes);
            wakes.send();
        }
        let names = self.by_name.entry(topic.name.namespace().into()).or_default();
        names.insert(topic.name.name().into(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    fn delete_topic(&mut self, id: Uuid) {
        let Some(topic) = self.by_id.remove(&id) else { return };
        if let Some(names) = self.by_name.get_mut(topic.name.namespace()) {
            names.remove(topic.name.name());
        }
        let mut wakes = Wakes::default();
        for partition in &topic.partitions {
            if let Some(mut gone) = self.partitions.get_mut(partition.0 as usize).and_then(Option::take) {
                gone.wake(*partition, &mut wakes);
                self.deleted_active.insert(*partition, gone.active.drain(..).collect());
                self.dropped.extend(gone.chunks);
            }
        }
        wakes.send();
        for group in self.groups.values_mut() {
            group.forget_partitions(&topic.partitions);
        }
    }

    // ---- partitions ---------------------------------------------------------------------------------------------

    pub(crate) fn partition(&self, id: PartitionId) -> Result<&Partition> {
        self.partitions.get(id.0 as usize).and_then(Option::as_deref).ok_or(Error::UnknownPartition)
    }

    pub(crate) fn partition_mut(&mut self, id: PartitionId) -> Option<&mut Partition> {
        self.partitions.get_mut(id.0 as usize).and_then(Option::as_deref_mut)
    }

    /// What a write to all of these waits for.
    pub(crate) fn strongest_durability(&self, ids: &[PartitionId]) -> Result<Durability> {
        let mut each = ids.iter().map(|id| self.partition(*id).map(Partition::durability));
        each.try_fold(Durability::Memory, |strongest, durability| Ok(strongest.max(durability?)))
    }

    /// Every partition, in order of its id.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (PartitionId, &Partition)> {
        let numbered = self.partitions.iter().zip(0..).map(|(slot, id)| (PartitionId(id), slot.as_deref()));
        numbered.filter_map(|(id, partition)| partition.map(|partition| (id, partition)))
    }

    /// Every partition, to be changed.
    pub(crate) fn partitions_mut(&mut self) -> impl Iterator<Item = (PartitionId, &mut Partition)> {
        let numbered = self.partitions.iter_mut().zip(0..).map(|(slot, id)| (PartitionId(id), slot.as_deref_mut()));
        numbered.filter_map(|(id, partition)| partition.map(|partition| (id, partition)))
    }

    /// The id the next partition gets.
    pub(crate) fn next_partition(&self) -> PartitionId {
        PartitionId(u32::try_from(self.partitions.len()).unwrap_or(u32::MAX))
    }

    /// Enters a batch run of a segment just sealed.
    pub(crate) fn add_chunk(&mut self, id: PartitionId, chunk: Chunk) {
        match self.partition_mut(id) {
            Some(partition) if chunk.end > partition.log_start => partition.chunks.push_back(chunk),
            _ => self.dropped.push(chunk),
        }
    }

    fn advance_log_start(&mut self, id: PartitionId, offset: u64) {
        if let Some(partition) = self.partition_mut(id) {
            let dropped = partition.advance_log_start(offset);
            self.dropped.extend(dropped);
        }
    }

    /// The schedule's partition keeps what still waits. Derived from the schedule, so it needs no record of its own.
    fn advance_schedule(&mut self) {
        let end = self.partition(SCHEDULE_PARTITION).map_or(0, |partition| partition.next_offset);
        let first = self.schedule.first_offset().unwrap_or(end);
        self.advance_log_start(SCHEDULE_PARTITION, first);
    }

    // ---- groups -------------------------------------------------------------------------------------------------

    pub(crate) fn group(&self, name: &GroupName) -> Result<&Group> {
        self.groups.get(name).ok_or_else(|| Error::UnknownGroup(name.clone()))
    }

    pub(crate) fn group_mut(&mut self, name: &GroupName) -> Result<&mut Group> {
        self.groups.get_mut(name).ok_or_else(|| Error::UnknownGroup(name.clone()))
    }

    /// The partitions a group consumes when shared.
    pub(crate) fn group_partitions(&self, group: &Group) -> Vec<PartitionId> {
        let topics = group.config().topics.iter().filter_map(|name| self.topic(name.namespace(), name.name()));
        topics.flat_map(|topic| topic.partitions.iter().copied()).collect()
    }

    /// Where the slowest of its groups is, for each partition that has a group.
    pub(crate) fn acknowledged_by_all(&self) -> HashMap<PartitionId, u64> {
        let mut lowest = HashMap::new();
        for group in self.groups.values() {
            for id in self.group_partitions(group).into_iter().chain(group.partitions()) {
                let position = group.lowest_unacknowledged(id);
                lowest.entry(id).and_modify(|lowest: &mut u64| *lowest = position.min(*lowest)).or_insert(position);
            }
        }
        lowest
    }

    /// After a restart: what groups have not acknowledged may have been handed out before it.
    pub(crate) fn doubt_deliveries(&mut self) {
        let mut groups = std::mem::take(&mut self.groups);
        for group in groups.values_mut() {
            for id in self.group_partitions(group).into_iter().chain(group.partitions().collect::<Vec<_>>()) {
                if let Some(end) = self.partition(id).ok().map(|partition| partition.next_offset).filter(|end| *end > 0)
                {
                    group.doubt_deliveries(id, end);
                }
            }
        }
        self.groups = groups;
    }

    /// Wakes those who wait for a group's records.
    pub(crate) fn wake_group(&mut self, name: &GroupName) {
        if let Some(subscription) = self.subscriptions.get(name) {
            let mut wakes = Wakes::default();
            subscription.signal.wake(&mut wakes);
            wakes.send();
        }
    }

    /// Wakes those who wait for any group.
    pub(crate) fn wake_groups(&self, wakes: &mut Wakes) {
        self.subscriptions.values().for_each(|subscription| subscription.signal.wake(wakes));
    }

    /// What a group consumes now.
    pub(crate) fn subscription(&mut self, name: &GroupName) -> Result<&Subscription> {
        let known = self.subscriptions.get(name);
        if known.is_none_or(|known| known.version != self.changes) {
            let signal = known.map(|known| Arc::clone(&known.signal)).unwrap_or_default();
            let mut partitions = self.group_partitions(self.group(name)?);
            partitions.sort_unstable();
            let partitions: Arc<[PartitionId]> = partitions.into();
            self.group_mut(name)?.subscribe(&partitions);
            for id in partitions.iter() {
                if let Some(partition) = self.partition_mut(*id) {
                    partition.add_group(&signal);
                }
            }
            let subscription = Subscription { version: self.changes, partitions, signal };
            self.subscriptions.insert(name.clone(), subscription);
        }
        self.subscriptions.get(name).ok_or_else(|| Error::UnknownGroup(name.clone()))
    }

    /// Where a group's consumer goes on. See [`Group::next`].
    pub(crate) fn next_for(&mut self, name: &GroupName, acknowledge: bool, now_ms: i64) -> Result<Option<Next>> {
        let subscription = self.subscription(name)?;
        let (partitions, changed) = (Arc::clone(&subscription.partitions), subscription.signal.take_changed());
        let Self { groups, partitions: all, .. } = self;
        let bounds = |id: PartitionId| {
            partitions.binary_search(&id).ok()?;
            let found = all.get(id.0 as usize)?.as_deref()?;
            Some(Bounds { partition: id, log_start: found.log_start, high_watermark: found.high_watermark })
        };
        let group = groups.get_mut(name).ok_or_else(|| Error::UnknownGroup(name.clone()))?;
        changed.into_iter().for_each(|id| group.touch(id));
        group.next(bounds, acknowledge, now_ms)
    }
}
