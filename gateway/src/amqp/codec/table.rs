//! Field tables, decoded: for the arguments of methods. Those of messages stay where they lie, see [`super::RawTable`].

use bytes::{BufMut, Bytes, BytesMut};

use super::field::{put_long, put_short};
use super::{RawArray, RawTable, RawValue, Text};

/// A field table. Order and duplicates are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub Vec<(Text, Value)>);

/// A field's value. The types are RabbitMQ's, which differ from the specification's in a few letters.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `t`
    Boolean(bool),
    /// `b`
    Int8(i8),
    /// `B`
    Uint8(u8),
    /// `s`
    Int16(i16),
    /// `u`
    Uint16(u16),
    /// `I`
    Int32(i32),
    /// `i`
    Uint32(u32),
    /// `l`; `L` is read as the same
    Int64(i64),
    /// `f`
    Float(f32),
    /// `d`
    Double(f64),
    /// `D`: how many digits come after the point, and the digits
    Decimal(u8, u32),
    /// `S`: text mostly, but any bytes
    LongString(Bytes),
    /// `A`
    Array(Vec<Value>),
    /// `T`: seconds since the Unix epoch
    Timestamp(u64),
    /// `F`
    Table(Table),
    /// `V`
    Void,
    /// `x`
    Bytes(Bytes),
}

impl Table {
    /// The value of a field; the last one of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rfind(|(of, _)| of == name).map(|(_, value)| value)
    }

    /// Adds a field at the end.
    pub fn push(&mut self, name: impl Into<Text>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Whether it has no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A checked table; its values share `from`, in which it lies.
    pub(in crate::amqp) fn decode(from: &Bytes, table: RawTable<'_>) -> Self {
        let name = |name: &[u8]| Text::from_utf8(name).unwrap_or_default();
        Self(table.iter().map(|(of, value)| (name(of), Value::decode(from, value))).collect())
    }

    /// Writes length and fields.
    pub fn encode(&self, out: &mut BytesMut) {
        with_length(out, |out| {
            for (name, value) in &self.0 {
                put_short(out, name);
                value.encode(out);
            }
        });
    }
}

/// Writes a length of 32 bits, and what it is the length of.
pub(in crate::amqp) fn with_length(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let at = out.len();
    out.put_u32(0);
    write(out);
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

impl Value {
    /// The text of a long string that is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::LongString(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// A whole number of any width.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Int8(value) => Some(value.into()),
            Self::Uint8(value) => Some(value.into()),
            Self::Int16(value) => Some(value.into()),
            Self::Uint16(value) => Some(value.into()),
            Self::Int32(value) => Some(value.into()),
            Self::Uint32(value) => Some(value.into()),
            Self::Int64(value) => Some(value),
            _ => None,
        }
    }

    fn decode(from: &Bytes, value: RawValue<'_>) -> Self {
        match value {
            RawValue::Boolean(value) => Self::Boolean(value),
            RawValue::Int8(value) => Self::Int8(value),
            RawValue::Uint8(value) => Self::Uint8(value),
            RawValue::Int16(value) => Self::Int16(value),
            RawValue::Uint16(value) => Self::Uint16(value),
            RawValue::Int32(value) => Self::Int32(value),
            RawValue::Uint32(value) => Self::Uint32(value),
            RawValue::Int64(value) => Self::Int64(value),
            RawValue::Float(value) => Self::Float(value),
            RawValue::Double(value) => Self::Double(value),
            RawValue::Decimal(scale, value) => Self::Decimal(scale, value),
            RawValue::LongString(bytes) => Self::LongString(from.slice_ref(bytes)),
            RawValue::Array(array) => Self::decode_array(from, array),
            RawValue::Timestamp(value) => Self::Timestamp(value),
            RawValue::Table(table) => Self::Table(Table::decode(from, table)),
            RawValue::Void => Self::Void,
            RawValue::Bytes(bytes) => Self::Bytes(from.slice_ref(bytes)),
        }
    }

    fn decode_array(from: &Bytes, array: RawArray<'_>) -> Self {
        Self::Array(array.iter().map(|value| Self::decode(from, value)).collect())
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Boolean(value) => put(out, b't', [u8::from(*value)]),
            Self::Int8(value) => put(out, b'b', value.to_be_bytes()),
            Self::Uint8(value) => put(out, b'B', value.to_be_bytes()),
            Self::Int16(value) => put(out, b's', value.to_be_bytes()),
            Self::Uint16(value) => put(out, b'u', value.to_be_bytes()),
            Self::Int32(value) => put(out, b'I', value.to_be_bytes()),
            Self::Uint32(value) => put(out, b'i', value.to_be_bytes()),
            Self::Int64(value) => put(out, b'l', value.to_be_bytes()),
            Self::Float(value) => put(out, b'f', value.to_be_bytes()),
            Self::Double(value) => put(out, b'd', value.to_be_bytes()),
            Self::Decimal(scale, value) => {
                put(out, b'D', [*scale]);
                out.put_u32(*value);
            }
            Self::LongString(bytes) => {
                out.put_u8(b'S');
                put_long(out, bytes);
            }
            Self::Array(values) => {
                out.put_u8(b'A');
                with_length(out, |out| values.iter().for_each(|value| value.encode(out)));
            }
            Self::Timestamp(value) => put(out, b'T', value.to_be_bytes()),
            Self::Table(table) => {
                out.put_u8(b'F');
                table.encode(out);
            }
            Self::Void => out.put_u8(b'V'),
            Self::Bytes(bytes) => {
                out.put_u8(b'x');
                put_long(out, bytes);
            }
        }
    }

    /// A boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Boolean(value) => Some(value),
            _ => None,
        }
    }
}

fn put<const N: usize>(out: &mut BytesMut, of: u8, value: [u8; N]) {
    out.put_u8(of);
    out.extend_from_slice(&value);
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::LongString(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::LongString(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int32(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int64(value)
    }
}

impl From<Table> for Value {
    fn from(value: Table) -> Self {
        Self::Table(value)
    }
}
