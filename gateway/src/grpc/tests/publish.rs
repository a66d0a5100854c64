//! Publishing in one call.

use tidegate_proto::v1 as proto;
use tonic::Code;

use super::{Gateway, assert_status, entry, message, published, refused, texts};
use crate::grpc::Config;

fn request(entries: Vec<proto::Entry>) -> proto::PublishRequest {
    proto::PublishRequest { topic: "t".into(), entries, ..Default::default() }
}

async fn publish(gateway: &Gateway, request: proto::PublishRequest) -> Vec<proto::PublishResult> {
    gateway.publisher().publish(request).await.unwrap().into_inner().results
}

#[tokio::test]
async fn each_entry_has_its_result() {
    let gateway = Gateway::new();
    gateway.topic_and_group(2).await;
    let unordered = proto::Properties { priority: Some(32), ..Default::default() };
    let entries = vec![
        proto::Entry { partition: Some(1), ..entry("a") },
        proto::Entry { partition: Some(9), ..entry("b") },
        proto::Entry { partition: Some(1), ..entry("c") },
        proto::Entry { topic: "other".into(), ..entry("d") },
        proto::Entry::default(),
        proto::Entry {
            message: Some(proto::Message { properties: Some(Box::new(unordered)), ..message("e") }),
            ..Default::default()
        },
        proto::Entry { topic: "__consumer_offsets".into(), ..entry("f") },
    ];
    let mut results = publish(&gateway, request(entries)).await.into_iter();
    let mut next = || results.next().unwrap();
    let first = published(next());
    assert_eq!((first.topic.as_str(), first.partition, first.offset), ("t", 1, Some(0)));
    assert_eq!((first.durability(), first.duplicate), (proto::Durability::Fsync, false));
    assert!(first.timestamp.is_some());
    assert_eq!(refused(next()).reason, "NOT_FOUND");
    assert_eq!(published(next()).offset, Some(1));
    assert_eq!(published(next()).topic, "other");
    assert!(refused(next()).message.contains("no message"));
    assert!(refused(next()).message.contains("0 to 31"));
    let internal = refused(next());
    assert_eq!((internal.code, internal.reason.as_str()), (Code::PermissionDenied as i32, "FORBIDDEN"));
    gateway.close().await;
}

#[tokio::test]
async fn atomic_is_all_or_nothing() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let entries = vec![entry("a"), proto::Entry { partition: Some(9), ..entry("b") }];
    let atomic = proto::PublishRequest { atomic: true, ..request(entries) };
    let status = gateway.publisher().publish(atomic).await.unwrap_err();
    assert_status(&status, Code::NotFound, "NOT_FOUND");
    assert!(status.message().starts_with("entries[1]"), "{status:?}");
    let both = vec![entry("a"), proto::Entry { topic: "u".into(), ..entry("b") }];
    let results = publish(&gateway, proto::PublishRequest { atomic: true, ..request(both) }).await;
    assert!(results.into_iter().all(|result| published(result).offset == Some(0)));
    gateway.close().await;
}

#[tokio::test]
async fn a_key_stores_once() {
    let gateway = Gateway::new();
    gateway.topic_and_group(3).await;
    let keyed = |text: &str| proto::Entry { idempotency_key: "k".into(), ..entry(text) };
    let first = published(publish(&gateway, request(vec![keyed("a")])).await.remove(0));
    let again = published(publish(&gateway, request(vec![keyed("a")])).await.remove(0));
    assert!(again.duplicate && !first.duplicate);
    assert_eq!((again.partition, again.offset), (first.partition, first.offset));
    let other = refused(publish(&gateway, request(vec![keyed("b")])).await.remove(0));
    assert_eq!((other.code, other.reason.as_str()), (Code::FailedPrecondition as i32, "IDEMPOTENCY_KEY_REUSED"));
    assert_eq!(other.retry_after, None);
    gateway.close().await;
}

#[tokio::test]
async fn a_key_covers_a_whole_request() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let whole = proto::PublishRequest { idempotency_key: "w".into(), ..request(vec![entry("a"), entry("b")]) };
    publish(&gateway, whole.clone()).await;
    let again = publish(&gateway, whole).await;
    let offsets: Vec<_> = again.into_iter().map(|result| published(result)).map(|p| (p.offset, p.duplicate)).collect();
    assert_eq!(offsets, [(Some(0), true), (Some(1), true)]);
    assert_eq!(gateway.pull(proto::PullRequest { group: "g".into(), ..Default::default() }).await.len(), 2);
    gateway.close().await;
}

#[tokio::test]
async fn a_delay_holds_a_message_back() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let late = proto::Entry { delay: Some(super::seconds(3600)), ..entry("late") };
    let results = publish(&gateway, request(vec![late, entry("now")])).await;
    let offsets: Vec<_> = results.into_iter().map(|result| published(result).offset).collect();
    assert_eq!(offsets, [None, Some(0)]);
    let pulled = gateway.pull(proto::PullRequest { group: "g".into(), ..Default::default() }).await;
    assert_eq!(texts(&pulled), ["now"]);
    gateway.close().await;
}

#[tokio::test]
async fn too_many_entries_are_refused() {
    let gateway = Gateway::with(Config { max_batch_messages: 2, ..Config::default() });
    let status = gateway.publisher().publish(request(vec![entry("a"); 3])).await.unwrap_err();
    assert_status(&status, Code::ResourceExhausted, "TOO_LARGE");
    assert!(status.message().contains("max_batch_messages"), "{status:?}");
    gateway.close().await;
}

#[tokio::test]
async fn a_topic_that_may_not_be_made_is_not_found() {
    let gateway = Gateway::new();
    let settings = crate::broker::Settings { auto_create_topics: false, ..(*gateway.grpc.broker.settings()).clone() };
    gateway.grpc.broker.set_settings(settings);
    let refusal = refused(publish(&gateway, request(vec![entry("a")])).await.remove(0));
    assert_eq!(refusal.reason, "NOT_FOUND");
    let refusal = refused(
        publish(&gateway, proto::PublishRequest { entries: vec![entry("a")], ..Default::default() }).await.remove(0),
    );
    assert!(refusal.message.contains("names no topic"), "{refusal:?}");
    gateway.close().await;
}

#[tokio::test]
async fn what_is_refused_for_itself_creates_no_topic() {
    let gateway = Gateway::new();
    let entries = vec![entry("a"), proto::Entry::default()];
    let atomic = proto::PublishRequest { topic: "new".into(), atomic: true, ..request(entries) };
    let status = gateway.publisher().publish(atomic).await.unwrap_err();
    assert!(status.message().starts_with("entries[1]"), "{status:?}");
    let alone = proto::PublishRequest { topic: "new".into(), ..request(vec![proto::Entry::default()]) };
    assert_eq!(refused(publish(&gateway, alone).await.remove(0)).reason, "INVALID");
    let found = gateway.admin().get_topic(proto::GetTopicRequest { topic: "new".into() }).await;
    assert_status(&found.unwrap_err(), Code::NotFound, "NOT_FOUND");
    gateway.close().await;
}
