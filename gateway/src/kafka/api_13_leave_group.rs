//! LeaveGroup (key 13), versions 0 to 5.
//!
//! Version 3 on removes several members, static ones by their instance id (KIP-345), with a result for each.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::api::{Versions, versions};
use super::context::Context;
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 5);

pub(super) async fn handle(context: &Context<'_>, request: LeaveGroupRequest) -> LeaveGroupResponse {
    let response = LeaveGroupResponse::default();
    let group = match context.group_name(&request.group_id, Action::Read) {
        Ok(group) => group,
        Err(refusal) => return response.with_error_code(refusal.code()),
    };
    let coordinator = &context.listener.coordinator;
    if context.version() < 3 {
        return response.with_error_code(code(coordinator.leave(&group, &request.member_id, None)));
    }
    let leave = |member: MemberIdentity| {
        let left = coordinator.leave(&group, &member.member_id, member.group_instance_id.as_deref());
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(left))
    };
    response.with_members(request.members.into_iter().map(leave).collect())
}

fn code(result: Result<(), ResponseError>) -> i16 {
    result.err().map_or(0, |error| error.code())
}
