//! The consumer's frames: what came together is settled together, and answered when it is durable.

use std::time::Duration;

use futures_util::FutureExt;
use tidegate_engine::Commit;
use tidegate_engine::group::Settlement;
use tidegate_proto::v1::ConsumeRequest;
use tidegate_proto::v1::consume_request::{Ack, Extend, Frame, Nack};
use tidegate_proto::v1::consume_response::{self as response, AckResult, FailedDelivery, Pong};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::error::{Refusal, Result};
use super::super::settle::Outcome;
use super::super::state::Grpc;
use super::super::time::deadline;
use super::session::{Attached, Held, State};
use super::sessions::lease_time;
use super::{Frames, Responses, frame};
use crate::broker::{self, Kind};

/// One call settles no more deliveries than this (and one frame).
const SETTLE_DELIVERIES: usize = 10_000;

/// What one settle call will be answered with.
pub(super) struct Pending {
    /// None when nothing was settled.
    commit: Option<Commit>,
    results: Vec<AckResult>,
}

/// Frames that had arrived together, as settlements.
#[derive(Default)]
struct Arrived {
    requests: Vec<Request>,
    /// Of all requests, in order: what the session held, and what shall become of it. What is settled is not held any more.
    wishes: Vec<(u64, Held, Settlement)>,
    pongs: Vec<u64>,
}

struct Request {
    seq: u64,
    /// Where its wishes end.
    end: usize,
    /// Deliveries that the session does not hold.
    unknown: Vec<u64>,
}

/// Reads until the consumer closes its side.
pub(super) async fn read(
    grpc: &Grpc,
    attached: &Attached,
    mut frames: Frames,
    pending: mpsc::Sender<Pending>,
    responses: &Responses,
) -> Result<()> {
    while let Some(first) = frames.message().await.map_err(Refusal::transport)? {
        let mut arrived = Arrived::default();
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            arrived.take(grpc, attached, frame)?;
            if arrived.wishes.len() < SETTLE_DELIVERIES {
                // What else is here already goes with it.
                next = frames.message().now_or_never().transpose().map_err(Refusal::transport)?.flatten();
            }
        }
        for nonce in arrived.pongs.drain(..) {
            responses.send(frame(response::Frame::Pong(Pong { nonce }))).await?;
        }
        if !arrived.requests.is_empty() {
            let settled = arrived.settle(grpc, attached);
            attached.settling();
            let gone = |_| Refusal::new(tonic::Code::Cancelled, "CANCELLED", "the client is gone");
            pending.send(settled).await.map_err(gone)?;
        }
    }
    Ok(())
}

impl Arrived {
    fn take(&mut self, grpc: &Grpc, attached: &Attached, frame: ConsumeRequest) -> Result<()> {
        match frame.frame {
            None => return Err(Refusal::invalid("the frame is empty, or of a kind that this version does not know")),
            Some(Frame::Start(_)) => return Err(Refusal::invalid("only the first frame is Start")),
            Some(Frame::Credit(credit)) => attached.grant(credit.messages, credit.bytes),
            Some(Frame::Drain(_)) => attached.drain(),
            Some(Frame::Ping(ping)) => self.pongs.push(ping.nonce),
            Some(Frame::Ack(Ack { delivery_ids, up_to, request_seq })) => {
                self.wish(grpc, attached, (delivery_ids, up_to, request_seq), &Outcome::Acknowledge)?;
            }
            Some(Frame::Nack(Nack { delivery_ids, up_to, request_seq, rejection })) => {
                let outcome = Outcome::rejection(rejection.unwrap_or_default())?;
                self.wish(grpc, attached, (delivery_ids, up_to, request_seq), &outcome)?;
            }
            Some(Frame::Extend(Extend { delivery_ids, up_to, request_seq, ack_deadline })) => {
                let time = deadline(ack_deadline.as_ref())?;
                let time = time.unwrap_or_else(|| lease_time(grpc, attached.settings()));
                self.wish(grpc, attached, (delivery_ids, up_to, request_seq), &Outcome::Extend(time))?;
            }
        }
        Ok(())
    }

    fn wish(
        &mut self,
        grpc: &Grpc,
        attached: &Attached,
        (ids, up_to, seq): (Vec<u64>, u64, u64),
        outcome: &Outcome,
    ) -> Result<()> {
        let limit = grpc.config.max_settlements;
        if ids.len() > limit {
            return Err(Refusal::too_many("delivery_ids", ids.len(), "max_settlements", limit));
        }
        let mut unknown = Vec::new();
        let wishes = &mut self.wishes;
        let mut wish = |id, held: Held| wishes.push((id, held, outcome.clone().of(held.lease)));
        let stays = matches!(outcome, Outcome::Extend(_));
        attached.session().look(|state| {
            let held = &mut state.unsettled;
            if stays {
                held.range(..=up_to).for_each(|(id, held)| wish(*id, *held));
            } else {
                let later = up_to.checked_add(1).map(|next| held.split_off(&next)).unwrap_or_default();
                std::mem::replace(held, later).into_iter().for_each(|(id, held)| wish(id, held));
            }
            for id in ids {
                match if stays { held.get(&id).copied() } else { held.remove(&id) } {
                    Some(held) => wish(id, held),
                    None if id <= up_to => {}
                    None => unknown.push(id),
                }
            }
        });
        self.requests.push(Request { seq, end: self.wishes.len(), unknown });
        Ok(())
    }

    /// One call for everything.
    fn settle(self, grpc: &Grpc, attached: &Attached) -> Pending {
        let mut held = Vec::with_capacity(self.wishes.len());
        let mut settlements = Vec::with_capacity(self.wishes.len());
        for (id, of, settlement) in self.wishes {
            held.push((id, of, extension(&settlement)));
            settlements.push(settlement);
        }
        let (outcomes, commit) = match grpc.broker.settle(&grpc.principal, &attached.settings().group, settlements) {
            Ok((outcomes, commit)) => (outcomes, Some(commit)),
            Err(error) => (vec![Err(error); held.len()], None),
        };
        attached.session().look(|state| {
            for ((id, held, extended), outcome) in held.iter().zip(&outcomes) {
                keep(state, *id, *held, *extended, outcome);
            }
        });
        let mut results = Vec::with_capacity(self.requests.len());
        let mut outcomes = held.into_iter().map(|(id, ..)| id).zip(outcomes);
        let mut begin = 0;
        for Request { seq, end, unknown } in self.requests {
            let refused = |(id, outcome): (u64, broker::Result<()>)| Some((id, outcome.err()?.into()));
            let mut failed: Vec<_> = outcomes.by_ref().take(end - begin).filter_map(refused).collect();
            failed.extend(unknown.into_iter().map(|id| (id, not_held(id))));
            results.push(result(seq, failed));
            begin = end;
        }
        Pending { commit, results }
    }
}

/// What an extension asks for.
fn extension(settlement: &Settlement) -> Option<Duration> {
    match settlement {
        Settlement::Extend(_, time) => Some(*time),
        Settlement::Acknowledge(_) | Settlement::Release(_) | Settlement::Reject { .. } => None,
    }
}

/// What the session holds after a settlement.
fn keep(state: &mut State, id: u64, held: Held, extended: Option<Duration>, outcome: &broker::Result<()>) {
    match (outcome, extended) {
        (Ok(()), Some(time)) => {
            if let Some(held) = state.unsettled.get_mut(&id) {
                held.until = held.until.map(|_| Instant::now() + time);
            }
        }
        (Ok(()), None) => {}
        (Err(error), _) if error.kind == Kind::LeaseGone => {
            state.unsettled.remove(&id);
        }
        // Nothing happened: it may be settled later.
        (Err(_), _) => {
            state.unsettled.insert(id, held);
        }
    }
}

fn not_held(id: u64) -> Refusal {
    let words = format!("delivery {id} is not the session's: it was settled, its deadline has passed, or it never was");
    Refusal::from(broker::Error::new(Kind::LeaseGone, words))
}

fn result(request_seq: u64, failed: Vec<(u64, Refusal)>) -> AckResult {
    let failed =
        failed.into_iter().map(|(delivery_id, refusal)| FailedDelivery { delivery_id, error: Some(refusal.into()) });
    AckResult { request_seq, failed: failed.collect() }
}

/// Answers settlements when they are durable, in order.
pub(super) async fn answer(
    attached: &Attached,
    mut queue: mpsc::Receiver<Pending>,
    responses: &Responses,
) -> Result<()> {
    while let Some(Pending { commit, results }) = queue.recv().await {
        if let Some(commit) = commit {
            commit.wait().await?;
        }
        for result in results {
            responses.send(frame(response::Frame::AckResult(result))).await?;
        }
        attached.answered();
    }
    Ok(())
}
