//! Who a connection is, whichever way it proved it.

use std::sync::Arc;

use super::{Error, Kind, Result};

/// Topics that Apache Kafka keeps its state in.
const INTERNAL: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Who a connection is. Made once per connection; cloning shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    name: Arc<str>,
    namespace: Arc<str>,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Create, delete, alter.
    Configure,
    /// Publish.
    Write,
    /// Read, consume, see that it exists.
    Read,
    /// Operate the cluster.
    Admin,
}

/// What it is asked of. Names are within the principal's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource<'a> {
    /// A topic.
    Topic(&'a str),
    /// A group.
    Group(&'a str),
    /// An exchange.
    Exchange(&'a str),
    /// The whole installation.
    Cluster,
}

impl Principal {
    /// The namespace of connections that name none.
    pub const DEFAULT_NAMESPACE: &'static str = "default";

    /// Anybody on this machine's loopback address: all rights in the default namespace.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { name: "anonymous".into(), namespace: Self::DEFAULT_NAMESPACE.into() }
    }

    /// Its name, for logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The only namespace it sees.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Anonymous connections have all rights: listeners accept them only where configuration lets them.
    /// Kafka's own topics are nobody's to touch: clients take what has these names for the cluster's.
    pub(super) fn check(&self, action: Action, resource: Resource<'_>) -> Result<()> {
        match resource {
            Resource::Topic(name) if INTERNAL.contains(&name) && action != Action::Read => {
                Err(Error::new(Kind::Forbidden, format!("topic '{name}' is internal: choose another name")))
            }
            Resource::Topic(_) | Resource::Group(_) | Resource::Exchange(_) | Resource::Cluster => Ok(()),
        }
    }
}
