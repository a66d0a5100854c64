//! Group streams and what they have sent: a stream sends no more than its consumer may hold unsettled, though settlements
//! come by other requests; and a consumer that reconnects says how far it got, so that the rest comes at once.
//!
//! This is flow control of this process's connections, not progress: the leases themselves are the engine's.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tidegate_engine::group::{ConsumerId, LeaseId, Settlement};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The group streams of this process, those broken off a while ago included.
pub(super) struct Consumers {
    streams: Mutex<HashMap<ConsumerId, Arc<Held>>>,
    /// Tells this process's cursors from an earlier one's, whose consumers had the same numbers.
    boot: u64,
}

impl Default for Consumers {
    fn default() -> Self {
        Self { streams: Mutex::default(), boot: uuid::Uuid::new_v4().as_u64_pair().0 }
    }
}

/// What one stream has sent and is not settled.
#[derive(Default)]
pub(super) struct Held {
    leases: Mutex<HashMap<LeaseId, Sent>>,
    /// Something was settled.
    freed: Notify,
    /// The consumer has reconnected: the stream it left need not go on.
    left: AtomicBool,
    /// The stream it then opened. When that broke before anything arrived, it comes with the old cursor again.
    next: Mutex<Option<ConsumerId>>,
}

#[derive(Clone, Copy)]
struct Sent {
    /// Place in the stream.
    sequence: u64,
    until: Instant,
}

impl Consumers {
    pub(super) fn boot(&self) -> u64 {
        self.boot
    }

    /// Registers a new stream, which may go on where another broke.
    pub(super) fn open(&self, consumer: ConsumerId, after: Option<ConsumerId>) -> Arc<Held> {
        let held = Arc::new(Held::default());
        let now = Instant::now();
        let mut streams = self.streams.lock();
        if let Some(left) = after.and_then(|after| streams.get(&after)) {
            *left.next.lock() = Some(consumer);
        }
        streams.insert(consumer, Arc::clone(&held));
        // Streams that are gone are kept only as long as one of their leases, or the stream that followed, may live.
        let lives = |held: &Arc<Held>| Arc::strong_count(held) > 1 || held.count(now) > 0;
        let living: HashSet<_> = streams.iter().filter(|(_, held)| lives(held)).map(|(id, _)| *id).collect();
        streams.retain(|id, held| living.contains(id) || held.next.lock().is_some_and(|next| living.contains(&next)));
        held
    }

    /// A lease of a stream's consumer was settled or extended.
    pub(super) fn settled(&self, consumer: ConsumerId, settlement: &Settlement) {
        let Some(held) = self.streams.lock().get(&consumer).cloned() else { return };
        match settlement {
            Settlement::Acknowledge(lease) | Settlement::Release(lease) | Settlement::Reject { lease, .. } => {
                held.leases.lock().remove(lease);
                held.freed.notify_one();
            }
            Settlement::Extend(lease, deadline) => {
                if let Some(sent) = held.leases.lock().get_mut(lease) {
                    sent.until = Instant::now() + *deadline;
                }
            }
        }
    }

    /// What a broken stream sent after `sequence`, and its consumer therefore never saw; nor what a stream sent that
    /// followed it.
    pub(super) fn unseen(&self, consumer: ConsumerId, sequence: u64) -> Vec<LeaseId> {
        let streams = self.streams.lock();
        let Some(held) = streams.get(&consumer) else { return Vec::new() };
        let mut unseen = held.leave(sequence);
        if let Some(next) = held.next.lock().and_then(|next| streams.get(&next)) {
            unseen.extend(next.leave(0));
        }
        unseen
    }
}

impl Held {
    /// Ends the stream and gives up what it sent; returns what it sent after `sequence`.
    fn leave(&self, sequence: u64) -> Vec<LeaseId> {
        self.left.store(true, Ordering::Relaxed);
        self.freed.notify_one();
        let mut leases = self.leases.lock();
        leases.drain().filter(|(_, sent)| sent.sequence > sequence).map(|(lease, _)| lease).collect()
    }

    pub(super) fn is_left(&self) -> bool {
        self.left.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, lease: LeaseId, sequence: u64, until: Instant) {
        self.leases.lock().insert(lease, Sent { sequence, until });
    }

    /// Unsettled leases that live at that time.
    pub(super) fn count(&self, now: Instant) -> usize {
        let mut leases = self.leases.lock();
        leases.retain(|_, sent| sent.until > now);
        leases.len()
    }

    /// Returns when something was settled, or the first lease ends.
    pub(super) async fn freed(&self) {
        let first = self.leases.lock().values().map(|sent| sent.until).min();
        match first {
            Some(until) => tokio::select! {
                () = self.freed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            },
            None => self.freed.notified().await,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tidegate_engine::PartitionId;

    use super::*;

    fn lease(offset: u64) -> LeaseId {
        LeaseId { partition: PartitionId(1), offset, token: 1 }
    }

    #[test]
    fn settled_leases_are_not_held() {
        let consumers = Consumers::default();
        let held = consumers.open(ConsumerId(1), None);
        let now = Instant::now();
        for offset in 0..3 {
            held.send(lease(offset), offset, now + Duration::from_secs(3600));
        }
        consumers.settled(ConsumerId(1), &Settlement::Acknowledge(lease(1)));
        consumers.settled(ConsumerId(2), &Settlement::Acknowledge(lease(0)));
        assert_eq!(held.count(now), 2);
        assert_eq!(held.count(now + Duration::from_secs(7200)), 0);
    }

    #[test]
    fn what_was_not_seen_comes_back() {
        let consumers = Consumers::default();
        let held = consumers.open(ConsumerId(1), None);
        for offset in 0..5 {
            held.send(lease(offset), offset + 1, Instant::now() + Duration::from_secs(3600));
        }
        let mut unseen = consumers.unseen(ConsumerId(1), 3);
        assert!(held.is_left());
        unseen.sort();
        assert_eq!(unseen, [lease(3), lease(4)]);
        assert!(consumers.unseen(ConsumerId(1), 0).is_empty());
    }

    #[test]
    fn what_a_stream_that_followed_sent_comes_back_too() {
        let consumers = Consumers::default();
        let later = Instant::now() + Duration::from_secs(3600);
        consumers.open(ConsumerId(1), None).send(lease(1), 1, later);
        for round in 2..5 {
            assert_eq!(consumers.unseen(ConsumerId(1), 0), [lease(round - 1)]);
            let held = consumers.open(ConsumerId(round), Some(ConsumerId(1)));
            held.send(lease(round), 1, later);
            assert_eq!(consumers.streams.lock().len(), 2, "only the one left and the one that followed are known");
        }
        // It has seen something of the last one.
        assert!(consumers.unseen(ConsumerId(4), 1).is_empty());
        let _other = consumers.open(ConsumerId(5), Some(ConsumerId(4)));
        assert!(consumers.unseen(ConsumerId(1), 0).is_empty());
    }

    #[test]
    fn streams_that_are_gone_are_forgotten_with_their_leases() {
        let consumers = Consumers::default();
        let now = Instant::now();
        consumers.open(ConsumerId(1), None).send(lease(1), 1, now);
        let _live = consumers.open(ConsumerId(2), None);
        consumers.open(ConsumerId(3), None).send(lease(3), 1, now + Duration::from_secs(3600));
        let _next = consumers.open(ConsumerId(4), None);
        let mut known: Vec<_> = consumers.streams.lock().keys().copied().collect();
        known.sort();
        assert_eq!(known, [ConsumerId(2), ConsumerId(3), ConsumerId(4)]);
    }
}
