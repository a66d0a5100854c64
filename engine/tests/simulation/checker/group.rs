//! Progress: what assigned groups committed, what shared groups leased and settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidegate_engine::{Durability, GroupName, PartitionId};

use super::{Checker, Sure, Verdict, require};
use crate::value::Value;

/// Committed offsets of an assigned group, by partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Assigned {
    progress: BTreeMap<PartitionId, Progress>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    acknowledged: Option<u64>,
    /// Commits asked for since, by their number, in order.
    asked: Vec<(u64, u64)>,
    /// The highest offset ever asked for.
    highest: u64,
    /// A crash happened that its topic's durability does not survive: it may be any older one.
    in_doubt: bool,
}

/// How a shared group was set up.
#[derive(Debug, Clone, Default)]
pub struct SharedRules {
    pub partitions: BTreeSet<PartitionId>,
    pub ordered_by_key: bool,
    pub max_deliveries: Option<u32>,
    pub dead_letters: Option<PartitionId>,
    pub max_in_flight: usize,
}

/// A shared group's records.
#[derive(Debug, Clone, Default)]
pub(super) struct Shared {
    rules: SharedRules,
    records: BTreeMap<(PartitionId, u64), Handling>,
    /// Where the group was moved to, the last acknowledged move first: it need not be given what is below.
    moved_to: BTreeMap<PartitionId, Vec<u64>>,
    /// Partitions it was moved on since the last start: what it was given before that counts no more.
    begun_anew: BTreeSet<PartitionId>,
    /// The lowest offset it was ever moved to: from there on records may be given up and copied once more.
    lowest_move: BTreeMap<PartitionId, u64>,
}

#[derive(Debug, Clone)]
struct Handling {
    value: Value,
    held: Option<Held>,
    settled: Sure,
    /// It was settled before a move of the group that may yet be lost.
    settled_before: bool,
    /// Acknowledged by this process: however durable, it does not deliver it again.
    done: bool,
    /// It was rejected, or left to expire, so often that it may be dead-lettered.
    given_up: bool,
    /// The same before the group was moved: the copy is there whatever comes of it now.
    given_up_before: bool,
    deliveries: u32,
    /// Some consumer had it since the group was last moved.
    handed_out: bool,
    /// Monotonic time before which a retry may not come.
    not_before: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    consumer: u64,
    token: u64,
    until: Duration,
}

/// What became of a lease.
#[derive(Debug, Clone, Copy)]
pub enum Settled {
    /// The group is done with the record.
    Acknowledged,
    /// It will be delivered again, not before this (monotonic) time.
    Returned { not_before: Duration },
    /// It is dead-lettered, or dropped where the group has no topic for dead letters.
    GivenUp,
}

/// A delivery as a consumer sees it.
#[derive(Debug, Clone, Copy)]
pub struct Delivered {
    pub partition: PartitionId,
    pub offset: u64,
    pub value: Value,
    pub token: u64,
    pub attempt: u32,
    pub redelivered: bool,
    /// There is no lease: it was acknowledged as it was handed out.
    pub acknowledged: bool,
}

impl Assigned {
    /// Progress has its topic's durability, but at least the page cache's.
    pub fn crash(&mut self, survives: impl Fn(PartitionId) -> bool) {
        for (partition, progress) in &mut self.progress {
            progress.in_doubt |= !survives(*partition);
        }
    }
}

impl Shared {
    fn first_due(&self, partition: PartitionId, log_start: u64) -> u64 {
        let moved = self.moved_to.get(&partition).into_iter().flatten().max();
        moved.copied().unwrap_or(0).max(log_start)
    }

    pub fn crash(&mut self) {
        self.begun_anew.clear();
        for handling in self.records.values_mut() {
            if std::mem::take(&mut handling.settled_before) && handling.settled == Sure::No {
                handling.settled = Sure::Maybe;
            }
            handling.held = None;
            handling.done = false;
            handling.not_before = Duration::ZERO;
        }
    }
}

impl Checker {
    // ---- assigned groups ----------------------------------------------------------------------------------------

    /// An assigned group asks for offsets to be committed; `number` names the request.
    pub fn commit_asked(&mut self, group: &GroupName, number: u64, offsets: &[(PartitionId, u64)]) {
        let group = self.assigned.entry(group.clone()).or_default();
        for &(partition, offset) in offsets {
            let progress = group.progress.entry(partition).or_default();
            progress.asked.push((number, offset));
            progress.highest = progress.highest.max(offset);
        }
    }

    /// A commit was acknowledged.
    pub fn commit_acknowledged(&mut self, group: &GroupName, number: u64) -> Verdict {
        // What asks for less than a sync may have been answered just before the sync failed.
        let synced = self.assigned.get(group).is_some_and(|group| {
            let mut named =
                group.progress.iter().filter(|(_, one)| one.asked.iter().any(|(asked, _)| *asked == number));
            named.any(|(id, _)| self.partitions.get(id).is_some_and(|model| model.durability == Durability::Fsync))
        });
        require!(!(self.poisoned && synced), "a poisoned log acknowledged a commit of {group}");
        let group = self.assigned.entry(group.clone()).or_default();
        for progress in group.progress.values_mut() {
            if let Some(at) = progress.asked.iter().position(|(asked, _)| *asked == number) {
                progress.acknowledged = progress.asked.drain(..=at).next_back().map(|(_, offset)| offset);
            }
        }
        Ok(())
    }

    /// A commit was refused: it has done nothing.
    pub fn commit_refused(&mut self, group: &GroupName, number: u64) {
        let group = self.assigned.entry(group.clone()).or_default();
        for progress in group.progress.values_mut() {
            progress.asked.retain(|(asked, _)| *asked != number);
        }
    }

    /// The engine says this is the group's progress. After a crash it may be any commit not older than the last
    /// acknowledged one.
    pub fn progress_seen(&mut self, group: &GroupName, found: &[(PartitionId, u64)], recovered: bool) -> Verdict {
        let found: BTreeMap<_, _> = found.iter().copied().collect();
        let model = self.assigned.entry(group.clone()).or_default();
        for (partition, progress) in &mut model.progress {
            if self.partitions.get(partition).is_none_or(|model| model.exists != Sure::Yes) {
                continue;
            }
            let seen = found.get(partition).copied();
            let mut allowed: BTreeSet<Option<u64>> = progress.asked.iter().map(|(_, offset)| Some(*offset)).collect();
            allowed.insert(progress.acknowledged);
            require!(
                progress.in_doubt || allowed.contains(&seen),
                "group {group} on partition {partition} is at {seen:?}, acknowledged was {progress:?}"
            );
            if recovered {
                progress.acknowledged = seen;
                progress.asked.clear();
                progress.in_doubt = false;
            }
        }
        Ok(())
    }

    // ---- shared groups ------------------------------------------------------------------------------------------

    /// A shared group is there, or has other rules now.
    pub fn shared_group(&mut self, group: &GroupName, rules: SharedRules) {
        self.shared.entry(group.clone()).or_default().rules = rules;
    }

    /// Records were leased to a consumer until a (monotonic) time.
    pub fn delivered(
        &mut self,
        group: &GroupName,
        consumer: u64,
        got: &[Delivered],
        now: Duration,
        until: Duration,
    ) -> Verdict {
        for delivered in got {
            self.observe(delivered.partition, delivered.offset, delivered.value)?;
            self.deliver_one(group, consumer, *delivered, now, until)?;
        }
        let Some(group) = self.shared.get(group) else { return Ok(()) };
        let held = group.records.values().filter(|one| one.held.is_some_and(|held| held.until > now)).count();
        require!(held <= group.rules.max_in_flight, "{held} leases are over {}", group.rules.max_in_flight);
        Ok(())
    }

    fn deliver_one(
        &mut self,
        name: &GroupName,
        consumer: u64,
        got: Delivered,
        now: Duration,
        until: Duration,
    ) -> Verdict {
        let key = self.values.get(&got.value).and_then(|value| value.key);
        let Some(group) = self.shared.get(name) else { return Err(format!("group {name} is unknown")) };
        let Delivered { partition, offset, value, token, attempt, redelivered, acknowledged } = got;
        let what = format!("group {name}, partition {partition}, offset {offset} (value {value})");
        require!(group.rules.partitions.contains(&partition), "{what}: not a topic of the group");
        if group.rules.ordered_by_key && key.is_some() {
            let earlier = self.outstanding(group, partition, offset, key);
            require!(earlier.is_none(), "{what}: its key is still outstanding at offset {earlier:?}");
        }
        let moved_back = group.lowest_move.get(&partition).is_some_and(|lowest| *lowest <= offset);
        if let Some(dead) = group.rules.dead_letters.and_then(|dead| self.partitions.get(&dead)).filter(|_| !moved_back)
        {
            require!(!dead.offset_of.contains_key(&value), "{what}: delivered after it was dead-lettered");
        }
        let recovered = self.recovered_ends.get(&partition).is_some_and(|end| offset < *end);
        let doubtful = recovered && !group.begun_anew.contains(&partition);
        let Some(group) = self.shared.get_mut(name) else { return Ok(()) };
        let handling = group.records.entry((partition, offset)).or_insert(Handling {
            value,
            held: None,
            settled: Sure::No,
            settled_before: false,
            done: false,
            given_up: false,
            given_up_before: false,
            deliveries: 0,
            handed_out: false,
            not_before: Duration::ZERO,
        });
        let settled = handling.done || handling.settled == Sure::Yes;
        require!(!settled, "{what}: delivered again after it was settled");
        if let Some(held) = handling.held {
            require!(held.until <= now, "{what}: delivered to {consumer} while {} holds it", held.consumer);
            require!(held.token != token, "{what}: the token of an expired lease was given again");
        }
        require!(handling.not_before <= now, "{what}: delivered {:?} too early", handling.not_before - now);
        require!(attempt >= 1 && attempt <= handling.deliveries + 1, "{what}: attempt {attempt} of {handling:?}");
        require!(redelivered || !handling.handed_out, "{what}: it does not say that it was handed out before");
        require!(!redelivered || handling.handed_out || doubtful, "{what}: it was never handed out before");
        handling.deliveries += 1;
        handling.handed_out = true;
        if acknowledged {
            // Nobody is told when that is durable.
            (handling.settled, handling.done, handling.held) = (Sure::Maybe, true, None);
            return Ok(());
        }
        handling.settled = Sure::No;
        handling.held = Some(Held { consumer, token, until });
        handling.given_up = group.rules.max_deliveries.is_some_and(|most| attempt >= most);
        Ok(())
    }

    /// An earlier record of the key that the group is not done with.
    fn outstanding(&self, group: &Shared, partition: PartitionId, below: u64, key: Option<u8>) -> Option<u64> {
        let model = self.partitions.get(&partition)?;
        let first = group.first_due(partition, model.seen.log_start);
        let mut earlier = model.at.range(first.min(below)..below).filter(|(offset, bound)| {
            let same = bound.certain && self.values.get(&bound.value).is_some_and(|value| value.key == key);
            let handling = group.records.get(&(partition, **offset));
            same && handling.is_none_or(|one| one.settled == Sure::No && !one.given_up)
        });
        earlier.next().map(|(offset, _)| *offset)
    }

    /// Whether the lease is the newest of its record and has not run out.
    pub fn holds(&self, group: &GroupName, partition: PartitionId, offset: u64, token: u64, now: Duration) -> bool {
        let handling = self.shared.get(group).and_then(|group| group.records.get(&(partition, offset)));
        handling.and_then(|handling| handling.held).is_some_and(|held| held.token == token && held.until > now)
    }

    /// The engine took a settlement.
    pub fn settled(&mut self, group: &GroupName, lease: (PartitionId, u64, u64), how: Settled) -> Verdict {
        let (partition, offset, token) = lease;
        let handling = self.shared.get_mut(group).and_then(|group| group.records.get_mut(&(partition, offset)));
        let Some(handling) = handling else { return Err(format!("{group} settled what it never had: {lease:?}")) };
        let held = handling.held.is_some_and(|held| held.token == token);
        require!(held, "{group} settled {lease:?} with a lease that is gone: {:?}", handling.held);
        match how {
            Settled::Acknowledged => {
                handling.held = None;
                handling.settled = Sure::Maybe;
                handling.done = true;
            }
            Settled::Returned { not_before } => {
                handling.held = None;
                handling.not_before = not_before;
            }
            // It stays aside until it is copied; if that cannot be done the lease runs out.
            Settled::GivenUp => {
                handling.not_before = handling.held.take().map_or(Duration::ZERO, |held| held.until);
                handling.given_up = true;
            }
        }
        Ok(())
    }

    /// The date was set. Retries are due by date, so that they are over a restart: they may come so much sooner.
    pub fn date_moved(&mut self, by_ms: i64) {
        let sooner = Duration::from_millis(u64::try_from(by_ms).unwrap_or(0));
        for handling in self.shared.values_mut().flat_map(|group| group.records.values_mut()) {
            handling.not_before = handling.not_before.saturating_sub(sooner);
        }
    }

    /// A lease lasts longer now.
    pub fn extended(&mut self, group: &GroupName, partition: PartitionId, offset: u64, until: Duration) {
        let handling = self.shared.get_mut(group).and_then(|group| group.records.get_mut(&(partition, offset)));
        if let Some(held) = handling.and_then(|handling| handling.held.as_mut()) {
            held.until = until;
        }
    }

    /// Settlements that ended a record were acknowledged.
    pub fn settlement_acknowledged(&mut self, group: &GroupName, ended: &[(PartitionId, u64)]) -> Verdict {
        require!(!self.poisoned, "a poisoned log acknowledged settlements of {group}");
        let Some(group) = self.shared.get_mut(group) else { return Ok(()) };
        for at in ended {
            if let Some(handling) = group.records.get_mut(at)
                && handling.settled == Sure::Maybe
            {
                handling.settled = Sure::Yes;
            }
        }
        Ok(())
    }

    /// A consumer left: nobody holds its records.
    pub fn consumer_left(&mut self, group: &GroupName, consumer: u64) {
        let Some(group) = self.shared.get_mut(group) else { return };
        for handling in group.records.values_mut() {
            handling.held = handling.held.filter(|held| held.consumer != consumer);
        }
    }

    /// The group was moved, for certain or perhaps: what it had settled at and above the offset counts no more.
    pub fn sought(&mut self, group: &GroupName, partition: PartitionId, offset: u64, sure: bool) {
        let group = self.shared.entry(group.clone()).or_default();
        let moved = group.moved_to.entry(partition).or_default();
        if sure {
            moved.clear();
        }
        moved.push(offset);
        group.begun_anew.insert(partition);
        group.lowest_move.entry(partition).and_modify(|lowest| *lowest = offset.min(*lowest)).or_insert(offset);
        for ((_, at), handling) in group.records.range_mut((partition, 0)..=(partition, u64::MAX)) {
            handling.held = None;
            handling.not_before = Duration::ZERO;
            handling.done = false;
            handling.handed_out &= sure;
            handling.given_up_before |= handling.given_up;
            handling.settled_before = !sure && (handling.settled_before || handling.settled != Sure::No);
            let unsettled = *at >= offset && (sure || handling.settled == Sure::No);
            handling.settled = if unsettled { Sure::No } else { Sure::Maybe };
        }
    }

    /// The group has nothing left: every record of its partitions was settled, dead-lettered, or removed by a rule.
    pub fn drained(&self, name: &GroupName) -> Verdict {
        let Some(group) = self.shared.get(name) else { return Ok(()) };
        let dead = group.rules.dead_letters.and_then(|dead| self.partitions.get(&dead));
        for partition in &group.rules.partitions {
            let Some(model) = self.partitions.get(partition).filter(|model| model.exists == Sure::Yes) else {
                continue;
            };
            let first = group.first_due(*partition, model.seen.log_start);
            for (&offset, bound) in model.at.range(first..) {
                let settled = group
                    .records
                    .get(&(*partition, offset))
                    .is_some_and(|one| one.settled != Sure::No || (one.given_up && dead.is_none()));
                let buried = dead.is_some_and(|dead| dead.offset_of.contains_key(&bound.value));
                require!(
                    settled || buried || model.retention.compact,
                    "group {name} was never given offset {offset} of partition {partition} (value {})",
                    bound.value
                );
            }
        }
        Ok(())
    }

    /// Whether a value in this partition may be a dead letter of some group.
    pub(super) fn is_dead_letter(&self, partition: PartitionId, value: Value) -> bool {
        let mut groups = self.shared.values().filter(|group| group.rules.dead_letters == Some(partition));
        groups
            .any(|group| group.records.values().any(|one| one.value == value && (one.given_up || one.given_up_before)))
    }

    /// Whether a dead letter may be there once more, because its group was moved back.
    pub(super) fn may_die_again(&self, partition: PartitionId, value: Value) -> bool {
        let mut groups = self.shared.values().filter(|group| group.rules.dead_letters == Some(partition));
        groups.any(|group| {
            let moved = |of: &PartitionId, at: &u64| group.lowest_move.get(of).is_some_and(|lowest| lowest <= at);
            group.records.iter().any(|((of, at), one)| one.value == value && moved(of, at))
        })
    }

    /// Some group must read the partition, and every one that does be done with everything below the offset.
    pub(super) fn acknowledged_by_all(&self, partition: PartitionId, below: u64) -> Verdict {
        let Some(model) = self.partitions.get(&partition) else { return Ok(()) };
        let mut readers = 0;
        for (name, group) in self.shared.iter().filter(|(_, group)| group.rules.partitions.contains(&partition)) {
            readers += 1;
            let first = group.first_due(partition, 0);
            for (offset, _) in model.at.range(first.min(below)..below) {
                let one = group.records.get(&(partition, *offset));
                let done = one.is_some_and(|one| one.settled != Sure::No || one.given_up);
                require!(done, "group {name} is not done with offset {offset}: {one:?}");
            }
        }
        for (name, group) in &self.assigned {
            // What was asked for and lost makes nobody a reader.
            if let Some(progress) = group.progress.get(&partition) {
                readers += 1;
                let behind = progress.acknowledged.is_some() && progress.highest < below;
                require!(!behind, "group {name} has not committed {below}: {progress:?}");
            }
        }
        require!(readers > 0, "no group reads it");
        Ok(())
    }

    /// A partition that never came to be takes its progress with it.
    pub(super) fn forget_progress(&mut self, partition: PartitionId) {
        self.assigned.values_mut().for_each(|group| drop(group.progress.remove(&partition)));
    }

    /// Whether a rejection of the record's present delivery is its last.
    pub fn is_last_attempt(&self, group: &GroupName, at: (PartitionId, u64)) -> bool {
        let handling = self.shared.get(group).and_then(|group| group.records.get(&at));
        handling.is_some_and(|handling| handling.given_up)
    }
}
