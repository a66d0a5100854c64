//! OffsetCommit (key 8), versions 2 to 9.
//!
//! - Durable when it is answered. A member commits with its generation; without one (simple consumers, admin clients) it is
//!   allowed while the group has no members.
//! - Offsets are kept until their group or topic is deleted, longer than any `retention_time_ms` (versions 2 to 4) asks for.
//! - A note longer than `max_offset_metadata_bytes` gets OFFSET_METADATA_TOO_LARGE, an unknown partition
//!   UNKNOWN_TOPIC_OR_PARTITION; the others are committed all the same.
//! - Member epochs (KIP-848, version 9) do not exist here: the field is the generation.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use tidegate_engine::Topic;
use tidegate_engine::group::OffsetCommit;

use super::api::{Versions, versions};
use super::context::{Context, partition};
use super::coordinator::Claim;
use super::error::{About, Refusal, code};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(2, 9);

pub(super) async fn handle(context: &Context<'_>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    if let Err(error) = check(context, &request) {
        return everywhere(&request, error);
    }
    let mut offsets = Vec::new();
    let mut topics: Vec<OffsetCommitResponseTopic> =
        request.topics.iter().map(|topic| take_topic(context, topic, &mut offsets)).collect();
    if !offsets.is_empty() {
        let committed = context.broker().commit_offsets(context.principal(), &request.group_id, offsets).await;
        if let Err(error) = committed {
            let error = code(error.kind, About::Group);
            let accepted = topics.iter_mut().flat_map(|topic| &mut topic.partitions).filter(|p| p.error_code == 0);
            accepted.for_each(|partition| partition.error_code = error.code());
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

fn check(context: &Context<'_>, request: &OffsetCommitRequest) -> Result<(), ResponseError> {
    let group = context.group_name(&request.group_id, Action::Read).map_err(|refusal| refusal.error)?;
    let claim = Claim {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id_or_member_epoch,
    };
    context.listener.coordinator.check_commit(&group, claim)
}

fn everywhere(request: &OffsetCommitRequest, error: ResponseError) -> OffsetCommitResponse {
    let answer = |topic: &OffsetCommitRequestTopic| {
        let partitions = topic.partitions.iter().map(|partition| answer(partition.partition_index, Err(error)));
        OffsetCommitResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
    };
    OffsetCommitResponse::default().with_topics(request.topics.iter().map(answer).collect())
}

fn take_topic(
    context: &Context<'_>,
    wanted: &OffsetCommitRequestTopic,
    offsets: &mut Vec<OffsetCommit>,
) -> OffsetCommitResponseTopic {
    let topic = context.readable(&wanted.name);
    let mut take = |wanted: &OffsetCommitRequestPartition| {
        let taken = take_partition(context, &topic, wanted).map(|offset| offsets.push(offset));
        answer(wanted.partition_index, taken)
    };
    let partitions = wanted.partitions.iter().map(&mut take).collect();
    OffsetCommitResponseTopic::default().with_name(wanted.name.clone()).with_partitions(partitions)
}

fn take_partition(
    context: &Context<'_>,
    topic: &Result<Arc<Topic>, Refusal>,
    wanted: &OffsetCommitRequestPartition,
) -> Result<OffsetCommit, ResponseError> {
    let topic = topic.as_ref().map_err(|refusal| refusal.error)?;
    let metadata = wanted.committed_metadata.as_deref().unwrap_or_default();
    if metadata.len() > context.listener.config.max_offset_metadata_bytes {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(OffsetCommit {
        partition: partition(topic, wanted.partition_index)?,
        offset: u64::try_from(wanted.committed_offset).map_err(|_| ResponseError::InvalidRequest)?,
        leader_epoch: wanted.committed_leader_epoch,
        metadata: metadata.to_owned(),
    })
}

fn answer(index: i32, result: Result<(), ResponseError>) -> OffsetCommitResponsePartition {
    let code = result.err().map_or(0, |error| error.code());
    OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
}
