//! Metadata (key 3), versions 0 to 13.
//!
//! - One broker: this node, at the advertised address. It leads every partition with epoch 0 and is the controller.
//! - Topics are those of the connection's namespace; names that Kafka does not allow (AMQP queues may have them) are not listed.
//! - A topic asked for by name is created when the request allows it (always, before version 4) and settings do too.
//! - Version 10 on has topic ids, version 12 on accepts them.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;
use tidegate_engine::Topic;

use super::api::{Versions, versions};
use super::context::{Context, wire_count, wire_name};
use super::error::{About, Refusal};
use super::names;

pub(super) const VERSIONS: Versions = versions(0, 13);

/// Operations a client may ask about (`AclOperation` codes as bits): none was asked for.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;
/// Read, write, create, delete, alter, describe, describe configs and alter configs.
pub(super) const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// Create, alter, describe, cluster action, describe configs, alter configs and idempotent write.
pub(super) const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

pub(super) async fn handle(context: &Context<'_>, request: MetadataRequest) -> MetadataResponse {
    let version = context.version();
    let mut topics = Vec::new();
    match request.topics {
        Some(wanted) if !(wanted.is_empty() && version == 0) => {
            let create = version < 4 || request.allow_auto_topic_creation;
            for wanted in wanted {
                topics.push(describe_wanted(context, wanted, create).await);
            }
        }
        _ => topics.extend(visible(context).map(|topic| describe(context, &topic))),
    }
    if version >= 8 && request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let operations = request.include_cluster_authorized_operations && (8..=10).contains(&version);
    MetadataResponse::default()
        .with_brokers(vec![broker(context)])
        .with_cluster_id(Some(cluster_id(context)))
        .with_controller_id(context.node_id())
        .with_topics(topics)
        .with_cluster_authorized_operations(if operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS })
}

/// The topics a Kafka client can see.
pub(super) fn visible(context: &Context<'_>) -> impl Iterator<Item = Arc<Topic>> {
    context.broker().topics(context.principal()).into_iter().filter(|topic| names::is_legal(topic.name.name()))
}

pub(super) fn cluster_id(context: &Context<'_>) -> StrBytes {
    StrBytes::from_string(context.listener.config.cluster_id.clone())
}

fn broker(context: &Context<'_>) -> MetadataResponseBroker {
    MetadataResponseBroker::default()
        .with_node_id(context.node_id())
        .with_host(context.peer.host.clone())
        .with_port(context.peer.port)
}

async fn describe_wanted(context: &Context<'_>, wanted: MetadataRequestTopic, create: bool) -> MetadataResponseTopic {
    // Beside an id no name counts: Java's admin client sends an empty one.
    let name = wanted.name.filter(|_| wanted.topic_id.is_nil());
    let found = match &name {
        Some(name) => find(context, name, create).await,
        None if wanted.topic_id.is_nil() => Err(ResponseError::InvalidRequest.into()),
        None => context.readable_by_id(wanted.topic_id),
    };
    match found {
        Ok(topic) => describe(context, &topic),
        Err(refusal) => MetadataResponseTopic::default()
            .with_error_code(refusal.code())
            // Before version 12 a name cannot be null.
            .with_name(name.or((context.version() < 12).then(Default::default)))
            .with_topic_id(wanted.topic_id)
            .with_topic_authorized_operations(NO_OPERATIONS),
    }
}

async fn find(context: &Context<'_>, name: &str, create: bool) -> Result<Arc<Topic>, Refusal> {
    names::check(name)?;
    match context.readable(name) {
        Err(refusal) if create && refusal.error == ResponseError::UnknownTopicOrPartition => {
            let created = context.broker().topic_for_write(context.principal(), name).await;
            created.map_err(Refusal::about(About::Topic))
        }
        found => found,
    }
}

fn describe(context: &Context<'_>, topic: &Topic) -> MetadataResponseTopic {
    let node = context.node_id();
    let partition = |index: usize| {
        MetadataResponsePartition::default()
            .with_partition_index(wire_count(index))
            .with_leader_id(node)
            .with_leader_epoch(if context.version() >= 7 { 0 } else { -1 })
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    };
    MetadataResponseTopic::default()
        .with_name(Some(wire_name(topic)))
        .with_topic_id(topic.id)
        .with_partitions((0..topic.partitions.len()).map(partition).collect())
        .with_topic_authorized_operations(NO_OPERATIONS)
}
