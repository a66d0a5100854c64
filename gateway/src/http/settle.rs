//! Acknowledging, failing and extending what was delivered: a result for each ack_id.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_engine::Commit;
use tidegate_engine::group::{ConsumerId, LeaseId, Settlement};
use utoipa::ToSchema;

use super::answer;
use super::error::{Problem, Result};
use super::extract::Json;
use super::groups::{Caller, find_group};
use super::schema::{DurationText, NameText};
use super::state::Http;
use crate::units;

/// The longest reason kept with a dead letter.
const MAX_REASON_BYTES: usize = 1024;

/// What is done.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AckBody {
    /// `ack_id` of each.
    ack_ids: Vec<String>,
}

/// What failed.
#[derive(Debug, Hash, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NackBody {
    /// `ack_id` of each.
    ack_ids: Vec<String>,
    /// Deliver again after so long, instead of the group's retry delay.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    delay: Option<Duration>,
    /// Why, for the headers of a dead letter.
    #[schema(max_length = 1024)]
    reason: Option<String>,
    /// Dead-letter it now, whatever the count.
    #[serde(default)]
    dead_letter: bool,
    /// False gives it back unharmed: delivered again at once, and the attempt does not count.
    #[serde(default = "yes")]
    #[schema(default = true)]
    count_attempt: bool,
}

/// What takes longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendBody {
    /// `ack_id` of each.
    ack_ids: Vec<String>,
    /// The new deadline, counted from now; the group's if not given.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    ack_deadline: Option<Duration>,
}

/// Refuses a deadline that is over at once.
pub(super) fn check_deadline(deadline: Option<Duration>) -> Result<()> {
    match deadline {
        Some(Duration::ZERO) => Err(Problem::invalid("ack_deadline is over at once: give the consumer some time")),
        _ => Ok(()),
    }
}

fn yes() -> bool {
    true
}

/// What became of each ack_id.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettledView {
    /// As many as ack_ids were sent, in their order.
    results: Vec<SettlementView>,
}

/// What became of one ack_id.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettlementView {
    /// As it was sent.
    ack_id: String,
    /// 200, or as in the error.
    status: u16,
    /// Why not. `lease_gone`: it was settled before, its deadline has passed, or the group was moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Acknowledge.
///
/// What is acknowledged is never delivered to the group again. The answer comes when that is durable.
#[utoipa::path(post, path = "/groups/{group}:ack", tag = "consume", operation_id = "ack",
    params(("group" = NameText, Path)),
    request_body = AckBody,
    responses((status = 200, description = "All settled", body = SettledView),
        (status = 207, description = "Some, or none: see `results`", body = SettledView)))]
pub(super) async fn ack(http: &Http, caller: &Caller, body: &Json) -> Result<Response> {
    let body: AckBody = body.read()?;
    settle_now(http, caller, acknowledgements(body.ack_ids).collect()).await
}

/// Fail, or give back.
///
/// The messages are delivered again, or dead-lettered after `max_deliveries`.
#[utoipa::path(post, path = "/groups/{group}:nack", tag = "consume", operation_id = "nack",
    params(("group" = NameText, Path)),
    request_body = NackBody,
    responses((status = 200, description = "All settled", body = SettledView),
        (status = 207, description = "Some, or none: see `results`", body = SettledView)))]
pub(super) async fn nack(http: &Http, caller: &Caller, body: &Json) -> Result<Response> {
    let body: NackBody = body.read()?;
    settle_now(http, caller, rejections(body)?).await
}

/// Ask for more time.
#[utoipa::path(post, path = "/groups/{group}:extend", tag = "consume", operation_id = "extend",
    params(("group" = NameText, Path)),
    request_body = ExtendBody,
    responses((status = 200, description = "All extended", body = SettledView),
        (status = 207, description = "Some, or none: see `results`", body = SettledView)))]
pub(super) async fn extend(http: &Http, caller: &Caller, body: &Json) -> Result<Response> {
    let body: ExtendBody = body.read()?;
    check_deadline(body.ack_deadline)?;
    let deadline = match body.ack_deadline {
        Some(deadline) => deadline,
        None => find_group(http, &caller.principal, &caller.group)?.config.ack_deadline,
    };
    let wishes = body.ack_ids.into_iter().map(|ack_id| Wish { ack_id, outcome: Outcome::Extend(deadline) });
    settle_now(http, caller, wishes.collect()).await
}

/// What shall become of one delivery.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    ack_id: String,
    outcome: Outcome,
}

#[derive(Debug, Clone)]
enum Outcome {
    Acknowledge,
    Release,
    Reject { delay: Option<Duration>, reason: Option<Bytes>, dead_letter: bool },
    Extend(Duration),
}

impl Outcome {
    fn of(self, lease: LeaseId) -> Settlement {
        match self {
            Self::Acknowledge => Settlement::Acknowledge(lease),
            Self::Release => Settlement::Release(lease),
            Self::Reject { delay, reason, dead_letter } => Settlement::Reject { lease, delay, reason, dead_letter },
            Self::Extend(deadline) => Settlement::Extend(lease, deadline),
        }
    }
}

pub(super) fn acknowledgements(ack_ids: Vec<String>) -> impl Iterator<Item = Wish> {
    ack_ids.into_iter().map(|ack_id| Wish { ack_id, outcome: Outcome::Acknowledge })
}

pub(super) fn rejections(body: NackBody) -> Result<Vec<Wish>> {
    let NackBody { ack_ids, delay, reason, dead_letter, count_attempt } = body;
    if reason.as_ref().is_some_and(|reason| reason.len() > MAX_REASON_BYTES) {
        return Err(Problem::invalid(format!("reason has at most {MAX_REASON_BYTES} bytes")));
    }
    if !count_attempt && (delay.is_some() || reason.is_some() || dead_letter) {
        return Err(Problem::invalid(
            "count_attempt false gives back at once: it goes with no delay, reason or dead_letter",
        ));
    }
    let outcome = match count_attempt {
        true => Outcome::Reject { delay, reason: reason.map(Bytes::from), dead_letter },
        false => Outcome::Release,
    };
    Ok(ack_ids.into_iter().map(|ack_id| Wish { ack_id, outcome: outcome.clone() }).collect())
}

async fn settle_now(http: &Http, caller: &Caller, wishes: Vec<Wish>) -> Result<Response> {
    let (results, commit) = settle(http, caller, wishes)?;
    commit.wait().await?;
    let all = results.iter().all(|result| result.error.is_none());
    let status = if all { StatusCode::OK } else { StatusCode::MULTI_STATUS };
    Ok(answer::json(status, &SettledView { results }))
}

/// Settles, with a result for each in order. They are durable when the commit is done.
pub(super) fn settle(http: &Http, caller: &Caller, wishes: Vec<Wish>) -> Result<(Vec<SettlementView>, Commit)> {
    let limit = http.config.max_settlements;
    if wishes.len() > limit {
        let detail = format!("{} ack_ids are over the limit of {limit} (max_settlements)", wishes.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    let namespace = caller.principal.namespace();
    let mut settlements = Vec::with_capacity(wishes.len());
    let mut leases: Vec<Option<(ConsumerId, LeaseId)>> = Vec::with_capacity(wishes.len());
    let mut ack_ids = Vec::with_capacity(wishes.len());
    for Wish { ack_id, outcome } in wishes {
        let verified = http.ack_key.verify(namespace, &caller.group, &ack_id);
        settlements.extend(verified.map(|(_, lease)| outcome.of(lease)));
        leases.push(verified);
        ack_ids.push(ack_id);
    }
    let (results, commit) = http.broker.settle(&caller.principal, &caller.group, settlements.clone())?;
    let mut settled = settlements.iter().zip(results);
    let views = ack_ids.into_iter().zip(leases).map(|(ack_id, lease)| {
        let done = match lease {
            None => Err(Problem::invalid("this group did not give out this ack_id")),
            Some((consumer, _)) => match settled.next() {
                Some((settlement, Ok(()))) => {
                    http.consumers.settled(consumer, settlement);
                    Ok(())
                }
                Some((_, Err(error))) => Err(error.into()),
                None => Err(Problem::invalid("the engine did not answer")),
            },
        };
        SettlementView::new(ack_id, done)
    });
    Ok((views.collect(), commit))
}

impl SettlementView {
    fn new(ack_id: String, done: Result<()>) -> Self {
        let error = done.err();
        let status = error.as_ref().map_or(StatusCode::OK, Problem::status).as_u16();
        Self { ack_id, status, error }
    }
}
