//! DescribeConfigs (key 32), versions 1 to 4.
//!
//! - Topics (resource type 2) and this node (type 4; an empty name is the default of all brokers, which has no settings of its own).
//!   Any other type gets INVALID_REQUEST.
//! - A topic's setting that was set, or differs from the gateway's default, is the topic's own, any other a default.
//! - This node's settings are read-only: they are changed in the gateway's configuration.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::broker_config;
use super::context::Context;
use super::error::Refusal;
use super::names;
use super::topic_config::{Settings, Shown, Type};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(1, 4);

pub(super) const TOPIC: i8 = 2;
pub(super) const BROKER: i8 = 4;

/// Where a value comes from (`ConfigSource` on the wire).
const FROM_TOPIC: i8 = 1;
const FROM_CONFIGURATION: i8 = 4;
const FROM_DEFAULT: i8 = 5;

pub(super) async fn handle(context: &Context<'_>, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let describe = |resource: DescribeConfigsResource| {
        let result = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
        let result = match describe(context, &request, &resource) {
            Ok(configs) => result.with_configs(configs).with_error_message(None),
            Err(refusal) => {
                result.with_error_code(refusal.code()).with_error_message(Some(StrBytes::from_string(refusal.message)))
            }
        };
        result.with_resource_name(resource.resource_name)
    };
    DescribeConfigsResponse::default().with_results(request.resources.iter().cloned().map(describe).collect())
}

fn describe(
    context: &Context<'_>,
    request: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let mut configs = match resource.resource_type {
        TOPIC => describe_topic(context, request, &resource.resource_name)?,
        BROKER => describe_broker(context, request, &resource.resource_name)?,
        _ => return Err(Refusal::new(ResponseError::InvalidRequest, "only topics and brokers have settings here")),
    };
    // An empty list asks for all of them, as none does.
    if let Some(wanted) = resource.configuration_keys.as_ref().filter(|wanted| !wanted.is_empty()) {
        configs.retain(|config| wanted.contains(&config.name));
    }
    Ok(configs)
}

fn describe_topic(
    context: &Context<'_>,
    request: &DescribeConfigsRequest,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    names::check(name)?;
    let topic = context.readable(name)?;
    let settings = Settings::of(context, &topic)?;
    let defaults = Settings::default_of(context);
    let version = context.version();
    let describe = |shown: Shown| {
        let source = source(&shown);
        let mut result = describe_one(shown.name, shown.value, shown.kind, version)
            .with_read_only(shown.is_fixed)
            .with_config_source(source)
            .with_documentation(
                (request.include_documentation && version >= 3).then(|| StrBytes::from_static_str(shown.documentation)),
            );
        if request.include_synonyms {
            result.synonyms = synonyms(&result, &defaults);
        }
        result
    };
    Ok(settings.show(&defaults).map(describe).collect())
}

/// Where a topic's setting has its value from.
pub(super) fn source(shown: &Shown) -> i8 {
    if shown.is_own { FROM_TOPIC } else { FROM_DEFAULT }
}

/// The values a setting has or would have, the one in force first.
fn synonyms(result: &DescribeConfigsResourceResult, defaults: &Settings) -> Vec<DescribeConfigsSynonym> {
    let default = defaults.get(&result.name).map(StrBytes::from_string);
    let mut synonyms = vec![synonym(result, default, FROM_DEFAULT)];
    if result.config_source == FROM_TOPIC {
        synonyms.insert(0, synonym(result, result.value.clone(), FROM_TOPIC));
    }
    synonyms
}

fn synonym(of: &DescribeConfigsResourceResult, value: Option<StrBytes>, source: i8) -> DescribeConfigsSynonym {
    DescribeConfigsSynonym::default().with_name(of.name.clone()).with_value(value).with_source(source)
}

fn describe_broker(
    context: &Context<'_>,
    request: &DescribeConfigsRequest,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    context.authorize_cluster(Action::Read)?;
    if name.is_empty() {
        return Ok(Vec::new());
    }
    if name != context.listener.config.node_id.to_string() {
        return Err(Refusal::new(ResponseError::InvalidRequest, "there is no such broker"));
    }
    let describe = |(name, value, kind)| {
        let mut result = describe_one(name, value, kind, context.version())
            .with_read_only(true)
            .with_config_source(FROM_CONFIGURATION);
        if request.include_synonyms {
            result.synonyms = vec![synonym(&result, result.value.clone(), FROM_CONFIGURATION)];
        }
        result
    };
    Ok(broker_config::show(context).into_iter().map(describe).collect())
}

fn describe_one(name: &'static str, value: String, kind: Type, version: i16) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_name(StrBytes::from_static_str(name))
        .with_value(Some(StrBytes::from_string(value)))
        .with_config_type(if version >= 3 { kind as i8 } else { 0 })
        .with_documentation(None)
}
