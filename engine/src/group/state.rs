//! One group, as a state machine without I/O, clock or locks: what time it is, and what lies in the log, is told to it.
//!
//! # Durable changes
//! Methods that make a [`GroupRecord`] do not apply it. Their caller writes it to the log and calls [`Group::apply`] under the
//! lock that it held when it called the method, so that live and recovered groups run the same code. A record that cannot be
//! written is dropped: the leases it was about then expire, and their records are delivered again.
//!
//! # Handing out
//! One call of `lease` by a consumer is, until enough is leased:
//! 1. lock. [`Group::touch`] the partitions with something new since. [`Group::next`], given the bounds of those that may be read,
//!    says where to go on:
//!    [`Next::Start`]: there is no progress on that partition. Find where [`GroupConfig::start`] lies, write and apply
//!    [`Group::start`], ask again. (A group that starts at the latest record should be started on the partitions there are when
//!    it is created; a partition added later starts at its first record.)
//!    [`Next::Read`]: read the batch containing that offset, outside of the lock. None: there is nothing to give; wait for the
//!    high watermark of the partitions, for a release or failure, or for [`Group::next_retry`].
//! 2. lock again. Walk what was read upwards from the offset given. For each record (up to the high watermark) call
//!    [`Group::lease`]. Where offsets are missing, before a record, at the end of a batch, or because a batch is for readers
//!    only, call [`Group::skip_gap`] for them first. On [`Outcome::Moved`] stop walking and ask [`Group::next`] again; on
//!    [`Outcome::Full`] stop. Anything may have happened between the locks; `lease` notices.
//! 3. still under that lock, write and apply [`Group::take_skipped`]. Nobody need wait for it to be durable. Where records are
//!    acknowledged as they are handed out ([`Grant::acknowledge`]) it must be certain before the walk that it can be written.
//!
//! # Taking back
//! [`Group::settle`] gives a result for each settlement, the records to write, and dead letters. [`Group::expire`], called when
//! [`Group::next_expiry`] is over, gives the same. [`Group::release_consumer`] and releases change nothing durable.
//! To settle all or nothing, ask [`Group::check`] first. After each of these the group's waiters should be woken.
//!
//! # Dead letters
//! A [`DeadLetter`] from `settle`, `expire` or [`Outcome::Dead`] is a record that must be copied to the group's dead-letter topic. It
//! stays leased meanwhile, and nobody can settle it. Read it (outside of the lock), then append the copy together with the record that
//! [`Group::dead_lettered`] makes. If that fails, do nothing: the lease expires and the record comes round again.
//! A group without a dead-letter topic has no dead letters: such records are acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::lease::{Lease, Leases};
use super::progress::{History, Progress, Turn};
use super::record::{Acknowledged, GroupRecord, GroupSnapshot, runs};
use super::{Committed, ConsumerId, GroupConfig, GroupInfo, LeaseId, Mode, OffsetCommit};
use crate::{Error, GroupName, PartitionId, Result};

mod settle;

/// A group may set so many records aside (for their retry time, or behind another one of their key) before it reads no
/// further, or as many as may be in flight if that is more. It is no setting of its own: the group's `max_in_flight` raises
/// it.
const MIN_LOOK_AHEAD: usize = 10_000;

/// How long copying a record to the dead-letter topic may take before the record comes round again. No setting: it is
/// waited out only where copying failed, and then the record dies once more.
const BURIAL: Duration = Duration::from_secs(30);

/// What there is to read of a partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub partition: PartitionId,
    pub log_start: u64,
    pub high_watermark: u64,
}

/// Where a consumer goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The partition has to be started.
    Start(PartitionId),
    /// Here is a record to be had.
    Read { partition: PartitionId, offset: u64 },
}

/// What the group must know of a record that was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer {
    pub partition: PartitionId,
    pub offset: u64,
    /// Hash of its key ([`super::order::key_hash`]), if it has one.
    pub key: Option<u64>,
    /// When its time to live is over, ms since the Unix epoch.
    pub expires_at_ms: Option<i64>,
}

/// To whom a record goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grant {
    pub consumer: ConsumerId,
    /// A number that no lease of this group had, not even before a restart.
    pub token: u64,
    /// When the lease expires, monotonic.
    pub deadline: Duration,
    /// Done as soon as it is handed out: there is no lease, and [`Group::take_skipped`] has what that comes to.
    pub acknowledge: bool,
}

/// What became of a record offered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// It is the consumer's now. `attempt` is 1 for the first delivery.
    Leased { attempt: u32, redelivered: bool },
    /// Not this one: it is done, leased, waits, or was given up.
    Skip,
    /// It is to be copied to the dead-letter topic instead.
    Dead(DeadLetter),
    /// No more may be leased, or set aside.
    Full,
    /// The group was moved since it said where to go on.
    Moved,
}

/// Why a record is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// A consumer rejected it for good.
    Rejected,
    /// It failed as often as it may.
    DeliveryLimit,
    /// Its time to live was over before it was delivered.
    Expired,
}

/// A record to be copied to the dead-letter topic. See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadLetter {
    pub lease: LeaseId,
    pub death: Death,
    /// How often it failed.
    pub attempts: u32,
    /// What the consumer said to it.
    pub reason: Option<Bytes>,
}

/// What settling or expiring leases comes to.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// For each settlement, in order.
    pub results: Vec<Result<()>>,
    /// To be written and applied.
    pub records: Vec<GroupRecord>,
    /// To be copied.
    pub dead_letters: Vec<DeadLetter>,
}

/// What a partition has for a consumer.
enum Asked {
    Next(Next),
    /// Nothing now, though nobody need touch it before it has.
    Later,
    /// Nothing until it is touched.
    Nothing,
}

/// One group. See the module.
#[derive(Debug)]
pub(crate) struct Group {
    name: GroupName,
    config: GroupConfig,
    progress: BTreeMap<PartitionId, Progress>,
    // volatile
    /// Up to where records may have been handed out before a restart, for partitions that are to be started yet: the record
    /// that says where the group began may have been lost.
    doubtful: BTreeMap<PartitionId, u64>,
    leases: Leases,
    /// Sum of [`Progress::waiting`].
    waiting: usize,
    assigned: bool,
    /// Partitions that may have something to hand out: the others need not be looked at.
    candidates: BTreeSet<PartitionId>,
    /// Who had its turn last.
    turn: PartitionId,
    skipped: Vec<Acknowledged>,
}

impl Group {
    pub(crate) fn new(name: GroupName, config: GroupConfig) -> Self {
        Self {
            name,
            config,
            progress: BTreeMap::new(),
            doubtful: BTreeMap::new(),
            leases: Leases::default(),
            waiting: 0,
            assigned: false,
            candidates: BTreeSet::new(),
            turn: PartitionId(0),
            skipped: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &GroupName {
        &self.name
    }

    pub(crate) fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// Replaces the settings. Another mode takes back every lease, because what was handed out was not in the new order.
    pub(crate) fn set_config(&mut self, config: GroupConfig) {
        if config.mode != self.config.mode {
            let Self { name, progress, doubtful, assigned, .. } = self;
            let afresh = |(id, progress): (PartitionId, Progress)| {
                let (id, mut fresh) = Progress::restore(progress.snapshot(id));
                fresh.doubt_below(progress.cursor().max(progress.doubtful_below()));
                (id, fresh)
            };
            let progress = std::mem::take(progress).into_iter().map(afresh).collect();
            let doubtful = std::mem::take(doubtful);
            *self = Self { progress, doubtful, assigned: *assigned, ..Self::new(name.clone(), config) };
        } else {
            self.config = config;
        }
    }

    pub(crate) fn info(&self) -> GroupInfo {
        GroupInfo {
            name: self.name.clone(),
            config: self.config.clone(),
            in_flight: self.leases.len(),
            delayed: self.progress.values().map(Progress::delayed).sum(),
        }
    }

    /// Records set aside: for their time, or behind another one of their key.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Leases outstanding.
    pub(crate) fn in_flight(&self) -> usize {
        self.leases.len()
    }

    /// Marks the group as having assigned members, or no longer. They go on at the lowest record not acknowledged.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while leases are outstanding.
    pub(crate) fn set_assigned(&mut self, assigned: bool) -> Result<()> {
        if assigned {
            self.check_no_lease()?;
        }
        self.assigned = assigned;
        Ok(())
    }

    fn check_no_lease(&self) -> Result<()> {
        if self.leases.len() == 0 {
            return Ok(());
        }
        Err(Error::GroupMode { group: self.name.clone(), mode: "shared" })
    }

    /// Fails while the group has assigned members.
    ///
    /// # Errors
    /// [`Error::GroupMode`].
    pub(crate) fn check_shared(&self) -> Result<()> {
        if !self.assigned {
            return Ok(());
        }
        Err(Error::GroupMode { group: self.name.clone(), mode: "assigned" })
    }

    // ---- positions ----------------------------------------------------------------------------------------------

    pub(crate) fn has_progress(&self, partition: PartitionId) -> bool {
        self.progress.contains_key(&partition)
    }

    /// Partitions the group has progress on, in order.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.progress.keys().copied()
    }

    pub(crate) fn committed(&self) -> Vec<Committed> {
        self.progress.iter().map(|(partition, progress)| progress.committed(*partition)).collect()
    }

    /// Everything below is done; 0 without progress.
    pub(crate) fn lowest_unacknowledged(&self, partition: PartitionId) -> u64 {
        self.progress.get(&partition).map_or(0, Progress::position)
    }

    /// How many offsets from `log_start` to `high_watermark` are not done.
    pub(crate) fn unacknowledged(&self, partition: PartitionId, log_start: u64, high_watermark: u64) -> u64 {
        let all = high_watermark.saturating_sub(log_start);
        self.progress.get(&partition).map_or(all, |progress| progress.unacknowledged(log_start, high_watermark))
    }

    /// Begins to consume a partition.
    pub(crate) fn start(partition: PartitionId, offset: u64) -> GroupRecord {
        GroupRecord::Started { partition, offset }
    }

    /// Commits offsets, as a consumer with assigned partitions does: what is below is done, what is not below is not.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while leases are outstanding.
    pub(crate) fn commit(&self, offsets: Vec<OffsetCommit>) -> Result<GroupRecord> {
        self.check_no_lease()?;
        Ok(GroupRecord::Committed(offsets))
    }

    /// Moves the group; leases on the partitions are gone then.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while there are assigned members.
    pub(crate) fn seek(&self, positions: &[(PartitionId, u64)]) -> Result<GroupRecord> {
        self.check_shared()?;
        Ok(GroupRecord::Sought(positions.to_vec()))
    }

    /// Whatever nobody holds is done, and how many records that were.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while there are assigned members.
    pub(crate) fn purge(&self, partitions: &[Bounds]) -> Result<(Vec<GroupRecord>, u64)> {
        self.check_shared()?;
        let mut records = Vec::new();
        let mut runs = Vec::new();
        let mut count = 0;
        for &Bounds { partition, log_start, high_watermark } in partitions {
            if !self.has_progress(partition) {
                records.push(Self::start(partition, log_start));
            }
            let mut from = self.lowest_unacknowledged(partition).max(log_start);
            let leased = self.leases.within(partition, from, high_watermark);
            count += self.unacknowledged(partition, log_start, high_watermark).saturating_sub(leased.len() as u64);
            for held in leased.into_iter().chain([high_watermark]) {
                if from < held {
                    runs.push(Acknowledged { partition, from, to: held });
                }
                from = held + 1;
            }
        }
        if !runs.is_empty() {
            records.push(GroupRecord::Acknowledged(runs));
        }
        Ok((records, count))
    }

    /// Deletes progress.
    pub(crate) fn delete_offsets(partitions: &[PartitionId]) -> GroupRecord {
        GroupRecord::Forgotten(partitions.to_vec())
    }

    /// The partitions are no more. Whoever deletes a topic calls this when that is applied, so it needs no record.
    pub(crate) fn forget_partitions(&mut self, partitions: &[PartitionId]) {
        for partition in partitions {
            self.touch(*partition);
            self.doubtful.remove(partition);
            self.change(*partition, |progress| progress.reset());
            self.progress.remove(partition);
            self.leases.remove_range(*partition, 0, u64::MAX);
        }
    }

    /// Offsets below the log's start count as done. Not durable by itself: [`Group::next`] does it with what it is told.
    pub(crate) fn advance_log_start(&mut self, partition: PartitionId, log_start: u64) {
        let position = self.lowest_unacknowledged(partition);
        if log_start > position && self.has_progress(partition) {
            self.leases.remove_range(partition, position, log_start);
            self.change(partition, |progress| progress.advance_log_start(log_start));
        }
    }

    /// Changes progress on a partition, keeping count of what waits. None when there is no progress.
    fn change<T>(&mut self, partition: PartitionId, with: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        let progress = self.progress.get_mut(&partition)?;
        let before = progress.waiting();
        let result = with(progress);
        self.waiting = self.waiting - before + progress.waiting();
        Some(result)
    }

    // ---- handing out --------------------------------------------------------------------------------------------

    /// Where a consumer goes on; fair between the partitions that have something.
    ///
    /// With `acknowledge` nothing will be in flight, so it does not matter how much is.
    ///
    /// # Errors
    /// [`Error::GroupMode`] while there are assigned members.
    pub(crate) fn next(
        &mut self,
        bounds: impl Fn(PartitionId) -> Option<Bounds>,
        acknowledge: bool,
        now_ms: i64,
    ) -> Result<Option<Next>> {
        self.check_shared()?;
        if !acknowledge && self.is_full() {
            return Ok(None);
        }
        for _ in 0..self.candidates.len() {
            let later = self.candidates.range((Bound::Excluded(self.turn), Bound::Unbounded)).next();
            let Some(id) = later.or_else(|| self.candidates.first()).copied() else { break };
            self.turn = id;
            match bounds(id).map(|bounds| self.next_of(&bounds, now_ms)) {
                Some(Asked::Next(next)) => return Ok(Some(next)),
                Some(Asked::Later) => {}
                Some(Asked::Nothing) | None => drop(self.candidates.remove(&id)),
            }
        }
        Ok(None)
    }

    fn next_of(&mut self, bounds: &Bounds, now_ms: i64) -> Asked {
        let Bounds { partition, log_start, high_watermark } = *bounds;
        self.advance_log_start(partition, log_start);
        let may_read = self.may_wait();
        let asked = self.change(partition, |progress| match progress.next_ready(now_ms) {
            Some(offset) => Asked::Next(Next::Read { partition, offset }),
            None => match progress.next_unread() {
                offset if offset < high_watermark && may_read => Asked::Next(Next::Read { partition, offset }),
                offset if offset < high_watermark || progress.waiting() > 0 => Asked::Later,
                _ => Asked::Nothing,
            },
        });
        asked.unwrap_or(Asked::Next(Next::Start(partition)))
    }

    /// These are the partitions it consumes; any of them may have something.
    pub(crate) fn subscribe(&mut self, partitions: &[PartitionId]) {
        self.candidates = partitions.iter().copied().collect();
    }

    /// There may be something in a partition.
    pub(crate) fn touch(&mut self, partition: PartitionId) {
        self.candidates.insert(partition);
    }

    fn is_full(&self) -> bool {
        self.leases.len() >= self.config.max_in_flight as usize
    }

    fn may_wait(&self) -> bool {
        self.waiting < MIN_LOOK_AHEAD.max(self.config.max_in_flight as usize)
    }

    /// The first offset that nobody has looked at.
    pub(crate) fn unread_from(&self, partition: PartitionId) -> u64 {
        self.progress.get(&partition).map_or(0, Progress::cursor)
    }

    /// Hands a record out if it may be.
    pub(crate) fn lease(&mut self, offer: &Offer, grant: &Grant, now_ms: i64) -> Outcome {
        let dead = offer.expires_at_ms.is_some_and(|expires_at| expires_at <= now_ms);
        let leased = if dead { self.config.dead_letter.is_some() } else { !grant.acknowledge };
        if leased && self.is_full() {
            return Outcome::Full;
        }
        let may_wait = self.may_wait();
        let key = offer.key.filter(|_| self.config.mode == Mode::OrderedByKey);
        let turn =
            self.change(offer.partition, |progress| progress.take(offer.offset, key, now_ms, may_wait, leased || dead));
        match turn {
            None | Some(Turn::Ahead) => Outcome::Moved,
            Some(Turn::Taken) => Outcome::Skip,
            Some(Turn::Full) => Outcome::Full,
            Some(Turn::Free(history)) => self.hand_out(offer, grant, history, dead, leased),
        }
    }

    fn hand_out(&mut self, offer: &Offer, grant: &Grant, history: History, dead: bool, leased: bool) -> Outcome {
        let Offer { partition, offset, .. } = *offer;
        let Grant { consumer, token, deadline, .. } = *grant;
        if leased {
            self.leases.insert(partition, offset, Lease { token, consumer, deadline, settled: dead });
        } else {
            self.skip(partition, offset, offset + 1);
        }
        if !dead {
            return Outcome::Leased { attempt: history.failures.saturating_add(1), redelivered: history.redelivered };
        }
        if !leased {
            // Should that not be written down, it is found to be dead again.
            self.change(partition, |progress| progress.give_back(offset, history.redelivered));
            return Outcome::Skip;
        }
        let lease = LeaseId { partition, offset, token };
        Outcome::Dead(DeadLetter { lease, death: Death::Expired, attempts: history.failures, reason: None })
    }

    /// There are no records at `from..to`, and there never will be again. They count as done.
    pub(crate) fn skip_gap(&mut self, partition: PartitionId, from: u64, to: u64) {
        if self.change(partition, |progress| progress.skip(&(from..to))) != Some(true) {
            return;
        }
        // Whoever holds a record that compaction has removed since may still say what became of it.
        let mut start = from;
        for leased in self.leases.within(partition, from, to).into_iter().chain([to]) {
            if start < leased {
                self.skip(partition, start, leased);
            }
            start = leased + 1;
        }
    }

    /// The batch at `from..to` cannot be decoded. A shared group goes on behind it; one ordered by key must not, for it is not
    /// known which keys it would pass. Whether it does.
    pub(crate) fn pass_over(&mut self, partition: PartitionId, from: u64, to: u64) -> bool {
        let may = self.config.mode == Mode::Shared;
        if may {
            self.change(partition, |progress| progress.pass_over(&(from..to)));
        }
        may
    }

    fn skip(&mut self, partition: PartitionId, from: u64, to: u64) {
        match self.skipped.last_mut() {
            Some(last) if last.partition == partition && last.to == from => last.to = to,
            _ => self.skipped.push(Acknowledged { partition, from, to }),
        }
    }

    /// What was found not to exist, to have lived too long, or was acknowledged as it was handed out, since last asked. To be
    /// written and applied.
    pub(crate) fn take_skipped(&mut self) -> Option<GroupRecord> {
        if self.skipped.is_empty() { None } else { Some(GroupRecord::Acknowledged(std::mem::take(&mut self.skipped))) }
    }

    // ---- durable changes ----------------------------------------------------------------------------------------

    /// Makes a durable change, live or in recovery.
    pub(crate) fn apply(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::Started { partition, offset } => {
                let doubtful_below = self.doubtful.remove(partition).unwrap_or(0);
                let progress =
                    self.progress.entry(*partition).or_insert_with(|| Progress::at(*offset, -1, String::new()));
                progress.doubt_below(doubtful_below);
            }
            GroupRecord::Committed(offsets) => offsets.iter().for_each(|offset| self.set_position(offset.clone())),
            GroupRecord::Sought(positions) => {
                for &(partition, offset) in positions {
                    self.set_position(OffsetCommit { partition, offset, leader_epoch: -1, metadata: String::new() });
                }
            }
            GroupRecord::Forgotten(partitions) => self.forget_partitions(partitions),
            GroupRecord::Acknowledged(runs) => runs.iter().for_each(|run| self.acknowledge(run)),
            GroupRecord::Failed(failed) => {
                for failed in failed {
                    self.touch(failed.partition);
                    self.leases.remove(failed.partition, failed.offset);
                    self.change(failed.partition, |progress| progress.fail(failed));
                }
            }
        }
    }

    fn set_position(&mut self, to: OffsetCommit) {
        let OffsetCommit { partition, offset, leader_epoch, metadata } = to;
        self.forget_partitions(&[partition]);
        self.progress.insert(partition, Progress::at(offset, leader_epoch, metadata));
    }

    fn acknowledge(&mut self, run: &Acknowledged) {
        self.leases.remove_range(run.partition, run.from, run.to);
        self.change(run.partition, |progress| progress.acknowledge(run.from..run.to));
    }

    /// The group was read back after a restart. Grants are not written down, so whatever the partition held up to `end` may
    /// have been handed out before it.
    pub(crate) fn doubt_deliveries(&mut self, partition: PartitionId, end: u64) {
        match self.progress.get_mut(&partition) {
            Some(progress) => progress.doubt_below(end),
            None => drop(self.doubtful.insert(partition, end)),
        }
    }

    pub(crate) fn snapshot(&self) -> GroupSnapshot {
        GroupSnapshot {
            name: self.name.clone(),
            config: self.config.clone(),
            partitions: self.progress.iter().map(|(partition, progress)| progress.snapshot(*partition)).collect(),
        }
    }

    pub(crate) fn restore(snapshot: GroupSnapshot) -> Self {
        let progress = snapshot.partitions.into_iter().map(Progress::restore).collect();
        Self { progress, ..Self::new(snapshot.name, snapshot.config) }
    }
}
