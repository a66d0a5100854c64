//! `POST /v1/topics/{topic}/messages:batch`: many messages of one topic in one request, a result for each.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_engine::{Appended, Atomic};
use utoipa::ToSchema;

use super::answer;
use super::convert::field::idempotency_key;
use super::convert::json::{MessageBody, is_json};
use super::error::{Problem, Result};
use super::extract::{Target, Whole, content_type, object, unsupported_media_type};
use super::publish::{IDEMPOTENT_REPLAYED, PublishedView};
use super::schema::{IdempotencyKeyText, NameText};
use super::state::{Http, now_ms};
use crate::broker::{Draft, Gathering, Group, Kind, property};

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

/// Publish many messages.
///
/// Each message is stored on its own, or with `atomic` all or none. `Idempotency-Key` covers the whole batch: sent again, it stores what was not stored the first time. A body of type application/cloudevents-batch+json is an array of CloudEvents in JSON; each becomes a message in structured mode, keyed by its `partitionkey`.
#[utoipa::path(post, path = "/topics/{topic}/messages:batch", tag = "publish", operation_id = "publish_batch",
    params(("topic" = NameText, Path),
        ("Idempotency-Key" = Option<IdempotencyKeyText>, Header, description = "Messages may have their own instead")),
    request_body = BatchBody,
    responses((status = 200, description = "All stored", body = BatchView),
        (status = 207, description = "Some, or none, stored: see `results`", body = BatchView)))]
pub(super) async fn publish_batch(
    State(http): State<Http>,
    target: Target,
    Whole { fields, body }: Whole,
) -> Result<Response> {
    let (drafts, atomic) = read_drafts(&fields, &body, http.config.max_batch_messages)?;
    let mut keys = fields.get_all("idempotency-key").iter();
    let (key, None) = (keys.next().map(idempotency_key).transpose()?, keys.next()) else {
        return Err(Problem::invalid("idempotency-key: it is given twice"));
    };
    // What is refused for itself creates no topic.
    let mut failed = drafts.iter().enumerate().filter_map(|(at, draft)| Some((at, draft.as_ref().err()?)));
    if atomic && let Some((position, problem)) = failed.next() {
        return Err(problem.clone().within(format_args!("messages[{position}]")));
    }
    let topic = match drafts.iter().any(Result::is_ok) {
        true => http.broker.topic_for_write(&target.principal, target.topic()).await?,
        false => http.broker.topic_for_read(&target.principal, target.topic())?,
    };
    let mut gathering = Gathering::new(target.principal.namespace(), key, now_ms());
    let mut results: Vec<Option<ResultView<'_>>> = Vec::new();
    results.resize_with(drafts.len(), || None);
    for (position, draft) in drafts.into_iter().enumerate() {
        let placed = draft.and_then(|draft| {
            let place = http.broker.place_draft(&topic, &draft, gathering.key())?;
            gathering.add(position, &topic, place, draft);
            Ok(())
        });
        match placed {
            Ok(()) => {}
            Err(problem) if atomic => return Err(problem.within(format_args!("messages[{position}]"))),
            Err(problem) => results[position] = Some(ResultView::failed(problem)),
        }
    }
    store(&http, &gathering, atomic, &mut results).await?;
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
        let batch: BatchBody<'_> = object(body).map_err(|problem| problem.within("body"))?;
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
    let event: CloudEvent = object(json.get().as_bytes()).map_err(|problem| problem.within("not a CloudEvent"))?;
    let mut draft = Draft {
        key: event.partitionkey.map(Bytes::from),
        value: Some(Bytes::copy_from_slice(json.get().as_bytes())),
        ..Draft::default()
    };
    draft.headers.push(property::CONTENT_TYPE, Some(b"application/cloudevents+json"));
    Ok(draft)
}

/// Stores the groups and enters their results.
async fn store<'a>(
    http: &Http,
    gathering: &'a Gathering<'_>,
    atomic: bool,
    results: &mut [Option<ResultView<'a>>],
) -> Result<()> {
    let groups = gathering.groups();
    if groups.is_empty() {
        return Ok(());
    }
    let writes = gathering.writes()?;
    for (group, write) in groups.iter().zip(&writes) {
        http.metrics.received.add(group.positions.len(), write.batch.bytes.len());
    }
    let (appended, commit) = if atomic {
        let atomic = Atomic { writes, ..Atomic::default() };
        let (appended, commit) = http.broker.publish_atomic(atomic).await.map_err(atomic_problem)?;
        (appended.into_iter().map(Ok).collect(), commit)
    } else {
        let appends = http.broker.publish(writes).await;
        (appends.results, appends.commit)
    };
    commit.wait().await?;
    for (group, appended) in groups.iter().zip(appended) {
        for (nth, position) in group.positions.iter().enumerate() {
            results[*position] = Some(match &appended {
                Ok(appended) => published(group, appended, nth),
                Err(error) => ResultView::failed(error.clone().into()),
            });
        }
    }
    Ok(())
}

fn published<'a>(group: &'a Group, appended: &Appended, nth: usize) -> ResultView<'a> {
    let timestamp = group.timestamp_ms(appended, nth);
    let published = PublishedView::new(&group.topic, group.place, appended, timestamp, nth as u64);
    ResultView::Published { status: StatusCode::CREATED.as_u16(), published }
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
