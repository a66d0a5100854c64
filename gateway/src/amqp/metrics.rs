//! What the listener counts.

use crate::metrics::{Counter, Family};

/// The listener's counters.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections open now.
    pub connections: Counter,
    /// Connections accepted since the start.
    pub connections_accepted: Counter,
    /// Connections closed because of what the client sent or did not send.
    pub connections_refused: Counter,
    /// Channels open now.
    pub channels: Counter,
    /// Channels closed because of what the client asked for.
    pub channels_refused: Counter,
    /// Consumers now.
    pub consumers: Counter,
    /// Times that something was read from a socket.
    pub reads: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Bytes sent.
    pub bytes_out: Counter,
    /// Messages published.
    pub published: Counter,
    /// Messages published that no queue took: dropped or returned.
    pub unroutable: Counter,
    /// Messages confirmed to their publishers.
    pub confirmed: Counter,
    /// Messages refused to publishers that asked for confirms.
    pub refused: Counter,
    /// Messages delivered, by consume and by get.
    pub delivered: Counter,
    /// Messages delivered that had been delivered before.
    pub redelivered: Counter,
    /// Messages acknowledged by consumers.
    pub acknowledged: Counter,
    /// Connections whose publishing waits for disk space.
    pub blocked: Counter,
}

impl Metrics {
    /// As they are shown at /metrics.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let gauge = |name, help, counter: &Counter| Family::gauge(name, help, counter.get());
        let counter = |name, help, counter: &Counter| Family::counter(name, help, counter.get());
        vec![
            gauge("tidegate_amqp_connections", "Connections open", &self.connections),
            counter("tidegate_amqp_connections_accepted", "Connections accepted", &self.connections_accepted),
            counter(
                "tidegate_amqp_connections_refused",
                "Connections closed because of what the client sent or did not send",
                &self.connections_refused,
            ),
            gauge("tidegate_amqp_channels", "Channels open", &self.channels),
            counter(
                "tidegate_amqp_channels_refused",
                "Channels closed because of what the client asked for",
                &self.channels_refused,
            ),
            gauge("tidegate_amqp_consumers", "Consumers", &self.consumers),
            counter("tidegate_amqp_reads", "Times that something was read from a socket", &self.reads),
            counter("tidegate_amqp_received_bytes", "Bytes received", &self.bytes_in),
            counter("tidegate_amqp_sent_bytes", "Bytes sent", &self.bytes_out),
            counter("tidegate_amqp_published_messages", "Messages published", &self.published),
            counter("tidegate_amqp_unroutable_messages", "Messages that no queue took", &self.unroutable),
            counter("tidegate_amqp_confirmed_messages", "Messages confirmed to their publishers", &self.confirmed),
            counter("tidegate_amqp_refused_messages", "Messages refused to their publishers", &self.refused),
            counter("tidegate_amqp_delivered_messages", "Messages delivered", &self.delivered),
            counter("tidegate_amqp_redelivered_messages", "Messages delivered again", &self.redelivered),
            counter("tidegate_amqp_acknowledged_messages", "Messages acknowledged", &self.acknowledged),
            gauge("tidegate_amqp_blocked_connections", "Connections waiting for disk space", &self.blocked),
        ]
    }
}
