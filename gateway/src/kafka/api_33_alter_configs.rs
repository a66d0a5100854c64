//! AlterConfigs (key 33), versions 0 to 2: replaces all of a topic's settings; what is not named goes back to its default.
//!
//! Only topics can be altered here; see [`super::api_44_incremental_alter_configs`].

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};

use super::api::{Versions, versions};
use super::api_44_incremental_alter_configs::{apply, given};
use super::context::Context;
use super::error::{Refusal, outcome};
use super::repeats::once;
use super::topic_config::Changes;

pub(super) const VERSIONS: Versions = versions(0, 2);

pub(super) async fn handle(context: &Context<'_>, request: AlterConfigsRequest) -> AlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for (mut resource, is_single) in
        once(request.resources, |resource| (resource.resource_type, resource.resource_name.clone()))
    {
        let altered = match is_single {
            Ok(()) => alter(context, &mut resource, request.validate_only).await,
            Err(refusal) => Err(refusal),
        };
        let (code, message) = outcome(altered);
        let response = AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name);
        responses.push(response);
    }
    AlterConfigsResponse::default().with_responses(responses)
}

async fn alter(context: &Context<'_>, resource: &mut AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let configs = std::mem::take(&mut resource.configs);
    apply(context, resource.resource_type, &resource.resource_name, validate_only, |_, defaults| {
        let mut changes = Changes::of(defaults.clone(), defaults);
        for (config, is_single) in once(configs, |config| config.name.clone()) {
            is_single?;
            changes.set(&config.name, Some(given(&config.name, &config.value)?))?;
        }
        Ok(changes)
    })
    .await
}
