//! Messages on their way to a session.

use std::time::Duration;

use tidegate_engine::Watch;
use tidegate_engine::batch::Record;
use tidegate_engine::group::{Delivery, LeaseRequest, Settlement};
use tidegate_proto::Messages;
use tidegate_proto::v1::consume_response::{Drain, Frame, LeaseExpired};
use tokio::time::{Instant, sleep_until};
use tonic::Code;

use super::super::error::{Refusal, Result};
use super::super::state::Grpc;
use super::super::time::{now_ms, timestamp};
use super::encode::{Numbered, encode};
use super::session::{Attached, Next};
use super::sessions::lease_time;
use super::{Responses, frame};

/// One frame.
const FRAME_MESSAGES: usize = 1000;
const FRAME_BYTES: usize = 256 << 10;
/// Nothing is planned.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// Delivers until the consumer has drained, the gateway stops, or another stream takes over.
pub(super) async fn run(grpc: &Grpc, attached: &Attached, responses: &Responses) -> Result<()> {
    Deliveries { grpc, attached, responses, stop_at: None }.run().await
}

fn taken_over() -> Refusal {
    Refusal::new(Code::Aborted, "SESSION_TAKEN_OVER", "another stream has taken the session over")
}

struct Deliveries<'a> {
    grpc: &'a Grpc,
    attached: &'a Attached,
    responses: &'a Responses,
    /// The gateway stops: until then the consumer may settle.
    stop_at: Option<Instant>,
}

impl Deliveries<'_> {
    async fn run(&mut self) -> Result<()> {
        loop {
            if self.stop_at.is_none() && self.grpc.drain.is_requested() {
                self.announce_stop().await?;
            }
            if self.stop_at.is_some_and(|at| at <= Instant::now()) {
                return Ok(());
            }
            match self.attached.next(self.grpc.config.max_unsettled, self.stop_at.is_some()) {
                Next::TakenOver => return Err(taken_over()),
                Next::Finished => return Ok(()),
                Next::Wait => self.wait(None).await,
                Next::Tell(delivery_ids) => {
                    let lost = Frame::LeaseExpired(LeaseExpired { delivery_ids });
                    self.responses.send(frame(lost)).await?;
                }
                Next::Deliver(messages, bytes) => self.deliver(messages, bytes).await?,
            }
        }
    }

    async fn announce_stop(&mut self) -> Result<()> {
        let timeout = self.grpc.config.drain_timeout;
        self.stop_at = Some(Instant::now() + timeout);
        let deadline = now_ms().saturating_add(i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX));
        let reason = "the gateway is stopping".to_owned();
        self.responses.send(frame(Frame::Drain(Drain { reason, deadline: Some(timestamp(deadline)) }))).await
    }

    async fn deliver(&mut self, messages: usize, bytes: usize) -> Result<()> {
        let mut deliveries = self.lease(messages, bytes).await?;
        if deliveries.is_empty() {
            // Made before looking once more, so that nothing comes unnoticed in between.
            let watch = self.grpc.broker.watch_group(&self.grpc.principal, self.group())?;
            deliveries = self.lease(messages, bytes).await?;
            if deliveries.is_empty() {
                self.wait(Some(watch)).await;
                return Ok(());
            }
        }
        self.send(&deliveries).await
    }

    fn group(&self) -> &str {
        &self.attached.settings().group
    }

    async fn lease(&self, messages: usize, bytes: usize) -> Result<Vec<Delivery>> {
        let request = LeaseRequest {
            consumer: self.attached.session().consumer(),
            max_messages: messages.min(FRAME_MESSAGES),
            max_bytes: bytes.min(FRAME_BYTES),
            deadline: Some(lease_time(self.grpc, self.attached.settings())),
            acknowledge: self.attached.settings().acknowledge,
            waited: false,
        };
        Ok(self.grpc.broker.lease(&self.grpc.principal, self.group(), request).await?)
    }

    async fn send(&self, deliveries: &[Delivery]) -> Result<()> {
        let bytes = deliveries.iter().map(|delivery| Record::size(&delivery.record)).sum();
        let leases = deliveries.iter().map(|delivery| delivery.lease);
        let Some(first) = self.attached.sent(leases.clone(), bytes) else {
            // Leased while the other stream came: not for this one to send.
            let released = leases.map(Settlement::Release).collect();
            let (_results, _commit) = self.grpc.broker.settle(&self.grpc.principal, self.group(), released)?;
            return Err(taken_over());
        };
        let (acknowledge, timed) = {
            let settings = self.attached.settings();
            (settings.acknowledge, settings.ack_deadline.is_some())
        };
        let numbered = deliveries.iter().enumerate().map(|(nth, delivery)| {
            let id = if acknowledge { 0 } else { first + nth as u64 };
            (delivery, Numbered { id, timed })
        });
        let messages = Messages { encoded: encode(numbered), ..Messages::default() };
        self.grpc.metrics.sent.add(deliveries.len(), bytes);
        self.responses.send(frame(Frame::Messages(messages))).await
    }

    /// Returns when there may be something to do.
    async fn wait(&self, watch: Option<Watch>) {
        let arrival = async {
            match watch {
                Some(mut watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = arrival => {}
            () = self.attached.changed() => {}
            () = self.grpc.drain.requested(), if self.stop_at.is_none() => {}
            () = sleep_until(self.stop_at.unwrap_or_else(|| Instant::now() + NEVER)), if self.stop_at.is_some() => {}
        }
    }
}
