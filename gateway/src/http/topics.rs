//! `/v1/topics`: create, look at, change, delete, list.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_engine::{Durability, Retention, Topic, TopicConfig};
use utoipa::ToSchema;

use super::answer::{self, PageQuery};
use super::convert::print_time;
use super::error::{Problem, Result};
use super::extract::{Json, Params, Target};
use super::precondition;
use super::schema::{DurationText, NameText};
use super::state::Http;
use crate::broker::{Broker, Kind};
use crate::units;

/// Settings of a topic, all optional. Created: what is not given has its default. Changed: it stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TopicBody {
    /// How many partitions; they can grow, never shrink.
    #[schema(minimum = 1)]
    partitions: Option<u32>,
    /// When a publish counts as done.
    #[schema(value_type = Option<DurabilityBody>)]
    durability: Option<Durability>,
    /// What the topic keeps.
    retention: Option<RetentionBody>,
    /// The largest batch of messages accepted, as stored: a number of bytes or a text such as 1MiB.
    #[serde(default, with = "units::size::optional")]
    #[schema(value_type = Option<u32>)]
    max_message_bytes: Option<u32>,
    /// Stamp messages with the time they are stored instead of the publisher's.
    log_append_time: Option<bool>,
}

/// `fsync`: it survives a power cut. `page-cache`: it survives the process. `memory`: neither.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, missing_docs)]
pub enum DurabilityBody {
    Memory,
    PageCache,
    Fsync,
}

/// What a topic keeps, and for how long. Whichever limit is reached first removes.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetentionBody {
    /// Messages older than this are removed, such as 7d; null keeps for ever.
    #[serde(default, deserialize_with = "given_duration")]
    #[schema(value_type = Option<DurationText>)]
    time: Option<Option<Duration>>,
    /// The oldest messages of a partition are removed while it holds more bytes; null is unlimited.
    #[serde(default, deserialize_with = "given_size")]
    #[schema(value_type = Option<u64>)]
    bytes: Option<Option<u64>>,
    /// Remove what every group of the topic has acknowledged.
    until_acknowledged: Option<bool>,
    /// Keep the last message of each key: for ever and whatever its size, unless `time` or `bytes` are given with it.
    compact: Option<bool>,
    /// How long compaction keeps a tombstone, such as 24h.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    tombstones: Option<Duration>,
}

#[allow(clippy::option_option)]
fn given_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Duration>>, D::Error> {
    units::optional_duration::deserialize(deserializer).map(Some)
}

#[allow(clippy::option_option)]
fn given_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    units::size::optional::deserialize(deserializer).map(Some)
}

impl TopicBody {
    /// `config` with what is given here.
    fn apply(&self, config: &TopicConfig) -> TopicConfig {
        TopicConfig {
            durability: self.durability.unwrap_or(config.durability),
            retention: self.retention.as_ref().map_or_else(|| config.retention.clone(), |r| r.apply(&config.retention)),
            max_message_bytes: self.max_message_bytes.unwrap_or(config.max_message_bytes),
            log_append_time: self.log_append_time.unwrap_or(config.log_append_time),
        }
    }

    /// Whether the topic is what is asked for.
    fn matches(&self, topic: &Topic) -> bool {
        self.partitions.is_none_or(|count| count as usize == topic.partitions.len())
            && self.apply(&topic.config) == topic.config
    }
}

impl RetentionBody {
    fn apply(&self, retention: &Retention) -> Retention {
        let retention = retention.compacting(self.compact);
        Retention {
            time: self.time.unwrap_or(retention.time),
            bytes: self.bytes.unwrap_or(retention.bytes),
            until_acknowledged: self.until_acknowledged.unwrap_or(retention.until_acknowledged),
            compact: retention.compact,
            tombstones: self.tombstones.unwrap_or(retention.tombstones),
        }
    }
}

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopicView {
    /// Its name.
    name: String,
    /// Never reused.
    #[schema(value_type = String)]
    id: uuid::Uuid,
    /// How many partitions.
    partitions: usize,
    /// When a publish counts as done.
    #[schema(value_type = DurabilityBody)]
    durability: Durability,
    /// What it keeps.
    retention: RetentionView,
    /// The largest batch of messages accepted, in bytes as stored.
    max_message_bytes: u32,
    /// Messages are stamped with the time they are stored.
    log_append_time: bool,
    /// RFC 3339.
    created_at: String,
    /// What each partition holds; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    offsets: Option<Vec<OffsetsView>>,
}

/// What a topic keeps.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionView {
    /// Such as 7d, or null.
    #[serde(with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    time: Option<Duration>,
    /// Bytes of a partition, or null.
    bytes: Option<u64>,
    /// Removed once every group has acknowledged.
    until_acknowledged: bool,
    /// The last message of each key is kept.
    compact: bool,
    /// Such as 24h.
    #[serde(with = "units::duration")]
    #[schema(value_type = DurationText)]
    tombstones: Duration,
}

/// What a partition holds.
#[derive(Debug, Serialize, ToSchema)]
pub struct OffsetsView {
    /// Its index.
    partition: u32,
    /// Offset of the first message kept.
    earliest: u64,
    /// Offset of the next message.
    latest: u64,
    /// Stored bytes between the two, to the granularity of a batch.
    bytes: u64,
}

impl TopicView {
    fn new(topic: &Topic) -> Self {
        let retention = &topic.config.retention;
        Self {
            name: topic.name.name().to_owned(),
            id: topic.id,
            partitions: topic.partitions.len(),
            durability: topic.config.durability,
            retention: RetentionView {
                time: retention.time,
                bytes: retention.bytes,
                until_acknowledged: retention.until_acknowledged,
                compact: retention.compact,
                tombstones: retention.tombstones,
            },
            max_message_bytes: topic.config.max_message_bytes,
            log_append_time: topic.config.log_append_time,
            created_at: print_time(topic.created_at_ms),
            offsets: None,
        }
    }

    fn with_offsets(topic: &Topic, broker: &Broker) -> Result<Self> {
        let offsets = topic.partitions.iter().zip(0..).map(|(id, partition)| {
            let info = broker.partition(*id)?;
            let (earliest, latest) = (info.log_start, info.high_watermark);
            Ok(OffsetsView { partition, earliest, latest, bytes: info.bytes })
        });
        let offsets = Some(offsets.collect::<Result<_>>()?);
        Ok(Self { offsets, ..Self::new(topic) })
    }
}

/// Create a topic.
///
/// Repeating the request is harmless: a topic that is as asked for is returned. One that differs is not changed (409); change it with PATCH. `If-None-Match: *` only creates (412 if it is there).
#[utoipa::path(put, path = "/topics/{topic}", tag = "topics", operation_id = "create_topic",
    params(("topic" = NameText, Path)),
    request_body(content = Option<TopicBody>, description = "May be empty"),
    responses((status = 201, description = "Created", body = TopicView, headers(("Location" = String, description = "Its address"))),
        (status = 200, description = "It is there already, as asked for", body = TopicView)))]
pub(super) async fn put_topic(
    State(http): State<Http>,
    target: Target,
    fields: HeaderMap,
    body: Json,
) -> Result<Response> {
    let body: TopicBody = body.read()?;
    let name = target.topic();
    match http.broker.topic_for_read(&target.principal, name) {
        Ok(topic) => return existing(&fields, &body, &topic),
        Err(error) if error.kind == Kind::NotFound => precondition::check(&fields, false)?,
        Err(error) => return Err(error.into()),
    }
    let config = body.apply(&http.broker.settings().topic);
    match http.broker.create_topic(&target.principal, name, body.partitions, config).await {
        Ok(topic) => {
            let created = answer::json(StatusCode::CREATED, &TopicView::new(&topic));
            Ok(answer::with_location(created, format!("/v1/topics/{}", answer::segment(name))))
        }
        Err(error) if error.kind == Kind::AlreadyExists => {
            let topic = http.broker.topic_for_read(&target.principal, name)?;
            existing(&fields, &body, &topic)
        }
        Err(error) => Err(error.into()),
    }
}

fn existing(fields: &HeaderMap, body: &TopicBody, topic: &Topic) -> Result<Response> {
    precondition::check(fields, true)?;
    if body.matches(topic) {
        return Ok(answer::json(StatusCode::OK, &TopicView::new(topic)));
    }
    let detail = format!("topic '{}' exists with other settings: change it with PATCH", topic.name);
    Err(Problem::new(StatusCode::CONFLICT, "already_exists", detail))
}

/// Look at a topic.
#[utoipa::path(get, path = "/topics/{topic}", tag = "topics", operation_id = "get_topic",
    params(("topic" = NameText, Path)),
    responses((status = 200, description = "The topic and what its partitions hold", body = TopicView)))]
pub(super) async fn get_topic(State(http): State<Http>, target: Target) -> Result<Response> {
    let topic = http.broker.topic_for_read(&target.principal, target.topic())?;
    Ok(answer::json(StatusCode::OK, &TopicView::with_offsets(&topic, &http.broker)?))
}

/// Change a topic.
///
/// What is not given stays. More `partitions` grow it; keys may then go to other partitions than before.
#[utoipa::path(patch, path = "/topics/{topic}", tag = "topics", operation_id = "change_topic",
    params(("topic" = NameText, Path)),
    request_body = Option<TopicBody>,
    responses((status = 200, description = "The topic as it now is", body = TopicView)))]
pub(super) async fn patch_topic(
    State(http): State<Http>,
    target: Target,
    fields: HeaderMap,
    body: Json,
) -> Result<Response> {
    let body: TopicBody = body.read()?;
    let (broker, principal, name) = (&http.broker, &target.principal, target.topic());
    let mut topic = broker.topic_for_read(principal, name)?;
    precondition::check(&fields, true)?;
    let grown = body.partitions.filter(|count| *count as usize != topic.partitions.len());
    if let Some(count) = grown.filter(|count| (*count as usize) < topic.partitions.len()) {
        let detail = format!("the topic has {} partitions and cannot shrink to {count}", topic.partitions.len());
        return Err(Problem::invalid(detail));
    }
    let config = body.apply(&topic.config);
    // What may be refused comes first: a request that fails has changed nothing.
    if let Some(count) = grown {
        topic = broker.grow_topic(principal, name, count).await?;
    }
    if config != topic.config {
        topic = broker.alter_topic(principal, name, config).await?;
    }
    Ok(answer::json(StatusCode::OK, &TopicView::new(&topic)))
}

/// Delete a topic, its messages and every group's progress on it.
#[utoipa::path(delete, path = "/topics/{topic}", tag = "topics", operation_id = "delete_topic",
    params(("topic" = NameText, Path)),
    responses((status = 204, description = "Deleted")))]
pub(super) async fn delete_topic(State(http): State<Http>, target: Target, fields: HeaderMap) -> Result<Response> {
    precondition::check(&fields, true)?;
    http.broker.delete_topic(&target.principal, target.topic()).await?;
    Ok(answer::no_content())
}

/// A page of topics.
#[derive(Debug, Serialize, ToSchema)]
pub struct TopicsView {
    /// By name.
    topics: Vec<TopicView>,
    /// For the next page; null on the last.
    next_cursor: Option<String>,
}

/// List topics.
#[utoipa::path(get, path = "/topics", tag = "topics", operation_id = "list_topics",
    params(PageQuery),
    responses((status = 200, description = "A page of topics, by name", body = TopicsView)))]
pub(super) async fn list_topics(
    State(http): State<Http>,
    target: Target,
    Params(query): Params<PageQuery>,
) -> Result<Response> {
    let topics = http.broker.topics(&target.principal);
    let (topics, next_cursor) = query.page(topics, |topic: &Arc<Topic>| topic.name.name(), http.config.max_page)?;
    let topics = topics.iter().map(|topic| TopicView::new(topic)).collect();
    Ok(answer::json(StatusCode::OK, &TopicsView { topics, next_cursor }))
}
