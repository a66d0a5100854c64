//! The header of a record that keeps the types of the others.

use std::fmt::Write;

use bytes::Bytes;
use tidegate_engine::batch::Header;

use super::HeaderType;
use crate::broker::property;

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
    let mut rest = std::str::from_utf8(headers[position].value.as_ref()?).ok()?;
    let mut types: Vec<(usize, HeaderType)> = Vec::new();
    loop {
        let (index, of) = split_pair(&mut rest)?;
        let header = headers[..position].get(index)?;
        let ascends = types.last().is_none_or(|(last, _)| *last < index);
        if !ascends || !of.accepts(header.value.as_ref()?) {
            return None;
        }
        types.push((index, of));
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    // Another header of the name is one like any other, if it is said to be.
    let is_told = |index: usize| types.binary_search_by_key(&index, |(at, _)| *at).is_ok();
    let mut others =
        headers[..position].iter().enumerate().filter(|(_, header)| is_types(header) && header.value.is_some());
    (rest.is_empty() && others.all(|(index, _)| is_told(index))).then_some((position, types))
}

fn split_pair(rest: &mut &str) -> Option<(usize, HeaderType)> {
    let (digits, after) = rest.split_once('=')?;
    *rest = after;
    // Written in one way only.
    let is_canonical =
        digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let index = digits.parse().ok().filter(|_| is_canonical)?;
    Some((index, HeaderType::split_from(rest, HeaderType::MAX_DEPTH)?))
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
        let mut headers = vec![header("a", "x"), header("retries", "3"), header("a", "true"), header("t", "[1]")];
        let array = HeaderType::Array([HeaderType::Uint8].into());
        let types = vec![(1, HeaderType::Int32), (2, HeaderType::Boolean), (3, array)];
        headers.push(write_header_types(&types).unwrap());
        headers.push(header("dead-letter-reason", "too often"));
        assert_eq!(read_header_types(&headers), Some((4, types)));
    }

    #[test]
    fn what_does_not_fit_is_an_ordinary_header() {
        for text in
            ["", "1", "1=", "7=int32", "0=int32", "1=int32,1=int32", "01=int32", "1=int9", "1=int32,", "+1=int32"]
        {
            let headers = [header("a", "x"), header("retries", "3"), header(property::HEADER_TYPES, text)];
            assert_eq!(read_header_types(&headers), None, "{text}");
        }
        let twice = header(property::HEADER_TYPES, "0=int32");
        assert_eq!(read_header_types(&[header("n", "1"), twice.clone(), twice.clone()]), None);
        // Unless the first one is said to be an ordinary one.
        let told = header(property::HEADER_TYPES, "0=int32,1=string");
        let types = vec![(0, HeaderType::Int32), (1, HeaderType::String)];
        assert_eq!(read_header_types(&[header("n", "1"), twice, told]), Some((2, types)));
    }
}
