//! The Kafka listener's settings. Names follow Kafka's own broker settings where there is one.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings and limits of the Kafka listener. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `host:port` that clients are told to connect to. Without it, the address each client connected to.
    pub advertised: Option<String>,
    /// The id under which this node is told to clients.
    pub node_id: i32,
    /// The cluster id told to clients: the installation's own, not a setting.
    #[serde(skip)]
    pub cluster_id: String,
    /// The most connections at a time; a further one waits to be accepted.
    pub max_connections: usize,
    /// The largest request accepted (Kafka's `socket.request.max.bytes`); a larger one closes its connection.
    #[serde(with = "crate::units::size")]
    #[schemars(with = "String")]
    pub max_request_bytes: usize,
    /// The most array elements in one request, over all its arrays; more close its connection.
    pub max_request_elements: usize,
    /// The most requests of one connection that wait for their responses; reading stops at it.
    pub max_in_flight_requests: usize,
    /// The most bytes of requests and responses that one connection has in flight; reading stops at it.
    #[serde(with = "crate::units::size")]
    #[schemars(with = "String")]
    pub max_in_flight_bytes: usize,
    /// The most bytes of records in one fetch response, whatever the client asks for (Kafka's `fetch.max.bytes`).
    #[serde(with = "crate::units::size")]
    #[schemars(with = "String")]
    pub max_fetch_bytes: usize,
    /// A connection that has not sent a whole request within this time is closed; so is one that lets a request trickle in more slowly.
    #[serde(with = "crate::units::duration")]
    #[schemars(with = "String")]
    pub handshake_timeout: Duration,
    /// A connection without a request for this long is closed (Kafka's `connections.max.idle.ms`).
    #[serde(with = "crate::units::duration")]
    #[schemars(with = "String")]
    pub idle_timeout: Duration,
    /// The most members of one group, those that have only been given an id included (Kafka's `group.max.size`).
    pub max_group_members: usize,
    /// The most groups with members.
    pub max_groups: usize,
    /// The most bytes of subscriptions and assignments that one group's members hold together.
    #[serde(with = "crate::units::size")]
    #[schemars(with = "String")]
    pub max_group_metadata_bytes: usize,
    /// The shortest session timeout a member may ask for (Kafka's `group.min.session.timeout.ms`).
    #[serde(with = "crate::units::duration")]
    #[schemars(with = "String")]
    pub min_session_timeout: Duration,
    /// The longest session timeout a member may ask for (Kafka's `group.max.session.timeout.ms`).
    #[serde(with = "crate::units::duration")]
    #[schemars(with = "String")]
    pub max_session_timeout: Duration,
    /// How long the first rebalance of an empty group waits for more members (Kafka's `group.initial.rebalance.delay.ms`).
    #[serde(with = "crate::units::duration")]
    #[schemars(with = "String")]
    pub initial_rebalance_delay: Duration,
    /// The longest note kept with a committed offset (Kafka's `offset.metadata.max.bytes`).
    #[serde(with = "crate::units::size")]
    #[schemars(with = "String")]
    pub max_offset_metadata_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            advertised: None,
            node_id: 0,
            cluster_id: "tidegate".to_owned(),
            max_connections: 10_000,
            max_request_bytes: 100 << 20,
            max_request_elements: 200_000,
            max_in_flight_requests: 64,
            max_in_flight_bytes: 128 << 20,
            max_fetch_bytes: 55 << 20,
            handshake_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(600),
            max_group_members: 1_000,
            max_groups: 100_000,
            max_group_metadata_bytes: 16 << 20,
            min_session_timeout: Duration::from_secs(6),
            max_session_timeout: Duration::from_secs(1800),
            initial_rebalance_delay: Duration::from_millis(250),
            max_offset_metadata_bytes: 4096,
        }
    }
}
