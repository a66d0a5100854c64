//! Payloads that can be checked by looking at them: a number, and bytes that follow from it.

use bytes::Bytes;
use tidegate_engine::batch::{Batch, Headers, Record};
use tidegate_engine::store::faulty::Random;

/// One published value. Never published twice but as a retry.
pub type Value = u64;

const MARK: &[u8; 8] = b"tidegate";
const MAX_FILLER: u64 = 700;

/// The bytes of a value: a mark, the number, and filler that only this number has.
pub fn encode(value: Value) -> Bytes {
    let mut random = Random::new(value);
    let filler = if random.chance(5) { random.below(8 * MAX_FILLER) } else { random.below(MAX_FILLER) };
    let mut bytes = Vec::with_capacity(16 + filler as usize);
    bytes.extend_from_slice(MARK);
    bytes.extend_from_slice(&value.to_le_bytes());
    bytes.extend((0..filler).map(|_| random.bits() as u8));
    bytes.into()
}

/// The value whose bytes these are, exactly.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let number = bytes.get(8..16).and_then(|number| number.try_into().ok()).map(u64::from_le_bytes);
    match number {
        Some(value) if encode(value) == bytes => Ok(value),
        _ => Err(format!("bytes that nobody published: {:?}", &bytes[..bytes.len().min(24)])),
    }
}

/// The record of a value, with its key.
pub fn record(value: Value, key: Option<u8>, timestamp_ms: i64) -> Record {
    Record {
        offset: 0,
        timestamp_ms,
        key: key.map(|key| Bytes::copy_from_slice(&[b'k', key])),
        value: Some(encode(value)),
        headers: Headers::from_iter([("n", Some(value.to_string()))]),
    }
}

/// Who wrote an idempotent batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

/// Packs records as an idempotent producer does: Kafka's record batch v2, bytes 43 to 57 say who and which.
pub fn stamped(records: &[Record], stamp: Stamp) -> Batch {
    let plain = Batch::pack(records).expect("records of a workload can be packed");
    let mut bytes = plain.bytes.to_vec();
    bytes[43..51].copy_from_slice(&stamp.producer_id.to_be_bytes());
    bytes[51..53].copy_from_slice(&stamp.epoch.to_be_bytes());
    bytes[53..57].copy_from_slice(&stamp.sequence.to_be_bytes());
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[21..]) as u32;
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    Batch::split_from(&mut Bytes::from(bytes)).expect("only the producer was changed")
}

#[test]
fn a_changed_byte_is_nobodys_value() {
    let bytes = encode(77);
    assert_eq!(decode(&bytes), Ok(77));
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(decode(&changed).is_err(), "byte {at}");
    }
    assert!(decode(&bytes[..bytes.len() - 1]).is_err());
}
