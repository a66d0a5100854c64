//! Groups at work: finding records for a consumer, reading them outside the lock, writing what settlement comes to.
//! What a group decides is in `group/`; here it meets the log. The call sequence is explained in `group/state.rs`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use crate::ahead::{Credit, Decoded, Found, Undecodable};
use crate::batch::Record;
use crate::counters::Counters;
use crate::group::{
    Bounds, ConsumerId, DeadLetter, Delivery, Grant, Group, GroupConfig, GroupRecord, LeaseId, LeaseRequest, Mode,
    Next, Offer, OffsetCommit, Outcome, PartitionLag, Settlement, Start, key_hash,
};
use crate::log::Entry;
use crate::record::StateRecord;
use crate::shard::{Haste, Inner, Kind, Origin, Purpose, Shard};
use crate::{Appended, Atomic, Commit, Durability, Engine, Error, GroupName, PartitionId, Result, header_names};

/// One read for a consumer brings about so much, whatever it asks for: the rest is kept for the next time, and a reader that
/// always asks for as much is read ahead for.
const READ_BYTES: usize = 512 << 10;
/// More than one settlement can add to the log.
const MAX_SETTLEMENT_BYTES: usize = 128;
/// More than one run of acknowledged offsets takes.
const MAX_RUN_BYTES: usize = 32;
/// How often one call asks anew when other consumers, retention or a seek change the group meanwhile.
const MAX_ROUNDS: usize = 1000;

/// What a lease call has gathered.
struct Gathered {
    deliveries: Vec<Delivery>,
    bytes: usize,
    request: LeaseRequest,
    /// The first partition that gave nothing more although the group offered it: with records that are acknowledged at once,
    /// the group's limit stops only those that have to be copied.
    refused: Option<PartitionId>,
}

impl Gathered {
    fn has_credit(&self) -> bool {
        self.deliveries.len() < self.request.max_messages
            && (self.bytes < self.request.max_bytes || self.deliveries.is_empty())
    }
}

/// Leases records to a consumer, as many as there are up to what it asks for.
pub(crate) async fn lease(
    engine: &Engine,
    shard: &Arc<Shard>,
    name: &GroupName,
    request: LeaseRequest,
) -> Result<Vec<Delivery>> {
    let mut gathered = Gathered { deliveries: Vec::new(), bytes: 0, request, refused: None };
    for _ in 0..MAX_ROUNDS {
        if !gathered.has_credit() {
            break;
        }
        let round = match shard.next_for(name, request.acknowledge) {
            // When it comes round to where it was refused, all the others have been asked.
            Ok(Some(Next::Read { partition, .. })) if gathered.refused == Some(partition) => break,
            Ok(None) => break,
            Ok(Some(Next::Start(partition))) => start(engine, shard, name, partition).await,
            Ok(Some(Next::Read { partition, offset })) => {
                hand_out(engine, shard, name, partition, offset, &mut gathered).await
            }
            Err(error) => Err(error),
        };
        match round {
            // What was leased already must reach its consumer; the error will be met again by the next call.
            Err(error) if gathered.deliveries.is_empty() => return Err(error),
            Err(_) => break,
            Ok(()) => {}
        }
    }
    Ok(gathered.deliveries)
}

/// Begins a partition where the group's settings say.
async fn start(engine: &Engine, shard: &Shard, name: &GroupName, partition: PartitionId) -> Result<()> {
    let (start, info) = {
        let inner = shard.lock();
        (inner.state.group(name)?.config().start, engine_bounds(&inner, partition)?)
    };
    let offset = match start {
        Start::Timestamp(timestamp_ms) => {
            engine.offset_for_time(partition, timestamp_ms).await?.map_or(info.high_watermark, |found| found.offset)
        }
        // Partitions there were when the group was created have been started already.
        Start::Earliest | Start::Latest => info.log_start,
    };
    let record = StateRecord::Group { name: name.clone(), record: Group::start(partition, offset) };
    shard.change_all(&mut shard.lock(), vec![record], Durability::Memory).map(drop)
}

/// Reads from `offset` on and leases what may be leased.
async fn hand_out(
    engine: &Engine,
    shard: &Shard,
    name: &GroupName,
    partition: PartitionId,
    offset: u64,
    gathered: &mut Gathered,
) -> Result<()> {
    let credit = Credit {
        messages: gathered.request.max_messages - gathered.deliveries.len(),
        bytes: gathered.request.max_bytes.saturating_sub(gathered.bytes).max(1),
    };
    let runs = match shard.look_ahead(partition, offset) {
        Found::Decoded(batch) => Err(vec![batch]),
        Found::Stored(runs) => Ok(runs),
        Found::Nothing => match engine.read(partition, offset, READ_BYTES).await {
            // Retention or a deletion was faster; the next round sees the new bounds.
            Err(Error::OffsetOutOfRange { .. } | Error::UnknownPartition) => return Ok(()),
            read => Ok(read?.batches),
        },
    };
    let decoded = match runs.map(|runs| shard.decode(partition, offset, runs, credit)) {
        Err(decoded) => decoded,
        Ok(decoded) => match decoded? {
            (decoded, Some(bad)) if decoded.is_empty() => return shard.pass_over(name, partition, &bad),
            (decoded, _) => decoded,
        },
    };
    let mut inner = shard.lock();
    if gathered.request.acknowledge {
        // What is handed out must be written down as done.
        let runs: usize = decoded.iter().map(|batch| batch.records.len() + 1).sum();
        inner.check_writable(&[], Purpose::Change)?;
        inner.check_room(name.name().len() + MAX_SETTLEMENT_BYTES + MAX_RUN_BYTES * runs, Purpose::Change)?;
    }
    let dead = shard.walk(&mut inner, name, partition, offset, &decoded, gathered)?;
    shard.keep_skipped(&mut inner, name);
    shard.queue_dead_letters(&mut inner, name, dead);
    Ok(())
}

impl Shard {
    fn next_for(&self, name: &GroupName, acknowledge: bool) -> Result<Option<Next>> {
        let now_ms = self.environment.clock.now_ms();
        let mut inner = self.lock();
        if !acknowledge && inner.leases >= self.config.max_leases {
            inner.leases = inner.state.groups.values().map(Group::in_flight).sum();
            if inner.leases >= self.config.max_leases {
                return Err(Error::LimitReached { setting: "max_leases", limit: self.config.max_leases });
            }
        }
        inner.state.next_for(name, acknowledge, now_ms)
    }

    /// A group came to a batch that cannot be decoded: it is counted and named, and the group goes on behind it if it may.
    fn pass_over(&self, name: &GroupName, partition: PartitionId, bad: &Undecodable) -> Result<()> {
        let Undecodable { from, to, ref reason } = *bad;
        let mut inner = self.lock();
        let found = inner.state.partition(partition)?;
        let Some(topic) = found.topic.as_ref().map(|topic| topic.name.clone()) else { return Ok(()) };
        let reason = reason.clone();
        let error = Error::Undecodable { topic, partition: found.index, from, to, reason };
        Counters::add(&self.counters.undecodable, 1);
        let passed = inner.state.group_mut(name)?.pass_over(partition, from, to);
        tracing::error!(%error, group = %name, passed_over = passed, "a group came to a batch that cannot be decoded");
        if passed { Ok(()) } else { Err(error) }
    }

    /// Offers records to the group, upwards from `offset`.
    fn walk(
        &self,
        inner: &mut Inner,
        name: &GroupName,
        partition: PartitionId,
        offset: u64,
        decoded: &[Arc<Decoded>],
        gathered: &mut Gathered,
    ) -> Result<Vec<DeadLetter>> {
        let clock = &self.environment.clock;
        let (now, now_ms) = (clock.monotonic(), clock.now_ms());
        let Ok(Bounds { high_watermark, .. }) = engine_bounds(inner, partition) else { return Ok(Vec::new()) };
        let (topic, partition_index) = {
            let found = inner.state.partition(partition)?;
            (found.topic.as_ref().map(|topic| topic.name.clone()), found.index)
        };
        let Some(topic) = topic else { return Ok(Vec::new()) };
        let token = self.next_token();
        let group = inner.state.group_mut(name)?;
        let before = group.in_flight();
        let ordered = group.config().mode == Mode::OrderedByKey;
        let LeaseRequest { consumer, acknowledge, .. } = gathered.request;
        let lasts = gathered.request.deadline.unwrap_or(group.config().ack_deadline);
        let deadline = now.saturating_add(lasts);
        let deadline_ms = if acknowledge { now_ms } else { now_ms.saturating_add(crate::maintain::millis(lasts)) };
        // One number does for all: no record is offered twice.
        let grant = Grant { consumer, token, deadline, acknowledge };
        let credit = gathered.request.max_messages.saturating_sub(gathered.deliveries.len());
        gathered.deliveries.reserve(credit.min(decoded.iter().map(|batch| batch.records.len()).sum()));
        let unread = gathered.request.waited.then(|| group.unread_from(partition));
        let mut dead = Vec::new();
        let mut at = offset;
        'walk: for batch in decoded {
            let wanted = |(_, record): &(usize, &Record)| (offset..high_watermark).contains(&record.offset);
            for (index, record) in batch.records.iter().enumerate().filter(wanted) {
                if !gathered.has_credit() {
                    break 'walk;
                }
                if at < record.offset {
                    group.skip_gap(partition, at, record.offset);
                }
                at = record.offset + 1;
                let waited_for = unread.is_some_and(|unread| record.offset >= unread);
                match group.lease(&offer(partition, record, ordered, !waited_for), &grant, now_ms) {
                    Outcome::Leased { attempt, redelivered } => {
                        let lease = LeaseId { partition, offset: record.offset, token: grant.token };
                        gathered.bytes += record.size();
                        gathered.deliveries.push(Delivery {
                            lease,
                            topic: topic.clone(),
                            partition_index,
                            record: batch.share(index),
                            attempt,
                            redelivered,
                            deadline_ms,
                        });
                    }
                    Outcome::Dead(letter) => dead.push(letter),
                    Outcome::Skip => {}
                    Outcome::Full => {
                        gathered.refused = gathered.refused.or(acknowledge.then_some(partition));
                        break 'walk;
                    }
                    Outcome::Moved => break 'walk,
                }
            }
            if at >= batch.base_offset
                && at < batch.end.min(high_watermark)
                && batch.records.last().is_none_or(|last| last.offset < at)
            {
                group.skip_gap(partition, at, batch.end);
                at = batch.end;
            }
        }
        let after = group.in_flight();
        inner.leases = (inner.leases + after).saturating_sub(before);
        if after > before {
            self.wake_at(inner, deadline);
        }
        Ok(dead)
    }

    /// Writes down what was found not to exist, or is done without a settlement. Nobody waits for it.
    fn keep_skipped(&self, inner: &mut Inner, name: &GroupName) {
        let Some(group) = inner.state.groups.get_mut(name) else { return };
        let before = group.waiting();
        let Some(record) = group.take_skipped() else { return };
        let record = StateRecord::Group { name: name.clone(), record };
        if let Err(error) = self.change_all(inner, vec![record], Durability::Memory) {
            tracing::debug!(%error, group = %name, "offsets without a record will be skipped again");
        }
        // Others are let go of only where something was held back.
        if inner.state.groups.get(name).is_some_and(|group| group.waiting() < before) {
            inner.state.wake_group(name);
        }
    }

    // ---- settling -----------------------------------------------------------------------------------------------

    /// `told`: somebody waits for the settlements to be durable.
    pub(crate) fn settle(
        &self,
        name: &GroupName,
        settlements: &[Settlement],
        told: bool,
    ) -> Result<(Vec<Result<()>>, Commit)> {
        let clock = &self.environment.clock;
        let mut inner = self.lock();
        inner.check_writable(&[], Purpose::Change)?;
        // A refusal must leave the leases as they are, so the room is looked for before they are settled.
        inner.check_room(name.name().len() + MAX_SETTLEMENT_BYTES * (settlements.len() + 1), Purpose::Change)?;
        let durability = if told { settlement_durability(&inner, settlements) } else { Durability::Memory };
        let group = inner.state.group_mut(name)?;
        let frees = group.would_free(settlements);
        let settled = group.settle(settlements, clock.monotonic(), clock.now_ms());
        let commit = self.keep(&mut inner, name, settled.records, durability)?;
        self.queue_dead_letters(&mut inner, name, settled.dead_letters);
        if frees {
            self.after_return(&mut inner, name);
        }
        Ok((settled.results, commit))
    }

    pub(crate) fn release_consumer(&self, name: &GroupName, consumer: ConsumerId) -> Result<()> {
        let mut inner = self.lock();
        if inner.state.group_mut(name)?.release_consumer(consumer) > 0 {
            self.after_return(&mut inner, name);
        }
        Ok(())
    }

    /// Looks after leases whose deadline is over and records whose retry is due. Called by maintenance.
    pub(crate) fn expire_leases(&self) {
        let clock = &self.environment.clock;
        let (now, now_ms) = (clock.monotonic(), clock.now_ms());
        let mut inner = self.lock();
        inner.leases = inner.state.groups.values().map(Group::in_flight).sum();
        let expired = |group: &Group| group.next_expiry().is_some_and(|due| due <= now);
        let retries = |group: &Group| group.next_retry().is_some_and(|due_ms| due_ms <= now_ms);
        let due: Vec<GroupName> =
            inner.state.groups.values().filter(|g| expired(g) || retries(g)).map(|g| g.name().clone()).collect();
        for name in due {
            let Ok(group) = inner.state.group_mut(&name) else { continue };
            let settled = group.expire(now, now_ms);
            if let Err(error) = self.keep(&mut inner, &name, settled.records, Durability::PageCache) {
                tracing::warn!(%error, group = %name, "expired leases could not be written down");
            }
            self.queue_dead_letters(&mut inner, &name, settled.dead_letters);
            inner.state.wake_group(&name);
        }
        let next_expiry = inner.state.groups.values().filter_map(Group::next_expiry).min();
        let next_retry =
            inner.state.groups.values().filter_map(Group::next_retry).filter(|due_ms| *due_ms > now_ms).min();
        let next_retry =
            next_retry.map(|due_ms| now + Duration::from_millis(u64::try_from(due_ms - now_ms).unwrap_or(0)));
        if let Some(due) = next_expiry.into_iter().chain(next_retry).min() {
            self.wake_at(&mut inner, due);
        }
    }

    /// Writes a group's records and applies them.
    fn keep(
        &self,
        inner: &mut Inner,
        name: &GroupName,
        records: Vec<GroupRecord>,
        durability: Durability,
    ) -> Result<Commit> {
        if records.is_empty() {
            return Ok(Commit::ready(Ok(())));
        }
        let records = records.into_iter().map(|record| StateRecord::Group { name: name.clone(), record }).collect();
        self.change_all(inner, records, durability)
    }

    /// Something may be leased again: those who wait are told, now or when its retry is due.
    pub(crate) fn after_return(&self, inner: &mut Inner, name: &GroupName) {
        let clock = &self.environment.clock;
        let wait_ms = inner.state.groups.get(name).and_then(Group::next_retry).map(|due_ms| due_ms - clock.now_ms());
        if let Some(wait_ms) = wait_ms.filter(|wait_ms| *wait_ms > 0) {
            self.wake_at(inner, clock.monotonic() + Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)));
        }
        inner.state.wake_group(name);
    }

    fn next_token(&self) -> u64 {
        self.tokens.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    // ---- managing -----------------------------------------------------------------------------------------------

    pub(crate) fn create_group(&self, name: GroupName, config: GroupConfig) -> Result<Commit> {
        let mut inner = self.lock();
        if inner.state.groups.contains_key(&name) {
            return Err(Error::GroupExists(name));
        }
        self.check_group(&inner, &config)?;
        let mut records = vec![StateRecord::GroupSet { name: name.clone(), config: config.clone() }];
        if config.start == Start::Latest {
            for id in topic_partitions(&inner, &config)? {
                let end = inner.state.partition(id)?.high_watermark;
                records.push(StateRecord::Group { name: name.clone(), record: Group::start(id, end) });
            }
        }
        self.change_all(&mut inner, records, Durability::Fsync)
    }

    pub(crate) fn alter_group(&self, name: &GroupName, config: GroupConfig) -> Result<Commit> {
        let mut inner = self.lock();
        inner.state.group(name)?;
        topic_partitions(&inner, &config)?;
        let commit =
            self.change_all(&mut inner, vec![StateRecord::GroupSet { name: name.clone(), config }], Durability::Fsync)?;
        inner.state.wake_group(name);
        Ok(commit)
    }

    pub(crate) fn delete_group(&self, name: &GroupName) -> Result<Commit> {
        let mut inner = self.lock();
        inner.state.group(name)?.check_shared()?;
        self.change_all(&mut inner, vec![StateRecord::GroupDeleted(name.clone())], Durability::Fsync)
    }

    pub(crate) fn set_assigned(&self, name: &GroupName, assigned: bool) -> Result<()> {
        let mut inner = self.lock();
        if !assigned && !inner.state.groups.contains_key(name) {
            return Ok(());
        }
        self.ensure_group(&mut inner, name)?;
        inner.state.group_mut(name)?.set_assigned(assigned)?;
        inner.state.wake_group(name);
        Ok(())
    }

    pub(crate) fn commit_offsets(&self, name: &GroupName, offsets: Vec<OffsetCommit>) -> Result<Commit> {
        let mut inner = self.lock();
        let durability = partitions_durability(&inner, offsets.iter().map(|commit| commit.partition))?;
        self.ensure_group(&mut inner, name)?;
        let record = inner.state.group(name)?.commit(offsets)?;
        self.keep(&mut inner, name, vec![record], durability)
    }

    pub(crate) fn delete_offsets(&self, name: &GroupName, partitions: &[PartitionId]) -> Result<Commit> {
        let mut inner = self.lock();
        inner.state.group(name)?;
        self.keep(&mut inner, name, vec![Group::delete_offsets(partitions)], Durability::Fsync)
    }

    pub(crate) fn seek(&self, name: &GroupName, positions: &[(PartitionId, u64)]) -> Result<Commit> {
        let mut inner = self.lock();
        for (id, offset) in positions {
            inner.state.partition(*id)?.check_bounds(*offset)?;
        }
        let record = inner.state.group(name)?.seek(positions)?;
        let commit = self.keep(&mut inner, name, vec![record], Durability::Fsync)?;
        inner.state.wake_group(name);
        Ok(commit)
    }

    pub(crate) fn purge(&self, name: &GroupName) -> Result<(u64, Commit)> {
        let mut inner = self.lock();
        let ids = inner.state.group_partitions(inner.state.group(name)?);
        let durability = partitions_durability(&inner, ids.iter().copied())?;
        let bounds = ids.into_iter().map(|id| engine_bounds(&inner, id)).collect::<Result<Vec<_>>>()?;
        let (records, count) = inner.state.group(name)?.purge(&bounds)?;
        Ok((count, self.keep(&mut inner, name, records, durability)?))
    }

    pub(crate) fn lag(&self, name: &GroupName) -> Result<Vec<PartitionLag>> {
        let inner = self.lock();
        let group = inner.state.group(name)?;
        let mut ids: Vec<PartitionId> =
            inner.state.group_partitions(group).into_iter().chain(group.partitions()).collect();
        ids.sort_unstable();
        ids.dedup();
        let lag = |id: PartitionId| {
            let partition = inner.state.partition(id).ok()?;
            let from = group.lowest_unacknowledged(id).max(partition.log_start);
            let messages = group.unacknowledged(id, partition.log_start, partition.high_watermark);
            let (bytes, oldest_timestamp_ms) =
                if messages == 0 { (0, None) } else { (partition.bytes_from(from), partition.timestamp_at(from)) };
            Some(PartitionLag { partition: id, messages, bytes, oldest_timestamp_ms })
        };
        Ok(ids.into_iter().filter_map(lag).collect())
    }

    pub(crate) fn append_atomic(
        &self,
        atomic: Atomic,
        budget: Option<OwnedSemaphorePermit>,
    ) -> Result<(Vec<Appended>, Commit)> {
        let clock = &self.environment.clock;
        let mut inner = self.lock();
        inner.check_writable(&[], Purpose::Change)?;
        let mut records = Vec::new();
        for (name, offsets) in atomic.offsets {
            partitions_durability(&inner, offsets.iter().map(|commit| commit.partition))?;
            self.ensure_group(&mut inner, &name)?;
            let record = inner.state.group(&name)?.commit(offsets)?;
            records.push(StateRecord::Group { name, record });
        }
        for (name, settlements) in &atomic.settlements {
            inner.state.group_mut(name)?.check(settlements)?;
        }
        let mut entries = Vec::new();
        let appended = self.append_all(&mut inner, atomic.writes, Origin::Publisher, &mut entries)?;
        for (name, settlements) in &atomic.settlements {
            let settled = inner.state.group_mut(name)?.settle(settlements, clock.monotonic(), clock.now_ms());
            records.extend(settled.records.into_iter().map(|record| StateRecord::Group { name: name.clone(), record }));
            self.queue_dead_letters(&mut inner, name, settled.dead_letters);
        }
        for record in records {
            entries.push(Entry::State(record.encode()?));
            inner.state.apply(&record);
        }
        for (name, _) in &atomic.settlements {
            self.after_return(&mut inner, name);
        }
        Ok((appended, self.queue(&mut inner, entries, Kind::Both, Durability::Fsync, Haste::Awaited, budget)))
    }

    fn ensure_group(&self, inner: &mut Inner, name: &GroupName) -> Result<()> {
        if inner.state.groups.contains_key(name) {
            return Ok(());
        }
        let config = GroupConfig::default();
        self.check_group(inner, &config)?;
        let record = StateRecord::GroupSet { name: name.clone(), config };
        self.change_all(inner, vec![record], Durability::Memory).map(drop)
    }

    fn check_group(&self, inner: &Inner, config: &GroupConfig) -> Result<()> {
        if inner.state.groups.len() >= self.config.max_groups {
            return Err(Error::LimitReached { setting: "max_groups", limit: self.config.max_groups });
        }
        topic_partitions(inner, config).map(drop)
    }
}

fn engine_bounds(inner: &Inner, partition: PartitionId) -> Result<Bounds> {
    let found = inner.state.partition(partition)?;
    Ok(Bounds { partition, log_start: found.log_start, high_watermark: found.high_watermark })
}

fn offer(partition: PartitionId, record: &Record, ordered: bool, expires: bool) -> Offer {
    let ttl = if expires { record.headers.named(header_names::TTL_MS).next().flatten() } else { None };
    let ttl_ms = ttl
        .and_then(|ttl| std::str::from_utf8(ttl).ok())
        .and_then(|ttl| ttl.parse::<i64>().ok())
        .filter(|ttl| *ttl >= 0);
    Offer {
        partition,
        offset: record.offset,
        key: record.key.as_deref().filter(|_| ordered).map(key_hash),
        expires_at_ms: ttl_ms.map(|ttl_ms| record.timestamp_ms.saturating_add(ttl_ms)),
    }
}

/// Every partition of the topics a group names; fails for a topic there is not.
fn topic_partitions(inner: &Inner, config: &GroupConfig) -> Result<Vec<PartitionId>> {
    let mut ids = Vec::new();
    for name in config.topics.iter().chain(&config.dead_letter) {
        let topic =
            inner.state.topic(name.namespace(), name.name()).ok_or_else(|| Error::UnknownTopic(name.clone()))?;
        if config.topics.contains(name) {
            ids.extend(&topic.partitions);
        }
    }
    Ok(ids)
}

/// Progress is as durable as what it is about.
fn partitions_durability(inner: &Inner, partitions: impl Iterator<Item = PartitionId>) -> Result<Durability> {
    let mut durability = Durability::PageCache;
    for id in partitions {
        durability = durability.max(inner.state.partition(id)?.durability());
    }
    Ok(durability)
}

fn settlement_durability(inner: &Inner, settlements: &[Settlement]) -> Durability {
    let mut last = None;
    let mut durability = Durability::PageCache;
    for id in settlements.iter().map(|settlement| settlement.lease().partition) {
        if last.replace(id) != Some(id) {
            durability = durability
                .max(inner.state.partition(id).map_or(Durability::PageCache, crate::partition::Partition::durability));
        }
    }
    durability
}
