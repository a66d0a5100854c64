//! DescribeCluster (key 60), versions 0 to 2 (KIP-700, 919, 1073): one broker, which is the controller, never fenced.
//!
//! Only brokers (endpoint type 1) are described: controllers get MISMATCHED_ENDPOINT_TYPE, any other type
//! UNSUPPORTED_ENDPOINT_TYPE.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::api_03_metadata::{CLUSTER_OPERATIONS, NO_OPERATIONS, cluster_id};
use super::context::Context;
use super::error::Refusal;
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 2);

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(super) async fn handle(context: &Context<'_>, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let endpoint_type = if context.version() >= 1 { request.endpoint_type } else { BROKERS };
    if let Err(refusal) = check(context, endpoint_type) {
        return DescribeClusterResponse::default()
            .with_error_code(refusal.code())
            .with_error_message(Some(StrBytes::from_string(refusal.message)))
            .with_endpoint_type(endpoint_type);
    }
    let broker = DescribeClusterBroker::default()
        .with_broker_id(context.node_id())
        .with_host(context.peer.host.clone())
        .with_port(context.peer.port);
    let operations = request.include_cluster_authorized_operations;
    DescribeClusterResponse::default()
        .with_cluster_id(cluster_id(context))
        .with_controller_id(context.node_id())
        .with_brokers(vec![broker])
        .with_cluster_authorized_operations(if operations { CLUSTER_OPERATIONS } else { NO_OPERATIONS })
}

fn check(context: &Context<'_>, endpoint_type: i8) -> Result<(), Refusal> {
    match endpoint_type {
        BROKERS => context.authorize_cluster(Action::Read),
        CONTROLLERS => Err(ResponseError::MismatchedEndpointType.into()),
        _ => Err(ResponseError::UnsupportedEndpointType.into()),
    }
}
