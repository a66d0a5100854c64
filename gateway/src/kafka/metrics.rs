//! What the listener counts: plain atomics, read by the admin listener.

use kafka_protocol::messages::ApiKey;

use crate::metrics::{Counter, Family, Labels, Number};

/// One more than the largest API key counted by itself.
const KEYS: usize = 128;

/// The listener's counters.
#[derive(Debug)]
pub struct Metrics {
    /// Connections open now.
    pub connections: Counter,
    /// Connections accepted since the start.
    pub connections_accepted: Counter,
    /// Connections closed because of what the client sent: malformed, too large, an unknown key or version, too slow.
    pub connections_refused: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
    /// Records accepted by Produce.
    pub records_produced: Counter,
    /// Bytes of record batches accepted by Produce.
    pub bytes_produced: Counter,
    /// Bytes of record batches sent by Fetch.
    pub bytes_fetched: Counter,
    /// Partitions answered with an error by Produce.
    pub produce_errors: Counter,
    /// Partitions answered with an error by Fetch.
    pub fetch_errors: Counter,
    /// Groups with members.
    pub groups: Counter,
    /// Rebalances completed.
    pub rebalances: Counter,
    requests: [Counter; KEYS],
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            records_produced: Counter::default(),
            bytes_produced: Counter::default(),
            bytes_fetched: Counter::default(),
            produce_errors: Counter::default(),
            fetch_errors: Counter::default(),
            groups: Counter::default(),
            rebalances: Counter::default(),
            requests: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl Metrics {
    pub(super) fn count_request(&self, api: ApiKey) {
        if let Some(counter) = self.requests.get(api as usize) {
            counter.add(1);
        }
    }

    /// Requests by the API's name, of the APIs served.
    pub fn requests(&self) -> impl Iterator<Item = (String, u64)> {
        super::api::TABLE.iter().map(|api| (format!("{:?}", api.key), self.requests[api.key as usize].get()))
    }

    /// As they are shown at /metrics.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let requests = self.requests().map(|(api, count)| (vec![("api", api)] as Labels, count.number()));
        let counter = |name, help, counter: &Counter| Family::counter(name, help, counter.get());
        vec![
            Family::gauge("tidegate_kafka_connections", "Connections open", self.connections.get()),
            counter("tidegate_kafka_connections_accepted", "Connections accepted", &self.connections_accepted),
            counter(
                "tidegate_kafka_connections_refused",
                "Connections closed because of what the client sent",
                &self.connections_refused,
            ),
            counter("tidegate_kafka_received_bytes", "Bytes received", &self.bytes_in),
            counter("tidegate_kafka_sent_bytes", "Bytes sent", &self.bytes_out),
            counter("tidegate_kafka_produced_records", "Records accepted by Produce", &self.records_produced),
            counter("tidegate_kafka_produced_bytes", "Bytes of batches accepted by Produce", &self.bytes_produced),
            counter("tidegate_kafka_fetched_bytes", "Bytes of batches sent by Fetch", &self.bytes_fetched),
            counter(
                "tidegate_kafka_produce_errors",
                "Partitions answered with an error by Produce",
                &self.produce_errors,
            ),
            counter("tidegate_kafka_fetch_errors", "Partitions answered with an error by Fetch", &self.fetch_errors),
            Family::gauge("tidegate_kafka_groups", "Groups with members", self.groups.get()),
            counter("tidegate_kafka_rebalances", "Rebalances completed", &self.rebalances),
            Family::counters("tidegate_kafka_requests", "Requests by API", requests.collect()),
        ]
    }
}
