//! The next read of whoever reads on and on, made while its reader is busy with the last one: past the page cache nobody else
//! reads ahead.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::blocking::Begun;
use crate::counters::Counters;
use crate::read::{Loaded, Plan};
use crate::{Engine, PartitionId, Read, Result};

/// So many readers are known again when they go on where they stopped.
const READERS: usize = 256;
/// What nobody has come for in so long, nobody will.
const KEPT: Duration = Duration::from_secs(2);

/// Reads made, or being made, before anybody asked for them: bounded in bytes.
pub(crate) struct ReadAhead {
    held: Mutex<Held>,
    limit: usize,
}

#[derive(Default)]
struct Held {
    /// Where the latest reads ended.
    ends: VecDeque<Position>,
    /// The oldest first.
    slots: VecDeque<Slot>,
    /// What the slots may take, and those that are about to be added.
    bytes: usize,
}

/// An offset of a partition.
type Position = (PartitionId, u64);

struct Slot {
    at: Position,
    bytes: usize,
    since: Duration,
    /// If it fails it is as good as not begun: its reader makes it again and learns why.
    read: Begun<Loaded>,
}

impl ReadAhead {
    /// Holds up to `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self { held: Mutex::default(), limit }
    }

    /// Lets go of what nobody has come for.
    pub(crate) fn expire(&self, now: Duration) {
        self.held.lock().expire(now);
    }

    /// Remembers where a read ended, and says whether it began where another had.
    fn goes_on(&self, from: Position, to: Position) -> bool {
        let mut held = self.held.lock();
        let before = held.ends.iter().rposition(|end| *end == from);
        if let Some(before) = before {
            held.ends.remove(before);
        } else if held.ends.len() == READERS {
            held.ends.pop_front();
        }
        held.ends.push_back(to);
        before.is_some()
    }

    /// What was begun there, and how large it was to be.
    fn take(&self, at: Position) -> Option<(usize, Begun<Loaded>)> {
        let mut held = self.held.lock();
        let found = held.slots.iter().position(|slot| slot.at == at)?;
        let slot = held.slots.remove(found)?;
        held.bytes -= slot.bytes;
        Some((slot.bytes, slot.read))
    }

    /// Makes room for so much. What others may still come for stays: to throw it away would be to read it twice.
    fn reserve(&self, bytes: usize, now: Duration) -> bool {
        let mut held = self.held.lock();
        held.expire(now);
        let fits = held.bytes + bytes <= self.limit;
        held.bytes += if fits { bytes } else { 0 };
        fits
    }

    fn put(&self, slot: Slot) {
        self.held.lock().slots.push_back(slot);
    }
}

impl Held {
    /// What is still being read takes its memory here or elsewhere, so it stays counted.
    fn expire(&mut self, now: Duration) {
        while let Some(oldest) = self.slots.front()
            && oldest.since + KEPT < now
            && oldest.read.is_done()
        {
            self.bytes -= oldest.bytes;
            self.slots.pop_front();
        }
    }
}

impl Engine {
    /// Reads from the store, unless that was done already; and begins with what comes behind it, if the reader comes from
    /// what is before it.
    pub(crate) async fn read_on(
        &self,
        partition: PartitionId,
        offset: u64,
        max_bytes: usize,
        plan: Plan,
    ) -> Result<Read> {
        let ahead = &self.shard.read_ahead;
        let (high_watermark, log_start) = plan.bounds();
        let begun = match ahead.take((partition, offset)) {
            // A batch that is larger than what was asked for is in order, unless less is asked for now.
            Some((asked, read)) => read.result().await.ok().filter(|loaded| loaded.bytes.min(asked) <= max_bytes),
            None => None,
        };
        let loaded = match begun {
            Some(loaded) => {
                Counters::add(&self.shard.counters.read_ahead_bytes, loaded.bytes as u64);
                loaded
            }
            None => self.blocking(move |shard| shard.load(plan)).await?,
        };
        if ahead.limit > 0
            && let Some(end) = loaded.end
            && ahead.goes_on((partition, offset), (partition, end))
        {
            self.read_next((partition, end), max_bytes.min(ahead.limit));
        }
        Ok(Read { high_watermark, log_start, ..loaded.read })
    }

    /// Begins a read that is expected to be asked for.
    fn read_next(&self, at: Position, bytes: usize) {
        let Ok(plan) = self.shard.plan_read(at.0, at.1, bytes) else { return };
        let since = self.shard.environment.clock.monotonic();
        if plan.is_cached() || !self.shard.read_ahead.reserve(bytes, since) {
            return;
        }
        let read = self.begin(move |shard| shard.try_load(plan));
        self.shard.read_ahead.put(Slot { at, bytes, since, read });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::Error;

    const A: Position = (PartitionId(1), 10);
    const B: Position = (PartitionId(2), 10);

    fn put(ahead: &ReadAhead, at: Position, bytes: usize, seconds: u64) -> bool {
        let since = Duration::from_secs(seconds);
        let fits = ahead.reserve(bytes, since);
        if fits {
            ahead.put(Slot { at, bytes, since, read: Begun::Done(Err(Error::Closed)) });
        }
        fits
    }

    #[test]
    fn no_more_is_held_than_the_limit_and_what_nobody_came_for_goes() {
        let ahead = ReadAhead::new(100);
        assert!(put(&ahead, A, 60, 0));
        assert!(!put(&ahead, B, 60, 1), "somebody may come for the other");
        assert!(put(&ahead, B, 40, 1));
        assert!(ahead.take(A).is_some() && ahead.take(A).is_none());
        assert!(put(&ahead, A, 60, 2));
        assert!(!put(&ahead, A, 60, 3));
        assert!(put(&ahead, A, 40, 4), "the other partition's is too old");
        assert!(ahead.take(B).is_none());
        ahead.expire(Duration::from_secs(100));
        assert!(ahead.take(A).is_none() && ahead.held.lock().bytes == 0);
    }

    #[tokio::test]
    async fn what_is_still_being_read_stays_counted() {
        let ahead = ReadAhead::new(100);
        assert!(ahead.reserve(100, Duration::ZERO));
        let (finish, wait) = std::sync::mpsc::sync_channel::<()>(1);
        let task = tokio::task::spawn_blocking(move || wait.recv().map_or(Err(Error::Closed), |()| Err(Error::Closed)));
        ahead.put(Slot { at: A, bytes: 100, since: Duration::ZERO, read: Begun::Task(task) });
        assert!(!put(&ahead, B, 100, 60));
        finish.send(()).unwrap();
        while !put(&ahead, B, 100, 60) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_reader_is_known_where_it_stopped_and_forgotten_after_many_others() {
        let ahead = ReadAhead::new(100);
        assert!(!ahead.goes_on(A, (A.0, 20)) && !ahead.goes_on(B, (B.0, 20)));
        assert!(ahead.goes_on((A.0, 20), (A.0, 30)));
        assert!(!ahead.goes_on((A.0, 20), (A.0, 30)), "it has gone on from there");
        for other in 0..READERS as u64 {
            ahead.goes_on((PartitionId(3), 2 * other), (PartitionId(3), 2 * other + 1));
        }
        assert!(!ahead.goes_on((A.0, 30), (A.0, 40)));
        assert_eq!(ahead.held.lock().ends.len(), READERS);
    }
}
