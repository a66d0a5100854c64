//! `GET /v1/groups/{group}/stream`: a group's messages pushed as they come, each under a lease.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use tidegate_engine::PartitionId;
use tidegate_engine::batch::Record;
use tidegate_engine::group::{ConsumerId, Delivery, LeaseId, LeaseRequest, Settlement};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::answer::at_least_one;
use super::consumers::Held;
use super::convert::json::MessageView;
use super::error::{Problem, Result};
use super::extract::{Params, Target};
use super::groups::{Caller, find_group};
use super::pull::{delivered, sign};
use super::schema::{DurationText, NameText};
use super::settle::check_deadline;
use super::state::{Http, now_ms};
use super::stream::{Form, Frames, Source, Step, Wake, respond, resume_at};
use crate::units;

const DEFAULT_IN_FLIGHT: usize = 100;
/// One piece of a stream.
const PIECE_MESSAGES: usize = 100;
const PIECE_BYTES: usize = 256 << 10;
/// In a cursor, where an ack_id has the partition: no topic has so many.
const CURSOR: PartitionId = PartitionId(u32::MAX);

/// How to stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct GroupStreamQuery {
    /// Send no more while so many messages are unsettled; 100 if not given.
    #[param(minimum = 1)]
    max_in_flight: Option<usize>,
    /// How long the messages may stay unsettled; the group's `ack_deadline` if not given.
    #[serde(default, with = "units::optional_duration")]
    #[param(value_type = Option<DurationText>)]
    ack_deadline: Option<Duration>,
    /// The `cursor` of the last message seen, or the id of the last event. Last-Event-ID says the same.
    cursor: Option<String>,
}

/// A group's consumer at the other end of a stream.
pub(super) struct GroupTail {
    caller: Caller,
    consumer: ConsumerId,
    held: Arc<Held>,
    sequence: u64,
    max_in_flight: usize,
    ack_deadline: Option<Duration>,
}

/// Consume a group as a stream.
///
/// Settle each message by its `ack_id` with `:ack`, `:nack` or `:extend`, as after a pull. When the connection breaks, what was sent stays leased until its deadline, so that it can still be settled; a client that reconnects with Last-Event-ID has what it did not receive delivered again at once. `event: error` (a problem) and `event: drain` (the gateway stops) are the last. In NDJSON the same are lines `{"error":…}` and `{"drain":…}`.
#[utoipa::path(get, path = "/groups/{group}/stream", tag = "consume", operation_id = "stream_group",
    params(("group" = NameText, Path), GroupStreamQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The last event received before the connection broke")),
    responses((status = 200, description = "Messages, one event each; its id is where to go on",
        content((MessageView = "text/event-stream"), (MessageView = "application/x-ndjson")))))]
pub(super) async fn stream_group(
    State(http): State<Http>,
    target: Target,
    Params(query): Params<GroupStreamQuery>,
    fields: HeaderMap,
) -> Result<Response> {
    let form = Form::of(&fields)?;
    let caller = Caller { group: target.group().to_owned(), principal: target.principal };
    find_group(&http, &caller.principal, &caller.group)?;
    check_deadline(query.ack_deadline)?;
    let max_in_flight = at_least_one("max_in_flight", query.max_in_flight)?.unwrap_or(DEFAULT_IN_FLIGHT);
    let resumed = resume_at(&fields, query.cursor.as_deref());
    let after = resumed.map(|cursor| release_unseen(&http, &caller, cursor)).transpose()?.flatten();
    let consumer = http.broker.new_consumer();
    let tail = GroupTail {
        caller,
        consumer,
        held: http.consumers.open(consumer, after),
        sequence: 0,
        max_in_flight: max_in_flight.min(http.config.max_stream_in_flight),
        ack_deadline: query.ack_deadline,
    };
    respond(&http, Source::Group(tail), form)
}

/// Gives back what the stream before sent after its consumer's last event, and returns that stream's consumer. A cursor
/// from before a restart tells nothing: those leases end at their deadline.
fn release_unseen(http: &Http, caller: &Caller, cursor: &str) -> Result<Option<ConsumerId>> {
    let verified = http.ack_key.verify(caller.principal.namespace(), &caller.group, cursor);
    let Some((consumer, LeaseId { partition: CURSOR, offset: sequence, token })) = verified else {
        return Err(Problem::invalid("the cursor is not one of this stream"));
    };
    if token != http.consumers.boot() {
        return Ok(None);
    }
    let unseen = http.consumers.unseen(consumer, sequence).into_iter().map(Settlement::Release).collect::<Vec<_>>();
    if !unseen.is_empty() {
        // Giving back is not progress: nobody waits for it to be durable.
        let (_results, _commit) = http.broker.settle(&caller.principal, &caller.group, unseen)?;
    }
    Ok(Some(consumer))
}

impl GroupTail {
    pub(super) async fn step(&mut self, http: &Http, form: Form) -> Result<Step> {
        if self.held.is_left() {
            return Ok(Step::End);
        }
        let credit = self.max_in_flight.saturating_sub(self.held.count(Instant::now()));
        if credit == 0 {
            return Ok(Step::Wait(Wake::Full(Arc::clone(&self.held))));
        }
        let (principal, group) = (&self.caller.principal, self.caller.group.as_str());
        let watch = http.broker.watch_group(principal, group)?;
        let wanted = LeaseRequest {
            consumer: self.consumer,
            max_messages: credit.min(PIECE_MESSAGES),
            max_bytes: PIECE_BYTES,
            deadline: self.ack_deadline,
            acknowledge: false,
            waited: false,
        };
        let deliveries = http.broker.lease(principal, group, wanted).await?;
        if deliveries.is_empty() {
            return Ok(Step::Wait(Wake::Group { watch, held: Arc::clone(&self.held) }));
        }
        self.send(http, form, &deliveries).map(Step::Messages)
    }

    fn send(&mut self, http: &Http, form: Form, deliveries: &[Delivery]) -> Result<bytes::Bytes> {
        http.metrics.sent.add(deliveries.len(), deliveries.iter().map(|delivery| Record::size(&delivery.record)).sum());
        let mut frames = Frames::new(form);
        let (now, wall_ms) = (Instant::now(), now_ms());
        for delivery in deliveries {
            self.sequence += 1;
            let lives = Duration::from_millis(u64::try_from(delivery.deadline_ms - wall_ms).unwrap_or_default());
            self.held.send(delivery.lease, self.sequence, now + lives);
            let signed = sign(http, &self.caller, self.consumer, delivery);
            frames.push(delivered(delivery, signed), self.cursor(http))?;
        }
        Ok(frames.finish())
    }

    fn cursor(&self, http: &Http) -> String {
        let position = LeaseId { partition: CURSOR, offset: self.sequence, token: http.consumers.boot() };
        http.ack_key.sign(self.caller.principal.namespace(), &self.caller.group, self.consumer, position)
    }
}
