//! InitProducerId (key 22), versions 0 to 5: a producer id for an idempotent producer, with epoch 0.
//!
//! Transactions are not served: a transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client reports and none
//! retries.
//! A producer id and epoch (version 3 on, KIP-360) must be given both or neither; without a transactional id a new id is given
//! out all the same, as Kafka does.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::api::{Versions, versions};
use super::context::Context;
use super::error::{About, code};

pub(super) const VERSIONS: Versions = versions(0, 5);

pub(super) async fn handle(context: &Context<'_>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match init(context, &request).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

async fn init(context: &Context<'_>, request: &InitProducerIdRequest) -> Result<i64, ResponseError> {
    match &request.transactional_id {
        Some(id) if id.is_empty() => return Err(ResponseError::InvalidRequest),
        Some(_) => return Err(ResponseError::TransactionalIdAuthorizationFailed),
        None => {}
    }
    if (request.producer_id.0 == -1) != (request.producer_epoch == -1) {
        return Err(ResponseError::InvalidRequest);
    }
    context.broker().allocate_producer_id().await.map_err(|error| code(error.kind, About::Cluster))
}
