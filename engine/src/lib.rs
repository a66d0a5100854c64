//! The durable engine under Tidegate: topics, partitions, groups, leases, timers and one commit log.
//!
//! The engine knows no wire protocol, no user and no socket. Its storage format is Kafka's record batch v2
//! (<https://kafka.apache.org/documentation/#recordbatch>); everything else here is protocol-neutral.
//!
//! Start at [`Engine::open`]. A publish goes [`Engine::append`] → `shard` → `log`; a delivery goes
//! [`Engine::read`] (by offset) or [`Engine::lease`] (by group).

pub mod batch;
pub mod group;
pub mod store;

mod config;
mod engine;
mod error;
mod name;
mod topic;

pub use config::{Durability, EngineConfig, Retention, TopicConfig};
pub use engine::{
    Appended, Appends, Atomic, Commit, DedupeKey, Engine, PartitionInfo, Read, Recovery, TimedOffset, Watch, Write,
};
pub use error::{Error, Result};
pub use name::{GroupName, PartitionId, TopicName};
pub use topic::Topic;
