//! Settings of the engine and of a topic. Every limit the engine enforces is named here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// When an append counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Where readers see it. Nothing is promised beyond that, not even that it survives the process.
    Memory,
    /// Written to the operating system. Survives the process, not a power cut.
    PageCache,
    /// On stable storage (`fdatasync`). Survives a power cut.
    #[default]
    Fsync,
}

/// What a topic keeps, and for how long. Limits combine: whichever is reached first removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Remove batches whose newest record is older than this. `None` keeps for ever.
    pub time: Option<Duration>,
    /// Remove the oldest batches of a partition while it holds more bytes than this. `None` is unlimited.
    pub bytes: Option<u64>,
    /// Remove what every group of the topic has acknowledged (a queue).
    pub until_acknowledged: bool,
    /// Keep the last value of each key; a tombstone (null value) is kept for `tombstones`. What `time` and `bytes` remove is
    /// removed all the same.
    pub compact: bool,
    /// How long compaction keeps a tombstone after it was written.
    pub tombstones: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            time: Some(Duration::from_secs(7 * 24 * 3600)),
            bytes: None,
            until_acknowledged: false,
            compact: false,
            tombstones: Duration::from_secs(24 * 3600),
        }
    }
}

impl Retention {
    /// The same with `compact` switched on or off, if it is to be. Switched on it takes the limits away: who wants the last value
    /// of each key, and says no more, does not want it removed for its age or for its size.
    #[must_use]
    pub fn compacting(&self, compact: Option<bool>) -> Self {
        let compact = compact.unwrap_or(self.compact);
        match compact && !self.compact {
            true => Self { compact, time: None, bytes: None, ..self.clone() },
            false => Self { compact, ..self.clone() },
        }
    }
}

/// What a topic is created with and can be altered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicConfig {
    /// When an append to the topic counts as done.
    pub durability: Durability,
    /// What the topic keeps.
    pub retention: Retention,
    /// The largest batch accepted, in bytes as stored.
    pub max_message_bytes: u32,
    /// Stamp records with the time of the append instead of the producer's time.
    pub log_append_time: bool,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            retention: Retention::default(),
            max_message_bytes: 1_048_588,
            log_append_time: false,
        }
    }
}

/// Settings and limits of one engine. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Size of one segment file of the commit log.
    pub segment_bytes: u64,
    /// Recently written batches kept in memory for readers at the tail.
    pub tail_cache_bytes: usize,
    /// Index blocks of sealed segments kept in memory.
    pub index_cache_bytes: usize,
    /// Read from the store before it is asked for, over all readers that go on where they stopped; zero reads nothing ahead.
    pub read_ahead_bytes: usize,
    /// The longest the committer waits for more appends to write with one sync, where waiting has paid; zero never waits.
    pub commit_gather: Duration,
    /// What nobody waits for (acknowledgements without an answer; publishes to `memory` topics without one, until somebody
    /// waits to read them) is written after so long, or with the next thing that somebody does: the longest it can be
    /// forgotten in a crash. At most 10 seconds.
    pub lazy_commit: Duration,
    /// Appends admitted but not yet written; a further append waits.
    pub pending_bytes: usize,
    /// The most topics the engine keeps.
    pub max_topics: usize,
    /// The most partitions the engine keeps.
    pub max_partitions: usize,
    /// The most groups the engine keeps.
    pub max_groups: usize,
    /// The most leases outstanding over all groups.
    pub max_leases: usize,
    /// The most idempotency keys remembered; a keyed append past it is refused.
    pub max_dedupe_keys: usize,
    /// How long an idempotency key is remembered.
    pub dedupe_window: Duration,
    /// The most idempotent producers remembered per partition; the longest idle one is forgotten first.
    pub max_producers_per_partition: usize,
    /// The most records waiting for their delivery time.
    pub max_scheduled: usize,
    /// The most keys over all tables; putting one more is refused.
    pub max_table_entries: usize,
    /// The most bytes a table's key or value may have.
    pub max_table_value_bytes: usize,
    /// The most bytes one batch may decompress to.
    pub max_decompressed_bytes: usize,
    /// How often queues, reclaim, timers' durable progress and snapshots are looked after.
    pub maintenance_interval: Duration,
    /// How often topics are held to their retention by time and by bytes; zero does so in every round of maintenance. At most one
    /// day. Bytes are looked at whenever a segment of the log is full, too, and both as long as the disk is full.
    pub retention_interval: Duration,
    /// Bytes per second that reclaim and compaction may rewrite.
    pub reclaim_bytes_per_second: u64,
    /// The most keys one compaction of a partition holds in memory (about 50 bytes each).
    pub max_compaction_keys: usize,
    /// A segment is rewritten when less than this share of it (in percent) is alive.
    pub reclaim_live_percent: u8,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 128 << 20,
            tail_cache_bytes: 32 << 20,
            index_cache_bytes: 16 << 20,
            read_ahead_bytes: 16 << 20,
            commit_gather: Duration::from_millis(1),
            lazy_commit: Duration::from_millis(5),
            pending_bytes: 64 << 20,
            max_topics: 100_000,
            max_partitions: 200_000,
            max_groups: 100_000,
            max_leases: 1_000_000,
            max_dedupe_keys: 1_000_000,
            dedupe_window: Duration::from_secs(24 * 3600),
            max_producers_per_partition: 10_000,
            max_scheduled: 2_000_000,
            max_table_entries: 1_000_000,
            max_table_value_bytes: 64 << 10,
            max_decompressed_bytes: 64 << 20,
            maintenance_interval: Duration::from_secs(1),
            retention_interval: Duration::from_secs(300),
            reclaim_bytes_per_second: 32 << 20,
            max_compaction_keys: 5_000_000,
            reclaim_live_percent: 50,
        }
    }
}
