//! Reading a topic by offset, time or key: changes nothing.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_engine::Topic;
use tidegate_engine::batch::Record;
use utoipa::{IntoParams, ToSchema};

use super::answer::{self, at_least_one};
use super::convert::field::fields_of;
use super::convert::json::MessageView;
use super::convert::parse_time;
use super::error::{Problem, Result};
use super::extract::{Params, Target, negotiate};
use super::schema::{NameText, TimeText};
use super::state::Http;
use crate::broker::{Anchor, Page, Place, ReadLimit, first_u64};

pub(super) const JSON: &str = "application/json";
pub(super) const NDJSON: &str = "application/x-ndjson";

/// Messages of a page when the query does not say.
const DEFAULT_MESSAGES: usize = 100;

/// Where to read.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BrowseQuery {
    /// The partition; of `key` if that is given, the only one if there is one.
    partition: Option<u32>,
    /// From this offset on; from the first message kept if neither is given.
    offset: Option<u64>,
    /// From the first message at this time on.
    #[param(value_type = Option<TimeText>)]
    timestamp: Option<String>,
    /// Only messages with this key.
    key: Option<String>,
    /// The most messages.
    #[param(minimum = 1)]
    limit: Option<usize>,
}

/// A page of messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessagesView<'a> {
    /// The partition's index.
    partition: u32,
    /// In offset order.
    messages: Vec<MessageView<'a>>,
    /// Where the next page begins. With `key`, a page may be empty and still have a next one: go on until `latest`.
    next_offset: u64,
    /// Offset of the first message kept.
    earliest: u64,
    /// Offset of the next message.
    latest: u64,
}

/// Read a page of messages.
#[utoipa::path(get, path = "/topics/{topic}/messages", tag = "read", operation_id = "browse",
    params(("topic" = NameText, Path), BrowseQuery,
        ("If-None-Match" = Option<String>, Header, description = "ETag of a page read before")),
    responses((status = 200, description = "A page, in offset order", headers(("ETag" = String, description = "Changes when the page does")),
            content((MessagesView = "application/json"), (MessageView = "application/x-ndjson"))),
        (status = 304, description = "As it was")))]
pub(super) async fn browse(
    State(http): State<Http>,
    target: Target,
    Params(query): Params<BrowseQuery>,
    fields: HeaderMap,
) -> Result<Response> {
    let form = negotiate(&fields, &[JSON, NDJSON]).ok_or_else(|| not_acceptable(&[JSON, NDJSON]))?;
    let topic = http.broker.topic_for_read(&target.principal, target.topic())?;
    let place = query.place(&http, &topic)?;
    let limit = ReadLimit {
        messages: at_least_one("limit", query.limit)?.unwrap_or(DEFAULT_MESSAGES).min(http.config.max_browse_messages),
        bytes: http.config.max_browse_bytes,
    };
    let offset = query.start(&http, place).await?;
    let key = query.key.as_deref().map(str::as_bytes);
    let wanted = |record: &Record| key.is_none() || record.key.as_deref() == key;
    let page = http.broker.read_page(place.id, offset, limit, wanted).await?;
    http.metrics.sent.add(page.records.len(), page.records.iter().map(Record::size).sum());
    let body = page_body(&topic, place.index, &page, form)?;
    Ok(tagged(&fields, body, form))
}

impl BrowseQuery {
    fn place(&self, http: &Http, topic: &Topic) -> Result<Place> {
        let index = match (self.partition, &self.key) {
            (Some(index), _) => index,
            (None, Some(key)) => return Ok(http.broker.place(topic, Some(key.as_bytes()))),
            (None, None) if topic.partitions.len() == 1 => 0,
            (None, None) => {
                return Err(Problem::invalid(format!(
                    "topic '{}' has {} partitions: say which with partition or key",
                    topic.name,
                    topic.partitions.len()
                )));
            }
        };
        Ok(Place::find(topic, index)?)
    }

    async fn start(&self, http: &Http, place: Place) -> Result<u64> {
        match (self.offset, &self.timestamp) {
            (Some(_), Some(_)) => Err(Problem::invalid("give one of offset and timestamp")),
            (Some(offset), None) => Ok(offset),
            (None, Some(time)) => {
                let at_ms = parse_time(time).map_err(|reason| Problem::invalid(reason).within("timestamp"))?;
                Ok(http.broker.offset_at(place.id, Anchor::Time(at_ms)).await?)
            }
            (None, None) => Ok(http.broker.partition(place.id)?.log_start),
        }
    }
}

fn page_body(topic: &Topic, partition: u32, page: &Page, form: &str) -> Result<Vec<u8>> {
    let view = |record| MessageView::new(topic.name.name(), partition, record, None);
    let mut body = Vec::new();
    let written = if form == NDJSON {
        page.records.iter().try_for_each(|record| {
            serde_json::to_writer(&mut body, &view(record))?;
            body.push(b'\n');
            Ok(())
        })
    } else {
        let messages = page.records.iter().map(view).collect();
        let (next_offset, earliest, latest) = (page.next_offset, page.log_start, page.high_watermark);
        serde_json::to_writer(&mut body, &MessagesView { partition, messages, next_offset, earliest, latest })
    };
    written.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok(body)
}

/// The body with its ETag, or 304 if the client has it.
fn tagged(fields: &HeaderMap, body: Vec<u8>, form: &'static str) -> Response {
    let tag = format!("\"{:016x}\"", first_u64(&blake3::hash(&body)));
    let mut response = Response::new(Body::empty());
    if has_tag(fields, &tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = body.into();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(form));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn has_tag(fields: &HeaderMap, tag: &str) -> bool {
    let listed = fields.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == tag)
}

pub(super) fn not_acceptable(offered: &[&str]) -> Problem {
    let detail = format!("Accept one of {}", offered.join(", "));
    Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
}

/// Read one message.
///
/// The body and the fields it was published with; in JSON if that is asked for with Accept: application/json.
#[utoipa::path(get, path = "/topics/{topic}/messages/{id}", tag = "read", operation_id = "get_message",
    params(("topic" = NameText, Path),
        ("id" = String, Path, description = "`<partition>-<offset>`, as publishing answered it", pattern = "^[0-9]+-[0-9]+$")),
    // A body published as JSON comes as JSON, too, so that type promises no MessageView.
    responses((status = 200, description = "The body, of the type it was published with; with Accept: application/json the message as a MessageView",
        content((Vec<u8> = "application/octet-stream"), (serde_json::Value = "application/json")))))]
pub(super) async fn get_message(State(http): State<Http>, target: Target, fields: HeaderMap) -> Result<Response> {
    let topic = http.broker.topic_for_read(&target.principal, target.topic())?;
    let (index, offset) = parse_id(target.get("id"))?;
    let place = Place::find(&topic, index)?;
    let record = http.broker.record_at(place.id, offset).await?;
    http.metrics.sent.add(1, record.size());
    if negotiate(&fields, &["application/octet-stream", JSON]) == Some(JSON) {
        return Ok(answer::json(StatusCode::OK, &MessageView::new(topic.name.name(), index, &record, None)));
    }
    Ok(raw(&topic, index, &record))
}

fn parse_id(id: &str) -> Result<(u32, u64)> {
    let parsed =
        id.split_once('-').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parsed.ok_or_else(|| Problem::not_found("a message is named <partition>-<offset>"))
}

fn raw(topic: &Topic, partition: u32, record: &Record) -> Response {
    let (fields, body) = fields_of(record);
    let mut response = Response::new(Body::from(body));
    *response.headers_mut() = fields;
    let headers = response.headers_mut();
    if let Ok(name) = HeaderValue::from_maybe_shared(Bytes::copy_from_slice(topic.name.name().as_bytes())) {
        headers.insert("tidegate-topic", name);
    }
    headers.insert("tidegate-partition", partition.into());
    headers.insert("tidegate-offset", record.offset.into());
    // Bytes of which nothing more is known.
    headers.entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
    // What somebody published is shown by a browser as what it says it is, and never as a page of this origin.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}
