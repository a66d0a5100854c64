//! Queues: a topic with one partition that keeps what is not acknowledged, a group of the same name, and how both came about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use tidegate_engine::group::GroupConfig;
use tidegate_engine::{Commit, Durability, GroupName, Retention, TopicConfig, TopicName};
use tokio_util::sync::CancellationToken;

use super::exchanges::{check_new_name, unbound_entries, wait};
use super::topology::{OwnerId, Queue, QueueSpec, Topology, queue_entry};
use super::{Action, Broker, Error, Kind, Principal, Resource, Result};

/// A queue at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: Arc<str>,
    /// Messages ready to be delivered: not acknowledged, not with a consumer.
    pub messages: u64,
    /// Consumers attached with [`Broker::attach`].
    pub consumers: usize,
}

/// A consumer's place at a queue. Dropping it gives the place up; the last one to leave a queue that goes with its
/// consumers deletes it.
pub struct Attachment {
    broker: Broker,
    namespace: Arc<str>,
    queue: Arc<str>,
    gone: CancellationToken,
    /// How many consumers the queue has, this one among them.
    company: Arc<AtomicUsize>,
    exclusive: bool,
    counts_returns: bool,
}

impl Broker {
    /// A new owner of exclusive queues.
    #[must_use]
    pub fn new_owner(&self) -> OwnerId {
        self.routing.next_owner()
    }

    /// Declares a queue; durable when it returns. Declaring it again in the same way does nothing. A topic of that name
    /// becomes the queue's; an empty name is replaced by a new one.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it is there and different, [`Kind::Locked`] when it is another connection's,
    /// [`Kind::Invalid`], [`Kind::Forbidden`].
    pub async fn declare_queue(
        &self,
        principal: &Principal,
        name: &str,
        spec: QueueSpec,
        owner: OwnerId,
    ) -> Result<QueueInfo> {
        if name.is_empty() {
            return self.declare_new_queue(principal, "amq.gen-", spec, owner).await;
        }
        check_new_name("queue", name)?;
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        if let Some(topic) = &spec.dead_letter {
            self.authorize(principal, Action::Write, Resource::Topic(topic))?;
        }
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            match topology.queues.get(name) {
                Some(queue) => {
                    queue.check_owner(name, owner)?;
                    check_queue(name, &queue.spec, &spec)?;
                    None
                }
                None => Some(self.create_queue(principal.namespace(), topology, name, spec, owner)?),
            }
        };
        wait(commit).await?;
        self.queue(principal, name, owner)
    }

    /// Declares a queue under a name that nobody can guess, which begins with `prefix`; durable when it returns.
    ///
    /// # Errors
    /// [`Kind::Invalid`], [`Kind::Forbidden`].
    pub async fn declare_new_queue(
        &self,
        principal: &Principal,
        prefix: &str,
        spec: QueueSpec,
        owner: OwnerId,
    ) -> Result<QueueInfo> {
        let name = format!("{prefix}{}", BASE64_URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes()));
        self.authorize(principal, Action::Configure, Resource::Topic(&name))?;
        if let Some(topic) = &spec.dead_letter {
            self.authorize(principal, Action::Write, Resource::Topic(topic))?;
        }
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            self.create_queue(principal.namespace(), topology, &name, spec, owner)?
        };
        commit.wait().await?;
        self.queue(principal, &name, owner)
    }

    fn create_queue(
        &self,
        namespace: &str,
        topology: &mut Topology,
        name: &str,
        spec: QueueSpec,
        owner: OwnerId,
    ) -> Result<Commit> {
        let topic = TopicName::new(namespace, name)?;
        let exists = self.engine.topic(namespace, name).is_some();
        if exists && (spec.exclusive || spec.auto_delete || !spec.durable) {
            return Err(Error::new(
                Kind::Conflict,
                format!("'{name}' is a topic already: declare it durable, not exclusive, not auto-delete"),
            ));
        }
        if !exists {
            drop(self.engine.create_topic(topic.clone(), 1, self.queue_topic(&spec))?);
        }
        self.set_queue_group(GroupName::new(namespace, name)?, topic, &spec)?;
        let commit = self.engine.put(vec![queue_entry(namespace, name, Some(&spec))?])?;
        topology.add_queue(name, spec.clone(), spec.exclusive.then_some(owner));
        if !exists {
            self.connect_dead_letters(namespace, topology, name)?;
        }
        self.routing.has_changed();
        Ok(commit)
    }

    /// Queues may name a queue for their dead letters that is not there yet, or not any more: as long as it is not, what
    /// they give up is dropped. To be called when `target` has come or gone.
    pub(super) fn connect_dead_letters(&self, namespace: &str, topology: &Topology, target: &str) -> Result<()> {
        let there = self.engine.topic(namespace, target).map(|topic| topic.name.clone());
        for queue in topology.dead_lettering_to(target) {
            let group = GroupName::new(namespace, queue)?;
            if let Some(found) = self.engine.group(&group)
                && found.config.dead_letter != there
            {
                drop(self.engine.alter_group(&group, GroupConfig { dead_letter: there.clone(), ..found.config })?);
            }
        }
        Ok(())
    }

    /// A topic has been created that some queue may wait for.
    pub(super) fn welcome_dead_letters(&self, namespace: &str, target: &str) -> Result<()> {
        let is_waited_for =
            self.routing.look(namespace, |topology| topology.dead_lettering_to(target).next().is_some());
        if !is_waited_for {
            return Ok(());
        }
        let mut all = self.routing.write();
        self.connect_dead_letters(namespace, all.entry(namespace.into()).or_default(), target)
    }

    /// What a queue's topic is created with.
    fn queue_topic(&self, spec: &QueueSpec) -> TopicConfig {
        let settings = self.settings();
        let survives = spec.durable && !spec.exclusive;
        TopicConfig {
            durability: if survives { settings.topic.durability } else { Durability::Memory },
            retention: Retention { time: None, bytes: None, until_acknowledged: true, ..Retention::default() },
            max_message_bytes: settings.max_queue_message_bytes,
            log_append_time: false,
        }
    }

    fn set_queue_group(&self, name: GroupName, topic: TopicName, spec: &QueueSpec) -> Result<()> {
        match self.engine.group(&name) {
            None => {
                let dead_letter = spec.dead_letter.as_deref();
                let dead_letter = dead_letter.and_then(|target| self.engine.topic(name.namespace(), target));
                let dead_letter = dead_letter.map(|target| target.name.clone());
                let config = GroupConfig {
                    topics: vec![topic],
                    max_deliveries: spec.max_deliveries,
                    dead_letter,
                    max_in_flight: u32::MAX,
                    ..GroupConfig::default()
                };
                drop(self.engine.create_group(name, config)?);
            }
            Some(group) if !group.config.topics.contains(&topic) => {
                let mut config = group.config;
                config.topics.push(topic);
                drop(self.engine.alter_group(&name, config)?);
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Makes a topic that was never declared as a queue into one; nothing if it is one.
    pub(super) async fn adopt_queue(&self, principal: &Principal, name: &str) -> Result<()> {
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            if topology.queues.contains_key(name) {
                return Ok(());
            }
            if self.engine.topic(principal.namespace(), name).is_none() {
                return Err(unknown_queue(name));
            }
            let owner = self.new_owner();
            self.create_queue(principal.namespace(), topology, name, QueueSpec::default(), owner)?
        };
        Ok(commit.wait().await?)
    }

    /// A queue's counts.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Locked`] when it is another connection's, [`Kind::Forbidden`].
    pub fn queue(&self, principal: &Principal, name: &str, owner: OwnerId) -> Result<QueueInfo> {
        self.authorize(principal, Action::Read, Resource::Topic(name))?;
        let consumers = self.routing.look(principal.namespace(), |topology| match topology.queues.get(name) {
            Some(queue) => queue.check_owner(name, owner).map(|()| queue.consumers()),
            // A topic nobody declared as a queue yet.
            None if self.engine.topic(principal.namespace(), name).is_some() => Ok(0),
            None => Err(unknown_queue(name)),
        })?;
        Ok(QueueInfo { name: name.into(), messages: self.ready(principal.namespace(), name)?, consumers })
    }

    fn ready(&self, namespace: &str, name: &str) -> Result<u64> {
        let group = GroupName::new(namespace, name)?;
        let Some(info) = self.engine.group(&group) else {
            let topic = self.engine.topic(namespace, name).ok_or_else(|| unknown_queue(name))?;
            let bounds = topic.partitions.iter().map(|id| self.engine.partition(*id));
            return bounds.map(|bounds| bounds.map(|of| of.high_watermark - of.log_start).map_err(Into::into)).sum();
        };
        let lag: u64 = self.engine.lag(&group)?.iter().map(|lag| lag.messages).sum();
        Ok(lag.saturating_sub(info.in_flight as u64))
    }

    /// Deletes a queue with its topic, its group and its bindings; how many messages were ready. 0 when there is none.
    /// Durable when it returns.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it must be unused or empty and is not, or has assigned members; [`Kind::Locked`] when it is
    /// another connection's; [`Kind::Forbidden`].
    pub async fn delete_queue(
        &self,
        principal: &Principal,
        name: &str,
        owner: OwnerId,
        (if_unused, if_empty): (bool, bool),
    ) -> Result<u64> {
        self.authorize(principal, Action::Configure, Resource::Topic(name))?;
        let info = match self.queue(principal, name, owner) {
            Err(error) if error.kind == Kind::NotFound => return Ok(0),
            info => info?,
        };
        let refused = |reason| Err(Error::new(Kind::Conflict, format!("queue '{name}' {reason}")));
        if if_unused && info.consumers > 0 {
            return refused("in use: it has consumers");
        }
        if if_empty && info.messages > 0 {
            return refused("is not empty");
        }
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            self.remove_queue(principal.namespace(), topology, name)?
        };
        commit.wait().await?;
        Ok(info.messages)
    }

    /// Removes a queue, or a topic that was never declared as one, and everything that hangs on it.
    pub(super) fn remove_queue(&self, namespace: &str, topology: &mut Topology, name: &str) -> Result<Commit> {
        let group = GroupName::new(namespace, name)?;
        let topic = TopicName::new(namespace, name)?;
        if let Some(found) = self.engine.group(&group)
            && found.config.topics == [topic.clone()]
        {
            drop(self.engine.delete_group(&group)?);
        }
        let mut commit = match self.engine.topic(namespace, name) {
            Some(_) => Some(self.engine.delete_topic(&topic)?),
            None => None,
        };
        self.connect_dead_letters(namespace, topology, name)?;
        if topology.queues.contains_key(name) {
            let bound = topology.remove_queue(name);
            let mut entries = unbound_entries(namespace, name, &bound)?;
            entries.push(queue_entry(namespace, name, None)?);
            commit = Some(self.engine.put(entries)?);
            for (exchange, _) in &bound {
                self.leave_exchange(namespace, topology, exchange)?;
            }
        }
        self.routing.has_changed();
        commit.ok_or_else(|| unknown_queue(name))
    }

    /// Removes what a restart removes: queues that are not durable, or were a connection's own. What a crash kept from
    /// being done about dead letters is done.
    pub(super) fn remove_transient_queues(&self) -> Result<()> {
        let mut all = self.routing.write();
        for (namespace, topology) in all.iter_mut() {
            let goes = |(name, queue): (&Arc<str>, &Queue)| {
                (!queue.spec.durable || queue.spec.exclusive).then(|| Arc::clone(name))
            };
            let transient: Vec<_> = topology.queues.iter().filter_map(goes).collect();
            for name in transient {
                drop(self.remove_queue(namespace, topology, &name)?);
            }
            for target in topology.dead_letter_targets() {
                self.connect_dead_letters(namespace, topology, &target)?;
            }
        }
        Ok(())
    }

    /// Acknowledges everything that is ready; how many messages that were. Durable when it returns.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Locked`], [`Kind::Forbidden`].
    pub async fn purge_queue(&self, principal: &Principal, name: &str, owner: OwnerId) -> Result<u64> {
        self.open_queue(principal, name, owner).await?;
        let (purged, commit) = self.engine.purge(&GroupName::new(principal.namespace(), name)?)?;
        commit.wait().await?;
        Ok(purged)
    }

    /// Makes sure that a queue can be consumed: that it is there, and nobody else's. True when it counts how often a
    /// message comes back.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Locked`], [`Kind::Forbidden`].
    pub async fn open_queue(&self, principal: &Principal, name: &str, owner: OwnerId) -> Result<bool> {
        self.queue(principal, name, owner)?;
        self.adopt_queue(principal, name).await?;
        let counts = |queue: &Queue| queue.spec.max_deliveries.is_some();
        Ok(self.routing.look(principal.namespace(), |topology| topology.queues.get(name).is_some_and(counts)))
    }

    /// Takes a consumer's place at a queue.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Locked`] when the queue is another connection's, [`Kind::Forbidden`] when another consumer
    /// is or wants to be the only one, or the principal may not read.
    pub async fn attach(
        &self,
        principal: &Principal,
        name: &str,
        owner: OwnerId,
        exclusive: bool,
    ) -> Result<Attachment> {
        let counts_returns = self.open_queue(principal, name, owner).await?;
        let mut all = self.routing.write();
        let queues = all.get_mut(principal.namespace()).map(|topology| &mut topology.queues);
        let queue = queues.and_then(|queues| queues.get_mut(name)).ok_or_else(|| unknown_queue(name))?;
        if queue.has_exclusive_consumer || (exclusive && queue.consumers() > 0) {
            return Err(Error::new(Kind::Forbidden, format!("queue '{name}' in exclusive use")));
        }
        queue.consumers.fetch_add(1, Ordering::Relaxed);
        queue.has_exclusive_consumer = exclusive;
        let (gone, company) = (queue.gone.token().clone(), Arc::clone(&queue.consumers));
        let (namespace, queue) = (principal.namespace().into(), name.into());
        Ok(Attachment { broker: self.clone(), namespace, queue, gone, company, exclusive, counts_returns })
    }
}

impl Attachment {
    /// The queue counts how often a message comes back, and gives it up after so many times.
    #[must_use]
    pub fn counts_returns(&self) -> bool {
        self.counts_returns
    }

    /// How many consumers the queue has, this one among them.
    #[must_use]
    pub fn company(&self) -> usize {
        self.company.load(Ordering::Relaxed)
    }

    /// The queue was deleted, whether there is another one of the name now or not.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone.is_cancelled()
    }

    /// Waits until the queue is deleted.
    pub fn gone(&self) -> impl Future<Output = ()> + Send + 'static {
        self.gone.clone().cancelled_owned()
    }

    fn leave(&self) -> Result<()> {
        let mut all = self.broker.routing.write();
        let Some(topology) = all.get_mut(&self.namespace) else { return Ok(()) };
        // The queue may have been deleted and declared again meanwhile: then this consumer was never one of its.
        let queue = topology.queues.get_mut(&self.queue).filter(|_| !self.gone.is_cancelled());
        let Some(queue) = queue else { return Ok(()) };
        queue.consumers.fetch_sub(1, Ordering::Relaxed);
        queue.has_exclusive_consumer &= !self.exclusive;
        if queue.spec.auto_delete && queue.consumers() == 0 {
            drop(self.broker.remove_queue(&self.namespace, topology, &self.queue)?);
        }
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if let Err(error) = self.leave() {
            tracing::warn!(%error, queue = %self.queue, "an auto-delete queue could not be deleted");
        }
    }
}

impl Queue {
    fn check_owner(&self, name: &str, owner: OwnerId) -> Result<()> {
        match self.owner {
            Some(of) if of != owner => Err(Error::new(
                Kind::Locked,
                format!("cannot obtain exclusive access to locked queue '{name}': it belongs to another connection"),
            )),
            _ => Ok(()),
        }
    }
}

pub(super) fn unknown_queue(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("no queue '{name}': declare it first"))
}

fn check_queue(name: &str, current: &QueueSpec, received: &QueueSpec) -> Result<()> {
    if received.exclusive != current.exclusive {
        let is = if current.exclusive { "exclusive" } else { "for everybody" };
        let message = format!("cannot obtain exclusive access to locked queue '{name}': it was declared {is}");
        return Err(Error::new(Kind::Locked, message));
    }
    let parts = |of: &QueueSpec| {
        [
            ("durable", of.durable.to_string()),
            ("auto_delete", of.auto_delete.to_string()),
            ("x-delivery-limit", format!("{:?}", of.max_deliveries)),
            ("x-dead-letter-routing-key", format!("{:?}", of.dead_letter)),
            ("x-queue-type", format!("{:?}", of.kind)),
        ]
    };
    for ((part, current), (_, received)) in parts(current).into_iter().zip(parts(received)) {
        if current != received {
            let message = format!(
                "inequivalent arg '{part}' for queue '{name}': received '{received}' but current is '{current}'"
            );
            return Err(Error::new(Kind::Conflict, message));
        }
    }
    Ok(())
}
