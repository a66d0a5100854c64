//! Whatever is sent, the answer is a message or a status: never an internal error, never a panic.

use std::time::Duration;

use axum::http::{HeaderMap, Request};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};
use prost::Message;
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::consume_request::{self, Frame};
use tower::ServiceExt;

use super::{Gateway, entry, message, seconds};
use crate::grpc::Config;

/// Every method, with a request that is right; streams with several.
fn calls() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let position = proto::Position { position: Some(proto::position::Position::Offset(1)) };
    let full = proto::Entry {
        topic: "t".into(),
        partition: Some(0),
        message: Some(proto::Message {
            key: Some("k".into()),
            headers: vec![proto::Header {
                name: "n".into(),
                r#type: "int8".into(),
                value: Some(proto::header::Value::Text("1".into())),
            }],
            timestamp: Some(prost_types::Timestamp { seconds: 1, nanos: 2 }),
            properties: Some(Box::new(proto::Properties {
                ttl: Some(seconds(9)),
                priority: Some(3),
                content_type: Some("text/plain".into()),
                ..Default::default()
            })),
            ..message("v")
        }),
        idempotency_key: "i".into(),
        ..Default::default()
    };
    let publish =
        proto::PublishRequest { entries: vec![full.clone(), entry("x")], topic: "t".into(), ..Default::default() };
    let stream =
        proto::PublishStreamRequest { entries: vec![full], topic: "t".into(), first_sequence: 1, want_results: true };
    let ids = vec!["x".to_owned()];
    let group = || "g".to_owned();
    let consume = |frame| proto::ConsumeRequest { frame: Some(frame) }.encode_to_vec();
    let credit = consume_request::Credit { messages: 3, bytes: 1000 };
    let frames = vec![
        consume(Frame::Start(consume_request::Start {
            group: group(),
            credit: Some(credit),
            ack_deadline: Some(seconds(9)),
            ..Default::default()
        })),
        consume(Frame::Credit(credit)),
        consume(Frame::Ack(consume_request::Ack { delivery_ids: vec![1, 2], up_to: 1, request_seq: 1 })),
        consume(Frame::Nack(consume_request::Nack {
            delivery_ids: vec![3],
            rejection: Some(proto::Rejection { delay: Some(seconds(1)), ..Default::default() }),
            ..Default::default()
        })),
        consume(Frame::Extend(consume_request::Extend {
            delivery_ids: vec![3],
            ack_deadline: Some(seconds(1)),
            ..Default::default()
        })),
        consume(Frame::Ping(consume_request::Ping { nonce: 7 })),
        consume(Frame::Drain(consume_request::Drain {})),
    ];
    let topic_config = proto::TopicConfig {
        durability: 3,
        retention: Some(proto::Retention {
            time: Some(proto::retention::Time::MaxAge(seconds(5))),
            ..Default::default()
        }),
        ..Default::default()
    };
    let group_config = proto::GroupConfig {
        topics: vec!["t".into()],
        start: Some(proto::Position { position: Some(proto::position::Position::Anchor(1)) }),
        retry: Some(proto::Retry { multiplier: Some(2.0), ..Default::default() }),
        ..Default::default()
    };
    vec![
        ("Publisher/Publish", vec![publish.encode_to_vec()]),
        ("Publisher/PublishStream", vec![stream.encode_to_vec(), stream.encode_to_vec()]),
        ("Consumer/Consume", frames),
        (
            "Consumer/Pull",
            vec![proto::PullRequest { group: group(), max_messages: 1, ..Default::default() }.encode_to_vec()],
        ),
        ("Consumer/Ack", vec![proto::AckRequest { group: group(), ack_ids: ids.clone() }.encode_to_vec()]),
        (
            "Consumer/Nack",
            vec![
                proto::NackRequest {
                    group: group(),
                    ack_ids: ids.clone(),
                    rejection: Some(proto::Rejection::default()),
                }
                .encode_to_vec(),
            ],
        ),
        (
            "Consumer/Extend",
            vec![proto::ExtendRequest { group: group(), ack_ids: ids, ack_deadline: Some(seconds(1)) }.encode_to_vec()],
        ),
        (
            "Consumer/Seek",
            vec![proto::SeekRequest { group: group(), to: Some(position), ..Default::default() }.encode_to_vec()],
        ),
        ("Consumer/GetLag", vec![proto::GetLagRequest { group: group() }.encode_to_vec()]),
        (
            "Consumer/Fetch",
            vec![
                proto::FetchRequest {
                    topic: "t".into(),
                    from: Some(position),
                    limit: 3,
                    partition: Some(0),
                    follow: false,
                }
                .encode_to_vec(),
            ],
        ),
        (
            "Admin/CreateTopic",
            vec![
                proto::CreateTopicRequest { topic: "u".into(), partitions: Some(2), config: Some(topic_config) }
                    .encode_to_vec(),
            ],
        ),
        ("Admin/GetTopic", vec![proto::GetTopicRequest { topic: "t".into() }.encode_to_vec()]),
        ("Admin/ListTopics", vec![proto::ListTopicsRequest { page_size: 1, page_token: "a".into() }.encode_to_vec()]),
        (
            "Admin/CreateGroup",
            vec![proto::CreateGroupRequest { group: "h".into(), config: Some(group_config) }.encode_to_vec()],
        ),
        ("Admin/GetGroup", vec![proto::GetGroupRequest { group: group() }.encode_to_vec()]),
        ("Admin/ListGroups", vec![proto::ListGroupsRequest { page_size: 1, page_token: "a".into() }.encode_to_vec()]),
    ]
}

/// How a request is spoiled.
#[derive(Debug, Clone, Copy)]
struct Spoil {
    call: usize,
    frame: usize,
    how: u8,
    at: usize,
    byte: u8,
}

fn spoils() -> impl Strategy<Value = Spoil> {
    let count = calls().len();
    (0..count, 0..8_usize, 0..6_u8, any::<u16>(), any::<u8>()).prop_map(|(call, frame, how, at, byte)| Spoil {
        call,
        frame,
        how,
        at: at.into(),
        byte,
    })
}

fn spoil(frames: &mut [Vec<u8>], Spoil { frame, how, at, byte, .. }: Spoil) {
    let count = frames.len();
    let bytes = &mut frames[frame % count];
    let at = at % (bytes.len() + 1);
    match how {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|of| *of = byte),
        1 => bytes.truncate(at),
        2 => bytes.insert(at, byte),
        3 => bytes.iter_mut().skip(at).take(1).for_each(|of| *of ^= 1 << (byte % 8)),
        4 => bytes.extend([byte; 40]),
        _ => frames.swap(frame % count, at % count),
    }
}

/// Frames as gRPC has them on the wire.
fn body(frames: &[Vec<u8>]) -> Full<Bytes> {
    let mut body = BytesMut::new();
    for frame in frames {
        body.put_u8(0);
        body.put_u32(u32::try_from(frame.len()).unwrap());
        body.extend_from_slice(frame);
    }
    Full::new(body.freeze())
}

/// The status of a call; that of a stream that goes on is 0.
async fn status(gateway: &Gateway, path: &str, body: Full<Bytes>) -> String {
    let goes_on = |_| "0".to_owned();
    tokio::time::timeout(Duration::from_millis(200), ended(gateway, path, body)).await.unwrap_or_else(goes_on)
}

async fn ended(gateway: &Gateway, path: &str, body: Full<Bytes>) -> String {
    let request = Request::post(format!("/tidegate.v1.{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(body))
        .unwrap();
    let response = gateway.routes.clone().oneshot(request).await.unwrap();
    let of = |headers: &HeaderMap| headers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
    match of(response.headers()) {
        Some(code) => code,
        None => of(&response.into_body().collect().await.unwrap().trailers().cloned().unwrap_or_default()).unwrap(),
    }
}

/// The same inputs in every run.
fn inputs<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Runs::default(), rng);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

#[tokio::test]
async fn spoiled_requests_are_answered() {
    let gateway = Gateway::with(Config { max_wait: Duration::ZERO, ..Config::default() });
    gateway.topic_and_group(1).await;
    let mut answered = std::collections::BTreeMap::new();
    for spoiled in inputs(&spoils(), 3_000) {
        let (path, mut frames) = calls().swap_remove(spoiled.call);
        spoil(&mut frames, spoiled);
        let code = status(&gateway, path, body(&frames)).await;
        // 13 is INTERNAL, which tonic says of what is no protobuf, and 15 DATA_LOSS.
        assert!(!["2", "14", "15"].contains(&code.as_str()), "{path} {spoiled:?}: {code}");
        *answered.entry(code).or_insert(0) += 1;
    }
    assert!(answered.contains_key("0") && answered.contains_key("3"), "{answered:?}");
    gateway.close().await;
}

#[tokio::test]
async fn messages_that_are_too_large_or_compressed_are_refused() {
    let gateway = Gateway::with(Config { max_message_bytes: 1000, ..Default::default() });
    let large =
        proto::PublishRequest { entries: vec![entry(&"x".repeat(1000))], topic: "t".into(), ..Default::default() };
    let code = status(&gateway, "Publisher/Publish", body(&[large.encode_to_vec()])).await;
    assert_eq!(code, "11", "OUT_OF_RANGE, as tonic has it");
    for head in [&[1, 0, 0, 0, 1, 0][..], &[0, 0xff, 0xff, 0xff, 0xff, 0], &[7, 0, 0, 0, 0]] {
        let code = status(&gateway, "Publisher/Publish", Full::new(Bytes::copy_from_slice(head))).await;
        assert_ne!(code, "0");
    }
    gateway.close().await;
}
