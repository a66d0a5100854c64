//! What the listeners count, as metrics.

use crate::admin::{Family, Labels, Number};
use crate::{grpc, http, kafka};

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

/// The HTTP listener's.
pub fn http(metrics: &http::Metrics) -> Vec<Family> {
    let requests = metrics.requests().map(|requests| {
        let labels: Labels = vec![
            ("method", requests.method.to_owned()),
            ("path", requests.path.to_owned()),
            ("status", requests.class.to_owned()),
        ];
        (labels, requests.count.number())
    });
    let (received, received_bytes) = metrics.messages_received();
    let (sent, sent_bytes) = metrics.messages_sent();
    vec![
        Family::gauge("tidegate_http_connections", "Connections open", metrics.connections()),
        Family::gauge("tidegate_http_streams", "Event streams open", metrics.streams()),
        Family::counter("tidegate_http_received_messages", "Messages published, repeats included", received),
        Family::counter("tidegate_http_received_bytes", "Bytes of messages published, as packed", received_bytes),
        Family::counter("tidegate_http_sent_messages", "Messages given out", sent),
        Family::counter("tidegate_http_sent_bytes", "Bytes of keys, values and headers given out", sent_bytes),
        Family::counters("tidegate_http_requests", "Requests by route and class of status", requests.collect()),
    ]
}

/// The gRPC listener's.
pub fn grpc(metrics: &grpc::Metrics) -> Vec<Family> {
    let requests = metrics.requests().map(|requests| {
        let labels: Labels = vec![("method", requests.method.to_owned()), ("code", requests.code.to_owned())];
        (labels, requests.count.number())
    });
    let (received, received_bytes) = metrics.messages_received();
    let (sent, sent_bytes) = metrics.messages_sent();
    vec![
        Family::gauge("tidegate_grpc_connections", "Connections open", metrics.connections()),
        Family::gauge("tidegate_grpc_streams", "Streams open", metrics.streams()),
        Family::gauge(
            "tidegate_grpc_sessions",
            "Consumers' sessions, those that may come back included",
            metrics.sessions(),
        ),
        Family::counter("tidegate_grpc_received_messages", "Messages published, repeats included", received),
        Family::counter("tidegate_grpc_received_bytes", "Bytes of messages published, as packed", received_bytes),
        Family::counter("tidegate_grpc_sent_messages", "Messages given out", sent),
        Family::counter("tidegate_grpc_sent_bytes", "Bytes of keys, values and headers given out", sent_bytes),
        Family::counters(
            "tidegate_grpc_requests",
            "Calls and streams ended, by method and status code",
            requests.collect(),
        ),
    ]
}
