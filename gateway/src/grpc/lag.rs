//! Consumer.GetLag: what a group has still to consume.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_proto::v1::{GetLagRequest, Lag, PartitionLag};

use super::error::Result;
use super::state::Grpc;
use super::time::{duration, now_ms, timestamp};

pub(super) fn get_lag(grpc: &Grpc, request: &GetLagRequest) -> Result<Lag> {
    let (broker, principal, name) = (&grpc.broker, &grpc.principal, request.group.as_str());
    grpc.find_group(name)?;
    let lags = broker.lag(principal, name)?;
    let committed: HashMap<_, _> =
        broker.committed(principal, name)?.into_iter().map(|progress| (progress.partition, progress.offset)).collect();
    let names = broker.partition_names(principal);
    let oldest_ms = lags.iter().filter_map(|lag| lag.oldest_timestamp_ms).min();
    let partitions = lags.iter().filter_map(|lag| {
        let (topic, partition) = names.get(&lag.partition)?.clone();
        Some(PartitionLag {
            topic,
            partition,
            committed: committed.get(&lag.partition).copied(),
            messages: lag.messages,
            bytes: lag.bytes,
            oldest_timestamp: lag.oldest_timestamp_ms.map(timestamp),
        })
    });
    let age = |ms: i64| Duration::from_millis(u64::try_from(now_ms().saturating_sub(ms)).unwrap_or_default());
    Ok(Lag {
        messages: lags.iter().map(|lag| lag.messages).sum(),
        bytes: lags.iter().map(|lag| lag.bytes).sum(),
        oldest_age: oldest_ms.map(|ms| duration(age(ms))),
        partitions: partitions.collect(),
    })
}
