//! Publishing as a stream.

use tidegate_proto::v1 as proto;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{Gateway, assert_status, entry, numbered, published, receiving, texts};
use crate::grpc::Config;

/// Both ends of a stream.
struct Stream {
    frames: mpsc::Sender<proto::PublishStreamRequest>,
    responses: Streaming<proto::PublishStreamResponse>,
    window: proto::PublishWindow,
}

impl Stream {
    async fn open(gateway: &Gateway) -> Self {
        let (frames, receiver) = mpsc::channel(1000);
        let mut responses = gateway.publisher().publish_stream(receiving(receiver)).await.unwrap().into_inner();
        let window = responses.message().await.unwrap().unwrap().window.unwrap();
        Self { frames, responses, window }
    }

    async fn send(&self, first_sequence: u64, entries: Vec<proto::Entry>) {
        let frame = proto::PublishStreamRequest { topic: "t".into(), first_sequence, entries, want_results: false };
        self.frames.send(frame).await.unwrap();
    }

    async fn next(&mut self) -> Result<Option<proto::PublishStreamResponse>, Status> {
        self.responses.message().await
    }

    /// Responses up to the one that acknowledges so far.
    async fn until(&mut self, sequence: u64) -> Vec<proto::PublishStreamResponse> {
        let mut responses = Vec::new();
        while responses.last().is_none_or(|last: &proto::PublishStreamResponse| last.acknowledged < sequence) {
            responses.push(self.next().await.unwrap().unwrap());
        }
        responses
    }
}

#[tokio::test]
async fn frames_are_acknowledged_in_order() {
    let gateway = Gateway::new();
    gateway.topic_and_group(3).await;
    let mut stream = Stream::open(&gateway).await;
    assert_eq!(stream.window.messages, Config::default().publish_window_messages as u64);
    for first in (1..=91).step_by(10) {
        stream.send(first, numbered(0..10).iter().map(|text| entry(text)).collect()).await;
    }
    let responses = stream.until(100).await;
    assert!(responses.is_sorted_by_key(|response| response.acknowledged));
    assert!(responses.iter().all(|response| response.failed.is_empty() && response.results.is_empty()));
    let Stream { frames, mut responses, .. } = stream;
    drop(frames);
    assert!(responses.message().await.unwrap().is_none());
    let lag = gateway.consumer().get_lag(proto::GetLagRequest { group: "g".into() }).await.unwrap();
    assert_eq!(lag.into_inner().messages, 100);
    gateway.close().await;
}

#[tokio::test]
async fn what_fails_is_named_and_the_rest_is_stored() {
    let gateway = Gateway::new();
    gateway.topic_and_group(2).await;
    let mut stream = Stream::open(&gateway).await;
    let wrong = proto::Entry { partition: Some(7), ..entry("wrong") };
    stream.send(10, vec![entry("a"), wrong.clone(), entry("b"), wrong]).await;
    let responses = stream.until(13).await;
    let failed: Vec<_> = responses.iter().flat_map(|response| &response.failed).map(|failed| failed.sequence).collect();
    assert_eq!(failed, [11, 13]);
    gateway.close().await;
}

#[tokio::test]
async fn results_come_when_wanted() {
    let gateway = Gateway::new();
    gateway.topic_and_group(2).await;
    let mut stream = Stream::open(&gateway).await;
    let to = |partition, text: &str| proto::Entry { partition: Some(partition), ..entry(text) };
    let frame = proto::PublishStreamRequest {
        topic: "t".into(),
        first_sequence: 0,
        entries: vec![to(0, "a"), to(1, "b"), to(9, "c"), to(0, "d")],
        want_results: true,
    };
    stream.frames.send(frame).await.unwrap();
    let mut responses = stream.until(4).await;
    let results = responses.pop().unwrap().results;
    let sequences: Vec<_> = results.iter().map(|result| result.sequence).collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
    let last = published(results[3].result.clone().unwrap());
    assert_eq!((last.partition, last.offset), (0, Some(1)));
    gateway.close().await;
}

#[tokio::test]
async fn a_gap_ends_the_stream_after_what_came_before() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut stream = Stream::open(&gateway).await;
    stream.send(1, vec![entry("a")]).await;
    stream.until(1).await;
    stream.send(3, vec![entry("b")]).await;
    let status = stream.next().await.unwrap_err();
    assert_status(&status, Code::InvalidArgument, "INVALID");
    gateway.close().await;
}

#[tokio::test]
async fn a_small_window_only_slows() {
    let config = Config { publish_window_messages: 4, publish_window_bytes: 8, ..Config::default() };
    let gateway = Gateway::with(config);
    gateway.topic_and_group(1).await;
    let mut stream = Stream::open(&gateway).await;
    assert_eq!((stream.window.messages, stream.window.bytes), (4, 8));
    for first in (1..=41).step_by(10) {
        stream.send(first, numbered(0..10).iter().map(|text| entry(text)).collect()).await;
    }
    stream.until(50).await;
    gateway.close().await;
}

#[tokio::test]
async fn a_drain_answers_what_was_read_and_ends() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut stream = Stream::open(&gateway).await;
    stream.send(1, vec![entry("a")]).await;
    stream.until(1).await;
    let drain = gateway.drain.clone();
    let (ended, _) = tokio::join!(stream.next(), drain.finish(std::time::Duration::ZERO));
    assert!(ended.unwrap().is_none());
    gateway.close().await;
}

#[tokio::test]
async fn order_is_kept_on_a_partition() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut stream = Stream::open(&gateway).await;
    for number in 0..200 {
        stream.send(0, vec![entry(&format!("m{number}"))]).await;
    }
    stream.until(200).await;
    let pulled = gateway.pull(proto::PullRequest { group: "g".into(), max_messages: 500, ..Default::default() }).await;
    assert_eq!(texts(&pulled), numbered(0..200));
    gateway.close().await;
}
