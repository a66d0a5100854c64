//! Groups: settings, committed offsets, leases and their settlement, lag.

use std::collections::HashSet;

use tidegate_engine::group::{
    Committed, ConsumerId, Delivery, GroupConfig, GroupInfo, LeaseId, LeaseRequest, OffsetCommit, Settlement,
};
use tidegate_engine::{Commit, GroupName, PartitionId, Watch};

use super::{Action, Broker, Error, Kind, Principal, Resource, Result};

impl Broker {
    pub(super) fn group_name(&self, principal: &Principal, action: Action, name: &str) -> Result<GroupName> {
        self.authorize(principal, action, Resource::Group(name))?;
        Ok(GroupName::new(principal.namespace(), name)?)
    }

    /// The groups of the principal's namespace it may read, by name.
    #[must_use]
    pub fn groups(&self, principal: &Principal) -> Vec<GroupInfo> {
        let mut groups = self.engine.groups();
        groups.retain(|group| {
            group.name.namespace() == principal.namespace()
                && principal.check(Action::Read, Resource::Group(group.name.name())).is_ok()
        });
        groups
    }

    /// A group, if there is one.
    ///
    /// # Errors
    /// [`super::Kind::Forbidden`].
    pub fn group(&self, principal: &Principal, name: &str) -> Result<Option<GroupInfo>> {
        Ok(self.engine.group(&self.group_name(principal, Action::Read, name)?))
    }

    /// Creates a group; durable when it returns.
    ///
    /// # Errors
    /// [`super::Kind::AlreadyExists`], [`super::Kind::Invalid`], [`super::Kind::NotFound`] for a topic, [`super::Kind::Forbidden`].
    pub async fn create_group(&self, principal: &Principal, name: &str, config: GroupConfig) -> Result<()> {
        let name = self.group_name(principal, Action::Configure, name)?;
        self.check_group(principal, &config)?;
        Ok(self.engine.create_group(name, config)?.wait().await?)
    }

    /// Replaces a group's settings; durable when it returns.
    ///
    /// # Errors
    /// As [`Broker::create_group`], and [`super::Kind::NotFound`].
    pub async fn alter_group(&self, principal: &Principal, name: &str, config: GroupConfig) -> Result<()> {
        let name = self.group_name(principal, Action::Configure, name)?;
        self.check_group(principal, &config)?;
        Ok(self.engine.alter_group(&name, config)?.wait().await?)
    }

    /// Settings with which a group would not work are refused. A group reads its topics and writes its dead letters: its
    /// creator must be allowed both.
    fn check_group(&self, principal: &Principal, config: &GroupConfig) -> Result<()> {
        let refuse = |words: String| Err(Error::new(Kind::Invalid, words));
        if config.ack_deadline.is_zero() {
            return refuse("ack_deadline is over at once: give consumers some time".to_owned());
        }
        if config.max_deliveries == Some(0) {
            return refuse("max_deliveries is at least 1: leave it out for no limit".to_owned());
        }
        if config.max_in_flight == 0 {
            return refuse("max_in_flight is at least 1: with 0 nothing would be delivered".to_owned());
        }
        let mut named = HashSet::with_capacity(config.topics.len());
        for topic in &config.topics {
            if !named.insert(topic) {
                return refuse(format!("topics: '{topic}' is named twice"));
            }
            self.topic_for_read(principal, topic.name())?;
        }
        if let Some(topic) = &config.dead_letter {
            if named.contains(topic) {
                return refuse(format!(
                    "dead_letter: the group consumes '{topic}', so its dead letters would come back: name another topic"
                ));
            }
            self.authorize(principal, Action::Write, Resource::Topic(topic.name()))?;
            self.find_topic(principal, topic.name())?;
        }
        Ok(())
    }

    /// Deletes a group and its progress; durable when it returns.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Conflict`] while it has assigned members, [`super::Kind::Forbidden`].
    pub async fn delete_group(&self, principal: &Principal, name: &str) -> Result<()> {
        let name = self.group_name(principal, Action::Configure, name)?;
        Ok(self.engine.delete_group(&name)?.wait().await?)
    }

    /// Marks a group as having assigned members, or no longer. See [`tidegate_engine::Engine::set_assigned`].
    ///
    /// # Errors
    /// [`super::Kind::Conflict`] while it is shared, [`super::Kind::Forbidden`].
    pub fn set_assigned(&self, principal: &Principal, name: &str, assigned: bool) -> Result<()> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.set_assigned(&name, assigned)?)
    }

    /// Commits offsets; durable when it returns.
    ///
    /// # Errors
    /// [`super::Kind::Forbidden`], [`super::Kind::Conflict`] while the group is shared.
    pub async fn commit_offsets(&self, principal: &Principal, name: &str, offsets: Vec<OffsetCommit>) -> Result<()> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.commit_offsets(&name, offsets)?.wait().await?)
    }

    /// Forgets committed offsets of partitions; durable when it returns.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Forbidden`].
    pub async fn delete_offsets(&self, principal: &Principal, name: &str, partitions: &[PartitionId]) -> Result<()> {
        let name = self.group_name(principal, Action::Configure, name)?;
        Ok(self.engine.delete_offsets(&name, partitions)?.wait().await?)
    }

    /// Committed progress by partition; empty for a group that does not exist.
    ///
    /// # Errors
    /// [`super::Kind::Forbidden`].
    pub fn committed(&self, principal: &Principal, name: &str) -> Result<Vec<Committed>> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(if self.engine.group(&name).is_some() { self.engine.committed(&name)? } else { Vec::new() })
    }

    /// Moves a group; durable when it returns.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Conflict`] while it has assigned members, [`super::Kind::Forbidden`].
    pub async fn seek(&self, principal: &Principal, name: &str, positions: &[(PartitionId, u64)]) -> Result<()> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.seek(&name, positions)?.wait().await?)
    }

    /// Checks that a group consumes these topics. One that names none of its own, as Kafka's do not, may consume any.
    ///
    /// # Errors
    /// [`super::Kind::Invalid`] names one that it does not consume.
    pub fn check_consumed<'a>(group: &GroupInfo, topics: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let own = &group.config.topics;
        let is_other = |name: &&str| !own.is_empty() && own.iter().all(|topic| topic.name() != *name);
        match topics.into_iter().find(is_other) {
            Some(other) => Err(Error::new(Kind::Invalid, format!("the group does not consume topic '{other}'"))),
            None => Ok(()),
        }
    }

    /// Whether none of these leases is settled, over or void.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Forbidden`].
    pub fn holds(&self, principal: &Principal, name: &str, leases: &[LeaseId]) -> Result<bool> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.holds(&name, leases)?)
    }

    /// A new consumer of groups, for the leases it will hold.
    #[must_use]
    pub fn new_consumer(&self) -> ConsumerId {
        self.engine.new_consumer()
    }

    /// Leases records; empty when there is none to give.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Conflict`] while it has assigned members, [`super::Kind::Forbidden`].
    pub async fn lease(&self, principal: &Principal, name: &str, request: LeaseRequest) -> Result<Vec<Delivery>> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.lease(&name, request).await?)
    }

    /// Settles leases: a result for each in order; they are durable when the commit is done.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Forbidden`].
    pub fn settle(
        &self,
        principal: &Principal,
        name: &str,
        settlements: Vec<Settlement>,
    ) -> Result<(Vec<Result<()>>, Commit)> {
        let name = self.group_name(principal, Action::Read, name)?;
        let (results, commit) = self.engine.settle(&name, settlements)?;
        Ok((results.into_iter().map(|result| result.map_err(Into::into)).collect(), commit))
    }

    /// Settles leases for a consumer that is told nothing of it; see [`tidegate_engine::Engine::settle_untold`].
    ///
    /// # Errors
    /// As [`Broker::settle`].
    pub fn settle_untold(&self, principal: &Principal, name: &str, settlements: &[Settlement]) -> Result<()> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.settle_untold(&name, settlements).map(drop)?)
    }

    /// Returns every lease of a consumer, uncounted.
    ///
    /// # Errors
    /// [`super::Kind::NotFound`], [`super::Kind::Forbidden`].
    pub fn release_consumer(&self, principal: &Principal, name: &str, consumer: ConsumerId) -> Result<()> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.release_consumer(&name, consumer)?)
    }

    /// Wakes when the group may have records to lease.
    ///
    /// # Errors
    /// [`super::Kind::Forbidden`].
    pub fn watch_group(&self, principal: &Principal, name: &str) -> Result<Watch> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.watch_group(&name))
    }

    /// As [`Broker::watch_group`], for a consumer that was last given leases with this token, 0 for none: who was served
    /// longest ago is woken first.
    ///
    /// # Errors
    /// [`super::Kind::Forbidden`].
    pub fn watch_group_since(&self, principal: &Principal, name: &str, token: u64) -> Result<Watch> {
        let name = self.group_name(principal, Action::Read, name)?;
        Ok(self.engine.watch_group_since(&name, token))
    }
}
