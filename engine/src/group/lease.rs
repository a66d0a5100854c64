//! The leases of a group: who holds which record, and until when.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use super::{ConsumerId, LeaseId};
use crate::PartitionId;

/// A record handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub token: u64,
    pub consumer: ConsumerId,
    /// Monotonic.
    pub deadline: Duration,
    /// A settlement was accepted whose effect is still to come: nobody else may settle it. It expires all the same, so that
    /// a record is not lost to the group when the effect never comes.
    pub settled: bool,
}

/// Every lease of one group.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: HashMap<(PartitionId, u64), Lease, BuildHasherDefault<OffsetHasher>>,
    /// None of them expires before this.
    due: Option<Duration>,
}

impl Leases {
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// No lease expires before this (monotonic).
    pub(crate) fn due(&self) -> Option<Duration> {
        self.due.filter(|_| !self.held.is_empty())
    }

    pub(crate) fn insert(&mut self, partition: PartitionId, offset: u64, lease: Lease) {
        self.due = Some(self.due.map_or(lease.deadline, |due| due.min(lease.deadline)));
        self.held.insert((partition, offset), lease);
    }

    /// The lease, if it is still the one named and nothing has settled it.
    pub(crate) fn live(&mut self, id: &LeaseId) -> Option<&mut Lease> {
        self.held.get_mut(&(id.partition, id.offset)).filter(|lease| lease.token == id.token && !lease.settled)
    }

    /// Whether a settlement of this lease waits for its effect.
    pub(crate) fn is_settled(&self, id: &LeaseId) -> bool {
        self.held.get(&(id.partition, id.offset)).is_some_and(|lease| lease.token == id.token && lease.settled)
    }

    /// The lease is to be settled by something that takes until `deadline` at most.
    pub(crate) fn settle(&mut self, id: &LeaseId, deadline: Duration) {
        if let Some(lease) = self.held.get_mut(&(id.partition, id.offset)) {
            *lease = Lease { settled: true, deadline, ..*lease };
        }
    }

    /// The record's lease's token; 0 without a lease.
    pub(crate) fn token(&self, partition: PartitionId, offset: u64) -> u64 {
        self.held.get(&(partition, offset)).map_or(0, |lease| lease.token)
    }

    /// Gives a lease another deadline.
    pub(crate) fn extend(&mut self, id: &LeaseId, deadline: Duration) -> bool {
        let Some(lease) = self.live(id) else { return false };
        lease.deadline = deadline;
        self.due = Some(self.due.map_or(deadline, |due| due.min(deadline)));
        true
    }

    pub(crate) fn remove(&mut self, partition: PartitionId, offset: u64) {
        self.held.remove(&(partition, offset));
    }

    /// Removes a partition's leases below an offset, or in a long range.
    pub(crate) fn remove_range(&mut self, partition: PartitionId, from: u64, to: u64) {
        if self.held.is_empty() {
            return;
        }
        if to.saturating_sub(from) <= self.held.len() as u64 {
            (from..to).for_each(|offset| self.remove(partition, offset));
        } else {
            self.held.retain(|(of, offset), _| *of != partition || !(from..to).contains(offset));
        }
    }

    /// The leased offsets of a range, in order.
    pub(crate) fn within(&self, partition: PartitionId, from: u64, to: u64) -> Vec<u64> {
        let leased = self.held.keys().filter(|(of, offset)| *of == partition && (from..to).contains(offset));
        let mut leased: Vec<_> = leased.map(|(_, offset)| *offset).collect();
        leased.sort_unstable();
        leased
    }

    /// Takes a consumer's leases away from it, in order.
    pub(crate) fn release(&mut self, consumer: ConsumerId) -> Vec<(PartitionId, u64)> {
        let mut released = self.select(|lease| lease.consumer == consumer && !lease.settled);
        self.held.retain(|_, lease| lease.consumer != consumer || lease.settled);
        released.sort_unstable();
        released
    }

    /// The leases whose deadline is over, in order; they stay until their failure is applied. Looks at every lease, so it makes
    /// sure that it is not done too often: with many leases one may expire late by a ten-thousandth of a millisecond for each.
    pub(crate) fn expired(&mut self, now: Duration) -> Vec<(PartitionId, u64)> {
        if self.due.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let mut expired = self.select(|lease| lease.deadline <= now);
        expired.sort_unstable();
        let rest = self.held.values().map(|lease| lease.deadline).filter(|deadline| *deadline > now).min();
        // Those found now are looked at once more, in case their failure cannot be applied.
        let again = (!expired.is_empty()).then(|| now + Duration::from_secs(1));
        let floor = now + Duration::from_nanos(100 * self.held.len() as u64);
        self.due = rest.into_iter().chain(again).min().map(|due| due.max(floor));
        expired
    }

    fn select(&self, wanted: impl Fn(&Lease) -> bool) -> Vec<(PartitionId, u64)> {
        self.held.iter().filter(|(_, lease)| wanted(lease)).map(|(id, _)| *id).collect()
    }
}

/// Offsets come from the engine and run in sequence: a multiplication spreads them, nobody can aim at it.
#[derive(Default)]
pub(crate) struct OffsetHasher(u64);

impl Hasher for OffsetHasher {
    fn finish(&self) -> u64 {
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }
}
