//! The admin listener's settings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Settings and limits of the admin listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The most connections at a time; a further one waits to be accepted.
    pub max_connections: usize,
    /// /metrics shows the partitions of topics, and of groups on them, up to so many series each, in the order of their
    /// names; totals always count all.
    pub metrics_partitions: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_connections: 64, metrics_partitions: 10_000 }
    }
}
