//! Real connections: health, reflection, limits, and neighbours that do not behave.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_proto::v1 as proto;
use tidegate_proto::v1::consume_request::{self as request, Frame};
use tidegate_proto::v1::consumer_client::ConsumerClient;
use tidegate_proto::v1::publisher_client::PublisherClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::{Gateway, entry, numbered, receiving, texts};
use crate::grpc::{Config, serve};

impl Gateway {
    /// Serves on a free port.
    async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.drain.spawn(serve(listener, self.grpc.clone()));
        address
    }
}

async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn health_is_told() {
    let gateway = Gateway::new();
    let address = gateway.listen().await;
    let mut health = HealthClient::new(connect(address).await);
    for service in ["", "tidegate.v1.Publisher", "tidegate.v1.Consumer", "tidegate.v1.Admin"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "other".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    gateway.close().await;
}

#[tokio::test]
async fn who_watches_health_is_told_of_the_drain_and_let_go() {
    let gateway = Gateway::new();
    let address = gateway.listen().await;
    let mut health = HealthClient::new(connect(address).await);
    let mut watch = async |service: &str| {
        let request = HealthCheckRequest { service: service.into() };
        health.watch(request).await.unwrap().into_inner()
    };
    let (mut whole, mut unknown) = (watch("").await, watch("other").await);
    assert_eq!(whole.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    // Neither client lets go of its connection.
    assert!(gateway.drain.finish(Duration::from_secs(60)).await, "the drain waited for those who watch");
    assert_eq!(whole.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    for mut watch in [whole, unknown] {
        assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    }
    gateway.close().await;
}

#[tokio::test]
async fn the_schema_is_served() {
    let gateway = Gateway::new();
    let address = gateway.listen().await;
    let mut reflection = ServerReflectionClient::new(connect(address).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let asked = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("tidegate.v1.Consumer".into())),
        ask(MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".into())),
    ];
    let mut answers = reflection.server_reflection_info(futures_util::stream::iter(asked)).await.unwrap().into_inner();
    let MessageResponse::ListServicesResponse(services) =
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    else {
        panic!("services");
    };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(
        ["tidegate.v1.Admin", "tidegate.v1.Consumer", "tidegate.v1.Publisher"].iter().all(|name| names.contains(name))
    );
    for _ in 0..2 {
        let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
    }
    drop(answers);
    drop(reflection);
    gateway.close().await;
}

#[tokio::test]
async fn who_keeps_a_stream_of_reflection_open_is_let_go_by_the_drain() {
    let gateway = Gateway::new();
    let address = gateway.listen().await;
    let mut reflection = ServerReflectionClient::new(connect(address).await);
    let (asks, asked) = mpsc::channel(1);
    let list = MessageRequest::ListServices(String::new());
    asks.send(ServerReflectionRequest { host: String::new(), message_request: Some(list) }).await.unwrap();
    let mut answers = reflection.server_reflection_info(receiving(asked)).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    // The client lets go neither of its stream nor of its connection.
    assert!(gateway.drain.finish(Duration::from_secs(60)).await, "the drain waited for a stream of reflection");
    assert!(answers.message().await.unwrap().is_none());
    drop(asks);
    gateway.close().await;
}

/// A consumer that takes nothing from its connection after the first frame.
async fn stuck(
    address: SocketAddr,
    group: &str,
) -> (mpsc::Sender<proto::ConsumeRequest>, tonic::Streaming<proto::ConsumeResponse>) {
    let (frames, receiver) = mpsc::channel(10);
    let credit = Some(request::Credit { messages: 1_000_000, bytes: 0 });
    let start = request::Start { group: group.into(), credit, ..Default::default() };
    frames.send(proto::ConsumeRequest { frame: Some(Frame::Start(start)) }).await.unwrap();
    let mut responses =
        ConsumerClient::new(connect(address).await).consume(receiving(receiver)).await.unwrap().into_inner();
    responses.message().await.unwrap();
    (frames, responses)
}

#[tokio::test]
async fn one_that_does_not_read_slows_nobody_and_holds_little() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.group("other", proto::GroupConfig::default()).await;
    let address = gateway.listen().await;
    let stuck = stuck(address, "g").await;
    let mut publisher = PublisherClient::new(connect(address).await);
    const COUNT: usize = 4_000;
    let body = "x".repeat(1_000);
    for _ in 0..COUNT / 1_000 {
        let entries = vec![entry(&body); 900];
        let request = proto::PublishRequest { topic: "t".into(), entries, ..Default::default() };
        publisher.publish(request).await.unwrap();
    }
    let published = COUNT / 1_000 * 900;
    let mut consumer = ConsumerClient::new(connect(address).await);
    let mut pulled = 0;
    while pulled < published {
        let request = proto::PullRequest {
            group: "other".into(),
            max_messages: 1_000,
            wait: Some(super::seconds(30)),
            ..Default::default()
        };
        pulled += consumer.pull(request).await.unwrap().into_inner().messages.len();
    }
    // What the stuck one was sent is what the windows of its connection hold, and a few frames: not what its credit says.
    let held = gateway.grpc.broker.group(&gateway.grpc.principal, "g").unwrap().unwrap().in_flight;
    assert!(held < published, "{held} of {published} messages were handed to one that does not read");
    drop(stuck);
    gateway.close().await;
}

#[tokio::test]
async fn calls_over_a_connections_limit_wait_and_others_go_on() {
    let gateway = Gateway::with(Config { max_streams_per_connection: 4, ..Config::default() });
    gateway.topic_and_group(1).await;
    let address = gateway.listen().await;
    let greedy = connect(address).await;
    // Until its first answer a client does not know the limit.
    PublisherClient::new(greedy.clone()).publish(proto::PublishRequest::default()).await.unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let mut consumer = ConsumerClient::new(greedy.clone());
        let request = proto::PullRequest { group: "g".into(), wait: Some(super::seconds(30)), ..Default::default() };
        waiting.spawn(async move { consumer.pull(request).await });
    }
    let mut publisher = PublisherClient::new(connect(address).await);
    for text in numbered(0..16) {
        let request = proto::PublishRequest { topic: "t".into(), entries: vec![entry(&text)], ..Default::default() };
        publisher.publish(request).await.unwrap();
    }
    let mut found = Vec::new();
    while found.len() < 16 {
        found.extend(texts(&waiting.join_next().await.unwrap().unwrap().unwrap().into_inner().messages));
    }
    waiting.abort_all();
    gateway.close().await;
}

#[tokio::test]
async fn metadata_has_a_limit() {
    let gateway = Gateway::with(Config { max_metadata_bytes: 4 << 10, ..Config::default() });
    let address = gateway.listen().await;
    let mut publisher = PublisherClient::new(connect(address).await);
    let mut request = tonic::Request::new(proto::PublishRequest::default());
    request.metadata_mut().insert("large", "x".repeat(8 << 10).parse().unwrap());
    assert!(publisher.publish(request).await.is_err());
    // A connection that is well-behaved is served all the same.
    PublisherClient::new(connect(address).await).publish(proto::PublishRequest::default()).await.unwrap();
    gateway.close().await;
}

#[tokio::test]
async fn one_that_says_nothing_is_cut() {
    let gateway = Gateway::with(Config { handshake_timeout: Duration::from_millis(50), ..Config::default() });
    let address = gateway.listen().await;
    for begin in [&b""[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(begin).await.unwrap();
        let mut sink = Vec::new();
        // Ends, well or not.
        let _ = connection.read_to_end(&mut sink).await;
    }
    let (frames, receiver) = mpsc::channel::<proto::ConsumeRequest>(1);
    let mut consumer = ConsumerClient::new(connect(address).await);
    let mut silent = consumer.consume(receiving(receiver)).await.unwrap().into_inner();
    assert_eq!(silent.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    drop(frames);
    gateway.close().await;
}
