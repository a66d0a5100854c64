//! Topics: find, create, delete, alter, grow.

use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::{Commit, Error as EngineError, PartitionId, Topic, TopicConfig, TopicName};
use uuid::Uuid;

use super::{Action, Broker, Error, Kind, Principal, Resource, Result};

impl Broker {
    /// The topics of the principal's namespace it may read, by name.
    #[must_use]
    pub fn topics(&self, principal: &Principal) -> Vec<Arc<Topic>> {
        let mut topics = self.engine.topics();
        topics.retain(|topic| {
            topic.name.namespace() == principal.namespace()
                && principal.check(Action::Read, Resource::Topic(topic.name.name())).is_ok()
        });
        topics
    }

    /// A topic by id, if it is in the principal's namespace.
    #[must_use]
    pub fn topic_by_id(&self, principal: &Principal, id: Uuid) -> Option<Arc<Topic>> {
        self.engine.topic_by_id(id).filter(|topic| topic.name.namespace() == principal.namespace())
    }

    /// Creates a topic; durable when it returns.
    ///
    /// # Errors
    /// [`Kind::AlreadyExists`], [`Kind::Invalid`], [`Kind::Forbidden`].
    pub async fn create_topic(
        &self,
        principal: &Principal,
        name: &str,
        partitions: Option<u32>,
        config: TopicConfig,
    ) -> Result<Arc<Topic>> {
        let (topic, commit) = self.start_topic(principal, name, partitions, config)?;
        commit.wait().await?;
        Ok(topic)
    }

    /// Creates a topic, durable when the commit is done.
    pub(super) fn start_topic(
        &self,
        principal: &Principal,
        name: &str,
        partitions: Option<u32>,
        config: TopicConfig,
    ) -> Result<(Arc<Topic>, Commit)> {
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        let name = TopicName::new(principal.namespace(), name)?;
        let partitions = partitions.unwrap_or_else(|| self.settings().partitions.max(1));
        let created = self.engine.create_topic(name, partitions, config)?;
        self.routing.has_changed();
        self.welcome_dead_letters(principal.namespace(), created.0.name.name())?;
        Ok(created)
    }

    /// Deletes a topic, and what it is as a queue; durable when it returns.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Forbidden`], [`Kind::Conflict`] for a queue with assigned members.
    pub async fn delete_topic(&self, principal: &Principal, name: &str) -> Result<()> {
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        let topic = self.find_topic(principal, name)?;
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            if topology.queues.contains_key(name) {
                self.remove_queue(principal.namespace(), topology, name)?
            } else {
                let commit = self.engine.delete_topic(&TopicName::new(principal.namespace(), name)?)?;
                self.connect_dead_letters(principal.namespace(), topology, name)?;
                self.routing.has_changed();
                commit
            }
        };
        Ok(self.forget_attributes(&topic)?.unwrap_or(commit).wait().await?)
    }

    /// Replaces a topic's settings; durable when it returns.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Invalid`], [`Kind::Forbidden`].
    pub async fn alter_topic(&self, principal: &Principal, name: &str, config: TopicConfig) -> Result<Arc<Topic>> {
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        let (topic, commit) = self.engine.alter_topic(&TopicName::new(principal.namespace(), name)?, config)?;
        commit.wait().await?;
        Ok(topic)
    }

    /// Adds partitions; durable when it returns.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Invalid`] when there are as many already, [`Kind::Forbidden`].
    pub async fn grow_topic(&self, principal: &Principal, name: &str, partitions: u32) -> Result<Arc<Topic>> {
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        let (topic, commit) = self.engine.grow_topic(&TopicName::new(principal.namespace(), name)?, partitions)?;
        self.routing.has_changed();
        commit.wait().await?;
        Ok(topic)
    }

    /// Removes every record of a topic's partition below `offset` (the high watermark if none); durable when it returns.
    /// Returns the first offset kept.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::OutOfRange`], [`Kind::Forbidden`].
    pub async fn delete_records(
        &self,
        principal: &Principal,
        topic: &str,
        partition: PartitionId,
        offset: Option<u64>,
    ) -> Result<u64> {
        self.authorize(principal, Action::Configure, Resource::Topic(topic))?;
        let (log_start, commit) = self.engine.delete_records(partition, offset)?;
        commit.wait().await?;
        Ok(log_start)
    }

    /// How often topics are held to their limits of time and bytes.
    #[must_use]
    pub fn retention_interval(&self) -> Duration {
        self.engine.config().retention_interval
    }

    pub(super) fn find_topic(&self, principal: &Principal, name: &str) -> Result<Arc<Topic>> {
        self.engine
            .topic(principal.namespace(), name)
            .ok_or_else(|| Error::new(Kind::NotFound, format!("topic '{name}' does not exist: create it first")))
    }

    pub(super) async fn topic_or_create(&self, principal: &Principal, name: &str) -> Result<Arc<Topic>> {
        if let Some(topic) = self.engine.topic(principal.namespace(), name) {
            return Ok(topic);
        }
        let settings = self.settings();
        if !settings.auto_create_topics {
            return self.find_topic(principal, name);
        }
        let key = TopicName::new(principal.namespace(), name)?;
        match self.engine.create_topic(key, settings.partitions.max(1), settings.topic.clone()) {
            Ok((topic, commit)) => {
                self.routing.has_changed();
                self.welcome_dead_letters(principal.namespace(), name)?;
                commit.wait().await?;
                Ok(topic)
            }
            Err(EngineError::TopicExists(_)) => self.find_topic(principal, name),
            Err(error) => Err(error.into()),
        }
    }
}
