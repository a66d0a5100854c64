//! OffsetForLeaderEpoch (key 23), versions 2 to 4 (KIP-101, KIP-320): where an epoch ends.
//!
//! The one epoch is 0 and ends at the high watermark; of any other nothing is known (-1, -1). A current epoch above 0 gets
//! UNKNOWN_LEADER_EPOCH.

use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::api::{Versions, versions};
use super::context::{Context, check_epoch, partition, wire_offset};
use super::error::{About, Refusal, code};

pub(super) const VERSIONS: Versions = versions(2, 4);

pub(super) async fn handle(
    context: &Context<'_>,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| find_topic(context, topic)).collect();
    OffsetForLeaderEpochResponse::default().with_topics(topics)
}

fn find_topic(context: &Context<'_>, wanted: OffsetForLeaderTopic) -> OffsetForLeaderTopicResult {
    let topic = context.readable(&wanted.topic);
    let find = |wanted: OffsetForLeaderPartition| {
        let end = topic.as_ref().map_err(|Refusal { error, .. }| *error).and_then(|topic| {
            let id = partition(topic, wanted.partition)?;
            check_epoch(wanted.current_leader_epoch)?;
            context.broker().partition(id).map_err(|error| code(error.kind, About::Topic))
        });
        let response = EpochEndOffset::default().with_partition(wanted.partition);
        match end {
            Ok(info) if wanted.leader_epoch == 0 => {
                response.with_leader_epoch(0).with_end_offset(wire_offset(info.high_watermark))
            }
            Ok(_) => response.with_leader_epoch(-1).with_end_offset(-1),
            Err(error) => response.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(-1),
        }
    };
    let partitions = wanted.partitions.into_iter().map(find).collect();
    OffsetForLeaderTopicResult::default().with_topic(wanted.topic).with_partitions(partitions)
}
