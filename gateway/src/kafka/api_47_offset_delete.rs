//! OffsetDelete (key 47), version 0 (KIP-496): forgets a group's committed offsets of some partitions, durably.
//!
//! A topic that members of the group are subscribed to gets GROUP_SUBSCRIBED_TO_TOPIC; a group that does not exist
//! GROUP_ID_NOT_FOUND.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use tidegate_engine::{GroupName, PartitionId};

use super::api::{Versions, versions};
use super::context::{Context, partition};
use super::error::{About, Refusal, code};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 0);

pub(super) async fn handle(context: &Context<'_>, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
    match delete(context, request).await {
        Ok(topics) => OffsetDeleteResponse::default().with_topics(topics),
        Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
    }
}

async fn delete(
    context: &Context<'_>,
    request: OffsetDeleteRequest,
) -> Result<Vec<OffsetDeleteResponseTopic>, ResponseError> {
    let (broker, principal) = (context.broker(), context.principal());
    let group = context.group_name(&request.group_id, Action::Configure).map_err(|refusal| refusal.error)?;
    let failed = |error: crate::broker::Error| code(error.kind, About::Group);
    if broker.group(principal, &request.group_id).map_err(failed)?.is_none() {
        return Err(ResponseError::GroupIdNotFound);
    }
    let mut partitions = Vec::new();
    let topics = request.topics.into_iter().map(|topic| take_topic(context, &group, topic, &mut partitions)).collect();
    if !partitions.is_empty() {
        broker.delete_offsets(principal, &request.group_id, &partitions).await.map_err(failed)?;
    }
    Ok(topics)
}

fn take_topic(
    context: &Context<'_>,
    group: &GroupName,
    wanted: OffsetDeleteRequestTopic,
    partitions: &mut Vec<PartitionId>,
) -> OffsetDeleteResponseTopic {
    let topic = context.readable(&wanted.name).map_err(|Refusal { error, .. }| error).and_then(|topic| {
        let consumed = context.listener.coordinator.consumes(group, topic.name.name());
        if consumed { Err(ResponseError::GroupSubscribedToTopic) } else { Ok(topic) }
    });
    let mut take = |index: i32| {
        let found = topic.as_ref().map_err(|error| *error).and_then(|topic| partition(topic, index));
        let code = found.map(|id| partitions.push(id)).err().map_or(0, |error| error.code());
        OffsetDeleteResponsePartition::default().with_partition_index(index).with_error_code(code)
    };
    let results = wanted.partitions.iter().map(|partition| take(partition.partition_index)).collect();
    OffsetDeleteResponseTopic::default().with_name(wanted.name).with_partitions(results)
}
