//! `GET /v1/groups/{group}/lag`: what a group has still to consume.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use super::convert::print_time;
use super::error::Result;
use super::extract::Target;
use super::groups::find_group;
use super::schema::NameText;
use super::state::{Http, now_ms};
use crate::broker::PartitionLag;
use crate::units;

/// What a group has still to consume.
#[derive(Debug, Serialize, ToSchema)]
pub struct LagView {
    /// Messages not acknowledged.
    messages: u64,
    /// Their stored bytes, to the granularity of a batch.
    bytes: u64,
    /// Age of the oldest of them, such as 1m30s; null when there is none.
    oldest_age: Option<String>,
    /// By partition.
    partitions: Vec<PartitionLagView>,
}

/// What a group has still to consume of a partition.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartitionLagView {
    /// The topic.
    topic: String,
    /// The partition's index.
    partition: u32,
    /// Everything below is acknowledged; null without any progress.
    committed: Option<u64>,
    /// Messages not acknowledged.
    messages: u64,
    /// Their stored bytes, to the granularity of a batch.
    bytes: u64,
    /// Timestamp of the oldest of them, RFC 3339, or null.
    oldest_timestamp: Option<String>,
}

/// What a group has still to consume.
#[utoipa::path(get, path = "/groups/{group}/lag", tag = "groups", operation_id = "get_lag",
    params(("group" = NameText, Path)),
    responses((status = 200, description = "In all and by partition", body = LagView)))]
pub(super) async fn get_lag(State(http): State<Http>, target: Target) -> Result<Response> {
    let (principal, name) = (&target.principal, target.group());
    find_group(&http, principal, name)?;
    let lag = http.broker.lag(principal, name)?;
    let view = LagView {
        messages: lag.messages,
        bytes: lag.bytes,
        oldest_age: lag.oldest_age(now_ms()).map(units::print_duration),
        partitions: lag.partitions.into_iter().map(PartitionLagView::new).collect(),
    };
    Ok(answer::json(StatusCode::OK, &view))
}

impl PartitionLagView {
    fn new(lag: PartitionLag) -> Self {
        Self {
            topic: lag.topic,
            partition: lag.partition,
            committed: lag.committed,
            messages: lag.messages,
            bytes: lag.bytes,
            oldest_timestamp: lag.oldest_timestamp_ms.map(print_time),
        }
    }
}
