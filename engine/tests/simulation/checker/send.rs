//! What was published: values that stand or fall together, and how far that is known.

use std::collections::{BTreeMap, BTreeSet};

use tidegate_engine::{Durability, PartitionId};

use super::partition::PartitionModel;
use super::{Checker, Sure, Verdict, require};
use crate::value::Value;

/// Writes that were made together.
pub type UnitId = usize;

/// How a unit of writes ended, as far as its publisher knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// No answer yet.
    Pending,
    /// Acknowledged, or found after a crash.
    Kept,
    /// The answer was lost or said so.
    Unknown,
    /// Refused, or found missing after a crash: it may never be seen.
    Failed,
}

/// One batch of a unit.
#[derive(Debug, Clone)]
pub struct Piece {
    pub partitions: Vec<PartitionId>,
    pub values: Vec<(Value, Option<u8>)>,
    pub bytes: u64,
    pub timestamp_ms: i64,
    pub deliver_at_ms: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct ValueModel {
    pub unit: UnitId,
    pub partitions: BTreeSet<PartitionId>,
    pub key: Option<u8>,
    pub timestamp_ms: i64,
    pub deliver_at_ms: Option<i64>,
    /// First value of its batch.
    pub batch_first: Value,
    /// Size of the batch, counted at its first value.
    pub batch_bytes: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub pieces: Vec<Piece>,
    pub fate: Fate,
    /// An earlier attempt may have succeeded: a refusal of a later one proves nothing.
    attempted: bool,
}

impl Unit {
    pub fn durability(&self, partitions: &BTreeMap<PartitionId, PartitionModel>) -> Durability {
        let all = self.pieces.iter().flat_map(|piece| &piece.partitions).filter_map(|id| partitions.get(id));
        all.map(|model| model.durability).min().unwrap_or(Durability::Fsync)
    }

    pub fn crash(&mut self, survives: bool) {
        self.fate = match self.fate {
            Fate::Pending => Fate::Unknown,
            Fate::Kept if !survives => Fate::Unknown,
            fate => fate,
        };
    }
}

impl Checker {
    /// These batches are about to be published, to be there all or none.
    pub fn send(&mut self, pieces: Vec<Piece>) -> UnitId {
        let unit = self.units.len();
        for piece in &pieces {
            let first = piece.values.first().map_or(0, |(value, _)| *value);
            for &(value, key) in &piece.values {
                let model = ValueModel {
                    unit,
                    partitions: piece.partitions.iter().copied().collect(),
                    key,
                    timestamp_ms: piece.timestamp_ms,
                    deliver_at_ms: piece.deliver_at_ms,
                    batch_first: first,
                    batch_bytes: if value == first { piece.bytes } else { 0 },
                };
                self.values.insert(value, model);
            }
        }
        self.units.push(Unit { pieces, fate: Fate::Pending, attempted: false });
        unit
    }

    /// The same batches are published again, by somebody who may.
    pub fn retry(&mut self, unit: UnitId) {
        let unit = &mut self.units[unit];
        unit.attempted = unit.fate != Fate::Failed;
        if unit.fate != Fate::Kept {
            unit.fate = Fate::Pending;
        }
    }

    pub fn fate(&self, unit: UnitId) -> Fate {
        self.units[unit].fate
    }

    /// A batch was taken: its first record will be at this offset of its first partition.
    pub fn accepted(&mut self, unit: UnitId, piece: usize, base_offset: Option<u64>, duplicate: bool) -> Verdict {
        require!(!self.poisoned, "a poisoned log took unit {unit}");
        let Unit { pieces, fate, attempted } = &self.units[unit];
        let piece = &pieces[piece];
        require!(!duplicate || *attempted, "unit {unit} was called a repeat the first time");
        require!(
            *fate != Fate::Kept || duplicate,
            "unit {unit} was acknowledged, sent again, and not recognised as a repeat"
        );
        let (Some(base), Some(&partition)) = (base_offset, piece.partitions.first()) else {
            require!(piece.deliver_at_ms.is_some() || duplicate, "unit {unit} has no offset");
            return Ok(());
        };
        let Some(model) = self.partitions.get_mut(&partition) else { return Ok(()) };
        for (offset, (value, _)) in (base..).zip(&piece.values) {
            model.bind(partition, offset, *value, false)?;
        }
        Ok(())
    }

    /// The unit was refused: nothing of it may be seen (unless an earlier attempt did it).
    pub fn refused(&mut self, unit: UnitId) {
        let Unit { pieces, fate, attempted } = &mut self.units[unit];
        if *fate == Fate::Kept {
            return;
        }
        *fate = if *attempted { Fate::Unknown } else { Fate::Failed };
        if *attempted {
            return;
        }
        for (partition, value) in addresses(pieces) {
            if let Some(model) = self.partitions.get_mut(&partition) {
                model.unbind(value);
            }
        }
    }

    /// The unit has the durability of its topics.
    pub fn acknowledged(&mut self, unit: UnitId) -> Verdict {
        // What asks for less than a sync may have been answered just before the sync failed.
        let synced = self.units[unit].durability(&self.partitions) == Durability::Fsync;
        require!(!(self.poisoned && synced), "a poisoned log acknowledged unit {unit}");
        let unit = &mut self.units[unit];
        unit.fate = Fate::Kept;
        for (partition, value) in addresses(&unit.pieces) {
            // What is only in memory is acknowledged before it can be read.
            let model = self.partitions.get_mut(&partition).filter(|model| model.durability != Durability::Memory);
            if let Some(model) = model {
                model.make_certain(value);
            }
        }
        Ok(())
    }

    /// There will be no answer, or one that says nothing.
    pub fn unanswered(&mut self, unit: UnitId) {
        if self.units[unit].fate == Fate::Pending {
            self.units[unit].fate = Fate::Unknown;
        }
    }

    /// Every partition was scanned after a recovery: what was unknown is known now, and is whole or absent.
    pub fn recovered(&mut self) -> Verdict {
        self.recovered_ends = self.partitions.iter().map(|(id, model)| (*id, model.seen.high_watermark)).collect();
        for number in 0..self.units.len() {
            let unit = &self.units[number];
            if matches!(unit.fate, Fate::Failed | Fate::Pending) {
                continue;
            }
            let (mut there, mut missing) = (Vec::new(), Vec::new());
            for piece in &unit.pieces {
                if piece.deliver_at_ms.is_some() {
                    continue;
                }
                for (&partition, &(value, _)) in each(piece) {
                    match self.presence(partition, value) {
                        Sure::Yes => there.push((partition, value)),
                        Sure::No => missing.push((partition, value)),
                        Sure::Maybe => {}
                    }
                }
            }
            require!(
                missing.is_empty() || (there.is_empty() && unit.fate == Fate::Unknown),
                "unit {number} ({:?}) is there in part: {there:?} without {missing:?}",
                unit.fate
            );
            if unit.fate == Fate::Unknown && !(there.is_empty() && missing.is_empty()) {
                self.units[number].fate = if missing.is_empty() { Fate::Kept } else { Fate::Failed };
            }
        }
        Ok(())
    }

    /// At the very end, when all is due: everything kept is somewhere.
    pub fn finished(&self) -> Verdict {
        for unit in self.units.iter().filter(|unit| unit.fate == Fate::Kept) {
            for (partition, value) in addresses(&unit.pieces) {
                require!(
                    self.presence(partition, value) != Sure::No,
                    "value {value} was acknowledged and is not in partition {partition}"
                );
            }
        }
        Ok(())
    }

    /// A partition never came to be, with all that was sent to it, and another has its number now.
    pub(super) fn forget_partition(&mut self, partition: PartitionId) {
        for unit in &mut self.units {
            unit.pieces.iter_mut().for_each(|piece| piece.partitions.retain(|other| *other != partition));
        }
        for value in self.values.values_mut() {
            value.partitions.remove(&partition);
        }
        self.forget_progress(partition);
    }

    /// Whether a value is in a partition; `Maybe` when a rule may have removed it or its topic is gone.
    fn presence(&self, partition: PartitionId, value: Value) -> Sure {
        let Some(model) = self.partitions.get(&partition) else { return Sure::Maybe };
        match model.offset_of.get(&value) {
            _ if model.exists != Sure::Yes => Sure::Maybe,
            Some(_) => Sure::Yes,
            None if model.seen.log_start > 0 || model.retention.compact => Sure::Maybe,
            None => Sure::No,
        }
    }
}

fn each(piece: &Piece) -> impl Iterator<Item = (&PartitionId, &(Value, Option<u8>))> {
    piece.partitions.iter().flat_map(|partition| piece.values.iter().map(move |value| (partition, value)))
}

fn addresses(pieces: &[Piece]) -> impl Iterator<Item = (PartitionId, Value)> {
    pieces.iter().flat_map(|piece| each(piece).map(|(partition, (value, _))| (*partition, *value)))
}
