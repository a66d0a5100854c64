//! The header of a record that keeps the types of the others.

use std::fmt::Write;

use tidegate_engine::batch::{Header, Headers};

use super::HeaderType;
use crate::broker::property;

/// Which headers of a record have which types, by index, ascending.
pub type Types = Vec<(usize, HeaderType)>;

/// Adds the header that keeps types, if there are any: pairs of a header's index in the record and its type.
pub fn write_header_types(headers: &mut Headers, types: &[(usize, HeaderType)]) {
    let mut text = String::new();
    for (index, of) in types {
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{index}={}", of.name());
    }
    if !types.is_empty() {
        headers.push(property::HEADER_TYPES, Some(text.as_bytes()));
    }
}

/// Where that header is in a record and what it says. None when there is none, or it does not fit the record: then it
/// is a header like any other.
#[must_use]
pub fn read_header_types(headers: &Headers) -> Option<(usize, Types)> {
    // Written last; only headers of a dead letter come after it.
    let (position, header) = headers.iter().enumerate().filter(|(_, header)| is_types(header)).last()?;
    let mut rest = std::str::from_utf8(header.value?).ok()?;
    // Another header of the name is one like any other, if it is said to be.
    let is_stray = |header: &Header<'_>| is_types(header) && header.value.is_some();
    let mut before = headers.iter().enumerate().take(position);
    let mut types = Vec::new();
    loop {
        let (index, of) = split_pair(&mut rest)?;
        let (found, header) = before.find(|(at, header)| *at == index || is_stray(header))?;
        if found != index || !of.accepts(header.value?) {
            return None;
        }
        types.push((index, of));
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    (rest.is_empty() && !before.any(|(_, header)| is_stray(&header))).then_some((position, types))
}

/// The headers of a record with their types, without the one that keeps these.
pub fn typed_headers<'a, 't>(
    headers: &'a Headers,
    types: Option<&'t (usize, Types)>,
) -> impl Iterator<Item = (Header<'a>, Option<&'t HeaderType>)> + Clone {
    let position = types.map(|(position, _)| *position);
    let mut types = types.map_or(&[][..], |(_, types)| types).iter().peekable();
    headers.iter().enumerate().filter(move |(index, _)| position != Some(*index)).map(move |(index, header)| {
        let of = types.next_if(|(at, _)| *at == index).map(|(_, of)| of);
        (header, of)
    })
}

fn is_types(header: &Header<'_>) -> bool {
    header.name == property::HEADER_TYPES.as_bytes()
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

    fn read(headers: &[(&str, &str)]) -> Option<(usize, Types)> {
        read_header_types(&headers.iter().map(|(name, value)| (*name, Some(value))).collect())
    }

    #[test]
    fn what_is_written_is_read() {
        let named = [("a", "x"), ("retries", "3"), ("a", "true"), ("t", "[1]")];
        let mut headers = named.map(|(name, value)| (name, Some(value))).into_iter().collect();
        let array = HeaderType::Array([HeaderType::Uint8].into());
        let types = vec![(1, HeaderType::Int32), (2, HeaderType::Boolean), (3, array)];
        write_header_types(&mut headers, &types);
        headers.push("dead-letter-reason", Some(b"too often"));
        let read = read_header_types(&headers);
        assert_eq!(read, Some((4, types.clone())));
        let of = |at: usize| types.iter().find(|(index, _)| *index == at).map(|(_, of)| of);
        let typed: Vec<_> = headers.iter().enumerate().map(|(at, header)| (header, of(at))).collect();
        let others = [&typed[..4], &typed[5..]].concat();
        assert_eq!(typed_headers(&headers, read.as_ref()).collect::<Vec<_>>(), others);
    }

    #[test]
    fn what_does_not_fit_is_an_ordinary_header() {
        for text in
            ["", "1", "1=", "7=int32", "0=int32", "1=int32,1=int32", "01=int32", "1=int9", "1=int32,", "+1=int32"]
        {
            assert_eq!(read(&[("a", "x"), ("retries", "3"), (property::HEADER_TYPES, text)]), None, "{text}");
        }
        let twice = (property::HEADER_TYPES, "0=int32");
        assert_eq!(read(&[("n", "1"), twice, twice]), None);
        // Unless the first one is said to be an ordinary one.
        let told = (property::HEADER_TYPES, "0=int32,1=string");
        let types = vec![(0, HeaderType::Int32), (1, HeaderType::String)];
        assert_eq!(read(&[("n", "1"), twice, told]), Some((2, types)));
    }
}
