//! Who is in which group: the classic group protocol's coordinator.
//!
//! Membership is volatile, as it is in Kafka: after a restart members join again. Progress is the engine's
//! ([`crate::broker::Broker::commit_offsets`]); while a group has members here the engine knows it as assigned, so that no
//! consumer of the other kind takes records from it. A group is in this table only while it has members or ids given out.

mod describe;
mod group;
mod member;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use tidegate_engine::GroupName;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(super) use group::{Claim, Group, State};
pub(super) use member::{Join, Joined, NotJoined, Synced};

use super::error::{About, code};
use super::{Config, Metrics};
use crate::broker::{Broker, Principal};
use timers::Timers;

/// Groups with members, and their timers.
pub(super) struct Coordinator {
    broker: Broker,
    config: Arc<Config>,
    metrics: Arc<Metrics>,
    groups: Mutex<HashMap<GroupName, Arc<Mutex<Entry>>>>,
    timers: Timers,
}

/// A group and what the coordinator has to know about it.
struct Entry {
    group: Group,
    /// In whose name the engine is told of it.
    principal: Principal,
    /// The engine knows it as assigned.
    is_assigned: bool,
    scheduled: Option<Instant>,
}

/// A group as DescribeGroups shows it.
pub(super) struct Description {
    pub(super) state: State,
    pub(super) protocol_type: StrBytes,
    pub(super) protocol: StrBytes,
    pub(super) members: Vec<DescribedMember>,
}

/// A member as DescribeGroups shows it.
pub(super) struct DescribedMember {
    pub(super) id: StrBytes,
    pub(super) instance_id: Option<StrBytes>,
    pub(super) client_id: StrBytes,
    pub(super) client_host: StrBytes,
    pub(super) metadata: Bytes,
    pub(super) assignment: Bytes,
}

impl Coordinator {
    pub(super) fn new(broker: Broker, config: Arc<Config>, metrics: Arc<Metrics>) -> Self {
        Self { broker, config, metrics, groups: Mutex::default(), timers: Timers::default() }
    }

    /// Ends sessions and rebalances whose time is up. Runs for ever.
    pub(super) async fn run_timers(&self) {
        loop {
            let name = self.timers.next_due().await;
            let Some(entry) = self.entry(&name) else { continue };
            self.visit(&name, &entry, |entry, now| {
                entry.scheduled = None;
                entry.group.on_time(now);
            });
        }
    }

    /// A member joins. The answer comes when the join phase is over.
    pub(super) fn join(
        &self,
        principal: &Principal,
        name: &GroupName,
        join: Join,
    ) -> Result<oneshot::Receiver<Result<Joined, NotJoined>>, ResponseError> {
        loop {
            let entry = match self.entry(name) {
                Some(entry) => entry,
                None if !join.member_id.is_empty() => return Err(ResponseError::UnknownMemberId),
                None => self.create(principal, name)?,
            };
            let joined = self.visit(name, &entry, |entry, now| {
                if !Group::only_gets_id(&join) {
                    self.assign(name, entry)?;
                }
                let (reply, answer) = oneshot::channel();
                entry.group.join(join.clone(), reply, now);
                Ok(answer)
            });
            if let Some(joined) = joined {
                return joined;
            }
        }
    }

    /// A member asks for its assignment. The answer comes when the leader has made it.
    pub(super) fn sync(
        &self,
        name: &GroupName,
        claim: Claim<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(StrBytes, Bytes)>,
    ) -> Result<oneshot::Receiver<Result<Synced, ResponseError>>, ResponseError> {
        self.with_group(name, |group, now| {
            let (reply, answer) = oneshot::channel();
            group.sync(claim, protocol, assignments, reply, now);
            answer
        })
        .ok_or(ResponseError::UnknownMemberId)
    }

    /// A member is alive.
    pub(super) fn heartbeat(&self, name: &GroupName, claim: Claim<'_>) -> Result<(), ResponseError> {
        self.with_group(name, |group, now| group.heartbeat(claim, now)).unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    /// A member leaves.
    pub(super) fn leave(&self, name: &GroupName, member: &str, instance: Option<&str>) -> Result<(), ResponseError> {
        self.with_group(name, |group, now| group.leave(member, instance, now))
            .unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    /// Whether offsets may be committed by this member.
    pub(super) fn check_commit(&self, name: &GroupName, claim: Claim<'_>) -> Result<(), ResponseError> {
        let unknown = if claim.generation < 0 { Ok(()) } else { Err(ResponseError::IllegalGeneration) };
        self.with_group(name, |group, now| group.check_commit(claim, now)).unwrap_or(unknown)
    }

    /// Whether a group has members.
    pub(super) fn has_members(&self, name: &GroupName) -> bool {
        self.entry(name).is_some_and(|entry| entry.lock().group.has_members())
    }

    /// Whether a member of the group consumes a topic, as far as its subscription can be read.
    pub(super) fn consumes(&self, name: &GroupName, topic: &str) -> bool {
        self.entry(name).is_some_and(|entry| entry.lock().group.consumes(topic))
    }

    /// The groups of a namespace with members: name, state, protocol type.
    pub(super) fn list(&self, namespace: &str) -> Vec<(GroupName, State, StrBytes)> {
        let of_namespace = |(name, _): &(&GroupName, _)| name.namespace() == namespace;
        let entries: Vec<_> = {
            let groups = self.groups.lock();
            groups.iter().filter(of_namespace).map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
        };
        let describe = |(name, entry): (GroupName, Arc<Mutex<Entry>>)| {
            let entry = entry.lock();
            (name, entry.group.state, entry.group.protocol_type.clone().unwrap_or_default())
        };
        entries.into_iter().map(describe).collect()
    }

    /// How many members each group has, of the groups that have any.
    pub(super) fn members(&self) -> Vec<(GroupName, usize)> {
        let entries: Vec<_> =
            self.groups.lock().iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect();
        let count = |(name, entry): (GroupName, Arc<Mutex<Entry>>)| (name, entry.lock().group.members.len());
        entries.into_iter().map(count).filter(|(_, members)| *members > 0).collect()
    }

    /// A group with its members.
    pub(super) fn describe(&self, name: &GroupName) -> Option<Description> {
        Some(self.entry(name)?.lock().group.describe())
    }

    fn entry(&self, name: &GroupName) -> Option<Arc<Mutex<Entry>>> {
        self.groups.lock().get(name).cloned()
    }

    fn create(&self, principal: &Principal, name: &GroupName) -> Result<Arc<Mutex<Entry>>, ResponseError> {
        let mut groups = self.groups.lock();
        if groups.len() >= self.config.max_groups && !groups.contains_key(name) {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        let entry = groups.entry(name.clone()).or_insert_with(|| {
            self.metrics.groups.add(1);
            Arc::new(Mutex::new(Entry {
                group: Group::new(Arc::clone(&self.config)),
                principal: principal.clone(),
                is_assigned: false,
                scheduled: None,
            }))
        });
        Ok(Arc::clone(entry))
    }

    fn with_group<R>(&self, name: &GroupName, act: impl FnOnce(&mut Group, Instant) -> R) -> Option<R> {
        let entry = self.entry(name)?;
        self.visit(name, &entry, |entry, now| act(&mut entry.group, now))
    }

    /// Does something to a group, and what follows from it. `None` when the group has just been forgotten.
    fn visit<R>(
        &self,
        name: &GroupName,
        entry: &Mutex<Entry>,
        act: impl FnOnce(&mut Entry, Instant) -> R,
    ) -> Option<R> {
        let mut entry = entry.lock();
        if entry.group.state == State::Dead {
            return None;
        }
        let result = act(&mut entry, Instant::now());
        self.metrics.rebalances.add(std::mem::take(&mut entry.group.rebalances));
        if entry.is_assigned && !entry.group.has_members() {
            self.unassign(name, &mut entry);
        }
        if entry.group.is_idle() {
            entry.group.state = State::Dead;
            self.timers.cancel(name, entry.scheduled.take());
            drop(entry);
            self.groups.lock().remove(name);
            self.metrics.groups.sub(1);
        } else {
            let deadline = entry.group.next_deadline();
            self.timers.schedule(name, &mut entry.scheduled, deadline);
        }
        Some(result)
    }

    fn assign(&self, name: &GroupName, entry: &mut Entry) -> Result<(), ResponseError> {
        if !entry.is_assigned {
            self.broker
                .set_assigned(&entry.principal, name.name(), true)
                .map_err(|error| code(error.kind, About::Group))?;
            entry.is_assigned = true;
        }
        Ok(())
    }

    fn unassign(&self, name: &GroupName, entry: &mut Entry) {
        entry.is_assigned = false;
        if let Err(error) = self.broker.set_assigned(&entry.principal, name.name(), false) {
            tracing::warn!(group = %name, %error, "a group could not be given back");
        }
    }
}
