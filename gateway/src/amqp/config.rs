//! The AMQP listener's settings. Names follow RabbitMQ's where there is one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units;

/// Settings and limits of the AMQP 0-9-1 listener. Sizes are written as `10MiB` or a number of bytes, durations as `30s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most connections at a time; a further one waits to be accepted.
    pub max_connections: usize,
    /// The most channels of one connection (RabbitMQ's `channel_max`); one more closes the connection.
    pub max_channels: u16,
    /// The largest frame either side sends (RabbitMQ's `frame_max`); a larger one closes the connection. At least 4KiB.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_frame_bytes: u32,
    /// The largest message body (RabbitMQ's `max_message_size`); a larger one closes its channel.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_message_bytes: usize,
    /// The most bytes of messages that one connection has begun on all its channels and not finished.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_unfinished_bytes: usize,
    /// How deep tables and arrays of a message's headers, or of arguments, may lie in one another. At most 64.
    pub max_table_depth: usize,
    /// The most fields of one table, counting those of the tables and arrays in it.
    pub max_table_fields: usize,
    /// The most consumers of one channel; one more closes the channel.
    pub max_consumers: usize,
    /// The most messages delivered on one channel and not settled, whatever the consumers' prefetch; at it, delivery waits.
    pub max_unacknowledged: usize,
    /// The most publishes of one connection that wait for their confirmation; at it, reading waits.
    pub max_unconfirmed: usize,
    /// A connection's requests are not read while so many bytes of answers wait to be taken by its client. Deliveries wait at
    /// 64KiB already.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_unsent_bytes: usize,
    /// A connection whose bytes come in small pieces one after the other is not woken for each of them but looked at after this
    /// time (to the next millisecond), where that has shown to bring several at once: it costs the gateway and its client less,
    /// and what comes meanwhile waits so long. Quiet connections, and clients that wait for answers, are not touched. Zero
    /// never waits; at most `100ms`.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub read_gather: Duration,
    /// A connection must be open within this time of being accepted.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub handshake_timeout: Duration,
    /// How often each side says that it is alive (RabbitMQ's `heartbeat`), unless the client asks for another time. After
    /// two of them without a word the connection is closed. Zero is never.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub heartbeat: Duration,
    /// A message delivered and not settled for this long closes its channel and is delivered again (RabbitMQ's `consumer_timeout`).
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub consumer_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_channels: 2047,
            max_frame_bytes: 128 << 10,
            max_message_bytes: 16 << 20,
            max_unfinished_bytes: 64 << 20,
            max_table_depth: 32,
            max_table_fields: 10_000,
            max_consumers: 10_000,
            max_unacknowledged: 100_000,
            max_unconfirmed: 100_000,
            max_unsent_bytes: 1 << 20,
            read_gather: Duration::from_micros(200),
            handshake_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(60),
            consumer_timeout: Duration::from_secs(30 * 60),
        }
    }
}
