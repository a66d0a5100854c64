//! IncrementalAlterConfigs (key 44), versions 0 to 1 (KIP-339): changes some of a topic's settings.
//!
//! - SET, DELETE (back to the gateway's default), and for lists APPEND and SUBTRACT. All of a topic's changes happen or none.
//!   A topic or a setting twice in one request gets INVALID_REQUEST.
//! - Only topics can be altered: this node's settings are changed in the gateway's configuration, and an attempt gets
//!   INVALID_REQUEST that says so.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::api_32_describe_configs::TOPIC;
use super::context::Context;
use super::error::{About, Refusal, outcome};
use super::names;
use super::repeats::once;
use super::topic_config::{self, Changes, Settings};
use crate::broker::{Action, Resource};

pub(super) const VERSIONS: Versions = versions(0, 1);

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) async fn handle(
    context: &Context<'_>,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
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
    IncrementalAlterConfigsResponse::default().with_responses(responses)
}

async fn alter(context: &Context<'_>, resource: &mut AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let configs = std::mem::take(&mut resource.configs);
    apply(context, resource.resource_type, &resource.resource_name, validate_only, |current, defaults| {
        let mut changes = Changes::of(current.clone(), defaults);
        for (config, is_single) in once(configs, |config| config.name.clone()) {
            is_single?;
            change(&mut changes, &config, current)?;
        }
        Ok(changes)
    })
    .await
}

fn change(changes: &mut Changes<'_>, config: &AlterableConfig, current: &Settings) -> Result<(), Refusal> {
    match config.config_operation {
        SET => changes.set(&config.name, Some(given(&config.name, &config.value)?)),
        DELETE => changes.reset(&config.name),
        operation @ (APPEND | SUBTRACT) if topic_config::is_list(&config.name) => {
            let old = current.get(&config.name).unwrap_or_default();
            let value = combine(&old, given(&config.name, &config.value)?, operation == APPEND);
            changes.set(&config.name, Some(&value))
        }
        APPEND | SUBTRACT => {
            Err(Refusal::new(ResponseError::InvalidConfig, format!("{} is not a list", &*config.name)))
        }
        _ => Err(Refusal::new(ResponseError::InvalidRequest, "an unknown operation")),
    }
}

/// A setting's value; a request without it is no request, whatever the setting.
pub(super) fn given<'a>(name: &str, value: &'a Option<StrBytes>) -> Result<&'a str, Refusal> {
    value.as_deref().ok_or_else(|| Refusal::new(ResponseError::InvalidRequest, format!("{name} needs a value")))
}

fn combine(old: &str, value: &str, append: bool) -> String {
    let named: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let mut parts: Vec<&str> = old.split(',').filter(|part| !part.is_empty() && !named.contains(part)).collect();
    if append {
        parts.extend(named);
    }
    parts.join(",")
}

/// Changes a topic's settings to what `change` makes of them and the defaults.
pub(super) async fn apply(
    context: &Context<'_>,
    resource_type: i8,
    name: &str,
    validate_only: bool,
    change: impl for<'a> FnOnce(&Settings, &'a Settings) -> Result<Changes<'a>, Refusal> + Send,
) -> Result<(), Refusal> {
    if resource_type != TOPIC {
        return Err(Refusal::new(
            ResponseError::InvalidRequest,
            "only a topic's settings can be altered here; this node's are in the gateway's configuration",
        ));
    }
    let (broker, principal) = (context.broker(), context.principal());
    names::check(name)?;
    let topic = context.readable(name)?;
    let defaults = Settings::default_of(context);
    let Settings { store, named } = change(&Settings::of(context, &topic)?, &defaults)?.finish();
    broker.authorize(principal, Action::Configure, Resource::Topic(name)).map_err(Refusal::about(About::Topic))?;
    if !validate_only {
        broker.alter_topic_with(principal, name, store, &named).await.map_err(Refusal::about(About::Topic))?;
    }
    Ok(())
}
