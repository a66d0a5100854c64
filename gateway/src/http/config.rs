//! The HTTP listener's settings. Every limit it enforces is named here.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units;

/// Settings and limits of the HTTP listener. Sizes are written as `10MiB` or a number of bytes, durations as `30s`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most connections at a time; a further one waits to be accepted.
    pub max_connections: usize,
    /// The most requests being answered at a time, waiting pulls included; one more is answered 429.
    pub max_requests: usize,
    /// The most event streams at a time; one more is answered 429.
    pub max_streams: usize,
    /// The most requests one HTTP/2 connection may have open.
    pub max_requests_per_connection: u32,
    /// The most bytes of one request's line and headers; at least 8KiB.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_header_bytes: usize,
    /// The most header fields in one request.
    pub max_headers: usize,
    /// The largest request body. A message is held to its topic's `max_message_bytes` besides.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_body_bytes: usize,
    /// A connection is closed that has not sent a whole request head so long after the last response.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub header_timeout: Duration,
    /// A request body must have arrived within this time.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub body_timeout: Duration,
    /// A request that is not answered within this time is answered 503 (the time a pull waits comes on top).
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub request_timeout: Duration,
    /// An HTTP/2 connection is asked for a sign of life this often, and closed when it gives none.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub keep_alive: Duration,
    /// The most messages in one batch.
    pub max_batch_messages: usize,
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
    /// The most acknowledgement ids in one request.
    pub max_settlements: usize,
    /// The most messages one page of a browse returns.
    pub max_browse_messages: usize,
    /// The most stored bytes one page of a browse looks through.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_browse_bytes: usize,
    /// The most topics or groups in one page of a list.
    pub max_page: usize,
    /// The most partitions one topic stream follows; of a wider topic a stream names one `partition`.
    pub max_stream_partitions: usize,
    /// The most unsettled messages one group stream holds.
    pub max_stream_in_flight: usize,
    /// A stream with nothing to say sends a comment this often.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub heartbeat: Duration,
    /// The most pull attempts remembered for repeating.
    pub max_attempts: usize,
    /// The most bytes of responses remembered for repeating; the oldest is forgotten first.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_attempt_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_requests: 10_000,
            max_streams: 1_000,
            max_requests_per_connection: 256,
            max_header_bytes: 64 << 10,
            max_headers: 256,
            max_body_bytes: 16 << 20,
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(30),
            max_batch_messages: 10_000,
            max_pull_messages: 1_000,
            max_pull_bytes: 16 << 20,
            max_wait: Duration::from_secs(30),
            max_settlements: 10_000,
            max_browse_messages: 1_000,
            max_browse_bytes: 16 << 20,
            max_page: 1_000,
            max_stream_partitions: 256,
            max_stream_in_flight: 10_000,
            heartbeat: Duration::from_secs(15),
            max_attempts: 10_000,
            max_attempt_bytes: 64 << 20,
        }
    }
}
