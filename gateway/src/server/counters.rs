//! What the listeners count, as metrics.

use crate::admin::{Family, Labels, Number};
use crate::kafka;

/// The members of consumer groups, under the name that kafka_exporter made known.
pub fn members(listener: &kafka::Listener) -> Family {
    let members = listener.group_members().into_iter().map(|(group, members)| {
        let labels = vec![("namespace", group.namespace().to_owned()), ("consumergroup", group.name().to_owned())];
        (labels, members.number())
    });
    Family::gauges("kafka_consumergroup_members", "Members of the group", members.collect())
}

/// The Kafka listener's.
pub fn kafka(metrics: &kafka::Metrics) -> Vec<Family> {
    let requests = metrics.requests().map(|(api, count)| (vec![("api", api)] as Labels, count.number()));
    let counter = |name, help, counter: &kafka::Counter| Family::counter(name, help, counter.get());
    vec![
        Family::gauge("tidegate_kafka_connections", "Connections open", metrics.connections.get()),
        counter("tidegate_kafka_connections_accepted", "Connections accepted", &metrics.connections_accepted),
        counter(
            "tidegate_kafka_connections_refused",
            "Connections closed because of what the client sent",
            &metrics.connections_refused,
        ),
        counter("tidegate_kafka_received_bytes", "Bytes received", &metrics.bytes_in),
        counter("tidegate_kafka_sent_bytes", "Bytes sent", &metrics.bytes_out),
        counter("tidegate_kafka_produced_records", "Records accepted by Produce", &metrics.records_produced),
        counter("tidegate_kafka_produced_bytes", "Bytes of batches accepted by Produce", &metrics.bytes_produced),
        counter("tidegate_kafka_fetched_bytes", "Bytes of batches sent by Fetch", &metrics.bytes_fetched),
        counter(
            "tidegate_kafka_produce_errors",
            "Partitions answered with an error by Produce",
            &metrics.produce_errors,
        ),
        counter("tidegate_kafka_fetch_errors", "Partitions answered with an error by Fetch", &metrics.fetch_errors),
        Family::gauge("tidegate_kafka_groups", "Groups with members", metrics.groups.get()),
        counter("tidegate_kafka_rebalances", "Rebalances completed", &metrics.rebalances),
        Family::counters("tidegate_kafka_requests", "Requests by API", requests.collect()),
    ]
}
