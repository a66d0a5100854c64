//! OffsetFetch (key 9), versions 1 to 9.
//!
//! - Null topics (version 2 on) are all the group has committed. A partition without a commit is answered with offset -1.
//! - Version 8 on asks for many groups at once (KIP-709).
//! - `require_stable` (KIP-447) changes nothing: no offset waits for a transaction. Neither do the member id and epoch of version 9:
//!   they are checked for members of KIP-848 groups, of which there are none here.

use std::collections::HashMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tidegate_engine::group::Committed;
use tidegate_engine::{PartitionId, Topic};

use super::api::{Versions, versions};
use super::api_03_metadata::visible;
use super::context::{Context, partition, wire_count, wire_name, wire_offset};
use super::error::{About, Refusal, code};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(1, 9);

pub(super) async fn handle(context: &Context<'_>, request: OffsetFetchRequest) -> OffsetFetchResponse {
    if context.version() >= 8 {
        let groups = request.groups.into_iter().map(|group| fetch_group(context, group)).collect();
        return OffsetFetchResponse::default().with_groups(groups);
    }
    let topics = request.topics.map(|topics| {
        let widen = |topic: kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
        };
        topics.into_iter().map(widen).collect()
    });
    let group = OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_topics(topics);
    narrow(context, fetch_group(context, group))
}

/// A group's answer in the form of versions up to 7.
fn narrow(context: &Context<'_>, group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |p: OffsetFetchResponsePartitions| {
        OffsetFetchResponsePartition::default()
            .with_partition_index(p.partition_index)
            .with_committed_offset(p.committed_offset)
            .with_committed_leader_epoch(if context.version() >= 5 { p.committed_leader_epoch } else { -1 })
            .with_metadata(p.metadata)
            .with_error_code(p.error_code)
    };
    let topic = |t: OffsetFetchResponseTopics| {
        OffsetFetchResponseTopic::default()
            .with_name(t.name)
            .with_partitions(t.partitions.into_iter().map(partition).collect())
    };
    OffsetFetchResponse::default()
        .with_error_code(if context.version() >= 2 { group.error_code } else { 0 })
        .with_topics(group.topics.into_iter().map(topic).collect())
}

fn fetch_group(context: &Context<'_>, wanted: OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let response = OffsetFetchResponseGroup::default().with_group_id(wanted.group_id.clone());
    match committed(context, &wanted.group_id) {
        Ok(committed) => response.with_topics(match wanted.topics {
            Some(topics) => topics.into_iter().map(|topic| fetch_topic(context, topic, &committed)).collect(),
            None => visible(context).filter_map(|topic| all_of(&topic, &committed)).collect(),
        }),
        Err(error) if context.version() >= 2 => response.with_error_code(error.code()),
        // Version 1 has no error of its own for the group.
        Err(error) => response.with_topics(wanted.topics.into_iter().flatten().map(|t| refused(t, error)).collect()),
    }
}

fn committed(context: &Context<'_>, group: &str) -> Result<HashMap<PartitionId, Committed>, ResponseError> {
    context.group_name(group, Action::Read).map_err(|refusal| refusal.error)?;
    let committed = context.broker().committed(context.principal(), group);
    let committed = committed.map_err(|error| code(error.kind, About::Group))?;
    Ok(committed.into_iter().map(|committed| (committed.partition, committed)).collect())
}

fn fetch_topic(
    context: &Context<'_>,
    wanted: OffsetFetchRequestTopics,
    committed: &HashMap<PartitionId, Committed>,
) -> OffsetFetchResponseTopics {
    let topic: Result<Arc<Topic>, Refusal> = context.readable(&wanted.name);
    let find = |index: i32| match &topic {
        // An unknown partition has no commit, which is no error (as in Kafka).
        Ok(topic) => answer(index, partition(topic, index).ok().and_then(|id| committed.get(&id))),
        Err(refusal) if refusal.error == ResponseError::UnknownTopicOrPartition => answer(index, None),
        Err(refusal) => answer(index, None).with_error_code(refusal.code()),
    };
    topic_answer(wanted.name, wanted.partition_indexes.into_iter().map(find).collect())
}

fn all_of(topic: &Topic, committed: &HashMap<PartitionId, Committed>) -> Option<OffsetFetchResponseTopics> {
    let find = |(index, id)| committed.get(id).map(|committed| answer(wire_count(index), Some(committed)));
    let partitions: Vec<_> = topic.partitions.iter().enumerate().filter_map(find).collect();
    (!partitions.is_empty()).then(|| topic_answer(wire_name(topic), partitions))
}

fn refused(wanted: OffsetFetchRequestTopics, error: ResponseError) -> OffsetFetchResponseTopics {
    let answer = |index| answer(index, None).with_error_code(error.code());
    topic_answer(wanted.name, wanted.partition_indexes.into_iter().map(answer).collect())
}

fn topic_answer(name: TopicName, partitions: Vec<OffsetFetchResponsePartitions>) -> OffsetFetchResponseTopics {
    OffsetFetchResponseTopics::default().with_name(name).with_partitions(partitions)
}

fn answer(index: i32, committed: Option<&Committed>) -> OffsetFetchResponsePartitions {
    let response = OffsetFetchResponsePartitions::default().with_partition_index(index);
    match committed {
        Some(committed) => response
            .with_committed_offset(wire_offset(committed.offset))
            .with_committed_leader_epoch(committed.leader_epoch)
            .with_metadata(Some(StrBytes::from_string(committed.metadata.clone()))),
        None => response.with_committed_offset(-1).with_committed_leader_epoch(-1).with_metadata(Some(StrBytes::new())),
    }
}
