//! The services, without a socket, in front of a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admin;
mod bad_input;
mod consume;
mod convert;
mod fetch;
mod groups;
mod publish;
mod publish_stream;
mod sessions;
mod sockets;

use std::sync::Arc;

use futures_util::{Stream, stream};
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig};
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::admin_client::AdminClient;
use tidegate_proto::v1::consumer_client::ConsumerClient;
use tidegate_proto::v1::publish_result::Outcome;
use tidegate_proto::v1::publisher_client::PublisherClient;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::consume::look_after;
use super::{Config, Grpc, routes};
use crate::broker::{Broker, Settings};
use crate::listener::Drain;

/// A gateway on a directory of its own.
pub(super) struct Gateway {
    routes: Routes,
    pub grpc: Grpc,
    pub drain: Drain,
    engine: Engine,
    _directory: tempfile::TempDir,
}

impl Gateway {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::local(directory.path()).unwrap();
        let settings = EngineConfig { segment_bytes: 4 << 20, ..EngineConfig::default() };
        let (engine, _) = Engine::open(settings, environment).unwrap();
        let settings = Settings { partitions: 1, auto_create_topics: true, ..Settings::default() };
        let broker = Broker::open(engine.clone(), settings).unwrap();
        let drain = Drain::default();
        let grpc = Grpc::new(broker, Arc::new(config), [7; 32], drain.clone());
        drain.spawn(look_after(grpc.clone()));
        let routes = routes(grpc.clone());
        Self { routes, grpc, drain, engine, _directory: directory }
    }

    /// Ends the engine's threads.
    pub(super) async fn close(self) {
        self.drain.finish(std::time::Duration::from_secs(10)).await;
        self.engine.close().await.unwrap();
    }

    pub(super) fn publisher(&self) -> PublisherClient<Routes> {
        PublisherClient::new(self.routes.clone())
    }

    pub(super) fn consumer(&self) -> ConsumerClient<Routes> {
        ConsumerClient::new(self.routes.clone())
    }

    pub(super) fn admin(&self) -> AdminClient<Routes> {
        AdminClient::new(self.routes.clone())
    }

    /// A topic `t` with so many partitions, and a group `g` on it.
    pub(super) async fn topic_and_group(&self, partitions: u32) {
        let retention =
            proto::Retention { time: Some(proto::retention::Time::UnlimitedAge(true)), ..Default::default() };
        let config = proto::TopicConfig { retention: Some(retention), ..Default::default() };
        let topic = proto::CreateTopicRequest { topic: "t".into(), partitions: Some(partitions), config: Some(config) };
        self.admin().create_topic(topic).await.unwrap();
        self.group("g", proto::GroupConfig::default()).await;
    }

    /// A group on topic `t`.
    pub(super) async fn group(&self, name: &str, config: proto::GroupConfig) {
        let config = proto::GroupConfig { topics: vec!["t".into()], ..config };
        let group = proto::CreateGroupRequest { group: name.into(), config: Some(config) };
        self.admin().create_group(group).await.unwrap();
    }

    /// Publishes texts to `t`.
    pub(super) async fn publish(&self, texts: impl IntoIterator<Item = String>) {
        let entries = texts.into_iter().map(|text| entry(&text)).collect();
        let request = proto::PublishRequest { topic: "t".into(), entries, ..Default::default() };
        let results = self.publisher().publish(request).await.unwrap().into_inner().results;
        results.into_iter().for_each(|result| drop(published(result)));
    }

    pub(super) async fn pull(&self, request: proto::PullRequest) -> Vec<proto::ReceivedMessage> {
        self.consumer().pull(request).await.unwrap().into_inner().messages
    }
}

pub(super) fn entry(text: &str) -> proto::Entry {
    proto::Entry { message: Some(message(text)), ..Default::default() }
}

pub(super) fn message(text: &str) -> proto::Message {
    proto::Message { value: Some(text.to_owned().into()), ..Default::default() }
}

pub(super) fn text(message: &proto::ReceivedMessage) -> String {
    let value = message.message.as_ref().and_then(|message| message.value.clone());
    String::from_utf8(value.unwrap_or_default().to_vec()).unwrap()
}

pub(super) fn texts(messages: &[proto::ReceivedMessage]) -> Vec<String> {
    messages.iter().map(text).collect()
}

pub(super) fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("m{number}")).collect()
}

#[track_caller]
pub(super) fn published(result: proto::PublishResult) -> proto::Published {
    match result.outcome.unwrap() {
        Outcome::Published(published) => published,
        Outcome::Error(error) => panic!("{error:?}"),
    }
}

#[track_caller]
pub(super) fn refused(result: proto::PublishResult) -> proto::Error {
    match result.outcome.unwrap() {
        Outcome::Published(published) => panic!("{published:?}"),
        Outcome::Error(error) => error,
    }
}

/// Checks the code and that the details say the reason.
#[track_caller]
pub(super) fn assert_status(status: &Status, code: Code, reason: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "tidegate"), "{status:?}");
}

/// What a channel brings, until its sender is gone.
pub(super) fn receiving<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> + Send + 'static {
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)))
}

pub(super) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}
