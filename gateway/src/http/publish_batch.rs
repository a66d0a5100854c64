//! `POST /v1/topics/{topic}/messages:batch`: many messages of one topic in one request, a result for each.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_engine::batch::{Batch, Record};
use tidegate_engine::{Appended, Atomic, DedupeKey, PartitionId, Topic, Write};
use utoipa::ToSchema;

use super::answer;
use super::convert::field::idempotency_key;
use super::convert::json::{MessageBody, is_json};
use super::convert::{Draft, dedupe_key, first_u64};
use super::error::{Problem, Result};
use super::extract::{Target, Whole, content_type, unsupported_media_type};
use super::publish::{IDEMPOTENT_REPLAYED, Place, PublishedView, place, timestamp_of};
use super::state::{Http, now_ms};
use crate::broker::{Kind, property};

/// A whole batch of CloudEvents (CloudEvents JSON format, section 4).
const CLOUD_EVENTS: &str = "application/cloudevents-batch+json";

/// Many messages.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchBody<'a> {
    /// The messages, in order.
    #[serde(borrow)]
    #[schema(value_type = Vec<MessageBody>)]
    messages: Vec<&'a RawValue>,
    /// All or none.
    #[serde(default)]
    atomic: bool,
}

/// What became of each message.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchView<'a> {
    /// As many as messages were sent, in their order.
    results: Vec<ResultView<'a>>,
}

/// What became of one message: `status` is what it would have been alone.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ResultView<'a> {
    /// Stored.
    Published {
        /// 201.
        status: u16,
        /// Where it went.
        #[serde(flatten)]
        published: PublishedView<'a>,
    },
    /// Not stored.
    Failed {
        /// As in the error.
        status: u16,
        /// Why not.
        error: Problem,
    },
}

/// Messages that go to one partition in one batch.
struct Group {
    place: Place,
    /// Where in the request each message was.
    positions: Vec<usize>,
    records: Vec<Record>,
    bytes: usize,
    hasher: blake3::Hasher,
    dedupe: Option<DedupeKey>,
    deliver_at_ms: Option<i64>,
}

/// The request, apart from the messages.
struct Request<'a> {
    http: &'a Http,
    topic: &'a Topic,
    namespace: &'a str,
    key: Option<Bytes>,
    now_ms: i64,
}

/// Publish many messages.
///
/// Each message is stored on its own, or with `atomic` all or none. `Idempotency-Key` covers the whole batch: sent again, it stores what was not stored the first time. A body of type application/cloudevents-batch+json is an array of CloudEvents in JSON; each becomes a message in structured mode, keyed by its `partitionkey`.
#[utoipa::path(post, path = "/topics/{topic}/messages:batch", tag = "publish", operation_id = "publish_batch",
    params(("topic" = String, Path, description = "Name"),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 bytes; messages may have their own instead")),
    request_body = BatchBody,
    responses((status = 200, description = "All stored", body = BatchView),
        (status = 207, description = "Some, or none, stored: see `results`", body = BatchView)))]
pub(super) async fn publish_batch(
    State(http): State<Http>,
    target: Target,
    fields: HeaderMap,
    Whole(body): Whole,
) -> Result<Response> {
    let (drafts, atomic) = read_drafts(&fields, &body, http.config.max_batch_messages)?;
    let topic = http.broker.topic_for_write(&target.principal, target.topic()).await?;
    let key = fields.get("idempotency-key").map(idempotency_key).transpose()?;
    let namespace = target.principal.namespace();
    let request = Request { http: &http, topic: &topic, namespace, key, now_ms: now_ms() };
    let mut results: Vec<Option<ResultView<'_>>> = Vec::new();
    results.resize_with(drafts.len(), || None);
    let mut groups: Vec<Group> = Vec::new();
    let mut open: HashMap<PartitionId, usize> = HashMap::new();
    for (position, draft) in drafts.into_iter().enumerate() {
        let placed = draft.and_then(|draft| {
            let place = place(&http, &topic, &draft, request.key.as_deref())?;
            request.assign(position, place, draft, &mut groups, &mut open);
            Ok(())
        });
        match placed {
            Ok(()) => {}
            Err(problem) if atomic => return Err(problem.within(format_args!("messages[{position}]"))),
            Err(problem) => results[position] = Some(ResultView::failed(problem)),
        }
    }
    request.store(groups, atomic, &mut results).await?;
    Ok(answer(results))
}

fn read_drafts(fields: &HeaderMap, body: &[u8], max_messages: usize) -> Result<(Vec<Result<Draft>>, bool)> {
    let of = content_type(fields);
    let cloud_events = of.is_some_and(|of| of.split(';').next().is_some_and(|of| of.trim() == CLOUD_EVENTS));
    if !cloud_events && of.is_some_and(|of| !is_json(of)) {
        return Err(unsupported_media_type("application/json or application/cloudevents-batch+json"));
    }
    let invalid = |error: serde_json::Error| Problem::invalid(error.to_string()).within("body");
    let (messages, atomic) = if cloud_events {
        (serde_json::from_slice::<Vec<&RawValue>>(body).map_err(invalid)?, false)
    } else {
        let batch: BatchBody<'_> = serde_json::from_slice(body).map_err(invalid)?;
        (batch.messages, batch.atomic)
    };
    if messages.len() > max_messages {
        let detail = format!("{} messages are over the limit of {max_messages} (max_batch_messages)", messages.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    let draft = if cloud_events { cloud_event } else { Draft::from_json };
    Ok((messages.into_iter().map(draft).collect(), atomic))
}

/// What every CloudEvent has, and what we look at.
#[derive(Deserialize)]
#[allow(dead_code)]
struct CloudEvent {
    specversion: String,
    id: String,
    source: String,
    r#type: String,
    partitionkey: Option<String>,
}

/// An event in structured mode: the message's body is the event as it came.
fn cloud_event(json: &RawValue) -> Result<Draft> {
    let event: CloudEvent =
        serde_json::from_str(json.get()).map_err(|e| Problem::invalid(e.to_string()).within("not a CloudEvent"))?;
    let mut draft = Draft {
        key: event.partitionkey.map(Bytes::from),
        value: Some(Bytes::copy_from_slice(json.get().as_bytes())),
        ..Draft::default()
    };
    draft.push(property::CONTENT_TYPE, "application/cloudevents+json");
    Ok(draft)
}

impl<'a> Request<'a> {
    /// Puts a message into a group: with others of its partition if it may, and always after them.
    fn assign(
        &self,
        position: usize,
        place: Place,
        draft: Draft,
        groups: &mut Vec<Group>,
        open: &mut HashMap<PartitionId, usize>,
    ) {
        let dedupe =
            draft.idempotency_key.as_deref().map(|key| draft.dedupe(self.namespace, self.topic.name.name(), key, 0));
        let digest = self.key.as_ref().map(|_| draft.digest());
        let (record, deliver_at_ms) = draft.into_record(self.now_ms);
        let alone = dedupe.is_some() || deliver_at_ms.is_some();
        let bytes = packed_bytes(&record);
        let joined = open
            .get(&place.id)
            .map(|index| &mut groups[*index])
            .filter(|group| !alone && group.bytes + bytes <= self.topic.config.max_message_bytes as usize);
        let group = match joined {
            Some(group) => group,
            None => {
                if alone {
                    open.remove(&place.id);
                } else {
                    open.insert(place.id, groups.len());
                }
                groups.push(Group::new(place, dedupe, deliver_at_ms));
                let last = groups.len() - 1;
                &mut groups[last]
            }
        };
        group.positions.push(position);
        group.records.push(record);
        group.bytes += bytes;
        if let Some(digest) = digest {
            group.hasher.update(&digest.to_le_bytes());
        }
    }

    /// Stores the groups and enters their results.
    async fn store(&self, groups: Vec<Group>, atomic: bool, results: &mut [Option<ResultView<'a>>]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let writes = self.writes(&groups)?;
        let (appended, commit) = if atomic {
            let atomic = Atomic { writes, ..Atomic::default() };
            let (appended, commit) = self.http.broker.publish_atomic(atomic).await.map_err(atomic_problem)?;
            (appended.into_iter().map(Ok).collect(), commit)
        } else {
            let appends = self.http.broker.publish(writes).await;
            (appends.results, appends.commit)
        };
        commit.wait().await?;
        for (group, appended) in groups.iter().zip(appended) {
            for (nth, position) in (0..).zip(&group.positions) {
                results[*position] = Some(match &appended {
                    Ok(appended) => self.published(group, appended, nth),
                    Err(error) => ResultView::failed(error.clone().into()),
                });
            }
        }
        Ok(())
    }

    fn writes(&self, groups: &[Group]) -> Result<Vec<Write>> {
        let mut writes = Vec::with_capacity(groups.len());
        for (part, group) in (0..).zip(groups) {
            let batch = Batch::pack(&group.records)?;
            self.http.metrics.received(group.records.len(), batch.bytes.len());
            let dedupe = group.dedupe.clone().or_else(|| self.dedupe_group(group, part));
            let deliver_at_ms = group.deliver_at_ms;
            writes.push(Write { partitions: vec![group.place.id], batch, dedupe, deliver_at_ms });
        }
        Ok(writes)
    }

    /// The batch's idempotency key covers each of its writes; sent again, it falls into the same writes. They are counted
    /// from 1: 0 is a message's own.
    fn dedupe_group(&self, group: &Group, part: u64) -> Option<DedupeKey> {
        let key = self.key.as_deref()?;
        let key = dedupe_key(self.namespace, self.topic.name.name(), key, part + 1);
        Some(DedupeKey { key, body: first_u64(&group.hasher.finalize()) })
    }

    fn published(&self, group: &Group, appended: &Appended, nth: u64) -> ResultView<'a> {
        let record = &group.records[usize::try_from(nth).unwrap_or_default()];
        let timestamp = timestamp_of(appended, record.timestamp_ms);
        let published = PublishedView::new(self.topic, group.place, appended, timestamp, nth);
        ResultView::Published { status: StatusCode::CREATED.as_u16(), published }
    }
}

/// Not more than the record takes in a batch.
fn packed_bytes(record: &Record) -> usize {
    // Lengths and deltas are variable-length integers of at most 5 and 10 bytes.
    const RECORD_OVERHEAD: usize = 40;
    const HEADER_OVERHEAD: usize = 10;
    record.size() + RECORD_OVERHEAD + record.headers.len() * HEADER_OVERHEAD
}

impl Group {
    fn new(place: Place, dedupe: Option<DedupeKey>, deliver_at_ms: Option<i64>) -> Self {
        Self {
            place,
            positions: Vec::new(),
            records: Vec::new(),
            bytes: tidegate_engine::batch::HEADER_BYTES,
            hasher: blake3::Hasher::new(),
            dedupe,
            deliver_at_ms,
        }
    }
}

/// A batch contradicts only what its idempotency keys were used for.
fn atomic_problem(error: crate::broker::Error) -> Problem {
    match error.kind {
        Kind::Conflict => tidegate_engine::Error::IdempotencyMismatch.into(),
        _ => error.into(),
    }
}

impl ResultView<'_> {
    fn failed(error: Problem) -> Self {
        Self::Failed { status: error.status().as_u16(), error }
    }
}

fn answer(results: Vec<Option<ResultView<'_>>>) -> Response {
    // Every message was placed in a group or failed before.
    let results: Vec<_> = results.into_iter().flatten().collect();
    let all = results.iter().all(|result| matches!(result, ResultView::Published { .. }));
    let is_repeat =
        |result: &ResultView<'_>| matches!(result, ResultView::Published { published, .. } if published.duplicate);
    let repeated = !results.is_empty() && results.iter().all(is_repeat);
    let status = if all { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    let mut response = answer::json(status, &BatchView { results });
    if repeated {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}
