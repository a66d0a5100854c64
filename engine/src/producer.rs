//! Idempotent producers of one partition: what was their last sequence, and was this batch seen before (KIP-98).

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::batch::BatchHeader;
use crate::{Error, Result};

/// Batches remembered per producer, so that a retry is recognised: clients keep at most five in flight.
const REMEMBERED_BATCHES: usize = 5;

/// Every idempotent producer that has written to a partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Sent>,
    last_used_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Sent {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: u64,
}

/// What a batch is to its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Append it.
    New,
    /// It was appended before, at this offset.
    Repeated(u64),
}

impl Producers {
    /// Judges a batch before it is appended.
    ///
    /// # Errors
    /// [`Error::OutOfSequence`], [`Error::ProducerFenced`].
    pub(crate) fn judge(&self, header: &BatchHeader) -> Result<Judgement> {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        // Unknown because it is new, or because its batches were removed long ago: any sequence may be its next.
        let Some(producer) = self.by_id.get(&id) else { return Ok(Judgement::New) };
        let first = header.base_sequence;
        let last = advance(first, header.last_offset_delta);
        if epoch < producer.epoch {
            return Err(Error::ProducerFenced { producer_id: id, epoch });
        }
        let expected = if epoch > producer.epoch { 0 } else { producer.next_sequence() };
        let repeated = |sent: &&Sent| sent.first_sequence == first && sent.last_sequence == last;
        if epoch == producer.epoch
            && let Some(sent) = producer.recent.iter().find(repeated)
        {
            return Ok(Judgement::Repeated(sent.base_offset));
        }
        if first == expected {
            Ok(Judgement::New)
        } else {
            Err(Error::OutOfSequence { producer_id: id, got: first, expected })
        }
    }

    /// Remembers a batch that is appended. The longest idle producer is forgotten when there are more than `limit`.
    pub(crate) fn remember(&mut self, header: &BatchHeader, base_offset: u64, limit: usize) {
        if self.by_id.len() >= limit && !self.by_id.contains_key(&header.producer_id) {
            self.forget_longest_idle();
        }
        let producer = self.by_id.entry(header.producer_id).or_insert_with(|| Producer {
            epoch: header.producer_epoch,
            recent: VecDeque::new(),
            last_used_ms: 0,
        });
        if producer.epoch != header.producer_epoch {
            producer.epoch = header.producer_epoch;
            producer.recent.clear();
        }
        if producer.recent.len() == REMEMBERED_BATCHES {
            producer.recent.pop_front();
        }
        let (first_sequence, last_sequence) =
            (header.base_sequence, advance(header.base_sequence, header.last_offset_delta));
        producer.recent.push_back(Sent { first_sequence, last_sequence, base_offset });
        producer.last_used_ms = producer.last_used_ms.max(header.max_timestamp_ms);
    }

    fn forget_longest_idle(&mut self) {
        // Scanning is fine: it happens only at the limit, which is far above what a partition normally has.
        let idle = self.by_id.iter().min_by_key(|(id, producer)| (producer.last_used_ms, **id)).map(|(id, _)| *id);
        if let Some(id) = idle {
            self.by_id.remove(&id);
        }
    }
}

impl Producer {
    fn next_sequence(&self) -> i32 {
        self.recent.back().map_or(0, |sent| advance(sent.last_sequence, 1))
    }
}

/// Sequences count from 0 to 2^31-1 and begin again.
fn advance(sequence: i32, by: u32) -> i32 {
    let sum = (i64::from(sequence) + i64::from(by)) & i64::from(i32::MAX);
    i32::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn batch(epoch: i16, base_sequence: i32, count: u32) -> BatchHeader {
        BatchHeader {
            base_offset: 0,
            size: 61,
            leader_epoch: 0,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp_ms: 0,
            max_timestamp_ms: 0,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence,
            record_count: count,
        }
    }

    #[test]
    fn a_repeat_gets_its_first_offset_for_five_batches() {
        let mut producers = Producers::default();
        for index in 0..6 {
            let header = batch(0, index * 10, 10);
            assert_eq!(producers.judge(&header), Ok(Judgement::New));
            producers.remember(&header, u64::try_from(index).unwrap() * 100, 10);
        }
        assert_eq!(producers.judge(&batch(0, 50, 10)), Ok(Judgement::Repeated(500)));
        assert_eq!(producers.judge(&batch(0, 10, 10)), Ok(Judgement::Repeated(100)));
        assert_eq!(
            producers.judge(&batch(0, 0, 10)),
            Err(Error::OutOfSequence { producer_id: 7, got: 0, expected: 60 })
        );
    }

    #[test]
    fn gaps_and_old_epochs_are_refused() {
        let mut producers = Producers::default();
        producers.remember(&batch(1, 0, 3), 0, 10);
        assert!(matches!(producers.judge(&batch(1, 4, 1)), Err(Error::OutOfSequence { expected: 3, .. })));
        assert!(matches!(producers.judge(&batch(0, 3, 1)), Err(Error::ProducerFenced { .. })));
        assert!(matches!(producers.judge(&batch(2, 3, 1)), Err(Error::OutOfSequence { expected: 0, .. })));
        assert_eq!(producers.judge(&batch(2, 0, 1)), Ok(Judgement::New));
    }

    #[test]
    fn sequences_wrap() {
        let mut producers = Producers::default();
        producers.remember(&batch(0, i32::MAX - 1, 2), 0, 10);
        assert_eq!(producers.judge(&batch(0, 0, 5)), Ok(Judgement::New));
        assert_eq!(advance(i32::MAX, 1), 0);
    }

    #[test]
    fn the_longest_idle_is_forgotten_at_the_limit() {
        let mut producers = Producers::default();
        for id in 0..3 {
            let header = BatchHeader { producer_id: id, max_timestamp_ms: id, ..batch(0, 0, 1) };
            producers.remember(&header, 0, 2);
        }
        assert_eq!(producers.by_id.len(), 2);
        assert!(!producers.by_id.contains_key(&0));
    }
}
