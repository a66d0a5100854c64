//! Exchanges and bindings: declare, delete, bind, route.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockWriteGuard};
use tidegate_engine::{Commit, PartitionId, TableEntry, Topic};

use super::topology::{self, Topology, binding_entry, exchange_entry};
use super::{Action, Broker, Error, ExchangeSpec, Kind, Principal, Resource, Result};

/// Every namespace's exchanges, queues and bindings.
#[derive(Debug, Default)]
pub(super) struct Routing {
    namespaces: RwLock<HashMap<Arc<str>, Topology>>,
    generation: AtomicU64,
    next_owner: AtomicU64,
}

impl Routing {
    pub(super) fn new(namespaces: HashMap<Arc<str>, Topology>) -> Self {
        Self { namespaces: RwLock::new(namespaces), ..Self::default() }
    }

    /// Looks at a namespace's topology.
    pub(super) fn look<T>(&self, namespace: &str, at: impl FnOnce(&Topology) -> T) -> T {
        match self.namespaces.read().get(namespace) {
            Some(topology) => at(topology),
            None => at(&Topology::default()),
        }
    }

    /// For changes. Whoever changes it writes that to the engine while the guard is held, so that log and memory agree.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, HashMap<Arc<str>, Topology>> {
        self.namespaces.write()
    }

    /// What was routed before may be wrong now.
    pub(super) fn has_changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    pub(super) fn next_owner(&self) -> topology::OwnerId {
        topology::OwnerId(self.next_owner.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where messages of one exchange and routing key go, at one moment.
#[derive(Debug, Clone)]
pub struct Route {
    /// The topics, each once; none when nothing is bound that matches.
    pub topics: Vec<Arc<Topic>>,
    /// Their partitions, where each topic has one only: then a message needs no placing.
    pub partitions: Option<Vec<PartitionId>>,
    generation: u64,
}

impl Broker {
    /// Declares an exchange; durable when it returns. Declaring it again in the same way does nothing.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it is there and different, [`Kind::Invalid`], [`Kind::Forbidden`].
    pub async fn declare_exchange(&self, principal: &Principal, name: &str, spec: ExchangeSpec) -> Result<()> {
        self.authorize(principal, Action::Configure, Resource::Exchange(name))?;
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            match topology.exchanges.get(name) {
                Some(exchange) => return check_exchange(name, &exchange.spec, &spec),
                None => check_new_name("exchange", name)?,
            }
            let entry = exchange_entry(principal.namespace(), name, Some(&spec))?;
            let commit = if spec.durable { Some(self.engine.put(vec![entry])?) } else { None };
            topology.add_exchange(name, spec);
            self.routing.has_changed();
            commit
        };
        wait(commit).await
    }

    /// An exchange, if there is one.
    ///
    /// # Errors
    /// [`Kind::Forbidden`].
    pub fn exchange(&self, principal: &Principal, name: &str) -> Result<Option<ExchangeSpec>> {
        self.authorize(principal, Action::Read, Resource::Exchange(name))?;
        Ok(self.routing.look(principal.namespace(), |topology| topology.exchanges.get(name).map(|of| of.spec.clone())))
    }

    /// Deletes an exchange and its bindings; durable when it returns. Nothing happens when there is none.
    ///
    /// # Errors
    /// [`Kind::Conflict`] when it must be unused and is bound, [`Kind::Forbidden`].
    pub async fn delete_exchange(&self, principal: &Principal, name: &str, if_unused: bool) -> Result<()> {
        self.authorize(principal, Action::Configure, Resource::Exchange(name))?;
        if name.starts_with("amq.") {
            return Err(reserved("exchange", name));
        }
        let commit = {
            let mut all = self.routing.write();
            let Some(topology) = all.get_mut(principal.namespace()) else { return Ok(()) };
            let Some(exchange) = topology.exchanges.get(name) else { return Ok(()) };
            if if_unused && !exchange.bindings.is_empty() {
                return Err(Error::new(Kind::Conflict, format!("exchange '{name}' in use: it has bindings")));
            }
            let commit = self.remove_exchange(principal.namespace(), topology, name)?;
            self.routing.has_changed();
            commit
        };
        wait(commit).await
    }

    fn remove_exchange(&self, namespace: &str, topology: &mut Topology, name: &str) -> Result<Option<Commit>> {
        let durable = topology.exchanges.get(name).is_some_and(|exchange| exchange.spec.durable);
        let bound = topology.remove_exchange(name);
        if !durable {
            return Ok(None);
        }
        let mut entries = vec![exchange_entry(namespace, name, None)?];
        for (queue, key) in &bound {
            entries.push(binding_entry(namespace, (name, queue, key), false)?);
        }
        Ok(Some(self.engine.put(entries)?))
    }

    /// Binds a queue (or topic) to an exchange; durable when it returns, if both are. Twice is once.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Forbidden`].
    pub async fn bind(&self, principal: &Principal, exchange: &str, queue: &str, key: &str) -> Result<()> {
        self.authorize_binding(principal, exchange, queue)?;
        self.adopt_queue(principal, queue).await?;
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            let durable = binding_is_durable(topology, exchange, queue)?;
            let is_new = topology.bind(exchange, queue, key);
            self.routing.has_changed();
            let entry = binding_entry(principal.namespace(), (exchange, queue, key), true)?;
            if is_new && durable { Some(self.engine.put(vec![entry])?) } else { None }
        };
        wait(commit).await
    }

    /// Removes a binding; durable when it returns. Nothing happens when there is none.
    ///
    /// # Errors
    /// [`Kind::Forbidden`].
    pub async fn unbind(&self, principal: &Principal, exchange: &str, queue: &str, key: &str) -> Result<()> {
        self.authorize_binding(principal, exchange, queue)?;
        let commit = {
            let mut all = self.routing.write();
            let topology = all.entry(principal.namespace().into()).or_default();
            if !topology.unbind(exchange, queue, key) {
                return Ok(());
            }
            self.routing.has_changed();
            let removed = binding_entry(principal.namespace(), (exchange, queue, key), false)?;
            let commit = self.engine.put(vec![removed])?;
            self.leave_exchange(principal.namespace(), topology, exchange)?.or(Some(commit))
        };
        wait(commit).await
    }

    /// A binding to the exchange has gone: if it was the last one of an exchange that goes with it, the exchange goes.
    pub(super) fn leave_exchange(
        &self,
        namespace: &str,
        topology: &mut Topology,
        name: &str,
    ) -> Result<Option<Commit>> {
        let goes = topology.exchanges.get(name).is_some_and(|of| of.spec.auto_delete && of.bindings.is_empty());
        if goes { self.remove_exchange(namespace, topology, name) } else { Ok(None) }
    }

    fn authorize_binding(&self, principal: &Principal, exchange: &str, queue: &str) -> Result<()> {
        self.authorize(principal, Action::Write, Resource::Topic(queue))?;
        self.authorize(principal, Action::Read, Resource::Exchange(exchange))?;
        if exchange.is_empty() {
            return Err(Error::new(
                Kind::Forbidden,
                "every queue is bound to the default exchange with its name, and nothing else can be",
            ));
        }
        Ok(())
    }

    /// Where messages published to an exchange with a routing key go. The default exchange, with the empty name, goes to
    /// the topic or queue named by the key.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for the exchange, [`Kind::Forbidden`].
    pub fn route(&self, principal: &Principal, exchange: &str, key: &str) -> Result<Route> {
        let generation = self.routing.generation.load(Ordering::Acquire);
        let namespace = principal.namespace();
        if exchange.is_empty() {
            self.authorize(principal, Action::Write, Resource::Topic(key))?;
            return Ok(Route::new(self.engine.topic(namespace, key).into_iter().collect(), generation));
        }
        self.authorize(principal, Action::Write, Resource::Exchange(exchange))?;
        let queues = self.routing.look(namespace, |topology| {
            let Some(of) = topology.exchanges.get(exchange) else { return Err(unknown_exchange(exchange)) };
            match of.spec.internal {
                true => Err(Error::new(Kind::Forbidden, format!("cannot publish to internal exchange '{exchange}'"))),
                false => Ok(of.bindings.route(key)),
            }
        })?;
        let topics = queues.iter().filter_map(|queue| self.engine.topic(namespace, queue)).collect();
        Ok(Route::new(topics, generation))
    }

    /// Whether a route is still what [`Broker::route`] would say.
    #[must_use]
    pub fn is_current(&self, route: &Route) -> bool {
        route.generation == self.routing.generation.load(Ordering::Acquire)
    }
}

impl Route {
    /// Where all of them lead, each topic once.
    #[must_use]
    pub fn join(routes: &[Arc<Self>]) -> Self {
        let mut topics: Vec<Arc<Topic>> = Vec::new();
        for topic in routes.iter().flat_map(|route| &route.topics) {
            if topics.iter().all(|of| of.name != topic.name) {
                topics.push(Arc::clone(topic));
            }
        }
        Self::new(topics, routes.iter().map(|route| route.generation).min().unwrap_or_default())
    }

    fn new(topics: Vec<Arc<Topic>>, generation: u64) -> Self {
        let partitions = topics.iter().map(|topic| match *topic.partitions {
            [only] => Some(only),
            _ => None,
        });
        Self { partitions: partitions.collect(), topics, generation }
    }
}

pub(super) fn unknown_exchange(name: &str) -> Error {
    Error::new(Kind::NotFound, format!("no exchange '{name}': declare it first"))
}

fn binding_is_durable(topology: &Topology, exchange: &str, queue: &str) -> Result<bool> {
    let of = topology.exchanges.get(exchange).ok_or_else(|| unknown_exchange(exchange))?;
    let to = topology.queues.get(queue).ok_or_else(|| super::queues::unknown_queue(queue))?;
    Ok(of.spec.durable && to.spec.durable && !to.spec.exclusive)
}

fn check_exchange(name: &str, current: &ExchangeSpec, received: &ExchangeSpec) -> Result<()> {
    let differs = |part: &str, received: &dyn std::fmt::Debug, current: &dyn std::fmt::Debug| {
        let message = format!(
            "inequivalent arg '{part}' for exchange '{name}': received '{received:?}' but current is '{current:?}'"
        );
        Err(Error::new(Kind::Conflict, message))
    };
    if current.kind != received.kind {
        return differs("type", &received.kind, &current.kind);
    }
    for (part, received, current) in [
        ("durable", received.durable, current.durable),
        ("auto_delete", received.auto_delete, current.auto_delete),
        ("internal", received.internal, current.internal),
    ] {
        if received != current {
            return differs(part, &received, &current);
        }
    }
    Ok(())
}

/// A name its owner may choose.
pub(super) fn check_new_name(noun: &str, name: &str) -> Result<()> {
    if name.starts_with("amq.") {
        return Err(reserved(noun, name));
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Error::new(
            Kind::Invalid,
            format!("'{}' is no name for a {noun}: it is empty or has a control character", name.escape_debug()),
        ));
    }
    Ok(())
}

fn reserved(noun: &str, name: &str) -> Error {
    Error::new(Kind::Forbidden, format!("{noun} name '{name}' contains reserved prefix 'amq.*'"))
}

pub(super) async fn wait(commit: Option<Commit>) -> Result<()> {
    match commit {
        Some(commit) => Ok(commit.wait().await?),
        None => Ok(()),
    }
}

/// Removes bindings of a queue that goes; as entries to be written.
pub(super) fn unbound_entries(namespace: &str, queue: &str, bound: &[(Arc<str>, Box<str>)]) -> Result<Vec<TableEntry>> {
    bound.iter().map(|(exchange, key)| binding_entry(namespace, (exchange, queue, key), false)).collect()
}
