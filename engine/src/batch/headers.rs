//! A record's headers, kept as the record format has them: sharing them costs one count however many there are.

use std::iter::FusedIterator;

use bytes::{BufMut, Bytes};

use super::builder::put_bytes;
use super::records::{Malformed, split_bytes};

/// Headers in the order written; names may repeat. Equal when names and values are: how long the lengths were written does
/// not count.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    /// The length of a name and the name, the length of its value (-1 for null) and the value, and so on.
    encoded: Bytes,
    count: usize,
}

/// A header of a record. Only [`Headers`] makes it: its name is UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header<'a> {
    /// Name, UTF-8.
    pub name: &'a [u8],
    /// Value, or null.
    pub value: Option<&'a [u8]>,
}

/// The headers one by one. See [`Headers::iter`].
#[derive(Debug, Clone)]
pub struct HeadersIter<'a> {
    rest: &'a [u8],
    left: usize,
}

impl Headers {
    /// Takes what [`check`] has found to be right.
    pub(super) fn checked(encoded: Bytes, count: usize) -> Self {
        Self { encoded, count }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers as a record has them, their number not included.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The headers in order.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> HeadersIter<'_> {
        HeadersIter { rest: &self.encoded, left: self.count }
    }

    /// The values of the headers of one name, in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Option<&'a [u8]>> {
        self.iter().filter(move |header| header.name == name.as_bytes()).map(|header| header.value)
    }

    /// Adds a header. Headers shared with a batch are copied first.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        let encoded = std::mem::take(&mut self.encoded).try_into_mut();
        let mut encoded = encoded.unwrap_or_else(|shared| (&shared[..]).into());
        put_header(&mut encoded, name.as_bytes(), value);
        self.encoded = encoded.freeze();
        self.count += 1;
    }

    fn collect(headers: impl Iterator<Item = (impl AsRef<[u8]>, Option<impl AsRef<[u8]>>)>) -> Self {
        let (mut encoded, mut count) = (Vec::new(), 0);
        for (name, value) in headers {
            put_header(&mut encoded, name.as_ref(), value.as_ref().map(AsRef::as_ref));
            count += 1;
        }
        Self { encoded: encoded.into(), count }
    }
}

/// Checks that these are so many headers, and nothing else.
pub(super) fn check(mut encoded: &[u8], count: usize) -> Result<(), Malformed> {
    for _ in 0..count {
        let name = split_bytes(&mut encoded)?.ok_or(Malformed::Null)?;
        std::str::from_utf8(name).map_err(|_| Malformed::HeaderName)?;
        split_bytes(&mut encoded)?;
    }
    if encoded.is_empty() { Ok(()) } else { Err(Malformed::LeftOver) }
}

/// Writes a header as the record format has it.
#[inline]
pub(super) fn put_header(to: &mut impl BufMut, name: &[u8], value: Option<&[u8]>) {
    put_bytes(to, Some(name));
    put_bytes(to, value);
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = Header<'a>;

    #[inline]
    fn next(&mut self) -> Option<Header<'a>> {
        self.left = self.left.checked_sub(1)?;
        // They were checked, so that they end by their number only.
        let name = split_bytes(&mut self.rest).ok()??;
        let value = split_bytes(&mut self.rest).ok()?;
        Some(Header { name, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for HeadersIter<'_> {}
impl FusedIterator for HeadersIter<'_> {}

impl<'a> IntoIterator for &'a Headers {
    type Item = Header<'a>;
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

impl<'a> FromIterator<Header<'a>> for Headers {
    fn from_iter<I: IntoIterator<Item = Header<'a>>>(headers: I) -> Self {
        Self::collect(headers.into_iter().map(|header| (header.name, header.value)))
    }
}

impl<N: AsRef<str> + AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, Option<V>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, Option<V>)>>(headers: I) -> Self {
        Self::collect(headers.into_iter())
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other)
    }
}

impl Eq for Headers {}
