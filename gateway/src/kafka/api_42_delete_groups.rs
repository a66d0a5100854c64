//! DeleteGroups (key 42), versions 0 to 2: forgets groups and their progress, durably.
//!
//! A group with members, of whichever kind, gets NON_EMPTY_GROUP; one that does not exist GROUP_ID_NOT_FOUND.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::api::{Versions, versions};
use super::context::Context;
use super::error::{About, code};
use crate::broker::{Action, Kind};

pub(super) const VERSIONS: Versions = versions(0, 2);

pub(super) async fn handle(context: &Context<'_>, request: DeleteGroupsRequest) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for id in request.groups_names {
        let code = delete(context, &id).await.err().map_or(0, |error| error.code());
        results.push(DeletableGroupResult::default().with_group_id(id).with_error_code(code));
    }
    DeleteGroupsResponse::default().with_results(results)
}

async fn delete(context: &Context<'_>, id: &str) -> Result<(), ResponseError> {
    let name = context.group_name(id, Action::Configure).map_err(|refusal| refusal.error)?;
    let shared = context.broker().group(context.principal(), id).map_err(|error| code(error.kind, About::Group))?;
    if context.listener.coordinator.has_members(&name) || shared.is_some_and(|group| group.in_flight > 0) {
        return Err(ResponseError::NonEmptyGroup);
    }
    context.broker().delete_group(context.principal(), id).await.map_err(|error| match error.kind {
        // Members came meanwhile.
        Kind::Conflict => ResponseError::NonEmptyGroup,
        kind => code(kind, About::Group),
    })
}
