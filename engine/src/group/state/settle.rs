//! Taking back: leases are settled, expire, or are released with their consumer.

use std::time::Duration;

use bytes::Bytes;

use super::{BURIAL, DeadLetter, Death, Group, Progress, Settled, runs};
use crate::group::record::{Failed, GroupRecord};
use crate::group::{ConsumerId, LeaseId, Settlement};
use crate::{Error, PartitionId, Result};

impl Group {
    /// Whether settlements may make something free to be leased that was not: what comes back, or what there was no room for
    /// or stood behind another record. Acknowledgements alone seldom do.
    pub(crate) fn would_free(&self, settlements: &[Settlement]) -> bool {
        let returns = |settlement: &Settlement| !matches!(settlement, Settlement::Acknowledge(_));
        self.is_full() || self.waiting > 0 || settlements.iter().any(returns)
    }

    /// Whether every lease could be settled, each once.
    ///
    /// # Errors
    /// [`Error::LeaseGone`].
    pub(crate) fn check(&mut self, settlements: &[Settlement]) -> Result<()> {
        let mut ids: Vec<_> = settlements.iter().map(|settlement| *settlement.lease()).collect();
        ids.sort_unstable();
        let once = ids.windows(2).all(|pair| pair[0] != pair[1]);
        if once && self.holds(&ids) { Ok(()) } else { Err(Error::LeaseGone) }
    }

    /// Whether none of these leases is settled, over or void.
    pub(crate) fn holds(&mut self, leases: &[LeaseId]) -> bool {
        leases.iter().all(|id| self.leases.live(id).is_some())
    }

    /// Settles leases. A lease that is unknown, expired or another's is [`Error::LeaseGone`] in the results.
    pub(crate) fn settle(&mut self, settlements: &[Settlement], now: Duration, now_ms: i64) -> Settled {
        let mut gathered = Gathered { done: Vec::with_capacity(settlements.len()), ..Gathered::default() };
        let results = settlements.iter().map(|settlement| self.settle_one(settlement, now, now_ms, &mut gathered));
        let results = results.collect();
        Settled { results, ..gathered.into_settled() }
    }

    fn settle_one(
        &mut self,
        settlement: &Settlement,
        now: Duration,
        now_ms: i64,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let id = settlement.lease();
        let lease = self.leases.live(id).ok_or(Error::LeaseGone)?;
        match settlement {
            Settlement::Acknowledge(_) => {
                lease.settled = true;
                gathered.done.push((id.partition, id.offset));
            }
            Settlement::Reject { delay, reason, dead_letter, .. } => {
                let attempts = self.attempts(id.partition, id.offset).saturating_add(1);
                let death = if *dead_letter { Some(Death::Rejected) } else { self.death(attempts) };
                match death {
                    Some(death) => self.bury(*id, death, attempts, reason.clone(), now, gathered),
                    None => self.retry(id, attempts, *delay, now_ms, gathered),
                }
            }
            Settlement::Release(_) => {
                self.leases.remove(id.partition, id.offset);
                self.touch(id.partition);
                self.change(id.partition, |progress| progress.give_back(id.offset, true));
            }
            Settlement::Extend(_, time) => {
                self.leases.extend(id, now.saturating_add(*time));
            }
        }
        Ok(())
    }

    /// Leases whose deadline is over count as failed attempts. `results` is empty.
    pub(crate) fn expire(&mut self, now: Duration, now_ms: i64) -> Settled {
        let mut gathered = Gathered::default();
        for (partition, offset) in self.leases.expired(now) {
            let attempts = self.attempts(partition, offset).saturating_add(1);
            let id = LeaseId { partition, offset, token: self.leases.token(partition, offset) };
            match self.death(attempts) {
                Some(death) => self.bury(id, death, attempts, None, now, &mut gathered),
                None => self.retry(&id, attempts, None, now_ms, &mut gathered),
            }
        }
        gathered.into_settled()
    }

    /// Returns a consumer's leases, uncounted. How many there were.
    pub(crate) fn release_consumer(&mut self, consumer: ConsumerId) -> usize {
        let released = self.leases.release(consumer);
        for (partition, offset) in &released {
            self.touch(*partition);
            self.change(*partition, |progress| progress.give_back(*offset, true));
        }
        released.len()
    }

    /// No lease expires before this (monotonic). None without leases.
    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.leases.due()
    }

    /// When the next record that failed may be delivered again, ms since the Unix epoch.
    pub(crate) fn next_retry(&self) -> Option<i64> {
        if self.waiting == 0 { None } else { self.progress.values().filter_map(Progress::next_retry).min() }
    }

    /// The dead letters have been copied: the record that goes with the copies. Those that came back meanwhile are left out.
    pub(crate) fn dead_lettered(&self, dead_letters: &[DeadLetter]) -> Option<GroupRecord> {
        let waiting = dead_letters.iter().map(|dead| &dead.lease).filter(|lease| self.leases.is_settled(lease));
        let done: Vec<_> = waiting.map(|lease| (lease.partition, lease.offset)).collect();
        (!done.is_empty()).then(|| GroupRecord::Acknowledged(runs(done)))
    }

    pub(super) fn attempts(&self, partition: PartitionId, offset: u64) -> u32 {
        self.progress.get(&partition).map_or(0, |progress| progress.attempts(offset))
    }

    pub(super) fn death(&self, attempts: u32) -> Option<Death> {
        self.config.max_deliveries.filter(|max| attempts >= *max).map(|_| Death::DeliveryLimit)
    }

    fn bury(
        &mut self,
        id: LeaseId,
        death: Death,
        attempts: u32,
        reason: Option<Bytes>,
        now: Duration,
        gathered: &mut Gathered,
    ) {
        self.leases.settle(&id, now.saturating_add(BURIAL));
        if self.config.dead_letter.is_some() {
            gathered.dead_letters.push(DeadLetter { lease: id, death, attempts, reason });
        } else {
            gathered.done.push((id.partition, id.offset));
        }
    }

    fn retry(&mut self, id: &LeaseId, attempts: u32, delay: Option<Duration>, now_ms: i64, gathered: &mut Gathered) {
        let delay = delay.unwrap_or_else(|| self.config.retry.delay(attempts));
        let delay_ms = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
        let due_ms = now_ms.saturating_add(delay_ms);
        if let Some(lease) = self.leases.live(id) {
            lease.settled = true;
        }
        gathered.failed.push(Failed { partition: id.partition, offset: id.offset, attempts, due_ms });
    }
}

/// What one call of settle or expire gathers.
#[derive(Default)]
struct Gathered {
    done: Vec<(PartitionId, u64)>,
    failed: Vec<Failed>,
    dead_letters: Vec<DeadLetter>,
}

impl Gathered {
    fn into_settled(self) -> Settled {
        let mut records = Vec::new();
        if !self.failed.is_empty() {
            records.push(GroupRecord::Failed(self.failed));
        }
        if !self.done.is_empty() {
            records.push(GroupRecord::Acknowledged(runs(self.done)));
        }
        Settled { results: Vec::new(), records, dead_letters: self.dead_letters }
    }
}
