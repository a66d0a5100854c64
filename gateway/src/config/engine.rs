//! The engine's settings under their own names, with units and words for people.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_engine::{Durability, EngineConfig, Retention, TopicConfig};

use crate::units;

/// Limits and housekeeping of the storage engine.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "EngineConfig", default = "EngineConfig::default", deny_unknown_fields)]
pub struct EngineSettings {
    /// Size of one segment file of the commit log.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    segment_bytes: u64,
    /// Recently written batches kept in memory for readers at the tail.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    tail_cache_bytes: usize,
    /// Index blocks of sealed segments kept in memory.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    index_cache_bytes: usize,
    /// Read from the disk before it is asked for, over all consumers that go on where they stopped: what one of them is
    /// expected to ask for next. `0` reads nothing ahead.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    read_ahead_bytes: usize,
    /// The longest the committer waits for more appends to write with one sync, where waiting has paid; `0s` never waits.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    commit_gather: Duration,
    /// What nobody waits for (acknowledgements without an answer; publishes to `memory` topics without one, until somebody
    /// waits to read them) is written after so long, or with the next thing that somebody does: the longest it can be
    /// forgotten in a crash. At most `10s`.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    lazy_commit: Duration,
    /// Appends admitted but not yet written; a further append waits.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pending_bytes: usize,
    /// The most topics; creating one more is refused.
    max_topics: usize,
    /// The most partitions over all topics; creating one more is refused.
    max_partitions: usize,
    /// The most groups; creating one more is refused.
    max_groups: usize,
    /// The most leases outstanding over all groups; a pull past it is refused until some are settled.
    max_leases: usize,
    /// The most idempotency keys remembered; a keyed publish past it is refused.
    max_dedupe_keys: usize,
    /// How long an idempotency key is remembered.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    dedupe_window: Duration,
    /// The most idempotent producers remembered per partition; the longest idle one is forgotten first.
    max_producers_per_partition: usize,
    /// The most records waiting for their delivery time.
    max_scheduled: usize,
    /// The most keys the gateway keeps for itself over all its tables (bindings and the like); one more is refused.
    max_table_entries: usize,
    /// The most bytes a table's key or value may have.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    max_table_value_bytes: usize,
    /// The most bytes one compressed batch may decompress to.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    max_decompressed_bytes: usize,
    /// How often queues, reclaim, timers' durable progress and snapshots are looked after.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    maintenance_interval: Duration,
    /// How often topics are held to their retention by time and by bytes; `0s` does so in every round of maintenance. At most
    /// `1d`. Bytes are looked at whenever a segment of the log is full, too, and both as long as the disk is full.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    retention_interval: Duration,
    /// Bytes per second that reclaim and compaction may rewrite.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    reclaim_bytes_per_second: u64,
    /// The most keys one compaction of a partition holds in memory, about 50 bytes each.
    max_compaction_keys: usize,
    /// A segment is rewritten when less than this share of it, in percent, is alive.
    reclaim_live_percent: u8,
}

/// What a topic is created with when its creator does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicDefaults {
    /// Partitions.
    pub partitions: u32,
    /// When a publish counts as done: `fsync` (on stable storage), `page-cache` (survives the process, not a power cut) or
    /// `memory` (readers see it; no promise beyond that).
    #[schemars(with = "String")]
    pub durability: Durability,
    /// What is kept, and for how long. Whichever limit is reached first removes.
    #[serde(with = "RetentionSettings")]
    #[schemars(with = "RetentionSettings")]
    pub retention: Retention,
    /// The largest batch accepted, as stored.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_message_bytes: u32,
    /// Stamp records with the time of the append instead of the producer's time.
    pub log_append_time: bool,
}

impl Default for TopicDefaults {
    fn default() -> Self {
        let TopicConfig { durability, retention, max_message_bytes, log_append_time } = TopicConfig::default();
        Self { partitions: 1, durability, retention, max_message_bytes, log_append_time }
    }
}

impl TopicDefaults {
    /// The engine's part of it.
    #[must_use]
    pub fn config(&self) -> TopicConfig {
        TopicConfig {
            durability: self.durability,
            retention: self.retention.clone(),
            max_message_bytes: self.max_message_bytes,
            log_append_time: self.log_append_time,
        }
    }
}

/// What a topic keeps.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Retention", default = "Retention::default", deny_unknown_fields)]
pub struct RetentionSettings {
    /// Remove batches whose newest record is older than this; null keeps for ever.
    #[serde(with = "units::optional_duration")]
    #[schemars(with = "Option<String>")]
    time: Option<Duration>,
    /// Remove the oldest batches of a partition while it holds more than this; null is unlimited.
    #[serde(with = "units::size::optional")]
    #[schemars(with = "Option<String>")]
    bytes: Option<u64>,
    /// Remove what every group of the topic has acknowledged (a queue).
    until_acknowledged: bool,
    /// Keep the last value of each key. What `time` and `bytes` remove is removed all the same: both are null in a topic that keeps it for ever.
    compact: bool,
    /// How long compaction keeps a tombstone (a null value) after it was written.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    tombstones: Duration,
}
