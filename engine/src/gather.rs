//! Deciding whether the committer should wait for company before it writes.
//!
//! A sync costs the processor about as much for one batch as for five. While it runs the next group gathers by itself;
//! but a publisher slower than the disk would get a sync of its own for every batch. So the committer waits a moment, where
//! waiting has shown to bring company, and stops trying where it has not: a publisher that waits for each
//! acknowledgement before it sends again loses nothing.

use std::time::Duration;

/// A wait counts as worth it when it brings so many more, or the whole group that is expected.
const WORTH: usize = 2;
/// The smallest group that is worth waiting for.
const SMALLEST: usize = 4;
/// The longest rest between two tries, in commits.
const LONGEST_REST: u32 = 256;

/// What the committer has learned of its publishers.
#[derive(Debug)]
pub(crate) struct Gather {
    patience: Duration,
    expected: usize,
    rest: u32,
    resting: u32,
}

impl Gather {
    /// Waits at most `patience`; zero never waits.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, expected: SMALLEST, rest: 1, resting: 0 }
    }

    /// For how many the committer should wait, and how long; none when it should write what there is.
    pub(crate) fn plan(&mut self, waiting: usize) -> Option<(usize, Duration)> {
        if waiting >= self.expected || self.patience.is_zero() {
            return None;
        }
        if self.resting > 0 {
            self.resting -= 1;
            return None;
        }
        Some((self.expected, self.patience))
    }

    /// Learns from a wait that began with `before` and ended with `after`.
    pub(crate) fn learn(&mut self, before: usize, after: usize) {
        if after >= self.expected || after >= before + WORTH {
            self.rest = 1;
        } else {
            self.resting = self.rest;
            self.rest = (self.rest * 2).min(LONGEST_REST);
        }
    }

    /// Learns how many were written together.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.expected = count.max(SMALLEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_publisher_is_soon_left_alone() {
        let mut gather = Gather::new(Duration::from_millis(1));
        let waits = (0..10_000).filter(|_| {
            let planned = gather.plan(1).is_some();
            if planned {
                gather.learn(1, 1);
            }
            gather.wrote(1);
            planned
        });
        assert!(waits.count() < 60);
    }

    #[test]
    fn company_is_waited_for_every_time() {
        let mut gather = Gather::new(Duration::from_millis(1));
        for _ in 0..100 {
            assert!(gather.plan(1).is_some());
            gather.learn(1, 4);
            gather.wrote(4);
        }
        assert_eq!(gather.plan(4), None, "everybody is here");
    }
}
