//! Consuming as a stream: credit, settling, the ends of a stream.

use tidegate_proto::v1 as proto;
use tidegate_proto::v1::consume_request::{self as request, Frame as Request};
use tidegate_proto::v1::consume_response::{self as response, Frame as Response};
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{Gateway, assert_status, numbered, receiving, seconds, text, texts};
use crate::grpc::Config;

/// Both ends of a stream.
pub(super) struct Consumer {
    pub frames: mpsc::Sender<proto::ConsumeRequest>,
    responses: Streaming<proto::ConsumeResponse>,
    pub started: response::Started,
}

pub(super) fn start() -> request::Start {
    request::Start { group: "g".into(), ..Default::default() }
}

pub(super) fn with_credit(messages: u64) -> request::Start {
    request::Start { credit: Some(request::Credit { messages, bytes: 0 }), ..start() }
}

impl Consumer {
    pub(super) async fn open(gateway: &Gateway, start: request::Start) -> Self {
        Self::try_open(gateway, start).await.unwrap()
    }

    pub(super) async fn try_open(gateway: &Gateway, start: request::Start) -> Result<Self, Status> {
        let (frames, receiver) = mpsc::channel(1000);
        frames.send(proto::ConsumeRequest { frame: Some(Request::Start(start)) }).await.unwrap();
        let mut responses = gateway.consumer().consume(receiving(receiver)).await?.into_inner();
        match responses.message().await?.unwrap().frame.unwrap() {
            Response::Started(started) => Ok(Self { frames, responses, started }),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn send(&self, frame: Request) {
        self.frames.send(proto::ConsumeRequest { frame: Some(frame) }).await.unwrap();
    }

    pub(super) async fn credit(&self, messages: u64, bytes: u64) {
        self.send(Request::Credit(request::Credit { messages, bytes })).await;
    }

    pub(super) async fn ack(&self, delivery_ids: &[u64], up_to: u64, request_seq: u64) {
        let delivery_ids = delivery_ids.to_vec();
        self.send(Request::Ack(request::Ack { delivery_ids, up_to, request_seq })).await;
    }

    pub(super) async fn next(&mut self) -> Result<Option<Response>, Status> {
        Ok(self.responses.message().await?.map(|response| response.frame.unwrap()))
    }

    pub(super) async fn frame(&mut self) -> Response {
        self.next().await.unwrap().expect("a frame")
    }

    /// So many messages, in as many frames as they come.
    pub(super) async fn messages(&mut self, count: usize) -> Vec<proto::ReceivedMessage> {
        let mut messages = Vec::new();
        while messages.len() < count {
            match self.frame().await {
                Response::Messages(more) => messages.extend(more.messages),
                other => panic!("{other:?}"),
            }
        }
        messages
    }

    pub(super) async fn ack_result(&mut self) -> response::AckResult {
        match self.frame().await {
            Response::AckResult(result) => result,
            other => panic!("{other:?}"),
        }
    }

    /// Whether nothing else comes before the answer to a ping.
    pub(super) async fn is_silent(&mut self) -> bool {
        self.send(Request::Ping(request::Ping { nonce: 99 })).await;
        matches!(self.frame().await, Response::Pong(response::Pong { nonce: 99 }))
    }

    /// As when the connection breaks.
    pub(super) fn break_off(self) -> response::Started {
        self.started
    }

    /// Closes its side and waits for the end.
    pub(super) async fn close(self) {
        let Self { frames, mut responses, .. } = self;
        drop(frames);
        while responses.message().await.unwrap().is_some() {}
    }
}

#[tokio::test]
async fn messages_come_within_credit() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..10)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(2)).await;
    let first = consumer.messages(2).await;
    assert_eq!(texts(&first), ["m0", "m1"]);
    assert_eq!(first.iter().map(|message| message.delivery_id).collect::<Vec<_>>(), [1, 2]);
    assert!(consumer.is_silent().await);
    consumer.credit(1, 0).await;
    consumer.credit(2, 0).await;
    assert_eq!(texts(&consumer.messages(3).await), ["m2", "m3", "m4"]);
    assert!(consumer.is_silent().await);
    gateway.close().await;
}

#[tokio::test]
async fn bytes_are_credit_too() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish((0..5).map(|_| "x".repeat(100))).await;
    let start = request::Start { credit: Some(request::Credit { messages: 10, bytes: 150 }), ..start() };
    let mut consumer = Consumer::open(&gateway, start).await;
    assert_eq!(consumer.messages(2).await.len(), 2);
    assert!(consumer.is_silent().await);
    // 50 were owed.
    consumer.credit(0, 50).await;
    assert!(consumer.is_silent().await);
    consumer.credit(0, 1).await;
    assert_eq!(consumer.messages(1).await.len(), 1);
    assert!(consumer.is_silent().await);
    gateway.close().await;
}

#[tokio::test]
async fn messages_come_as_they_are_published() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut consumer = Consumer::open(&gateway, with_credit(100)).await;
    for number in 0..5 {
        let (messages, ()) = tokio::join!(consumer.messages(1), gateway.publish([format!("m{number}")]));
        assert_eq!(text(&messages[0]), format!("m{number}"));
    }
    gateway.close().await;
}

#[tokio::test]
async fn settlements_are_answered_with_what_failed() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..6)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(6)).await;
    consumer.messages(6).await;
    consumer.ack(&[1, 3, 77], 0, 5).await;
    let result = consumer.ack_result().await;
    assert_eq!(result.request_seq, 5);
    let failed: Vec<_> = result
        .failed
        .iter()
        .map(|failed| (failed.delivery_id, failed.error.as_ref().unwrap().reason.as_str()))
        .collect();
    assert_eq!(failed, [(77, "LEASE_GONE")]);
    consumer.ack(&[6], 4, 6).await;
    consumer.ack(&[3], 0, 7).await;
    assert_eq!(consumer.ack_result().await.failed, []);
    assert_eq!(consumer.ack_result().await.failed.len(), 1);
    let lag = gateway.consumer().get_lag(proto::GetLagRequest { group: "g".into() }).await.unwrap().into_inner();
    assert_eq!((lag.messages, lag.partitions[0].committed), (1, Some(4)));
    gateway.close().await;
}

#[tokio::test]
async fn rejected_messages_come_again() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..2)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(4)).await;
    consumer.messages(2).await;
    consumer.send(Request::Nack(request::Nack { up_to: 2, request_seq: 1, ..Default::default() })).await;
    let (mut again, mut answered) = (Vec::new(), false);
    while again.len() < 2 || !answered {
        match consumer.frame().await {
            Response::Messages(more) => again.extend(more.messages),
            Response::AckResult(result) => answered = result.failed.is_empty(),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts(&again), ["m0", "m1"]);
    assert!(again.iter().all(|message| message.delivery_attempt == 2 && message.redelivered), "{again:?}");
    assert_eq!(again.iter().map(|message| message.delivery_id).collect::<Vec<_>>(), [3, 4]);
    gateway.close().await;
}

#[tokio::test]
async fn nobody_acknowledges_when_nobody_has_to() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..5)).await;
    let start = request::Start { ack_mode: proto::AckMode::None.into(), ..with_credit(3) };
    let mut consumer = Consumer::open(&gateway, start).await;
    assert!(consumer.messages(3).await.iter().all(|message| message.delivery_id == 0));
    consumer.close().await;
    let pulled = gateway.pull(proto::PullRequest { group: "g".into(), ..Default::default() }).await;
    assert_eq!(texts(&pulled), ["m3", "m4"]);
    gateway.close().await;
}

#[tokio::test]
async fn what_came_with_a_drain_is_answered_before_the_end() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..1)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(1)).await;
    consumer.messages(1).await;
    // Nobody reads while these arrive together.
    for nonce in 0..5 {
        consumer.send(Request::Ping(request::Ping { nonce })).await;
    }
    consumer.ack(&[], 1, 7).await;
    consumer.send(Request::Drain(request::Drain {})).await;
    for expected in 0..5 {
        assert!(matches!(consumer.frame().await, Response::Pong(response::Pong { nonce }) if nonce == expected));
    }
    assert_eq!(consumer.ack_result().await, response::AckResult { request_seq: 7, failed: Vec::new() });
    assert_eq!(consumer.next().await.unwrap(), None);
    gateway.close().await;
}

#[tokio::test]
async fn a_drained_consumer_ends_when_all_is_settled() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..3)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(2)).await;
    consumer.messages(2).await;
    consumer.send(Request::Drain(request::Drain {})).await;
    consumer.credit(5, 0).await;
    assert!(consumer.is_silent().await);
    consumer.ack(&[], 2, 1).await;
    assert_eq!(consumer.ack_result().await.request_seq, 1);
    assert_eq!(consumer.next().await.unwrap(), None);
    gateway.close().await;
}

#[tokio::test]
async fn a_stopping_gateway_lets_consumers_settle() {
    let gateway = Gateway::with(Config { drain_timeout: std::time::Duration::from_secs(60), ..Config::default() });
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..3)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(2)).await;
    consumer.messages(2).await;
    let drain = gateway.drain.clone();
    drain.finish(std::time::Duration::ZERO).await;
    consumer.credit(5, 0).await;
    assert!(matches!(consumer.frame().await, Response::Drain(drain) if drain.deadline.is_some()));
    consumer.ack(&[], 2, 1).await;
    assert_eq!(consumer.ack_result().await.failed, []);
    assert_eq!(consumer.next().await.unwrap(), None);
    gateway.close().await;
}

#[tokio::test]
async fn a_stopping_gateway_does_not_wait_for_ever() {
    let gateway = Gateway::with(Config { drain_timeout: std::time::Duration::from_millis(20), ..Config::default() });
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..1)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(2)).await;
    consumer.messages(1).await;
    gateway.drain.clone().finish(std::time::Duration::ZERO).await;
    assert!(matches!(consumer.frame().await, Response::Drain(_)));
    assert_eq!(consumer.next().await.unwrap(), None);
    gateway.close().await;
}

#[tokio::test]
async fn what_is_no_session_is_refused() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let refused = async |start| Consumer::try_open(&gateway, start).await.err().unwrap();
    let none = request::Start { group: "none".into(), ..Default::default() };
    let status = refused(none).await;
    assert_status(&status, Code::NotFound, "NOT_FOUND");
    assert!(status.message().contains("CreateGroup"));
    let long = request::Start { client_id: "x".repeat(256), ..start() };
    assert_status(&refused(long).await, Code::InvalidArgument, "INVALID");
    let unknown = request::Start { ack_mode: 99, ..start() };
    assert_status(&refused(unknown).await, Code::InvalidArgument, "INVALID");
    let over = request::Start { ack_deadline: Some(seconds(0)), ..start() };
    assert_status(&refused(over).await, Code::InvalidArgument, "INVALID");
    for frame in [None, Some(Request::Ping(request::Ping { nonce: 1 }))] {
        let (frames, receiver) = mpsc::channel(1);
        frames.send(proto::ConsumeRequest { frame }).await.unwrap();
        let mut responses = gateway.consumer().consume(receiving(receiver)).await.unwrap().into_inner();
        assert_status(&responses.message().await.unwrap_err(), Code::InvalidArgument, "INVALID");
    }
    for frame in [None, Some(Request::Start(start()))] {
        let mut consumer = Consumer::open(&gateway, start()).await;
        consumer.frames.send(proto::ConsumeRequest { frame }).await.unwrap();
        assert_status(&consumer.next().await.unwrap_err(), Code::InvalidArgument, "INVALID");
    }
    gateway.close().await;
}

#[tokio::test]
async fn one_session_holds_no_more_than_it_may() {
    let gateway = Gateway::with(Config { max_unsettled: 3, ..Config::default() });
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..6)).await;
    let mut consumer = Consumer::open(&gateway, with_credit(100)).await;
    assert_eq!(consumer.started.max_unsettled, 3);
    consumer.messages(3).await;
    assert!(consumer.is_silent().await);
    consumer.ack(&[2], 0, 1).await;
    let mut found = Vec::new();
    while found.is_empty() {
        if let Response::Messages(more) = consumer.frame().await {
            found.extend(texts(&more.messages));
        }
    }
    assert_eq!(found, ["m3"]);
    gateway.close().await;
}

#[tokio::test]
async fn streams_and_sessions_have_their_limits() {
    let gateway = Gateway::with(Config { max_streams: 2, max_sessions: 1, ..Config::default() });
    gateway.topic_and_group(1).await;
    let first = Consumer::open(&gateway, start()).await;
    let status = Consumer::try_open(&gateway, start()).await.err().unwrap();
    assert_status(&status, Code::ResourceExhausted, "THROTTLED");
    assert!(status.message().contains("max_sessions"), "{status:?}");
    let request = proto::FetchRequest { topic: "t".into(), follow: true, ..Default::default() };
    let _second = gateway.consumer().fetch(request.clone()).await.unwrap();
    let status = gateway.consumer().fetch(request.clone()).await.unwrap_err();
    assert!(status.message().contains("max_streams"), "{status:?}");
    first.close().await;
    gateway.consumer().fetch(request).await.unwrap();
    gateway.close().await;
}
