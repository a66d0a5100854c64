//! `POST /v1/groups/{group}:pull`: leases messages, waiting for them if asked to; acknowledgements of the last ones ride along.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidegate_engine::Commit;
use tidegate_engine::group::{ConsumerId, Delivery, LeaseRequest};
use tokio::time::{Instant, sleep_until};
use utoipa::ToSchema;

use super::answer::{self, at_least_one};
use super::attempts::{Answer, Begin, Running};
use super::convert::json::{Delivered, MessageView};
use super::error::{Problem, Result};
use super::extract::Json;
use super::groups::Caller;
use super::publish::IDEMPOTENT_REPLAYED;
use super::schema::{DurationText, NameText};
use super::settle::{NackBody, SettlementView, acknowledgements, check_deadline, rejections, settle};
use super::state::{Http, now_ms};
use crate::broker::dedupe_key;
use crate::units;

const DEFAULT_MESSAGES: usize = 100;
const DEFAULT_BYTES: usize = 1 << 20;

/// What is wanted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullBody {
    /// The most messages; 100 if not given.
    #[schema(minimum = 1)]
    max_messages: Option<usize>,
    /// The most bytes of keys, values and headers, but at least one message; 1MiB if not given.
    #[serde(default, with = "units::size::optional")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    max_bytes: Option<usize>,
    /// Wait so long for the first message, such as 20s; not at all if not given.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    wait: Option<Duration>,
    /// How long the messages may stay unsettled; the group's `ack_deadline` if not given.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    ack_deadline: Option<Duration>,
    /// The client's name for this pull. Asked again with it (and the same `acks` and `nacks`), the same answer comes, with the same messages, as long as all of them are unsettled.
    #[schema(min_length = 1, max_length = 255)]
    attempt_id: Option<String>,
    /// `ack_id` of what is done.
    #[serde(default)]
    acks: Vec<String>,
    /// What failed.
    #[serde(default)]
    nacks: Vec<NackBody>,
}

/// Messages, leased.
#[derive(Debug, Serialize, ToSchema)]
pub struct PulledView<'a> {
    /// Empty when there was none in time.
    messages: Vec<MessageView<'a>>,
    /// What became of `acks` and then `nacks`, in their order; not there when there were none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    results: Vec<SettlementView>,
}

/// Pull messages.
///
/// Each is leased until its `ack_deadline`: acknowledge it before, or it is delivered again.
#[utoipa::path(post, path = "/groups/{group}:pull", tag = "consume", operation_id = "pull",
    params(("group" = NameText, Path)),
    request_body = PullBody,
    responses((status = 200, description = "Messages, perhaps none", body = PulledView, headers(
        ("Idempotent-Replayed" = String, description = "true: this is the first answer to the `attempt_id`")))))]
pub(super) async fn pull(http: &Http, caller: &Caller, body: &Json) -> Result<Response> {
    let body: PullBody = body.read()?;
    let wanted = wanted(http, &body)?;
    let settled = BuildHasherDefault::<DefaultHasher>::default().hash_one((&body.acks, &body.nacks));
    let attempt = match body.attempt_id.as_deref().map(|id| begin(http, caller, id)).transpose()? {
        Some(Begin::Done(answer)) if answer.settled != settled => return Err(reused()),
        Some(Begin::Done(answer)) => return Ok(replayed(answer.body)),
        Some(Begin::Running) => return Err(running()),
        Some(Begin::New(attempt)) => Some(attempt),
        None => None,
    };
    let until = Instant::now() + body.wait.unwrap_or_default().min(http.config.max_wait);
    let (results, commit) = settle_along(http, caller, body.acks, body.nacks)?;
    let lease = Lease::new(http, caller, wanted.consumer);
    let deliveries = lease.receive(wanted, until).await?;
    if let Some(commit) = commit {
        commit.wait().await?;
    }
    let answer = lease.answer(&deliveries, results)?;
    keep(attempt, &answer, settled, &deliveries);
    lease.given_out();
    Ok(answer::json_bytes(StatusCode::OK, answer))
}

/// What is wanted, within the listener's limits.
fn wanted(http: &Http, body: &PullBody) -> Result<LeaseRequest> {
    check_deadline(body.ack_deadline)?;
    let max_messages = at_least_one("max_messages", body.max_messages)?.unwrap_or(DEFAULT_MESSAGES);
    let max_bytes = at_least_one("max_bytes", body.max_bytes)?.unwrap_or(DEFAULT_BYTES);
    Ok(LeaseRequest {
        consumer: http.broker.new_consumer(),
        max_messages: max_messages.min(http.config.max_pull_messages),
        max_bytes: max_bytes.min(http.config.max_pull_bytes),
        deadline: body.ack_deadline,
        acknowledge: false,
        waited: false,
    })
}

fn begin<'a>(http: &'a Http, caller: &Caller, attempt_id: &str) -> Result<Begin<'a>> {
    if attempt_id.is_empty() || attempt_id.len() > 255 {
        return Err(Problem::invalid("attempt_id has 1 to 255 bytes"));
    }
    let key = dedupe_key(caller.principal.namespace(), &caller.group, attempt_id.as_bytes(), 0);
    match http.attempts.begin(key) {
        // Its messages are done, or given to somebody else: this is another pull.
        Begin::Done(answer) if !http.broker.holds(&caller.principal, &caller.group, &answer.leases)? => {
            http.attempts.forget(key);
            Ok(http.attempts.begin(key))
        }
        begun => Ok(begun),
    }
}

fn replayed(answer: Bytes) -> Response {
    let mut response = answer::json_bytes(StatusCode::OK, answer);
    response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    response
}

fn running() -> Problem {
    Problem::new(StatusCode::CONFLICT, "attempt_running", "a pull with this attempt_id is still waiting").later()
}

fn reused() -> Problem {
    let detail = "the attempt_id was used before with other acks or nacks: give this pull another";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "attempt_id_reused", detail)
}

fn settle_along(
    http: &Http,
    caller: &Caller,
    acks: Vec<String>,
    nacks: Vec<NackBody>,
) -> Result<(Vec<SettlementView>, Option<Commit>)> {
    let mut wishes: Vec<_> = acknowledgements(acks).collect();
    for nack in nacks {
        wishes.extend(rejections(nack)?);
    }
    if wishes.is_empty() {
        return Ok((Vec::new(), None));
    }
    let (results, commit) = settle(http, caller, wishes)?;
    Ok((results, Some(commit)))
}

/// Keeps the answer as long as all of its leases live.
fn keep(attempt: Option<Running<'_>>, body: &Bytes, settled: u64, deliveries: &[Delivery]) {
    let Some(attempt) = attempt else { return };
    let first = deliveries.iter().map(|delivery| delivery.deadline_ms).min();
    // An answer without messages is worth keeping only for what it settled; a retry comes within a minute or never.
    let lives = first.map_or(Duration::from_secs(60), |deadline_ms| {
        Duration::from_millis(u64::try_from(deadline_ms - now_ms()).unwrap_or_default())
    });
    let leases = deliveries.iter().map(|delivery| delivery.lease).collect();
    attempt.finish(Answer { body: body.clone(), leases, settled }, Instant::now() + lives);
}

/// Leases of one pull. They go back if the client is gone before the answer is ready.
struct Lease<'a> {
    http: &'a Http,
    caller: &'a Caller,
    consumer: ConsumerId,
    given_out: bool,
}

impl<'a> Lease<'a> {
    fn new(http: &'a Http, caller: &'a Caller, consumer: ConsumerId) -> Self {
        Self { http, caller, consumer, given_out: false }
    }

    /// Waits for messages until then, or until the listener drains.
    async fn receive(&self, wanted: LeaseRequest, until: Instant) -> Result<Vec<Delivery>> {
        let (broker, principal, group) = (&self.http.broker, &self.caller.principal, self.caller.group.as_str());
        loop {
            let mut watch = broker.watch_group(principal, group)?;
            let deliveries = broker.lease(principal, group, wanted).await?;
            if !deliveries.is_empty() || Instant::now() >= until || self.http.drain.is_requested() {
                return Ok(deliveries);
            }
            tokio::select! {
                () = watch.changed() => {}
                () = sleep_until(until) => {}
                () = self.http.drain.requested() => {}
            }
        }
    }

    fn answer(&self, deliveries: &[Delivery], results: Vec<SettlementView>) -> Result<Bytes> {
        let sign = |delivery| sign(self.http, self.caller, self.consumer, delivery);
        let messages = deliveries.iter().map(|delivery| delivered(delivery, sign(delivery))).collect();
        let body = serde_json::to_vec(&PulledView { messages, results });
        self.http.metrics.sent.add(deliveries.len(), deliveries.iter().map(|delivery| delivery.record.size()).sum());
        body.map(Bytes::from)
            .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))
    }

    fn given_out(mut self) {
        self.given_out = true;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.given_out {
            let released = self.http.broker.release_consumer(&self.caller.principal, &self.caller.group, self.consumer);
            if let Err(error) = released {
                // The leases, if there are any, end at their deadline.
                tracing::debug!(%error, "could not release the leases of a pull");
            }
        }
    }
}

/// What a delivery has besides its message.
pub(super) fn sign(http: &Http, caller: &Caller, consumer: ConsumerId, delivery: &Delivery) -> Delivered {
    let namespace = caller.principal.namespace();
    Delivered {
        ack_id: http.ack_key.sign(namespace, &caller.group, consumer, delivery.lease),
        attempt: delivery.attempt,
        deadline_ms: delivery.deadline_ms,
    }
}

pub(super) fn delivered(delivery: &Delivery, signed: Delivered) -> MessageView<'_> {
    MessageView::new(delivery.topic.name(), delivery.partition_index, &delivery.record, Some(signed))
}
