//! Pull attempts that may be repeated: the answer of each is kept while the leases it gave out live, so that a client
//! that lost the answer gets the same messages by asking with the same `attempt_id`.
//!
//! The table is this process's own and bounded; progress never depends on it. When an answer is not here any more
//! (forgotten for want of room, a restart, another process) the repeated pull leases other messages, and those of the lost answer come
//! again after their deadline. Once any of its messages is settled the answer has arrived, and repeating it would hand out what is done.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use tidegate_engine::group::LeaseId;
use tokio::time::Instant;

/// Answers by attempt. The key is 128 bits of a hash over namespace, group and attempt_id.
pub(super) struct Attempts {
    table: Mutex<Table>,
    max_attempts: usize,
    max_bytes: usize,
}

#[derive(Default)]
struct Table {
    attempts: HashMap<u128, State>,
    /// Finished ones, in order of finishing, for forgetting.
    order: VecDeque<(u128, Instant)>,
    bytes: usize,
}

enum State {
    Running,
    Done { answer: Answer, until: Instant, finished: Instant },
}

/// What an attempt was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub body: Bytes,
    /// Of its messages.
    pub leases: Vec<LeaseId>,
    /// A digest of what the attempt settled.
    pub settled: u64,
}

impl Answer {
    fn size(&self) -> usize {
        self.body.len() + size_of_val(self.leases.as_slice())
    }
}

/// What an attempt is.
pub(super) enum Begin<'a> {
    /// The first: finish it, or drop it.
    New(Running<'a>),
    /// A repeat; this was the answer.
    Done(Answer),
    /// A repeat of one that has no answer yet.
    Running,
}

/// An attempt under way. Dropped, it is as if it had not been made.
pub(super) struct Running<'a> {
    attempts: &'a Attempts,
    key: u128,
}

impl Attempts {
    pub(super) fn new(max_attempts: usize, max_bytes: usize) -> Self {
        Self { table: Mutex::default(), max_attempts, max_bytes }
    }

    pub(super) fn begin(&self, key: u128) -> Begin<'_> {
        let now = Instant::now();
        let mut table = self.table.lock();
        match table.attempts.get(&key) {
            Some(State::Running) => return Begin::Running,
            Some(State::Done { answer, until, .. }) if *until > now => return Begin::Done(answer.clone()),
            Some(State::Done { .. }) | None => {}
        }
        table.insert(key, State::Running);
        Begin::New(Running { attempts: self, key })
    }

    /// Forgets an answer that is not to be repeated.
    pub(super) fn forget(&self, key: u128) {
        let mut table = self.table.lock();
        if matches!(table.attempts.get(&key), Some(State::Done { .. })) {
            table.remove(key);
        }
    }
}

impl Running<'_> {
    /// Keeps the answer until then.
    pub(super) fn finish(self, answer: Answer, until: Instant) {
        let finished = Instant::now();
        let mut table = self.attempts.table.lock();
        table.bytes += answer.size();
        table.insert(self.key, State::Done { answer, until, finished });
        table.order.push_back((self.key, finished));
        table.forget(finished, self.attempts.max_attempts, self.attempts.max_bytes);
        drop(table);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut table = self.attempts.table.lock();
        if matches!(table.attempts.get(&self.key), Some(State::Running)) {
            table.attempts.remove(&self.key);
        }
    }
}

impl Table {
    fn insert(&mut self, key: u128, state: State) {
        if let Some(State::Done { answer, .. }) = self.attempts.insert(key, state) {
            self.bytes -= answer.size();
        }
    }

    fn remove(&mut self, key: u128) {
        if let Some(State::Done { answer, .. }) = self.attempts.remove(&key) {
            self.bytes -= answer.size();
        }
    }

    /// Forgets the oldest while there are too many, and those whose time is over from the front.
    fn forget(&mut self, now: Instant, max_attempts: usize, max_bytes: usize) {
        while let Some((key, at)) = self.order.front().copied() {
            let current = match self.attempts.get(&key) {
                Some(State::Done { until, finished, .. }) if *finished == at => Some(*until),
                _ => None,
            };
            match current {
                // An entry of an attempt that was made again: the newer one has its own place in the order.
                None => {}
                Some(until) if self.order.len() <= max_attempts && self.bytes <= max_bytes && until > now => return,
                Some(_) => self.remove(key),
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn plain(body: &'static str) -> Answer {
        Answer { body: body.into(), leases: Vec::new(), settled: 0 }
    }

    fn finish(attempts: &Attempts, key: u128, answer: &'static str, lives: bool) {
        let Begin::New(running) = attempts.begin(key) else { panic!("{key} was begun before") };
        let now = Instant::now();
        running.finish(plain(answer), if lives { now + Duration::from_secs(3600) } else { now });
    }

    fn answer(attempts: &Attempts, key: u128) -> Option<Bytes> {
        match attempts.begin(key) {
            Begin::Done(answer) => Some(answer.body),
            Begin::New(_) => None,
            Begin::Running => panic!("{key} is running"),
        }
    }

    #[test]
    fn a_repeat_gets_the_first_answer() {
        let attempts = Attempts::new(10, 1000);
        finish(&attempts, 1, "one", true);
        assert_eq!(answer(&attempts, 1), Some("one".into()));
        assert_eq!(answer(&attempts, 2), None);
    }

    #[test]
    fn a_repeat_of_a_running_attempt_is_told_so_and_a_dropped_one_never_was() {
        let attempts = Attempts::new(10, 1000);
        let first = attempts.begin(1);
        assert!(matches!(attempts.begin(1), Begin::Running));
        drop(first);
        assert!(matches!(attempts.begin(1), Begin::New(_)));
    }

    #[test]
    fn the_table_is_bounded() {
        let attempts = Attempts::new(2, 10);
        for key in 0..100 {
            finish(&attempts, key, "12345", true);
        }
        let table = attempts.table.lock();
        assert_eq!((table.attempts.len(), table.order.len(), table.bytes), (2, 2, 10));
        drop(table);
        finish(&attempts, 200, "more than ten bytes", true);
        assert_eq!(attempts.table.lock().bytes, 0);
    }

    #[test]
    fn an_answer_that_is_forgotten_is_not_counted_any_more() {
        let attempts = Attempts::new(10, 1000);
        finish(&attempts, 1, "one", true);
        attempts.forget(1);
        attempts.forget(2);
        assert_eq!(attempts.table.lock().bytes, 0);
        assert_eq!(answer(&attempts, 1), None);
    }

    #[test]
    fn an_answer_is_over_with_its_leases() {
        let attempts = Attempts::new(10, 1000);
        finish(&attempts, 1, "one", false);
        assert_eq!(answer(&attempts, 1), None);
        finish(&attempts, 1, "again", true);
        assert_eq!(answer(&attempts, 1), Some("again".into()));
    }
}
