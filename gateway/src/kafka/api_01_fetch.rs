//! Fetch (key 1), versions 4 to 18.
//!
//! - Stored bytes are sent as they are. The first batch is sent whole even if it is larger than every limit (KIP-74); after it,
//!   `max_bytes` (and `max_fetch_bytes`) and each partition's own limit hold.
//! - Long poll: without `min_bytes` to send, the answer waits up to `max_wait_ms`; any partition's error answers at once.
//! - Fetch sessions (KIP-227) are not kept: a full fetch is answered with session id 0, which tells the client that there is no
//!   session, and a request that names one gets FETCH_SESSION_ID_NOT_FOUND, on which clients fetch in full.
//! - There are no transactions yet: the last stable offset is the high watermark for either isolation level.
//! - A follower's fetch (a replica id) gets INVALID_REQUEST: nobody replicates from here.
//! - The leader epoch is 0 for ever: a larger one gets UNKNOWN_LEADER_EPOCH.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::protocol::StrBytes;
use tidegate_engine::PartitionId;
use tidegate_engine::batch::BatchHeader;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::api::{Response, Versions, versions};
use super::codec::Frame;
use super::codec::fetch_response::{FetchResponse, FetchedPartition, FetchedTopic};
use super::context::{Context, check_epoch, partition, wire_offset};
use super::error::{About, Refusal, code};

pub(super) const VERSIONS: Versions = versions(4, 18);

/// The epoch of a request that belongs to no session, and of one that asks for a new one.
const NO_SESSION: i32 = -1;
const NEW_SESSION: i32 = 0;
/// No client means to wait longer; a deadline past it need not be counted.
const MAX_WAIT: Duration = Duration::from_secs(3600);

impl Response for FetchResponse {
    fn into_frame(self, context: &Context<'_>) -> Option<Frame> {
        self.encode(context.header.version, context.header.correlation)
    }
}

pub(super) async fn handle(context: &Context<'_>, request: FetchRequest) -> FetchResponse {
    if let Err(error) = check(&request) {
        return FetchResponse { error_code: error.code(), topics: Vec::new() };
    }
    let mut fetch = Fetch::new(context, &request);
    let deadline =
        Instant::now() + Duration::from_millis(request.max_wait_ms.max(0).unsigned_abs().into()).min(MAX_WAIT);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0).min(fetch.max_bytes);
    loop {
        fetch.read().await;
        if fetch.failed() || fetch.has(min_bytes) || context.drain.is_requested() || Instant::now() >= deadline {
            break;
        }
        let mut watch = context.broker().watch(&fetch.positions());
        let woken = tokio::select! {
            woken = timeout_at(deadline, watch.changed()) => woken.is_ok(),
            () = context.drain.requested() => false,
        };
        if !woken {
            break;
        }
    }
    fetch.response(context)
}

fn check(request: &FetchRequest) -> Result<(), ResponseError> {
    if request.replica_id.0 >= 0 || request.replica_state.replica_id.0 >= 0 {
        return Err(ResponseError::InvalidRequest);
    }
    match (request.session_id, request.session_epoch) {
        (_, NO_SESSION) | (0, NEW_SESSION) => Ok(()),
        (0, _) => Err(ResponseError::InvalidFetchSessionEpoch),
        // A client may close a session and ask for a new one in one request; there is none to close.
        (_, NEW_SESSION) => Ok(()),
        _ => Err(ResponseError::FetchSessionIdNotFound),
    }
}

/// A fetch in progress: the partitions asked for, in the request's order, and what has been read of them.
struct Fetch<'a> {
    context: &'a Context<'a>,
    topics: Vec<Wanted>,
    max_bytes: usize,
    bytes: usize,
}

struct Wanted {
    name: StrBytes,
    id: Uuid,
    partitions: Vec<Position>,
}

struct Position {
    index: i32,
    offset: i64,
    max_bytes: usize,
    state: Result<Seen, ResponseError>,
}

/// What was found at a position.
struct Seen {
    id: PartitionId,
    records: Vec<Bytes>,
    high_watermark: u64,
    log_start: u64,
}

impl<'a> Fetch<'a> {
    fn new(context: &'a Context<'a>, request: &FetchRequest) -> Self {
        let limit = context.listener.config.max_fetch_bytes;
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(limit);
        let topics = request.topics.iter().map(|topic| Wanted::new(context, topic)).collect();
        Self { context, topics, max_bytes, bytes: 0 }
    }

    fn seen(&self) -> impl Iterator<Item = &Position> {
        self.topics.iter().flat_map(|topic| &topic.partitions)
    }

    fn failed(&self) -> bool {
        self.seen().any(|position| position.state.is_err())
    }

    /// Reads every partition anew, up to the limits.
    async fn read(&mut self) {
        self.bytes = 0;
        for position in self.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let left = self.max_bytes.saturating_sub(self.bytes);
            position.read(self.context, left, self.bytes == 0).await;
            if let Ok(seen) = &position.state {
                self.bytes += seen.records.iter().map(Bytes::len).sum::<usize>();
            }
        }
    }

    /// Whether there is as much as the client waits for. Where a limit keeps the next batch out, the limit counts as reached, as
    /// in Kafka, which fills it up with a part of that batch: nothing that is waited for would change it.
    fn has(&self, min_bytes: usize) -> bool {
        self.bytes >= min_bytes || self.seen().map(Position::worth).sum::<usize>() >= min_bytes
    }

    /// Where something new would be worth answering: past what has been seen.
    fn positions(&self) -> Vec<(PartitionId, u64)> {
        self.seen()
            .filter_map(|position| position.state.as_ref().ok())
            .map(|seen| (seen.id, seen.high_watermark))
            .collect()
    }

    fn response(self, context: &Context<'_>) -> FetchResponse {
        let metrics = &context.listener.metrics;
        metrics.bytes_fetched.add(self.bytes);
        metrics.fetch_errors.add(self.seen().filter(|position| position.state.is_err()).count());
        FetchResponse { error_code: 0, topics: self.topics.into_iter().map(Wanted::response).collect() }
    }
}

impl Wanted {
    fn new(context: &Context<'_>, wanted: &FetchTopic) -> Self {
        let topic = if context.version() >= 13 {
            context.readable_by_id(wanted.topic_id)
        } else {
            context.readable(&wanted.topic)
        };
        let position = |wanted: &FetchPartition| {
            let id = topic
                .as_ref()
                .map_err(|refusal: &Refusal| refusal.error)
                .and_then(|topic| partition(topic, wanted.partition))
                .and_then(|id| check_epoch(wanted.current_leader_epoch).map(|()| id));
            Position {
                index: wanted.partition,
                offset: wanted.fetch_offset,
                max_bytes: usize::try_from(wanted.partition_max_bytes).unwrap_or(0),
                state: id.map(|id| Seen { id, records: Vec::new(), high_watermark: 0, log_start: 0 }),
            }
        };
        let partitions = wanted.partitions.iter().map(position).collect();
        Self { name: wanted.topic.0.clone(), id: wanted.topic_id, partitions }
    }

    fn response(self) -> FetchedTopic {
        let partitions = self.partitions.into_iter().map(Position::response).collect();
        FetchedTopic { name: self.name, id: self.id, partitions }
    }
}

impl Position {
    /// Reads from the position. With no bytes left only the partition's bounds are looked at; the first batch of a response may
    /// be over the limits, a later one not.
    async fn read(&mut self, context: &Context<'_>, left: usize, first: bool) {
        let Ok(seen) = &self.state else { return };
        self.state = self.look(context, seen.id, left, first).await;
    }

    async fn look(
        &self,
        context: &Context<'_>,
        id: PartitionId,
        left: usize,
        first: bool,
    ) -> Result<Seen, ResponseError> {
        let offset = u64::try_from(self.offset).map_err(|_| ResponseError::OffsetOutOfRange)?;
        let topic_code = |error: crate::broker::Error| code(error.kind, About::Topic);
        let max_bytes = self.max_bytes.min(left);
        if max_bytes == 0 && !first {
            let info = context.broker().partition(id).map_err(topic_code)?;
            if !(info.log_start..=info.high_watermark).contains(&offset) {
                return Err(ResponseError::OffsetOutOfRange);
            }
            return Ok(Seen {
                id,
                records: Vec::new(),
                high_watermark: info.high_watermark,
                log_start: info.log_start,
            });
        }
        let read = context.broker().read(id, offset, max_bytes).await.map_err(topic_code)?;
        let fits = first || read.batches.iter().map(Bytes::len).sum::<usize>() <= max_bytes;
        let records = if fits { read.batches } else { Vec::new() };
        Ok(Seen { id, records, high_watermark: read.high_watermark, log_start: read.log_start })
    }

    /// The bytes that were read, or those that the limit leaves room for where more is there.
    fn worth(&self) -> usize {
        let Ok(seen) = &self.state else { return 0 };
        let bytes = seen.records.iter().map(Bytes::len).sum::<usize>();
        let mut end = u64::try_from(self.offset).unwrap_or_default();
        let mut rest = seen.records.last().map(Bytes::as_ref).unwrap_or_default();
        while let Ok(header) = BatchHeader::parse(rest) {
            end = header.end_offset();
            rest = rest.get(header.size..).unwrap_or_default();
        }
        if end < seen.high_watermark { bytes.max(self.max_bytes) } else { bytes }
    }

    fn response(self) -> FetchedPartition {
        let index = self.index;
        match self.state {
            Ok(seen) => FetchedPartition {
                index,
                error_code: 0,
                high_watermark: wire_offset(seen.high_watermark),
                log_start: wire_offset(seen.log_start),
                records: seen.records,
            },
            Err(error) => FetchedPartition {
                index,
                error_code: error.code(),
                high_watermark: -1,
                log_start: -1,
                records: Vec::new(),
            },
        }
    }
}
