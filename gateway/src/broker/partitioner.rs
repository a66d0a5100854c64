//! Which partition a record goes to, for protocols whose clients do not choose one.

use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_engine::Topic;

use super::Place;

/// Chooses partitions; shared by all connections.
#[derive(Debug, Default)]
pub struct Partitioner {
    next: AtomicU32,
}

impl Partitioner {
    /// By key exactly as Kafka's default partitioner does (so both kinds of publisher agree), without a key in turn.
    #[must_use]
    pub fn place(&self, topic: &Topic, key: Option<&[u8]>) -> Place {
        let count = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX).max(1);
        let index = match key {
            Some(key) => (murmur2(key) & 0x7fff_ffff) % count,
            None if count == 1 => 0,
            None => self.next.fetch_add(1, Ordering::Relaxed) % count,
        };
        Place { index, id: topic.partitions[index as usize] }
    }
}

/// MurmurHash2, 32 bit, with the seed Kafka's `Utils.murmur2` uses.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn murmur2_agrees_with_kafka() {
        // From Kafka's own UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
