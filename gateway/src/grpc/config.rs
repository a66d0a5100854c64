//! The gRPC listener's settings. Every limit it enforces is named here.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units;

/// Settings and limits of the gRPC listener. Sizes are written as `10MiB` or a number of bytes, durations as `30s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most connections at a time; a further one waits to be accepted.
    pub max_connections: usize,
    /// The most unary calls being answered at a time, waiting pulls included; one more is answered RESOURCE_EXHAUSTED.
    pub max_requests: usize,
    /// The most PublishStream, Consume and Fetch streams at a time; one more is answered RESOURCE_EXHAUSTED.
    pub max_streams: usize,
    /// The most calls and streams one connection may have open; a client queues what is more.
    pub max_streams_per_connection: u32,
    /// The largest message of the protocol, such as one Publish request or one frame of a stream. What it carries is held to
    /// its topic's `max_message_bytes` besides.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_message_bytes: usize,
    /// The most bytes of one call's metadata.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_metadata_bytes: usize,
    /// How much a client may send on one call or stream before it is read (HTTP/2 stream window).
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub stream_window_bytes: usize,
    /// How much a client may send on one connection before it is read (HTTP/2 connection window): what a connection can
    /// make the gateway hold.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub connection_window_bytes: usize,
    /// How much of one stream waits to be sent to a client that does not read.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_send_buffer_bytes: usize,
    /// A connection that has made no call within this time is closed; so is a stream whose first frame has not come.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub handshake_timeout: Duration,
    /// A call that is not answered within this time fails with DEADLINE_EXCEEDED (the time a pull waits comes on top).
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    /// A connection is asked for a sign of life this often, and closed when it gives none.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub keep_alive: Duration,
    /// The most entries in one Publish request or frame of a PublishStream.
    pub max_batch_messages: usize,
    /// The most unanswered entries of one PublishStream.
    pub publish_window_messages: usize,
    /// The most bytes of unanswered entries of one PublishStream.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub publish_window_bytes: usize,
    /// The most messages one pull returns.
    pub max_pull_messages: usize,
    /// The most bytes of messages one pull returns (at least one message is returned).
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_pull_bytes: usize,
    /// The longest a pull waits for messages; a longer wish is cut to it.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub max_wait: Duration,
    /// The most acknowledgement ids in one request or frame.
    pub max_settlements: usize,
    /// The most sessions of Consume, those whose stream broke a moment ago included.
    pub max_sessions: usize,
    /// The most unsettled messages of one session.
    pub max_unsettled: usize,
    /// How long a session keeps its messages after its stream broke; a consumer that comes back in time goes on with them.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub session_grace: Duration,
    /// How long consumers may go on settling once a stop is asked for.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub drain_timeout: Duration,
    /// The most partitions one Fetch follows; of a wider topic a Fetch names one `partition`.
    pub max_fetch_partitions: usize,
    /// The most topics or groups in one page of a list.
    pub max_page: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_requests: 10_000,
            max_streams: 10_000,
            max_streams_per_connection: 256,
            max_message_bytes: 16 << 20,
            max_metadata_bytes: 16 << 10,
            stream_window_bytes: 4 << 20,
            connection_window_bytes: 16 << 20,
            max_send_buffer_bytes: 1 << 20,
            handshake_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(30),
            max_batch_messages: 10_000,
            publish_window_messages: 20_000,
            publish_window_bytes: 16 << 20,
            max_pull_messages: 1_000,
            max_pull_bytes: 16 << 20,
            max_wait: Duration::from_secs(30),
            max_settlements: 10_000,
            max_sessions: 10_000,
            max_unsettled: 10_000,
            session_grace: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            max_fetch_partitions: 256,
            max_page: 1_000,
        }
    }
}
