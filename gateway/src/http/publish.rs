//! `POST /v1/topics/{topic}/messages`: one request, one message, the body as it is.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use tidegate_engine::batch::Batch;
use tidegate_engine::{Appended, Durability, Topic, Write};
use utoipa::ToSchema;

use super::answer;
use super::convert::json::message_id;
use super::convert::print_time;
use super::error::Result;
use super::extract::{Target, Whole};
use super::schema::{DurationText, IdempotencyKeyText, NameText, TimeText};
use super::state::{Http, now_ms};
use super::topics::DurabilityBody;
use crate::broker::{Draft, Place, stored_timestamp_ms};

/// The answer was given before: the first result of this idempotency key.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Where a message went.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublishedView<'a> {
    /// Its address within the topic; null while it waits for its delivery time.
    pub(super) id: Option<String>,
    /// The topic.
    pub(super) topic: &'a str,
    /// The partition's index.
    pub(super) partition: u32,
    /// The offset; null while it waits for its delivery time.
    pub(super) offset: Option<u64>,
    /// The message's timestamp, RFC 3339; null for a repeat in a batch, or whose first is not kept any more.
    pub(super) timestamp: Option<String>,
    /// What it survives from now on.
    #[schema(value_type = DurabilityBody)]
    pub(super) durability: Durability,
    /// It was stored before, under the same idempotency key.
    pub(super) duplicate: bool,
}

/// Publish one message.
///
/// The body is the message's, of whatever type. The answer comes when the message is as durable as the topic says.
#[utoipa::path(post, path = "/topics/{topic}/messages", tag = "publish", operation_id = "publish",
    params(("topic" = NameText, Path),
        ("Tidegate-Key" = Option<String>, Header, description = "Key: messages of one key go to one partition. Bytes that are no field value: Tidegate-Base64-Key"),
        ("Tidegate-Partition" = Option<u32>, Header, description = "Partition index, instead of by key"),
        ("Tidegate-Timestamp" = Option<TimeText>, Header, description = "When it happened; now if not given"),
        ("Tidegate-Ttl" = Option<DurationText>, Header, description = "Time to live, such as 30s"),
        ("Tidegate-Deliver-At" = Option<TimeText>, Header, description = "Not delivered before"),
        ("Tidegate-Delay" = Option<DurationText>, Header, description = "Not delivered for so long, such as 5m"),
        ("Tidegate-Priority" = Option<u8>, Header, description = "0 to 31", minimum = 0, maximum = 31),
        ("Tidegate-Message-Id" = Option<String>, Header, description = "The publisher's id of the message"),
        ("Tidegate-Correlation-Id" = Option<String>, Header, description = "Ties a reply to its request"),
        ("Tidegate-Reply-To" = Option<String>, Header, description = "Where a reply should go"),
        ("Tidegate-Type" = Option<String>, Header, description = "The application's type of the message"),
        ("Tidegate-App-Id" = Option<String>, Header, description = "The publishing application"),
        ("Tidegate-User-Id" = Option<String>, Header, description = "The publishing user"),
        ("Tidegate-Tombstone" = Option<bool>, Header, description = "true: no body, the key is deleted"),
        ("Idempotency-Key" = Option<IdempotencyKeyText>, Header)),
    description = "Any other header of the message goes into `Tidegate-Header-<name>`; HTTP does not keep the case of names, so upper-case letters are percent-encoded (`%41` for A). `Tidegate-Base64-Header-<name>` takes bytes that are no field value, `Tidegate-Null-Header-<name>` a header without a value. `Content-Type`, `Content-Encoding`, `ce-*` (CloudEvents, binary mode), `traceparent`, `tracestate` and `baggage` are kept.",
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The message's body, of any content type"),
    responses((status = 201, description = "Stored", body = PublishedView, headers(
        ("Location" = String, description = "The message's address"),
        ("Idempotent-Replayed" = String, description = "true: this is the first result of the idempotency key")))))]
pub(super) async fn publish(
    State(http): State<Http>,
    target: Target,
    Whole { fields, body }: Whole,
) -> Result<Response> {
    let draft = Draft::from_fields(&fields, body)?;
    let topic = http.broker.topic_for_write(&target.principal, target.topic()).await?;
    let place = http.broker.place_draft(&topic, &draft, None)?;
    let dedupe = draft
        .idempotency_key
        .as_deref()
        .map(|key| draft.dedupe(target.principal.namespace(), topic.name.name(), key, 0));
    let (record, deliver_at_ms) = draft.into_record(now_ms());
    let batch = Batch::pack(std::slice::from_ref(&record))?;
    http.metrics.received.add(1, batch.bytes.len());
    let write = Write { partitions: vec![place.id], batch, dedupe, deliver_at_ms };
    let mut appends = http.broker.publish(vec![write]).await;
    let appended = appends.results.pop().unwrap_or(Err(tidegate_engine::Error::Closed))?;
    appends.commit.wait().await?;
    let timestamp = match appended.base_offset.filter(|_| appended.duplicate) {
        // Seldom: in its place it would make every request's future twice as large, and that is copied.
        Some(offset) => Box::pin(http.broker.record_at(place.id, offset)).await.ok().map(|first| first.timestamp_ms),
        None => stored_timestamp_ms(&appended, record.timestamp_ms),
    };
    Ok(created(&PublishedView::new(&topic, place, &appended, timestamp, 0)))
}

impl<'a> PublishedView<'a> {
    pub(super) fn new(
        topic: &'a Topic,
        place: Place,
        appended: &Appended,
        timestamp_ms: Option<i64>,
        nth: u64,
    ) -> Self {
        let offset = appended.base_offset.map(|base| base + nth);
        Self {
            id: offset.map(|offset| message_id(place.index, offset)),
            topic: topic.name.name(),
            partition: place.index,
            offset,
            timestamp: timestamp_ms.map(print_time),
            durability: appended.durability,
            duplicate: appended.duplicate,
        }
    }
}

fn created(published: &PublishedView<'_>) -> Response {
    let mut response = answer::json(StatusCode::CREATED, published);
    if published.duplicate {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    match &published.id {
        Some(id) => {
            let topic = answer::segment(published.topic);
            answer::with_location(
                response,
                ["/v1/topics/"].into_iter().chain(topic).chain(["/messages/", id]).collect(),
            )
        }
        None => response,
    }
}
