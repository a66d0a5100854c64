//! Pulling, settling, moving a group, lag.

use tidegate_proto::v1 as proto;
use tidegate_proto::v1::position::Position as Where;
use tonic::Code;

use super::{Gateway, assert_status, numbered, seconds, texts};

fn all() -> proto::PullRequest {
    proto::PullRequest { group: "g".into(), ..Default::default() }
}

fn waiting() -> proto::PullRequest {
    proto::PullRequest { wait: Some(seconds(30)), ..all() }
}

fn ack_ids(messages: &[proto::ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|message| message.ack_id.clone()).collect()
}

async fn ack(gateway: &Gateway, group: &str, ack_ids: Vec<String>) -> Vec<proto::SettleResult> {
    let request = proto::AckRequest { group: group.into(), ack_ids };
    gateway.consumer().ack(request).await.unwrap().into_inner().results
}

async fn nack(gateway: &Gateway, ack_ids: Vec<String>, rejection: proto::Rejection) {
    let request = proto::NackRequest { group: "g".into(), ack_ids, rejection: Some(rejection) };
    let results = gateway.consumer().nack(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.error.is_none()), "{results:?}");
}

#[tokio::test]
async fn what_is_acknowledged_is_gone() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..3)).await;
    let pulled = gateway.pull(all()).await;
    assert_eq!(texts(&pulled), ["m0", "m1", "m2"]);
    assert!(pulled.iter().all(|message| message.delivery_attempt == 1 && !message.redelivered));
    let mut ids = ack_ids(&pulled);
    ids.truncate(2);
    ids.push("forged".into());
    let results = ack(&gateway, "g", ids.clone()).await;
    let reasons: Vec<_> =
        results.iter().map(|result| result.error.as_ref().map(|error| error.reason.as_str())).collect();
    assert_eq!(reasons, [None, None, Some("INVALID")]);
    let again = ack(&gateway, "g", ids).await;
    assert_eq!(again[0].error.as_ref().unwrap().reason, "LEASE_GONE");
    let lag = gateway.consumer().get_lag(proto::GetLagRequest { group: "g".into() }).await.unwrap().into_inner();
    assert_eq!((lag.messages, lag.partitions[0].committed), (1, Some(2)));
    assert!(lag.oldest_age.is_some());
    gateway.close().await;
}

#[tokio::test]
async fn an_ack_id_is_of_one_group() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.group("h", proto::GroupConfig::default()).await;
    gateway.publish(numbered(0..1)).await;
    let ids = ack_ids(&gateway.pull(all()).await);
    let foreign = ack(&gateway, "h", ids).await;
    assert_eq!(foreign[0].error.as_ref().unwrap().code, Code::InvalidArgument as i32);
    gateway.close().await;
}

#[tokio::test]
async fn failed_messages_come_again_and_then_go_to_the_dead() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway
        .admin()
        .create_topic(proto::CreateTopicRequest { topic: "dead".into(), ..Default::default() })
        .await
        .unwrap();
    let config = proto::GroupConfig { max_deliveries: Some(2), dead_letter: "dead".into(), ..Default::default() };
    gateway.group("p", config).await;
    gateway.publish(["poison".to_owned()]).await;
    let pull = async || gateway.pull(proto::PullRequest { group: "p".into(), ..waiting() }).await;
    for (attempt, rejection) in [
        (1, proto::Rejection { uncounted: true, ..Default::default() }),
        (1, proto::Rejection { reason: "does not parse".into(), ..Default::default() }),
        (2, proto::Rejection { reason: "does not parse".into(), ..Default::default() }),
    ] {
        let pulled = pull().await;
        assert_eq!((texts(&pulled), pulled[0].delivery_attempt), (vec!["poison".to_owned()], attempt));
        let request = proto::NackRequest { group: "p".into(), ack_ids: ack_ids(&pulled), rejection: Some(rejection) };
        gateway.consumer().nack(request).await.unwrap();
    }
    let request = proto::FetchRequest { topic: "dead".into(), follow: true, limit: 1, ..Default::default() };
    let mut fetched = gateway.consumer().fetch(request).await.unwrap().into_inner();
    let dead = fetched.message().await.unwrap().unwrap().messages.remove(0);
    let origin = dead.dead_letter.clone().unwrap();
    assert_eq!((origin.reason.as_str(), origin.topic.as_str(), origin.offset), ("does not parse", "t", Some(0)));
    gateway.close().await;
}

#[tokio::test]
async fn giving_back_goes_with_nothing_else() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let rejection = proto::Rejection { uncounted: true, dead_letter: true, ..Default::default() };
    let request = proto::NackRequest { group: "g".into(), ack_ids: Vec::new(), rejection: Some(rejection) };
    assert_status(&gateway.consumer().nack(request).await.unwrap_err(), Code::InvalidArgument, "INVALID");
    gateway.close().await;
}

#[tokio::test]
async fn a_deadline_is_extended() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish(numbered(0..1)).await;
    let pulled = gateway.pull(proto::PullRequest { ack_deadline: Some(seconds(3600)), ..all() }).await;
    for ack_deadline in [Some(seconds(7200)), None] {
        let request = proto::ExtendRequest { group: "g".into(), ack_ids: ack_ids(&pulled), ack_deadline };
        let results = gateway.consumer().extend(request).await.unwrap().into_inner().results;
        assert_eq!(results[0].error, None);
    }
    let none = proto::PullRequest { ack_deadline: Some(seconds(0)), ..all() };
    assert_status(&gateway.consumer().pull(none).await.unwrap_err(), Code::InvalidArgument, "INVALID");
    gateway.close().await;
}

#[tokio::test]
async fn a_pull_waits_for_a_message_or_the_drain() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let (pulled, ()) = tokio::join!(gateway.pull(waiting()), gateway.publish(numbered(0..1)));
    assert_eq!(texts(&pulled), ["m0"]);
    nack(&gateway, ack_ids(&pulled), proto::Rejection { delay: Some(seconds(3600)), ..Default::default() }).await;
    let drain = gateway.drain.clone();
    let (pulled, _) = tokio::join!(gateway.pull(waiting()), drain.finish(std::time::Duration::ZERO));
    assert!(pulled.is_empty());
    gateway.close().await;
}

#[tokio::test]
async fn a_group_is_moved() {
    let gateway = Gateway::new();
    gateway.topic_and_group(2).await;
    let at = |number: i64| proto::Entry {
        partition: Some(1),
        message: Some(proto::Message {
            timestamp: Some(prost_types::Timestamp { seconds: 1_767_225_600 + number, nanos: 0 }),
            ..super::message(&number.to_string())
        }),
        ..Default::default()
    };
    let request = proto::PublishRequest { topic: "t".into(), entries: (0..4).map(at).collect(), ..Default::default() };
    gateway.publisher().publish(request).await.unwrap();
    let seek = async |request: proto::SeekRequest| {
        let request = proto::SeekRequest { group: "g".into(), ..request };
        gateway.consumer().seek(request).await.map(|sought| sought.into_inner().positions)
    };
    let to =
        |position| proto::SeekRequest { to: Some(proto::Position { position: Some(position) }), ..Default::default() };
    let one = |partition, offset| proto::SeekRequest {
        offsets: vec![proto::PartitionOffset { topic: "t".into(), partition, offset }],
        ..Default::default()
    };
    let latest = to(Where::Anchor(proto::Anchor::Latest as i32));
    let sought = seek(latest.clone()).await.unwrap();
    assert_eq!((sought[1].partition, sought[1].offset), (1, 4));
    assert!(gateway.pull(all()).await.is_empty());
    seek(to(Where::Timestamp(prost_types::Timestamp { seconds: 1_767_225_602, nanos: 0 }))).await.unwrap();
    assert_eq!(texts(&gateway.pull(all()).await), ["2", "3"]);
    seek(one(1, 3)).await.unwrap();
    assert_eq!(texts(&gateway.pull(all()).await), ["3"]);
    let mut elsewhere = one(0, 0);
    elsewhere.offsets[0].topic = "other".into();
    for (request, code) in [
        (proto::SeekRequest::default(), Code::InvalidArgument),
        (to(Where::Offset(3)), Code::InvalidArgument),
        (to(Where::Anchor(77)), Code::InvalidArgument),
        (proto::SeekRequest { topics: vec!["other".into()], ..latest.clone() }, Code::InvalidArgument),
        (proto::SeekRequest { offsets: one(1, 1).offsets, ..latest }, Code::InvalidArgument),
        (elsewhere, Code::InvalidArgument),
        (one(2, 0), Code::NotFound),
        (one(1, 5), Code::OutOfRange),
    ] {
        assert_eq!(seek(request.clone()).await.unwrap_err().code(), code, "{request:?}");
    }
    gateway.close().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found_and_says_what_to_do() {
    let gateway = Gateway::new();
    let mut consumer = gateway.consumer();
    let group = || "none".to_owned();
    let statuses = [
        consumer.pull(proto::PullRequest { group: group(), ..Default::default() }).await.unwrap_err(),
        consumer.ack(proto::AckRequest { group: group(), ..Default::default() }).await.unwrap_err(),
        consumer.nack(proto::NackRequest { group: group(), ..Default::default() }).await.unwrap_err(),
        consumer.extend(proto::ExtendRequest { group: group(), ..Default::default() }).await.unwrap_err(),
        consumer.seek(proto::SeekRequest { group: group(), ..Default::default() }).await.unwrap_err(),
        consumer.get_lag(proto::GetLagRequest { group: group() }).await.unwrap_err(),
    ];
    for status in statuses {
        assert_status(&status, Code::NotFound, "NOT_FOUND");
        assert!(status.message().contains("CreateGroup"), "{status:?}");
    }
    gateway.close().await;
}
