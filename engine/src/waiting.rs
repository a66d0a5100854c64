//! Who waits for something new, and finds itself out again without looking at the others.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::PartitionId;

/// A waiter's key among others: where it lies in memory, while it is there.
fn key(waiter: &Arc<Notify>) -> usize {
    Arc::as_ptr(waiter) as usize
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
    pub(crate) fn wake(&mut self, high_watermark: u64) {
        if !self.0.is_empty() {
            let passed = self.0.extract_if(|_, (position, _)| *position < high_watermark);
            passed.for_each(|(_, (_, waiter))| waiter.notify_one());
        }
    }

    pub(crate) fn wake_all(&mut self) {
        self.0.drain().for_each(|(_, (_, waiter))| waiter.notify_one());
    }
}

/// Those who wait for a group's records, whichever of its partitions they come to.
#[derive(Debug, Default)]
pub(crate) struct Signal(Mutex<HashMap<usize, Arc<Notify>>>);

impl Signal {
    pub(crate) fn add(&self, waiter: &Arc<Notify>) {
        self.0.lock().insert(key(waiter), Arc::clone(waiter));
    }

    pub(crate) fn remove(&self, waiter: &Arc<Notify>) {
        self.0.lock().remove(&key(waiter));
    }

    /// Wakes everybody. They are told once.
    pub(crate) fn wake(&self) {
        self.0.lock().drain().for_each(|(_, waiter)| waiter.notify_one());
    }
}

/// What a group consumes, and who waits for it. Made anew when topics or groups have changed.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The change it is as of.
    pub version: u64,
    pub partitions: Arc<[PartitionId]>,
    pub signal: Arc<Signal>,
}
