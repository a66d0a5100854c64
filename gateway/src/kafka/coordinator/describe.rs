//! A group as others see it.

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ConsumerProtocolSubscription;
use kafka_protocol::protocol::{Decodable, StrBytes};

use super::group::{Group, State};
use super::member::Member;
use super::{DescribedMember, Description};

/// The protocol type of consumers.
const CONSUMER: &str = "consumer";

impl Group {
    /// The group with its members. What they agreed on is shown once they have.
    pub(super) fn describe(&self) -> Description {
        let protocol = match self.state {
            State::Stable => self.protocol.clone().unwrap_or_default(),
            _ => StrBytes::new(),
        };
        let describe = |member: &Member| DescribedMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol),
            assignment: if self.state == State::Stable { member.assignment.clone() } else { Bytes::new() },
        };
        Description {
            state: self.state,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: self.members.values().map(describe).collect(),
            protocol,
        }
    }

    /// Whether a member's subscription names a topic. A group of another protocol type, or with a subscription that cannot be
    /// read, is taken to consume everything.
    pub(super) fn consumes(&self, topic: &str) -> bool {
        if self.members.is_empty() {
            return false;
        }
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return true;
        }
        let subscriptions = self.members.values().flat_map(|member| &member.protocols);
        subscriptions.into_iter().any(|(_, metadata)| {
            subscription(metadata.clone()).is_none_or(|topics| topics.iter().any(|name| **name == *topic))
        })
    }
}

/// The topics of a consumer's subscription (`ConsumerProtocolSubscription`; later versions only add fields).
fn subscription(mut metadata: Bytes) -> Option<Vec<StrBytes>> {
    let version = metadata.try_get_i16().ok()?;
    // Counts are checked against the bytes there are before they are believed.
    let count = usize::try_from(metadata.get(..4).map(|mut count| count.get_i32())?).ok()?;
    if version < 0 || count > metadata.len() / 2 {
        return None;
    }
    ConsumerProtocolSubscription::decode(&mut metadata, 0).ok().map(|subscription| subscription.topics)
}
