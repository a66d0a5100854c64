//! The classic group protocol, as a state machine without clock or I/O: every call is given the time, and answers by the
//! reply it was given, now or at a later call.
//!
//! Behaviour follows Kafka's group coordinator (KIP-62, 345, 394, 814): a rebalance waits for the members that are there to
//! join again, at most for their rebalance timeout; the leader's assignment ends it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::member::{Join, JoinReply, Joined, Member, NotJoined, SyncReply, Synced, size_of};
use crate::kafka::Config;

type Result<T, E = ResponseError> = std::result::Result<T, E>;

/// Where a group is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) enum State {
    /// No members.
    Empty,
    /// Members are joining, until all have or the time is up.
    PreparingRebalance {
        deadline: Instant,
        /// The first rebalance waits its whole time, longer while members keep coming.
        initial: Option<Initial>,
    },
    /// Members wait for the leader's assignment; who has not asked for it in time is out.
    CompletingRebalance { deadline: Instant },
    /// Everybody has an assignment.
    Stable,
    /// Forgotten: ask the coordinator again.
    Dead,
}

/// A first rebalance's waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::kafka) struct Initial {
    /// How much longer it may be extended.
    left: Duration,
    /// Somebody came since it was last extended.
    more_came: bool,
}

impl State {
    /// Its name on the wire.
    pub(in crate::kafka) fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance { .. } => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        }
    }
}

/// Who asks, and of which generation it believes to be.
#[derive(Debug, Clone, Copy)]
pub(in crate::kafka) struct Claim<'a> {
    pub(in crate::kafka) member_id: &'a str,
    pub(in crate::kafka) instance_id: Option<&'a str>,
    pub(in crate::kafka) generation: i32,
}

/// A group's members and how far they have agreed.
#[derive(Debug)]
pub(in crate::kafka) struct Group {
    config: Arc<Config>,
    pub(super) state: State,
    generation: i32,
    pub(super) protocol_type: Option<StrBytes>,
    pub(super) protocol: Option<StrBytes>,
    leader: Option<StrBytes>,
    pub(super) members: BTreeMap<StrBytes, Member>,
    /// Member ids of static members by instance id (KIP-345).
    statics: HashMap<StrBytes, StrBytes>,
    /// Ids given to members that have not come back with them yet, and until when they may.
    pending: HashMap<StrBytes, Instant>,
    /// Rebalances completed since the coordinator last asked.
    pub(super) rebalances: usize,
}

impl Group {
    pub(in crate::kafka) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            state: State::Empty,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            statics: HashMap::new(),
            pending: HashMap::new(),
            rebalances: 0,
        }
    }

    pub(in crate::kafka) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Whether nothing would be lost by forgetting it.
    pub(in crate::kafka) fn is_idle(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    /// When [`Group::on_time`] has something to do.
    pub(in crate::kafka) fn next_deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::PreparingRebalance { deadline, .. } | State::CompletingRebalance { deadline } => Some(deadline),
            State::Empty | State::Stable | State::Dead => None,
        };
        let members = self.members.values().filter_map(Member::deadline);
        members.chain(self.pending.values().copied()).chain(state).min()
    }

    /// Does what is due: members that were not heard of are out, rebalances end.
    pub(in crate::kafka) fn on_time(&mut self, now: Instant) {
        self.pending.retain(|_, until| *until > now);
        let expired = |member: &&Member| member.deadline().is_some_and(|deadline| deadline <= now);
        let gone: Vec<StrBytes> = self.members.values().filter(expired).map(|member| member.id.clone()).collect();
        for id in gone {
            self.remove(&id, now);
        }
        match self.state {
            State::PreparingRebalance { deadline, initial } if deadline <= now => self.end_waiting(initial, now),
            State::CompletingRebalance { deadline } if deadline <= now => self.remove_unsynced(now),
            _ => self.complete_join_if_all(now),
        }
    }

    fn end_waiting(&mut self, initial: Option<Initial>, now: Instant) {
        match initial {
            Some(Initial { left, more_came: true }) if !left.is_zero() => {
                let wait = self.config.initial_rebalance_delay.min(left);
                let initial = Some(Initial { left: left - wait, more_came: false });
                self.state = State::PreparingRebalance { deadline: now + wait, initial };
            }
            _ => self.complete_join(now),
        }
    }

    fn remove_unsynced(&mut self, now: Instant) {
        let late: Vec<StrBytes> =
            self.members.values().filter(|member| !member.has_synced).map(|member| member.id.clone()).collect();
        for id in late {
            self.remove(&id, now);
        }
        // All have asked but no assignment came: the leader is among those that are here. Let them agree anew.
        self.rebalance(now);
        self.complete_join_if_all(now);
    }

    // ---- joining ------------------------------------------------------------------------------------------------

    /// A member joins, or joins again. Answered when the join phase is over.
    pub(in crate::kafka) fn join(&mut self, join: Join, reply: JoinReply, now: Instant) {
        let member_id = join.member_id.clone();
        match self.check_join(&join) {
            Ok(()) if member_id.is_empty() => self.join_new(join, reply, now),
            Ok(()) => self.join_known(join, reply, now),
            Err(error) => refuse(reply, error, member_id),
        }
        self.on_time(now);
    }

    /// Whether a join would only be given a member id.
    pub(in crate::kafka) fn only_gets_id(join: &Join) -> bool {
        join.member_id.is_empty() && join.requires_known_id && join.instance_id.is_none()
    }

    fn check_join(&self, join: &Join) -> Result<()> {
        let known = self.members.get(&join.member_id);
        let is_static = join.instance_id.as_ref().is_some_and(|instance| self.statics.contains_key(instance));
        let counted = known.is_some() || is_static || self.pending.contains_key(&join.member_id);
        if !counted && self.members.len() + self.pending.len() >= self.config.max_group_members {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        let others: usize = self.members.values().filter(|member| member.id != join.member_id).map(Member::size).sum();
        if others + size_of(&join.protocols) > self.config.max_group_metadata_bytes {
            return Err(ResponseError::GroupMaxSizeReached);
        }
        if self.agrees(join) { Ok(()) } else { Err(ResponseError::InconsistentGroupProtocol) }
    }

    /// Whether there is a protocol that everybody, this one included, supports.
    fn agrees(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let everybody = |name: &str| self.members.values().all(|member| member.supports(name));
        self.protocol_type.as_ref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| everybody(name))
    }

    fn join_new(&mut self, join: Join, reply: JoinReply, now: Instant) {
        let id = new_member_id(&join);
        if let Some(old) = join.instance_id.as_ref().and_then(|instance| self.statics.get(instance)).cloned() {
            self.replace_static(&old, id, join, reply, now);
        } else if Self::only_gets_id(&join) {
            self.pending.insert(id.clone(), now + join.session_timeout);
            refuse(reply, ResponseError::MemberIdRequired, id);
        } else {
            self.add(id, join, reply, now);
        }
    }

    fn join_known(&mut self, join: Join, reply: JoinReply, now: Instant) {
        let id = join.member_id.clone();
        if self.pending.remove(&id).is_some() {
            return self.add(id, join, reply, now);
        }
        let claim = Claim { member_id: &id, instance_id: join.instance_id.as_deref(), generation: self.generation };
        if let Err(error) = self.check_member(claim) {
            return refuse(reply, error, id);
        }
        let Some(member) = self.members.get(&id) else { return };
        let unchanged = member.protocols == join.protocols;
        let is_leader = self.leader.as_ref() == Some(&id);
        match self.state {
            // Its answer was lost, or it only asks again: nothing has changed for it.
            State::CompletingRebalance { .. } if unchanged => self.answer_again(&id, reply, now),
            State::Stable if unchanged && !is_leader => self.answer_again(&id, reply, now),
            _ => self.rejoin(&id, join, reply, now),
        }
    }

    fn answer_again(&mut self, id: &StrBytes, reply: JoinReply, now: Instant) {
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now);
        }
        let _ = reply.send(Ok(self.joined(id)));
    }

    fn rejoin(&mut self, id: &StrBytes, join: Join, reply: JoinReply, now: Instant) {
        if let Some(member) = self.members.get_mut(id) {
            member.update(join, now);
            member.joining = Some(reply);
        }
        self.rebalance(now);
    }

    fn add(&mut self, id: StrBytes, join: Join, reply: JoinReply, now: Instant) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        if let Some(instance) = &join.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        let mut member = Member::new(id.clone(), join, now);
        member.joining = Some(reply);
        self.members.insert(id, member);
        if let State::PreparingRebalance { initial: Some(initial), .. } = &mut self.state {
            initial.more_came = true;
        }
        self.rebalance(now);
    }

    /// A static member came back under a new member id: it takes the old one's place, and the old one is fenced.
    fn replace_static(&mut self, old: &StrBytes, id: StrBytes, join: Join, reply: JoinReply, now: Instant) {
        let Some(mut member) = self.members.remove(old) else { return };
        member.refuse(ResponseError::FencedInstanceId);
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        let old_leader = self.leader.clone();
        if self.leader.as_ref() == Some(old) {
            self.leader = Some(id.clone());
        }
        member.id = id.clone();
        let can_skip = join.can_skip_assignment;
        member.update(join, now);
        self.members.insert(id.clone(), member);
        if self.state == State::Stable && self.select_protocol() == self.protocol {
            let _ = reply.send(Ok(self.returned(&id, old_leader, can_skip)));
            return;
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.joining = Some(reply);
        }
        self.rebalance(now);
    }

    /// What a static member gets that returned to a stable group: its place, without a rebalance. A leader that cannot be told
    /// to skip the assignment is told of its old self as the leader, so that it makes none.
    fn returned(&self, id: &StrBytes, old_leader: Option<StrBytes>, can_skip: bool) -> Joined {
        let joined = self.joined(id);
        if can_skip {
            return Joined { skip_assignment: self.leader.as_ref() == Some(id), ..joined };
        }
        Joined { leader: old_leader.unwrap_or_default(), members: Vec::new(), ..joined }
    }

    // ---- rebalancing --------------------------------------------------------------------------------------------

    fn rebalance(&mut self, now: Instant) {
        let wait = self.rebalance_timeout();
        self.state = match self.state {
            State::PreparingRebalance { .. } | State::Dead => return,
            State::Empty => {
                let delay = self.config.initial_rebalance_delay;
                let initial = Some(Initial { left: wait.saturating_sub(delay), more_came: false });
                State::PreparingRebalance { deadline: now + delay, initial }
            }
            State::CompletingRebalance { .. } | State::Stable => {
                for member in self.members.values_mut().filter(|member| member.syncing.is_some()) {
                    // It could not be heard of while it waited.
                    member.touch(now);
                    member.refuse_sync(ResponseError::RebalanceInProgress);
                }
                State::PreparingRebalance { deadline: now + wait, initial: None }
            }
        };
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    fn complete_join_if_all(&mut self, now: Instant) {
        let all = self.members.values().all(|member| member.joining.is_some()) && self.pending.is_empty();
        if all && matches!(self.state, State::PreparingRebalance { initial: None, .. }) {
            self.complete_join(now);
        }
    }

    /// Who is here makes the next generation. Dynamic members that have not joined are out, static ones keep their place.
    fn complete_join(&mut self, now: Instant) {
        let gone = |member: &&Member| member.joining.is_none() && member.instance_id.is_none();
        let gone: Vec<StrBytes> = self.members.values().filter(gone).map(|member| member.id.clone()).collect();
        for id in gone {
            self.forget(&id);
        }
        if self.has_members() && !self.elect_leader() {
            // Only static members are left and none has come: they have until their session ends.
            self.state = State::PreparingRebalance { deadline: now + self.rebalance_timeout(), initial: None };
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.rebalances += 1;
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.state = State::Empty;
            return;
        }
        self.protocol = self.select_protocol();
        self.state = State::CompletingRebalance { deadline: now + self.rebalance_timeout() };
        self.answer_joins(now);
    }

    fn elect_leader(&mut self) -> bool {
        let joined = |id: &StrBytes| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let heir = self.members.values().find(|member| member.joining.is_some()).map(|member| member.id.clone());
        let found = heir.is_some();
        if found {
            self.leader = heir;
        }
        found
    }

    fn answer_joins(&mut self, now: Instant) {
        let ids: Vec<StrBytes> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.is_new = false;
            member.has_synced = false;
            member.touch(now);
            if let Some(reply) = member.joining.take() {
                let _ = reply.send(Ok(joined));
            }
        }
    }

    fn joined(&self, id: &StrBytes) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let is_leader = self.leader.as_ref() == Some(id);
        let describe = |member: &Member| (member.id.clone(), member.instance_id.clone(), member.metadata(&protocol));
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.clone(),
            members: if is_leader { self.members.values().map(describe).collect() } else { Vec::new() },
            skip_assignment: false,
            protocol,
        }
    }

    /// Everybody votes for what it likes best of what all support; the first with the most votes wins.
    fn select_protocol(&self) -> Option<StrBytes> {
        let everybody = |name: &StrBytes| self.members.values().all(|member| member.supports(name));
        let mut votes: Vec<(&StrBytes, usize)> = Vec::new();
        for member in self.members.values() {
            let Some((favourite, _)) = member.protocols.iter().find(|(name, _)| everybody(name)) else { continue };
            match votes.iter_mut().find(|(name, _)| *name == favourite) {
                Some((_, count)) => *count += 1,
                None => votes.push((favourite, 1)),
            }
        }
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name.clone())
    }

    // ---- assignment ---------------------------------------------------------------------------------------------

    /// A member asks for its assignment; the leader brings everybody's. Answered when the leader's is there.
    pub(in crate::kafka) fn sync(
        &mut self,
        claim: Claim<'_>,
        protocol: (Option<&str>, Option<&str>),
        assignments: Vec<(StrBytes, Bytes)>,
        reply: SyncReply,
        now: Instant,
    ) {
        if let Err(error) = self.check_sync(claim, protocol) {
            let _ = reply.send(Err(error));
            return;
        }
        match self.state {
            State::CompletingRebalance { .. } => {
                let is_leader = self.leader.as_deref() == Some(claim.member_id);
                if let Some(member) = self.members.get_mut(claim.member_id.as_bytes()) {
                    member.refuse_sync(ResponseError::RebalanceInProgress);
                    member.has_synced = true;
                    member.syncing = Some(reply);
                    member.touch(now);
                }
                if is_leader {
                    self.assign(assignments, now);
                }
            }
            State::Stable => {
                if let Some(member) = self.members.get_mut(claim.member_id.as_bytes()) {
                    member.touch(now);
                    member.syncing = Some(reply);
                }
                self.answer_syncs(now);
            }
            State::PreparingRebalance { .. } => drop(reply.send(Err(ResponseError::RebalanceInProgress))),
            State::Empty | State::Dead => drop(reply.send(Err(ResponseError::UnknownMemberId))),
        }
    }

    fn assign(&mut self, mut assignments: Vec<(StrBytes, Bytes)>, now: Instant) {
        let held: usize = self.members.values().map(|member| size_of(&member.protocols)).sum();
        assignments.retain(|(id, _)| self.members.contains_key(id));
        if held + size_of(&assignments) > self.config.max_group_metadata_bytes {
            let leader = self.leader.clone().and_then(|leader| self.members.get_mut(&leader));
            if let Some(leader) = leader {
                leader.has_synced = false;
                leader.refuse_sync(ResponseError::InvalidRequest);
            }
            return;
        }
        self.members.values_mut().for_each(|member| member.assignment = Bytes::new());
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.state = State::Stable;
        self.answer_syncs(now);
    }

    fn answer_syncs(&mut self, now: Instant) {
        for member in self.members.values_mut() {
            let Some(reply) = member.syncing.take() else { continue };
            member.touch(now);
            let _ = reply.send(Ok(Synced {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                protocol: self.protocol.clone().unwrap_or_default(),
                assignment: member.assignment.clone(),
            }));
        }
    }

    /// Who has lost its membership must hear that first: on it clients join again, on another protocol (told since version 5
    /// of SyncGroup) they give up.
    fn check_sync(&self, claim: Claim<'_>, (protocol_type, protocol): (Option<&str>, Option<&str>)) -> Result<()> {
        self.check_generation(claim)?;
        let same = |claimed: Option<&str>, ours: &Option<StrBytes>| claimed.is_none() || claimed == ours.as_deref();
        let agree = same(protocol_type, &self.protocol_type) && same(protocol, &self.protocol);
        if agree { Ok(()) } else { Err(ResponseError::InconsistentGroupProtocol) }
    }

    // ---- living and leaving -------------------------------------------------------------------------------------

    /// A member is alive.
    pub(in crate::kafka) fn heartbeat(&mut self, claim: Claim<'_>, now: Instant) -> Result<()> {
        self.check_generation(claim)?;
        if let Some(member) = self.members.get_mut(claim.member_id.as_bytes()) {
            member.touch(now);
        }
        match self.state {
            State::PreparingRebalance { .. } => Err(ResponseError::RebalanceInProgress),
            State::CompletingRebalance { .. } | State::Stable => Ok(()),
            State::Empty | State::Dead => Err(ResponseError::UnknownMemberId),
        }
    }

    /// A member leaves, named by its id, its instance id or both.
    pub(in crate::kafka) fn leave(&mut self, member_id: &str, instance_id: Option<&str>, now: Instant) -> Result<()> {
        let id = match instance_id {
            None if self.pending.remove(member_id.as_bytes()).is_some() => {
                self.on_time(now);
                return Ok(());
            }
            None => self.members.get(member_id.as_bytes()).map(|member| member.id.clone()),
            Some(instance) => match self.statics.get(instance.as_bytes()) {
                Some(id) if member_id.is_empty() || **id == *member_id => Some(id.clone()),
                Some(_) => return Err(ResponseError::FencedInstanceId),
                None => None,
            },
        };
        self.remove(&id.ok_or(ResponseError::UnknownMemberId)?, now);
        self.on_time(now);
        Ok(())
    }

    fn remove(&mut self, id: &StrBytes, now: Instant) {
        self.forget(id);
        self.rebalance(now);
    }

    fn forget(&mut self, id: &StrBytes) {
        let Some(mut member) = self.members.remove(id) else { return };
        member.refuse(ResponseError::UnknownMemberId);
        if let Some(instance) = &member.instance_id {
            self.statics.remove(instance);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    /// Whether offsets may be committed by this member; of nobody in particular, only while there are no members.
    pub(in crate::kafka) fn check_commit(&mut self, claim: Claim<'_>, now: Instant) -> Result<()> {
        let anonymous = claim.generation < 0;
        if anonymous && self.members.is_empty() {
            return Ok(());
        }
        if anonymous && claim.member_id.is_empty() && claim.instance_id.is_none() {
            return Err(ResponseError::UnknownMemberId);
        }
        self.check_generation(claim)?;
        if let Some(member) = self.members.get_mut(claim.member_id.as_bytes()) {
            member.touch(now);
        }
        match self.state {
            State::CompletingRebalance { .. } => Err(ResponseError::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn check_generation(&self, claim: Claim<'_>) -> Result<()> {
        self.check_member(claim)?;
        if claim.generation == self.generation { Ok(()) } else { Err(ResponseError::IllegalGeneration) }
    }

    fn check_member(&self, claim: Claim<'_>) -> Result<()> {
        if let Some(instance) = claim.instance_id {
            match self.statics.get(instance.as_bytes()) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(id) if **id != *claim.member_id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(claim.member_id.as_bytes()) { Ok(()) } else { Err(ResponseError::UnknownMemberId) }
    }
}

fn refuse(reply: JoinReply, error: ResponseError, member_id: StrBytes) {
    let _ = reply.send(Err(NotJoined { error, member_id }));
}

/// An id nobody else has, recognisable in a listing.
fn new_member_id(join: &Join) -> StrBytes {
    let name = join.instance_id.as_ref().unwrap_or(&join.client_id);
    StrBytes::from_string(format!("{}-{}", &**name, Uuid::new_v4()))
}
