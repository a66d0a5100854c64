//! CreatePartitions (key 37), versions 0 to 3: a topic grows to so many partitions; it never shrinks.
//!
//! Assignments, when given, must be as many as partitions are added and name a broker each; the store decides where data goes.
//! A topic twice in one request gets INVALID_REQUEST. The partitions exist, durably, when the answer is sent.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::api::{Versions, versions};
use super::context::Context;
use super::error::{About, Refusal, outcome};
use super::repeats::once;
use crate::broker::{Action, Resource};

pub(super) const VERSIONS: Versions = versions(0, 3);

pub(super) async fn handle(context: &Context<'_>, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for (topic, is_single) in once(request.topics, |topic| topic.name.clone()) {
        let grown = match is_single {
            Ok(()) => grow(context, &topic, request.validate_only).await,
            Err(refusal) => Err(refusal),
        };
        let (code, message) = outcome(grown);
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        results.push(result.with_error_code(code).with_error_message(message));
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(context: &Context<'_>, wanted: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let (broker, principal) = (context.broker(), context.principal());
    let topic = context.readable(&wanted.name)?;
    let now = topic.partitions.len();
    let count = u32::try_from(wanted.count).ok().filter(|count| *count as usize > now).ok_or_else(|| {
        let message = format!("the topic has {now} partitions and can only grow: {} is not more", wanted.count);
        Refusal::new(ResponseError::InvalidPartitions, message)
    })?;
    if let Some(assignments) = &wanted.assignments {
        let named = assignments.iter().all(|assignment| !assignment.broker_ids.is_empty());
        if assignments.len() != count as usize - now || !named {
            return Err(Refusal::new(
                ResponseError::InvalidReplicaAssignment,
                "there must be an assignment for each new partition, and a broker in each",
            ));
        }
    }
    broker
        .authorize(principal, Action::Configure, Resource::Topic(&wanted.name))
        .map_err(Refusal::about(About::Topic))?;
    if !validate_only {
        broker.grow_topic(principal, &wanted.name, count).await.map_err(Refusal::about(About::Topic))?;
    }
    Ok(())
}
