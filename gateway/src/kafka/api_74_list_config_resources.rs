//! ListConfigResources (key 74), versions 0 to 1 (KIP-1142): the resources that DescribeConfigs knows, by type; all of them when
//! none is named.
//!
//! Version 0 is ListClientMetricsResources (KIP-714), of which there are none here.

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::api_03_metadata::visible;
use super::api_32_describe_configs::{BROKER, TOPIC};
use super::context::Context;
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 1);

pub(super) async fn handle(context: &Context<'_>, request: ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    if let Err(refusal) = context.authorize_cluster(Action::Read) {
        return ListConfigResourcesResponse::default().with_error_code(refusal.code());
    }
    if context.version() == 0 {
        return ListConfigResourcesResponse::default();
    }
    let wants = |kind| request.resource_types.is_empty() || request.resource_types.contains(&kind);
    let resource = |kind, name| ConfigResource::default().with_resource_type(kind).with_resource_name(name);
    let mut resources = Vec::new();
    if wants(BROKER) {
        let node = context.listener.config.node_id.to_string();
        resources.push(resource(BROKER, StrBytes::from_string(node)));
    }
    if wants(TOPIC) {
        let name = |topic: std::sync::Arc<tidegate_engine::Topic>| StrBytes::from_string(topic.name.name().to_owned());
        resources.extend(visible(context).map(|topic| resource(TOPIC, name(topic))));
    }
    ListConfigResourcesResponse::default().with_config_resources(resources)
}
