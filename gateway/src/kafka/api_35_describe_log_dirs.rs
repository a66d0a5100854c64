//! DescribeLogDirs (key 35), versions 1 to 4: what each partition takes up.
//!
//! - One directory, under a name that is no path: where the store keeps its log is its own affair, and so is what is free there
//!   (-1 since version 4).
//! - A partition's size is that of its stored batches. Null topics are all; one that is not there is left out, as in Kafka.

use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};
use kafka_protocol::protocol::StrBytes;
use tidegate_engine::Topic;

use super::api::{Versions, versions};
use super::api_03_metadata::visible;
use super::context::{Context, wire_count, wire_name, wire_offset};
use crate::broker::Action;

pub(super) const VERSIONS: Versions = versions(1, 4);

const NAME: &str = "tidegate";

pub(super) async fn handle(context: &Context<'_>, request: DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    if let Err(refusal) = context.authorize_cluster(Action::Read) {
        // Before version 3 no error can be told but an empty answer.
        let code = if context.version() >= 3 { refusal.code() } else { 0 };
        return DescribeLogDirsResponse::default().with_error_code(code);
    }
    let topics = match request.topics {
        None => visible(context).map(|topic| describe(context, &topic, |_| true)).collect(),
        Some(wanted) => {
            let describe = |wanted: kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic| {
                let topic: Arc<Topic> = context.readable(&wanted.topic).ok()?;
                Some(describe(context, &topic, |index| wanted.partitions.contains(&index)))
            };
            wanted.into_iter().filter_map(describe).collect()
        }
    };
    let result = DescribeLogDirsResult::default().with_log_dir(StrBytes::from_static_str(NAME)).with_topics(topics);
    DescribeLogDirsResponse::default().with_results(vec![result])
}

fn describe(context: &Context<'_>, topic: &Topic, is_wanted: impl Fn(i32) -> bool) -> DescribeLogDirsTopic {
    let partitions = topic.partitions.iter().enumerate().map(|(index, id)| (wire_count(index), *id));
    let describe = |(index, id)| {
        let info = context.broker().partition(id).ok()?;
        let partition = DescribeLogDirsPartition::default().with_partition_index(index);
        Some(partition.with_partition_size(wire_offset(info.bytes)))
    };
    let partitions = partitions.filter(|(index, _)| is_wanted(*index)).filter_map(describe).collect();
    DescribeLogDirsTopic::default().with_name(wire_name(topic)).with_partitions(partitions)
}
