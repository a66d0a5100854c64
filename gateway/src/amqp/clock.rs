//! What a session does as time passes: heartbeats, and consumers that take too long.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::channel::Channel;
use super::connection::Ended;
use super::error::{Code, Exception};
use super::session::Session;

const SLOWEST: Duration = Duration::from_secs(60);
const FASTEST: Duration = Duration::from_millis(100);

/// Ticks often enough for heartbeats and for the consumer timeout, and counts in how many ticks nothing was heard of the client.
///
/// They are counted, and not the time measured, because a session may have been held up itself: what has come meanwhile is
/// still to be read.
pub(super) struct Clock {
    ticks: Interval,
    period: Duration,
    heartbeat: Option<Duration>,
    /// When something had last come, as of the last tick.
    heard: Instant,
    silent: u32,
}

impl Clock {
    fn new(heartbeat: Option<Duration>, consumer_timeout: Duration, now: Instant) -> Self {
        let period = heartbeat.map_or(SLOWEST, |time| time / 2).min(consumer_timeout / 4).clamp(FASTEST, SLOWEST);
        let mut ticks = tokio::time::interval_at(now + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, period, heartbeat, heard: now, silent: 0 }
    }

    pub(super) async fn tick(&mut self) -> Instant {
        self.ticks.tick().await
    }

    /// Counts a tick: true when two heartbeats were missed. Nothing is missed while nothing is read.
    fn misses(&mut self, last_read: Instant, listens: bool) -> bool {
        if last_read > self.heard || !listens {
            (self.heard, self.silent) = (last_read, 0);
        } else {
            self.silent += 1;
        }
        self.heartbeat.is_some_and(|heartbeat| self.period * self.silent >= 2 * heartbeat)
    }

    /// Whether the client should be told now that this side is alive: twice in the time that was agreed on. What was written
    /// at the last tick went out a moment after it.
    fn owes(&self, now: Instant, last_written: Instant) -> bool {
        let enough = |heartbeat: Duration| (heartbeat / 2).saturating_sub(self.period / 2);
        self.heartbeat.is_some_and(|heartbeat| now.saturating_duration_since(last_written) >= enough(heartbeat))
    }
}

impl Session<'_> {
    pub(super) fn clock(&self) -> Clock {
        Clock::new(self.opened.heartbeat, self.listener.config.consumer_timeout, Instant::now())
    }

    pub(super) fn tick(&mut self, clock: &mut Clock, now: Instant) -> Result<(), Ended> {
        let listens = self.may_read() && !self.wire.reader.has_frames();
        if clock.misses(self.last_read, listens) {
            return Err(Ended::MissedHeartbeats);
        }
        if clock.owes(now, self.last_written) && self.wire.outbox.is_empty() {
            self.wire.outbox.heartbeat();
        }
        self.check_consumer_timeout(now)
    }

    fn check_consumer_timeout(&mut self, now: Instant) -> Result<(), Ended> {
        let timeout = self.listener.config.consumer_timeout;
        let is_late = |channel: &Channel| {
            channel.unacknowledged.first_key_value().is_some_and(|(_, oldest)| now - oldest.since > timeout)
        };
        let late: Vec<u16> = self.channels.iter().filter(|(_, channel)| is_late(channel)).map(|(id, _)| *id).collect();
        for id in late {
            let message =
                format!("delivery acknowledgement on channel {id} timed out (consumer_timeout is {timeout:?})");
            self.fail(id, Exception::new(Code::PreconditionFailed, message), (0, 0, "basic.deliver"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test]
    async fn a_client_is_lost_after_two_heartbeats_that_could_have_been_heard() {
        let start = Instant::now();
        let mut clock = Clock::new(Some(SECOND), 100 * SECOND, start);
        let heard = start + SECOND;
        assert!(!clock.misses(heard, true));
        assert_eq!([1, 2, 3, 4].map(|_| clock.misses(heard, true)), [false, false, false, true]);
        // While publishing waits for space nothing is read; after that the client has its time again.
        assert!((0..9).all(|_| !clock.misses(heard, false)));
        assert_eq!([1, 2, 3, 4].map(|_| clock.misses(heard, true)), [false, false, false, true]);
        assert!(!clock.misses(heard + SECOND, true));
    }

    #[tokio::test]
    async fn a_session_that_was_held_up_reads_before_it_gives_its_client_up() {
        let start = Instant::now();
        let mut clock = Clock::new(Some(SECOND), 100 * SECOND, start);
        // However late, it is one tick.
        assert!(!clock.misses(start, true));
        assert!(!clock.misses(start + 60 * SECOND, true));
    }

    #[tokio::test]
    async fn a_quiet_side_says_that_it_is_alive_at_every_tick() {
        let start = Instant::now();
        let clock = Clock::new(Some(SECOND), 100 * SECOND, start);
        let tick = start + clock.period;
        assert!(clock.owes(tick, start + Duration::from_millis(1)));
        assert!(!clock.owes(tick, tick - Duration::from_millis(1)));
        assert!(!Clock::new(None, SECOND, start).owes(tick + 100 * SECOND, start));
        let often = Clock::new(Some(SECOND), SECOND / 2, start);
        assert!(often.period < SECOND / 4 && !often.owes(start + often.period, start), "a tick is no heartbeat then");
    }
}
