//! Time that passes only when the test says so.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::store::Clock;

/// A clock moved by hand. Wall clock and monotonic time are apart, as on a machine whose operator sets the date.
#[derive(Debug)]
pub struct SimulatedClock {
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl SimulatedClock {
    /// A clock that shows `wall_ms` (milliseconds since the Unix epoch); monotonic time starts at zero.
    #[must_use]
    pub fn new(wall_ms: i64) -> Self {
        Self { wall_ms: AtomicI64::new(wall_ms), monotonic_ms: AtomicU64::new(0) }
    }

    /// Time passes, on both.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.wall_ms.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody sets the date: the wall clock moves by `by_ms`, backwards too; monotonic time does not.
    pub fn jump(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// What the next process sees: the same date, monotonic time from another start.
    #[must_use]
    pub fn restarted(&self) -> Self {
        Self::new(self.now_ms())
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_moves_the_date_and_not_the_deadlines() {
        let clock = SimulatedClock::new(1_000);
        clock.advance(Duration::from_millis(5));
        clock.jump(-500);
        assert_eq!((clock.now_ms(), clock.monotonic()), (505, Duration::from_millis(5)));
        assert_eq!((clock.restarted().now_ms(), clock.restarted().monotonic()), (505, Duration::ZERO));
    }
}
