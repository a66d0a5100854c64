//! Sessions: what outlives a broken stream, and what happens when nobody comes back.

use std::time::Duration;

use tidegate_proto::v1 as proto;
use tidegate_proto::v1::consume_request::{self as request, Frame as Request};
use tidegate_proto::v1::consume_response::Frame as Response;
use tonic::Code;

use super::consume::{Consumer, start, with_credit};
use super::{Gateway, assert_status, numbered, texts};
use crate::grpc::Config;

async fn gateway(grace: Duration) -> Gateway {
    let gateway = Gateway::with(Config { session_grace: grace, ..Config::default() });
    gateway.topic_and_group(1).await;
    gateway
}

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(1);

fn again(session_id: String, received_up_to: Option<u64>, messages: u64) -> request::Start {
    request::Start { session_id, received_up_to, ..with_credit(messages) }
}

#[tokio::test]
async fn a_consumer_that_comes_back_goes_on() {
    let gateway = gateway(LONG).await;
    gateway.publish(numbered(0..5)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(3)).await;
    consumer.messages(3).await;
    consumer.ack(&[2], 0, 1).await;
    consumer.ack_result().await;
    let session_id = consumer.break_off().session_id;
    // Others do not get what is kept.
    let mut other = Consumer::open(&gateway, with_credit(1)).await;
    assert_eq!(texts(&other.messages(1).await), ["m3"]);
    let mut consumer = Consumer::open(&gateway, again(session_id.clone(), None, 10)).await;
    assert!(consumer.started.resumed);
    assert_eq!((&consumer.started.session_id, consumer.started.unsettled.as_slice()), (&session_id, &[1, 3][..]));
    // What is held is not sent again; what comes new has new numbers.
    let next = consumer.messages(1).await;
    assert_eq!((texts(&next), next[0].delivery_id), (vec!["m4".to_owned()], 4));
    consumer.ack(&[1, 3], 0, 2).await;
    assert_eq!(consumer.ack_result().await.failed, []);
    gateway.close().await;
}

#[tokio::test]
async fn what_was_not_received_is_delivered_again_in_order() {
    let gateway = gateway(LONG).await;
    gateway.publish(numbered(0..4)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(4)).await;
    consumer.messages(4).await;
    let session_id = consumer.break_off().session_id;
    let mut consumer = Consumer::open(&gateway, again(session_id, Some(1), 10)).await;
    assert_eq!(consumer.started.unsettled, [1]);
    let messages = consumer.messages(3).await;
    assert_eq!(texts(&messages), ["m1", "m2", "m3"]);
    assert_eq!(messages.iter().map(|message| message.delivery_id).collect::<Vec<_>>(), [5, 6, 7]);
    assert!(messages.iter().all(|message| message.delivery_attempt == 1));
    gateway.close().await;
}

#[tokio::test]
async fn nobody_comes_back() {
    let gateway = gateway(SHORT).await;
    gateway.publish(numbered(0..4)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(4)).await;
    consumer.messages(4).await;
    consumer.ack(&[2], 0, 1).await;
    consumer.ack_result().await;
    let session_id = consumer.break_off().session_id;
    let mut other = Consumer::open(&gateway, with_credit(10)).await;
    assert_eq!(texts(&other.messages(3).await), ["m0", "m2", "m3"]);
    let late = Consumer::open(&gateway, again(session_id.clone(), None, 0)).await;
    assert!(!late.started.resumed && late.started.session_id != session_id);
    gateway.close().await;
}

#[tokio::test]
async fn a_consumer_that_closes_gives_back_at_once() {
    let gateway = gateway(LONG).await;
    gateway.publish(numbered(0..3)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(3)).await;
    consumer.messages(3).await;
    let session_id = consumer.started.session_id.clone();
    consumer.close().await;
    let mut other = Consumer::open(&gateway, again(session_id, None, 10)).await;
    assert!(!other.started.resumed);
    assert_eq!(texts(&other.messages(3).await), numbered(0..3));
    gateway.close().await;
}

#[tokio::test]
async fn the_newest_stream_has_the_session() {
    let gateway = gateway(LONG).await;
    gateway.publish(numbered(0..2)).await;
    let mut first = Consumer::open(&gateway, with_credit(1)).await;
    first.messages(1).await;
    let session_id = first.started.session_id.clone();
    let mut second = Consumer::open(&gateway, again(session_id.clone(), None, 1)).await;
    assert!(second.started.resumed);
    assert_status(&first.next().await.unwrap_err(), Code::Aborted, "SESSION_TAKEN_OVER");
    drop(first);
    assert_eq!(texts(&second.messages(1).await), ["m1"]);
    second.ack(&[1, 2], 0, 1).await;
    assert_eq!(second.ack_result().await.failed, []);
    gateway.close().await;
}

#[tokio::test]
async fn a_session_is_of_one_group() {
    let gateway = gateway(LONG).await;
    gateway.group("h", proto::GroupConfig::default()).await;
    let consumer = Consumer::open(&gateway, start()).await;
    let session_id = consumer.break_off().session_id;
    let other = request::Start { group: "h".into(), ..again(session_id, None, 0) };
    assert!(!Consumer::open(&gateway, other).await.started.resumed);
    gateway.close().await;
}

#[tokio::test]
async fn a_time_limit_of_its_own_ends_a_delivery() {
    let gateway = gateway(LONG).await;
    gateway.publish(numbered(0..2)).await;
    let ack_deadline = Some(prost_types::Duration { seconds: 0, nanos: 200_000_000 });
    let start = request::Start { ack_deadline, ..with_credit(2) };
    let mut consumer = Consumer::open(&gateway, start).await;
    let messages = consumer.messages(2).await;
    assert!(messages.iter().all(|message| message.ack_deadline.is_some()));
    let hour = Some(super::seconds(3600));
    let extend = request::Extend { delivery_ids: vec![2], request_seq: 1, ack_deadline: hour, ..Default::default() };
    consumer.send(Request::Extend(extend)).await;
    assert_eq!(consumer.ack_result().await.failed, []);
    let lost = match consumer.frame().await {
        Response::LeaseExpired(lost) => lost.delivery_ids,
        other => panic!("{other:?}"),
    };
    assert_eq!(lost, [1]);
    consumer.credit(1, 0).await;
    let again = consumer.messages(1).await;
    assert_eq!((texts(&again), again[0].delivery_attempt), (vec!["m0".to_owned()], 2));
    gateway.close().await;
}

#[tokio::test]
async fn a_group_that_is_moved_or_gone_takes_its_deliveries_back() {
    let gateway = gateway(LONG).await;
    gateway.publish(numbered(0..2)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(2)).await;
    consumer.messages(2).await;
    let position = proto::PartitionOffset { topic: "t".into(), partition: 0, offset: 0 };
    let seek = proto::SeekRequest { group: "g".into(), offsets: vec![position], ..Default::default() };
    gateway.consumer().seek(seek).await.unwrap();
    consumer.ack(&[1], 0, 1).await;
    assert_eq!(consumer.ack_result().await.failed[0].error.as_ref().unwrap().reason, "LEASE_GONE");
    gateway.admin().delete_group(proto::DeleteGroupRequest { group: "g".into() }).await.unwrap();
    consumer.credit(1, 0).await;
    assert_status(&consumer.next().await.unwrap_err(), Code::NotFound, "NOT_FOUND");
    gateway.close().await;
}
