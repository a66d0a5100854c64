//! A field's value as a record has it: text, and what type the text does not tell.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::slot::is_reserved;
use crate::amqp::codec::RawValue;
use crate::broker::HeaderType;

/// Writes what a header's value is stored as. Nothing is written for [`RawValue::Void`], which is stored as null.
pub(super) fn write_text(value: &RawValue<'_>, to: &mut Vec<u8>) {
    match value {
        RawValue::LongString(bytes) | RawValue::Bytes(bytes) => to.extend_from_slice(bytes),
        RawValue::Timestamp(seconds) => write_time(*seconds, to),
        RawValue::Float(value) => drop(write!(to, "{value:?}")),
        RawValue::Double(value) => drop(write!(to, "{value:?}")),
        RawValue::Void => {}
        _ => write_json(value, to),
    }
}

/// RFC 3339, or the seconds themselves where years have more than four digits.
fn write_time(seconds: u64, to: &mut Vec<u8>) {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let _ = match time {
        Some(time) => write!(to, "{time}"),
        None => write!(to, "{seconds}"),
    };
}

/// Writes a value within a table or an array.
fn write_json(value: &RawValue<'_>, to: &mut Vec<u8>) {
    // Writing to memory does not fail.
    let _ = match value {
        RawValue::Boolean(value) => write!(to, "{value}"),
        RawValue::Int8(value) => write!(to, "{value}"),
        RawValue::Uint8(value) => write!(to, "{value}"),
        RawValue::Int16(value) => write!(to, "{value}"),
        RawValue::Uint16(value) => write!(to, "{value}"),
        RawValue::Int32(value) => write!(to, "{value}"),
        RawValue::Uint32(value) => write!(to, "{value}"),
        RawValue::Int64(value) => write!(to, "{value}"),
        RawValue::Float(value) if value.is_finite() => write!(to, "{value:?}"),
        RawValue::Float(value) => write!(to, "\"{value:?}\""),
        RawValue::Double(value) if value.is_finite() => write!(to, "{value:?}"),
        RawValue::Double(value) => write!(to, "\"{value:?}\""),
        RawValue::Decimal(scale, value) => {
            write_decimal(*scale, value.cast_signed(), to);
            Ok(())
        }
        RawValue::LongString(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => serde_json::to_writer(to, text).map_err(Into::into),
            Err(_) => write!(to, "\"{}\"", BASE64_STANDARD.encode(bytes)),
        },
        RawValue::Bytes(bytes) => write!(to, "\"{}\"", BASE64_STANDARD.encode(bytes)),
        RawValue::Timestamp(seconds) => {
            to.push(b'"');
            write_time(*seconds, to);
            to.push(b'"');
            Ok(())
        }
        RawValue::Void => write!(to, "null"),
        RawValue::Array(array) => {
            write_list(to, [b'[', b']'], array.iter(), |value, to| write_json(&value, to));
            Ok(())
        }
        RawValue::Table(table) => {
            write_list(to, [b'{', b'}'], table.iter(), |(name, value), to| {
                // Names of a checked table are UTF-8.
                let _ = serde_json::to_writer(&mut *to, &String::from_utf8_lossy(name));
                to.push(b':');
                write_json(&value, to);
            });
            Ok(())
        }
    };
}

fn write_list<T>(
    to: &mut Vec<u8>,
    [open, close]: [u8; 2],
    of: impl Iterator<Item = T>,
    mut write: impl FnMut(T, &mut Vec<u8>),
) {
    to.push(open);
    for (index, one) in of.enumerate() {
        if index > 0 {
            to.push(b',');
        }
        write(one, to);
    }
    to.push(close);
}

/// `-150` with a scale of 2 is `-1.50`.
fn write_decimal(scale: u8, value: i32, to: &mut Vec<u8>) {
    if value < 0 {
        to.push(b'-');
    }
    let (width, digits) = (usize::from(scale) + 1, value.unsigned_abs());
    let _ = write!(to, "{digits:0width$}");
    if scale > 0 {
        to.insert(to.len() - usize::from(scale), b'.');
    }
}

/// Whether a header needs a type.
#[inline]
pub(super) fn is_typed(name: &[u8], value: &RawValue<'_>) -> bool {
    match value {
        RawValue::LongString(_) => is_reserved(name),
        RawValue::Void => false,
        _ => true,
    }
}

/// Writes the name of a header's type, see [`HeaderType`].
pub(super) fn write_type(value: &RawValue<'_>, to: &mut Vec<u8>) {
    let name = match value {
        RawValue::Boolean(_) => "boolean",
        RawValue::Int8(_) => "int8",
        RawValue::Uint8(_) => "uint8",
        RawValue::Int16(_) => "int16",
        RawValue::Uint16(_) => "uint16",
        RawValue::Int32(_) => "int32",
        RawValue::Uint32(_) => "uint32",
        RawValue::Int64(_) => "int64",
        RawValue::Float(value) if value.is_nan() => return write_composed(&HeaderType::of_float(*value), to),
        RawValue::Float(_) => "float",
        RawValue::Double(value) if value.is_nan() => return write_composed(&HeaderType::of_double(*value), to),
        RawValue::Double(_) => "double",
        RawValue::Decimal(..) => "decimal",
        RawValue::LongString(_) => "string",
        RawValue::Timestamp(_) => "timestamp",
        RawValue::Void => "void",
        RawValue::Bytes(_) => "bytes",
        RawValue::Array(array) => {
            to.extend_from_slice(b"array");
            return write_list(to, [b'(', b')'], array.iter(), |value, to| write_inner_type(&value, to));
        }
        RawValue::Table(table) => {
            to.extend_from_slice(b"table");
            return write_list(to, [b'(', b')'], table.iter(), |(_, value), to| write_inner_type(&value, to));
        }
    };
    to.extend_from_slice(name.as_bytes());
}

/// Within tables and arrays everything is text, so that what is not must be told.
fn write_inner_type(value: &RawValue<'_>, to: &mut Vec<u8>) {
    match value {
        RawValue::LongString(bytes) if std::str::from_utf8(bytes).is_err() => to.extend_from_slice(b"base64"),
        _ => write_type(value, to),
    }
}

fn write_composed(of: &HeaderType, to: &mut Vec<u8>) {
    to.extend_from_slice(of.name().as_bytes());
}
