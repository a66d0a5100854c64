//! What a handler knows about the request it handles.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::StrBytes;
use tidegate_engine::{GroupName, PartitionId, Topic};
use uuid::Uuid;

use super::Listener;
use super::codec::RequestHeader;
use super::error::{About, Refusal};
use super::names;
use crate::broker::{Action, Broker, Principal, Resource};
use crate::listener::Drain;

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) principal: Principal,
    pub(super) address: SocketAddr,
    /// Where it is told to find this node.
    pub(super) host: StrBytes,
    pub(super) port: i32,
}

/// One request's surroundings.
pub(super) struct Context<'a> {
    pub(super) listener: &'a Listener,
    pub(super) peer: &'a Peer,
    pub(super) header: RequestHeader,
    pub(super) drain: &'a Drain,
}

impl Context<'_> {
    pub(super) fn broker(&self) -> &Broker {
        &self.listener.broker
    }

    pub(super) fn principal(&self) -> &Principal {
        &self.peer.principal
    }

    pub(super) fn version(&self) -> i16 {
        self.header.version
    }

    pub(super) fn node_id(&self) -> BrokerId {
        BrokerId(self.listener.config.node_id)
    }

    /// A topic that may be read, by name. Under a name that Kafka does not allow (AMQP queues may have one) there is none.
    pub(super) fn readable(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        names::check(name).map_err(unknown)?;
        self.broker().topic_for_read(self.principal(), name).map_err(Refusal::about(About::Topic))
    }

    /// A topic that may be read, by id.
    pub(super) fn readable_by_id(&self, id: Uuid) -> Result<Arc<Topic>, Refusal> {
        let topic = self.broker().topic_by_id(self.principal(), id).ok_or(ResponseError::UnknownTopicId)?;
        self.broker()
            .authorize(self.principal(), Action::Read, Resource::Topic(topic.name.name()))
            .map_err(Refusal::about(About::Topic))?;
        Ok(topic)
    }

    /// A topic that may be written to, by name.
    pub(super) fn writable(&self, name: &str) -> Result<Arc<Topic>, Refusal> {
        names::check(name).map_err(unknown)?;
        self.broker().topic_to_write(self.principal(), name).map_err(Refusal::about(About::Topic))
    }

    /// Checks that the connection may ask this of the whole installation.
    pub(super) fn authorize_cluster(&self, action: Action) -> Result<(), Refusal> {
        self.broker().authorize(self.principal(), action, Resource::Cluster).map_err(Refusal::about(About::Cluster))
    }
}

fn unknown(refusal: Refusal) -> Refusal {
    Refusal::new(ResponseError::UnknownTopicOrPartition, refusal.message)
}

/// The engine's partition for a partition index on the wire.
pub(super) fn partition(topic: &Topic, index: i32) -> Result<PartitionId, ResponseError> {
    u32::try_from(index).ok().and_then(|index| topic.partition(index)).ok_or(ResponseError::UnknownTopicOrPartition)
}

/// Checks a leader epoch a client believes in: ours is always 0 (KIP-320).
pub(super) fn check_epoch(epoch: i32) -> Result<(), ResponseError> {
    if epoch > 0 { Err(ResponseError::UnknownLeaderEpoch) } else { Ok(()) }
}

/// A topic's name on the wire.
pub(super) fn wire_name(topic: &Topic) -> TopicName {
    TopicName(StrBytes::from_string(topic.name.name().to_owned()))
}

/// The time of day, in milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// An offset on the wire.
pub(super) fn wire_offset(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

/// A count on the wire.
pub(super) fn wire_count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

impl Context<'_> {
    /// A group's full name, if the connection may use it.
    pub(super) fn group_name(&self, id: &str, action: Action) -> Result<GroupName, Refusal> {
        let name = GroupName::new(self.principal().namespace(), id)
            .map_err(|error| Refusal::new(ResponseError::InvalidGroupId, error.to_string()))?;
        self.broker().authorize(self.principal(), action, Resource::Group(id)).map_err(Refusal::about(About::Group))?;
        Ok(name)
    }
}

/// A copy that does not keep the request's buffer alive.
pub(super) fn owned(text: &StrBytes) -> StrBytes {
    StrBytes::from_string(text.to_string())
}
