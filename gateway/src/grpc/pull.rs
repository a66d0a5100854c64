//! Consumer.Pull: leases messages, waiting for them if asked to.

use tidegate_engine::batch::Record;
use tidegate_engine::group::{ConsumerId, Delivery, LeaseRequest};
use tidegate_proto::v1::{PullRequest, PullResponse, ReceivedMessage};
use tokio::time::{Instant, sleep_until};

use super::convert::received;
use super::error::Result;
use super::state::Grpc;
use super::time::{deadline, optional_length, timestamp};

const DEFAULT_MESSAGES: usize = 100;
const DEFAULT_BYTES: usize = 1 << 20;

pub(super) async fn pull(grpc: &Grpc, request: PullRequest) -> Result<PullResponse> {
    grpc.find_group(&request.group)?;
    let wait = optional_length("wait", request.wait.as_ref())?.unwrap_or_default();
    let until = Instant::now() + wait.min(grpc.config.max_wait);
    let or = |given: usize, default: usize| if given == 0 { default } else { given };
    let max_bytes = usize::try_from(request.max_bytes).unwrap_or(usize::MAX);
    let wanted = LeaseRequest {
        consumer: grpc.broker.new_consumer(),
        max_messages: or(request.max_messages as usize, DEFAULT_MESSAGES).min(grpc.config.max_pull_messages),
        max_bytes: or(max_bytes, DEFAULT_BYTES).min(grpc.config.max_pull_bytes),
        deadline: deadline(request.ack_deadline.as_ref())?,
        acknowledge: false,
        waited: false,
    };
    let lease = Lease { grpc, group: &request.group, consumer: wanted.consumer, given_out: false };
    let deliveries = lease.receive(wanted, until).await?;
    let messages = deliveries.iter().map(|delivery| lease.message(delivery)).collect();
    grpc.metrics.sent.add(deliveries.len(), deliveries.iter().map(|delivery| Record::size(&delivery.record)).sum());
    lease.given_out();
    Ok(PullResponse { messages })
}

/// Leases of one pull. They go back if the client is gone before the answer is ready.
struct Lease<'a> {
    grpc: &'a Grpc,
    group: &'a str,
    consumer: ConsumerId,
    given_out: bool,
}

impl Lease<'_> {
    /// Waits for messages until then, or until the listener drains.
    async fn receive(&self, wanted: LeaseRequest, until: Instant) -> Result<Vec<Delivery>> {
        let (broker, principal) = (&self.grpc.broker, &self.grpc.principal);
        loop {
            let mut watch = broker.watch_group(principal, self.group)?;
            let deliveries = broker.lease(principal, self.group, wanted).await?;
            if !deliveries.is_empty() || Instant::now() >= until || self.grpc.drain.is_requested() {
                return Ok(deliveries);
            }
            tokio::select! {
                () = watch.changed() => {}
                () = sleep_until(until) => {}
                () = self.grpc.drain.requested() => {}
            }
        }
    }

    fn message(&self, delivery: &Delivery) -> ReceivedMessage {
        let namespace = self.grpc.principal.namespace();
        let mut message = received(delivery.topic.name(), delivery.partition_index, &delivery.record);
        message.ack_id = self.grpc.ack_key.sign(namespace, self.group, self.consumer, delivery.lease);
        message.delivery_attempt = delivery.attempt;
        message.redelivered = delivery.redelivered;
        message.ack_deadline = Some(timestamp(delivery.deadline_ms));
        message
    }

    fn given_out(mut self) {
        self.given_out = true;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if !self.given_out {
            let released = self.grpc.broker.release_consumer(&self.grpc.principal, self.group, self.consumer);
            if let Err(error) = released {
                // The leases, if there are any, end at their deadline.
                tracing::debug!(%error, "could not release the leases of a pull");
            }
        }
    }
}
