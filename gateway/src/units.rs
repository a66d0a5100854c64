//! Durations and sizes as people write them: `30s`, `1h30m`, `7d`; `512`, `64KiB`, `10MB`.
//!
//! The one parser for configuration, headers and JSON. In a serde structure:
//!
//! ```
//! # use std::time::Duration;
//! #[derive(serde::Deserialize, serde::Serialize)]
//! struct Limits {
//!     #[serde(with = "tidegate::units::duration")]
//!     timeout: Duration,
//!     #[serde(with = "tidegate::units::optional_duration")]
//!     retention: Option<Duration>,
//!     #[serde(with = "tidegate::units::size")]
//!     body: usize,
//! }
//! let text = r#"{"timeout":"1m30s","retention":null,"body":"2MiB"}"#;
//! let limits: Limits = serde_json::from_str(text)?;
//! assert_eq!((limits.timeout, limits.body), (Duration::from_secs(90), 2 << 20));
//! assert_eq!(serde_json::to_string(&limits)?, text);
//! # Ok::<(), serde_json::Error>(())
//! ```

use std::time::Duration;

/// Why a text is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a duration.
    #[error("'{0}' is not a duration: write a number and a unit (ms, s, m, h, d), such as 30s or 1h30m")]
    Duration(String),
    /// Not a size.
    #[error("'{0}' is not a size: write a number of bytes or a number and a unit, such as 64KiB or 10MB")]
    Size(String),
}

const DURATION_UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// From largest to smallest; the first that fits exactly is printed.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads `250ms`, `30s`, `1h30m`, `7d`. A bare `0` is the only number that needs no unit.
///
/// # Errors
/// [`Error::Duration`], also when it is longer than about 584 years.
pub fn parse_duration(text: &str) -> Result<Duration, Error> {
    let error = || Error::Duration(excerpt(text));
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(error());
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest).ok_or_else(error)?;
        let (_, factor) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        nanoseconds += u128::from(number) * factor;
        rest = after;
    }
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| error())
}

/// Writes a duration so that [`parse_duration`] reads the same: `1h30m`.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, factor) in DURATION_UNITS {
        if rest >= factor {
            text.push_str(&format!("{}{unit}", rest / factor));
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Reads `512`, `64KiB`, `10MB` (KiB is 1024, KB and kB are 1000).
///
/// # Errors
/// [`Error::Size`], also when it is over 2^64-1.
pub fn parse_size(text: &str) -> Result<u64, Error> {
    let error = || Error::Size(excerpt(text));
    let (number, unit, rest) = number_and_unit(text.trim()).ok_or_else(error)?;
    let factor = match unit {
        "" => Some(1),
        "kB" => Some(1_000),
        _ => SIZE_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor),
    };
    let bytes = factor.filter(|_| rest.is_empty()).and_then(|factor| number.checked_mul(factor));
    bytes.ok_or_else(error)
}

/// Writes a size so that [`parse_size`] reads the same, in the largest unit that is exact.
#[must_use]
pub fn print_size(bytes: u64) -> String {
    let exact = SIZE_UNITS.iter().find(|(_, factor)| bytes != 0 && bytes.is_multiple_of(*factor));
    match exact {
        Some((unit, factor)) if *factor > 1 => format!("{}{unit}", bytes / factor),
        _ => bytes.to_string(),
    }
}

/// Splits `30s…` into 30, `s` and the rest.
fn number_and_unit(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(letters);
    Some((number.parse().ok()?, unit, rest))
}

/// What is repeated in an error message: short, and nothing a terminal would obey.
fn excerpt(text: &str) -> String {
    text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `#[serde(with = "tidegate::units::duration")]` for a [`Duration`].
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `30s`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::print_duration(*duration))
    }

    /// Reads `30s`.
    ///
    /// # Errors
    /// The deserializer's, with [`super::Error`]'s words.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        super::parse_duration(&text).map_err(D::Error::custom)
    }
}

/// `#[serde(with = "tidegate::units::optional_duration")]` for an `Option<Duration>`: null is none.
pub mod optional_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes `30s` or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads `30s` or null.
    ///
    /// # Errors
    /// The deserializer's, with [`super::Error`]'s words.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse_duration(&text)).transpose().map_err(D::Error::custom)
    }
}

/// `#[serde(with = "tidegate::units::size")]` for an unsigned integer of bytes: a number, or a text such as `10MiB`.
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size: a number of bytes, or a text such as 64KiB or 10MB")]
    enum Size {
        Number(u64),
        Text(String),
    }

    impl Size {
        fn bytes<T: TryFrom<u64>, E: Error>(self) -> Result<T, E> {
            let bytes = match self {
                Self::Number(bytes) => bytes,
                Self::Text(text) => super::parse_size(&text).map_err(E::custom)?,
            };
            T::try_from(bytes).map_err(|_| E::custom(format!("{bytes} bytes is more than this setting can hold")))
        }
    }

    /// Writes `10MiB`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<T, S>(bytes: &T, serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Copy + TryInto<u64>,
        S: Serializer,
    {
        let bytes = (*bytes).try_into().map_err(|_| serde::ser::Error::custom("a size is not negative"))?;
        serializer.serialize_str(&super::print_size(bytes))
    }

    /// Reads `10MiB` or a number.
    ///
    /// # Errors
    /// The deserializer's, with [`super::Error`]'s words.
    pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        Size::deserialize(deserializer)?.bytes()
    }

    /// As [`size`](super::size), for an `Option`: null is none.
    pub mod optional {
        use serde::{Deserialize, Deserializer, Serializer};

        use super::Size;

        /// Writes `10MiB` or null.
        ///
        /// # Errors
        /// The serializer's.
        pub fn serialize<T, S>(bytes: &Option<T>, serializer: S) -> Result<S::Ok, S::Error>
        where
            T: Copy + TryInto<u64>,
            S: Serializer,
        {
            match bytes {
                Some(bytes) => super::serialize(bytes, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// Reads `10MiB`, a number or null.
        ///
        /// # Errors
        /// The deserializer's, with [`crate::units::Error`]'s words.
        pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
            Option::<Size>::deserialize(deserializer)?.map(Size::bytes).transpose()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, milliseconds) in [("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("0", 0)] {
            assert_eq!(parse_duration(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        assert_eq!(print_duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(print_duration(Duration::ZERO), "0s");
    }

    #[test]
    fn not_durations() {
        for text in
            ["", " ", "30", "s", "-1s", "1.5h", "30 s", "30s!", "1y", "99999999999999d", "18446744073709551616s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("64KiB", 65_536), ("10MB", 10_000_000), ("1kB", 1000), ("7B", 7)]
        {
            assert_eq!(parse_size(text).unwrap(), bytes, "{text}");
        }
        assert_eq!(print_size(10 << 20), "10MiB");
        assert_eq!(print_size(1025), "1025");
        for text in ["", "MiB", "-1", "1.5MiB", "1 MiB", "1MiB2", "20000000TiB", "1mib"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(nanoseconds: u64, bytes: u64) {
            let duration = Duration::from_nanos(nanoseconds);
            prop_assert_eq!(parse_duration(&print_duration(duration)).unwrap(), duration);
            prop_assert_eq!(parse_size(&print_size(bytes)).unwrap(), bytes);
        }

        #[test]
        fn any_text_is_answered(text: String) {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
