//! Exchanges, queues and bindings as they are now: what routing looks at. Every change is written to the engine's tables
//! first, in the same lock, so what is here is what a restart finds again.

mod bindings;
mod pattern;
mod stored;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bindings::Bindings;
pub(super) use stored::{binding_entry, exchange_entry, load, queue_entry};

use serde::{Deserialize, Serialize};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How an exchange chooses (AMQP 0-9-1, 3.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExchangeKind {
    /// Routing key equal to the binding's.
    Direct,
    /// Every bound queue.
    Fanout,
    /// Routing key matching the binding's pattern.
    Topic,
}

/// What an exchange is declared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeSpec {
    /// How it chooses.
    pub kind: ExchangeKind,
    /// It is there after a restart.
    pub durable: bool,
    /// It is deleted when the last binding to it is.
    pub auto_delete: bool,
    /// Nobody may publish to it.
    pub internal: bool,
}

/// What a queue is declared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSpec {
    /// It is there after a restart.
    pub durable: bool,
    /// Only the connection that declared it may use it, and it goes with that connection.
    pub exclusive: bool,
    /// It is deleted when the last consumer leaves it.
    pub auto_delete: bool,
    /// Failed deliveries after which a message is dead-lettered or dropped.
    pub max_deliveries: Option<u32>,
    /// The queue or topic to which messages go that were rejected or failed too often.
    pub dead_letter: Option<String>,
    /// What the declarer calls this kind of queue: kept because a second declaration must say the same.
    pub kind: Option<String>,
}

impl Default for QueueSpec {
    /// What a topic of that name is, made without being declared as a queue.
    fn default() -> Self {
        Self {
            durable: true,
            exclusive: false,
            auto_delete: false,
            max_deliveries: None,
            dead_letter: None,
            kind: None,
        }
    }
}

/// A connection, as the owner of exclusive queues. No two connections of one process have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerId(pub(super) u64);

#[derive(Debug)]
pub(super) struct Exchange {
    pub spec: ExchangeSpec,
    pub bindings: Bindings,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub spec: QueueSpec,
    pub owner: Option<OwnerId>,
    /// How many consumers there are, which they look at themselves.
    pub consumers: Arc<AtomicUsize>,
    /// One of them wants to be the only one.
    pub has_exclusive_consumer: bool,
    /// Its bindings: exchange and routing key.
    pub bound: Vec<(Arc<str>, Box<str>)>,
    /// Cancelled when the queue goes.
    pub gone: DropGuard,
}

impl Queue {
    pub(super) fn consumers(&self) -> usize {
        self.consumers.load(Ordering::Relaxed)
    }
}

/// One namespace's.
#[derive(Debug)]
pub(super) struct Topology {
    pub exchanges: BTreeMap<Arc<str>, Exchange>,
    pub queues: HashMap<Arc<str>, Queue>,
    /// Where queues' dead letters go: the name said, and the queue.
    dead_letters: BTreeSet<(Arc<str>, Arc<str>)>,
}

/// The exchanges there always are. The default exchange, named by the empty name, is not among them: it has no bindings.
const PREDECLARED: [(&str, ExchangeKind); 3] =
    [("amq.direct", ExchangeKind::Direct), ("amq.fanout", ExchangeKind::Fanout), ("amq.topic", ExchangeKind::Topic)];

impl Default for Topology {
    fn default() -> Self {
        let mut this = Self { exchanges: BTreeMap::new(), queues: HashMap::new(), dead_letters: BTreeSet::new() };
        for (name, kind) in PREDECLARED {
            this.add_exchange(name, ExchangeSpec { kind, durable: true, auto_delete: false, internal: false });
        }
        this
    }
}

impl Topology {
    pub(super) fn add_exchange(&mut self, name: &str, spec: ExchangeSpec) {
        let bindings = Bindings::new(spec.kind);
        self.exchanges.insert(name.into(), Exchange { spec, bindings });
    }

    pub(super) fn add_queue(&mut self, name: &str, spec: QueueSpec, owner: Option<OwnerId>) {
        let name: Arc<str> = name.into();
        if let Some(target) = &spec.dead_letter {
            self.dead_letters.insert((target.as_str().into(), Arc::clone(&name)));
        }
        let queue = Queue {
            spec,
            owner,
            consumers: Arc::default(),
            has_exclusive_consumer: false,
            bound: Vec::new(),
            gone: CancellationToken::new().drop_guard(),
        };
        self.queues.insert(name, queue);
    }

    /// The queues whose dead letters go to the queue or topic of this name.
    pub(super) fn dead_lettering_to(&self, target: &str) -> impl Iterator<Item = &str> {
        let from = (Arc::from(target), Arc::from(""));
        self.dead_letters.range(from..).take_while(move |(to, _)| **to == *target).map(|(_, queue)| &**queue)
    }

    /// Every queue or topic named for dead letters.
    pub(super) fn dead_letter_targets(&self) -> BTreeSet<Arc<str>> {
        self.dead_letters.iter().map(|(target, _)| Arc::clone(target)).collect()
    }

    /// False when there is such a binding, or no such exchange or queue.
    pub(super) fn bind(&mut self, exchange: &str, queue: &str, key: &str) -> bool {
        let Some((queue, bound)) =
            self.queues.get_key_value(queue).map(|(name, _)| Arc::clone(name)).and_then(|name| {
                let bound = &mut self.queues.get_mut(&name)?.bound;
                Some((name, bound))
            })
        else {
            return false;
        };
        let Some((exchange, of)) =
            self.exchanges.get_key_value(exchange).map(|(name, _)| Arc::clone(name)).and_then(|name| {
                let bindings = &mut self.exchanges.get_mut(&name)?.bindings;
                Some((name, bindings))
            })
        else {
            return false;
        };
        let is_new = of.insert(&queue, key);
        if is_new {
            bound.push((exchange, key.into()));
        }
        is_new
    }

    /// False when there is no such binding.
    pub(super) fn unbind(&mut self, exchange: &str, queue: &str, key: &str) -> bool {
        let Some(of) = self.exchanges.get_mut(exchange) else { return false };
        let removed = of.bindings.remove(queue, key);
        if removed && let Some(queue) = self.queues.get_mut(queue) {
            queue.bound.retain(|(of, with)| !(&**of == exchange && &**with == key));
        }
        removed
    }

    /// Removes a queue; its bindings as exchange and routing key.
    pub(super) fn remove_queue(&mut self, name: &str) -> Vec<(Arc<str>, Box<str>)> {
        let Some(queue) = self.queues.remove(name) else { return Vec::new() };
        if let Some(target) = &queue.spec.dead_letter {
            self.dead_letters.remove(&(target.as_str().into(), name.into()));
        }
        for (exchange, key) in &queue.bound {
            if let Some(exchange) = self.exchanges.get_mut(exchange) {
                exchange.bindings.remove(name, key);
            }
        }
        queue.bound
    }

    /// Removes an exchange; its bindings as queue and routing key.
    pub(super) fn remove_exchange(&mut self, name: &str) -> Vec<(Arc<str>, Box<str>)> {
        if self.exchanges.remove(name).is_none() {
            return Vec::new();
        }
        let mut removed = Vec::new();
        for (queue, of) in &mut self.queues {
            of.bound.retain(|(exchange, key)| {
                let stays = &**exchange != name;
                if !stays {
                    removed.push((Arc::clone(queue), key.clone()));
                }
                stays
            });
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology() -> Topology {
        let mut topology = Topology::default();
        for queue in ["a", "b"] {
            topology.add_queue(queue, QueueSpec::default(), None);
        }
        topology
    }

    fn routed(topology: &Topology, exchange: &str, key: &str) -> Vec<String> {
        topology.exchanges[exchange].bindings.route(key).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_kind_chooses_its_way() {
        let mut topology = topology();
        assert!(topology.bind("amq.direct", "a", "k") && topology.bind("amq.direct", "b", "k"));
        assert!(!topology.bind("amq.direct", "a", "k"), "twice is once");
        assert_eq!(routed(&topology, "amq.direct", "k"), ["a", "b"]);
        assert!(routed(&topology, "amq.direct", "other").is_empty());
        assert!(topology.bind("amq.fanout", "a", "") && topology.bind("amq.fanout", "a", "x"));
        assert_eq!(routed(&topology, "amq.fanout", "anything"), ["a"]);
        assert!(topology.unbind("amq.fanout", "a", ""));
        assert_eq!(routed(&topology, "amq.fanout", ""), ["a"], "one of two bindings is left");
        assert!(topology.bind("amq.topic", "a", "log.*") && topology.bind("amq.topic", "a", "log.#"));
        assert_eq!(routed(&topology, "amq.topic", "log.error"), ["a"], "a queue is named once");
    }

    #[test]
    fn what_is_deleted_takes_its_bindings_along() {
        let mut topology = topology();
        assert!(topology.bind("amq.direct", "a", "k") && topology.bind("amq.topic", "a", "#"));
        assert_eq!(topology.remove_queue("a").len(), 2);
        assert!(topology.exchanges.values().all(|exchange| exchange.bindings.is_empty()));
        assert!(topology.bind("amq.direct", "b", "k"));
        assert_eq!(topology.remove_exchange("amq.direct").len(), 1);
        assert!(topology.queues["b"].bound.is_empty());
        assert!(!topology.bind("amq.direct", "b", "k"), "it is gone");
        assert!(!topology.unbind("amq.topic", "b", "#"), "there was none");
    }
}
