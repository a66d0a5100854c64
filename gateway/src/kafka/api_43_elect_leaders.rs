//! ElectLeaders (key 43), versions 0 to 2 (KIP-183, KIP-460): there is one replica, which leads already.
//!
//! Every partition named gets ELECTION_NOT_NEEDED, one that is not there UNKNOWN_TOPIC_OR_PARTITION. Null partitions are all: those
//! that need no election are left out of the answer then, as in Kafka.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kafka_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};

use super::api::{Versions, versions};
use super::context::{Context, partition};
use super::error::{Refusal, outcome};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(0, 2);

pub(super) async fn handle(context: &Context<'_>, request: ElectLeadersRequest) -> ElectLeadersResponse {
    if let Err(refusal) = context.authorize_cluster(Action::Configure) {
        // Version 0 has no error of its own for the request.
        let code = if context.version() >= 1 { refusal.code() } else { 0 };
        return ElectLeadersResponse::default().with_error_code(code);
    }
    let topics = request.topic_partitions.into_iter().flatten();
    ElectLeadersResponse::default()
        .with_replica_election_results(topics.map(|wanted| elect_topic(context, wanted)).collect())
}

fn elect_topic(context: &Context<'_>, wanted: TopicPartitions) -> ReplicaElectionResult {
    let topic = context.readable(&wanted.topic);
    let elect = |index: i32| {
        let refusal = match topic.as_ref().map(|topic| partition(topic, index)) {
            Ok(Ok(_)) => Refusal::new(ResponseError::ElectionNotNeeded, "the partition's one replica leads it"),
            Ok(Err(error)) => error.into(),
            Err(refusal) => refusal.clone(),
        };
        let (code, message) = outcome(Err(refusal));
        PartitionResult::default().with_partition_id(index).with_error_code(code).with_error_message(message)
    };
    let results = wanted.partitions.iter().copied().map(elect).collect();
    ReplicaElectionResult::default().with_topic(wanted.topic).with_partition_result(results)
}
