//! Configuration: one YAML file, environment variables over it, flags over both.
//!
//! [`Sources`] are merged into a [`tree`], the tree is checked whole, and only a tree without a mistake becomes a
//! [`Config`].

mod check;
mod engine;
mod listen;
mod listeners;
mod load;
mod reference;
mod reload;
pub mod tree;

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_engine::EngineConfig;

use crate::units;

pub use engine::{EngineSettings, RetentionSettings, TopicDefaults};
pub use listen::{Listen, Section};
pub use listeners::{Absent, Listeners, NAMES};
pub use load::{Flag, Mistake, Mistakes, Sources};
pub use reference::{example, reference, schema};
pub use reload::{Change, LIVE, changes};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of the log and all state. Created when missing; one process at a time.
    pub data_dir: PathBuf,
    /// Whether the log is written and read past the kernel's page cache where that pays and the file system can. A sync and a
    /// read from the disk take about half of the processor's time that way, or less. Without it the kernel keeps what was
    /// written lately in memory that is free, for consumers further behind than `engine.tail_cache_bytes`: worth it where the
    /// disk is slow.
    pub direct_io: bool,
    /// Where clients connect.
    pub listeners: Listeners,
    /// Whether publishing to an unknown topic creates it; over Kafka, asking for its metadata does, and producing alone does not.
    pub auto_create_topics: bool,
    /// What things are created with when their creator does not say.
    pub defaults: Defaults,
    /// Threads that run the connections of Kafka, AMQP and HTTP, each connection on one of them; 0 is one for each core. (gRPC,
    /// whose connections are many tasks each, shares the runtime's threads.)
    pub connection_threads: usize,
    /// Limits and housekeeping of the storage engine.
    #[serde(with = "EngineSettings")]
    #[schemars(with = "EngineSettings")]
    pub engine: EngineConfig,
    /// What is logged, on standard error.
    pub log: Log,
    /// How long connections may take to finish what they have begun once a stop is asked for.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub shutdown_deadline: Duration,
    /// How often the configuration file is looked at for changes; `SIGHUP` looks at once.
    #[serde(with = "units::duration")]
    #[schemars(with = "String")]
    pub reload_interval: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "tidegate-data".into(),
            direct_io: true,
            listeners: Listeners::default(),
            auto_create_topics: true,
            defaults: Defaults::default(),
            connection_threads: 0,
            engine: EngineConfig::default(),
            log: Log::default(),
            shutdown_deadline: Duration::from_secs(30),
            reload_interval: Duration::from_secs(2),
        }
    }
}

/// What things are created with when their creator does not say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// A new topic.
    pub topic: TopicDefaults,
    /// A new queue's topic; what is not said here is as for any topic.
    pub queue: QueueDefaults,
}

/// What a queue's topic is created with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueueDefaults {
    /// The largest batch accepted, as stored.
    #[serde(with = "units::size")]
    #[schemars(with = "String")]
    pub max_message_bytes: u32,
}

impl Default for QueueDefaults {
    fn default() -> Self {
        Self { max_message_bytes: 17 << 20 }
    }
}

/// What is logged, on standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `human` or `json` (one object a line).
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`; for parts of the program: `info,tidegate::kafka=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Human, level: "info".into() }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Human,
    /// One JSON object a line.
    Json,
}
