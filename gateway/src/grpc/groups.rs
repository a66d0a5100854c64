//! Admin's groups: create, show, list, delete.

use tidegate_engine::TopicName;
use tidegate_engine::group::{GroupConfig, GroupInfo, Mode, Retry, Start};
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::position::Position as Where;

use super::error::{Refusal, Result, known};
use super::page::page;
use super::seek::anchor;
use super::state::Grpc;
use super::time::{deadline, duration, optional_length, timestamp};
use crate::broker::Anchor;

impl Grpc {
    /// A group there is.
    pub(super) fn find_group(&self, name: &str) -> Result<GroupInfo> {
        let found = self.broker.group(&self.principal, name)?;
        found.ok_or_else(|| {
            let words = format!(
                "group '{}' does not exist: create it with Admin.CreateGroup, or PUT /v1/groups/… over HTTP",
                name.escape_debug()
            );
            Refusal::not_found(words)
        })
    }
}

pub(super) async fn create(grpc: &Grpc, request: proto::CreateGroupRequest) -> Result<proto::Group> {
    let config = settings(grpc.principal.namespace(), request.config.unwrap_or_default())?;
    grpc.broker.create_group(&grpc.principal, &request.group, config).await?;
    get(grpc, &request.group)
}

pub(super) async fn delete(grpc: &Grpc, name: &str) -> Result<proto::DeleteGroupResponse> {
    grpc.broker.delete_group(&grpc.principal, name).await?;
    Ok(proto::DeleteGroupResponse {})
}

pub(super) fn get(grpc: &Grpc, name: &str) -> Result<proto::Group> {
    Ok(shown(&grpc.find_group(name)?))
}

pub(super) fn list(grpc: &Grpc, request: &proto::ListGroupsRequest) -> Result<proto::ListGroupsResponse> {
    let groups = grpc.broker.groups(&grpc.principal);
    let name = |group: &GroupInfo| group.name.name().to_owned();
    let (groups, next_page_token) = page(groups, name, request.page_size, &request.page_token, grpc.config.max_page);
    Ok(proto::ListGroupsResponse { groups: groups.iter().map(shown).collect(), next_page_token })
}

fn settings(namespace: &str, given: proto::GroupConfig) -> Result<GroupConfig> {
    let topic = |name: &str| TopicName::new(namespace, name).map_err(Refusal::from);
    let default = GroupConfig::default();
    if given.topics.is_empty() {
        return Err(Refusal::invalid("topics: name at least one"));
    }
    let mode = match known::<proto::GroupMode>("mode", given.mode)? {
        proto::GroupMode::Unspecified | proto::GroupMode::Shared => Mode::Shared,
        proto::GroupMode::OrderedByKey => Mode::OrderedByKey,
    };
    let start = match given.start.as_ref().map(anchor).transpose().map_err(|refusal| refusal.within("start"))? {
        None | Some(Anchor::Earliest) => Start::Earliest,
        Some(Anchor::Latest) => Start::Latest,
        Some(Anchor::Time(ms)) => Start::Timestamp(ms),
    };
    Ok(GroupConfig {
        topics: given.topics.iter().map(|name| topic(name)).collect::<Result<_>>()?,
        mode,
        start,
        ack_deadline: deadline(given.ack_deadline.as_ref())?.unwrap_or(default.ack_deadline),
        max_deliveries: given.max_deliveries.or(default.max_deliveries),
        retry: retry(&given.retry.unwrap_or_default(), default.retry)?,
        dead_letter: match given.dead_letter.as_str() {
            "" => None,
            name => Some(topic(name)?),
        },
        max_in_flight: given.max_in_flight.unwrap_or(default.max_in_flight),
    })
}

fn retry(given: &proto::Retry, default: Retry) -> Result<Retry> {
    let multiplier = given.multiplier.unwrap_or(default.multiplier);
    if !multiplier.is_finite() || multiplier < 1.0 {
        return Err(Refusal::invalid("retry.multiplier is at least 1"));
    }
    Ok(Retry {
        min: optional_length("retry.min", given.min.as_ref())?.unwrap_or(default.min),
        max: optional_length("retry.max", given.max.as_ref())?.unwrap_or(default.max),
        multiplier,
    })
}

fn shown(group: &GroupInfo) -> proto::Group {
    let GroupInfo { name, config, in_flight, delayed } = group;
    let mode = match config.mode {
        Mode::Shared => proto::GroupMode::Shared,
        Mode::OrderedByKey => proto::GroupMode::OrderedByKey,
    };
    let start = match config.start {
        Start::Earliest => Where::Anchor(proto::Anchor::Earliest.into()),
        Start::Latest => Where::Anchor(proto::Anchor::Latest.into()),
        Start::Timestamp(ms) => Where::Timestamp(timestamp(ms)),
    };
    let retry = proto::Retry {
        min: Some(duration(config.retry.min)),
        max: Some(duration(config.retry.max)),
        multiplier: Some(config.retry.multiplier),
    };
    let config = proto::GroupConfig {
        topics: config.topics.iter().map(|topic| topic.name().to_owned()).collect(),
        mode: mode.into(),
        start: Some(proto::Position { position: Some(start) }),
        ack_deadline: Some(duration(config.ack_deadline)),
        max_deliveries: config.max_deliveries,
        retry: Some(retry),
        dead_letter: config.dead_letter.as_ref().map(|topic| topic.name().to_owned()).unwrap_or_default(),
        max_in_flight: Some(config.max_in_flight),
    };
    proto::Group {
        name: name.name().to_owned(),
        config: Some(config),
        in_flight: *in_flight as u64,
        delayed: *delayed as u64,
    }
}
