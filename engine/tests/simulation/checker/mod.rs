//! What must hold of a history, whatever crashed in between. It is told what was asked, what was answered and what was
//! seen, in order, and says what is wrong as soon as it is.
//!
//! The promises: an acknowledged record is readable at its offset as long as its durability survives what happened; an
//! offset has one value for ever; a value has one offset; what failed is never seen; offsets are dense; writes made
//! together appear together; nothing appears where it was not sent, nor before its time; nothing goes away without a
//! rule of its topic that says so; progress and settlements that were acknowledged stay; what was delivered before says so;
//! what was put into tables is there up to some moment, not before the last that was acknowledged.

mod group;
mod partition;
mod send;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use tidegate_engine::store::faulty::End;
use tidegate_engine::{Durability, GroupName, PartitionId, Retention};
use uuid::Uuid;

pub use group::{Delivered, Settled, SharedRules};
pub use partition::Bounds;
pub use send::{Fate, Piece, UnitId};
pub use table::{Contents, Put};

use crate::value::Value;

/// Fine, or what was broken.
pub type Verdict = Result<(), String>;

macro_rules! require {
    ($holds:expr, $($message:tt)*) => {
        if !$holds {
            return Err(format!($($message)*));
        }
    };
}
use require;

/// How sure it is that something asked for is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sure {
    /// Acknowledged.
    Yes,
    /// Asked for, not (or never) answered.
    Maybe,
    /// Acknowledged to be gone, or found to be.
    No,
}

#[derive(Debug, Clone)]
struct TopicModel {
    name: String,
    partitions: Vec<PartitionId>,
    exists: Sure,
    /// It once was there for certain.
    existed: bool,
    /// Somebody asked for its deletion, which may yet happen.
    going: bool,
    durability: Durability,
    retention: Retention,
}

/// Judges one history.
#[derive(Debug, Default, Clone)]
pub struct Checker {
    topics: BTreeMap<Uuid, TopicModel>,
    partitions: BTreeMap<PartitionId, partition::PartitionModel>,
    values: BTreeMap<Value, send::ValueModel>,
    units: Vec<send::Unit>,
    shared: BTreeMap<GroupName, group::Shared>,
    assigned: BTreeMap<GroupName, group::Assigned>,
    tables: table::Tables,
    /// Where each partition ended at the last start: what lies below may have been handed out before it.
    recovered_ends: BTreeMap<PartitionId, u64>,
    /// The latest wall clock so far, ms since the Unix epoch.
    latest_ms: i64,
    poisoned: bool,
    trace: VecDeque<String>,
}

const TRACE: usize = 400;

impl Checker {
    /// Notes a line for the report of a failure.
    pub fn note(&mut self, line: impl Into<String>) {
        if self.trace.len() == TRACE {
            self.trace.pop_front();
        }
        self.trace.push_back(line.into());
    }

    /// The last lines noted.
    pub fn trace(&self) -> impl Iterator<Item = &String> {
        self.trace.iter()
    }

    /// The wall clock shows this.
    pub fn clock(&mut self, now_ms: i64) {
        self.latest_ms = self.latest_ms.max(now_ms);
    }

    // ---- topics -------------------------------------------------------------------------------------------------

    /// A topic was created, acknowledged or not yet.
    pub fn topic_created(
        &mut self,
        id: Uuid,
        name: &str,
        partitions: &[PartitionId],
        durability: Durability,
        retention: &Retention,
    ) -> Verdict {
        // The id of a topic that never came to be may be given again.
        let taken = self.topics.get(&id).is_some_and(|topic| topic.exists != Sure::No || topic.existed);
        require!(!taken, "topic id {id} was given twice");
        let model = TopicModel {
            name: name.into(),
            partitions: Vec::new(),
            exists: Sure::Maybe,
            existed: false,
            going: false,
            durability,
            retention: retention.clone(),
        };
        self.topics.insert(id, model);
        self.topic_grown(id, partitions)
    }

    /// A topic has these partitions now.
    pub fn topic_grown(&mut self, id: Uuid, partitions: &[PartitionId]) -> Verdict {
        let Some(topic) = self.topics.get(&id).cloned() else {
            return Err(format!("topic {id} grew out of nothing"));
        };
        require!(partitions.starts_with(&topic.partitions), "topic {} changed its partitions", topic.name);
        for &partition in &partitions[topic.partitions.len()..] {
            let model = partition::PartitionModel::new(id, topic.durability, topic.retention.clone());
            if let Some(other) = self.partitions.insert(partition, model) {
                // A number that was never acknowledged and did not survive may be given again.
                require!(
                    other.is_untouched() && other.exists == Sure::No,
                    "partition {partition} was given twice, first to {:?}",
                    self.topics.get(&other.topic)
                );
                self.forget_partition(partition);
            }
        }
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.partitions = partitions.to_vec();
        }
        Ok(())
    }

    /// The deletion of a topic was asked for (`Maybe`) or acknowledged (`No`).
    pub fn topic_is(&mut self, id: Uuid, exists: Sure) {
        let Some(topic) = self.topics.get_mut(&id) else { return };
        topic.exists = exists;
        topic.going = true;
        for partition in &topic.partitions {
            if let Some(model) = self.partitions.get_mut(partition) {
                model.exists = exists;
            }
        }
    }

    /// A growth or creation up to so many partitions was acknowledged.
    pub fn topic_acknowledged(&mut self, id: Uuid, partitions: usize) {
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.existed = true;
            if topic.going {
                return;
            }
            topic.exists = Sure::Yes;
            for partition in topic.partitions.iter().take(partitions) {
                if let Some(model) = self.partitions.get_mut(partition) {
                    model.exists = Sure::Yes;
                }
            }
        }
    }

    /// Every topic there is, after a recovery.
    pub fn topics_are(&mut self, found: &[(Uuid, String, Vec<PartitionId>)]) -> Verdict {
        for (id, name, partitions) in found {
            let Some(topic) = self.topics.get(id) else { return Err(format!("topic {name} ({id}) was never created")) };
            require!(topic.exists != Sure::No, "topic {name} ({id}) was deleted and is back");
            require!(&topic.name == name, "topic {name} was created as {}", topic.name);
            require!(topic.partitions.starts_with(partitions), "topic {name} has other partitions: {partitions:?}");
        }
        let found: BTreeMap<_, _> = found.iter().map(|(id, _, partitions)| (*id, partitions.len())).collect();
        for (id, topic) in &mut self.topics {
            let kept = found.get(id).copied();
            require!(kept.is_some() || topic.exists != Sure::Yes, "topic {} ({id}) is gone", topic.name);
            topic.exists = if kept.is_some() { Sure::Yes } else { Sure::No };
            topic.existed |= kept.is_some();
            topic.going = false;
            for gone in topic.partitions.split_off(kept.unwrap_or(0)) {
                let Some(model) = self.partitions.get_mut(&gone) else { continue };
                require!(kept.is_none() || model.exists != Sure::Yes, "partition {gone} of {} is gone", topic.name);
                model.exists = Sure::No;
            }
            for partition in &topic.partitions {
                if let Some(model) = self.partitions.get_mut(partition) {
                    model.exists = Sure::Yes;
                }
            }
        }
        Ok(())
    }

    // ---- crashes ------------------------------------------------------------------------------------------------

    /// A write or sync of the log failed: until the next start nothing may be acknowledged.
    pub fn poisoned(&mut self) {
        self.poisoned = true;
    }

    /// The process ended like this.
    pub fn crash(&mut self, end: End) {
        self.note(format!("---- crash: {end:?}"));
        // After a failed sync the system may forget what it only held in memory: no better than a power cut.
        let end = if std::mem::take(&mut self.poisoned) { End::Power } else { end };
        let partitions = &self.partitions;
        for unit in &mut self.units {
            let weakest = unit.durability(partitions);
            unit.crash(survives(weakest, end));
        }
        for partition in self.partitions.values_mut() {
            partition.crash(survives(partition.durability, end));
        }
        let weakest_kept = |id: PartitionId| {
            let durability = self.partitions.get(&id).map_or(Durability::Fsync, |model| model.durability);
            survives(durability.max(Durability::PageCache), end)
        };
        for group in self.assigned.values_mut() {
            group.crash(weakest_kept);
        }
        for group in self.shared.values_mut() {
            group.crash();
        }
    }
}

/// Whether what was acknowledged with a durability outlives such an end.
fn survives(durability: Durability, end: End) -> bool {
    match (durability, end) {
        (Durability::Fsync, _) | (Durability::PageCache, End::Process) => true,
        (Durability::PageCache, End::Power) | (Durability::Memory, _) => false,
    }
}
