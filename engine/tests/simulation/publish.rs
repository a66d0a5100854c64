//! Publishers of every kind: plain, idempotent, keyed, atomic, fanned out, delayed.

use std::collections::VecDeque;

use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::group::{OffsetCommit, Settlement};
use tidegate_engine::store::Clock;
use tidegate_engine::{Appends, Atomic, DedupeKey, Durability, Error, PartitionId, Write};

use crate::checker::{Fate, Piece, Settled, UnitId, Verdict};
use crate::value::{self, Stamp, Value};
use crate::world::{JOBS, LEDGER, Waiting, World, group_name};

/// Batches an idempotent producer may have on the way; Kafka's `max.in.flight.requests.per.connection`.
const WINDOW: usize = 5;

/// An idempotent producer of one partition.
#[derive(Debug)]
pub struct Producer {
    id: i64,
    epoch: i16,
    pub partition: PartitionId,
    durability: Durability,
    next: i32,
    window: VecDeque<Sent>,
}

#[derive(Debug, Clone)]
struct Sent {
    unit: UnitId,
    batch: Batch,
}

/// A write with an idempotency key.
#[derive(Debug, Clone)]
pub struct Keyed {
    unit: UnitId,
    pub write: Write,
    at_ms: i64,
}

/// What is about to be published.
struct Draft {
    records: Vec<Record>,
    values: Vec<(Value, Option<u8>)>,
}

impl World {
    fn draft(&mut self, most: u64) -> Draft {
        let count = 1 + self.random.below(most);
        let timestamp_ms = self.clock.now_ms();
        let values: Vec<_> = (0..count)
            .map(|_| {
                self.next_value += 1;
                (self.next_value, (!self.random.chance(20)).then(|| self.random.below(6) as u8))
            })
            .collect();
        let records = values.iter().map(|(value, key)| value::record(*value, *key, timestamp_ms)).collect();
        Draft { records, values }
    }

    fn piece(&self, partitions: &[PartitionId], draft: &Draft, batch: &Batch, deliver_at_ms: Option<i64>) -> Piece {
        Piece {
            partitions: partitions.to_vec(),
            values: draft.values.clone(),
            bytes: batch.bytes.len() as u64,
            timestamp_ms: self.clock.now_ms(),
            deliver_at_ms,
        }
    }

    fn plain(&mut self, partitions: Vec<PartitionId>, deliver_at_ms: Option<i64>) -> (UnitId, Write) {
        let draft = self.draft(8);
        let batch = Batch::pack(&draft.records).unwrap();
        let piece = self.piece(&partitions, &draft, &batch, deliver_at_ms);
        let first = draft.values[0].0;
        self.checker.note(format!("send {first} (+{}) to {partitions:?}", draft.values.len() - 1));
        let unit = self.checker.send(vec![piece]);
        (unit, Write { partitions, batch, dedupe: None, deliver_at_ms })
    }

    /// Appends, and tells the checker what became of each write.
    fn append(&mut self, units: &[UnitId], writes: Vec<Write>) -> Result<Vec<Result<bool, Error>>, String> {
        let engine = self.engine.clone();
        let answer = self.drive(Box::pin(async move { engine.append(writes).await }))?;
        let Some(Appends { results, commit }) = answer else {
            units.iter().for_each(|unit| self.checker.unanswered(*unit));
            return Ok(Vec::new());
        };
        let (mut taken, mut outcome) = (Vec::new(), Vec::new());
        for (&unit, result) in units.iter().zip(results) {
            outcome.push(match result {
                Ok(appended) => {
                    self.checker
                        .note(format!("unit {unit}: {:?}, repeat {}", appended.base_offset, appended.duplicate));
                    self.checker.accepted(unit, 0, appended.base_offset, appended.duplicate)?;
                    taken.push(unit);
                    Ok(appended.duplicate)
                }
                Err(error) => {
                    self.checker.note(format!("unit {unit}: {error}"));
                    self.checker.refused(unit);
                    Err(error)
                }
            });
        }
        self.wait(commit, Waiting::Units(taken));
        self.take_answers()?;
        Ok(outcome)
    }

    fn append_expecting(&mut self, units: &[UnitId], writes: Vec<Write>) -> Verdict {
        for outcome in self.append(units, writes)? {
            if let Err(error) = outcome {
                self.expected("append", &error)?;
            }
        }
        Ok(())
    }

    /// A few batches in one call, each on its own.
    pub fn publish_plain(&mut self) -> Verdict {
        let mut units = Vec::new();
        let mut writes = Vec::new();
        for _ in 0..=self.random.below(3) {
            let Some((partition, _)) = self.some_partition() else { return Ok(()) };
            let (unit, write) = self.plain(vec![partition], None);
            units.push(unit);
            writes.push(write);
        }
        self.append_expecting(&units, writes)
    }

    /// One batch for several partitions.
    pub fn publish_fanned_out(&mut self) -> Verdict {
        let mut partitions = Vec::new();
        for _ in 0..3 {
            partitions.extend(self.some_partition().map(|(partition, _)| partition));
        }
        partitions.sort_unstable();
        partitions.dedup();
        // A dead letter says by its value which record it was: only one of them may be a shared group's.
        let jobs: Vec<_> = JOBS.iter().filter_map(|name| self.engine.topic("default", name)).collect();
        let mut seen = false;
        partitions.retain(|id| {
            let is_job = jobs.iter().any(|topic| topic.partitions.contains(id));
            !is_job || !std::mem::replace(&mut seen, true)
        });
        if partitions.is_empty() {
            return Ok(());
        }
        let (unit, write) = self.plain(partitions, None);
        self.append_expecting(&[unit], vec![write])
    }

    /// A batch for later.
    pub fn publish_delayed(&mut self) -> Verdict {
        let Some((partition, _)) = self.some_partition() else { return Ok(()) };
        let due = self.clock.now_ms() + self.random.below(60_000) as i64;
        let (unit, write) = self.plain(vec![partition], Some(due));
        self.append_expecting(&[unit], vec![write])
    }

    // ---- idempotency keys ---------------------------------------------------------------------------------------

    /// A write with a key, or an earlier one again, or its key with another body.
    pub fn publish_keyed(&mut self) -> Verdict {
        let window = i64::try_from(self.config.dedupe_window.as_millis()).unwrap_or(i64::MAX) / 2;
        let latest = self.clock.now_ms();
        self.keyed.retain(|keyed| latest.abs_diff(keyed.at_ms) < window.unsigned_abs());
        let again = self.random.chance(50);
        match self.random.pick(&self.keyed).cloned() {
            Some(keyed) if again => self.repeat_keyed(keyed),
            _ => self.first_keyed(),
        }
    }

    fn first_keyed(&mut self) -> Verdict {
        let Some((partition, _)) = self.some_partition() else { return Ok(()) };
        let due = self.random.chance(20).then(|| self.clock.now_ms() + 5_000);
        let (unit, mut write) = self.plain(vec![partition], due);
        write.dedupe = Some(DedupeKey { key: u128::from(self.random.bits()), body: 1 });
        self.keyed.push(Keyed { unit, write: write.clone(), at_ms: self.clock.now_ms() });
        self.append_expecting(&[unit], vec![write])
    }

    fn repeat_keyed(&mut self, keyed: Keyed) -> Verdict {
        let Keyed { unit, mut write, .. } = keyed;
        if self.checker.fate(unit) == Fate::Kept && self.random.chance(30) {
            let (other, mut changed) = self.plain(write.partitions.clone(), None);
            changed.dedupe = write.dedupe.clone().map(|key| DedupeKey { body: 2, ..key });
            return match self.append(&[other], vec![changed])?.pop() {
                Some(Ok(_)) => Err(format!("the key of unit {unit} was taken with another body")),
                Some(Err(Error::IdempotencyMismatch)) | None => Ok(()),
                Some(Err(error)) => self.expected("keyed append", &error),
            };
        }
        if self.checker.fate(unit) == Fate::Pending {
            return Ok(());
        }
        self.checker.note(format!("unit {unit} again"));
        self.checker.retry(unit);
        // The key decides, not the bytes: a publisher may have packed them anew.
        write.batch = Batch::split_from(&mut write.batch.bytes.clone()).map_err(|e| e.to_string())?;
        self.append_expecting(&[unit], vec![write])
    }

    // ---- idempotent producers -----------------------------------------------------------------------------------

    /// A new idempotent producer.
    pub fn start_producer(&mut self) -> Verdict {
        let Some((partition, durability)) = self.some_partition() else { return Ok(()) };
        let engine = self.engine.clone();
        let id = match self.drive(Box::pin(async move { engine.allocate_producer_id().await }))? {
            Some(Ok(id)) => id,
            Some(Err(error)) => return self.expected("allocate producer id", &error),
            None => return Ok(()),
        };
        if self.producers.iter().any(|producer| producer.id == id) {
            return Err(format!("producer id {id} was given twice"));
        }
        self.checker.note(format!("producer {id} starts on {partition}"));
        let producer = Producer { id, epoch: 0, partition, durability, next: 0, window: VecDeque::new() };
        self.producers.push(producer);
        Ok(())
    }

    /// The next step of some idempotent producer: what has no answer is sent again in order, before anything new.
    pub fn publish_idempotent(&mut self) -> Verdict {
        if self.producers.len() < 4 {
            self.start_producer()?;
        }
        if self.producers.is_empty() {
            return Ok(());
        }
        let at = self.random.index(self.producers.len());
        let mut producer = self.producers.swap_remove(at);
        if self.step(&mut producer)? {
            self.producers.push(producer);
        }
        Ok(())
    }

    /// False when the producer gives up.
    fn step(&mut self, producer: &mut Producer) -> Result<bool, String> {
        let open = |fate| !matches!(fate, Fate::Kept | Fate::Pending);
        if let Some(from) = producer.window.iter().position(|sent| open(self.checker.fate(sent.unit))) {
            for sent in producer.window.iter().skip(from).cloned().collect::<Vec<_>>() {
                if !self.send_again(producer, &sent)? {
                    return Ok(self.random.chance(80));
                }
            }
            return Ok(true);
        }
        if self.random.chance(15)
            && let Some(sent) = producer.window.back().cloned()
            && self.checker.fate(sent.unit) == Fate::Kept
        {
            return self.send_again(producer, &sent);
        }
        if self.random.chance(4) && producer.window.iter().all(|sent| self.checker.fate(sent.unit) == Fate::Kept) {
            return self.bump_epoch(producer).map(|()| true);
        }
        self.send_next(producer)
    }

    fn send_again(&mut self, producer: &Producer, sent: &Sent) -> Result<bool, String> {
        self.checker.note(format!("producer {} sends unit {} again", producer.id, sent.unit));
        self.checker.retry(sent.unit);
        self.send(producer, sent)
    }

    fn send_next(&mut self, producer: &mut Producer) -> Result<bool, String> {
        if producer.window.len() == WINDOW {
            if producer.window.front().is_some_and(|sent| self.checker.fate(sent.unit) == Fate::Pending) {
                return Ok(true);
            }
            producer.window.pop_front();
        }
        let draft = self.draft(4);
        let stamp = Stamp { producer_id: producer.id, epoch: producer.epoch, sequence: producer.next };
        let batch = value::stamped(&draft.records, stamp);
        let piece = self.piece(&[producer.partition], &draft, &batch, None);
        self.checker.note(format!("producer {stamp:?} sends {:?} to {}", draft.values, producer.partition));
        let sent = Sent { unit: self.checker.send(vec![piece]), batch };
        producer.next += draft.values.len() as i32;
        producer.window.push_back(sent.clone());
        self.send(producer, &sent).map(|_| true)
    }

    /// Whether it was taken.
    fn send(&mut self, producer: &Producer, sent: &Sent) -> Result<bool, String> {
        let write = Write::new(producer.partition, sent.batch.clone());
        match self.append(&[sent.unit], vec![write])?.pop() {
            Some(Ok(_)) => Ok(true),
            None => Ok(false),
            // Earlier batches that were acknowledged with less than fsync may have been lost.
            Some(Err(Error::OutOfSequence { .. })) if producer.durability != Durability::Fsync => Ok(false),
            Some(Err(error)) => self.expected("idempotent append", &error).map(|()| false),
        }
    }

    /// A newer instance takes over; the older one is refused from then on.
    fn bump_epoch(&mut self, producer: &mut Producer) -> Verdict {
        let old = Stamp { producer_id: producer.id, epoch: producer.epoch, sequence: producer.next };
        producer.epoch += 1;
        producer.next = 0;
        producer.window.clear();
        self.send_next(producer)?;
        if !producer.window.back().is_some_and(|sent| self.checker.fate(sent.unit) != Fate::Failed) {
            return Ok(());
        }
        let draft = self.draft(1);
        let batch = value::stamped(&draft.records, old);
        let unit = self.checker.send(vec![self.piece(&[producer.partition], &draft, &batch, None)]);
        match self.append(&[unit], vec![Write::new(producer.partition, batch)])?.pop() {
            Some(Ok(_)) => Err(format!("the fenced producer {old:?} was let through")),
            Some(Err(Error::ProducerFenced { .. })) | None => Ok(()),
            Some(Err(error)) => self.expected("fenced append", &error),
        }
    }

    // ---- together -----------------------------------------------------------------------------------------------

    /// Batches for several partitions, a step of the ledger, and perhaps the settlement of what a consumer holds.
    pub fn publish_atomic(&mut self) -> Verdict {
        let (mut writes, mut pieces) = (Vec::new(), Vec::new());
        for _ in 0..=self.random.below(3) {
            let Some((partition, _)) = self.some_partition() else { return Ok(()) };
            let draft = self.draft(3);
            let batch = Batch::pack(&draft.records).unwrap();
            pieces.push(self.piece(&[partition], &draft, &batch, None));
            writes.push(Write::new(partition, batch));
        }
        let Some(ledger) = self.engine.topic("default", JOBS[0]).and_then(|topic| topic.partition(0)) else {
            return Ok(());
        };
        self.next_number += 1;
        let number = self.next_number;
        let offsets =
            vec![OffsetCommit { partition: ledger, offset: number, leader_epoch: -1, metadata: String::new() }];
        let held = self.take_held(3);
        let group = held.first().map(|held| held.group.clone());
        let settlements = held.iter().map(|held| Settlement::Acknowledge(held.lease)).collect();
        let atomic = Atomic {
            writes,
            offsets: vec![(group_name(LEDGER), offsets)],
            settlements: group.iter().map(|group| (group.clone(), Vec::clone(&settlements))).collect(),
        };
        self.checker.note(format!("atomic {number}: {pieces:?}, settles {held:?}"));
        let unit = self.checker.send(pieces);
        self.checker.commit_asked(&group_name(LEDGER), number, &[(ledger, number)]);
        let engine = self.engine.clone();
        let ended: Vec<_> = held.iter().map(|held| (held.lease.partition, held.lease.offset)).collect();
        match self.drive(Box::pin(async move { engine.append_atomic(atomic).await }))? {
            Some(Ok((appended, commit))) => {
                self.checker.note(format!("atomic {number} is unit {unit}: {appended:?}"));
                self.ledger.push((unit, number));
                for (piece, appended) in appended.iter().enumerate() {
                    self.checker.accepted(unit, piece, appended.base_offset, appended.duplicate)?;
                }
                for held in &held {
                    self.lease_settled(held, Settled::Acknowledged)?;
                }
                if let Some(group) = &group {
                    self.transformed.push((unit, group.clone(), ended.clone()));
                }
                self.wait(commit, Waiting::Atomic { unit, number, group, ended });
                self.take_answers()
            }
            Some(Err(error)) => {
                self.checker.refused(unit);
                self.checker.commit_refused(&group_name(LEDGER), number);
                let gone = error == Error::LeaseGone && held.iter().any(|held| !self.still_holds(held));
                self.held.extend(held);
                if gone { Ok(()) } else { self.expected("atomic append", &error) }
            }
            None => {
                self.checker.unanswered(unit);
                Ok(())
            }
        }
    }
}
