//! Consumer.Ack, Nack and Extend: settling by acknowledgement id, a result for each.

use std::time::Duration;

use bytes::Bytes;
use tidegate_engine::group::{LeaseId, Settlement};
use tidegate_proto::v1::{AckRequest, ExtendRequest, NackRequest, Rejection, SettleResponse, SettleResult};

use super::error::{Refusal, Result};
use super::state::Grpc;
use super::time::{deadline, optional_length};

/// The longest reason kept with a dead letter.
const MAX_REASON_BYTES: usize = 1024;

/// What shall become of a delivery.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    Acknowledge,
    Release,
    Reject { delay: Option<Duration>, reason: Option<Bytes>, dead_letter: bool },
    Extend(Duration),
}

impl Outcome {
    pub(super) fn rejection(rejection: Rejection) -> Result<Self> {
        let Rejection { delay, reason, dead_letter, uncounted } = rejection;
        let delay = optional_length("delay", delay.as_ref())?;
        if reason.len() > MAX_REASON_BYTES {
            return Err(Refusal::invalid(format!("reason has at most {MAX_REASON_BYTES} bytes")));
        }
        match uncounted {
            false => {
                let reason = (!reason.is_empty()).then(|| Bytes::from(reason));
                Ok(Self::Reject { delay, reason, dead_letter })
            }
            true if delay.is_none() && reason.is_empty() && !dead_letter => Ok(Self::Release),
            true => {
                let words = "uncounted gives back at once: it goes with no delay, reason or dead_letter";
                Err(Refusal::invalid(words))
            }
        }
    }

    pub(super) fn of(self, lease: LeaseId) -> Settlement {
        match self {
            Self::Acknowledge => Settlement::Acknowledge(lease),
            Self::Release => Settlement::Release(lease),
            Self::Reject { delay, reason, dead_letter } => Settlement::Reject { lease, delay, reason, dead_letter },
            Self::Extend(deadline) => Settlement::Extend(lease, deadline),
        }
    }
}

pub(super) async fn ack(grpc: &Grpc, request: AckRequest) -> Result<SettleResponse> {
    settle(grpc, &request.group, request.ack_ids, &Outcome::Acknowledge).await
}

pub(super) async fn nack(grpc: &Grpc, request: NackRequest) -> Result<SettleResponse> {
    let outcome = Outcome::rejection(request.rejection.unwrap_or_default())?;
    settle(grpc, &request.group, request.ack_ids, &outcome).await
}

pub(super) async fn extend(grpc: &Grpc, request: ExtendRequest) -> Result<SettleResponse> {
    let deadline = match deadline(request.ack_deadline.as_ref())? {
        Some(deadline) => deadline,
        None => grpc.find_group(&request.group)?.config.ack_deadline,
    };
    settle(grpc, &request.group, request.ack_ids, &Outcome::Extend(deadline)).await
}

/// Settles, and answers when that is durable.
async fn settle(grpc: &Grpc, group: &str, ack_ids: Vec<String>, outcome: &Outcome) -> Result<SettleResponse> {
    let limit = grpc.config.max_settlements;
    if ack_ids.len() > limit {
        return Err(Refusal::too_many("ack_ids", ack_ids.len(), "max_settlements", limit));
    }
    grpc.find_group(group)?;
    let leases: Vec<Option<LeaseId>> = ack_ids
        .iter()
        .map(|id| grpc.ack_key.verify(grpc.principal.namespace(), group, id).map(|(_, lease)| lease))
        .collect();
    let settlements = leases.iter().flatten().map(|lease| outcome.clone().of(*lease)).collect();
    let (settled, commit) = grpc.broker.settle(&grpc.principal, group, settlements)?;
    commit.wait().await?;
    let mut settled = settled.into_iter();
    let results = ack_ids.into_iter().zip(leases).map(|(ack_id, lease)| {
        let refusal = match lease.and_then(|_| settled.next()) {
            None => Some(Refusal::invalid("this group did not give out this ack_id")),
            Some(settled) => settled.err().map(Refusal::from),
        };
        SettleResult { ack_id, error: refusal.map(Into::into) }
    });
    Ok(SettleResponse { results: results.collect() })
}
