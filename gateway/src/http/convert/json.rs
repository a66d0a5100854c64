//! Messages in JSON: [`MessageBody`] is what a publisher sends, [`MessageView`] what a reader gets. A reader's message,
//! without what only readers have (`id`, `topic`, `offset`, `ack_id`, …), is a publisher's message that stores the same
//! record again.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tidegate_engine::batch::{Header, Headers, Record};
use utoipa::ToSchema;

use super::{Draft, PROPERTIES, parse_time, print_time, property_index, shown};
use crate::broker::{HeaderType, property, read_header_types, typed_headers};
use crate::http::error::{Problem, Result};
use crate::http::extract::object;
use crate::http::schema::{DurationText, IdempotencyKeyText, TimeText};
use crate::units;

/// A message to publish. Its body is one of `value`, `text` and `base64`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageBody<'a> {
    /// The key; its bytes are the text's UTF-8.
    key: Option<String>,
    /// The key in base64, if it is not text.
    key_base64: Option<String>,
    /// The body as JSON of any kind, stored as it is written here; `content_type` is then `application/json` unless
    /// given. Null is a tombstone: it marks the key as deleted.
    #[serde(borrow, default, deserialize_with = "present")]
    #[schema(value_type = Value, required = false)]
    value: Option<&'a RawValue>,
    /// The body as text.
    text: Option<String>,
    /// The body in base64.
    base64: Option<String>,
    /// Headers, in order. Names may repeat.
    #[serde(borrow, default)]
    headers: Vec<HeaderBody<'a>>,
    /// The partition; by key if not given, in turn without a key.
    partition: Option<u32>,
    /// When it happened. Now if not given.
    timestamp: Option<TimeBody>,
    /// MIME type of the body.
    content_type: Option<String>,
    /// Encoding of the body, such as gzip.
    content_encoding: Option<String>,
    /// The publisher's id of the message.
    message_id: Option<String>,
    /// Ties a reply to its request.
    correlation_id: Option<String>,
    /// Where a reply should go.
    reply_to: Option<String>,
    /// Time to live, such as 30s.
    #[schema(value_type = Option<DurationText>)]
    ttl: Option<String>,
    /// Not delivered before this time.
    #[schema(value_type = Option<TimeText>)]
    deliver_at: Option<String>,
    /// Not delivered for so long, such as 5m; another way to give `deliver_at`.
    #[schema(value_type = Option<DurationText>)]
    delay: Option<String>,
    /// 0 to 31.
    #[schema(maximum = 31)]
    priority: Option<u8>,
    /// The application's type of the message.
    #[serde(rename = "type")]
    message_type: Option<String>,
    /// The publishing application.
    app_id: Option<String>,
    /// The publishing user.
    user_id: Option<String>,
    /// A message with the same key in the same topic is stored once, however often it is sent (within the window).
    #[schema(value_type = Option<IdempotencyKeyText>)]
    idempotency_key: Option<String>,
}

/// A header to publish: a name and one of `value` and `base64`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeaderBody<'a> {
    /// The name.
    name: String,
    /// Text, a number or a boolean; an object or an array with the type of what is in it; null for a header without a
    /// value.
    #[serde(borrow, default, deserialize_with = "present")]
    #[schema(value_type = Value, required = false)]
    value: Option<&'a RawValue>,
    /// The value in base64.
    base64: Option<String>,
    /// What `value` stands for: boolean, int8 to int64, uint8 to uint64, float, double, decimal, timestamp, string, bytes;
    /// `table(…)` for an object and `array(…)` for an array, with the types of what is in it, such as
    /// `table(int32,array(string))`. Text if not given; a number is then int64, uint64 or double.
    #[serde(rename = "type")]
    #[schema(value_type = Option<String>)]
    of: Option<String>,
}

/// A time: as text, or a number of milliseconds since 1970.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a time: RFC 3339 text, or a number of milliseconds since 1970")]
enum TimeBody {
    Milliseconds(i64),
    Text(TimeText),
}

/// Tells null, which is a value here, from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Draft {
    /// A message from its JSON.
    ///
    /// # Errors
    /// 400 says what is wrong.
    pub(in crate::http) fn from_json(json: &RawValue) -> Result<Self> {
        object::<MessageBody<'_>>(json.get().as_bytes())?.into_draft()
    }
}

impl MessageBody<'_> {
    fn into_draft(mut self) -> Result<Draft> {
        let mut draft = Draft {
            key: either("key", self.key.take(), self.key_base64.take())?,
            timestamp_ms: self.timestamp.take().map(TimeBody::milliseconds).transpose()?,
            partition: self.partition,
            delay: self.delay.take().map(|delay| parse_delay(&delay)).transpose()?,
            idempotency_key: self.idempotency_key.take().map(idempotency_key).transpose()?,
            ..Draft::default()
        };
        for (index, header) in std::mem::take(&mut self.headers).into_iter().enumerate() {
            header.add_to(&mut draft).map_err(|e| e.within(format_args!("headers[{index}]")))?;
        }
        if self.value.is_some_and(|value| value.get() != "null") && self.content_type.is_none() {
            self.content_type = Some("application/json".to_owned());
        }
        for (property, text) in PROPERTIES.iter().zip(self.properties()) {
            if let Some(text) = text {
                draft.set(property, &text)?;
            }
        }
        draft.value = self.body()?;
        draft.check()
    }

    /// In the order of [`PROPERTIES`].
    fn properties(&mut self) -> [Option<String>; PROPERTIES.len()] {
        [
            self.content_type.take(),
            self.content_encoding.take(),
            self.message_id.take(),
            self.correlation_id.take(),
            self.reply_to.take(),
            self.ttl.take(),
            self.deliver_at.take(),
            self.priority.map(|priority| priority.to_string()),
            self.message_type.take(),
            self.app_id.take(),
            self.user_id.take(),
        ]
    }

    fn body(self) -> Result<Option<Bytes>> {
        match (self.value, self.text, self.base64) {
            (Some(json), None, None) if json.get() == "null" => Ok(None),
            (Some(json), None, None) => Ok(Some(Bytes::copy_from_slice(json.get().as_bytes()))),
            (None, Some(text), None) => Ok(Some(text.into())),
            (None, None, Some(base64)) => decode("base64", &base64).map(Some),
            (None, None, None) => {
                Err(Problem::invalid("there is no body: give value, text or base64 (value null is a tombstone)"))
            }
            _ => Err(Problem::invalid("there are two bodies: give one of value, text and base64")),
        }
    }
}

fn parse_delay(text: &str) -> Result<std::time::Duration> {
    units::parse_duration(text).map_err(|error| Problem::invalid(error.to_string()).within("delay"))
}

fn idempotency_key(key: String) -> Result<Bytes> {
    match key.len() {
        1..=255 => Ok(key.into()),
        _ => Err(Problem::invalid("idempotency_key has 1 to 255 bytes")),
    }
}

fn either(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Bytes>> {
    match (text, base64) {
        (text, None) => Ok(text.map(Bytes::from)),
        (None, Some(base64)) => decode(name, &base64).map(Some),
        (Some(_), Some(_)) => Err(Problem::invalid(format!("{name} is given twice, as text and in base64"))),
    }
}

fn decode(name: &str, base64: &str) -> Result<Bytes> {
    let decoded = BASE64_STANDARD.decode(base64);
    decoded.map(Bytes::from).map_err(|error| Problem::invalid(format!("{name} is not base64: {error}")))
}

impl TimeBody {
    fn milliseconds(self) -> Result<i64> {
        match self {
            Self::Milliseconds(ms) => Ok(ms),
            Self::Text(TimeText(text)) => {
                parse_time(&text).map_err(|reason| Problem::invalid(reason).within("timestamp"))
            }
        }
    }
}

impl HeaderBody<'_> {
    fn add_to(self, draft: &mut Draft) -> Result<()> {
        let given = self.of.as_deref().map(header_type).transpose()?;
        let (value, implied) = match (self.value, self.base64) {
            (Some(json), None) => header_value(json, given.as_ref())?,
            (None, Some(base64)) => (Some(decode("base64", &base64)?), None),
            _ => return Err(Problem::invalid("give one of value and base64")),
        };
        if let Some(of) = &given
            && !value.as_deref().is_some_and(|value| of.accepts(value))
        {
            return Err(Problem::invalid(format!("the value is not of type {}", of.name())));
        }
        draft.types.extend(given.or(implied).map(|of| (draft.headers.len(), of)));
        draft.headers.push(&self.name, value.as_deref());
        Ok(())
    }
}

fn header_type(name: &str) -> Result<HeaderType> {
    HeaderType::from_name(name)
        .ok_or_else(|| Problem::invalid(format!("type is one of {}; leave it out for text", HeaderType::names())))
}

/// The stored text of a JSON value, and the type that goes without saying.
fn header_value(json: &RawValue, given: Option<&HeaderType>) -> Result<(Option<Bytes>, Option<HeaderType>)> {
    let raw = json.get();
    let implied = match raw.as_bytes().first() {
        Some(b'"') => {
            let text: String = serde_json::from_str(raw).map_err(|error| Problem::invalid(error.to_string()))?;
            return Ok((Some(text.into()), None));
        }
        Some(b'n') => return Ok((None, None)),
        Some(b't' | b'f') => Some(HeaderType::Boolean),
        Some(b'[' | b'{') if given.is_some() => None,
        Some(b'[' | b'{') | None => {
            let hint = "an object or an array needs a type, such as table(int32,string)";
            return Err(Problem::invalid(format!("a value is text, a number, a boolean or null; {hint}")));
        }
        Some(_) => {
            let fitting = [HeaderType::Int64, HeaderType::Uint64].into_iter().find(|of| of.accepts(raw.as_bytes()));
            fitting.or(Some(HeaderType::Double))
        }
    };
    Ok((Some(Bytes::copy_from_slice(raw.as_bytes())), implied))
}

// ---- out ------------------------------------------------------------------------------------------------------------

/// A stored message. Its body is in one of `value`, `text` and `base64`.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageView<'a> {
    /// Partition and offset, as in the message's address.
    pub(in crate::http) id: String,
    /// Its topic.
    pub(in crate::http) topic: &'a str,
    /// Its partition's index.
    pub(in crate::http) partition: u32,
    /// Its offset in the partition.
    pub(in crate::http) offset: u64,
    /// When it happened, RFC 3339 (milliseconds since 1970 outside the years that can tell).
    timestamp: String,
    /// Where a stream goes on after this message; in server-sent events it is the event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::http) cursor: Option<String>,
    /// Delivered to a group: names this delivery when it is settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_id: Option<String>,
    /// Delivered to a group: 1 for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempt: Option<u32>,
    /// Delivered to a group: when the message is delivered again if it has not been settled, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    ack_deadline: Option<String>,
    /// The key, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The key in base64, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    /// The body, if its content type is JSON and it is JSON on one line; null is a tombstone.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    value: Option<JsonOrNull<'a>>,
    /// The body, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The body in base64, if it is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// Headers without a field of their own, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    headers: Vec<HeaderView<'a>>,
    #[serde(flatten)]
    properties: PropertiesView<'a>,
    /// Why and from where it came to a dead-letter topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<DeadLetterView<'a>>,
}

/// What only a message delivered to a group has.
#[derive(Debug)]
pub(in crate::http) struct Delivered {
    pub ack_id: String,
    pub attempt: u32,
    pub deadline_ms: i64,
}

/// Properties, as a publisher gives them.
#[derive(Debug, Serialize, ToSchema)]
#[allow(missing_docs)]
pub struct PropertiesView<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_encoding: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    message_type: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
}

/// A header: one of `value` and `base64`.
#[derive(Debug, Serialize, ToSchema)]
pub struct HeaderView<'a> {
    /// The name.
    name: Cow<'a, str>,
    /// Text, a number, a boolean, an object or an array; null for a header without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    value: Option<HeaderValueView<'a>>,
    /// The value in base64, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    /// What the value stands for, if not text.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    of: Option<Cow<'static, str>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum JsonOrNull<'a> {
    Json(&'a RawValue),
    Null,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum HeaderValueView<'a> {
    Text(&'a str),
    Json(&'a RawValue),
    Null,
}

/// Where a dead letter comes from; its headers say the same.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeadLetterView<'a> {
    /// Why it was given up.
    reason: &'a str,
    /// The topic it came from.
    topic: Option<&'a str>,
    /// The partition it came from.
    partition: Option<u32>,
    /// The offset it had there.
    offset: Option<u64>,
    /// How often it was tried.
    attempts: Option<u32>,
}

impl<'a> MessageView<'a> {
    /// How a record of a partition is shown.
    pub(in crate::http) fn new(
        topic: &'a str,
        partition: u32,
        record: &'a Record,
        delivered: Option<Delivered>,
    ) -> Self {
        let mut shown = shown(&record.headers);
        let types = read_header_types(&record.headers);
        let typed = typed_headers(&record.headers, types.as_ref());
        for (header, _) in typed.clone().filter(|(_, of)| of.is_some()) {
            // A field of its own would not tell the type.
            if let Some(property) = property_index(&header) {
                shown[property] = None;
            }
        }
        let has_own_field = |header: &Header<'_>| property_index(header).is_some_and(|at| shown[at].is_some());
        let others = typed.filter(|(header, _)| !has_own_field(header));
        let headers = others.map(|(header, of)| HeaderView::new(&header, of)).collect();
        let properties = PropertiesView::new(shown);
        let body = BodyView::new(record.value.as_deref(), properties.content_type.as_deref());
        let delivery_attempt = delivered.as_ref().map(|of| of.attempt);
        let ack_deadline = delivered.as_ref().map(|of| print_time(of.deadline_ms));
        let ack_id = delivered.map(|of| of.ack_id);
        let key = record.key.as_deref();
        let key_text = key.and_then(|key| std::str::from_utf8(key).ok());
        Self {
            id: message_id(partition, record.offset),
            topic,
            partition,
            offset: record.offset,
            timestamp: print_time(record.timestamp_ms),
            cursor: None,
            ack_id,
            delivery_attempt,
            ack_deadline,
            key: key_text,
            key_base64: key.filter(|_| key_text.is_none()).map(|key| BASE64_STANDARD.encode(key)),
            value: body.value,
            text: body.text,
            base64: body.base64,
            headers,
            properties,
            dead_letter: DeadLetterView::new(&record.headers),
        }
    }
}

/// How a message is named within its topic.
pub(in crate::http) fn message_id(partition: u32, offset: u64) -> String {
    format!("{partition}-{offset}")
}

#[derive(Default)]
struct BodyView<'a> {
    value: Option<JsonOrNull<'a>>,
    text: Option<&'a str>,
    base64: Option<String>,
}

impl<'a> BodyView<'a> {
    fn new(body: Option<&'a [u8]>, content_type: Option<&str>) -> Self {
        let Some(body) = body else { return Self { value: Some(JsonOrNull::Null), ..Self::default() } };
        let Ok(text) = std::str::from_utf8(body) else {
            return Self { base64: Some(BASE64_STANDARD.encode(body)), ..Self::default() };
        };
        match content_type.filter(|of| is_json(of)).and_then(|_| one_line_json(text)) {
            Some(json) => Self { value: Some(JsonOrNull::Json(json)), ..Self::default() },
            None => Self { text: Some(text), ..Self::default() },
        }
    }
}

/// `application/json` and everything that ends in `+json`.
pub(in crate::http) fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence
            .len()
            .checked_sub(5)
            .and_then(|at| essence.get(at..))
            .is_some_and(|s| s.eq_ignore_ascii_case("+json"))
}

/// JSON that can be put into JSON on one line and comes out byte for byte. Null is not: it would be a tombstone.
fn one_line_json(text: &str) -> Option<&RawValue> {
    if text.bytes().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return None;
    }
    let json: &RawValue = serde_json::from_str(text).ok()?;
    (json.get().len() == text.len() && text != "null").then_some(json)
}

impl<'a> PropertiesView<'a> {
    /// From the order of [`PROPERTIES`].
    fn new(shown: super::Shown<'a>) -> Self {
        let [
            content_type,
            content_encoding,
            message_id,
            correlation_id,
            reply_to,
            ttl,
            deliver_at,
            priority,
            message_type,
            app_id,
            user_id,
        ] = shown;
        let priority = priority.and_then(|priority| priority.parse().ok());
        Self {
            content_type,
            content_encoding,
            message_id,
            correlation_id,
            reply_to,
            ttl,
            deliver_at,
            priority,
            message_type,
            app_id,
            user_id,
        }
    }
}

impl<'a> HeaderView<'a> {
    fn new(header: &Header<'a>, of: Option<&HeaderType>) -> Self {
        let name = String::from_utf8_lossy(header.name);
        let text = header.value.map(|value| std::str::from_utf8(value).map_err(|_| value));
        let (value, base64) = match text {
            None => (Some(HeaderValueView::Null), None),
            Some(Ok(text)) => (Some(header_value_view(text, of)), None),
            Some(Err(value)) => (None, Some(BASE64_STANDARD.encode(value))),
        };
        Self { name, value, base64, of: of.map(HeaderType::name) }
    }
}

/// Numbers, booleans, tables and arrays as JSON has them, as far as it does.
fn header_value_view<'a>(text: &'a str, of: Option<&HeaderType>) -> HeaderValueView<'a> {
    let json = match of {
        None | Some(HeaderType::Timestamp | HeaderType::String | HeaderType::Bytes) => None,
        Some(_) => one_line_json(text),
    };
    json.map_or(HeaderValueView::Text(text), HeaderValueView::Json)
}

impl<'a> DeadLetterView<'a> {
    fn new(headers: &'a Headers) -> Option<Self> {
        let text = |name| std::str::from_utf8(headers.named(name).last()??).ok();
        Some(Self {
            reason: text(property::DEAD_LETTER_REASON)?,
            topic: text(property::DEAD_LETTER_TOPIC),
            partition: text(property::DEAD_LETTER_PARTITION).and_then(|text| text.parse().ok()),
            offset: text(property::DEAD_LETTER_OFFSET).and_then(|text| text.parse().ok()),
            attempts: text(property::DEAD_LETTER_ATTEMPTS).and_then(|text| text.parse().ok()),
        })
    }
}
