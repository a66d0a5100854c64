//! Attributes of topics: what the clients of one protocol set on a topic and the store has no use for, kept to be shown to
//! them again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tidegate_engine::{Commit, Engine, TableEntry, Topic, TopicConfig, TopicName};
use uuid::Uuid;

use super::{Action, Broker, Error, Kind, Principal, Resource, Result};

/// Values by name.
pub type Attributes = BTreeMap<String, String>;

/// The engine's table of them: by topic id, as JSON. A topic without any has no entry.
const TABLE: &str = "topic_attributes";

impl Broker {
    /// A topic's attributes. The caller has been given the topic, and so may read it.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] when what was stored cannot be read.
    pub fn attributes(&self, topic: &Topic) -> Result<Attributes> {
        let Some(stored) = self.engine.value(TABLE, &key(topic.id)) else { return Ok(Attributes::new()) };
        serde_json::from_slice(&stored).map_err(|error| {
            Error::new(Kind::Corrupt, format!("the attributes of topic '{}' cannot be read: {error}", topic.name))
        })
    }

    /// Creates a topic with attributes; durable when it returns.
    ///
    /// # Errors
    /// As [`Broker::create_topic`].
    pub async fn create_topic_with(
        &self,
        principal: &Principal,
        name: &str,
        partitions: Option<u32>,
        config: TopicConfig,
        attributes: &Attributes,
    ) -> Result<Arc<Topic>> {
        let (topic, created) = self.start_topic(principal, name, partitions, config)?;
        let set = if attributes.is_empty() { Ok(created) } else { set(&self.engine, topic.id, attributes) };
        match set {
            Ok(commit) => commit.wait().await?,
            Err(error) => {
                // All or nothing: the topic must not stay without what it was to be created with.
                self.delete_topic(principal, name).await?;
                return Err(error);
            }
        }
        Ok(topic)
    }

    /// Replaces a topic's settings and attributes; durable when it returns.
    ///
    /// # Errors
    /// As [`Broker::alter_topic`].
    pub async fn alter_topic_with(
        &self,
        principal: &Principal,
        name: &str,
        config: TopicConfig,
        attributes: &Attributes,
    ) -> Result<Arc<Topic>> {
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        let name = TopicName::new(principal.namespace(), name)?;
        let topic = self.find_topic(principal, name.name())?;
        // First what can be refused for want of room, so that a refusal leaves the topic as it was.
        if self.attributes(&topic)? != *attributes {
            drop(set(&self.engine, topic.id, attributes)?);
        }
        let (topic, commit) = self.engine.alter_topic(&name, config)?;
        commit.wait().await?;
        Ok(topic)
    }

    /// Removes the attributes of topics that are no more.
    pub(super) fn forget_lost_attributes(&self) -> Result<()> {
        let entries = self.engine.table(TABLE);
        if entries.is_empty() {
            return Ok(());
        }
        let ids: HashSet<String> = self.engine.topics().iter().map(|topic| key(topic.id)).collect();
        let lost = entries.into_iter().filter(|(key, _)| !ids.contains(key)).map(|(key, _)| entry(key, None));
        drop(self.engine.put(lost.collect())?);
        Ok(())
    }

    /// Removes the attributes of a topic that has been deleted; none when it had none.
    pub(super) fn forget_attributes(&self, topic: &Topic) -> Result<Option<Commit>> {
        let key = key(topic.id);
        if self.engine.value(TABLE, &key).is_none() {
            return Ok(None);
        }
        Ok(Some(self.engine.put(vec![entry(key, None)])?))
    }
}

fn set(engine: &Engine, topic: Uuid, attributes: &Attributes) -> Result<Commit> {
    let value = serde_json::to_vec(attributes).map_err(|error| Error::new(Kind::Internal, error.to_string()))?;
    let value = (!attributes.is_empty()).then(|| Bytes::from(value));
    Ok(engine.put(vec![entry(key(topic), value)])?)
}

fn key(topic: Uuid) -> String {
    topic.simple().to_string()
}

fn entry(key: String, value: Option<Bytes>) -> TableEntry {
    TableEntry { table: TABLE.to_owned(), key, value }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use tidegate_engine::EngineConfig;
    use tidegate_engine::store::Environment;

    use super::*;
    use crate::broker::Settings;

    fn open(directory: &Path, config: EngineConfig) -> Broker {
        let (engine, _) = Engine::open(config, Environment::local(directory).unwrap()).unwrap();
        Broker::open(engine, Settings::default()).unwrap()
    }

    fn attributes(name: &str) -> Attributes {
        [(name.to_owned(), "1".to_owned())].into()
    }

    #[tokio::test]
    async fn attributes_outlive_a_restart_and_go_with_their_topic() {
        let directory = tempfile::tempdir().unwrap();
        let anyone = Principal::anonymous();
        let (some, other) = (attributes("a"), attributes("b"));
        {
            let broker = open(directory.path(), EngineConfig::default());
            let topic = broker.create_topic_with(&anyone, "t", None, TopicConfig::default(), &some).await.unwrap();
            assert_eq!(broker.attributes(&topic).unwrap(), some);
            broker.alter_topic_with(&anyone, "t", TopicConfig::default(), &other).await.unwrap();
            broker.engine.close().await.unwrap();
        }
        let broker = open(directory.path(), EngineConfig::default());
        let topic = broker.topic_for_read(&anyone, "t").unwrap();
        assert_eq!(broker.attributes(&topic).unwrap(), other);
        broker.delete_topic(&anyone, "t").await.unwrap();
        assert!(broker.engine.table(TABLE).is_empty());
    }

    #[tokio::test]
    async fn attributes_of_lost_topics_are_removed_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        {
            let broker = open(directory.path(), EngineConfig::default());
            set(&broker.engine, Uuid::from_u128(7), &attributes("a")).unwrap().wait().await.unwrap();
            broker.engine.close().await.unwrap();
        }
        assert!(open(directory.path(), EngineConfig::default()).engine.table(TABLE).is_empty());
    }

    #[tokio::test]
    async fn a_topic_whose_attributes_find_no_room_is_not_created() {
        let directory = tempfile::tempdir().unwrap();
        let config = EngineConfig { max_table_entries: 0, ..EngineConfig::default() };
        let broker = open(directory.path(), config);
        let anyone = Principal::anonymous();
        broker.create_topic_with(&anyone, "t", None, TopicConfig::default(), &attributes("a")).await.unwrap_err();
        broker.topic_for_read(&anyone, "t").unwrap_err();
    }
}
