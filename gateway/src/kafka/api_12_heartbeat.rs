//! Heartbeat (key 12), versions 0 to 4: keeps a member of a classic group alive, and tells it of a rebalance.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use super::api::{Versions, versions};
use super::context::Context;
use super::coordinator::Claim;
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 4);

pub(super) async fn handle(context: &Context<'_>, request: HeartbeatRequest) -> HeartbeatResponse {
    let code = heartbeat(context, &request).err().map_or(0, |error| error.code());
    HeartbeatResponse::default().with_error_code(code)
}

fn heartbeat(context: &Context<'_>, request: &HeartbeatRequest) -> Result<(), ResponseError> {
    let group = context.group_name(&request.group_id, Action::Read).map_err(|refusal| refusal.error)?;
    let claim = Claim {
        member_id: &request.member_id,
        instance_id: request.group_instance_id.as_deref(),
        generation: request.generation_id,
    };
    context.listener.coordinator.heartbeat(&group, claim)
}
