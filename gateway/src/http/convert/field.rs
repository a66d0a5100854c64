//! Messages as a raw body and HTTP header fields.
//!
//! | field | meaning |
//! |---|---|
//! | `Tidegate-Key`, `-Partition`, `-Timestamp`, `-Delay`, `-Tombstone` | what a record has besides headers |
//! | `Content-Type`, `Tidegate-Ttl`, … | properties, see [`super::PROPERTIES`] |
//! | `Tidegate-Header-<name>` | any other header. HTTP does not keep the case of names, so what is not a lower-case token is percent-encoded in the name |
//! | `Tidegate-Base64-Key`, `Tidegate-Base64-Header-<name>` | the same where the value cannot be an HTTP field |
//! | `Tidegate-Null-Header-<name>` | a header without a value, which Kafka tells from an empty one |
//! | `ce-<attribute>` | CloudEvents in binary mode; `ce_<attribute>` in the record, as CloudEvents' Kafka binding has it |
//! | `traceparent`, `tracestate`, `baggage` | W3C Trace Context, as they are |
//!
//! Headers of one name keep their order as far as they take the same form; HTTP does not order fields of different names.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tidegate_engine::batch::{Header, Record};

use super::{Draft, PROPERTIES, parse_time, print_time, property_index, shown};
use crate::broker::{read_header_types, typed_headers};
use crate::http::error::{Problem, Result};
use crate::units;

/// Fields kept under their own names.
const TRACE: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// What a name keeps as it is: lower case letters, digits and most punctuation of a token.
const NAME: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'*')
    .remove(b'+');

/// CloudEvents HTTP binding 3.1.3.2: space, double quote, percent, and what is not printable ASCII.
const CLOUD_EVENT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

impl Draft {
    /// A message from the fields and the body of a publish.
    ///
    /// # Errors
    /// 400 for a field that is malformed, given twice, or unknown (`Tidegate-…`).
    pub(in crate::http) fn from_fields(fields: &HeaderMap, body: Bytes) -> Result<Self> {
        let mut draft = Self { value: Some(body), ..Self::default() };
        for (name, value) in fields {
            draft.take_field(name.as_str(), value).map_err(|problem| problem.within(name))?;
        }
        draft.check()
    }

    fn take_field(&mut self, name: &str, value: &HeaderValue) -> Result<()> {
        if let Some(rest) = name.strip_prefix("tidegate-") {
            return self.take_own(name, rest, value);
        }
        if let Some(attribute) = name.strip_prefix("ce-") {
            self.headers.push(&format!("ce_{attribute}"), Some(&cloud_event(value)));
        } else if let Some(trace) = TRACE.iter().find(|trace| **trace == name) {
            self.headers.push(trace, Some(value.as_bytes()));
        } else if name == "idempotency-key" {
            once(&mut self.idempotency_key, idempotency_key(value)?)?;
        } else if let Some(property) = PROPERTIES.iter().find(|property| property.field == name) {
            self.set(property, text(value)?)?;
        }
        Ok(())
    }

    /// A field of our own: `rest` is its name without `tidegate-`.
    fn take_own(&mut self, name: &str, rest: &str, value: &HeaderValue) -> Result<()> {
        match rest {
            "key" => once(&mut self.key, Bytes::copy_from_slice(value.as_bytes())),
            "base64-key" => once(&mut self.key, base64(value)?),
            "partition" => once(&mut self.partition, parse(value, "a partition is a number from 0")?),
            "timestamp" => once(&mut self.timestamp_ms, parse_time(text(value)?).map_err(Problem::invalid)?),
            "delay" => {
                let delay = units::parse_duration(text(value)?);
                once(&mut self.delay, delay.map_err(|error| Problem::invalid(error.to_string()))?)
            }
            "tombstone" => self.take_tombstone(value),
            _ => match PROPERTIES.iter().find(|property| property.field == name) {
                Some(property) => self.set(property, text(value)?),
                None => self.take_header(rest, value),
            },
        }
    }

    fn take_tombstone(&mut self, value: &HeaderValue) -> Result<()> {
        if parse(value, "write true or false")? && self.value.take().is_none_or(|body| !body.is_empty()) {
            return Err(Problem::invalid("a tombstone has no body"));
        }
        Ok(())
    }

    fn take_header(&mut self, rest: &str, value: &HeaderValue) -> Result<()> {
        let (name, value) = if let Some(name) = rest.strip_prefix("header-") {
            (name, Some(Bytes::copy_from_slice(value.as_bytes())))
        } else if let Some(name) = rest.strip_prefix("base64-header-") {
            (name, Some(base64(value)?))
        } else if let Some(name) = rest.strip_prefix("null-header-") {
            if !value.is_empty() {
                return Err(Problem::invalid(
                    "it says that there is no value: leave it empty, or use Tidegate-Header-<name>",
                ));
            }
            (name, None)
        } else {
            return Err(Problem::invalid(
                "this version has no such field; a header of your own goes into Tidegate-Header-<name>",
            ));
        };
        let name = percent_decode_str(name).decode_utf8().map_err(|_| Problem::invalid("the name is not UTF-8"))?;
        self.headers.push(&name, value.as_deref());
        Ok(())
    }
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Problem::invalid("it is given twice")),
    }
}

fn text(value: &HeaderValue) -> Result<&str> {
    std::str::from_utf8(value.as_bytes()).map_err(|_| Problem::invalid("it is not UTF-8"))
}

fn parse<T: std::str::FromStr>(value: &HeaderValue, expected: &str) -> Result<T> {
    text(value)?.parse().map_err(|_| Problem::invalid(expected))
}

fn base64(value: &HeaderValue) -> Result<Bytes> {
    let decoded = BASE64_STANDARD.decode(value.as_bytes());
    decoded.map(Bytes::from).map_err(|error| Problem::invalid(format!("it is not base64: {error}")))
}

/// The longest idempotency key.
const MAX_IDEMPOTENCY_KEY: usize = 255;

pub(in crate::http) fn idempotency_key(value: &HeaderValue) -> Result<Bytes> {
    match value.len() {
        1..=MAX_IDEMPOTENCY_KEY => Ok(Bytes::copy_from_slice(value.as_bytes())),
        _ => Err(Problem::invalid(format!("an idempotency key has 1 to {MAX_IDEMPOTENCY_KEY} bytes"))),
    }
}

fn cloud_event(value: &HeaderValue) -> Cow<'_, [u8]> {
    let bytes = value.as_bytes();
    let decoded = Cow::from(percent_encoding::percent_decode(bytes));
    // What does not decode to text was not encoded as CloudEvents has it: kept as it came.
    if std::str::from_utf8(&decoded).is_ok() { decoded } else { bytes.into() }
}

/// The fields and the body of a stored record: the mirror of [`Draft::from_fields`].
pub(in crate::http) fn fields_of(record: &Record) -> (HeaderMap, Bytes) {
    let mut fields = Fields(HeaderMap::with_capacity(record.headers.len() + 4));
    fields.put("tidegate-timestamp", print_time(record.timestamp_ms).as_bytes());
    if let Some(key) = &record.key {
        fields.put_or_base64("", "key", key);
    }
    if record.value.is_none() {
        fields.put("tidegate-tombstone", b"true");
    }
    let shown = shown(&record.headers);
    // Fields are text: types have no place among them.
    let types = read_header_types(&record.headers);
    for (header, _) in typed_headers(&record.headers, types.as_ref()) {
        let property = property_index(&header).and_then(|index| Some((&PROPERTIES[index], shown[index].as_deref()?)));
        match property {
            Some((property, text)) if is_field(text.as_bytes()) => fields.put(property.field, text.as_bytes()),
            _ => fields.put_header(&header),
        }
    }
    (fields.0, record.value.clone().unwrap_or_default())
}

struct Fields(HeaderMap);

impl Fields {
    /// Adds a field whose name and value are known to be possible.
    fn put(&mut self, name: &str, value: &[u8]) {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) {
            self.0.append(name, value);
        }
    }

    fn put_or_base64(&mut self, prefix: &str, name: &str, value: &[u8]) {
        if is_field(value) {
            self.put(&format!("tidegate-{prefix}{name}"), value);
        } else {
            self.put(&format!("tidegate-base64-{prefix}{name}"), BASE64_STANDARD.encode(value).as_bytes());
        }
    }

    fn put_header(&mut self, header: &Header<'_>) {
        // Kafka's own clients write UTF-8 names; a name that is not cannot be told from one that is by anybody.
        let name = String::from_utf8_lossy(header.name);
        let Some(value) = header.value else {
            return self.put(&format!("tidegate-null-header-{}", encode_name(&name)), b"");
        };
        match name.strip_prefix("ce_") {
            Some(attribute) if is_attribute(attribute) => match std::str::from_utf8(value) {
                Ok(text) => {
                    let encoded = utf8_percent_encode(text, CLOUD_EVENT).to_string();
                    self.put(&format!("ce-{attribute}"), encoded.as_bytes());
                }
                Err(_) => self.put_or_base64("header-", &encode_name(&name), value),
            },
            _ if TRACE.contains(&&*name) && is_field(value) => self.put(&name, value),
            _ => self.put_or_base64("header-", &encode_name(&name), value),
        }
    }
}

/// CloudEvents attribute names are lower-case letters and digits; what else a field's name keeps is let through.
fn is_attribute(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

fn encode_name(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            encoded.push_str(&format!("%{:02X}", u32::from(c)));
        } else {
            encoded.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NAME));
        }
    }
    encoded
}

/// Whether HTTP delivers these bytes as a field's value unchanged: no control character but tab, no blank at an end.
fn is_field(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !blank(value.first()) && !blank(value.last()) && HeaderValue::from_bytes(value).is_ok()
}
