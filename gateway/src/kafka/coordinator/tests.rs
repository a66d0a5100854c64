//! Groups through their lives, with a clock in the hand.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use tokio::sync::oneshot::Receiver;
use tokio::time::Instant;

use super::group::{Claim, Group, State};
use super::member::{Join, Joined, NotJoined, Synced};
use crate::kafka::Config;

const SESSION: Duration = Duration::from_secs(10);
const REBALANCE: Duration = Duration::from_secs(60);
const DELAY: Duration = Duration::from_secs(3);

type Joining = Receiver<Result<Joined, NotJoined>>;
type Syncing = Receiver<Result<Synced, ResponseError>>;

/// A group and a clock.
struct Stage {
    group: Group,
    now: Instant,
}

impl Stage {
    fn new() -> Self {
        Self::with(Config { initial_rebalance_delay: DELAY, max_group_members: 3, ..Config::default() })
    }

    fn with(config: Config) -> Self {
        Self { group: Group::new(Arc::new(config)), now: Instant::now() }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.group.next_deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.group.on_time(self.now);
        }
        self.now = end;
    }

    fn join(&mut self, join: Join) -> Joining {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.group.join(join, reply, self.now);
        answer
    }

    fn sync(&mut self, joined: &Joined, shares: &[(&StrBytes, &'static str)]) -> Syncing {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let shares = shares.iter().map(|(id, share)| ((*id).clone(), Bytes::from_static(share.as_bytes()))).collect();
        self.group.sync(claim(joined), (Some(&joined.protocol_type), Some(&joined.protocol)), shares, reply, self.now);
        answer
    }

    fn heartbeat(&mut self, joined: &Joined) -> Result<(), ResponseError> {
        self.group.heartbeat(claim(joined), self.now)
    }

    /// One member, in a stable group.
    fn settled(&mut self) -> Joined {
        let answer = self.join(dynamic("a"));
        self.pass(DELAY);
        let joined = got(answer).unwrap();
        let synced = self.sync(&joined, &[(&joined.member_id, "all")]);
        assert_eq!(&got(synced).unwrap().assignment[..], b"all");
        assert_eq!(self.group.state, State::Stable);
        joined
    }

    /// A leader and a follower, in a stable group.
    fn pair(&mut self) -> (Joined, Joined) {
        let (first, second) = (self.join(dynamic("a")), self.join(dynamic("b")));
        self.pass(DELAY * 2);
        let (first, second) = (got(first).unwrap(), got(second).unwrap());
        let (leader, follower) = if first.leader == first.member_id { (first, second) } else { (second, first) };
        let waiting = self.sync(&follower, &[]);
        let led = self.sync(&leader, &[(&leader.member_id, "one"), (&follower.member_id, "two")]);
        assert_eq!(&got(led).unwrap().assignment[..], b"one");
        assert_eq!(&got(waiting).unwrap().assignment[..], b"two");
        (leader, follower)
    }
}

fn claim(joined: &Joined) -> Claim<'_> {
    Claim { member_id: &joined.member_id, instance_id: None, generation: joined.generation }
}

fn got<T>(mut answer: Receiver<T>) -> T {
    answer.try_recv().unwrap()
}

fn waits<T>(answer: &mut Receiver<T>) -> bool {
    matches!(answer.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A new member that is let in at once, as before version 4.
fn dynamic(client: &str) -> Join {
    Join {
        member_id: StrBytes::new(),
        instance_id: None,
        client_id: text(client),
        client_host: text("/127.0.0.1"),
        session_timeout: SESSION,
        rebalance_timeout: REBALANCE,
        protocol_type: text("consumer"),
        protocols: vec![(text("range"), Bytes::from_static(b"topics"))],
        requires_known_id: false,
        can_skip_assignment: false,
    }
}

fn fixed(instance: &str) -> Join {
    Join { instance_id: Some(text(instance)), ..dynamic(instance) }
}

fn again(joined: &Joined, client: &str) -> Join {
    Join { member_id: joined.member_id.clone(), ..dynamic(client) }
}

#[test]
fn the_first_rebalance_waits_and_is_extended_while_members_come() {
    let mut stage = Stage::new();
    let mut first = stage.join(dynamic("a"));
    stage.pass(DELAY / 2);
    let mut second = stage.join(dynamic("b"));
    stage.pass(DELAY / 2);
    assert!(waits(&mut first) && waits(&mut second), "b came within the delay, so another begins");
    stage.pass(DELAY);
    let (first, second) = (got(first).unwrap(), got(second).unwrap());
    assert_eq!((first.generation, second.generation), (1, 1));
    assert_eq!(first.leader, first.member_id);
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
}

#[test]
fn without_a_delay_the_first_member_starts_at_once() {
    let mut stage = Stage::with(Config { initial_rebalance_delay: Duration::ZERO, ..Config::default() });
    let joined = stage.join(dynamic("a"));
    assert_eq!(got(joined).unwrap().generation, 1);
}

#[test]
fn a_new_dynamic_member_must_come_back_with_its_id() {
    let mut stage = Stage::new();
    let refused = got(stage.join(Join { requires_known_id: true, ..dynamic("a") })).unwrap_err();
    assert_eq!(refused.error, ResponseError::MemberIdRequired);
    assert!(refused.member_id.starts_with("a-"));
    assert!(!stage.group.has_members() && !stage.group.is_idle());
    let known = Join { member_id: refused.member_id.clone(), requires_known_id: true, ..dynamic("a") };
    let joined = stage.join(known);
    stage.pass(DELAY);
    assert_eq!(got(joined).unwrap().member_id, refused.member_id);
}

#[test]
fn an_id_not_used_in_time_is_forgotten() {
    let mut stage = Stage::new();
    let refused = got(stage.join(Join { requires_known_id: true, ..dynamic("a") })).unwrap_err();
    stage.pass(SESSION);
    assert!(stage.group.is_idle());
    let late = stage.join(Join { member_id: refused.member_id, ..dynamic("a") });
    assert_eq!(got(late).unwrap_err().error, ResponseError::UnknownMemberId);
}

#[test]
fn a_second_member_makes_the_first_join_again() {
    let mut stage = Stage::new();
    let first = stage.settled();
    let mut second = stage.join(dynamic("b"));
    assert!(waits(&mut second));
    assert_eq!(stage.heartbeat(&first), Err(ResponseError::RebalanceInProgress));
    let rejoined = got(stage.join(again(&first, "a"))).unwrap();
    let second = got(second).unwrap();
    assert_eq!((rejoined.generation, second.generation), (2, 2));
    assert_eq!(stage.heartbeat(&first), Err(ResponseError::IllegalGeneration));
    assert_eq!(stage.heartbeat(&rejoined), Ok(()));
}

#[test]
fn who_does_not_join_again_within_the_rebalance_timeout_is_out() {
    let mut stage = Stage::new();
    let (leader, follower) = stage.pair();
    let mut rejoined = stage.join(again(&leader, "a"));
    // The other one lives, but does not join.
    for _ in 0..11 {
        stage.pass(SESSION / 2);
        let _ = stage.heartbeat(&follower);
        assert!(waits(&mut rejoined));
    }
    stage.pass(SESSION);
    assert_eq!(got(rejoined).unwrap().members.len(), 1);
    assert_eq!(stage.heartbeat(&follower), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_silent_member_is_out_and_the_rest_rebalance() {
    let mut stage = Stage::new();
    let (leader, follower) = stage.pair();
    stage.pass(SESSION - Duration::from_millis(1));
    assert_eq!(stage.heartbeat(&leader), Ok(()));
    stage.pass(Duration::from_millis(2));
    assert_eq!(stage.heartbeat(&follower), Err(ResponseError::UnknownMemberId));
    assert_eq!(stage.heartbeat(&leader), Err(ResponseError::RebalanceInProgress));
    assert_eq!(got(stage.join(again(&leader, "a"))).unwrap().members.len(), 1);
}

#[test]
fn the_last_to_go_leaves_an_empty_group() {
    let mut stage = Stage::new();
    let joined = stage.settled();
    assert_eq!(stage.group.leave("nobody", None, stage.now), Err(ResponseError::UnknownMemberId));
    assert_eq!(stage.group.leave(&joined.member_id, None, stage.now), Ok(()));
    assert_eq!(stage.group.state, State::Empty);
    assert!(stage.group.is_idle());
    assert_eq!(stage.heartbeat(&joined), Err(ResponseError::UnknownMemberId));
}

#[test]
fn a_leader_that_leaves_is_replaced() {
    let mut stage = Stage::new();
    let (leader, follower) = stage.pair();
    stage.group.leave(&leader.member_id, None, stage.now).unwrap();
    let rejoined = got(stage.join(again(&follower, "b"))).unwrap();
    assert_eq!(rejoined.leader, follower.member_id);
}

#[test]
fn members_that_never_ask_for_their_assignment_are_out() {
    let mut stage = Stage::new();
    let (first, second) = (stage.join(dynamic("a")), stage.join(dynamic("b")));
    stage.pass(DELAY * 2);
    let (first, second) = (got(first).unwrap(), got(second).unwrap());
    let (leader, follower) = if first.leader == first.member_id { (first, second) } else { (second, first) };
    let synced = stage.sync(&follower, &[]);
    for _ in 0..13 {
        stage.pass(SESSION / 2);
        let _ = stage.heartbeat(&leader);
    }
    assert_eq!(got(synced), Err(ResponseError::RebalanceInProgress));
    assert_eq!(stage.heartbeat(&leader), Err(ResponseError::UnknownMemberId));
    assert_eq!(got(stage.join(again(&follower, "b"))).unwrap().leader, follower.member_id);
}

#[test]
fn a_member_that_was_lost_is_told_so_before_anything_of_protocols() {
    let mut stage = Stage::new();
    let joined = stage.settled();
    let other = Joined { protocol: text("sticky"), ..joined.clone() };
    assert_eq!(got(stage.sync(&other, &[])), Err(ResponseError::InconsistentGroupProtocol));
    let late = Joined { generation: other.generation - 1, ..other.clone() };
    assert_eq!(got(stage.sync(&late, &[])), Err(ResponseError::IllegalGeneration));
    stage.group.leave(&joined.member_id, None, stage.now).unwrap();
    let _other = stage.join(Join { protocols: vec![(text("sticky"), Bytes::new())], ..dynamic("b") });
    assert_eq!(got(stage.sync(&joined, &[])), Err(ResponseError::UnknownMemberId));
}

#[test]
fn the_same_join_again_changes_nothing() {
    let mut stage = Stage::new();
    let (leader, follower) = stage.pair();
    assert_eq!(got(stage.join(again(&follower, "b"))).unwrap(), follower);
    assert_eq!(stage.group.state, State::Stable);
    // The leader's means that something has changed for it.
    let mut rejoined = stage.join(again(&leader, "a"));
    assert!(waits(&mut rejoined));
}

#[test]
fn protocols_must_have_one_in_common_and_the_most_wanted_wins() {
    let mut stage = Stage::new();
    let both = |first: &str, second: &str| {
        vec![(text(first), Bytes::from_static(b"1")), (text(second), Bytes::from_static(b"2"))]
    };
    let first = stage.join(Join { protocols: both("range", "sticky"), ..dynamic("a") });
    let second = stage.join(Join { protocols: both("sticky", "range"), ..dynamic("b") });
    let third = stage.join(Join { protocols: both("sticky", "range"), ..dynamic("c") });
    let other = stage.join(Join { protocol_type: text("connect"), ..dynamic("d") });
    let foreign = stage.join(Join { protocols: vec![(text("mine"), Bytes::new())], ..dynamic("d") });
    assert_eq!(got(other).unwrap_err().error, ResponseError::GroupMaxSizeReached, "full comes first");
    assert_eq!(got(foreign).unwrap_err().error, ResponseError::GroupMaxSizeReached);
    stage.pass(DELAY * 3);
    assert_eq!(&*got(first).unwrap().protocol, "sticky");
    drop((second, third));

    let mut stage = Stage::new();
    let _first = stage.settled();
    for join in [
        Join { protocol_type: text("connect"), ..dynamic("d") },
        Join { protocols: vec![(text("mine"), Bytes::new())], ..dynamic("d") },
        Join { protocols: vec![], ..dynamic("d") },
    ] {
        assert_eq!(got(stage.join(join)).unwrap_err().error, ResponseError::InconsistentGroupProtocol);
    }
}

#[test]
fn metadata_is_bounded() {
    let mut stage = Stage::with(Config { max_group_metadata_bytes: 100, ..Config::default() });
    let large = Join { protocols: vec![(text("range"), Bytes::from(vec![0; 100]))], ..dynamic("a") };
    assert_eq!(got(stage.join(large)).unwrap_err().error, ResponseError::GroupMaxSizeReached);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance_and_fences_its_old_self() {
    let mut stage = Stage::new();
    let first = stage.join(fixed("one"));
    let second = stage.join(fixed("two"));
    stage.pass(DELAY * 2);
    let (first, second) = (got(first).unwrap(), got(second).unwrap());
    let (leader, follower, name) =
        if first.leader == first.member_id { (first, second, "two") } else { (second, first, "one") };
    let _waiting = stage.sync(&follower, &[]);
    got(stage.sync(&leader, &[(&leader.member_id, "l"), (&follower.member_id, "f")])).unwrap();

    let back = got(stage.join(fixed(name))).unwrap();
    assert_eq!((back.generation, stage.group.state), (1, State::Stable));
    assert_ne!(back.member_id, follower.member_id);
    assert_eq!(&got(stage.sync(&back, &[])).unwrap().assignment[..], b"f");
    let old = Claim { instance_id: Some(name), ..claim(&follower) };
    assert_eq!(stage.group.heartbeat(old, stage.now), Err(ResponseError::FencedInstanceId));
    let stranger = Claim { instance_id: Some("three"), ..claim(&back) };
    assert_eq!(stage.group.heartbeat(stranger, stage.now), Err(ResponseError::UnknownMemberId));
    assert_eq!(stage.group.leave(&follower.member_id, Some(name), stage.now), Err(ResponseError::FencedInstanceId));
    assert_eq!(stage.group.leave("", Some(name), stage.now), Ok(()));
}

#[test]
fn a_static_leader_that_returns_skips_the_assignment_when_it_can() {
    let mut stage = Stage::new();
    let joined = stage.join(fixed("one"));
    stage.pass(DELAY);
    let joined = got(joined).unwrap();
    got(stage.sync(&joined, &[(&joined.member_id, "all")])).unwrap();
    let old_way = got(stage.join(fixed("one"))).unwrap();
    assert_eq!((&old_way.leader, old_way.skip_assignment), (&joined.member_id, false), "told of its old self");
    let new_way = got(stage.join(Join { can_skip_assignment: true, ..fixed("one") })).unwrap();
    assert_eq!((&new_way.leader, new_way.skip_assignment), (&new_way.member_id, true));
    assert_eq!(new_way.members.len(), 1);
}

#[test]
fn commits_are_checked_against_the_generation() {
    let mut stage = Stage::new();
    let nobody = Claim { member_id: "", instance_id: None, generation: -1 };
    assert_eq!(stage.group.check_commit(nobody, stage.now), Ok(()));
    let joined = stage.join(dynamic("a"));
    stage.pass(DELAY);
    let joined = got(joined).unwrap();
    assert_eq!(stage.group.check_commit(claim(&joined), stage.now), Err(ResponseError::RebalanceInProgress));
    got(stage.sync(&joined, &[(&joined.member_id, "all")])).unwrap();
    assert_eq!(stage.group.check_commit(claim(&joined), stage.now), Ok(()));
    assert_eq!(stage.group.check_commit(nobody, stage.now), Err(ResponseError::UnknownMemberId));
    let stale = Claim { generation: 0, ..claim(&joined) };
    assert_eq!(stage.group.check_commit(stale, stage.now), Err(ResponseError::IllegalGeneration));
    let stranger = Claim { member_id: "who", ..claim(&joined) };
    assert_eq!(stage.group.check_commit(stranger, stage.now), Err(ResponseError::UnknownMemberId));
}

mod any_order {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Join(usize),
        Sync(usize),
        Heartbeat(usize),
        Leave(usize),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..4usize).prop_map(Step::Join),
            (0..4usize).prop_map(Step::Sync),
            (0..4usize).prop_map(Step::Heartbeat),
            (0..4usize).prop_map(Step::Leave),
            (1..20_000u64).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 1..80)
    }

    proptest! {
        /// Whatever clients do, no answer is lost: with time every join and sync is answered, and a group that nobody
        /// keeps alive becomes idle.
        #[test]
        fn every_question_is_answered(steps in steps()) {
            let mut stage = Stage::with(Config { initial_rebalance_delay: DELAY, ..Config::default() });
            let mut members: Vec<Option<Joined>> = vec![None; 4];
            let mut joining: Vec<(usize, Joining)> = Vec::new();
            let mut syncing: Vec<Syncing> = Vec::new();
            for step in steps {
                match step {
                    Step::Join(at) => {
                        let join = members[at].as_ref().map_or_else(|| dynamic("c"), |joined| again(joined, "c"));
                        joining.push((at, stage.join(join)));
                    }
                    Step::Sync(at) => {
                        if let Some(joined) = members[at].clone() {
                            syncing.push(stage.sync(&joined, &[(&joined.member_id, "x")]));
                        }
                    }
                    Step::Heartbeat(at) => drop(members[at].clone().map(|joined| stage.heartbeat(&joined))),
                    Step::Leave(at) => {
                        if let Some(joined) = members[at].take() {
                            let _ = stage.group.leave(&joined.member_id, None, stage.now);
                        }
                    }
                    Step::Pass(millis) => stage.pass(Duration::from_millis(millis)),
                }
                joining.retain_mut(|(at, answer)| match answer.try_recv() {
                    Ok(answer) => {
                        members[*at] = answer.ok();
                        false
                    }
                    Err(error) => error == tokio::sync::oneshot::error::TryRecvError::Empty,
                });
                let generations = members.iter().flatten().map(|joined| joined.generation);
                prop_assert!(generations.max().unwrap_or(0) >= 0);
            }
            stage.pass(REBALANCE * 10);
            prop_assert!(joining.iter_mut().all(|(_, answer)| !waits(answer)), "a join was never answered");
            prop_assert!(syncing.iter_mut().all(|answer| !waits(answer)), "a sync was never answered");
            prop_assert!(stage.group.is_idle(), "left behind: {:?}", stage.group);
        }
    }
}
