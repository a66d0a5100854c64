//! A published message, as a record.

use std::io::Write;

use tidegate_engine::batch::{BatchBuilder, RecordBuilder};

use super::header;
use super::mark::{KeyPlace, Mark, Timestamp};
use super::slot::{is_expiration, signed_number};
use super::value::{is_typed, write_text, write_type};
use crate::amqp::codec::{Properties, RawTable, RawValue};
use crate::amqp::sender_selected::BCC;
use crate::broker::property;

/// A message that was published.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    properties: Properties<'a>,
    body: &'a [u8],
    key: Option<&'a [u8]>,
    timestamp_ms: Option<i64>,
    deliver_at: Option<DeliverAt>,
    /// Where headers were that the record has no header for.
    mark: Mark,
}

/// When a message is to be delivered, if not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliverAt {
    Time(i64),
    Delay(i64),
}

/// Why a message is not taken: the channel is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The expiration is no number of milliseconds.
    #[error("invalid expiration '{0}': a decimal number of milliseconds from 0 to 315360000000")]
    Expiration(String),
    /// The batch would be larger than a batch can be.
    #[error("{0}")]
    TooLarge(String),
}

impl<'a> Incoming<'a> {
    /// Looks at what decides where and when the message goes.
    ///
    /// # Errors
    /// [`Refusal::Expiration`].
    pub fn new(
        exchange: &'a str,
        routing_key: &'a str,
        properties: &Properties<'a>,
        body: &'a [u8],
    ) -> Result<Self, Refusal> {
        if let Some(expiration) = properties.expiration.filter(|expiration| !is_expiration(expiration)) {
            return Err(Refusal::Expiration(String::from_utf8_lossy(expiration).into_owned()));
        }
        let mark = Mark { delivery_mode: properties.delivery_mode, ..Mark::default() };
        let mut incoming = Self {
            exchange,
            routing_key,
            properties: *properties,
            body,
            key: None,
            timestamp_ms: None,
            deliver_at: None,
            mark,
        };
        if let Some(table) = properties.headers {
            incoming.look_at(table);
        }
        Ok(incoming)
    }

    fn look_at(&mut self, table: RawTable<'a>) {
        self.mark.has_empty_table = visible(table).next().is_none();
        for (place, (name, value)) in visible(table).enumerate() {
            if !name.starts_with(b"x-") {
                continue;
            }
            match name {
                header::KEY => self.look_at_key(place, &value),
                header::TOMBSTONE if value == RawValue::Boolean(true) && self.body.is_empty() => {
                    self.mark.tombstone.get_or_insert(place);
                }
                header::TIMESTAMP_MS if self.timestamp_ms.is_none() => {
                    self.timestamp_ms = whole_number(&value);
                    self.mark.timestamp_ms = matches!(value, RawValue::Int64(_)).then_some(place);
                }
                header::DELAY => {
                    let delay = whole_number(&value).filter(|delay| *delay > 0).map(DeliverAt::Delay);
                    self.deliver_at = self.deliver_at.or(delay);
                }
                header::DELIVER_AT => self.look_at_delivery(&value),
                _ => {}
            }
        }
    }

    fn look_at_key(&mut self, place: usize, value: &RawValue<'a>) {
        let (key, is_bytes) = match value {
            RawValue::LongString(key) => (key, false),
            RawValue::Bytes(key) => (key, true),
            _ => return,
        };
        if self.key.is_none() {
            self.key = Some(key);
            self.mark.key = Some(KeyPlace { place, is_bytes });
        }
    }

    /// A time said outright counts for more than a delay.
    fn look_at_delivery(&mut self, value: &RawValue<'_>) {
        let time = match value {
            RawValue::Timestamp(seconds) => i64::try_from(*seconds).ok().and_then(|seconds| seconds.checked_mul(1000)),
            RawValue::LongString(text) => time(text),
            _ => whole_number(value),
        };
        if let (Some(time), None | Some(DeliverAt::Delay(_))) = (time, self.deliver_at) {
            self.deliver_at = Some(DeliverAt::Time(time));
            self.mark.has_derived_deliver_at = !is_stored_as_deliver_at(value);
        }
    }

    /// The record's key, which decides the partition where there are several.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// When it is to be delivered, if not at once; it needs a batch of its own then.
    #[must_use]
    pub fn deliver_at_ms(&self, now_ms: i64) -> Option<i64> {
        match self.deliver_at? {
            DeliverAt::Time(at_ms) => Some(at_ms),
            DeliverAt::Delay(delay_ms) => Some(now_ms.saturating_add(delay_ms)),
        }
    }

    /// Adds the record to a batch.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`]; the batch is as it was.
    pub fn append(&self, builder: &mut BatchBuilder, now_ms: i64) -> Result<(), Refusal> {
        let timestamp_ms = self.record_timestamp_ms(now_ms);
        let value = self.mark.tombstone.is_none().then_some(self.body);
        let mut record = builder.record(timestamp_ms, self.key, value);
        let is_typed = self.properties.headers.is_some_and(|table| self.append_table(&mut record, table));
        self.append_properties(&mut record);
        if !self.exchange.is_empty() {
            record.header(property::AMQP_EXCHANGE.as_bytes(), Some(self.exchange.as_bytes()));
            if !self.routing_key.is_empty() {
                record.header(property::AMQP_ROUTING_KEY.as_bytes(), Some(self.routing_key.as_bytes()));
            }
        }
        self.append_mark(&mut record, timestamp_ms, now_ms);
        if is_typed && let Some(table) = self.properties.headers {
            record.header_with(property::HEADER_TYPES.as_bytes(), |to| self.write_types(to, table));
        }
        record.finish().map_err(|error| Refusal::TooLarge(error.to_string()))
    }

    fn record_timestamp_ms(&self, now_ms: i64) -> i64 {
        if let Some(ms) = self.timestamp_ms {
            return ms;
        }
        // A lifetime counts from the record's timestamp, and in AMQP from the arrival.
        let said = self.properties.timestamp.filter(|_| self.properties.expiration.is_none());
        let seconds = said.and_then(|seconds| i64::try_from(seconds).ok()).filter(|s| *s != now_ms.div_euclid(1000));
        seconds.and_then(|seconds| seconds.checked_mul(1000)).unwrap_or(now_ms)
    }

    /// Writes the headers; whether any has a type.
    fn append_table(&self, record: &mut RecordBuilder<'_>, table: RawTable<'_>) -> bool {
        let mut typed = false;
        for (name, value) in self.stored(table) {
            typed |= is_typed(name, &value) && !is_deliver_at(name, &value);
            match value {
                RawValue::LongString(bytes) => record.header(name, Some(bytes)),
                RawValue::Void => record.header(name, None),
                _ if is_deliver_at(name, &value) => {
                    record.header_with(property::DELIVER_AT.as_bytes(), |to| write_text(&value, to));
                }
                _ => record.header_with(name, |to| write_text(&value, to)),
            }
        }
        typed
    }

    /// The headers of the table that are headers of the record too.
    fn stored(&self, table: RawTable<'a>) -> impl Iterator<Item = (&'a [u8], RawValue<'a>)> {
        let Mark { key, tombstone, timestamp_ms, .. } = self.mark;
        let gone = [key.map(|key| key.place), tombstone, timestamp_ms];
        visible(table).enumerate().filter(move |(place, _)| !gone.contains(&Some(*place))).map(|(_, header)| header)
    }

    fn write_types(&self, to: &mut Vec<u8>, table: RawTable<'_>) {
        let mut comma = "";
        for (index, (name, value)) in self.stored(table).enumerate() {
            if is_typed(name, &value) && !is_deliver_at(name, &value) {
                let _ = write!(to, "{comma}{index}=");
                write_type(&value, to);
                comma = ",";
            }
        }
    }

    #[inline]
    fn append_properties(&self, record: &mut RecordBuilder<'_>) {
        let of = &self.properties;
        let texts = [
            (property::CONTENT_TYPE, of.content_type),
            (property::CONTENT_ENCODING, of.content_encoding),
            (property::CORRELATION_ID, of.correlation_id),
            (property::REPLY_TO, of.reply_to),
            (property::MESSAGE_ID, of.message_id),
            (property::MESSAGE_TYPE, of.r#type),
            (property::USER_ID, of.user_id),
            (property::APP_ID, of.app_id),
            (property::CLUSTER_ID, of.cluster_id),
            (property::TTL_MS, of.expiration),
        ];
        for (name, value) in texts {
            if value.is_some() {
                record.header(name.as_bytes(), value);
            }
        }
        if let Some(priority) = of.priority {
            record.header_with(property::PRIORITY.as_bytes(), |to| drop(write!(to, "{priority}")));
        }
    }

    fn append_mark(&self, record: &mut RecordBuilder<'_>, timestamp_ms: i64, now_ms: i64) {
        let mut mark = self.mark;
        if let Some(seconds) = self.properties.timestamp {
            let is_of_record = i64::try_from(seconds) == Ok(timestamp_ms.div_euclid(1000));
            mark.timestamp = if is_of_record { Timestamp::OfRecord } else { Timestamp::Seconds(seconds) };
        }
        if let Some(DeliverAt::Delay(_)) = self.deliver_at {
            mark.has_derived_deliver_at = true;
        }
        if mark.has_derived_deliver_at
            && let Some(at_ms) = self.deliver_at_ms(now_ms)
        {
            record.header_with(property::DELIVER_AT.as_bytes(), |to| drop(write!(to, "{at_ms}")));
        }
        record.header_with(property::AMQP.as_bytes(), |to| mark.write(to));
    }
}

/// The headers that consumers see.
fn visible(table: RawTable<'_>) -> impl Iterator<Item = (&[u8], RawValue<'_>)> {
    table.iter().filter(|(name, _)| *name != BCC)
}

/// `x-deliver-at` in milliseconds is what the record's `deliver-at` is.
fn is_deliver_at(name: &[u8], value: &RawValue<'_>) -> bool {
    name == header::DELIVER_AT && is_stored_as_deliver_at(value)
}

fn is_stored_as_deliver_at(value: &RawValue<'_>) -> bool {
    matches!(value, RawValue::Int64(_))
}

fn whole_number(value: &RawValue<'_>) -> Option<i64> {
    match *value {
        RawValue::Int8(value) => Some(value.into()),
        RawValue::Uint8(value) => Some(value.into()),
        RawValue::Int16(value) => Some(value.into()),
        RawValue::Uint16(value) => Some(value.into()),
        RawValue::Int32(value) => Some(value.into()),
        RawValue::Uint32(value) => Some(value.into()),
        RawValue::Int64(value) => Some(value),
        _ => None,
    }
}

/// Milliseconds since the Unix epoch, or RFC 3339.
fn time(text: &[u8]) -> Option<i64> {
    let time = || std::str::from_utf8(text).ok()?.parse::<jiff::Timestamp>().ok();
    signed_number(text).or_else(|| time().map(jiff::Timestamp::as_millisecond))
}
