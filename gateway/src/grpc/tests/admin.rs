//! Topics and groups.

use tidegate_proto::v1 as proto;
use tidegate_proto::v1::retention::{Size, Time};
use tonic::Code;

use super::{Gateway, assert_status, seconds};

#[tokio::test]
async fn a_topic_is_as_it_was_made() {
    let gateway = Gateway::new();
    let mut admin = gateway.admin();
    let config = proto::TopicConfig {
        durability: proto::Durability::PageCache.into(),
        retention: Some(proto::Retention {
            time: Some(Time::MaxAge(seconds(3600))),
            size: Some(Size::MaxBytes(1 << 20)),
            until_acknowledged: Some(true),
            compact: Some(false),
            tombstones: Some(seconds(60)),
        }),
        max_message_bytes: Some(5000),
        log_append_time: Some(true),
    };
    let create = proto::CreateTopicRequest { topic: "t".into(), partitions: Some(3), config: Some(config) };
    let made = admin.create_topic(create.clone()).await.unwrap().into_inner();
    assert_eq!((made.name.as_str(), made.partitions, made.config.as_ref()), ("t", 3, Some(&config)));
    let seen = admin.get_topic(proto::GetTopicRequest { topic: "t".into() }).await.unwrap().into_inner();
    assert_eq!((seen.bounds.len(), seen.config.as_ref()), (3, Some(&config)));
    assert_status(&admin.create_topic(create).await.unwrap_err(), Code::AlreadyExists, "ALREADY_EXISTS");
    admin.delete_topic(proto::DeleteTopicRequest { topic: "t".into() }).await.unwrap();
    let gone = admin.get_topic(proto::GetTopicRequest { topic: "t".into() }).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "NOT_FOUND");
    // A stronger durability of a later version is not taken for the default.
    let later = Some(proto::TopicConfig { durability: 99, ..config });
    let unknown = proto::CreateTopicRequest { topic: "t".into(), config: later, ..Default::default() };
    assert_status(&admin.create_topic(unknown).await.unwrap_err(), Code::InvalidArgument, "INVALID");
    gateway.close().await;
}

#[tokio::test]
async fn a_group_is_as_it_was_made() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut admin = gateway.admin();
    admin.create_topic(proto::CreateTopicRequest { topic: "dead".into(), ..Default::default() }).await.unwrap();
    let config = proto::GroupConfig {
        topics: vec!["t".into()],
        mode: proto::GroupMode::OrderedByKey.into(),
        start: Some(proto::Position {
            position: Some(proto::position::Position::Anchor(proto::Anchor::Latest.into())),
        }),
        ack_deadline: Some(seconds(7)),
        max_deliveries: Some(3),
        retry: Some(proto::Retry { min: Some(seconds(1)), max: Some(seconds(5)), multiplier: Some(1.5) }),
        dead_letter: "dead".into(),
        max_in_flight: Some(17),
    };
    let create = proto::CreateGroupRequest { group: "h".into(), config: Some(config.clone()) };
    let made = admin.create_group(create.clone()).await.unwrap().into_inner();
    assert_eq!(made.config, Some(config));
    assert_status(&admin.create_group(create.clone()).await.unwrap_err(), Code::AlreadyExists, "ALREADY_EXISTS");
    for wrong in [
        proto::GroupConfig::default(),
        proto::GroupConfig {
            topics: vec!["t".into()],
            retry: Some(proto::Retry { multiplier: Some(0.5), ..Default::default() }),
            ..Default::default()
        },
        proto::GroupConfig { topics: vec!["a\0b".into()], ..Default::default() },
        proto::GroupConfig { topics: vec!["t".into()], mode: 99, ..Default::default() },
        proto::GroupConfig { topics: vec!["t".into()], max_in_flight: Some(0), ..Default::default() },
    ] {
        let request = proto::CreateGroupRequest { group: "i".into(), config: Some(wrong) };
        assert_status(&admin.create_group(request).await.unwrap_err(), Code::InvalidArgument, "INVALID");
    }
    admin.delete_group(proto::DeleteGroupRequest { group: "h".into() }).await.unwrap();
    let gone = admin.get_group(proto::GetGroupRequest { group: "h".into() }).await.unwrap_err();
    assert_status(&gone, Code::NotFound, "NOT_FOUND");
    gateway.close().await;
}

#[tokio::test]
async fn lists_have_pages() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut admin = gateway.admin();
    for name in ["u", "v"] {
        admin.create_topic(proto::CreateTopicRequest { topic: name.into(), ..Default::default() }).await.unwrap();
        gateway.group(name, proto::GroupConfig::default()).await;
    }
    let mut token = String::new();
    let mut names = Vec::new();
    loop {
        let request = proto::ListTopicsRequest { page_size: 2, page_token: token };
        let page = admin.list_topics(request).await.unwrap().into_inner();
        names.extend(page.topics.into_iter().map(|topic| topic.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["t", "u", "v"]);
    let groups = admin.list_groups(proto::ListGroupsRequest::default()).await.unwrap().into_inner().groups;
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["g", "u", "v"]);
    gateway.close().await;
}
