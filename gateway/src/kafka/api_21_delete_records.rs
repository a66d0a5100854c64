//! DeleteRecords (key 21), versions 0 to 2 (KIP-107): moves a partition's log start forward, durably.
//!
//! A topic that only compacts keeps the last value of each key for ever: POLICY_VIOLATION.
//!
//! Offset -1 is the high watermark; one above it gets OFFSET_OUT_OF_RANGE, one below the log start changes nothing.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsTopic;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::api::{Versions, versions};
use super::context::{Context, partition, wire_offset};
use super::error::{About, Refusal, code};
use super::topic_config::Settings;

pub(super) const VERSIONS: Versions = versions(0, 2);

pub(super) async fn handle(context: &Context<'_>, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        topics.push(delete_topic(context, topic).await);
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

async fn delete_topic(context: &Context<'_>, wanted: DeleteRecordsTopic) -> DeleteRecordsTopicResult {
    let mut partitions = Vec::with_capacity(wanted.partitions.len());
    for partition in &wanted.partitions {
        let result = delete(context, &wanted.name, partition.partition_index, partition.offset).await;
        let response = DeleteRecordsPartitionResult::default().with_partition_index(partition.partition_index);
        partitions.push(match result {
            Ok(log_start) => response.with_low_watermark(wire_offset(log_start)),
            Err(error) => response.with_low_watermark(-1).with_error_code(error.code()),
        });
    }
    DeleteRecordsTopicResult::default().with_name(wanted.name).with_partitions(partitions)
}

async fn delete(context: &Context<'_>, topic: &str, index: i32, offset: i64) -> Result<u64, ResponseError> {
    let found = context.readable(topic).map_err(|Refusal { error, .. }| error)?;
    let id = partition(&found, index)?;
    if !Settings::of(context, &found).map_err(|refusal| refusal.error)?.deletes() {
        return Err(ResponseError::PolicyViolation);
    }
    let offset = match offset {
        -1 => None,
        offset => Some(u64::try_from(offset).map_err(|_| ResponseError::OffsetOutOfRange)?),
    };
    let deleted = context.broker().delete_records(context.principal(), topic, id, offset).await;
    deleted.map_err(|error| code(error.kind, About::Topic))
}
