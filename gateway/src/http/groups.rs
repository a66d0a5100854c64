//! `/v1/groups`: create, look at, change, delete, list; and the door to what is done to a group (`POST …:action`).

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer, Serialize};
use tidegate_engine::TopicName;
use tidegate_engine::group::{GroupConfig, GroupInfo, Mode, Retry, Start};
use utoipa::ToSchema;

use super::answer::{self, PageQuery};
use super::convert::{parse_time, print_time};
use super::error::{Problem, Result};
use super::extract::{Json, Params, Target};
use super::precondition;
use super::pull::pull;
use super::schema::{DurationText, NameText};
use super::seek::seek;
use super::settle::{ack, extend, nack};
use super::state::Http;
use crate::broker::{Kind, Principal};
use crate::units;

/// Settings of a group, all optional but `topics`. Created: what is not given has its default. Changed: it stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupBody {
    /// The topics it consumes.
    #[schema(value_type = Option<Vec<NameText>>, min_items = 1)]
    topics: Option<Vec<String>>,
    /// `shared`: any consumer takes the next message. `ordered-by-key`: messages of one key one after the other.
    #[schema(value_type = Option<ModeBody>)]
    mode: Option<Mode>,
    /// Where it starts on a partition it has no progress for: `earliest`, `latest`, or a time in RFC 3339.
    start: Option<String>,
    /// How long a delivery may stay unsettled when the consumer does not say, such as 30s.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    ack_deadline: Option<Duration>,
    /// Failed attempts after which a message is dead-lettered (or dropped, without `dead_letter`); null is unlimited.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1)]
    max_deliveries: Option<Option<u32>>,
    /// Delay before a failed message is delivered again.
    retry: Option<RetryBody>,
    /// The topic for messages that failed too often; null for none.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<NameText>)]
    dead_letter: Option<Option<String>>,
    /// The most unsettled deliveries.
    #[schema(minimum = 1)]
    max_in_flight: Option<u32>,
}

/// How a group hands out messages.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "kebab-case")]
#[allow(dead_code, missing_docs)]
pub enum ModeBody {
    Shared,
    OrderedByKey,
}

/// `min * multiplier^(attempt-1)`, at most `max`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryBody {
    /// Delay after the first failed attempt.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    min: Option<Duration>,
    /// The longest delay.
    #[serde(default, with = "units::optional_duration")]
    #[schema(value_type = Option<DurationText>)]
    max: Option<Duration>,
    /// Growth per attempt.
    #[schema(minimum = 1)]
    multiplier: Option<f64>,
}

/// Tells null from nothing.
#[allow(clippy::option_option)]
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

impl GroupBody {
    /// `config` with what is given here.
    fn apply(&self, namespace: &str, config: &GroupConfig) -> Result<GroupConfig> {
        let topic = |name: &String| TopicName::new(namespace, name).map_err(Problem::from);
        let mut config = config.clone();
        if let Some(topics) = &self.topics {
            config.topics = topics.iter().map(topic).collect::<Result<_>>()?;
        }
        if config.topics.is_empty() {
            return Err(Problem::invalid("topics: name at least one"));
        }
        if let Some(dead_letter) = &self.dead_letter {
            config.dead_letter = dead_letter.as_ref().map(topic).transpose()?;
        }
        config.mode = self.mode.unwrap_or(config.mode);
        config.start = self.start.as_deref().map(parse_start).transpose()?.unwrap_or(config.start);
        config.ack_deadline = self.ack_deadline.unwrap_or(config.ack_deadline);
        config.max_deliveries = self.max_deliveries.unwrap_or(config.max_deliveries);
        config.retry = self.retry.as_ref().map_or(Ok(config.retry), |retry| retry.apply(config.retry))?;
        config.max_in_flight = self.max_in_flight.unwrap_or(config.max_in_flight);
        Ok(config)
    }
}

impl RetryBody {
    fn apply(&self, retry: Retry) -> Result<Retry> {
        let multiplier = self.multiplier.unwrap_or(retry.multiplier);
        if !multiplier.is_finite() || multiplier < 1.0 {
            return Err(Problem::invalid("retry.multiplier is at least 1"));
        }
        Ok(Retry { min: self.min.unwrap_or(retry.min), max: self.max.unwrap_or(retry.max), multiplier })
    }
}

fn parse_start(text: &str) -> Result<Start> {
    match text {
        "earliest" => Ok(Start::Earliest),
        "latest" => Ok(Start::Latest),
        time => parse_time(time)
            .map(Start::Timestamp)
            .map_err(|reason| Problem::invalid(format!("start is earliest, latest or a time: {reason}"))),
    }
}

/// A group.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupView<'a> {
    /// Its name.
    name: &'a str,
    /// The topics it consumes.
    topics: Vec<&'a str>,
    /// How it hands out messages.
    #[schema(value_type = ModeBody)]
    mode: Mode,
    /// Where it starts.
    start: String,
    /// How long a delivery may stay unsettled.
    ack_deadline: String,
    /// Failed attempts after which a message is dead-lettered, or null.
    max_deliveries: Option<u32>,
    /// Delay before a failed message is delivered again.
    retry: RetryView,
    /// The topic for messages that failed too often, or null.
    dead_letter: Option<&'a str>,
    /// The most unsettled deliveries.
    max_in_flight: u32,
    /// Unsettled deliveries.
    in_flight: usize,
    /// Messages waiting for a retry delay.
    delayed: usize,
}

/// Delay before a failed message is delivered again.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetryView {
    /// After the first failed attempt.
    min: String,
    /// The longest.
    max: String,
    /// Growth per attempt.
    multiplier: f64,
}

impl<'a> GroupView<'a> {
    fn new(group: &'a GroupInfo) -> Self {
        let config = &group.config;
        let (min, max) = (units::print_duration(config.retry.min), units::print_duration(config.retry.max));
        Self {
            name: group.name.name(),
            topics: config.topics.iter().map(TopicName::name).collect(),
            mode: config.mode,
            start: match config.start {
                Start::Earliest => "earliest".to_owned(),
                Start::Latest => "latest".to_owned(),
                Start::Timestamp(ms) => print_time(ms),
            },
            ack_deadline: units::print_duration(config.ack_deadline),
            max_deliveries: config.max_deliveries,
            retry: RetryView { min, max, multiplier: config.retry.multiplier },
            dead_letter: config.dead_letter.as_ref().map(TopicName::name),
            max_in_flight: config.max_in_flight,
            in_flight: group.in_flight,
            delayed: group.delayed,
        }
    }
}

pub(super) fn find_group(http: &Http, principal: &Principal, name: &str) -> Result<GroupInfo> {
    let found = http.broker.group(principal, name)?;
    found.ok_or_else(|| Problem::not_found(format!("group '{name}' does not exist: create it first")))
}

/// Create a group.
///
/// Repeating the request is harmless: a group that is as asked for is returned. One that differs is not changed (409); change it with PATCH. `If-None-Match: *` only creates (412 if it is there).
#[utoipa::path(put, path = "/groups/{group}", tag = "groups", operation_id = "create_group",
    params(("group" = NameText, Path)),
    request_body = GroupBody,
    responses((status = 201, description = "Created", body = GroupView, headers(("Location" = String, description = "Its address"))),
        (status = 200, description = "It is there already, as asked for", body = GroupView)))]
pub(super) async fn put_group(
    State(http): State<Http>,
    target: Target,
    fields: HeaderMap,
    body: Json,
) -> Result<Response> {
    let body: GroupBody = body.read()?;
    let (principal, name) = (&target.principal, target.group());
    if let Some(group) = http.broker.group(principal, name)? {
        return existing(&fields, &body, &group);
    }
    precondition::check(&fields, false)?;
    let config = body.apply(principal.namespace(), &GroupConfig::default())?;
    match http.broker.create_group(principal, name, config).await {
        Ok(()) => {
            let group = find_group(&http, principal, name)?;
            let created = answer::json(StatusCode::CREATED, &GroupView::new(&group));
            Ok(answer::with_location(created, format!("/v1/groups/{}", answer::segment(name))))
        }
        Err(error) if error.kind == Kind::AlreadyExists => {
            existing(&fields, &body, &find_group(&http, principal, name)?)
        }
        Err(error) => Err(error.into()),
    }
}

fn existing(fields: &HeaderMap, body: &GroupBody, group: &GroupInfo) -> Result<Response> {
    precondition::check(fields, true)?;
    if body.apply(group.name.namespace(), &group.config)? == group.config {
        return Ok(answer::json(StatusCode::OK, &GroupView::new(group)));
    }
    let detail = format!("group '{}' exists with other settings: change it with PATCH", group.name);
    Err(Problem::new(StatusCode::CONFLICT, "already_exists", detail))
}

/// Look at a group.
#[utoipa::path(get, path = "/groups/{group}", tag = "groups", operation_id = "get_group",
    params(("group" = NameText, Path)),
    responses((status = 200, description = "The group", body = GroupView)))]
pub(super) async fn get_group(State(http): State<Http>, target: Target) -> Result<Response> {
    let group = find_group(&http, &target.principal, target.group())?;
    Ok(answer::json(StatusCode::OK, &GroupView::new(&group)))
}

/// Change a group.
///
/// What is not given stays, and so does its progress.
#[utoipa::path(patch, path = "/groups/{group}", tag = "groups", operation_id = "change_group",
    params(("group" = NameText, Path)),
    request_body = GroupBody,
    responses((status = 200, description = "The group as it now is", body = GroupView)))]
pub(super) async fn patch_group(
    State(http): State<Http>,
    target: Target,
    fields: HeaderMap,
    body: Json,
) -> Result<Response> {
    let body: GroupBody = body.read()?;
    let (principal, name) = (&target.principal, target.group());
    let group = find_group(&http, principal, name)?;
    precondition::check(&fields, true)?;
    let config = body.apply(principal.namespace(), &group.config)?;
    if config != group.config {
        http.broker.alter_group(principal, name, config).await?;
    }
    let group = find_group(&http, principal, name)?;
    Ok(answer::json(StatusCode::OK, &GroupView::new(&group)))
}

/// Delete a group and its progress.
#[utoipa::path(delete, path = "/groups/{group}", tag = "groups", operation_id = "delete_group",
    params(("group" = NameText, Path)),
    responses((status = 204, description = "Deleted")))]
pub(super) async fn delete_group(State(http): State<Http>, target: Target, fields: HeaderMap) -> Result<Response> {
    precondition::check(&fields, true)?;
    http.broker.delete_group(&target.principal, target.group()).await?;
    Ok(answer::no_content())
}

/// A page of groups.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupsView<'a> {
    /// By name.
    groups: Vec<GroupView<'a>>,
    /// For the next page; null on the last.
    next_cursor: Option<String>,
}

/// List groups.
#[utoipa::path(get, path = "/groups", tag = "groups", operation_id = "list_groups",
    params(PageQuery),
    responses((status = 200, description = "A page of groups, by name", body = GroupsView)))]
pub(super) async fn list_groups(
    State(http): State<Http>,
    target: Target,
    Params(query): Params<PageQuery>,
) -> Result<Response> {
    let groups = http.broker.groups(&target.principal);
    let (groups, next_cursor) = query.page(groups, |group: &GroupInfo| group.name.name(), http.config.max_page)?;
    let groups = groups.iter().map(GroupView::new).collect();
    Ok(answer::json(StatusCode::OK, &GroupsView { groups, next_cursor }))
}

// ---- actions --------------------------------------------------------------------------------------------------------

/// What is done to a group with `POST /v1/groups/{group}:action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Action {
    Pull,
    Ack,
    Nack,
    Extend,
    Seek,
}

impl Action {
    pub(super) const ALL: [Self; 5] = [Self::Pull, Self::Ack, Self::Nack, Self::Extend, Self::Seek];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Extend => "extend",
            Self::Seek => "seek",
        }
    }
}

/// Who acts on which group.
pub(super) struct Caller {
    pub principal: Principal,
    pub group: String,
}

/// `POST /v1/groups/{group}:action`. The router captures whole segments only, so the last one is split here: at its last
/// `:`, before it is percent-decoded, so that a name may contain both `:` and `%3A`.
pub(super) async fn act(State(http): State<Http>, target: Target, uri: Uri, body: Json) -> Response {
    let (group, action) = match split_action(uri.path()) {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    let caller = Caller { principal: target.principal, group };
    let done = match action {
        Action::Pull => pull(&http, &caller, &body).await,
        Action::Ack => ack(&http, &caller, &body).await,
        Action::Nack => nack(&http, &caller, &body).await,
        Action::Extend => extend(&http, &caller, &body).await,
        Action::Seek => seek(&http, &caller, &body).await,
    };
    let mut response = done.into_response();
    // For the counters.
    response.extensions_mut().insert(action);
    response
}

const OF_A_GROUP: &str = "GET, HEAD, PUT, PATCH, DELETE";

/// The methods that a group, or an action of one, has. None for other paths.
pub(super) fn methods(path: &str) -> Option<&'static str> {
    let (rest, last) = path.rsplit_once('/')?;
    rest.ends_with("/groups").then(|| if is_action(last) { "POST" } else { OF_A_GROUP })
}

fn is_action(segment: &str) -> bool {
    segment.rsplit_once(':').is_some_and(|(_, action)| Action::ALL.iter().any(|of| of.name() == action))
}

/// `PUT /v1/groups/a:pull` is a mistake, not a group of that name: that would be `/v1/groups/a%3Apull`.
pub(super) async fn refuse_actions(method: Method, uri: Uri, request: Request, next: Next) -> Response {
    match uri.path().rsplit('/').next().is_some_and(is_action) {
        true => super::method_not_allowed(method, uri).await,
        false => next.run(request).await,
    }
}

#[allow(clippy::result_large_err)]
fn split_action(path: &str) -> Result<(String, Action), Response> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let Some((name, action)) = last.rsplit_once(':') else {
        let detail = "POST needs an action, such as /v1/groups/{group}:pull";
        let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response();
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(OF_A_GROUP));
        return Err(response);
    };
    let Some(action) = Action::ALL.into_iter().find(|of| of.name() == action) else {
        let names = Action::ALL.map(Action::name).join(", ");
        return Err(Problem::not_found(format!("a group has no such action; it has {names}")).into_response());
    };
    match percent_decode_str(name).decode_utf8() {
        Ok(name) => Ok((name.into_owned(), action)),
        Err(_) => Err(Problem::invalid("the path is not UTF-8 once it is percent-decoded").into_response()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_last_colon_splits() {
        for (path, name, action) in [
            ("/groups/workers:pull", "workers", Action::Pull),
            ("/groups/a:b:ack", "a:b", Action::Ack),
            ("/groups/a:pull:nack", "a:pull", Action::Nack),
            ("/groups/a%3Apull:seek", "a:pull", Action::Seek),
            ("/groups/a%2Fb%20c:extend", "a/b c", Action::Extend),
        ] {
            assert_eq!(split_action(path).unwrap(), (name.to_owned(), action), "{path}");
        }
        for (path, status) in
            [("/groups/a", 405), ("/groups/a%3Apull", 405), ("/groups/a:go", 404), ("/groups/%ff:ack", 400)]
        {
            assert_eq!(split_action(path).unwrap_err().status().as_u16(), status, "{path}");
        }
    }
}
