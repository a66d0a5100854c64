//! Produce (key 0), versions 3 to 13.
//!
//! - Version 0 is told to clients as the lowest although 0 to 2 are refused, as Kafka 4 does: librdkafka takes a broker without
//!   version 0 for one that cannot compress (KAFKA-18659).
//! - Batches go through as they came, after checksum, header and the bounds of every record have been checked (decompressed for
//!   that, as Kafka does): a batch that nobody could read must not get in anybody's way later.
//! - One batch of format v2 per partition, as Kafka asks for; older formats get INVALID_RECORD.
//! - `acks` 1 and -1 are the same: the answer comes when the batch has the topic's durability. `acks` 0 has no answer; if it
//!   fails the connection is closed, as Kafka does.
//! - An unknown topic gets UNKNOWN_TOPIC_OR_PARTITION: only a metadata request creates one, so that a producer that goes on
//!   after a topic was deleted looks for it anew.
//! - A batch for a compacted topic with records that have no key is refused, and the answer names them (version 8 on, KIP-467).
//! - So is one with a record whose time is further ahead of the clock than its topic lets it be (INVALID_TIMESTAMP).
//! - A repeated batch of an idempotent producer is answered with its first offset.
//! - Transactions are not served: a transactional batch gets INVALID_TXN_STATE.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};
use kafka_protocol::protocol::{Decodable, StrBytes};
use tidegate_engine::batch::{Batch, Facts, Record};
use tidegate_engine::{Appended, Commit, Topic, Write};

use super::api::{Versions, versions};
use super::codec::{self, Frame, Malformed, RequestHeader};
use super::context::{Context, now_ms, partition, wire_offset};
use super::error::{About, Refusal, code};
use super::metrics::Metrics;
use super::topic_config::{LEAST_MAX_AHEAD_MS, Settings};
use crate::broker::{Action, Error, Resource};

pub(super) const VERSIONS: Versions = versions(0, 13);
/// The versions that are really decoded.
pub(super) const DECODED: Versions = versions(3, 13);

const TRANSACTIONAL: u16 = 0x10;
const COMPRESSION: u16 = 0x07;
const ZSTD: u16 = 4;
/// The byte of a batch that says which format it is in, in all of them.
const MAGIC_AT: usize = 16;

/// So many records of a batch are named as the reason why it is refused.
const MAX_RECORD_ERRORS: usize = 1000;

/// A produce request whose batches have been appended and that waits for them to be durable.
pub(super) struct Started {
    header: RequestHeader,
    pub(super) response: ProduceResponse,
    accepted: Vec<Slot>,
    commit: Option<Commit>,
    acks: i16,
}

/// Where in the response an accepted batch is answered.
struct Slot {
    topic: usize,
    partition: usize,
    records: usize,
    bytes: usize,
}

/// Appends a request's batches. Calls one after the other keep their order.
pub(super) async fn start(context: &Context<'_>, mut body: Bytes) -> Result<Started, Malformed> {
    let request = ProduceRequest::decode(&mut body, context.version()).map_err(|_| Malformed::Undecodable)?;
    let mut intake = Intake {
        context,
        version: context.version(),
        acks: request.acks,
        max_decompressed: context.broker().engine().config().max_decompressed_bytes,
        writes: Vec::new(),
        slots: Vec::new(),
    };
    let mut topics = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topic = find_topic(context, &data);
        topics.push(intake.topic(topics.len(), data, topic.as_deref()));
    }
    let response = ProduceResponse::default().with_responses(topics);
    let mut started =
        Started { header: context.header.clone(), response, accepted: Vec::new(), commit: None, acks: request.acks };
    if !intake.writes.is_empty() {
        let appends = context.broker().publish(intake.writes).await;
        started.appended(intake.slots, appends.results);
        started.commit = Some(appends.commit);
    }
    Ok(started)
}

fn find_topic(context: &Context<'_>, data: &TopicProduceData) -> Result<Arc<Topic>, Refusal> {
    if context.version() >= 13 {
        let (broker, principal) = (context.broker(), context.principal());
        let topic = broker.topic_by_id(principal, data.topic_id).ok_or(ResponseError::UnknownTopicId)?;
        broker
            .authorize(principal, Action::Write, Resource::Topic(topic.name.name()))
            .map_err(Refusal::about(About::Topic))?;
        return Ok(topic);
    }
    context.writable(&data.name)
}

/// Takes a request's batches in.
struct Intake<'a> {
    context: &'a Context<'a>,
    version: i16,
    acks: i16,
    max_decompressed: usize,
    writes: Vec<Write>,
    slots: Vec<Slot>,
}

impl Intake<'_> {
    fn topic(&mut self, at: usize, data: TopicProduceData, topic: Result<&Topic, &Refusal>) -> TopicProduceResponse {
        let mut partitions = Vec::with_capacity(data.partition_data.len());
        for data in data.partition_data {
            let index = data.index;
            let taken = topic.map_err(|refusal| refusal.clone().into()).and_then(|topic| self.partition(topic, data));
            partitions.push(match taken {
                Ok(write) => {
                    self.slots.push(Slot {
                        topic: at,
                        partition: partitions.len(),
                        records: write.batch.header.record_count as usize,
                        bytes: write.batch.bytes.len(),
                    });
                    self.writes.push(write);
                    PartitionProduceResponse::default().with_index(index)
                }
                Err(rejection) => rejection.answer(index, self.version),
            });
        }
        TopicProduceResponse::default()
            .with_name(data.name)
            .with_topic_id(data.topic_id)
            .with_partition_responses(partitions)
    }

    fn partition(&self, topic: &Topic, data: PartitionProduceData) -> Result<Write, Rejection> {
        if !(-1..=1).contains(&self.acks) {
            return Err(Refusal::from(ResponseError::InvalidRequiredAcks).into());
        }
        let id = partition(topic, data.index).map_err(Refusal::from)?;
        let batch = take_batch(data.records.unwrap_or_default())?;
        check_batch(&batch, self.version)?;
        let facts = check_records(&batch, topic, self.max_decompressed)?;
        self.check_time(&batch, topic, facts.max_timestamp_ms)?;
        Ok(Write::new(id, batch))
    }

    /// Refuses records from the future: by their time they would be kept for ever. No topic's limit is below the least one, so
    /// that settings are looked at only for what is beyond that.
    fn check_time(&self, batch: &Batch, topic: &Topic, newest: i64) -> Result<(), Rejection> {
        let now = now_ms();
        if newest <= now.saturating_add(LEAST_MAX_AHEAD_MS) || topic.config.log_append_time {
            return Ok(());
        }
        let ahead = Settings::of(self.context, topic)?.max_ahead_ms();
        let latest = now.saturating_add(ahead);
        if newest <= latest {
            return Ok(());
        }
        let message = format!("a record's time is more than {ahead} ms ahead (message.timestamp.after.max.ms)");
        let records = which(batch, self.max_decompressed, |record| record.timestamp_ms > latest);
        Err(Rejection { refusal: Refusal::new(ResponseError::InvalidTimestamp, message), records })
    }
}

/// Why a batch is not taken, and the records it is about where it is about single ones.
struct Rejection {
    refusal: Refusal,
    records: Vec<i32>,
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, records: Vec::new() }
    }
}

impl Rejection {
    fn answer(self, index: i32, version: i16) -> PartitionProduceResponse {
        let message = StrBytes::from_string(self.refusal.message.clone());
        let response = refused(PartitionProduceResponse::default().with_index(index), version, self.refusal);
        if version < 8 {
            return response;
        }
        let name = |record| {
            let error = BatchIndexAndErrorMessage::default().with_batch_index(record);
            error.with_batch_index_error_message(Some(message.clone()))
        };
        response.with_record_errors(self.records.into_iter().map(name).collect())
    }
}

fn take_batch(mut records: Bytes) -> Result<Batch, Refusal> {
    match records.get(MAGIC_AT) {
        Some(2) => {}
        _ => return Err(Refusal::new(ResponseError::InvalidRecord, "there is no record batch of format v2")),
    }
    let batch = Batch::split_from(&mut records).map_err(|error| Refusal::about(About::Topic)(error.into()))?;
    if !records.is_empty() {
        return Err(Refusal::new(ResponseError::InvalidRecord, "there must be exactly one record batch per partition"));
    }
    batch.validate_for_append().map_err(|error| Refusal::new(ResponseError::InvalidRecord, error.to_string()))?;
    Ok(batch)
}

fn check_batch(batch: &Batch, version: i16) -> Result<(), Refusal> {
    let attributes = batch.header.attributes;
    if attributes & TRANSACTIONAL != 0 {
        return Err(Refusal::new(ResponseError::InvalidTxnState, "transactions are not served"));
    }
    if attributes & COMPRESSION == ZSTD && version < 7 {
        return Err(ResponseError::UnsupportedCompressionType.into());
    }
    if attributes & COMPRESSION > ZSTD {
        return Err(ResponseError::UnsupportedCompressionType.into());
    }
    Ok(())
}

/// What the engine lets in, every reader can decode. A compacted topic keeps the last value of each key, so there every record
/// needs one.
fn check_records(batch: &Batch, topic: &Topic, max_decompressed: usize) -> Result<Facts, Rejection> {
    let facts = batch
        .check_records(max_decompressed)
        .map_err(|error| Refusal::new(ResponseError::InvalidRecord, error.to_string()))?;
    if topic.config.retention.compact && !facts.keyed {
        let refusal =
            Refusal::new(ResponseError::InvalidRecord, "without a key a record cannot be in a compacted topic");
        return Err(Rejection { refusal, records: which(batch, max_decompressed, |record| record.key.is_none()) });
    }
    Ok(facts)
}

/// The first records of a batch that are so.
fn which(batch: &Batch, max_decompressed: usize, is_so: impl Fn(&Record) -> bool) -> Vec<i32> {
    let records = batch.iter(0, max_decompressed).into_iter().flatten().flatten().filter(is_so);
    records.take(MAX_RECORD_ERRORS).filter_map(|record| i32::try_from(record.offset).ok()).collect()
}

fn refused(response: PartitionProduceResponse, version: i16, refusal: Refusal) -> PartitionProduceResponse {
    let response = response.with_error_code(refusal.code()).with_base_offset(-1).with_log_append_time_ms(-1);
    if version >= 8 { response.with_error_message(Some(StrBytes::from_string(refusal.message))) } else { response }
}

impl Started {
    fn appended(&mut self, slots: Vec<Slot>, results: Vec<tidegate_engine::Result<Appended>>) {
        for (slot, result) in slots.into_iter().zip(results) {
            match result {
                Ok(appended) => {
                    let response = self.slot(&slot);
                    response.base_offset = appended.base_offset.map_or(-1, wire_offset);
                    response.log_append_time_ms = appended.append_time_ms;
                    response.log_start_offset = wire_offset(appended.log_start);
                    self.accepted.push(slot);
                }
                Err(error) => self.refuse(&slot, error.into()),
            }
        }
    }

    fn slot(&mut self, slot: &Slot) -> &mut PartitionProduceResponse {
        &mut self.response.responses[slot.topic].partition_responses[slot.partition]
    }

    fn refuse(&mut self, slot: &Slot, error: Error) {
        let version = self.header.version;
        let refusal = Refusal::new(code(error.kind, About::Topic), error.message);
        let response = self.slot(slot);
        *response = refused(PartitionProduceResponse::default().with_index(response.index), version, refusal);
    }

    /// Whether the client waits for an answer.
    pub(super) fn wants_response(&self) -> bool {
        self.acks != 0
    }

    /// Whether some batch was refused.
    pub(super) fn has_failed(&self) -> bool {
        self.failures() > 0
    }

    fn failures(&self) -> usize {
        self.response
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .filter(|p| p.error_code != 0)
            .count()
    }

    /// Waits until what was accepted is durable, and answers.
    pub(super) async fn finish(mut self, metrics: Arc<Metrics>) -> Option<Frame> {
        if let Some(commit) = self.commit.take()
            && let Err(error) = commit.wait().await
        {
            for slot in std::mem::take(&mut self.accepted) {
                self.refuse(&slot, error.clone().into());
            }
        }
        self.count(&metrics);
        codec::encode(self.header.api, self.header.version, self.header.correlation, &self.response)
    }

    /// Counts what was accepted and what was not.
    pub(super) fn count(&self, metrics: &Metrics) {
        for slot in &self.accepted {
            metrics.records_produced.add(slot.records);
            metrics.bytes_produced.add(slot.bytes);
        }
        metrics.produce_errors.add(self.failures());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tidegate_engine::batch::Record;
    use tidegate_engine::{Retention, TopicConfig, TopicName};
    use uuid::Uuid;

    use super::*;

    fn topic(compact: bool) -> Topic {
        let retention = Retention { compact, ..Retention::default() };
        let config = TopicConfig { retention, ..TopicConfig::default() };
        let name = TopicName::new("default", "t").unwrap();
        Topic { id: Uuid::nil(), name, config, partitions: Vec::new(), created_at_ms: 0 }
    }

    /// A batch whose header says that its plain records are gzip: checksum and header are right, no reader can decode it.
    fn unreadable() -> Batch {
        let mut bytes = Batch::pack(&[Record { value: Some("v".into()), ..Record::default() }]).unwrap().bytes.to_vec();
        bytes[22] = 1;
        let crc = crc_fast::crc32_iscsi(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        take_batch(bytes.into()).unwrap()
    }

    #[test]
    fn a_batch_that_nobody_could_read_is_refused() {
        let rejection = check_records(&unreadable(), &topic(false), 1 << 20).err().unwrap();
        assert_eq!(rejection.refusal.error, ResponseError::InvalidRecord);
    }

    #[test]
    fn a_compacted_topic_takes_no_record_without_a_key() {
        let mut records = vec![Record { key: Some("k".into()), ..Record::default() }; 2];
        let keyed = Batch::pack(&records).unwrap();
        assert!(check_records(&keyed, &topic(true), 1 << 20).is_ok());
        records[1].key = None;
        let batch = Batch::pack(&records).unwrap();
        assert!(check_records(&batch, &topic(false), 1 << 20).is_ok());
        let response = check_records(&batch, &topic(true), 1 << 20).err().unwrap().answer(0, 8);
        assert_eq!(response.error_code, ResponseError::InvalidRecord.code());
        let named: Vec<_> = response.record_errors.iter().map(|error| error.batch_index).collect();
        assert_eq!(named, [1]);
    }
}
