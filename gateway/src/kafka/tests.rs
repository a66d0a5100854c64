//! The handlers, without a socket, in front of a real engine: what Apache Kafka 4.3.1 answers to the same requests.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, StrBytes};
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig};

use super::codec::RequestHeader;
use super::context::{Context, Peer};
use super::*;
use crate::broker::{Principal, Settings};

/// A gateway on a directory of its own, and a client of it.
struct Gateway {
    listener: Listener,
    peer: Peer,
    drain: Drain,
    _directory: tempfile::TempDir,
}

impl Gateway {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::local(directory.path()).unwrap();
        let (engine, _) =
            Engine::open(EngineConfig { segment_bytes: 4 << 20, ..EngineConfig::default() }, environment).unwrap();
        let settings = Settings { partitions: 1, auto_create_topics: true, ..Settings::default() };
        let broker = Broker::open(engine, settings).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let peer = Peer { principal: Principal::anonymous(), address, host: text("localhost"), port: 0 };
        let listener = Listener::new(broker, Arc::default(), Arc::default());
        Self { listener, peer, drain: Drain::default(), _directory: directory }
    }

    fn context(&self, api: ApiKey, version: i16) -> Context<'_> {
        let header = RequestHeader { api, version, correlation: 1, client_id: text("test") };
        Context { listener: &self.listener, peer: &self.peer, header, drain: &self.drain }
    }

    /// Creates a topic with such settings; the error.
    async fn create(&self, name: &str, configs: &[(&str, &str)]) -> i16 {
        let config = |(name, value): &(&str, &str)| {
            create_topics_request::CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
        };
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs.iter().map(config).collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let response = api_19_create_topics::handle(&self.context(ApiKey::CreateTopics, 7), request).await;
        response.topics[0].error_code
    }

    async fn produce(&self, name: &str, records: Bytes) -> i16 {
        let data = PartitionProduceData::default().with_records(Some(records));
        let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data]);
        let mut body = bytes::BytesMut::new();
        request.encode(&mut body, 12).unwrap();
        let started = api_00_produce::start(&self.context(ApiKey::Produce, 12), body.freeze()).await.unwrap();
        started.response.responses[0].partition_responses[0].error_code
    }

    async fn alter(&self, name: &str, changes: &[(&str, Option<&str>)]) -> i16 {
        let change = |(name, value): &(&str, Option<&str>)| {
            AlterableConfig::default().with_name(text(name)).with_value(value.map(text))
        };
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_configs(changes.iter().map(change).collect());
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let context = self.context(ApiKey::IncrementalAlterConfigs, 1);
        api_44_incremental_alter_configs::handle(&context, request).await.responses[0].error_code
    }

    async fn describe(&self, name: &str, keys: Option<Vec<StrBytes>>) -> Vec<(StrBytes, Option<StrBytes>)> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_configuration_keys(keys);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let mut response = api_32_describe_configs::handle(&self.context(ApiKey::DescribeConfigs, 4), request).await;
        response.results.remove(0).configs.into_iter().map(|config| (config.name, config.value)).collect()
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

fn batch() -> Bytes {
    batch_of(0)
}

fn batch_of(timestamp_ms: i64) -> Bytes {
    Batch::pack(&[Record { timestamp_ms, value: Some("v".into()), ..Record::default() }]).unwrap().bytes
}

#[tokio::test]
async fn producing_creates_no_topic_but_asking_for_it_does() {
    let gateway = Gateway::new();
    let unknown = ResponseError::UnknownTopicOrPartition.code();
    assert_eq!(gateway.produce("t", batch()).await, unknown);
    assert_eq!(gateway.produce("no such name", batch()).await, unknown);
    let wanted = MetadataRequestTopic::default().with_name(Some(topic("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    let response = api_03_metadata::handle(&gateway.context(ApiKey::Metadata, 12), request).await;
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(gateway.produce("t", batch()).await, 0);
}

#[tokio::test]
async fn batches_of_older_formats_are_invalid() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    let mut old = batch().to_vec();
    old[16] = 1;
    assert_eq!(gateway.produce("t", old.into()).await, ResponseError::InvalidRecord.code());
}

#[tokio::test]
async fn under_an_illegal_name_there_is_no_topic() {
    let gateway = Gateway::new();
    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let wanted = ListOffsetsTopic::default().with_name(topic("a b")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_topics(vec![wanted]);
    let response = api_02_list_offsets::handle(&gateway.context(ApiKey::ListOffsets, 10), request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ResponseError::UnknownTopicOrPartition.code());
    // Where topics are made and managed, the name is what is wrong.
    let illegal = ResponseError::InvalidTopicException.code();
    assert_eq!(gateway.create("a b", &[]).await, illegal);
    assert_eq!(gateway.alter("a b", &[]).await, illegal);
}

#[tokio::test]
async fn a_topic_named_twice_is_not_deleted() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    let names = |names: &[&str]| {
        let topics = names.iter().map(|name| DeleteTopicState::default().with_name(Some(topic(name))));
        DeleteTopicsRequest::default().with_topics(topics.collect())
    };
    let context = gateway.context(ApiKey::DeleteTopics, 6);
    let refused = api_20_delete_topics::handle(&context, names(&["t", "t"])).await;
    assert_eq!(refused.responses.len(), 1);
    assert_eq!(refused.responses[0].error_code, ResponseError::InvalidRequest.code());
    let deleted = api_20_delete_topics::handle(&context, names(&["t"])).await;
    assert_eq!(deleted.responses[0].error_code, 0);
}

#[tokio::test]
async fn a_topic_that_only_compacts_keeps_its_records() {
    let gateway = Gateway::new();
    let delete = async |name: &str| {
        let partition = DeleteRecordsPartition::default().with_offset(-1);
        let wanted = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]);
        let response = api_21_delete_records::handle(&gateway.context(ApiKey::DeleteRecords, 2), request).await;
        response.topics[0].partitions[0].error_code
    };
    gateway.create("compacted", &[("cleanup.policy", "compact")]).await;
    assert_eq!(delete("compacted").await, ResponseError::PolicyViolation.code());
    assert_eq!(gateway.alter("compacted", &[("cleanup.policy", Some("compact,delete"))]).await, 0);
    assert_eq!(delete("compacted").await, 0);
}

#[tokio::test]
async fn an_empty_list_of_settings_asks_for_all() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    let all = gateway.describe("t", None).await;
    assert!(all.len() > 30);
    assert_eq!(gateway.describe("t", Some(Vec::new())).await, all);
    assert_eq!(gateway.describe("t", Some(vec![text("retention.ms"), text("nope")])).await.len(), 1);
}

#[tokio::test]
async fn settings_are_taken_as_kafka_takes_them() {
    let gateway = Gateway::new();
    let invalid = ResponseError::InvalidConfig.code();
    let no_request = ResponseError::InvalidRequest.code();
    assert_eq!(gateway.create("t", &[("preallocate", "True"), ("remote.log.copy.disable", "FALSE")]).await, 0);
    assert_eq!(
        gateway.describe("t", Some(vec![text("preallocate")])).await,
        [(text("preallocate"), Some(text("true")))]
    );
    assert_eq!(gateway.alter("t", &[("preallocate", Some("yes"))]).await, invalid);
    assert_eq!(gateway.alter("t", &[("segment.bytes", Some("1048575"))]).await, invalid);
    assert_eq!(gateway.alter("t", &[("retention.ms", None)]).await, no_request);
    assert_eq!(gateway.alter("t", &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]).await, no_request);
}

#[tokio::test]
async fn records_from_the_future_are_refused() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    gateway.create("appended", &[("message.timestamp.type", "LogAppendTime")]).await;
    let invalid = ResponseError::InvalidTimestamp.code();
    let in_two_hours = context::now_ms() + 7_200_000;
    assert_eq!(gateway.produce("t", batch_of(in_two_hours - 4_000_000)).await, 0);
    assert_eq!(gateway.produce("t", batch_of(in_two_hours)).await, invalid);
    assert_eq!(gateway.produce("appended", batch_of(in_two_hours)).await, 0);
    assert_eq!(gateway.alter("t", &[("message.timestamp.after.max.ms", Some("7300000"))]).await, 0);
    assert_eq!(gateway.produce("t", batch_of(in_two_hours)).await, 0);
    assert_eq!(gateway.produce("t", batch_of(in_two_hours + 200_000)).await, invalid);
}

#[tokio::test]
async fn beside_an_id_a_topic_s_name_does_not_count() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    let ask = async |wanted: MetadataRequestTopic| {
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
        let mut response = api_03_metadata::handle(&gateway.context(ApiKey::Metadata, 13), request).await;
        response.topics.remove(0)
    };
    let id = ask(MetadataRequestTopic::default().with_name(Some(topic("t")))).await.topic_id;
    // As Java's admin client asks.
    let found = ask(MetadataRequestTopic::default().with_name(Some(topic(""))).with_topic_id(id)).await;
    assert_eq!((found.error_code, found.name), (0, Some(topic("t"))));
    let other = uuid::Uuid::from_u128(1);
    let unknown = ask(MetadataRequestTopic::default().with_name(Some(topic("t"))).with_topic_id(other)).await;
    assert_eq!((unknown.error_code, unknown.name), (ResponseError::UnknownTopicId.code(), None));
}

#[tokio::test]
async fn a_described_topic_says_what_may_be_done_with_it() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    let request = DescribeTopicPartitionsRequest::default().with_response_partition_limit(10);
    let context = gateway.context(ApiKey::DescribeTopicPartitions, 0);
    let response = api_75_describe_topic_partitions::handle(&context, request).await;
    // Read, write, create, delete, alter, describe, describe configs, alter configs.
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
}

#[tokio::test]
async fn a_fetch_whose_limit_is_reached_waits_for_no_more() {
    let gateway = Gateway::new();
    gateway.create("t", &[]).await;
    for _ in 0..3 {
        assert_eq!(gateway.produce("t", batch()).await, 0);
    }
    let fetch = async |partition_max: i32, max: i32, min: i32| {
        let partition = FetchPartition::default().with_partition_max_bytes(partition_max).with_current_leader_epoch(-1);
        let wanted = FetchTopic::default().with_topic(topic("t")).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(3_600_000)
            .with_min_bytes(min)
            .with_max_bytes(max)
            .with_topics(vec![wanted]);
        let context = gateway.context(ApiKey::Fetch, 12);
        let answer = tokio::time::timeout(Duration::from_secs(30), api_01_fetch::handle(&context, request)).await;
        answer.map(|answer| answer.topics[0].partitions[0].records.iter().map(Bytes::len).sum::<usize>())
    };
    gateway.listener.broker.sync().await.unwrap();
    let two = batch().len() * 2;
    let limit = i32::try_from(two).unwrap() + 5;
    assert_eq!(fetch(limit, 1 << 20, limit).await, Ok(two));
    assert_eq!(fetch(1 << 20, limit, limit).await, Ok(two));
    assert_eq!(fetch(1 << 20, limit, 1 << 20).await, Ok(two));
}
