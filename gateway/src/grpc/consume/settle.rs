//! The consumer's frames: what came together is settled together, and answered when it is durable.

use futures_util::FutureExt;
use tidegate_engine::Commit;
use tidegate_proto::v1::ConsumeRequest;
use tidegate_proto::v1::consume_request::{Ack, Extend, Frame, Nack};
use tidegate_proto::v1::consume_response::{self as response, AckResult, FailedDelivery, Pong};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::super::error::{Refusal, Result};
use super::super::settle::Outcome;
use super::super::state::Grpc;
use super::super::time::deadline;
use super::session::Attached;
use super::sessions::lease_time;
use super::unsettled::{Row, Unsettled};
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
    /// Deliveries that they name.
    deliveries: usize,
    pongs: Vec<u64>,
}

/// Ack, Nack or Extend.
struct Request {
    seq: u64,
    outcome: Outcome,
    /// What the session held of it. What is settled is not held any more.
    rows: Vec<(u64, Row)>,
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
            if arrived.deliveries < SETTLE_DELIVERIES {
                // What else is here already goes with it.
                next = frames.message().now_or_never().transpose().map_err(Refusal::transport)?.flatten();
            }
        }
        let pongs = std::mem::take(&mut arrived.pongs);
        if pongs.is_empty() && arrived.requests.is_empty() {
            continue;
        }
        // A drain that came with them waits until they are answered.
        attached.owes();
        let settled = (!arrived.requests.is_empty()).then(|| arrived.settle(grpc, attached));
        for nonce in pongs {
            responses.send(frame(response::Frame::Pong(Pong { nonce }))).await?;
        }
        match settled {
            None => attached.answered(),
            Some(settled) => {
                let gone = |_| Refusal::new(tonic::Code::Cancelled, "CANCELLED", "the client is gone");
                pending.send(settled).await.map_err(gone)?;
            }
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
                self.wish(grpc, attached, (delivery_ids, up_to, request_seq), Outcome::Acknowledge)?;
            }
            Some(Frame::Nack(Nack { delivery_ids, up_to, request_seq, rejection })) => {
                let outcome = Outcome::rejection(rejection.unwrap_or_default())?;
                self.wish(grpc, attached, (delivery_ids, up_to, request_seq), outcome)?;
            }
            Some(Frame::Extend(Extend { delivery_ids, up_to, request_seq, ack_deadline })) => {
                let time = deadline(ack_deadline.as_ref())?;
                let time = time.unwrap_or_else(|| lease_time(grpc, attached.settings()));
                self.wish(grpc, attached, (delivery_ids, up_to, request_seq), Outcome::Extend(time))?;
            }
        }
        Ok(())
    }

    fn wish(
        &mut self,
        grpc: &Grpc,
        attached: &Attached,
        (ids, up_to, seq): (Vec<u64>, u64, u64),
        outcome: Outcome,
    ) -> Result<()> {
        let limit = grpc.config.max_settlements;
        if ids.len() > limit {
            return Err(Refusal::too_many("delivery_ids", ids.len(), "max_settlements", limit));
        }
        let stays = matches!(outcome, Outcome::Extend(_));
        let mut unknown = Vec::new();
        let rows = attached.session().look(|state| {
            let held = &mut state.unsettled;
            let mut find = |ids| if stays { held.find(ids) } else { held.take(ids) };
            let mut rows = find(0..=up_to);
            for id in ids.into_iter().filter(|id| *id > up_to) {
                let found = find(id..=id);
                if found.is_empty() {
                    unknown.push(id);
                }
                rows.extend(found);
            }
            rows
        });
        self.deliveries += rows.iter().map(|(_, row)| row.count()).sum::<usize>();
        self.requests.push(Request { seq, outcome, rows, unknown });
        Ok(())
    }

    /// One call for everything.
    fn settle(self, grpc: &Grpc, attached: &Attached) -> Pending {
        let mut settlements = Vec::with_capacity(self.deliveries);
        for Request { outcome, rows, .. } in &self.requests {
            let leases = rows.iter().flat_map(|(_, row)| row.leases());
            settlements.extend(leases.map(|lease| outcome.clone().of(lease)));
        }
        let (outcomes, commit) = match grpc.broker.settle(&grpc.principal, &attached.settings().group, settlements) {
            Ok((outcomes, commit)) => (outcomes, Some(commit)),
            Err(error) => (vec![Err(error); self.deliveries], None),
        };
        let mut outcomes = outcomes.into_iter();
        let results = attached.session().look(|state| {
            let settled = |request: Request| request.settled(&mut state.unsettled, &mut outcomes);
            self.requests.into_iter().map(settled).collect()
        });
        Pending { commit, results }
    }
}

impl Request {
    /// Keeps what the session goes on to hold, and tells what could not be settled.
    fn settled(self, unsettled: &mut Unsettled, outcomes: &mut impl Iterator<Item = broker::Result<()>>) -> AckResult {
        let extended = match self.outcome {
            Outcome::Extend(time) => Some(time),
            Outcome::Acknowledge | Outcome::Release | Outcome::Reject { .. } => None,
        };
        let mut failed = Vec::new();
        for ((id, one), outcome) in self.rows.into_iter().flat_map(|(id, row)| row.deliveries(id)).zip(outcomes) {
            match (outcome, extended) {
                (Ok(()), Some(time)) if one.until().is_some() => unsettled.end_at(id, Instant::now() + time),
                (Ok(()), _) => {}
                (Err(error), _) => {
                    if error.kind == Kind::LeaseGone {
                        unsettled.remove(id);
                    } else if extended.is_none() {
                        // Nothing happened: it may be settled later.
                        unsettled.insert(id, one);
                    }
                    failed.push((id, error.into()));
                }
            }
        }
        failed.extend(self.unknown.into_iter().map(|id| (id, not_held(id))));
        result(self.seq, failed)
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
