//! One member of a group.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a new member that waits for its first rebalance is kept, in case its client is gone (as in Kafka).
const NEW_MEMBER_TIMEOUT: Duration = Duration::from_secs(300);

/// A request to join.
#[derive(Debug, Clone)]
pub(in crate::kafka) struct Join {
    /// Empty for a new member.
    pub(in crate::kafka) member_id: StrBytes,
    pub(in crate::kafka) instance_id: Option<StrBytes>,
    pub(in crate::kafka) client_id: StrBytes,
    pub(in crate::kafka) client_host: StrBytes,
    pub(in crate::kafka) session_timeout: Duration,
    pub(in crate::kafka) rebalance_timeout: Duration,
    pub(in crate::kafka) protocol_type: StrBytes,
    /// Name and metadata, the most wanted first.
    pub(in crate::kafka) protocols: Vec<(StrBytes, Bytes)>,
    /// A new member without an instance id must come back with the id it is given (version 4 on, KIP-394).
    pub(in crate::kafka) requires_known_id: bool,
    /// A leader that returns may be told to keep the assignment (version 9 on, KIP-814).
    pub(in crate::kafka) can_skip_assignment: bool,
}

/// What a member gets when a rebalance's join phase is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Joined {
    pub(in crate::kafka) generation: i32,
    pub(in crate::kafka) protocol_type: StrBytes,
    pub(in crate::kafka) protocol: StrBytes,
    pub(in crate::kafka) leader: StrBytes,
    pub(in crate::kafka) member_id: StrBytes,
    /// For the leader, everybody: id, instance id, metadata.
    pub(in crate::kafka) members: Vec<(StrBytes, Option<StrBytes>, Bytes)>,
    pub(in crate::kafka) skip_assignment: bool,
}

/// Why a member cannot join, and the id it should use from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct NotJoined {
    pub(in crate::kafka) error: ResponseError,
    pub(in crate::kafka) member_id: StrBytes,
}

/// A member's share of the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kafka) struct Synced {
    pub(in crate::kafka) protocol_type: StrBytes,
    pub(in crate::kafka) protocol: StrBytes,
    pub(in crate::kafka) assignment: Bytes,
}

pub(in crate::kafka) type JoinReply = oneshot::Sender<Result<Joined, NotJoined>>;
pub(in crate::kafka) type SyncReply = oneshot::Sender<Result<Synced, ResponseError>>;

/// A member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: StrBytes,
    pub(super) instance_id: Option<StrBytes>,
    pub(super) client_id: StrBytes,
    pub(super) client_host: StrBytes,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) protocols: Vec<(StrBytes, Bytes)>,
    pub(super) assignment: Bytes,
    /// Waits for the join phase to end.
    pub(super) joining: Option<JoinReply>,
    /// Waits for the leader's assignment.
    pub(super) syncing: Option<SyncReply>,
    /// Has asked for its assignment in this generation.
    pub(super) has_synced: bool,
    /// Has not been through a rebalance yet.
    pub(super) is_new: bool,
    expires: Instant,
}

impl Member {
    pub(super) fn new(id: StrBytes, join: Join, now: Instant) -> Self {
        let mut member = Self {
            id,
            instance_id: join.instance_id.clone(),
            client_id: StrBytes::new(),
            client_host: StrBytes::new(),
            session_timeout: Duration::ZERO,
            rebalance_timeout: Duration::ZERO,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            has_synced: false,
            is_new: true,
            expires: now,
        };
        member.update(join, now);
        member
    }

    /// Takes over what a member says when it joins again.
    pub(super) fn update(&mut self, join: Join, now: Instant) {
        self.client_id = join.client_id;
        self.client_host = join.client_host;
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
        self.protocols = join.protocols;
        self.touch(now);
    }

    /// It was heard of: its session starts anew.
    pub(super) fn touch(&mut self, now: Instant) {
        self.expires = now + self.session_timeout;
    }

    /// When it is given up, unless it is heard of. One that waits for us is not; but a client that has never had an answer
    /// may be gone.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (&self.joining, &self.syncing) {
            (None, None) => Some(self.expires),
            (Some(_), _) if self.is_new => Some(self.expires + NEW_MEMBER_TIMEOUT.saturating_sub(self.session_timeout)),
            _ => None,
        }
    }

    /// Its metadata for a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| **name == *protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| **name == *protocol)
    }

    /// Bytes it holds in memory.
    pub(super) fn size(&self) -> usize {
        size_of(&self.protocols) + self.assignment.len()
    }

    /// Tells it, if it waits, that it has to do something else.
    pub(super) fn refuse(&mut self, error: ResponseError) {
        if let Some(reply) = self.joining.take() {
            let _ = reply.send(Err(NotJoined { error, member_id: self.id.clone() }));
        }
        self.refuse_sync(error);
    }

    pub(super) fn refuse_sync(&mut self, error: ResponseError) {
        if let Some(reply) = self.syncing.take() {
            let _ = reply.send(Err(error));
        }
    }
}

/// Bytes of protocols' names and metadata.
pub(super) fn size_of(protocols: &[(StrBytes, Bytes)]) -> usize {
    protocols.iter().map(|(name, metadata)| name.len() + metadata.len()).sum()
}
