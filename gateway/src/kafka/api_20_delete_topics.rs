//! DeleteTopics (key 20), versions 1 to 6.
//!
//! - By name; version 6 by id, too (KIP-516). Naming both, or neither, or a topic twice, gets INVALID_REQUEST.
//! - The topic is gone, durably, when the answer is sent, so `timeout_ms` need not be waited for.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};

use super::api::{Versions, versions};
use super::context::{Context, wire_name};
use super::error::{About, Refusal, outcome};
use super::repeats::once;

pub(super) const VERSIONS: Versions = versions(1, 6);

pub(super) async fn handle(context: &Context<'_>, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request.topic_names.into_iter().map(|name| DeleteTopicState::default().with_name(Some(name)));
    let wanted: Vec<_> = by_name.chain(request.topics).collect();
    let mut responses = Vec::with_capacity(wanted.len());
    for (mut wanted, is_single) in once(wanted, |wanted| (wanted.name.clone(), wanted.topic_id)) {
        let deleted = match is_single {
            Ok(()) => delete(context, &mut wanted).await,
            Err(refusal) => Err(refusal),
        };
        let (code, message) = outcome(deleted);
        let response = DeletableTopicResult::default()
            .with_name(wanted.name)
            .with_topic_id(wanted.topic_id)
            .with_error_code(code)
            .with_error_message(message.filter(|_| context.version() >= 5));
        responses.push(response);
    }
    DeleteTopicsResponse::default().with_responses(responses)
}

async fn delete(context: &Context<'_>, wanted: &mut DeleteTopicState) -> Result<(), Refusal> {
    match &wanted.name {
        Some(_) if !wanted.topic_id.is_nil() => {
            return Err(Refusal::new(ResponseError::InvalidRequest, "name a topic or give its id, not both"));
        }
        None if wanted.topic_id.is_nil() => {
            return Err(Refusal::new(ResponseError::InvalidRequest, "name a topic or give its id"));
        }
        _ => {}
    }
    let topic = match &wanted.name {
        Some(name) => context.readable(name)?,
        None => context.readable_by_id(wanted.topic_id)?,
    };
    wanted.name = Some(wire_name(&topic));
    wanted.topic_id = topic.id;
    let deleted = context.broker().delete_topic(context.principal(), topic.name.name()).await;
    deleted.map_err(Refusal::about(About::Topic))
}
