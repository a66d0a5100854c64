//! A message as a publisher sent it, in no protocol's words: protocols make it, and it becomes a record.

use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::DedupeKey;
use tidegate_engine::batch::{Headers, Record};

use super::{HeaderType, property, write_header_types};

/// A message as a publisher sent it: not placed, not stamped.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    /// Its key.
    pub key: Option<Bytes>,
    /// None is a tombstone.
    pub value: Option<Bytes>,
    /// When it happened; now if the publisher does not say.
    pub timestamp_ms: Option<i64>,
    /// Properties included.
    pub headers: Headers,
    /// Types of headers, by index.
    pub types: Vec<(usize, HeaderType)>,
    /// Index of the partition it shall go to.
    pub partition: Option<u32>,
    /// Not delivered for so long.
    pub delay: Option<Duration>,
    /// Stored once under this key.
    pub idempotency_key: Option<Bytes>,
}

impl Draft {
    /// The idempotency key within its scope, and what it stands for: everything the publisher sent.
    /// `part` tells the writes apart that one key of a whole batch covers.
    #[must_use]
    pub fn dedupe(&self, namespace: &str, topic: &str, key: &[u8], part: u64) -> DedupeKey {
        DedupeKey { key: dedupe_key(namespace, topic, key, part), body: self.digest() }
    }

    /// A digest of everything the publisher sent.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: Option<&[u8]>| {
            hasher.update(&bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
            hasher.update(bytes.unwrap_or_default());
        };
        part(self.key.as_deref());
        part(self.value.as_deref());
        part(self.timestamp_ms.map(i64::to_le_bytes).as_ref().map(<[u8; 8]>::as_slice));
        part(self.partition.map(u32::to_le_bytes).as_ref().map(<[u8; 4]>::as_slice));
        part(self.delay.map(|delay| delay.as_nanos().to_le_bytes()).as_ref().map(<[u8; 16]>::as_slice));
        for header in &self.headers {
            part(Some(header.name));
            part(header.value);
        }
        for (index, of) in &self.types {
            part(Some(&index.to_le_bytes()));
            part(Some(of.name().as_bytes()));
        }
        first_u64(&hasher.finalize())
    }

    /// A header that only happens to have the name of the list of types is said to be one like any other.
    fn tell_strays(&mut self) {
        for (index, header) in self.headers.iter().enumerate() {
            let is_stray = header.name == property::HEADER_TYPES.as_bytes() && header.value.is_some();
            if is_stray && let Err(at) = self.types.binary_search_by_key(&index, |(index, _)| *index) {
                self.types.insert(at, (index, HeaderType::String));
            }
        }
    }

    /// The record, and when it is to be delivered if not at once.
    #[must_use]
    pub fn into_record(mut self, now_ms: i64) -> (Record, Option<i64>) {
        if let Some(delay) = self.delay {
            let at_ms = now_ms.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX));
            self.headers.push(property::DELIVER_AT, Some(at_ms.to_string().as_bytes()));
        }
        let deliver_at_ms = deliver_at(&self.headers);
        self.tell_strays();
        write_header_types(&mut self.headers, &self.types);
        let timestamp_ms = self.timestamp_ms.unwrap_or(now_ms);
        (Record { offset: 0, timestamp_ms, key: self.key, value: self.value, headers: self.headers }, deliver_at_ms)
    }
}

/// 128 bits that stand for an idempotency key in its scope.
#[must_use]
pub fn dedupe_key(namespace: &str, topic: &str, key: &[u8], part: u64) -> u128 {
    let mut hasher = blake3::Hasher::new();
    for bytes in [namespace.as_bytes(), topic.as_bytes(), key] {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.update(&part.to_le_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    u128::from_le_bytes(first)
}

/// The first 64 bits of a hash.
#[must_use]
pub fn first_u64(hash: &blake3::Hash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_le_bytes(first)
}

fn deliver_at(headers: &Headers) -> Option<i64> {
    std::str::from_utf8(headers.named(property::DELIVER_AT).next()??).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::dedupe_key;

    #[test]
    fn idempotency_keys_have_a_scope() {
        let key = dedupe_key("default", "orders", b"1", 0);
        for other in [
            dedupe_key("other", "orders", b"1", 0),
            dedupe_key("default", "order", b"s1", 0),
            dedupe_key("default", "orders", b"2", 0),
            dedupe_key("default", "orders", b"1", 1),
        ] {
            assert_ne!(key, other);
        }
    }
}
