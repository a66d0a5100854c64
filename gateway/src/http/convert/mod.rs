//! Messages between HTTP and records. [`Draft`] is what both forms of a publish become; [`field`] has the form with a
//! raw body and header fields, [`json`] the one in JSON.
//!
//! The rule: nothing a publisher set is dropped. A property has a header of its own in the record (the names are in
//! [`crate::broker::property`]), and is shown in a field of its own wherever the record has it once and readable;
//! everything else is shown among the headers, as text where it is text and as base64 where it is not.

pub(super) mod field;
pub(super) mod json;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use tidegate_engine::batch::{Header, Headers};

use super::error::{Problem, Result};
use crate::broker::{Draft, property};
use crate::units;

impl Draft {
    /// Sets a property from its text.
    fn set(&mut self, property: &Property, text: &str) -> Result<()> {
        let stored = property.form.stored(text).map_err(|reason| Problem::invalid(reason).within(property.json))?;
        if self.headers.named(property.record).next().is_some() {
            return Err(Problem::invalid(format!("{} is given twice", property.json)));
        }
        self.headers.push(property.record, Some(stored.as_bytes()));
        Ok(())
    }

    /// Checks what the parts say together.
    fn check(self) -> Result<Self> {
        if self.delay.is_some() && self.headers.named(property::DELIVER_AT).next().is_some() {
            return Err(Problem::invalid("deliver_at and delay are two ways to say one thing: give one"));
        }
        Ok(self)
    }
}

/// A property that has a field of its own.
#[derive(Debug)]
pub(super) struct Property {
    /// Its header in the record.
    record: &'static str,
    /// Its header field in HTTP, lower case.
    field: &'static str,
    /// Its name in JSON.
    json: &'static str,
    form: Form,
}

/// How a property is stored and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The same text.
    Text,
    /// Stored in decimal milliseconds, shown as `30s`.
    Duration,
    /// Stored in decimal milliseconds since the Unix epoch, shown in RFC 3339.
    Time,
    /// 0 to 31.
    Priority,
}

const fn property(record: &'static str, field: &'static str, json: &'static str, form: Form) -> Property {
    Property { record, field, json, form }
}

/// The properties, in the order they are shown.
pub(super) const PROPERTIES: [Property; 11] = [
    property(property::CONTENT_TYPE, "content-type", "content_type", Form::Text),
    property(property::CONTENT_ENCODING, "content-encoding", "content_encoding", Form::Text),
    property(property::MESSAGE_ID, "tidegate-message-id", "message_id", Form::Text),
    property(property::CORRELATION_ID, "tidegate-correlation-id", "correlation_id", Form::Text),
    property(property::REPLY_TO, "tidegate-reply-to", "reply_to", Form::Text),
    property(property::TTL_MS, "tidegate-ttl", "ttl", Form::Duration),
    property(property::DELIVER_AT, "tidegate-deliver-at", "deliver_at", Form::Time),
    property(property::PRIORITY, "tidegate-priority", "priority", Form::Priority),
    property(property::MESSAGE_TYPE, "tidegate-type", "type", Form::Text),
    property(property::APP_ID, "tidegate-app-id", "app_id", Form::Text),
    property(property::USER_ID, "tidegate-user-id", "user_id", Form::Text),
];

/// The properties of a record that are shown in their own fields, by index in [`PROPERTIES`].
type Shown<'a> = [Option<Cow<'a, str>>; PROPERTIES.len()];

/// A property is shown in its own field if the record has it once, and its text reads back as what is stored.
fn shown(headers: &Headers) -> Shown<'_> {
    PROPERTIES.each_ref().map(|property| {
        let mut named = headers.named(property.record);
        let (value, None) = (named.next()?, named.next()) else { return None };
        property.form.shown(std::str::from_utf8(value?).ok()?)
    })
}

/// Which property a header is.
fn property_index(header: &Header<'_>) -> Option<usize> {
    PROPERTIES.iter().position(|property| header.name == property.record.as_bytes())
}

impl Form {
    fn stored(self, text: &str) -> Result<String, String> {
        match self {
            Self::Text => Ok(text.to_owned()),
            Self::Duration => {
                let duration = units::parse_duration(text).map_err(|error| error.to_string())?;
                match duration.subsec_nanos() % 1_000_000 {
                    0 => Ok(duration.as_millis().to_string()),
                    _ => Err(format!("'{text}' is finer than a millisecond")),
                }
            }
            Self::Time => Ok(parse_time(text)?.to_string()),
            Self::Priority => match text.parse::<u8>() {
                Ok(priority) if priority <= 31 => Ok(priority.to_string()),
                _ => Err("a priority is a number from 0 to 31".to_owned()),
            },
        }
    }

    fn shown(self, stored: &str) -> Option<Cow<'_, str>> {
        let shown = match self {
            Self::Text | Self::Priority => Cow::Borrowed(stored),
            Self::Duration => units::print_duration(Duration::from_millis(stored.parse().ok()?)).into(),
            Self::Time => print_time(stored.parse().ok()?).into(),
        };
        (self == Self::Text || self.stored(&shown).is_ok_and(|again| again == stored)).then_some(shown)
    }
}

/// Milliseconds since the Unix epoch from RFC 3339, or from the decimal number of them. What is finer is cut.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse::<i64>() {
        return Ok(ms);
    }
    let time = text.parse::<jiff::Timestamp>();
    time.map(jiff::Timestamp::as_millisecond).map_err(|_| {
        let excerpt: String = text.chars().take(40).filter(|c| !c.is_control()).collect();
        format!("'{excerpt}' is not a time: write RFC 3339, such as 2026-01-31T12:00:00Z, or milliseconds since 1970")
    })
}

/// RFC 3339; outside the years it can tell, the decimal number of milliseconds.
pub(super) fn print_time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |time| time.to_string())
}
