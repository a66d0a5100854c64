//! One partition: which value is at which offset, and what may be gone.

use std::collections::BTreeMap;

use tidegate_engine::{Durability, PartitionId, Retention};
use uuid::Uuid;

use super::{Checker, Fate, Sure, Verdict, require};
use crate::value::Value;

/// First offset kept and the next one to be seen, as the engine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub log_start: u64,
    pub high_watermark: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub value: Value,
    /// Acknowledged or seen: it may not change any more.
    pub certain: bool,
}

#[derive(Debug, Clone)]
pub(super) struct PartitionModel {
    pub topic: Uuid,
    pub exists: Sure,
    pub durability: Durability,
    pub retention: Retention,
    pub at: BTreeMap<u64, Bound>,
    pub offset_of: BTreeMap<Value, u64>,
    pub seen: Bounds,
    /// Records below were asked to be removed.
    pub removed_below: u64,
}

impl PartitionModel {
    pub fn new(topic: Uuid, durability: Durability, retention: Retention) -> Self {
        Self {
            topic,
            exists: Sure::Maybe,
            durability,
            retention,
            at: BTreeMap::new(),
            offset_of: BTreeMap::new(),
            seen: Bounds::default(),
            removed_below: 0,
        }
    }

    pub fn is_untouched(&self) -> bool {
        self.at.values().all(|bound| !bound.certain)
    }

    pub fn bind(&mut self, partition: PartitionId, offset: u64, value: Value, certain: bool) -> Verdict {
        if let Some(&other) = self.offset_of.get(&value) {
            require!(other == offset, "value {value} is at offset {other} and at {offset} of partition {partition}");
        }
        if let Some(other) = self.at.get(&offset) {
            require!(
                other.value == value,
                "offset {offset} of partition {partition} has value {} and then {value}",
                other.value
            );
        }
        let bound = self.at.entry(offset).or_insert(Bound { value, certain });
        bound.certain |= certain;
        self.offset_of.insert(value, offset);
        Ok(())
    }

    /// Acknowledged values keep their offset for ever.
    pub fn make_certain(&mut self, value: Value) {
        if let Some(bound) = self.offset_of.get(&value).and_then(|offset| self.at.get_mut(offset)) {
            bound.certain = true;
        }
    }

    /// An answer that will never come: the value has no offset any more.
    pub fn unbind(&mut self, value: Value) {
        if let Some(offset) = self.offset_of.get(&value).copied()
            && self.at.get(&offset).is_some_and(|bound| !bound.certain)
        {
            self.at.remove(&offset);
            self.offset_of.remove(&value);
        }
    }

    pub fn crash(&mut self, survives: bool) {
        // What retention did is seen before it is written: then it is done again.
        self.seen.log_start = 0;
        if survives {
            return;
        }
        self.seen = Bounds::default();
        for bound in self.at.values_mut() {
            bound.certain = false;
        }
    }
}

impl Checker {
    /// Somebody asked for the removal of records below an offset.
    pub fn removal_asked(&mut self, partition: PartitionId, below: u64) {
        if let Some(model) = self.partitions.get_mut(&partition) {
            model.removed_below = model.removed_below.max(below);
        }
    }

    /// A read from `from` returned these records, offsets and values, in this order.
    pub fn read(&mut self, partition: PartitionId, from: u64, got: &[(u64, Value)], bounds: Bounds) -> Verdict {
        self.bounds_seen(partition, bounds)?;
        let compacted = self.partitions.get(&partition).is_some_and(|model| model.retention.compact);
        for pair in got.windows(2) {
            let (before, after) = (pair[0].0, pair[1].0);
            require!(after > before, "partition {partition}: offset {after} comes after {before}");
            require!(compacted || after == before + 1, "partition {partition}: nothing between {before} and {after}");
        }
        match (got.first(), got.last()) {
            (Some((first, _)), Some((last, _))) => {
                require!(compacted || *first <= from, "partition {partition}: asked for {from}, first is {first}");
                require!(*last < bounds.high_watermark, "partition {partition}: {last} is past {bounds:?}");
                require!(compacted || *last >= from, "partition {partition}: asked for {from}, last is {last}");
            }
            _ => require!(
                compacted || from >= bounds.high_watermark,
                "partition {partition}: nothing at {from} of {bounds:?}"
            ),
        }
        got.iter().try_for_each(|&(offset, value)| self.observe(partition, offset, value))
    }

    /// The whole partition was read, from its log start to its high watermark; after a recovery what is not there now
    /// is lost.
    pub fn scanned(
        &mut self,
        partition: PartitionId,
        got: &[(u64, Value)],
        bounds: Bounds,
        recovered: bool,
    ) -> Verdict {
        self.read(partition, bounds.log_start, got, bounds)?;
        let present: BTreeMap<u64, Value> = got.iter().copied().collect();
        if let Some(model) = self.partitions.get_mut(&partition).filter(|_| recovered) {
            // What was not certain and is not there was lost with the crash: its offset is free.
            let lost: Vec<Value> = model
                .at
                .range(bounds.log_start..)
                .filter(|(offset, bound)| !bound.certain && !present.contains_key(offset))
                .map(|(_, bound)| bound.value)
                .collect();
            lost.into_iter().for_each(|value| model.unbind(value));
        }
        let Some(model) = self.partitions.get(&partition) else { return Ok(()) };
        let mut later_keys = BTreeMap::new();
        for (&offset, bound) in model.at.range(bounds.log_start..bounds.high_watermark).rev() {
            let key = self.values.get(&bound.value).and_then(|value| value.key);
            let replaced = model.retention.compact && key.is_some_and(|key| later_keys.contains_key(&key));
            require!(
                present.contains_key(&offset) || replaced,
                "partition {partition}: value {} at offset {offset} is gone ({bounds:?})",
                bound.value
            );
            if let Some(key) = key {
                later_keys.insert(key, offset);
            }
        }
        Ok(())
    }

    /// The first record of a time (ms since the Unix epoch) or later was found there, or none was.
    pub fn time_found(
        &self,
        partition: PartitionId,
        time_ms: i64,
        found: Option<(u64, i64)>,
        bounds: (u64, u64),
    ) -> Verdict {
        let Some(model) = self.partitions.get(&partition).filter(|model| !model.retention.compact) else {
            return Ok(());
        };
        let late = model.at.range(bounds.0..bounds.1).find_map(|(offset, bound)| {
            let value = self.values.get(&bound.value)?;
            (value.timestamp_ms >= time_ms).then_some((*offset, value.timestamp_ms))
        });
        // Records learned of only now (fan-out, delayed) may come before what is known.
        let earlier = found.zip(late).is_some_and(|(found, late)| found.0 < late.0 && !model.at.contains_key(&found.0));
        let unknown = late.is_none() && found.is_some_and(|found| !model.at.contains_key(&found.0));
        require!(
            found == late || earlier || unknown,
            "partition {partition}: {found:?} is the first of {time_ms}, not {late:?}"
        );
        Ok(())
    }

    /// The engine said these are a partition's bounds.
    pub fn bounds_seen(&mut self, partition: PartitionId, bounds: Bounds) -> Verdict {
        let Some(model) = self.partitions.get(&partition) else {
            return Err(format!("partition {partition} was never made"));
        };
        require!(model.exists != Sure::No, "partition {partition} was deleted and answers");
        let seen = model.seen;
        require!(
            bounds.log_start >= seen.log_start && bounds.high_watermark >= seen.high_watermark,
            "partition {partition} went back from {seen:?} to {bounds:?}"
        );
        require!(bounds.log_start <= bounds.high_watermark, "partition {partition} has {bounds:?}");
        let certain = model.at.iter().rev().find(|(_, bound)| bound.certain).map_or(0, |(offset, _)| offset + 1);
        require!(
            bounds.high_watermark >= certain,
            "partition {partition} ends at {} but offset {} was promised",
            bounds.high_watermark,
            certain - 1
        );
        if bounds.log_start > seen.log_start {
            self.justify_removal(partition, bounds.log_start)?;
        }
        if let Some(model) = self.partitions.get_mut(&partition) {
            model.seen = bounds;
        }
        Ok(())
    }

    /// The last record removed must be one that some rule of the topic removes.
    fn justify_removal(&self, partition: PartitionId, log_start: u64) -> Verdict {
        let Some(model) = self.partitions.get(&partition) else { return Ok(()) };
        let last = model.at.get(&(log_start - 1)).and_then(|bound| self.values.get(&bound.value));
        let retention = &model.retention;
        let too_old = |keep: std::time::Duration| {
            let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
            last.is_none_or(|value| self.latest_ms.saturating_sub(value.timestamp_ms) >= keep)
        };
        let too_many = |limit: u64| {
            last.is_none_or(|value| {
                let first = model.offset_of.get(&value.batch_first).copied().unwrap_or(log_start - 1);
                let kept = model.at.range(first..).filter_map(|(_, bound)| self.values.get(&bound.value));
                kept.map(|value| value.batch_bytes).sum::<u64>() + self.bytes_of_unseen(partition) > limit
            })
        };
        let allowed = model.removed_below >= log_start
            || retention.time.is_some_and(too_old)
            || retention.bytes.is_some_and(too_many)
            || retention.until_acknowledged;
        require!(allowed, "partition {partition}: no rule removes offset {} ({retention:?})", log_start - 1);
        if retention.until_acknowledged && model.removed_below < log_start {
            let why = |reason| format!("partition {partition}: offset {} is removed: {reason}", log_start - 1);
            self.acknowledged_by_all(partition, log_start).map_err(why)?;
        }
        Ok(())
    }

    /// Batches that may be in a partition at offsets nobody was told.
    fn bytes_of_unseen(&self, partition: PartitionId) -> u64 {
        let Some(model) = self.partitions.get(&partition) else { return 0 };
        let here = self.values.iter().filter(|(_, known)| known.partitions.contains(&partition));
        here.filter(|(value, _)| !model.offset_of.contains_key(value)).map(|(_, known)| known.batch_bytes).sum()
    }

    /// Somebody saw this value at this offset.
    pub(super) fn observe(&mut self, partition: PartitionId, offset: u64, value: Value) -> Verdict {
        let Some(known) = self.values.get(&value) else { return Err(format!("value {value} was never sent")) };
        require!(
            known.partitions.contains(&partition) || self.is_dead_letter(partition, value),
            "value {value} was sent to {:?} and is in partition {partition}",
            known.partitions
        );
        let fate = self.units[known.unit].fate;
        require!(
            fate != Fate::Failed || self.is_dead_letter(partition, value),
            "value {value} was refused and is at offset {offset} of partition {partition}"
        );
        if let Some(due) = known.deliver_at_ms {
            require!(due <= self.latest_ms, "value {value} is due at {due} and was seen at {}", self.latest_ms);
        }
        let again = self.may_die_again(partition, value);
        match self.partitions.get_mut(&partition) {
            Some(model) => {
                if again {
                    model.offset_of.remove(&value);
                }
                model.bind(partition, offset, value, true)
            }
            None => Err(format!("partition {partition} was never made")),
        }
    }
}
