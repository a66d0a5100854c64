//! Requests as clients send them, and as nobody should.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use tidegate_engine::store::faulty::Random;

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

/// Changes a frame the way a broken or hostile client would: lengths first of all.
fn mutate(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    const NUMBERS: [i64; 6] = [-1, 0, i32::MAX as i64, i32::MIN as i64, 0x0100_0000, i64::MAX];
    let mut frame = frame.to_vec();
    for _ in 0..=random.index(3) {
        if frame.len() <= 8 {
            return frame;
        }
        let at = 8 + random.index(frame.len() - 8);
        match random.index(4) {
            0 => frame[at] = [0xff, 0x7f, 0x80, 0][random.index(4)],
            1 => frame.truncate(at),
            2 => frame[at] ^= 1 << random.index(8),
            _ => {
                let number = NUMBERS[random.index(NUMBERS.len())].to_be_bytes();
                let width = [2, 4, 8][random.index(3)].min(frame.len() - at);
                frame[at..at + width].copy_from_slice(&number[8 - width..]);
            }
        }
    }
    frame
}

/// Whatever passes the check decodes, or fails to, without a panic and within memory that the frame's size bounds:
/// a count that is believed cannot be larger than the bytes that follow it.
#[test]
fn mutated_requests_never_panic() {
    let requests = requests();
    let mut random = Random::new(0x7469_6465_6761_7465);
    let mut passed = 0;
    for round in 0..300 {
        for (api, version, frame) in &requests {
            let mutated = Bytes::from(mutate(&mut random, frame));
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

mod handled {
    use std::sync::Arc;
    use std::time::Duration;

    use tidegate_engine::store::Environment;
    use tidegate_engine::{Engine, EngineConfig};

    use super::*;
    use crate::broker::{Broker, Settings};
    use crate::kafka::{Config, Listener};

    /// Answers every frame by a listener in front of a real engine; the responses, `None` where there was none.
    fn answer(frames: impl Iterator<Item = Bytes>) -> Vec<Option<usize>> {
        let directory = tempfile::tempdir().unwrap();
        let limits = EngineConfig { max_topics: 100, max_partitions: 200, ..EngineConfig::default() };
        let (engine, _) = Engine::open(limits, Environment::local(directory.path()).unwrap()).unwrap();
        let broker =
            Broker::open(engine.clone(), Settings { auto_create_topics: true, ..Settings::default() }).unwrap();
        let config = Config { initial_rebalance_delay: Duration::ZERO, max_group_members: 5, ..Config::default() };
        let listener = Listener::new(broker, Arc::new(config), Arc::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut answers = Vec::new();
            for frame in frames {
                // A join may wait for members that will not come.
                let answer = tokio::time::timeout(Duration::from_millis(50), listener.answer(frame)).await;
                answers.push(answer.ok().flatten());
            }
            engine.close().await.unwrap();
            answers
        })
    }

    #[test]
    fn every_version_of_every_request_is_answered() {
        let requests = requests();
        let answers = answer(requests.iter().map(|(_, _, frame)| frame.clone()));
        for ((api, version, _), answer) in requests.iter().zip(answers) {
            // A join waits for the members of the joins before it.
            assert!(answer.is_some() || *api == ApiKey::JoinGroup, "{api:?} {version} has no answer");
        }
    }

    #[test]
    fn an_unknown_version_of_api_versions_is_answered_and_other_unknowns_are_not() {
        let frame = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
        let unknown = [
            frame(&[0, 18, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff]),
            frame(&[0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff]),
            frame(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff]),
            frame(&[]),
        ];
        // Length, correlation id, error, one version of ApiVersions.
        assert_eq!(answer(unknown.into_iter()), [Some(4 + 4 + 2 + 4 + 6), None, None, None]);
    }

    #[test]
    fn mutated_requests_are_answered_or_refused_without_a_panic() {
        let requests = requests();
        let mut random = Random::new(0x6b61_666b_6121);
        let waiting = [ApiKey::JoinGroup, ApiKey::SyncGroup, ApiKey::Fetch];
        let rounds = (0..20).flat_map(|_| requests.iter().filter(|(api, ..)| !waiting.contains(api)));
        let frames: Vec<Bytes> = rounds.map(|(_, _, frame)| mutate(&mut random, frame).into()).collect();
        let answered = answer(frames.into_iter()).iter().flatten().count();
        assert!(answered > 500, "only {answered} mutated requests were answered: nothing much was tried");
    }
}
