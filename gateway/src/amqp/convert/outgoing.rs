//! A record, as a message to be delivered.

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_engine::batch::{Header, Record};

use super::death::{Death, NUMBERS};
use super::entry::{TableWriter, put, put_long, put_value};
use super::header;
use super::mark::{KeyPlace, Mark, Timestamp};
use super::slot::{SLOTS, Slot, is_expiration, number};
use crate::amqp::codec::{PropertiesWriter, with_length};
use crate::broker::{HeaderType, Types, read_header_types, typed_headers};

/// The longest short string, and the longest name of a header.
const MAX_SHORT: usize = 255;
/// Room for saying how many headers were left out.
const OMITTED_BYTES: usize = 1 + header::OMITTED.len() + 9;

/// A record to be delivered from a topic.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    record: &'a Record,
    topic: &'a str,
    /// None if it did not come over AMQP.
    mark: Option<Mark>,
    /// The value of each property, in the header that it is.
    slots: [Option<&'a [u8]>; SLOTS],
    /// None or some text.
    exchange: Option<&'a str>,
    routing_key: Option<&'a str>,
    /// Which headers have types, and where the one is that keeps these.
    types: Option<(usize, Types)>,
    /// How many headers are fields of the table.
    fields: usize,
}

/// What a delivery says besides the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra {
    /// Tell the offset (`x-stream-offset`), because the consumer asked for offsets.
    pub offset: bool,
    /// How often the record was delivered before and came back (`x-delivery-count`); 0 is not told.
    pub delivery_count: u32,
    /// How large the properties may be: [`crate::amqp::codec::max_properties`].
    pub max_bytes: usize,
}

impl<'a> Outgoing<'a> {
    /// Sorts the headers.
    #[must_use]
    pub fn new(record: &'a Record, topic: &'a str) -> Self {
        let mut outgoing = Self {
            record,
            topic,
            mark: None,
            slots: [None; SLOTS],
            exchange: None,
            routing_key: None,
            types: read_header_types(&record.headers),
            fields: 0,
        };
        if !record.headers.is_empty() {
            outgoing.sort();
        }
        outgoing
    }

    /// The last header of a property's name is the property, if it can be; all others are fields of the table.
    fn sort(&mut self) {
        let mut filled = 0_u32;
        for (header, of) in typed_headers(&self.record.headers, self.types.as_ref()) {
            self.fields += 1;
            let Some(slot) = Slot::of(header.name) else { continue };
            filled |= 1 << slot as u32;
            self.slots[slot as usize] = header.value.filter(|_| of.is_none());
        }
        self.fields -= filled.count_ones() as usize;
        self.mark = self.slot(Slot::Amqp).and_then(Mark::read);
        // What is not filled need not be looked at.
        while filled != 0 {
            let slot = Slot::ALL[filled.trailing_zeros() as usize];
            filled &= filled - 1;
            if !self.slot(slot).is_some_and(|value| self.take(slot, value)) {
                self.slots[slot as usize] = None;
                self.fields += 1;
            }
        }
    }

    fn slot(&self, slot: Slot) -> Option<&'a [u8]> {
        self.slots[slot as usize]
    }

    /// Takes a property's value, if it can have that. AMQP's own publishers put any bytes into short strings, others text.
    fn take(&mut self, slot: Slot, value: &'a [u8]) -> bool {
        match slot {
            Slot::Amqp => self.mark.is_some(),
            Slot::ContentType
            | Slot::ContentEncoding
            | Slot::CorrelationId
            | Slot::ReplyTo
            | Slot::MessageId
            | Slot::MessageType
            | Slot::UserId
            | Slot::AppId
            | Slot::ClusterId => value.len() <= MAX_SHORT && (self.mark.is_some() || short_text(value).is_some()),
            Slot::TtlMs => is_expiration(value),
            Slot::Priority => number(value).is_some_and(|priority| priority <= u8::MAX.into()),
            Slot::Exchange => {
                self.exchange = short_text(value).filter(|exchange| !exchange.is_empty());
                self.exchange.is_some()
            }
            Slot::RoutingKey => {
                self.routing_key = short_text(value);
                self.routing_key.is_some()
            }
            Slot::DeliverAt => self.mark.is_some_and(|mark| mark.has_derived_deliver_at),
            Slot::DeadLetterReason
            | Slot::DeadLetterTopic
            | Slot::DeadLetterPartition
            | Slot::DeadLetterOffset
            | Slot::DeadLetterAttempts
            | Slot::DeadLetterGroup => self.is_dead_letter(),
        }
    }

    /// The engine writes both; somebody's header of such a name is just that.
    fn is_dead_letter(&self) -> bool {
        self.slot(Slot::DeadLetterReason).is_some() && self.slot(Slot::DeadLetterTopic).is_some()
    }

    /// The exchange it was published to; empty, which is the default exchange, for what another protocol wrote and for a
    /// dead letter.
    #[must_use]
    pub fn exchange(&self) -> &'a str {
        if self.is_dead_letter() { "" } else { self.exchange.unwrap_or_default() }
    }

    /// The routing key it was published with; for the default exchange that is the topic.
    #[must_use]
    pub fn routing_key(&self) -> &'a str {
        if self.is_dead_letter() {
            return self.topic;
        }
        let implied = if self.exchange.is_some() { "" } else { self.topic };
        self.routing_key.unwrap_or(implied)
    }

    /// The body; that of a tombstone is empty.
    #[must_use]
    pub fn body(&self) -> &'a Bytes {
        static EMPTY: Bytes = Bytes::new();
        self.record.value.as_ref().unwrap_or(&EMPTY)
    }

    /// Writes flags, properties and header table, as the content header has them.
    pub fn write_properties(&self, out: &mut BytesMut, extra: &Extra) {
        let at = out.len();
        let table_bytes = self.write_up_to(out, extra, usize::MAX);
        let bytes = out.len() - at;
        if bytes > extra.max_bytes {
            // Only the table can be so large: all others together fit in the smallest frame.
            out.truncate(at);
            let others = bytes - table_bytes;
            self.write_up_to(out, extra, extra.max_bytes.saturating_sub(others + OMITTED_BYTES));
        }
    }

    /// Writes them with a table of at most `max_table` bytes, and a little more to say so; returns how large it is.
    fn write_up_to(&self, out: &mut BytesMut, extra: &Extra, max_table: usize) -> usize {
        let mut writer = PropertiesWriter::new(out);
        writer.content_type(self.slot(Slot::ContentType));
        writer.content_encoding(self.slot(Slot::ContentEncoding));
        let mut table_bytes = 0;
        if self.has_table(extra) {
            let out = writer.headers();
            let at = out.len();
            self.write_table(out, extra, at.saturating_add(max_table));
            table_bytes = out.len() - at;
            writer.end_headers();
        }
        writer.delivery_mode(self.mark.and_then(|mark| mark.delivery_mode));
        writer.priority(self.slot(Slot::Priority).and_then(number).map(|priority| priority as u8));
        writer.correlation_id(self.slot(Slot::CorrelationId));
        writer.reply_to(self.slot(Slot::ReplyTo));
        writer.expiration(self.slot(Slot::TtlMs));
        writer.message_id(self.slot(Slot::MessageId));
        writer.timestamp(self.timestamp());
        writer.r#type(self.slot(Slot::MessageType));
        writer.user_id(self.slot(Slot::UserId));
        writer.app_id(self.slot(Slot::AppId));
        writer.cluster_id(self.slot(Slot::ClusterId));
        table_bytes
    }

    fn timestamp(&self) -> Option<u64> {
        let of_record = || u64::try_from(self.record.timestamp_ms.div_euclid(1000)).ok();
        match self.mark.map(|mark| mark.timestamp) {
            None | Some(Timestamp::OfRecord) => of_record(),
            Some(Timestamp::Seconds(seconds)) => Some(seconds),
            Some(Timestamp::None) => None,
        }
    }

    fn has_table(&self, extra: &Extra) -> bool {
        self.fields > 0
            || self.record.key.is_some()
            || self.record.value.is_none()
            || self.tells_offset(extra)
            || extra.delivery_count > 0
            || self.is_dead_letter()
            || self.mark.is_some_and(|mark| mark.has_empty_table || mark.timestamp_ms.is_some())
    }

    fn tells_offset(&self, extra: &Extra) -> bool {
        extra.offset || self.mark.is_none()
    }

    /// Where seconds do not tell the record's time, or do not decide it when the message is published again.
    fn needs_milliseconds(&self) -> bool {
        let ms = self.record.timestamp_ms;
        self.mark.is_none() && (ms % 1000 != 0 || ms < 0 || self.slot(Slot::TtlMs).is_some())
    }

    fn write_table(&self, out: &mut BytesMut, extra: &Extra, end: usize) {
        let mut table = TableWriter::new(out, end);
        let mut standing_in = self.standing_in().into_iter().flatten().peekable();
        let mut too_long = Vec::new();
        for (header, of) in self.table_headers() {
            while let Some((_, what)) = standing_in.next_if(|(place, _)| *place <= table.fields) {
                self.write_standing_in(&mut table, what);
            }
            match header.name.len() {
                ..=MAX_SHORT => table.header(header.name, header.value, of),
                _ => too_long.push((header, of)),
            }
        }
        for (_, what) in standing_in {
            self.write_standing_in(&mut table, what);
        }
        if !too_long.is_empty() {
            table.field(header::LONG_HEADERS, |out| put_long_headers(out, &too_long));
        }
        if self.needs_milliseconds() {
            table.int64(header::TIMESTAMP_MS, self.record.timestamp_ms);
        }
        if self.tells_offset(extra) {
            table.int64(header::STREAM_OFFSET, self.record.offset.cast_signed());
        }
        if extra.delivery_count > 0 {
            table.int64(header::DELIVERY_COUNT, extra.delivery_count.into());
        }
        if let Some(death) = self.death() {
            table.field(header::DEATH, |out| death.write(out));
        }
        let omitted = table.omitted;
        if omitted > 0 {
            TableWriter::new(out, usize::MAX).int64(header::OMITTED, omitted as i64);
        }
    }

    /// The headers that are fields of the table, and their types.
    fn table_headers(&self) -> impl Iterator<Item = (Header<'a>, Option<&HeaderType>)> {
        // The header that is a property is told from others of its name by where its value lies.
        let is_property = |header: &Header<'_>| {
            let value = Slot::of(header.name).and_then(|slot| self.slot(slot));
            value.zip(header.value).is_some_and(|(one, other)| std::ptr::eq(one, other))
        };
        typed_headers(&self.record.headers, self.types.as_ref()).filter(move |(header, _)| !is_property(header))
    }

    /// Headers that stand for what a record has besides headers, and their places in the table, in order.
    fn standing_in(&self) -> [Option<(usize, StandingIn)>; 3] {
        let mark = self.mark.unwrap_or_default();
        let KeyPlace { place, is_bytes } = mark.key.unwrap_or(KeyPlace { place: 0, is_bytes: false });
        let key = self.record.key.as_ref().map(|_| (place, StandingIn::Key { is_bytes }));
        let is_tombstone = self.record.value.is_none();
        let tombstone = is_tombstone.then_some((mark.tombstone.unwrap_or(0), StandingIn::Tombstone));
        let time = mark.timestamp_ms.map(|place| (place, StandingIn::Time));
        let mut all = [key, tombstone, time];
        all.sort_by_key(|one| one.map(|(place, _)| place));
        all
    }

    fn write_standing_in(&self, table: &mut TableWriter<'_>, what: StandingIn) {
        match what {
            StandingIn::Key { is_bytes } => {
                let (of, key) = (if is_bytes { b'x' } else { b'S' }, self.record.key.as_deref().unwrap_or_default());
                table.field(header::KEY, |out| put_long(out, of, key));
            }
            StandingIn::Tombstone => table.field(header::TOMBSTONE, |out| put(out, b't', [1])),
            StandingIn::Time => table.int64(header::TIMESTAMP_MS, self.record.timestamp_ms),
        }
    }

    fn death(&self) -> Option<Death<'a>> {
        if !self.is_dead_letter() {
            return None;
        }
        let exchange = self.slot(Slot::Exchange);
        Some(Death {
            reason: self.slot(Slot::DeadLetterReason)?,
            topic: self.slot(Slot::DeadLetterTopic)?,
            exchange: exchange.unwrap_or_default(),
            routing_key: self.slot(Slot::RoutingKey).or(exchange.map(|_| &b""[..])),
            numbers: NUMBERS.map(|(name, slot)| (name, self.slot(slot))),
        })
    }
}

/// A header that stands for what a record has besides headers.
#[derive(Debug, Clone, Copy)]
enum StandingIn {
    Key { is_bytes: bool },
    Tombstone,
    Time,
}

/// An array of arrays: name and value.
fn put_long_headers(out: &mut BytesMut, headers: &[(Header<'_>, Option<&HeaderType>)]) {
    out.put_u8(b'A');
    with_length(out, |out| {
        for (header, of) in headers {
            out.put_u8(b'A');
            with_length(out, |out| {
                put_long(out, b'S', header.name);
                put_value(out, header.value, *of);
            });
        }
    });
}

fn short_text(value: &[u8]) -> Option<&str> {
    if value.len() <= MAX_SHORT { std::str::from_utf8(value).ok() } else { None }
}
