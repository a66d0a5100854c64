//! The header `amqp`: that a message came over AMQP, and what the rest of its record does not tell of it.

use std::io::Write;

/// Written as text, each part only if there is something to say: the delivery mode's digits, `t` for the timestamp (and its
/// seconds if they are not the record's), `k3` or `b3` for the key as a long string or as bytes at place 3 of the header
/// table, `n3` for the tombstone, `m3` for the milliseconds, `d` for a `deliver-at` that was worked out, `h` for a header
/// table without headers. Mostly it is `2`, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Mark {
    pub delivery_mode: Option<u8>,
    pub timestamp: Timestamp,
    pub key: Option<KeyPlace>,
    /// Place of `x-tombstone`.
    pub tombstone: Option<usize>,
    /// Place of `x-timestamp-ms`.
    pub timestamp_ms: Option<usize>,
    pub has_derived_deliver_at: bool,
    pub has_empty_table: bool,
}

/// The property timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Timestamp {
    #[default]
    None,
    /// The second of the record's timestamp.
    OfRecord,
    Seconds(u64),
}

/// How and where `x-key` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyPlace {
    pub place: usize,
    pub is_bytes: bool,
}

impl Mark {
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        // Writing to memory does not fail.
        if let Some(mode) = self.delivery_mode {
            match mode {
                0..10 => to.push(b'0' + mode),
                _ => drop(write!(to, "{mode}")),
            }
        }
        match self.timestamp {
            Timestamp::None => {}
            Timestamp::OfRecord => to.push(b't'),
            Timestamp::Seconds(seconds) => drop(write!(to, "t{seconds}")),
        }
        if let Some(KeyPlace { place, is_bytes }) = self.key {
            let _ = write!(to, "{}{place}", if is_bytes { 'b' } else { 'k' });
        }
        for (letter, place) in [('n', self.tombstone), ('m', self.timestamp_ms)] {
            if let Some(place) = place {
                let _ = write!(to, "{letter}{place}");
            }
        }
        if self.has_derived_deliver_at {
            to.push(b'd');
        }
        if self.has_empty_table {
            to.push(b'h');
        }
    }

    /// None if it is not just as [`Mark::write`] writes it.
    pub(super) fn read(text: &[u8]) -> Option<Self> {
        let mut rest = text;
        let delivery_mode = match rest.first() {
            Some(b'0'..=b'9') => Some(u8::try_from(split_number(&mut rest)?).ok()?),
            _ => None,
        };
        let timestamp = match (split_letter(&mut rest, b't'), rest.first()) {
            (false, _) => Timestamp::None,
            (true, Some(b'0'..=b'9')) => Timestamp::Seconds(split_number(&mut rest)?),
            (true, _) => Timestamp::OfRecord,
        };
        let key = match split_place(&mut rest, b'k')? {
            Some(place) => Some(KeyPlace { place, is_bytes: false }),
            None => split_place(&mut rest, b'b')?.map(|place| KeyPlace { place, is_bytes: true }),
        };
        let mark = Self {
            delivery_mode,
            timestamp,
            key,
            tombstone: split_place(&mut rest, b'n')?,
            timestamp_ms: split_place(&mut rest, b'm')?,
            has_derived_deliver_at: split_letter(&mut rest, b'd'),
            has_empty_table: split_letter(&mut rest, b'h'),
        };
        rest.is_empty().then_some(mark)
    }
}

fn split_letter(rest: &mut &[u8], letter: u8) -> bool {
    let after = rest.strip_prefix(&[letter]);
    *rest = after.unwrap_or(rest);
    after.is_some()
}

/// None if the letter is there without a place.
fn split_place(rest: &mut &[u8], letter: u8) -> Option<Option<usize>> {
    if !split_letter(rest, letter) {
        return Some(None);
    }
    let place = usize::try_from(split_number(rest)?).ok()?;
    Some(Some(place))
}

/// Digits, written in the one way there is.
fn split_number(rest: &mut &[u8]) -> Option<u64> {
    let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at(end);
    *rest = after;
    super::slot::number(digits)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(mark: &Mark) -> Vec<u8> {
        let mut text = Vec::new();
        mark.write(&mut text);
        text
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            delivery_mode in prop::option::of(any::<u8>()),
            timestamp in prop_oneof![Just(Timestamp::None), Just(Timestamp::OfRecord), any::<u64>().prop_map(Timestamp::Seconds)],
            key in prop::option::of((any::<usize>(), any::<bool>())),
            places in (prop::option::of(any::<usize>()), prop::option::of(any::<usize>())),
            flags in (any::<bool>(), any::<bool>()),
        ) {
            let mark = Mark {
                delivery_mode,
                timestamp,
                key: key.map(|(place, is_bytes)| KeyPlace { place, is_bytes }),
                tombstone: places.0,
                timestamp_ms: places.1,
                has_derived_deliver_at: flags.0,
                has_empty_table: flags.1,
            };
            prop_assert_eq!(Mark::read(&written(&mark)), Some(mark));
        }

        #[test]
        fn only_what_is_written_is_read(text in "[0-9tkbnmdh]{0,6}") {
            if let Some(mark) = Mark::read(text.as_bytes()) {
                prop_assert_eq!(written(&mark), text.as_bytes());
            }
        }
    }

    #[test]
    fn most_marks_are_short() {
        assert_eq!(written(&Mark { delivery_mode: Some(2), ..Mark::default() }), b"2");
        assert_eq!(written(&Mark::default()), b"");
        for other in ["02", "256", "x", "k", "2k", "tt", "m1n1", "hd", "2 "] {
            assert_eq!(Mark::read(other.as_bytes()), None, "{other}");
        }
    }
}
