//! Google's Timestamp and Duration, to the millisecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::{Duration as ProtoDuration, Timestamp};

use super::error::{Refusal, Result};

const NANOS_PER_MS: i32 = 1_000_000;

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time from milliseconds since the Unix epoch, any of them.
pub(super) fn timestamp(ms: i64) -> Timestamp {
    // The remainder is below 1000.
    let nanos = ms.rem_euclid(1000) as i32 * NANOS_PER_MS;
    Timestamp { seconds: ms.div_euclid(1000), nanos }
}

/// Milliseconds since the Unix epoch. What is finer is cut.
pub(super) fn milliseconds(time: &Timestamp) -> Result<i64> {
    if !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Refusal::invalid("a time has 0 to 999,999,999 nanos"));
    }
    let ms = time.seconds.checked_mul(1000).and_then(|ms| ms.checked_add(i64::from(time.nanos / NANOS_PER_MS)));
    // The earliest of all milliseconds does not survive the multiplication of its seconds.
    let earliest = timestamp(i64::MIN);
    ms.or((time.seconds == earliest.seconds && time.nanos >= earliest.nanos)
        .then(|| i64::MIN + i64::from((time.nanos - earliest.nanos) / NANOS_PER_MS)))
        .ok_or_else(|| Refusal::invalid("a time is too far away to be counted in milliseconds"))
}

/// A length of time; as much of it as can be told.
pub(super) fn duration(time: Duration) -> ProtoDuration {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    ProtoDuration { seconds, nanos: time.subsec_nanos().cast_signed() }
}

/// A length of time that is not negative.
pub(super) fn length(time: &ProtoDuration) -> Result<Duration> {
    let seconds = u64::try_from(time.seconds);
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Ok(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(Refusal::invalid("a duration is not negative and has 0 to 999,999,999 nanos")),
    }
}

/// As [`length`], for what may be left out.
pub(super) fn optional_length(name: &str, time: Option<&ProtoDuration>) -> Result<Option<Duration>> {
    time.map(length).transpose().map_err(|refusal| refusal.within(name))
}

/// A deadline that leaves some time.
pub(super) fn deadline(time: Option<&ProtoDuration>) -> Result<Option<Duration>> {
    match optional_length("ack_deadline", time)? {
        Some(Duration::ZERO) => Err(Refusal::invalid("ack_deadline is over at once: give the consumer some time")),
        deadline => Ok(deadline),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_millisecond_comes_back(ms: i64) {
            prop_assert_eq!(milliseconds(&timestamp(ms)), Ok(ms));
        }

        #[test]
        fn any_time_is_answered(seconds: i64, nanos: i32) {
            let _ = milliseconds(&Timestamp { seconds, nanos });
            let _ = length(&ProtoDuration { seconds, nanos });
        }
    }

    #[test]
    fn the_ends_come_back() {
        for ms in [i64::MIN, i64::MIN + 1, i64::MIN + 999, -1, 0, 1, i64::MAX] {
            assert_eq!(milliseconds(&timestamp(ms)), Ok(ms));
        }
        assert!(milliseconds(&Timestamp { seconds: i64::MIN / 1000 - 1, nanos: 0 }).is_err());
        assert!(milliseconds(&Timestamp { seconds: i64::MAX, nanos: 0 }).is_err());
    }
}
