//! DescribeGroups (key 15), versions 0 to 6.
//!
//! - A group with progress and no members is Empty. One that does not exist is Dead, and GROUP_ID_NOT_FOUND since version 6 (KIP-1043).
//! - Metadata and assignments are shown while the group is Stable, as Kafka does.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::context::Context;
use super::coordinator::{DescribedMember, Description, State};
use super::error::{About, Refusal};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 6);

/// Read, delete, describe, describe configs and alter configs (`AclOperation` codes as bits).
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

pub(super) async fn handle(context: &Context<'_>, request: DescribeGroupsRequest) -> DescribeGroupsResponse {
    let describe = |id: GroupId| {
        let mut group = describe(context, &id).unwrap_or_else(|refusal| refused(context, refusal));
        if request.include_authorized_operations && group.error_code == 0 {
            group.authorized_operations = GROUP_OPERATIONS;
        }
        group.with_group_id(id)
    };
    DescribeGroupsResponse::default().with_groups(request.groups.into_iter().map(describe).collect())
}

fn describe(context: &Context<'_>, id: &GroupId) -> Result<DescribedGroup, Refusal> {
    let name = context.group_name(id, Action::Read)?;
    if let Some(description) = context.listener.coordinator.describe(&name) {
        return Ok(with_members(context, description));
    }
    let state = match context.broker().group(context.principal(), id).map_err(Refusal::about(About::Group))? {
        Some(_) => State::Empty,
        None if context.version() >= 6 => {
            return Err(Refusal::new(ResponseError::GroupIdNotFound, format!("group '{}' does not exist", id.0)));
        }
        None => State::Dead,
    };
    Ok(DescribedGroup::default().with_group_state(StrBytes::from_static_str(state.name())))
}

fn with_members(context: &Context<'_>, description: Description) -> DescribedGroup {
    let member = |member: DescribedMember| {
        DescribedGroupMember::default()
            .with_member_id(member.id)
            .with_group_instance_id(if context.version() >= 4 { member.instance_id } else { None })
            .with_client_id(member.client_id)
            .with_client_host(member.client_host)
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    };
    DescribedGroup::default()
        .with_group_state(StrBytes::from_static_str(description.state.name()))
        .with_protocol_type(description.protocol_type)
        .with_protocol_data(description.protocol)
        .with_members(description.members.into_iter().map(member).collect())
}

fn refused(context: &Context<'_>, refusal: Refusal) -> DescribedGroup {
    DescribedGroup::default()
        .with_error_code(refusal.code())
        .with_error_message((context.version() >= 6).then(|| StrBytes::from_string(refusal.message)))
        .with_group_state(StrBytes::from_static_str(State::Dead.name()))
}
