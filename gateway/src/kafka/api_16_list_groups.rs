//! ListGroups (key 16), versions 0 to 5.
//!
//! Every group of the namespace, those of other protocols included: to a Kafka client a group without classic members is Empty and
//! has no protocol type. All are of type `classic` (version 5, KIP-848).

use std::collections::BTreeMap;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::api::{Versions, versions};
use super::context::Context;
use super::coordinator::State;

pub(super) const VERSIONS: Versions = versions(0, 5);

const TYPE: &str = "classic";

pub(super) async fn handle(context: &Context<'_>, request: ListGroupsRequest) -> ListGroupsResponse {
    let mut groups = BTreeMap::new();
    for group in context.broker().groups(context.principal()) {
        groups.insert(group.name.name().to_owned(), (State::Empty, StrBytes::new()));
    }
    for (name, state, protocol_type) in context.listener.coordinator.list(context.principal().namespace()) {
        groups.insert(name.name().to_owned(), (state, protocol_type));
    }
    let listed =
        |name: &str, filter: &[StrBytes]| filter.is_empty() || filter.iter().any(|f| f.eq_ignore_ascii_case(name));
    let groups = groups
        .into_iter()
        .filter(|(_, (state, _))| listed(state.name(), &request.states_filter) && listed(TYPE, &request.types_filter));
    ListGroupsResponse::default().with_groups(groups.map(|group| list(context, group)).collect())
}

fn list(context: &Context<'_>, (name, (state, protocol_type)): (String, (State, StrBytes))) -> ListedGroup {
    let version = context.version();
    let since = |first, text| if version >= first { StrBytes::from_static_str(text) } else { StrBytes::new() };
    ListedGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(name)))
        .with_protocol_type(protocol_type)
        .with_group_state(since(4, state.name()))
        .with_group_type(since(5, TYPE))
}
