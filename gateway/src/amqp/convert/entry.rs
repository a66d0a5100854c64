//! A record's header as a field of a table.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, BytesMut};

use super::header;
use super::slot::signed_number;
use crate::broker::{HeaderType, NestedVisitor, parse_decimal, property, visit_nested};

/// Writes a header table up to a size; what does not fit is left out.
pub(super) struct TableWriter<'a> {
    out: &'a mut BytesMut,
    /// How long `out` may become.
    end: usize,
    /// How many fields were written.
    pub fields: usize,
    /// How many were left out.
    pub omitted: usize,
}

impl<'a> TableWriter<'a> {
    pub(super) fn new(out: &'a mut BytesMut, end: usize) -> Self {
        Self { out, end, fields: 0, omitted: 0 }
    }

    /// A field whose type and value `value` writes. Its name has at most 255 bytes.
    #[inline]
    pub(super) fn field(&mut self, name: &[u8], value: impl FnOnce(&mut BytesMut)) {
        let before = self.out.len();
        self.out.put_u8(name.len() as u8);
        self.out.extend_from_slice(name);
        value(self.out);
        if self.out.len() > self.end {
            self.out.truncate(before);
            self.omitted += 1;
        } else {
            self.fields += 1;
        }
    }

    /// A header of the record.
    #[inline]
    pub(super) fn header(&mut self, name: &[u8], value: Option<&[u8]>, of: Option<&HeaderType>) {
        let deliver_at = match (of, value) {
            (None, Some(text)) if name == property::DELIVER_AT.as_bytes() => signed_number(text),
            _ => None,
        };
        match deliver_at {
            Some(at_ms) => self.int64(header::DELIVER_AT, at_ms),
            None => self.field(name, |out| put_value(out, value, of)),
        }
    }

    pub(super) fn int64(&mut self, name: &[u8], value: i64) {
        self.field(name, |out| put(out, b'l', value.to_be_bytes()));
    }
}

/// Writes a type and a value of a fixed size.
#[inline]
pub(super) fn put<const N: usize>(out: &mut BytesMut, of: u8, value: [u8; N]) {
    out.put_u8(of);
    out.extend_from_slice(&value);
}

/// Writes a type, a length and bytes.
#[inline]
pub(super) fn put_long(out: &mut BytesMut, of: u8, bytes: &[u8]) {
    out.put_u8(of);
    out.put_u32(bytes.len() as u32);
    out.extend_from_slice(bytes);
}

/// Writes type and value of a header.
#[inline]
pub(super) fn put_value(out: &mut BytesMut, value: Option<&[u8]>, of: Option<&HeaderType>) {
    match (value, of) {
        (None, _) => out.put_u8(b'V'),
        (Some(bytes), None | Some(HeaderType::String)) => put_long(out, b'S', bytes),
        (Some(bytes), Some(HeaderType::Bytes)) => put_long(out, b'x', bytes),
        (Some(bytes), Some(of)) => {
            let at = out.len();
            let is_written = std::str::from_utf8(bytes).is_ok_and(|text| match of {
                HeaderType::Table(_) | HeaderType::Array(_) => put_nested(out, of, text),
                _ => put_scalar(out, of, text).is_some(),
            });
            if !is_written {
                // The types of AMQP do not tell it: a number over 63 bits, a fraction of a second.
                out.truncate(at);
                put_long(out, b'S', bytes);
            }
        }
    }
}

/// Writes a value that is neither table nor array; nothing if AMQP has no such value.
fn put_scalar(out: &mut BytesMut, of: &HeaderType, text: &str) -> Option<()> {
    match of {
        HeaderType::Boolean => put(out, b't', [u8::from(text.parse::<bool>().ok()?)]),
        HeaderType::Int8 => put(out, b'b', text.parse::<i8>().ok()?.to_be_bytes()),
        HeaderType::Uint8 => put(out, b'B', text.parse::<u8>().ok()?.to_be_bytes()),
        HeaderType::Int16 => put(out, b's', text.parse::<i16>().ok()?.to_be_bytes()),
        HeaderType::Uint16 => put(out, b'u', text.parse::<u16>().ok()?.to_be_bytes()),
        HeaderType::Int32 => put(out, b'I', text.parse::<i32>().ok()?.to_be_bytes()),
        HeaderType::Uint32 => put(out, b'i', text.parse::<u32>().ok()?.to_be_bytes()),
        HeaderType::Int64 | HeaderType::Uint64 => put(out, b'l', text.parse::<i64>().ok()?.to_be_bytes()),
        HeaderType::Float => put(out, b'f', text.parse::<f32>().ok()?.to_be_bytes()),
        HeaderType::Double => put(out, b'd', text.parse::<f64>().ok()?.to_be_bytes()),
        HeaderType::FloatNan(bits) => put(out, b'f', bits.to_be_bytes()),
        HeaderType::DoubleNan(bits) => put(out, b'd', bits.to_be_bytes()),
        HeaderType::Timestamp => put(out, b'T', seconds(text)?.to_be_bytes()),
        HeaderType::Decimal => {
            let (scale, value) = parse_decimal(text)?;
            put(out, b'D', [scale]);
            out.put_i32(value);
        }
        HeaderType::String => put_long(out, b'S', text.as_bytes()),
        HeaderType::Base64 => put_long(out, b'S', &BASE64_STANDARD.decode(text).ok()?),
        HeaderType::Bytes => put_long(out, b'x', &BASE64_STANDARD.decode(text).ok()?),
        HeaderType::Void => out.put_u8(b'V'),
        HeaderType::Table(_) | HeaderType::Array(_) => return None,
    }
    Some(())
}

/// Whole seconds since the Unix epoch.
fn seconds(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let time = text.parse::<jiff::Timestamp>().ok()?;
    if time.subsec_nanosecond() == 0 { u64::try_from(time.as_second()).ok() } else { None }
}

fn put_nested(out: &mut BytesMut, of: &HeaderType, json: &str) -> bool {
    let mut writer = NestedWriter { out, open: Vec::new(), is_possible: true };
    visit_nested(of, json, &mut writer) && writer.is_possible
}

/// Writes tables and arrays as they are read.
struct NestedWriter<'a> {
    out: &'a mut BytesMut,
    /// Where the lengths are that are not known yet.
    open: Vec<usize>,
    /// No name is too long for a table.
    is_possible: bool,
}

impl NestedVisitor for NestedWriter<'_> {
    fn name(&mut self, name: &str) {
        match u8::try_from(name.len()) {
            Ok(length) => {
                self.out.put_u8(length);
                self.out.extend_from_slice(name.as_bytes());
            }
            Err(_) => self.is_possible = false,
        }
    }

    fn value(&mut self, of: &HeaderType, text: &str) -> bool {
        if put_scalar(self.out, of, text).is_some() {
            return true;
        }
        put_long(self.out, b'S', text.as_bytes());
        of.accepts(text.as_bytes())
    }

    fn begin(&mut self, of: &HeaderType) {
        self.out.put_u8(if matches!(of, HeaderType::Table(_)) { b'F' } else { b'A' });
        self.open.push(self.out.len());
        self.out.put_u32(0);
    }

    fn end(&mut self) {
        if let Some(at) = self.open.pop() {
            let length = (self.out.len() - at - 4) as u32;
            self.out[at..at + 4].copy_from_slice(&length.to_be_bytes());
        }
    }
}
