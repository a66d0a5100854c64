//! What a client may ask for, in no protocol's words. Permission is checked here and only here.

mod ack_id;
mod attributes;
mod draft;
mod error;
mod exchanges;
mod gathering;
mod groups;
mod header_type;
mod lag;
mod partitioner;
mod places;
mod principal;
mod properties;
mod queues;
mod records;
mod topics;
mod topology;

use std::sync::Arc;

use arc_swap::ArcSwap;
use exchanges::Routing;
use tidegate_engine::{
    Appended, Appends, Atomic, Commit, Engine, PartitionId, PartitionInfo, Read, TimedOffset, Topic, TopicConfig,
    Watch, Write,
};

pub use ack_id::AckKey;
pub use attributes::Attributes;
pub use draft::{Draft, dedupe_key, first_u64};
pub use error::{Error, Kind, Result};
pub use exchanges::Route;
pub use gathering::{Gathering, Group, stored_timestamp_ms};
pub use header_type::{
    HeaderType, NestedVisitor, Types, parse_decimal, read_header_types, typed_headers, visit_nested, write_header_types,
};
pub use lag::{GroupLag, PartitionLag};
pub use partitioner::{Partitioner, murmur2};
pub use places::{Anchor, Place};
pub use principal::{Action, Principal, Resource};
pub use properties::property;
pub use queues::{Attachment, QueueInfo};
pub use records::{Page, ReadLimit};
pub use topology::{ExchangeKind, ExchangeSpec, OwnerId, QueueSpec};

/// The one door to the engine. Clones share it.
#[derive(Clone)]
pub struct Broker {
    engine: Engine,
    settings: Arc<ArcSwap<Settings>>,
    partitioner: Arc<Partitioner>,
    routing: Arc<Routing>,
}

/// The broker's own settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What a topic is created with when its creator does not say.
    pub topic: TopicConfig,
    /// How many partitions then.
    pub partitions: u32,
    /// Whether a publish to, or metadata request for, an unknown topic creates it.
    pub auto_create_topics: bool,
    /// The largest batch a queue's topic takes, in bytes as stored.
    pub max_queue_message_bytes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            topic: TopicConfig::default(),
            partitions: 1,
            auto_create_topics: false,
            max_queue_message_bytes: 17 << 20,
        }
    }
}

impl Broker {
    /// A broker in front of `engine`: finds exchanges, queues and bindings again, and removes the queues that do not
    /// outlive a restart.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what was stored about them cannot be read, or why nothing can be written.
    pub fn open(engine: Engine, settings: Settings) -> Result<Self> {
        let routing = Arc::new(Routing::new(topology::load(&engine)?));
        let settings = Arc::new(ArcSwap::from_pointee(settings));
        let this = Self { engine, settings, partitioner: Arc::default(), routing };
        this.remove_transient_queues()?;
        this.forget_lost_attributes()?;
        Ok(this)
    }

    /// The settings in effect.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Puts other settings into effect, for what is created from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// Checks that the principal may do this.
    ///
    /// # Errors
    /// [`Kind::Forbidden`].
    pub fn authorize(&self, principal: &Principal, action: Action, resource: Resource<'_>) -> Result<()> {
        principal.check(action, resource)
    }

    /// Appends batches, each on its own, to a topic's partitions. The caller has resolved (and authorized) them with
    /// [`Broker::topic_for_write`].
    pub async fn publish(&self, writes: Vec<Write>) -> Appends {
        self.engine.append(writes).await
    }

    /// Appends batches for a publisher that is told nothing of it but a refusal; see
    /// [`tidegate_engine::Engine::append_untold`].
    pub async fn publish_untold(&self, writes: Vec<Write>) -> Vec<tidegate_engine::Result<Appended>> {
        self.engine.append_untold(writes).await
    }

    /// Appends all or nothing.
    ///
    /// # Errors
    /// The first reason why not.
    pub async fn publish_atomic(&self, atomic: Atomic) -> Result<(Vec<Appended>, Commit)> {
        Ok(self.engine.append_atomic(atomic).await?)
    }

    /// Waits until everything published and settled before is on stable storage and can be read.
    ///
    /// # Errors
    /// [`Kind::Unavailable`].
    pub async fn sync(&self) -> Result<()> {
        Ok(self.engine.sync()?.wait().await?)
    }

    /// A topic the principal may write to, created if settings say so.
    ///
    /// # Errors
    /// [`Kind::Forbidden`], [`Kind::NotFound`], [`Kind::Invalid`].
    pub async fn topic_for_write(&self, principal: &Principal, name: &str) -> Result<Arc<Topic>> {
        self.authorize(principal, Action::Write, Resource::Topic(name))?;
        self.topic_or_create(principal, name).await
    }

    /// A topic the principal may write to, as it is: not created when it does not exist.
    ///
    /// # Errors
    /// [`Kind::Forbidden`], [`Kind::NotFound`].
    pub fn topic_to_write(&self, principal: &Principal, name: &str) -> Result<Arc<Topic>> {
        self.authorize(principal, Action::Write, Resource::Topic(name))?;
        self.find_topic(principal, name)
    }

    /// A topic the principal may read.
    ///
    /// # Errors
    /// [`Kind::Forbidden`], [`Kind::NotFound`].
    pub fn topic_for_read(&self, principal: &Principal, name: &str) -> Result<Arc<Topic>> {
        self.authorize(principal, Action::Read, Resource::Topic(name))?;
        self.find_topic(principal, name)
    }

    /// Where a record goes: by key as Kafka's default partitioner does, without one round robin.
    #[must_use]
    pub fn place(&self, topic: &Topic, key: Option<&[u8]>) -> Place {
        self.partitioner.place(topic, key)
    }

    /// Stored batches. The caller has authorized with [`Broker::topic_for_read`].
    ///
    /// # Errors
    /// [`Kind::OutOfRange`], [`Kind::NotFound`], [`Kind::Corrupt`].
    pub async fn read(&self, partition: PartitionId, offset: u64, max_bytes: usize) -> Result<Read> {
        Ok(self.engine.read(partition, offset, max_bytes).await?)
    }

    /// A partition's bounds.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn partition(&self, partition: PartitionId) -> Result<PartitionInfo> {
        Ok(self.engine.partition(partition)?)
    }

    /// The first record at or after a time.
    ///
    /// # Errors
    /// As [`Broker::read`].
    pub async fn offset_for_time(&self, partition: PartitionId, timestamp_ms: i64) -> Result<Option<TimedOffset>> {
        Ok(self.engine.offset_for_time(partition, timestamp_ms).await?)
    }

    /// The record with the largest timestamp.
    ///
    /// # Errors
    /// As [`Broker::read`].
    pub async fn offset_of_max_timestamp(&self, partition: PartitionId) -> Result<Option<TimedOffset>> {
        Ok(self.engine.offset_of_max_timestamp(partition).await?)
    }

    /// Wakes when there is something to read; see [`Engine::watch`].
    #[must_use]
    pub fn watch(&self, positions: &[(PartitionId, u64)]) -> Watch {
        self.engine.watch(positions)
    }

    /// A producer id nobody had before.
    ///
    /// # Errors
    /// [`Kind::Unavailable`].
    pub async fn allocate_producer_id(&self) -> Result<i64> {
        Ok(self.engine.allocate_producer_id().await?)
    }

    /// The engine, for the admin listener's counters and for shutting down; listeners use the broker.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}
