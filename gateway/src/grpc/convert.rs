//! Messages between gRPC and records.
//!
//! The rule: nothing a publisher set is dropped. A property has a header of its own in the record (the names are in
//! [`crate::broker::property`]), and is shown in a field of its own wherever the record has it once and readable;
//! everything else is shown among the headers, as text where it is text and as bytes where it is not. Headers of one name
//! keep their order; that of different names has no meaning.

use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::batch::{Header, Headers, Record};
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::header::Value;

use super::error::{Refusal, Result};
use super::time::{duration, length, milliseconds, optional_length, timestamp};
use crate::broker::{Draft, HeaderType, property, read_header_types, typed_headers};

/// The highest priority.
const MAX_PRIORITY: u32 = 31;
/// The longest idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Headers that are shown in fields of their own.
pub(super) const PROPERTIES: [&str; 11] = [
    property::CONTENT_TYPE,
    property::CONTENT_ENCODING,
    property::MESSAGE_ID,
    property::CORRELATION_ID,
    property::REPLY_TO,
    property::TTL_MS,
    property::DELIVER_AT,
    property::PRIORITY,
    property::MESSAGE_TYPE,
    property::APP_ID,
    property::USER_ID,
];

/// A message from the entry it came in.
///
/// # Errors
/// What is wrong with it.
pub(super) fn draft(entry: proto::Entry) -> Result<Draft> {
    let message = entry.message.ok_or_else(|| Refusal::invalid("the entry has no message"))?;
    let mut draft = into_draft(message)?;
    draft.partition = entry.partition;
    draft.delay = optional_length("delay", entry.delay.as_ref())?;
    if draft.delay.is_some() && draft.headers.named(property::DELIVER_AT).next().is_some() {
        return Err(Refusal::invalid("deliver_at and delay are two ways to say one thing: give one"));
    }
    draft.idempotency_key = idempotency_key(entry.idempotency_key)?;
    Ok(draft)
}

/// A key, unless it is left out.
pub(super) fn idempotency_key(key: String) -> Result<Option<Bytes>> {
    match key.len() {
        0 => Ok(None),
        1..=MAX_IDEMPOTENCY_KEY => Ok(Some(key.into())),
        _ => Err(Refusal::invalid(format!("an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} bytes"))),
    }
}

fn into_draft(message: proto::Message) -> Result<Draft> {
    let mut draft = Draft { key: message.key, value: message.value, ..Draft::default() };
    draft.timestamp_ms = message.timestamp.as_ref().map(milliseconds).transpose().map_err(|r| r.within("timestamp"))?;
    for (index, header) in message.headers.iter().enumerate() {
        add_header(&mut draft, header).map_err(|refusal| refusal.within(format_args!("headers[{index}]")))?;
    }
    match message.properties {
        None => Ok(draft),
        Some(properties) => set_properties(draft, *properties),
    }
}

fn set_properties(mut draft: Draft, properties: proto::Properties) -> Result<Draft> {
    let texts = [
        (property::CONTENT_TYPE, properties.content_type),
        (property::CONTENT_ENCODING, properties.content_encoding),
        (property::MESSAGE_ID, properties.message_id),
        (property::CORRELATION_ID, properties.correlation_id),
        (property::REPLY_TO, properties.reply_to),
        (property::MESSAGE_TYPE, properties.r#type),
        (property::APP_ID, properties.app_id),
        (property::USER_ID, properties.user_id),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            set(&mut draft, name, text)?;
        }
    }
    if let Some(ttl) = properties.ttl {
        let ms = whole_milliseconds(&ttl).map_err(|refusal| refusal.within("ttl"))?;
        set(&mut draft, property::TTL_MS, ms.to_string())?;
    }
    if let Some(time) = properties.deliver_at {
        let at_ms = milliseconds(&time).map_err(|refusal| refusal.within("deliver_at"))?;
        set(&mut draft, property::DELIVER_AT, at_ms.to_string())?;
    }
    match properties.priority {
        None => {}
        Some(priority) if priority <= MAX_PRIORITY => set(&mut draft, property::PRIORITY, priority.to_string())?,
        Some(_) => return Err(Refusal::invalid(format!("a priority is a number from 0 to {MAX_PRIORITY}"))),
    }
    Ok(draft)
}

/// Stores a property as the header it is.
fn set(draft: &mut Draft, name: &'static str, value: String) -> Result<()> {
    // A header of that name that has a type is not the property.
    let is_typed = |at: usize| draft.types.iter().any(|(of, _)| *of == at);
    if draft.headers.iter().enumerate().any(|(at, header)| header.name == name.as_bytes() && !is_typed(at)) {
        return Err(Refusal::invalid(format!("header '{name}' is given twice: by its own name and by its field")));
    }
    draft.headers.push(name, Some(value.as_bytes()));
    Ok(())
}

fn whole_milliseconds(time: &prost_types::Duration) -> Result<u64> {
    let time = length(time)?;
    match u64::try_from(time.as_millis()) {
        Ok(ms) if time.subsec_nanos() % 1_000_000 == 0 => Ok(ms),
        Ok(_) => Err(Refusal::invalid("it is finer than a millisecond")),
        Err(_) => Err(Refusal::invalid("it is too long to be counted in milliseconds")),
    }
}

fn add_header(draft: &mut Draft, header: &proto::Header) -> Result<()> {
    let value = header.value.as_ref().map(|value| match value {
        Value::Text(text) => text.as_bytes(),
        Value::Binary(bytes) => bytes,
    });
    if !header.r#type.is_empty() {
        let of = header_type(&header.r#type)?;
        if !value.is_some_and(|value| of.accepts(value)) {
            return Err(Refusal::invalid(format!("the value is not of type {}", of.name())));
        }
        draft.types.push((draft.headers.len(), of));
    }
    draft.headers.push(&header.name, value);
    Ok(())
}

fn header_type(name: &str) -> Result<HeaderType> {
    HeaderType::from_name(name)
        .ok_or_else(|| Refusal::invalid(format!("type is one of {}; leave it out for text", HeaderType::names())))
}

// ---- out ------------------------------------------------------------------------------------------------------------

/// The message of a stored record: published again, it stores the same record.
pub(super) fn message(record: &Record) -> proto::Message {
    let mut message = proto::Message {
        value: record.value.clone(),
        key: record.key.clone(),
        timestamp: Some(timestamp(record.timestamp_ms)),
        ..proto::Message::default()
    };
    if !record.headers.is_empty() {
        show_headers(&record.headers, &mut message);
    }
    message
}

fn show_headers(headers: &Headers, message: &mut proto::Message) {
    let types = read_header_types(headers);
    let typed = typed_headers(headers, types.as_ref());
    // What has a type only happens to have a property's name.
    let property = |header: &Header<'_>, of: Option<&HeaderType>| {
        PROPERTIES.iter().position(|name| of.is_none() && header.name == name.as_bytes())
    };
    let mut times = [0_usize; PROPERTIES.len()];
    typed.clone().filter_map(|(header, of)| property(&header, of)).for_each(|at| times[at] += 1);
    let mut properties = proto::Properties::default();
    for (header, of) in typed {
        // A property is shown in its field if the record has it once.
        let once = property(&header, of).filter(|at| times[*at] == 1);
        if once.and_then(|at| show_property(PROPERTIES[at], header.value, &mut properties)).is_none() {
            message.headers.push(show_header(&header, of));
        }
    }
    message.properties = (properties != proto::Properties::default()).then(|| Box::new(properties));
}

/// Puts a property into its field, if the field can tell exactly what is stored.
fn show_property(name: &str, value: Option<&[u8]>, properties: &mut proto::Properties) -> Option<()> {
    let text = std::str::from_utf8(value?).ok()?;
    let field = match name {
        property::CONTENT_TYPE => &mut properties.content_type,
        property::CONTENT_ENCODING => &mut properties.content_encoding,
        property::MESSAGE_ID => &mut properties.message_id,
        property::CORRELATION_ID => &mut properties.correlation_id,
        property::REPLY_TO => &mut properties.reply_to,
        property::MESSAGE_TYPE => &mut properties.r#type,
        property::APP_ID => &mut properties.app_id,
        property::USER_ID => &mut properties.user_id,
        property::TTL_MS => {
            properties.ttl = Some(duration(Duration::from_millis(exact(text)?)));
            return Some(());
        }
        property::DELIVER_AT => {
            properties.deliver_at = Some(timestamp(exact(text)?));
            return Some(());
        }
        property::PRIORITY => {
            properties.priority = Some(exact(text).filter(|priority| *priority <= MAX_PRIORITY)?);
            return Some(());
        }
        _ => return None,
    };
    *field = Some(text.to_owned());
    Some(())
}

/// The number, if this is how it is written.
fn exact<T: std::str::FromStr + ToString>(text: &str) -> Option<T> {
    text.parse::<T>().ok().filter(|number| number.to_string() == text)
}

fn show_header(header: &Header<'_>, of: Option<&HeaderType>) -> proto::Header {
    let value = header.value.map(|value| match std::str::from_utf8(value) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Binary(Bytes::copy_from_slice(value)),
    });
    // Kafka's own clients write UTF-8 names; a name that is not is refused when it is produced.
    let name = String::from_utf8_lossy(header.name).into_owned();
    proto::Header { name, value, r#type: of.map_or_else(String::new, |of| of.name().into_owned()) }
}

/// Where a dead letter comes from, if the record is one.
pub(super) fn dead_letter(headers: &Headers) -> Option<proto::DeadLetter> {
    let text = |name| std::str::from_utf8(headers.named(name).last()??).ok();
    Some(proto::DeadLetter {
        reason: text(property::DEAD_LETTER_REASON)?.to_owned(),
        topic: text(property::DEAD_LETTER_TOPIC).unwrap_or_default().to_owned(),
        partition: text(property::DEAD_LETTER_PARTITION).and_then(|text| text.parse().ok()),
        offset: text(property::DEAD_LETTER_OFFSET).and_then(|text| text.parse().ok()),
        attempts: text(property::DEAD_LETTER_ATTEMPTS).and_then(|text| text.parse().ok()),
    })
}

/// A record as a reader gets it; what only deliveries have is left out.
pub(super) fn received(topic: &str, partition: u32, record: &Record) -> proto::ReceivedMessage {
    proto::ReceivedMessage {
        message: Some(message(record)),
        topic: topic.to_owned(),
        partition,
        offset: record.offset,
        dead_letter: dead_letter(&record.headers).map(Box::new),
        ..proto::ReceivedMessage::default()
    }
}
