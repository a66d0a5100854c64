//! Requests as clients send them, and as nobody should.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;

use super::samples::{decode, requests};
use super::{Malformed, RequestHeader, check};

const MAX_ELEMENTS: usize = 1000;

fn checked(frame: &Bytes) -> Result<(RequestHeader, Bytes), Malformed> {
    let mut body = frame.clone();
    let header = RequestHeader::take(&mut body)?;
    check(header.api, header.version, &body, MAX_ELEMENTS)?;
    Ok((header, body))
}

#[test]
fn every_version_of_every_request_has_its_shape() {
    for (api, version, frame) in requests() {
        assert!(!frame.is_empty(), "{api:?} {version} has no sample");
        let (header, body) = checked(&frame).unwrap_or_else(|error| panic!("{api:?} {version}: {error}"));
        assert_eq!((header.api, header.version, header.correlation), (api, version, 7));
        assert_eq!(&*header.client_id, "client");
        assert!(check(api, version, &body[..body.len().saturating_sub(1)], MAX_ELEMENTS).is_err() || body.is_empty());
        let mut rest = body.clone();
        assert_eq!(decode(api, version, &mut rest), Some(0), "{api:?} {version}");
    }
}

/// A cheap generator, so that a failing case is the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }

    /// Changes a frame the way a broken or hostile client would: lengths first of all.
    fn mutate(&mut self, frame: &[u8]) -> Vec<u8> {
        const NUMBERS: [i64; 6] = [-1, 0, i32::MAX as i64, i32::MIN as i64, 0x0100_0000, i64::MAX];
        let mut frame = frame.to_vec();
        for _ in 0..=self.below(3) {
            if frame.len() <= 8 {
                return frame;
            }
            let at = 8 + self.below(frame.len() - 8);
            match self.below(4) {
                0 => frame[at] = [0xff, 0x7f, 0x80, 0][self.below(4)],
                1 => frame.truncate(at),
                2 => frame[at] ^= 1 << self.below(8),
                _ => {
                    let number = NUMBERS[self.below(NUMBERS.len())].to_be_bytes();
                    let width = [2, 4, 8][self.below(3)].min(frame.len() - at);
                    frame[at..at + width].copy_from_slice(&number[8 - width..]);
                }
            }
        }
        frame
    }
}

/// Whatever passes the check decodes, or fails to, without a panic and within memory that the frame's size bounds:
/// a count that is believed cannot be larger than the bytes that follow it.
#[test]
fn mutated_requests_never_panic() {
    let requests = requests();
    let mut random = Random(0x7469_6465_6761_7465);
    let mut passed = 0;
    for round in 0..300 {
        for (api, version, frame) in &requests {
            let mutated = Bytes::from(random.mutate(frame));
            let Ok((header, mut body)) = checked(&mutated) else { continue };
            assert_eq!((header.api, header.version), (*api, *version), "round {round}");
            passed += usize::from(decode(header.api, header.version, &mut body).is_some());
        }
    }
    assert!(passed > 10_000, "only {passed} mutated requests got past the check: nothing much was tried");
}

#[test]
fn a_count_without_bytes_is_refused() {
    for count in [i32::MAX, 1 << 24, 2] {
        // Metadata version 1: an array of names.
        assert_eq!(check(ApiKey::Metadata, 1, &count.to_be_bytes(), usize::MAX), Err(Malformed::Truncated));
    }
    // The same in a compact array, and in the count of tagged fields.
    assert!(check(ApiKey::Metadata, 12, &[0xff, 0xff, 0xff, 0xff, 0x0f], usize::MAX).is_err());
    assert!(check(ApiKey::ApiVersions, 3, &[1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f], usize::MAX).is_err());
    // A varint that never ends.
    assert_eq!(check(ApiKey::Metadata, 12, &[0xff; 6], usize::MAX), Err(Malformed::Length));
    assert_eq!(check(ApiKey::Metadata, 1, &(-2i32).to_be_bytes(), usize::MAX), Err(Malformed::Length));
}

#[test]
fn elements_are_counted_over_all_arrays() {
    let mut body = 3i32.to_be_bytes().to_vec();
    body.extend([0, 1, b'a'].repeat(3));
    assert_eq!(check(ApiKey::Metadata, 1, &body, 3), Ok(()));
    assert_eq!(check(ApiKey::Metadata, 1, &body, 2), Err(Malformed::Elements));
}

#[test]
fn a_header_is_read_as_it_was_written() {
    let mut frame = Bytes::from_static(&[0, 18, 0, 0, 0, 0, 0, 9, 0xff, 0xff, 1, 2]);
    let header = RequestHeader::take(&mut frame).unwrap();
    assert_eq!((header.api, header.correlation, &*header.client_id), (ApiKey::ApiVersions, 9, ""));
    assert_eq!(&frame[..], &[1, 2]);
    assert_eq!(RequestHeader::take(&mut Bytes::from_static(&[0, 18, 0])), Err(Malformed::Truncated));
    let mut unknown = Bytes::from_static(&[0x7f, 0, 0, 0, 0, 0, 0, 9, 0xff, 0xff]);
    assert_eq!(RequestHeader::take(&mut unknown), Err(Malformed::UnknownKey(0x7f00)));
    let mut bad_text = Bytes::from_static(&[0, 3, 0, 0, 0, 0, 0, 9, 0, 1, 0xff]);
    assert_eq!(RequestHeader::take(&mut bad_text), Err(Malformed::Undecodable));
}
