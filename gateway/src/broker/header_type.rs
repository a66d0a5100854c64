//! Types of header values. Values are stored as UTF-8 text that any client can read; one more header of the record,
//! [`property::HEADER_TYPES`], keeps the types that the text does not tell.

use std::fmt::Write;

use bytes::Bytes;
use tidegate_engine::batch::Header;

use super::property;

/// What a header's text stands for. Text without a type is text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum HeaderType {
    /// `true` or `false`.
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    /// IEEE 754, 32 bits.
    Float,
    /// IEEE 754, 64 bits.
    Double,
    /// RFC 3339.
    Timestamp,
}

impl HeaderType {
    /// Every type.
    pub const ALL: [Self; 12] = [
        Self::Boolean,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Float,
        Self::Double,
        Self::Timestamp,
    ];

    /// Its name, as stored and as shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint16 => "uint16",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Float => "float",
            Self::Double => "double",
            Self::Timestamp => "timestamp",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }

    /// Whether a text is a value of the type.
    #[must_use]
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::Boolean => matches!(text, "true" | "false"),
            Self::Int8 => text.parse::<i8>().is_ok(),
            Self::Int16 => text.parse::<i16>().is_ok(),
            Self::Int32 => text.parse::<i32>().is_ok(),
            Self::Int64 => text.parse::<i64>().is_ok(),
            Self::Uint8 => text.parse::<u8>().is_ok(),
            Self::Uint16 => text.parse::<u16>().is_ok(),
            Self::Uint32 => text.parse::<u32>().is_ok(),
            Self::Uint64 => text.parse::<u64>().is_ok(),
            Self::Float => text.parse::<f32>().is_ok(),
            Self::Double => text.parse::<f64>().is_ok(),
            Self::Timestamp => text.parse::<jiff::Timestamp>().is_ok(),
        }
    }
}

/// The header that keeps types: pairs of a header's index in the record and its type, none if there are none.
#[must_use]
pub fn write_header_types(types: &[(usize, HeaderType)]) -> Option<Header> {
    if types.is_empty() {
        return None;
    }
    let mut text = String::new();
    for (index, of) in types {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{index}={}", of.name());
    }
    Some(Header { name: Bytes::from_static(property::HEADER_TYPES.as_bytes()), value: Some(text.into()) })
}

/// Where that header is in a record and what it says. None when there is none, or it does not fit the record: then it
/// is a header like any other.
#[must_use]
pub fn read_header_types(headers: &[Header]) -> Option<(usize, Vec<(usize, HeaderType)>)> {
    let is_types = |header: &Header| header.name == property::HEADER_TYPES.as_bytes();
    // Written last; only headers of a dead letter come after it.
    let position = headers.iter().rposition(is_types)?;
    let text = std::str::from_utf8(headers[position].value.as_ref()?).ok()?;
    let mut types = Vec::new();
    for pair in text.split(',') {
        let (index, name) = pair.split_once('=')?;
        let (index, of) = (index.parse::<usize>().ok()?, HeaderType::from_name(name)?);
        let value = std::str::from_utf8(headers[..position].get(index)?.value.as_ref()?).ok()?;
        let ascends = types.last().is_none_or(|(last, _)| *last < index);
        if !ascends || !of.accepts(value) {
            return None;
        }
        types.push((index, of));
    }
    let is_canonical = headers[..position].iter().all(|header| !is_types(header))
        && write_header_types(&types).is_some_and(|header| header == headers[position]);
    is_canonical.then_some((position, types))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.to_owned().into(), value: Some(value.to_owned().into()) }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut headers = vec![header("a", "x"), header("retries", "3"), header("a", "true")];
        let types = vec![(1, HeaderType::Int32), (2, HeaderType::Boolean)];
        headers.push(write_header_types(&types).unwrap());
        headers.push(header("dead-letter-reason", "too often"));
        assert_eq!(read_header_types(&headers), Some((3, types)));
    }

    #[test]
    fn what_does_not_fit_is_an_ordinary_header() {
        for text in ["", "1", "1=", "7=int32", "0=int32", "1=int32,1=int32", "01=int32", "1=int9", "1=int32,"] {
            let headers = [header("a", "x"), header("retries", "3"), header(property::HEADER_TYPES, text)];
            assert_eq!(read_header_types(&headers), None, "{text}");
        }
        let twice = header(property::HEADER_TYPES, "0=int32");
        assert_eq!(read_header_types(&[header("n", "1"), twice.clone(), twice]), None);
    }
}
