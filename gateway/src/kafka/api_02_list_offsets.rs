//! ListOffsets (key 2), versions 1 to 10.
//!
//! - A timestamp finds the first record at or after it. -1 is the end, -2 and -4 (earliest local, KIP-405) the log start,
//!   -3 the record with the largest timestamp (version 7 on, KIP-734), -5 (latest tiered, version 9 on) is answered with -1:
//!   there is no second tier. Any other negative one gets UNSUPPORTED_VERSION.
//! - Both isolation levels are the same: there are no transactions yet.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tidegate_engine::{TimedOffset, Topic};

use super::api::{Versions, versions};
use super::context::{Context, check_epoch, partition, wire_offset};
use super::error::{About, Refusal, code};

pub(super) const VERSIONS: Versions = versions(1, 10);

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub(super) async fn handle(context: &Context<'_>, request: ListOffsetsRequest) -> ListOffsetsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for wanted in request.topics {
        topics.push(list_topic(context, wanted).await);
    }
    ListOffsetsResponse::default().with_topics(topics)
}

async fn list_topic(context: &Context<'_>, wanted: ListOffsetsTopic) -> ListOffsetsTopicResponse {
    let topic = context.readable(&wanted.name);
    let mut partitions = Vec::with_capacity(wanted.partitions.len());
    for wanted in wanted.partitions {
        let found = match &topic {
            Ok(topic) => find(context, topic, &wanted).await,
            Err(Refusal { error, .. }) => Err(*error),
        };
        let response = ListOffsetsPartitionResponse::default().with_partition_index(wanted.partition_index);
        partitions.push(match found {
            Ok((offset, timestamp)) => response.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(
                // Known only since version 4.
                if context.version() >= 4 && offset >= 0 { 0 } else { -1 },
            ),
            Err(error) => response.with_error_code(error.code()).with_offset(-1).with_timestamp(-1),
        });
    }
    ListOffsetsTopicResponse::default().with_name(wanted.name).with_partitions(partitions)
}

async fn find(
    context: &Context<'_>,
    topic: &Arc<Topic>,
    wanted: &ListOffsetsPartition,
) -> Result<(i64, i64), ResponseError> {
    let broker = context.broker();
    let id = partition(topic, wanted.partition_index)?;
    check_epoch(wanted.current_leader_epoch)?;
    let failed = |error: crate::broker::Error| code(error.kind, About::Topic);
    let timed = |found: Option<TimedOffset>| found.map_or((-1, -1), |at| (wire_offset(at.offset), at.timestamp_ms));
    let version = context.version();
    match wanted.timestamp {
        LATEST => Ok((wire_offset(broker.partition(id).map_err(failed)?.high_watermark), -1)),
        EARLIEST => Ok((wire_offset(broker.partition(id).map_err(failed)?.log_start), -1)),
        EARLIEST_LOCAL if version >= 8 => Ok((wire_offset(broker.partition(id).map_err(failed)?.log_start), -1)),
        MAX_TIMESTAMP if version >= 7 => broker.offset_of_max_timestamp(id).await.map(timed).map_err(failed),
        LATEST_TIERED if version >= 9 => Ok((-1, -1)),
        ..0 => Err(ResponseError::UnsupportedVersion),
        timestamp => broker.offset_for_time(id, timestamp).await.map(timed).map_err(failed),
    }
}
