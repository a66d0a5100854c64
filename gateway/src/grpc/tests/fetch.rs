//! Reading without a group.

use tidegate_proto::v1 as proto;
use tidegate_proto::v1::position::Position as Where;
use tonic::Code;

use super::{Gateway, assert_status, entry, numbered, texts};
use crate::grpc::Config;

fn request() -> proto::FetchRequest {
    proto::FetchRequest { topic: "t".into(), ..Default::default() }
}

fn from(position: Where) -> Option<proto::Position> {
    Some(proto::Position { position: Some(position) })
}

async fn fetch(gateway: &Gateway, request: proto::FetchRequest) -> Vec<String> {
    let mut stream = gateway.consumer().fetch(request).await.unwrap().into_inner();
    let mut found = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        found.extend(texts(&response.messages));
    }
    found
}

#[tokio::test]
async fn a_fetch_ends_where_the_topic_ends() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..5)).await;
    assert_eq!(fetch(&gateway, request()).await, numbered(0..5));
    assert_eq!(fetch(&gateway, proto::FetchRequest { limit: 2, ..request() }).await, numbered(0..2));
    let offset = proto::FetchRequest { from: from(Where::Offset(3)), ..request() };
    assert_eq!(fetch(&gateway, offset).await, numbered(3..5));
    let behind = proto::FetchRequest { from: from(Where::Offset(6)), ..request() };
    let status = gateway.consumer().fetch(behind).await.unwrap().into_inner().message().await.unwrap_err();
    assert_status(&status, Code::OutOfRange, "OUT_OF_RANGE");
    let latest = proto::FetchRequest { from: from(Where::Anchor(proto::Anchor::Latest as i32)), ..request() };
    assert!(fetch(&gateway, latest).await.is_empty());
    gateway.close().await;
}

#[tokio::test]
async fn a_fetch_follows_every_partition() {
    let gateway = Gateway::new();
    gateway.topic_and_group(3).await;
    let follow = proto::FetchRequest { follow: true, limit: 6, ..request() };
    let publish = async {
        for round in 0..2 {
            let to = |partition| proto::Entry { partition: Some(partition), ..entry(&format!("{partition}.{round}")) };
            let entries = (0..3).map(to).collect();
            let request = proto::PublishRequest { topic: "t".into(), entries, ..Default::default() };
            gateway.publisher().publish(request).await.unwrap();
        }
    };
    let (mut found, ()) = tokio::join!(fetch(&gateway, follow), publish);
    found.sort();
    assert_eq!(found, ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]);
    gateway.close().await;
}

#[tokio::test]
async fn what_was_removed_is_a_gap() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..4)).await;
    let grpc = &gateway.grpc;
    let topic = grpc.broker.topic_for_read(&grpc.principal, "t").unwrap();
    grpc.broker.delete_records(&grpc.principal, "t", topic.partitions[0], Some(2)).await.unwrap();
    let request = proto::FetchRequest { from: from(Where::Offset(0)), ..request() };
    let mut stream = gateway.consumer().fetch(request).await.unwrap().into_inner();
    let gap = stream.message().await.unwrap().unwrap().gaps.remove(0);
    assert_eq!((gap.partition, gap.from, gap.to), (0, 0, 2));
    assert_eq!(texts(&stream.message().await.unwrap().unwrap().messages), numbered(2..4));
    gateway.close().await;
}

#[tokio::test]
async fn what_cannot_be_fetched_is_refused() {
    let gateway = Gateway::with(Config { max_fetch_partitions: 2, ..Config::default() });
    gateway.topic_and_group(3).await;
    let failing = async |request: proto::FetchRequest| {
        let mut stream = gateway.consumer().fetch(request).await.unwrap().into_inner();
        stream.message().await.unwrap_err()
    };
    assert_status(&failing(request()).await, Code::InvalidArgument, "INVALID");
    let none = proto::FetchRequest { topic: "none".into(), ..Default::default() };
    assert_status(&failing(none).await, Code::NotFound, "NOT_FOUND");
    let far = proto::FetchRequest { partition: Some(0), from: from(Where::Offset(9)), follow: true, ..request() };
    assert_status(&failing(far).await, Code::OutOfRange, "OUT_OF_RANGE");
    gateway.close().await;
}
