//! JoinGroup (key 11), versions 0 to 9: the classic group protocol.
//!
//! - Any protocol type; static members (KIP-345); a new dynamic member is given an id to come back with (version 4 on, KIP-394);
//!   a static leader that returns skips the assignment (version 9, KIP-814).
//! - The session timeout must lie between `min_session_timeout` and `max_session_timeout`. Version 0 has no rebalance timeout: the
//!   session timeout takes its place.
//! - Refused with INCONSISTENT_GROUP_PROTOCOL while the group's consumers are of another kind (shared, with leases).
//! - The answer comes when the join phase is over; requests after it on the same connection wait, as in Kafka.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::context::{Context, owned};
use super::coordinator::{Join, Joined, NotJoined};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 9);

pub(super) async fn handle(context: &Context<'_>, request: JoinGroupRequest) -> JoinGroupResponse {
    let member_id = request.member_id.clone();
    match join(context, request).await {
        Ok(joined) => accepted(context, joined),
        Err(Failure::Here(error)) => refused(context, NotJoined { error, member_id }),
        Err(Failure::Coordinator(refusal)) => refused(context, refusal),
    }
}

enum Failure {
    Here(ResponseError),
    Coordinator(NotJoined),
}

async fn join(context: &Context<'_>, request: JoinGroupRequest) -> Result<Joined, Failure> {
    let group = context.group_name(&request.group_id, Action::Read).map_err(|refusal| Failure::Here(refusal.error))?;
    let config = &context.listener.config;
    let session_timeout = millis(request.session_timeout_ms);
    if !(config.min_session_timeout..=config.max_session_timeout).contains(&session_timeout) {
        return Err(Failure::Here(ResponseError::InvalidSessionTimeout));
    }
    // What is kept must not keep the buffer it came in.
    let protocols = request.protocols.iter().map(|p| (owned(&p.name), Bytes::copy_from_slice(&p.metadata))).collect();
    let join = Join {
        member_id: owned(&request.member_id),
        instance_id: request.group_instance_id.as_ref().map(owned),
        client_id: owned(&context.header.client_id),
        client_host: StrBytes::from_string(format!("/{}", context.peer.address.ip().to_canonical())),
        session_timeout,
        rebalance_timeout: if context.version() >= 1 { millis(request.rebalance_timeout_ms) } else { session_timeout },
        protocol_type: owned(&request.protocol_type),
        protocols,
        requires_known_id: context.version() >= 4,
        can_skip_assignment: context.version() >= 9,
    };
    let answer = context.listener.coordinator.join(context.principal(), &group, join).map_err(Failure::Here)?;
    tokio::select! {
        // The sender is dropped when the same member asks again on another connection.
        answer = answer => answer.unwrap_or(Err(again(&request.member_id))).map_err(Failure::Coordinator),
        () = context.drain.requested() => Err(Failure::Here(ResponseError::CoordinatorNotAvailable)),
    }
}

fn again(member_id: &StrBytes) -> NotJoined {
    NotJoined { error: ResponseError::RebalanceInProgress, member_id: member_id.clone() }
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(value.max(0).unsigned_abs().into())
}

fn accepted(context: &Context<'_>, joined: Joined) -> JoinGroupResponse {
    let version = context.version();
    let member = |(id, instance, metadata): (StrBytes, Option<StrBytes>, Bytes)| {
        JoinGroupResponseMember::default()
            .with_member_id(id)
            .with_group_instance_id(if version >= 5 { instance } else { None })
            .with_metadata(metadata)
    };
    JoinGroupResponse::default()
        .with_generation_id(joined.generation)
        .with_protocol_type(Some(joined.protocol_type))
        .with_protocol_name(Some(joined.protocol))
        .with_leader(joined.leader)
        .with_skip_assignment(joined.skip_assignment)
        .with_member_id(joined.member_id)
        .with_members(joined.members.into_iter().map(member).collect())
}

fn refused(context: &Context<'_>, refusal: NotJoined) -> JoinGroupResponse {
    // Null only since version 7.
    let none = || (context.version() < 7).then(StrBytes::new);
    JoinGroupResponse::default()
        .with_error_code(refusal.error.code())
        .with_generation_id(-1)
        .with_protocol_type(none())
        .with_protocol_name(none())
        .with_member_id(refusal.member_id)
}
