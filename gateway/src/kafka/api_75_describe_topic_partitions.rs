//! DescribeTopicPartitions (key 75), version 0 (KIP-966): topics in name order, a page at a time.
//!
//! No topics asks for all. A page has at most `response_partition_limit` partitions (and at most 2,000, as in Kafka); the cursor
//! says where the next begins. Every partition has one replica, in sync; none is eligible besides it. What the client may do is told
//! without being asked for: the request has no word for it.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName};
use tidegate_engine::Topic;

use super::api::{Versions, versions};
use super::api_03_metadata::{NO_OPERATIONS, TOPIC_OPERATIONS, visible};
use super::context::{Context, wire_count, wire_name};
use super::error::Refusal;

pub(super) const VERSIONS: Versions = versions(0, 0);

const MAX_PARTITIONS: usize = 2_000;

pub(super) async fn handle(
    context: &Context<'_>,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, MAX_PARTITIONS);
    let mut page = Page { left: limit, topics: Vec::new(), next: None };
    for name in names(context, &request) {
        let from = match &request.cursor {
            Some(cursor) if cursor.topic_name == name => usize::try_from(cursor.partition_index).unwrap_or(0),
            _ => 0,
        };
        if !page.topic(context, name, from) {
            break;
        }
    }
    DescribeTopicPartitionsResponse::default().with_topics(page.topics).with_next_cursor(page.next)
}

/// The topics asked for, in order, from the cursor on.
fn names(context: &Context<'_>, request: &DescribeTopicPartitionsRequest) -> Vec<TopicName> {
    let mut names: Vec<TopicName> = if request.topics.is_empty() {
        visible(context).map(|topic| wire_name(&topic)).collect()
    } else {
        request.topics.iter().map(|topic| topic.name.clone()).collect()
    };
    names.sort_unstable();
    names.dedup();
    if let Some(cursor) = &request.cursor {
        names.retain(|name| *name >= cursor.topic_name);
    }
    names
}

struct Page {
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page {
    /// Adds a topic's partitions from `from` on; false when the page is full.
    fn topic(&mut self, context: &Context<'_>, name: TopicName, from: usize) -> bool {
        if self.left == 0 {
            self.next = Some(Cursor::default().with_topic_name(name).with_partition_index(wire_count(from)));
            return false;
        }
        let topic = match super::names::check(&name).and_then(|()| context.readable(&name)) {
            Ok(topic) => topic,
            Err(refusal) => {
                self.topics.push(refused(name, &refusal));
                return true;
            }
        };
        let end = topic.partitions.len().min(from.saturating_add(self.left));
        self.left -= end.saturating_sub(from);
        self.topics.push(describe(context, &topic, from..end));
        if end < topic.partitions.len() {
            self.next = Some(Cursor::default().with_topic_name(name).with_partition_index(wire_count(end)));
            return false;
        }
        true
    }
}

fn describe(
    context: &Context<'_>,
    topic: &Topic,
    partitions: std::ops::Range<usize>,
) -> DescribeTopicPartitionsResponseTopic {
    let node = context.node_id();
    let partition = |index: usize| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(wire_count(index))
            .with_leader_id(node)
            .with_leader_epoch(0)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(Vec::new()))
            .with_last_known_elr(Some(Vec::new()))
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(wire_name(topic)))
        .with_topic_id(topic.id)
        .with_partitions(partitions.map(partition).collect())
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}

fn refused(name: TopicName, refusal: &Refusal) -> DescribeTopicPartitionsResponseTopic {
    let error = match refusal.error {
        ResponseError::TopicAuthorizationFailed => ResponseError::UnknownTopicOrPartition,
        error => error,
    };
    DescribeTopicPartitionsResponseTopic::default()
        .with_error_code(error.code())
        .with_name(Some(name))
        .with_topic_authorized_operations(NO_OPERATIONS)
}
