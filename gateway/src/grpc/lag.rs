//! Consumer.GetLag: what a group has still to consume.

use tidegate_proto::v1::{GetLagRequest, Lag, PartitionLag};

use super::error::Result;
use super::state::Grpc;
use super::time::{duration, now_ms, timestamp};

pub(super) fn get_lag(grpc: &Grpc, request: &GetLagRequest) -> Result<Lag> {
    grpc.find_group(&request.group)?;
    let lag = grpc.broker.lag(&grpc.principal, &request.group)?;
    Ok(Lag {
        messages: lag.messages,
        bytes: lag.bytes,
        oldest_age: lag.oldest_age(now_ms()).map(duration),
        partitions: lag
            .partitions
            .into_iter()
            .map(|of| PartitionLag {
                topic: of.topic,
                partition: of.partition,
                committed: of.committed,
                messages: of.messages,
                bytes: of.bytes,
                oldest_timestamp: of.oldest_timestamp_ms.map(timestamp),
            })
            .collect(),
    })
}
