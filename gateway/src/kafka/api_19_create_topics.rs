//! CreateTopics (key 19), versions 2 to 7.
//!
//! - `num_partitions` -1 takes the gateway's default. Any replication factor that Kafka could accept (-1, or 1 and more) is
//!   accepted: durability comes from the store, and one replica is what the answer says. Manual assignments give the number of
//!   partitions; they must number partitions from 0 without gaps and name at least one broker each.
//! - Settings are those of [`super::topic_config`]; any other is refused with INVALID_CONFIG.
//! - A name twice in one request is refused with INVALID_REQUEST.
//! - `timeout_ms` need not be waited for: a topic exists, durably, when the answer is sent.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::context::{Context, wire_count};
use super::error::{About, Refusal};
use super::repeats::once;
use super::topic_config::{self, Changes, Settings};
use super::{api_32_describe_configs as describe_configs, names};
use crate::broker::{Action, Resource};

pub(super) const VERSIONS: Versions = versions(2, 7);

pub(super) async fn handle(context: &Context<'_>, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for (topic, is_single) in once(request.topics, |topic| topic.name.clone()) {
        let name = topic.name.clone();
        let created = match is_single {
            Ok(()) => create(context, topic, request.validate_only).await,
            Err(refusal) => Err(refusal),
        };
        let result = created.unwrap_or_else(|refusal| refused(context, refusal));
        results.push(result.with_name(name));
    }
    CreateTopicsResponse::default().with_topics(results)
}

async fn create(
    context: &Context<'_>,
    wanted: CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Refusal> {
    let (broker, principal) = (context.broker(), context.principal());
    names::check(&wanted.name)?;
    let partitions = partitions(&wanted)?;
    let settings = settings(context, &wanted)?;
    if validate_only {
        broker
            .authorize(principal, Action::Configure, Resource::Topic(&wanted.name))
            .map_err(Refusal::about(About::Topic))?;
        if broker.topic_for_read(principal, &wanted.name).is_ok() {
            return Err(ResponseError::TopicAlreadyExists.into());
        }
        let count = partitions.unwrap_or_else(|| broker.settings().partitions.max(1));
        return Ok(accepted(context, count as usize, &settings));
    }
    let Settings { store, named } = &settings;
    let topic = broker.create_topic_with(principal, &wanted.name, partitions, store.clone(), named).await;
    let topic = topic.map_err(Refusal::about(About::Topic))?;
    Ok(accepted(context, topic.partitions.len(), &settings).with_topic_id(topic.id))
}

/// How many partitions; none for the default.
fn partitions(wanted: &CreatableTopic) -> Result<Option<u32>, Refusal> {
    if !wanted.assignments.is_empty() {
        return assigned_partitions(wanted).map(Some);
    }
    if wanted.replication_factor != -1 && wanted.replication_factor < 1 {
        return Err(Refusal::new(
            ResponseError::InvalidReplicationFactor,
            "the replication factor must be -1 or at least 1",
        ));
    }
    match wanted.num_partitions {
        -1 => Ok(None),
        count => match u32::try_from(count) {
            Ok(count) if count > 0 => Ok(Some(count)),
            _ => {
                Err(Refusal::new(ResponseError::InvalidPartitions, "the number of partitions must be -1 or at least 1"))
            }
        },
    }
}

fn assigned_partitions(wanted: &CreatableTopic) -> Result<u32, Refusal> {
    if wanted.num_partitions != -1 || wanted.replication_factor != -1 {
        return Err(Refusal::new(
            ResponseError::InvalidRequest,
            "with assignments, the number of partitions and the replication factor must be -1",
        ));
    }
    let mut indexes: Vec<i32> = wanted.assignments.iter().map(|assignment| assignment.partition_index).collect();
    indexes.sort_unstable();
    let numbered = indexes.iter().enumerate().all(|(at, index)| wire_count(at) == *index);
    if !numbered || wanted.assignments.iter().any(|assignment| assignment.broker_ids.is_empty()) {
        return Err(Refusal::new(
            ResponseError::InvalidReplicaAssignment,
            "assignments must number the partitions from 0 without gaps, and name a broker for each",
        ));
    }
    Ok(wire_count(indexes.len()).unsigned_abs())
}

fn settings(context: &Context<'_>, wanted: &CreatableTopic) -> Result<Settings, Refusal> {
    let defaults = Settings::default_of(context);
    let mut changes = Changes::of(defaults.clone(), &defaults);
    for config in &wanted.configs {
        changes.set(&config.name, config.value.as_deref())?;
    }
    Ok(changes.finish())
}

fn accepted(context: &Context<'_>, partitions: usize, settings: &Settings) -> CreatableTopicResult {
    let describe = |shown: topic_config::Shown| {
        CreatableTopicConfigs::default()
            .with_config_source(describe_configs::source(&shown))
            .with_name(StrBytes::from_static_str(shown.name))
            .with_value(Some(StrBytes::from_string(shown.value)))
            .with_read_only(shown.is_fixed)
    };
    let defaults = Settings::default_of(context);
    let configs = (context.version() >= 5).then(|| settings.show(&defaults).map(describe).collect());
    CreatableTopicResult::default()
        .with_num_partitions(wire_count(partitions))
        .with_replication_factor(1)
        .with_configs(configs)
        .with_error_message(None)
}

fn refused(context: &Context<'_>, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_error_code(refusal.code())
        .with_error_message(Some(StrBytes::from_string(refusal.message)))
        .with_configs((context.version() >= 5).then(Vec::new))
}
