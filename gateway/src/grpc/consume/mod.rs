//! Consumer.Consume: a session receives a group's messages within its credit and settles them in the same stream.
//!
//! `session` keeps what a session holds, `sessions` keeps the sessions and looks after those whose stream broke, `settle`
//! answers the consumer's frames, `deliver` sends messages and `encode` writes them; `unsettled` is what is still to be
//! settled.

mod deliver;
mod encode;
mod session;
mod sessions;
mod settle;
mod unsettled;

use std::pin::pin;
use std::sync::Arc;

use tidegate_proto::v1::consume_request::{Frame, Start};
use tidegate_proto::v1::consume_response::{self as response, Started};
use tidegate_proto::v1::{AckMode, ConsumeRequest, ConsumeResponse};
use tokio::sync::mpsc;
use tonic::{Code, Streaming};

use self::session::Attached;
pub(super) use self::sessions::{Sessions, look_after};
use super::driven::Writer;
use super::error::{Refusal, Result, known};
use super::state::Grpc;
use super::time::{deadline, duration};

/// Settlements whose answers are outstanding.
const SETTLEMENTS: usize = 64;
/// The longest name of an application.
const MAX_CLIENT_ID: usize = 255;

type Frames = Streaming<ConsumeRequest>;
type Responses = Writer<ConsumeResponse>;

fn frame(frame: response::Frame) -> ConsumeResponse {
    ConsumeResponse { frame: Some(frame) }
}

/// Runs a stream to its end. The session outlives it, unless the consumer ends it.
pub(super) async fn run(grpc: Grpc, mut frames: Frames, responses: Responses) -> Result<()> {
    let start = first(&grpc, &mut frames).await?;
    let (attached, started) = open(&grpc, &start)?;
    tracing::debug!(group = start.group, client_id = start.client_id, session = started.session_id, "a consumer began");
    responses.send(frame(response::Frame::Started(started))).await?;
    let credit = start.credit.unwrap_or_default();
    attached.grant(credit.messages, credit.bytes);
    serve(&grpc, &attached, frames, &responses).await?;
    attached.end(&grpc);
    Ok(())
}

/// Reads, answers and delivers, all in this task, until the consumer ends the session or the gateway stops.
async fn serve(grpc: &Grpc, attached: &Attached, frames: Frames, responses: &Responses) -> Result<()> {
    let (pending, queue) = mpsc::channel(SETTLEMENTS);
    let mut answering = pin!(settle::answer(attached, queue, responses));
    tokio::select! {
        biased;
        failed = &mut answering => failed,
        // What is owed is still answered.
        ended = settle::read(grpc, attached, frames, pending, responses) => answering.await.and(ended),
        ended = deliver::run(grpc, attached, responses) => ended,
    }
}

/// The first frame.
async fn first(grpc: &Grpc, frames: &mut Frames) -> Result<Start> {
    let wrong = || Refusal::invalid("the first frame is Start");
    let frame = tokio::time::timeout(grpc.config.handshake_timeout, frames.message()).await;
    let late = |_| Refusal::new(Code::DeadlineExceeded, "TIMEOUT", "no Start came within handshake_timeout");
    match frame.map_err(late)?.map_err(Refusal::transport)? {
        Some(ConsumeRequest { frame: Some(Frame::Start(start)) }) => Ok(start),
        _ => Err(wrong()),
    }
}

/// Begins a session or takes one over.
fn open(grpc: &Grpc, start: &Start) -> Result<(Attached, Started)> {
    if start.client_id.len() > MAX_CLIENT_ID {
        return Err(Refusal::invalid(format!("client_id has at most {MAX_CLIENT_ID} bytes")));
    }
    grpc.find_group(&start.group)?;
    let wanted = session::Settings {
        namespace: grpc.principal.namespace().to_owned(),
        group: start.group.clone(),
        ack_deadline: deadline(start.ack_deadline.as_ref())?,
        acknowledge: known::<AckMode>("ack_mode", start.ack_mode)? == AckMode::None,
    };
    let (session, resumed) = grpc.sessions.open(grpc, &start.session_id, &wanted)?;
    let attached = Attached::new(Arc::clone(&session), wanted);
    let unseen = if resumed { attached.resume(start.received_up_to) } else { Vec::new() };
    if !unseen.is_empty() {
        // Giving back is not progress: nobody waits for it to be durable.
        let (_results, _commit) = grpc.broker.settle(&grpc.principal, &start.group, unseen)?;
    }
    let started = Started {
        session_id: session.id().to_owned(),
        resumed,
        unsettled: attached.unsettled(),
        session_grace: Some(duration(grpc.config.session_grace)),
        max_unsettled: grpc.config.max_unsettled as u64,
    };
    Ok((attached, started))
}
