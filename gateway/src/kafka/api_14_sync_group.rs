//! SyncGroup (key 14), versions 0 to 5: the leader brings everybody's assignment, each member takes its own.
//!
//! The answer comes when the leader's assignment is there; requests after it on the same connection wait, as in Kafka.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::api::{Versions, versions};
use super::context::{Context, owned};
use super::coordinator::{Claim, Synced};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 5);

pub(super) async fn handle(context: &Context<'_>, request: SyncGroupRequest) -> SyncGroupResponse {
    match sync(context, request).await {
        Ok(synced) => SyncGroupResponse::default()
            .with_protocol_type(Some(synced.protocol_type))
            .with_protocol_name(Some(synced.protocol))
            .with_assignment(synced.assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

async fn sync(context: &Context<'_>, request: SyncGroupRequest) -> Result<Synced, ResponseError> {
    let group = context.group_name(&request.group_id, Action::Read).map_err(|refusal| refusal.error)?;
    let claim = Claim {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id,
    };
    // What is kept must not keep the buffer it came in.
    let assignments =
        request.assignments.iter().map(|a| (owned(&a.member_id), Bytes::copy_from_slice(&a.assignment))).collect();
    let protocol = (request.protocol_type.as_deref(), request.protocol_name.as_deref());
    let answer = context.listener.coordinator.sync(&group, claim, protocol, assignments)?;
    tokio::select! {
        answer = answer => answer.unwrap_or(Err(ResponseError::RebalanceInProgress)),
        () = context.drain.requested() => Err(ResponseError::CoordinatorNotAvailable),
    }
}
