//! What the listener counts.

use crate::counter::Counter;

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
