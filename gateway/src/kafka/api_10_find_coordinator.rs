//! FindCoordinator (key 10), versions 0 to 6.
//!
//! - This node coordinates every group. Version 4 on asks for many keys at once (KIP-699).
//! - Transactions (type 1) get TRANSACTIONAL_ID_AUTHORIZATION_FAILED: there is no transaction coordinator, and this is what every
//!   client takes for final (librdkafka and franz-go ask again after UNSUPPORTED_VERSION). Share groups (type 2) and any other
//!   type get INVALID_REQUEST, as from a Kafka without them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::context::Context;
use super::error::Refusal;
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 6);

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) async fn handle(context: &Context<'_>, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let find = |key| match check(context, request.key_type, key) {
        Ok(()) => found(context),
        Err(refusal) => refused(refusal),
    };
    if context.version() >= 4 {
        let coordinators = request.coordinator_keys.iter().map(|key| find(key).with_key(key.clone())).collect();
        return FindCoordinatorResponse::default().with_coordinators(coordinators);
    }
    let found = find(&request.key);
    FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_error_message(if context.version() >= 1 { found.error_message } else { None })
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn check(context: &Context<'_>, key_type: i8, key: &str) -> Result<(), Refusal> {
    match key_type {
        // An empty group id is as good as any for a simple consumer.
        GROUP if key.is_empty() => Ok(()),
        GROUP => context.group_name(key, Action::Read).map(drop),
        TRANSACTION => {
            Err(Refusal::new(ResponseError::TransactionalIdAuthorizationFailed, "transactions are not served"))
        }
        _ => Err(Refusal::new(ResponseError::InvalidRequest, "only groups have a coordinator here")),
    }
}

fn found(context: &Context<'_>) -> Coordinator {
    Coordinator::default()
        .with_error_message(None)
        .with_node_id(context.node_id())
        .with_host(context.peer.host.clone())
        .with_port(context.peer.port)
}

fn refused(refusal: Refusal) -> Coordinator {
    Coordinator::default()
        .with_error_code(refusal.code())
        .with_error_message(Some(StrBytes::from_string(refusal.message)))
        .with_node_id(BrokerId(-1))
        .with_port(-1)
}
