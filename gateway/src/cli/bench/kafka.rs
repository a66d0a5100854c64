//! A Kafka listener, of Tidegate or of anybody: batches produced with acks=all, or a topic read back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use clap::Args;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::{ResponseError, error::ParseResponseErrorCode};
use tidegate_engine::batch::{Batch, Record};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::kafka_client::{self, Client};
use super::load::{Measured, Run};
use super::{Amount, load, report};
use crate::cli::Error;

// The newest versions that name topics by name.
const PRODUCE: i16 = 11;
const FETCH: i16 = 12;
const CREATE_TOPICS: i16 = 5;
const METADATA: i16 = 9;

/// What a fetch asks for at most, as Kafka's consumer does by default.
const FETCH_BYTES: i32 = 50 << 20;
/// The same for one partition.
const PARTITION_BYTES: i32 = 1 << 20;

/// Load a Kafka listener.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How much.
    #[command(flatten)]
    amount: Amount,
    /// The listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9092")]
    broker: String,
    /// The topic, created if it is not there
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Partitions, if the topic is created
    #[arg(long, value_name = "N", default_value_t = 1)]
    partitions: i32,
    /// Messages in one batch, which is one request
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    /// Requests of one connection that wait for their responses
    #[arg(long, value_name = "N", default_value_t = 5)]
    in_flight: usize,
    /// Read what the topic holds, once, instead of producing; --messages and --duration do not count
    #[arg(long)]
    read: bool,
}

pub async fn run(options: Options) -> Result<(), Error> {
    let partitions = prepare(&options).await?;
    let options = Arc::new(options);
    let (measured, took) = if options.read {
        let worker = |index, run| read(Arc::clone(&options), share(index, partitions, &options), run);
        load::run(&options.amount, worker).await?
    } else {
        let worker = |index: usize, run| produce(Arc::clone(&options), (index % partitions as usize) as i32, run);
        load::run(&options.amount, worker).await?
    };
    report::print(
        options.amount.output,
        &[(if options.read { "kafka fetch" } else { "kafka produce" }, measured, took)],
    )
}

/// The partitions that a connection reads.
fn share(index: usize, partitions: i32, options: &Options) -> Vec<i32> {
    (0..partitions).skip(index).step_by(options.amount.connections.max(1)).collect()
}

fn topic_name(options: &Options) -> TopicName {
    TopicName(StrBytes::from_string(options.topic.clone()))
}

/// Creates the topic if need be; how many partitions it has.
async fn prepare(options: &Options) -> Result<i32, Error> {
    let mut client = Client::connect(&options.broker).await?;
    if !options.read {
        let topic = CreatableTopic::default()
            .with_name(topic_name(options))
            .with_num_partitions(options.partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let response = client.call(&request, CREATE_TOPICS).await?;
        for topic in &response.topics {
            match topic.error_code.err() {
                None | Some(ResponseError::TopicAlreadyExists) => {}
                Some(error) => return Err(Error::refused(format!("cannot create '{}': {error}", options.topic))),
            }
        }
    }
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(options)));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false);
    let response = client.call(&request, METADATA).await?;
    match response.topics.first() {
        Some(topic) if topic.error_code == 0 && !topic.partitions.is_empty() => Ok(topic.partitions.len() as i32),
        Some(topic) => Err(Error::refused(format!("topic '{}': error {}", options.topic, topic.error_code))),
        None => Err(Error::refused(format!("topic '{}' does not exist", options.topic))),
    }
}

/// The same batch again and again: encoded once, so that what is measured is the other side.
fn produce_frame(options: &Options, partition: i32, messages: usize, size: usize) -> Result<Bytes, Error> {
    let value = Bytes::from(vec![b'x'; size]);
    let timestamp_ms = jiff::Timestamp::now().as_millisecond();
    let record = Record { timestamp_ms, value: Some(value), ..Record::default() };
    let batch = Batch::pack(&vec![record; messages]).map_err(|error| Error::failed(error.to_string()))?;
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.bytes));
    let topic = TopicProduceData::default().with_name(topic_name(options)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    kafka_client::frame(&request, PRODUCE)
}

async fn produce(options: Arc<Options>, partition: i32, run: Arc<Run>) -> Result<Measured, Error> {
    let (reader, writer) = Client::connect(&options.broker).await?.split();
    // The channel's capacity is the number of requests in flight, less the one being received.
    let (sent, waiting) = mpsc::channel(options.in_flight.max(1));
    let sending = send_batches(options, partition, writer, sent, &run);
    let receiving = receive_answers(reader, waiting, &run);
    let ((), measured) = tokio::try_join!(sending, receiving)?;
    Ok(measured)
}

async fn send_batches(
    options: Arc<Options>,
    partition: i32,
    mut writer: OwnedWriteHalf,
    sent: mpsc::Sender<(Instant, u64)>,
    run: &Run,
) -> Result<(), Error> {
    let full = options.batch.max(1);
    let mut frame = BytesMut::from(produce_frame(&options, partition, full, run.size())?);
    let mut correlation = 0_i32;
    while let Some(messages) = run.claim(full as u64) {
        if messages < full as u64 {
            frame = BytesMut::from(produce_frame(&options, partition, messages as usize, run.size())?);
        }
        correlation = correlation.wrapping_add(1);
        kafka_client::number(&mut frame, correlation);
        if sent.send((Instant::now(), messages)).await.is_err() {
            // The receiving side has failed and tells why.
            return Ok(());
        }
        writer.write_all(&frame).await.map_err(|error| Error::unavailable(format!("the connection broke: {error}")))?;
    }
    Ok(())
}

async fn receive_answers(
    mut reader: OwnedReadHalf,
    mut waiting: mpsc::Receiver<(Instant, u64)>,
    run: &Run,
) -> Result<Measured, Error> {
    let mut measured = Measured::new()?;
    while let Some((sent, messages)) = waiting.recv().await {
        let response: ProduceResponse = kafka_client::receive::<ProduceRequest>(&mut reader, PRODUCE).await?;
        let partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
        match partitions.filter_map(|partition| partition.error_code.err()).next() {
            None => run.record(&mut measured, sent, messages, messages * run.size() as u64),
            Some(error) => measured.fail(error.to_string()),
        }
    }
    Ok(measured)
}

/// Reads each partition from its beginning to where it ended when it was first asked.
async fn read(options: Arc<Options>, partitions: Vec<i32>, run: Arc<Run>) -> Result<Measured, Error> {
    let mut client = Client::connect(&options.broker).await?;
    let mut measured = Measured::new()?;
    let mut left: VecDeque<(i32, i64, Option<i64>)> = partitions.into_iter().map(|index| (index, 0, None)).collect();
    while let Some((index, offset, end)) = left.pop_front() {
        let sent = Instant::now();
        let response = client.call(&fetch_request(&options, index, offset), FETCH).await?;
        let Some(data) = response.responses.first().and_then(|topic| topic.partitions.first()) else {
            return Err(Error::failed("a fetch was answered without its partition"));
        };
        match data.error_code.err() {
            None => {}
            Some(ResponseError::OffsetOutOfRange) if offset < data.log_start_offset => {
                left.push_front((index, data.log_start_offset, end));
                continue;
            }
            Some(error) => return Err(Error::refused(format!("partition {index}: {error}"))),
        }
        let end = end.unwrap_or(data.high_watermark);
        let (next, messages, bytes) = count(data.records.clone().unwrap_or_default(), offset)?;
        run.record(&mut measured, sent, messages, bytes);
        if next < end {
            left.push_front((index, next, Some(end)));
        }
    }
    Ok(measured)
}

fn fetch_request(options: &Options, partition: i32, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_partition(partition)
        .with_fetch_offset(offset)
        .with_partition_max_bytes(PARTITION_BYTES);
    let topic = FetchTopic::default().with_topic(topic_name(options)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(FETCH_BYTES)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Checks whole batches and counts their records: the next offset, records, stored bytes. A client may be given a part of
/// a batch at the end.
fn count(mut records: Bytes, offset: i64) -> Result<(i64, u64, u64), Error> {
    let (mut next, mut messages, mut bytes) = (offset, 0, 0);
    while let Ok(batch) = Batch::split_from(&mut records) {
        next = batch.header.base_offset as i64 + i64::from(batch.header.last_offset_delta) + 1;
        messages += u64::from(batch.header.record_count);
        bytes += batch.bytes.len() as u64;
    }
    if messages == 0 && !records.is_empty() {
        return Err(Error::failed(format!("the batch at offset {offset} cannot be read")));
    }
    Ok((next, messages, bytes))
}
