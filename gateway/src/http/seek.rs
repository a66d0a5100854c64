//! `POST /v1/groups/{group}:seek`: moves a group back or forth.

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tidegate_engine::PartitionId;
use tidegate_engine::group::GroupInfo;
use utoipa::ToSchema;

use super::answer;
use super::convert::parse_time;
use super::error::{Problem, Result};
use super::extract::Json;
use super::groups::{Caller, find_group};
use super::schema::NameText;
use super::state::Http;
use crate::broker::{Anchor, Broker, Error, Kind, Place};

/// Where to: one of `to` and `offsets`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeekBody {
    /// `earliest`, `latest`, or the first message at a time in RFC 3339: on every partition of the group's topics.
    to: Option<String>,
    /// Only these of the group's topics; all if not given.
    #[schema(value_type = Option<Vec<NameText>>)]
    topics: Option<Vec<String>>,
    /// Partitions one by one.
    offsets: Option<Vec<PositionBody>>,
}

/// A position on a partition.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionBody {
    /// The topic.
    #[schema(value_type = NameText)]
    topic: String,
    /// The partition's index.
    partition: u32,
    /// The next offset to consume.
    offset: u64,
}

/// Where the group now is.
#[derive(Debug, Serialize, ToSchema)]
pub struct SoughtView {
    /// By partition.
    positions: Vec<PositionBody>,
}

/// Move a group.
///
/// Everything below the position counts as acknowledged, everything from it on as not; unsettled deliveries there are void.
#[utoipa::path(post, path = "/groups/{group}:seek", tag = "consume", operation_id = "seek",
    params(("group" = NameText, Path)),
    request_body = SeekBody,
    responses((status = 200, description = "Moved", body = SoughtView)))]
pub(super) async fn seek(http: &Http, caller: &Caller, body: &Json) -> Result<Response> {
    let body: SeekBody = body.read()?;
    let group = find_group(http, &caller.principal, &caller.group)?;
    let sought = match (body.to, body.offsets) {
        (Some(to), None) => {
            let topics = chosen(&group, body.topics)?;
            everywhere(http, caller, &topics, parse_anchor(&to)?).await?
        }
        (None, Some(offsets)) if body.topics.is_none() => {
            Broker::check_consumed(&group, offsets.iter().map(|position| position.topic.as_str()))?;
            one_by_one(http, caller, offsets)?
        }
        _ => return Err(Problem::invalid("give one of to (with topics, if not all) and offsets")),
    };
    let ids: Vec<_> = sought.iter().map(|(id, position)| (*id, position.offset)).collect();
    http.broker.seek(&caller.principal, &caller.group, &ids).await?;
    let positions = sought.into_iter().map(|(_, position)| position).collect();
    Ok(answer::json(StatusCode::OK, &SoughtView { positions }))
}

type Sought = Vec<(PartitionId, PositionBody)>;

fn parse_anchor(text: &str) -> Result<Anchor> {
    match text {
        "earliest" => Ok(Anchor::Earliest),
        "latest" => Ok(Anchor::Latest),
        time => parse_time(time)
            .map(Anchor::Time)
            .map_err(|reason| Problem::invalid(format!("to is earliest, latest or a time: {reason}"))),
    }
}

/// The group's topics, or those of them that are named.
fn chosen(group: &GroupInfo, named: Option<Vec<String>>) -> Result<Vec<String>> {
    let Some(named) = named else {
        return Ok(group.config.topics.iter().map(|topic| topic.name().to_owned()).collect());
    };
    Broker::check_consumed(group, named.iter().map(String::as_str))?;
    Ok(named)
}

async fn everywhere(http: &Http, caller: &Caller, topics: &[String], to: Anchor) -> Result<Sought> {
    let mut sought = Vec::new();
    for name in topics {
        let topic = http.broker.topic_for_read(&caller.principal, name)?;
        for place in Place::all(&topic) {
            let offset = http.broker.offset_at(place.id, to).await?;
            sought.push((place.id, PositionBody { topic: name.clone(), partition: place.index, offset }));
        }
    }
    Ok(sought)
}

fn one_by_one(http: &Http, caller: &Caller, offsets: Vec<PositionBody>) -> Result<Sought> {
    let mut sought = Vec::with_capacity(offsets.len());
    for position in offsets {
        let topic = http.broker.topic_for_read(&caller.principal, &position.topic)?;
        let id = Place::find(&topic, position.partition)?.id;
        let info = http.broker.partition(id)?;
        if !(info.log_start..=info.high_watermark).contains(&position.offset) {
            let (topic, partition, offset) = (&position.topic, position.partition, position.offset);
            let detail = format!(
                "offset {offset} is outside {}..={} of partition {partition} of topic '{topic}'",
                info.log_start, info.high_watermark
            );
            return Err(Error::new(Kind::OutOfRange, detail).into());
        }
        sought.push((id, position));
    }
    Ok(sought)
}
