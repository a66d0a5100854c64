//! The durable engine under Tidegate: topics, partitions, groups, leases, timers and one commit log.
//!
//! The engine knows no wire protocol, no user and no socket. Its storage format is Kafka's record batch v2
//! (<https://kafka.apache.org/documentation/#recordbatch>); everything else here is protocol-neutral.
//!
//! Start at [`Engine::open`]. A publish goes [`Engine::append`] → `shard` → `log`; a delivery goes
//! [`Engine::read`] (by offset) or [`Engine::lease`] (by group).

pub mod batch;
pub mod group;
pub mod header_names;
pub mod store;

mod ahead;
mod blocking;
mod commit;
mod committer;
mod config;
mod consume;
mod counters;
mod dead_letter;
mod dedupe;
mod engine;
mod error;
mod gather;
mod inspect;
mod log;
mod maintain;
mod name;
mod partition;
mod producer;
mod read;
mod read_ahead;
mod reclaim;
mod record;
mod retention;
mod schedule;
mod shard;
mod state;
mod table;
mod topic;
mod types;
mod waiting;

pub use commit::{Commit, Watch};
pub use config::{Durability, EngineConfig, Retention, TopicConfig};
pub use counters::Counters;
pub use engine::Engine;
pub use error::{Error, Result};
pub use inspect::{Damage, Inspection, SegmentInspection, inspect, skip};
pub use name::{GroupName, MAX_NAME_BYTES, PartitionId, TopicName};
pub use table::TableEntry;
pub use topic::Topic;
pub use types::{Appended, Appends, Atomic, DedupeKey, PartitionInfo, Read, Recovery, TimedOffset, Usage, Write};
