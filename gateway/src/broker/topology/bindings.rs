//! The bindings of one exchange, arranged for routing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::ExchangeKind;
use super::pattern::Patterns;

/// Which queues an exchange's messages go to. A queue is named once however many of its bindings match.
#[derive(Debug)]
pub(in crate::broker) enum Bindings {
    Direct(HashMap<Box<str>, BTreeSet<Arc<str>>>),
    /// By queue, the routing keys it is bound with: they select nothing, but each is a binding of its own.
    Fanout(BTreeMap<Arc<str>, BTreeSet<Box<str>>>),
    Topic(Patterns),
}

impl Bindings {
    pub(super) fn new(kind: ExchangeKind) -> Self {
        match kind {
            ExchangeKind::Direct => Self::Direct(HashMap::new()),
            ExchangeKind::Fanout => Self::Fanout(BTreeMap::new()),
            ExchangeKind::Topic => Self::Topic(Patterns::default()),
        }
    }

    /// False when there is such a binding already.
    pub(super) fn insert(&mut self, queue: &Arc<str>, key: &str) -> bool {
        match self {
            Self::Direct(keys) => keys.entry(key.into()).or_default().insert(Arc::clone(queue)),
            Self::Fanout(queues) => queues.entry(Arc::clone(queue)).or_default().insert(key.into()),
            Self::Topic(patterns) => patterns.insert(key, queue),
        }
    }

    /// False when there is no such binding.
    pub(super) fn remove(&mut self, queue: &str, key: &str) -> bool {
        match self {
            Self::Direct(keys) => {
                let Some(queues) = keys.get_mut(key) else { return false };
                let removed = queues.remove(queue);
                if queues.is_empty() {
                    keys.remove(key);
                }
                removed
            }
            Self::Fanout(queues) => {
                let Some(keys) = queues.get_mut(queue) else { return false };
                let removed = keys.remove(key);
                if keys.is_empty() {
                    queues.remove(queue);
                }
                removed
            }
            Self::Topic(patterns) => patterns.remove(key, queue),
        }
    }

    /// The queues that a message with this routing key goes to, each once.
    pub(in crate::broker) fn route(&self, key: &str) -> BTreeSet<Arc<str>> {
        match self {
            Self::Direct(keys) => keys.get(key).cloned().unwrap_or_default(),
            Self::Fanout(queues) => queues.keys().cloned().collect(),
            Self::Topic(patterns) => patterns.matching(key),
        }
    }

    pub(in crate::broker) fn is_empty(&self) -> bool {
        match self {
            Self::Direct(keys) => keys.is_empty(),
            Self::Fanout(queues) => queues.is_empty(),
            Self::Topic(patterns) => patterns.is_empty(),
        }
    }
}
