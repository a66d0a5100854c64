//! Who waits for something new, and finds itself out again without looking at the others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::PartitionId;

/// A waiter's key among others: where it lies in memory, while it is there.
fn key(waiter: &Arc<Notify>) -> usize {
    Arc::as_ptr(waiter) as usize
}

/// Waiters to be woken once no lock is held: waking is a system call for many of them.
#[derive(Debug, Default)]
#[must_use = "nobody is woken before they are sent"]
pub(crate) struct Wakes(Vec<Arc<Notify>>);

impl Wakes {
    pub(crate) fn send(self) {
        self.0.iter().for_each(|waiter| waiter.notify_one());
    }
}

/// Readers of one partition, and the high watermark each wants to see passed.
#[derive(Debug, Default)]
pub(crate) struct Readers(HashMap<usize, (u64, Arc<Notify>)>);

impl Readers {
    pub(crate) fn add(&mut self, position: u64, waiter: &Arc<Notify>) {
        let (earliest, _) = self.0.entry(key(waiter)).or_insert((position, Arc::clone(waiter)));
        *earliest = position.min(*earliest);
    }

    pub(crate) fn remove(&mut self, waiter: &Arc<Notify>) {
        self.0.remove(&key(waiter));
    }

    /// Wakes those whose position is passed. They are told once.
    pub(crate) fn wake(&mut self, high_watermark: u64, wakes: &mut Wakes) {
        if !self.0.is_empty() {
            let passed = self.0.extract_if(|_, (position, _)| *position < high_watermark);
            wakes.0.extend(passed.map(|(_, (_, waiter))| waiter));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn wake_all(&mut self, wakes: &mut Wakes) {
        wakes.0.extend(self.0.drain().map(|(_, (_, waiter))| waiter));
    }
}

/// One who waits for a group's records.
#[derive(Debug)]
struct Consumer {
    notify: Arc<Notify>,
    /// The token of what it was given last, and when it came among those who have the same.
    turn: (u64, usize),
}

/// Those who wait for a group's records, whichever of its partitions they come to, and which these are.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waiters: Mutex<HashMap<usize, Consumer>>,
    changed: Mutex<HashSet<PartitionId>>,
}

impl Signal {
    pub(crate) fn add(&self, waiter: &Arc<Notify>, served: u64) {
        let mut waiters = self.waiters.lock();
        let turn = (served, waiters.len());
        waiters.insert(key(waiter), Consumer { notify: Arc::clone(waiter), turn });
    }

    pub(crate) fn remove(&self, waiter: &Arc<Notify>) {
        self.waiters.lock().remove(&key(waiter));
    }

    pub(crate) fn is_awaited(&self) -> bool {
        !self.waiters.lock().is_empty()
    }

    /// Wakes everybody, and first of all who was served longest ago. They are told once.
    pub(crate) fn wake(&self, wakes: &mut Wakes) {
        let mut woken: Vec<Consumer> = self.waiters.lock().drain().map(|(_, waiter)| waiter).collect();
        woken.sort_unstable_by_key(|waiter| waiter.turn);
        wakes.0.extend(woken.into_iter().map(|waiter| waiter.notify));
    }

    /// There is something new in a partition.
    pub(crate) fn note(&self, partition: PartitionId, wakes: &mut Wakes) {
        self.changed.lock().insert(partition);
        self.wake(wakes);
    }

    /// Partitions with something new since last asked.
    pub(crate) fn take_changed(&self) -> HashSet<PartitionId> {
        std::mem::take(&mut *self.changed.lock())
    }
}

/// What a group consumes, and who waits for it. Made anew when topics or groups have changed.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The change it is as of.
    pub version: u64,
    /// In order.
    pub partitions: Arc<[PartitionId]>,
    pub signal: Arc<Signal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_served_longest_ago_is_woken_first() {
        let signal = Signal::default();
        let waiters: Vec<_> = [3, 0, 7, 0].map(|served| (served, Arc::new(Notify::new()))).into();
        waiters.iter().for_each(|(served, waiter)| signal.add(waiter, *served));
        let mut wakes = Wakes::default();
        signal.wake(&mut wakes);
        let order: Vec<usize> = wakes.0.iter().map(key).collect();
        assert_eq!(order, [1, 3, 0, 2].map(|index: usize| key(&waiters[index].1)));
        assert!(!signal.is_awaited());
    }
}
