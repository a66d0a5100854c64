//! Acknowledgement ids: a lease and who may settle it, signed, so that any process with the key can serve them and
//! nobody can make one up.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tidegate_engine::PartitionId;
use tidegate_engine::group::{ConsumerId, LeaseId};

/// Bytes of lease and consumer.
const PLAIN: usize = 4 + 8 + 8 + 8;
/// Bytes of signature: 128 bits of a keyed BLAKE3.
const MAC: usize = 16;

/// Signs and checks ids.
pub struct AckKey([u8; 32]);

impl AckKey {
    /// Derives a key. Ids of one context (a constant, as BLAKE3 has it) mean nothing in another.
    #[must_use]
    pub fn new(context: &str, key: &[u8; 32]) -> Self {
        Self(blake3::derive_key(context, key))
    }

    /// The id of a lease that `group` of `namespace` gave to `consumer`.
    #[must_use]
    pub fn sign(&self, namespace: &str, group: &str, consumer: ConsumerId, lease: LeaseId) -> String {
        let mut bytes = [0; PLAIN + MAC];
        bytes[..4].copy_from_slice(&lease.partition.0.to_be_bytes());
        bytes[4..12].copy_from_slice(&lease.offset.to_be_bytes());
        bytes[12..20].copy_from_slice(&lease.token.to_be_bytes());
        bytes[20..28].copy_from_slice(&consumer.0.to_be_bytes());
        let mac = self.mac(namespace, group, &bytes[..PLAIN]);
        bytes[PLAIN..].copy_from_slice(&mac);
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The lease of an id and its consumer; none when it was not signed for this group with this key.
    #[must_use]
    pub fn verify(&self, namespace: &str, group: &str, ack_id: &str) -> Option<(ConsumerId, LeaseId)> {
        // A little longer than an id, because the decoder rounds its estimate up.
        let mut buffer = [0; PLAIN + MAC + 4];
        let length = BASE64_URL_SAFE_NO_PAD.decode_slice(ack_id, &mut buffer).ok()?;
        let (plain, mac) = buffer[..PLAIN + MAC].split_at(PLAIN);
        if length != PLAIN + MAC || !equal(&self.mac(namespace, group, plain), mac) {
            return None;
        }
        let u64_at = |at: usize| plain[at..at + 8].try_into().map(u64::from_be_bytes).ok();
        let partition = PartitionId(plain[..4].try_into().map(u32::from_be_bytes).ok()?);
        let lease = LeaseId { partition, offset: u64_at(4)?, token: u64_at(12)? };
        Some((ConsumerId(u64_at(20)?), lease))
    }

    fn mac(&self, namespace: &str, group: &str, plain: &[u8]) -> [u8; MAC] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // A fixed-size part and one length make the input unambiguous.
        hasher.update(plain);
        hasher.update(&namespace.len().to_be_bytes());
        hasher.update(namespace.as_bytes());
        hasher.update(group.as_bytes());
        let mut mac = [0; MAC];
        mac.copy_from_slice(&hasher.finalize().as_bytes()[..MAC]);
        mac
    }
}

/// In constant time, as BLAKE3's own hashes compare.
fn equal(a: &[u8; MAC], b: &[u8]) -> bool {
    let hash = |bytes: &[u8]| {
        let mut whole = [0; 32];
        whole[..MAC].copy_from_slice(&bytes[..MAC]);
        blake3::Hash::from_bytes(whole)
    };
    b.len() == MAC && hash(a) == hash(b)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lease(partition: u32, offset: u64, token: u64) -> LeaseId {
        LeaseId { partition: PartitionId(partition), offset, token }
    }

    proptest! {
        #[test]
        fn an_id_comes_back_and_only_for_its_group(partition: u32, offset: u64, token: u64, consumer: u64, bit in 0..352_usize) {
            let key = AckKey::new("test", &[7; 32]);
            let lease = lease(partition, offset, token);
            let id = key.sign("default", "workers", ConsumerId(consumer), lease);
            prop_assert_eq!(key.verify("default", "workers", &id), Some((ConsumerId(consumer), lease)));
            prop_assert_eq!(key.verify("default", "others", &id), None);
            prop_assert_eq!(key.verify("defaultw", "orkers", &id), None);
            prop_assert_eq!(AckKey::new("test", &[8; 32]).verify("default", "workers", &id), None);
            prop_assert_eq!(AckKey::new("other", &[7; 32]).verify("default", "workers", &id), None);
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&id).unwrap();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let tampered = BASE64_URL_SAFE_NO_PAD.encode(bytes);
            prop_assert_eq!(key.verify("default", "workers", &tampered), None);
        }

        #[test]
        fn any_text_is_answered(id: String) {
            prop_assert_eq!(AckKey::new("test", &[7; 32]).verify("default", "workers", &id), None);
        }
    }
}
