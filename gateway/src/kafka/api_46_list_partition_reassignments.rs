//! ListPartitionReassignments (key 46), version 0 (KIP-455): none is ever in progress, there is one replica.

use kafka_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use super::api::{Versions, versions};
use super::context::Context;
use super::error::outcome;
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 0);

pub(super) async fn handle(
    context: &Context<'_>,
    _: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    let (code, message) = outcome(context.authorize_cluster(Action::Read));
    ListPartitionReassignmentsResponse::default().with_error_code(code).with_error_message(message)
}
