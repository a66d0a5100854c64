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
/// No larger group is waited for. For each of so many a sync costs little, and others, whose publishers wait for the one
/// before, keep the processor busy while it runs: where everybody is waited for, everybody waits for the disk at once.
const LARGEST: usize = 32;
/// The longest rest between two tries, in commits.
const LONGEST_REST: u32 = 256;

/// The pace is that of about so many commits.
const PACE_COMMITS: u32 = 8;

/// What the committer has learned of its publishers.
#[derive(Debug)]
pub(crate) struct Gather {
    patience: Duration,
    expected: usize,
    rest: u32,
    resting: u32,
    /// The time between two appends, averaged.
    pace: Duration,
    /// When the last group was taken.
    last: Option<Duration>,
}

impl Gather {
    /// Waits at most `patience`; zero never waits.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, expected: SMALLEST, rest: 1, resting: 0, pace: Duration::ZERO, last: None }
    }

    /// For how many the committer should wait, and how long; none when it should write what there is.
    pub(crate) fn plan(&mut self, waiting: usize) -> Option<(usize, Duration)> {
        if waiting >= self.expected || !self.may_bring_company() {
            return None;
        }
        if self.resting > 0 {
            self.resting -= 1;
            return None;
        }
        Some((self.expected, self.patience))
    }

    /// As [`Gather::plan`] before anybody has come: only where the last wait has brought company.
    pub(crate) fn anticipate(&self) -> Option<(usize, Duration)> {
        (self.rest == 1 && self.resting == 0 && self.may_bring_company()).then_some((self.expected, self.patience))
    }

    /// Whether so many come that waiting could bring more than one.
    fn may_bring_company(&self) -> bool {
        !self.patience.is_zero() && self.pace * WORTH as u32 <= self.patience
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

    /// Learns how many were written together, and when.
    pub(crate) fn wrote(&mut self, count: usize, now: Duration) {
        self.expected = count.clamp(SMALLEST, LARGEST);
        let since = now.saturating_sub(self.last.replace(now).unwrap_or(now));
        // A publisher that went on after a rest is as fast as it was before it.
        let each = (since / u32::try_from(count.max(1)).unwrap_or(u32::MAX)).min(self.patience * 2);
        self.pace = (self.pace * (PACE_COMMITS - 1) + each) / PACE_COMMITS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(1);

    #[test]
    fn a_lone_publisher_is_soon_left_alone() {
        let mut gather = Gather::new(PATIENCE);
        let waits = (0..10_000).filter(|commit| {
            let planned = gather.anticipate().or_else(|| gather.plan(1)).is_some();
            if planned {
                gather.learn(1, 1);
            }
            gather.wrote(1, *commit * PATIENCE / 10);
            planned
        });
        assert!(waits.count() < 60);
    }

    #[test]
    fn company_is_waited_for_every_time() {
        let mut gather = Gather::new(PATIENCE);
        for commit in 0..100 {
            assert!(gather.anticipate().is_some());
            assert!(gather.plan(1).is_some());
            gather.learn(1, 4);
            gather.wrote(4, commit * PATIENCE);
        }
        assert_eq!(gather.plan(4), None, "everybody is here");
    }

    #[test]
    fn many_are_not_waited_for_all_at_once() {
        let mut gather = Gather::new(PATIENCE);
        for commit in 0..100 {
            gather.wrote(64, commit * PATIENCE);
        }
        assert_eq!(gather.plan(31), Some((32, PATIENCE)));
        assert_eq!(gather.plan(32), None, "the other half comes while these are written");
    }

    #[test]
    fn nobody_is_waited_for_where_few_come() {
        let mut gather = Gather::new(PATIENCE);
        for commit in 0..20 {
            gather.wrote(1, commit * PATIENCE);
        }
        assert_eq!((gather.plan(1), gather.anticipate()), (None, None));
        // A burst among them changes nothing.
        gather.learn(1, 5);
        gather.wrote(5, 21 * PATIENCE);
        assert_eq!((gather.plan(1), gather.anticipate()), (None, None));
        for commit in 22..60 {
            gather.wrote(4, commit * PATIENCE);
        }
        assert!(gather.plan(1).is_some() && gather.anticipate().is_some());
    }
}
