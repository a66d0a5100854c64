//! What a session does as time passes: heartbeats, and consumers that take too long.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::channel::Channel;
use super::connection::Ended;
use super::error::{Code, Exception};
use super::session::Session;

impl Session<'_> {
    /// Ticks often enough for heartbeats and for the consumer timeout.
    pub(super) fn clock(&self) -> Interval {
        const SLOWEST: Duration = Duration::from_secs(60);
        const FASTEST: Duration = Duration::from_millis(100);
        let heartbeat = self.opened.heartbeat.map_or(SLOWEST, |time| time / 2);
        let period = heartbeat.min(self.listener.config.consumer_timeout / 4).clamp(FASTEST, SLOWEST);
        let mut clock = tokio::time::interval_at(Instant::now() + period, period);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        clock
    }

    pub(super) fn tick(&mut self, now: Instant) -> Result<(), Ended> {
        if let Some(heartbeat) = self.opened.heartbeat {
            // While publishing waits for space nothing is read, and nothing is missed.
            if now - self.last_read > 2 * heartbeat && self.may_read() {
                return Err(Ended::MissedHeartbeats);
            }
            if now - self.last_written >= heartbeat / 2 && self.wire.outbox.is_empty() {
                self.wire.outbox.heartbeat();
            }
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
