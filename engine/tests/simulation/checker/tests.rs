//! Bad histories, each told as short as it can be: a checker that cannot fail proves nothing.

use std::time::Duration;

use tidegate_engine::store::faulty::End;
use tidegate_engine::{Durability, GroupName, PartitionId, Retention};
use uuid::Uuid;

use super::*;

const P: PartitionId = PartitionId(0);
const Q: PartitionId = PartitionId(1);
const DEAD: PartitionId = PartitionId(2);

fn keep_all() -> Retention {
    Retention { time: None, ..Retention::default() }
}

fn topic(checker: &mut Checker, number: u128, partition: PartitionId, durability: Durability, retention: &Retention) {
    let id = Uuid::from_u128(number);
    checker.topic_created(id, "t", &[partition], durability, retention).unwrap();
    checker.topic_acknowledged(id, 1);
}

fn checker(durability: Durability) -> Checker {
    let mut checker = Checker::default();
    for (number, partition) in [(1, P), (2, Q), (3, DEAD)] {
        topic(&mut checker, number, partition, durability, &keep_all());
    }
    checker
}

fn piece(partitions: &[PartitionId], values: &[Value]) -> Piece {
    Piece {
        partitions: partitions.to_vec(),
        values: values.iter().map(|value| (*value, None)).collect(),
        bytes: 100,
        timestamp_ms: 0,
        deliver_at_ms: None,
    }
}

fn acknowledged(checker: &mut Checker, values: &[Value], base: u64) -> UnitId {
    let unit = checker.send(vec![piece(&[P], values)]);
    checker.accepted(unit, 0, Some(base), false).unwrap();
    checker.acknowledged(unit).unwrap();
    unit
}

fn bounds(log_start: u64, high_watermark: u64) -> Bounds {
    Bounds { log_start, high_watermark }
}

fn wrong(verdict: Verdict, part: &str) {
    let message = verdict.expect_err("this history is bad");
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_good_history_is_accepted() {
    let mut c = checker(Durability::Fsync);
    acknowledged(&mut c, &[1, 2], 0);
    let lost = c.send(vec![piece(&[P, Q], &[3])]);
    c.accepted(lost, 0, Some(2), false).unwrap();
    c.crash(End::Power);
    c.scanned(P, &[(0, 1), (1, 2)], bounds(0, 2), true).unwrap();
    c.scanned(Q, &[], bounds(0, 0), true).unwrap();
    c.recovered().unwrap();
    acknowledged(&mut c, &[4], 2);
    c.read(P, 1, &[(0, 1), (1, 2), (2, 4)], bounds(0, 3)).unwrap();
    c.finished().unwrap();
}

#[test]
fn an_acknowledged_record_lost_in_a_crash() {
    let mut c = checker(Durability::Fsync);
    acknowledged(&mut c, &[1, 2], 0);
    c.crash(End::Power);
    wrong(c.scanned(P, &[(0, 1)], bounds(0, 1), true), "was promised");
}

#[test]
fn a_weaker_durability_may_lose_but_not_on_a_kill() {
    for (end, may) in [(End::Power, true), (End::Process, false)] {
        let mut c = checker(Durability::PageCache);
        acknowledged(&mut c, &[1, 2], 0);
        c.crash(end);
        let verdict = c.scanned(P, &[(0, 1)], bounds(0, 1), true);
        assert_eq!(verdict.is_ok(), may, "{verdict:?}");
    }
}

#[test]
fn an_offset_with_two_values() {
    let mut c = checker(Durability::Fsync);
    acknowledged(&mut c, &[1], 0);
    let other = c.send(vec![piece(&[P], &[2])]);
    wrong(c.accepted(other, 0, Some(0), false), "offset 0 of partition 0 has value 1 and then 2");
}

#[test]
fn a_value_with_two_offsets() {
    let mut c = checker(Durability::Fsync);
    acknowledged(&mut c, &[1], 0);
    wrong(c.read(P, 0, &[(0, 1), (1, 1)], bounds(0, 2)), "value 1 is at offset 0 and at 1");
}

#[test]
fn a_record_seen_and_lost_later_though_never_acknowledged() {
    let mut c = checker(Durability::Fsync);
    let unit = c.send(vec![piece(&[P], &[1])]);
    c.accepted(unit, 0, Some(0), false).unwrap();
    c.read(P, 0, &[(0, 1)], bounds(0, 1)).unwrap();
    c.crash(End::Power);
    wrong(c.scanned(P, &[], bounds(0, 0), true), "went back");
}

#[test]
fn a_refused_value_that_is_read() {
    let mut c = checker(Durability::Fsync);
    let unit = c.send(vec![piece(&[P], &[1])]);
    c.refused(unit);
    wrong(c.read(P, 0, &[(0, 1)], bounds(0, 1)), "was refused");
}

#[test]
fn a_value_gone_after_one_crash_and_back_after_the_next() {
    let mut c = checker(Durability::Fsync);
    let unit = c.send(vec![piece(&[P], &[1])]);
    c.accepted(unit, 0, Some(0), false).unwrap();
    c.crash(End::Power);
    c.scanned(P, &[], bounds(0, 0), true).unwrap();
    c.recovered().unwrap();
    assert_eq!(c.fate(unit), Fate::Failed);
    c.crash(End::Process);
    wrong(c.scanned(P, &[(0, 1)], bounds(0, 1), true), "was refused");
}

#[test]
fn a_gap_a_step_back_and_a_short_answer() {
    let mut c = checker(Durability::Fsync);
    acknowledged(&mut c, &[1, 2, 3], 0);
    wrong(c.read(P, 0, &[(0, 1), (2, 3)], bounds(0, 3)), "nothing between 0 and 2");
    wrong(c.read(P, 0, &[(1, 2), (0, 1)], bounds(0, 3)), "offset 0 comes after 1");
    wrong(c.read(P, 0, &[(1, 2)], bounds(0, 3)), "asked for 0, first is 1");
    wrong(c.read(P, 1, &[], bounds(0, 3)), "nothing at 1");
    wrong(c.read(P, 2, &[(0, 1)], bounds(0, 3)), "asked for 2, last is 0");
    wrong(c.bounds_seen(P, bounds(0, 2)), "went back");
}

#[test]
fn a_record_in_another_topic() {
    let mut c = checker(Durability::Fsync);
    acknowledged(&mut c, &[1], 0);
    wrong(c.read(Q, 0, &[(0, 1)], bounds(0, 1)), "is in partition 1");
    wrong(c.read(Q, 0, &[(0, 99)], bounds(0, 1)), "never sent");
}

#[test]
fn half_of_an_atomic_write() {
    let mut c = checker(Durability::Fsync);
    let unit = c.send(vec![piece(&[P], &[1]), piece(&[Q], &[2])]);
    c.accepted(unit, 0, Some(0), false).unwrap();
    c.accepted(unit, 1, Some(0), false).unwrap();
    c.crash(End::Power);
    c.scanned(P, &[(0, 1)], bounds(0, 1), true).unwrap();
    c.scanned(Q, &[], bounds(0, 0), true).unwrap();
    wrong(c.recovered(), "there in part");
}

#[test]
fn a_retry_stored_twice_or_called_a_repeat_of_nothing() {
    let mut c = checker(Durability::Fsync);
    let unit = acknowledged(&mut c, &[1], 0);
    c.retry(unit);
    wrong(c.accepted(unit, 0, Some(1), false), "not recognised");
    wrong(c.accepted(unit, 0, Some(1), true), "at offset 0 and at 1");
    let fresh = c.send(vec![piece(&[P], &[2])]);
    wrong(c.accepted(fresh, 0, Some(1), true), "called a repeat the first time");
}

#[test]
fn a_refused_retry_says_nothing_about_the_first_attempt() {
    let mut c = checker(Durability::Fsync);
    let unit = c.send(vec![piece(&[P], &[1])]);
    c.accepted(unit, 0, Some(0), false).unwrap();
    c.unanswered(unit);
    c.retry(unit);
    c.refused(unit);
    assert_eq!(c.fate(unit), Fate::Unknown);
    c.read(P, 0, &[(0, 1)], bounds(0, 1)).unwrap();
}

#[test]
fn delivered_before_its_time_or_never() {
    let mut c = checker(Durability::Fsync);
    c.clock(10);
    let unit = c.send(vec![Piece { deliver_at_ms: Some(50), ..piece(&[P], &[1]) }]);
    c.accepted(unit, 0, None, false).unwrap();
    c.acknowledged(unit).unwrap();
    wrong(c.read(P, 0, &[(0, 1)], bounds(0, 1)), "is due at 50");
    c.clock(50);
    wrong(c.finished(), "was acknowledged and is not in partition 0");
}

#[test]
fn records_removed_without_a_rule() {
    let mut c = Checker::default();
    topic(&mut c, 1, P, Durability::Fsync, &keep_all());
    acknowledged(&mut c, &[1], 0);
    acknowledged(&mut c, &[2], 1);
    wrong(c.bounds_seen(P, bounds(1, 2)), "no rule removes offset 0");
    c.removal_asked(P, 1);
    c.bounds_seen(P, bounds(1, 2)).unwrap();
}

#[test]
fn records_removed_too_early_by_time_and_bytes() {
    let mut c = Checker::default();
    topic(&mut c, 1, P, Durability::Fsync, &Retention { time: Some(Duration::from_millis(100)), ..keep_all() });
    topic(&mut c, 2, Q, Durability::Fsync, &Retention { bytes: Some(200), ..keep_all() });
    acknowledged(&mut c, &[1], 0);
    c.clock(99);
    wrong(c.bounds_seen(P, bounds(1, 1)), "no rule");
    c.clock(100);
    c.bounds_seen(P, bounds(1, 1)).unwrap();
    for (value, offset) in [(10, 0), (11, 1)] {
        let unit = c.send(vec![piece(&[Q], &[value])]);
        c.accepted(unit, 0, Some(offset), false).unwrap();
        c.acknowledged(unit).unwrap();
    }
    wrong(c.bounds_seen(Q, bounds(1, 2)), "no rule");
    let unit = c.send(vec![piece(&[Q], &[12])]);
    c.accepted(unit, 0, Some(2), false).unwrap();
    c.bounds_seen(Q, bounds(1, 3)).unwrap();
}

#[test]
fn compaction_that_takes_the_last_value_of_a_key() {
    let compact = Retention { compact: true, ..keep_all() };
    let history = |present: &[(u64, Value)]| {
        let mut c = Checker::default();
        topic(&mut c, 1, P, Durability::Fsync, &compact);
        let values = vec![(1, Some(7)), (2, Some(8)), (3, Some(7))];
        let unit = c.send(vec![Piece { values, ..piece(&[P], &[]) }]);
        c.accepted(unit, 0, Some(0), false).unwrap();
        c.acknowledged(unit).unwrap();
        c.scanned(P, present, bounds(0, 3), true)
    };
    history(&[(1, 2), (2, 3)]).unwrap();
    wrong(history(&[(0, 1), (2, 3)]), "value 2 at offset 1 is gone");
}

#[test]
fn a_poisoned_log_that_goes_on() {
    let mut c = checker(Durability::Fsync);
    let before = c.send(vec![piece(&[P], &[1])]);
    c.accepted(before, 0, Some(0), false).unwrap();
    c.poisoned();
    wrong(c.acknowledged(before), "poisoned");
    let after = c.send(vec![piece(&[P], &[2])]);
    wrong(c.accepted(after, 0, Some(1), false), "poisoned");
    c.crash(End::Process);
    c.accepted(after, 0, Some(1), false).unwrap();
}

#[test]
fn a_topic_that_is_gone_or_back() {
    let id = Uuid::from_u128(1);
    let mut c = checker(Durability::Fsync);
    let others = [(Uuid::from_u128(2), "t".into(), vec![Q]), (Uuid::from_u128(3), "t".into(), vec![DEAD])];
    wrong(c.topics_are(&others), "is gone");
    c.topic_is(id, Sure::Maybe);
    c.topics_are(&others).unwrap();
    let mut all = others.to_vec();
    all.push((id, "t".into(), vec![P]));
    wrong(c.topics_are(&all), "is back");
    wrong(c.topics_are(&[(Uuid::from_u128(9), "x".into(), vec![])]), "never created");
}

fn group(name: &str) -> GroupName {
    GroupName::new("default", name).unwrap()
}

#[test]
fn progress_that_goes_back() {
    let (mut c, g) = (checker(Durability::Fsync), group("g"));
    for (number, offset) in [(1, 5), (2, 8), (3, 9)] {
        c.commit_asked(&g, number, &[(P, offset)]);
    }
    c.commit_acknowledged(&g, 2).unwrap();
    c.crash(End::Power);
    wrong(c.clone().progress_seen(&g, &[(P, 5)], true), "is at Some(5)");
    wrong(c.clone().progress_seen(&g, &[], true), "is at None");
    c.clone().progress_seen(&g, &[(P, 9)], true).unwrap();
    c.progress_seen(&g, &[(P, 8)], true).unwrap();
    wrong(c.progress_seen(&g, &[(P, 9)], true), "is at Some(9)");
}

fn shared(max_deliveries: Option<u32>, ordered_by_key: bool) -> (Checker, GroupName) {
    let (mut c, g) = (checker(Durability::Fsync), group("s"));
    let rules = SharedRules {
        partitions: [P].into(),
        ordered_by_key,
        max_deliveries,
        dead_letters: Some(DEAD),
        max_in_flight: 2,
    };
    c.shared_group(&g, rules);
    let values = vec![(1, Some(7)), (2, Some(7)), (3, Some(8))];
    let unit = c.send(vec![Piece { values, ..piece(&[P], &[]) }]);
    c.accepted(unit, 0, Some(0), false).unwrap();
    c.acknowledged(unit).unwrap();
    (c, g)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn got(offset: u64, token: u64, attempt: u32) -> Delivered {
    let (redelivered, acknowledged) = (attempt > 1, false);
    Delivered { partition: P, offset, value: offset + 1, token, attempt, redelivered, acknowledged }
}

fn again(delivered: Delivered) -> Delivered {
    Delivered { redelivered: true, ..delivered }
}

#[test]
fn two_consumers_holding_one_record() {
    let (mut c, g) = shared(None, false);
    c.delivered(&g, 1, &[got(0, 1, 1)], secs(0), secs(10)).unwrap();
    wrong(c.delivered(&g, 2, &[got(0, 2, 2)], secs(9), secs(20)), "while 1 holds it");
    c.delivered(&g, 2, &[got(0, 2, 2)], secs(10), secs(20)).unwrap();
    c.consumer_left(&g, 2);
    c.delivered(&g, 1, &[got(0, 3, 2)], secs(11), secs(20)).unwrap();
}

#[test]
fn a_settled_record_delivered_again() {
    let (mut c, g) = shared(None, false);
    c.delivered(&g, 1, &[got(0, 1, 1)], secs(0), secs(10)).unwrap();
    c.settled(&g, (P, 0, 1), Settled::Acknowledged).unwrap();
    c.settlement_acknowledged(&g, &[(P, 0)]).unwrap();
    c.crash(End::Power);
    wrong(c.delivered(&g, 1, &[got(0, 2, 1)], secs(0), secs(10)), "after it was settled");
}

#[test]
fn an_unacknowledged_settlement_may_be_lost() {
    let (mut c, g) = shared(None, false);
    c.delivered(&g, 1, &[got(0, 1, 1)], secs(0), secs(10)).unwrap();
    c.settled(&g, (P, 0, 1), Settled::Acknowledged).unwrap();
    c.crash(End::Power);
    c.delivered(&g, 1, &[again(got(0, 2, 1))], secs(0), secs(10)).unwrap();
}

#[test]
fn a_lease_that_was_gone_is_settled() {
    let (mut c, g) = shared(None, false);
    c.delivered(&g, 1, &[got(0, 1, 1)], secs(0), secs(10)).unwrap();
    c.delivered(&g, 2, &[got(0, 2, 2)], secs(10), secs(20)).unwrap();
    assert!(!c.holds(&g, P, 0, 1, secs(10)) && c.holds(&g, P, 0, 2, secs(10)));
    wrong(c.settled(&g, (P, 0, 1), Settled::Acknowledged), "gone");
    wrong(c.settled(&g, (P, 1, 1), Settled::Acknowledged), "never had");
}

#[test]
fn too_many_leases_a_retry_too_early_and_a_wrong_attempt() {
    let (mut c, g) = shared(None, false);
    c.delivered(&g, 1, &[got(0, 1, 1), got(1, 2, 1)], secs(0), secs(10)).unwrap();
    wrong(c.delivered(&g, 1, &[got(2, 3, 1)], secs(0), secs(10)), "over 2");
    c.settled(&g, (P, 0, 1), Settled::Returned { not_before: secs(5) }).unwrap();
    wrong(c.delivered(&g, 1, &[got(0, 4, 2)], secs(4), secs(20)), "too early");
    wrong(c.delivered(&g, 1, &[got(0, 4, 3)], secs(5), secs(20)), "attempt 3");
}

#[test]
fn keys_out_of_order() {
    let (mut c, g) = shared(None, true);
    c.delivered(&g, 1, &[got(0, 1, 1), got(2, 2, 1)], secs(0), secs(10)).unwrap();
    wrong(c.delivered(&g, 1, &[got(1, 3, 1)], secs(0), secs(10)), "still outstanding at offset Some(0)");
}

#[test]
fn dead_letters_without_cause_twice_or_delivered_again() {
    let (mut c, g) = shared(Some(2), false);
    wrong(c.read(DEAD, 0, &[(0, 1)], bounds(0, 1)), "is in partition 2");
    c.delivered(&g, 1, &[got(0, 1, 1)], secs(0), secs(10)).unwrap();
    wrong(c.read(DEAD, 0, &[(0, 1)], bounds(0, 1)), "is in partition 2");
    c.delivered(&g, 1, &[got(0, 2, 2)], secs(10), secs(20)).unwrap();
    c.read(DEAD, 0, &[(0, 1)], bounds(0, 1)).unwrap();
    wrong(c.read(DEAD, 0, &[(0, 1), (1, 1)], bounds(0, 2)), "at offset 0 and at 1");
    wrong(c.delivered(&g, 1, &[got(0, 3, 2)], secs(30), secs(40)), "after it was dead-lettered");
}

#[test]
fn a_record_the_group_was_never_given() {
    let (mut c, g) = shared(None, false);
    for offset in [0, 2] {
        c.delivered(&g, 1, &[got(offset, offset, 1)], secs(0), secs(10)).unwrap();
        c.settled(&g, (P, offset, offset), Settled::Acknowledged).unwrap();
    }
    wrong(c.drained(&g), "never given offset 1");
    c.delivered(&g, 1, &[got(1, 1, 1)], secs(0), secs(10)).unwrap();
    c.settled(&g, (P, 1, 1), Settled::Acknowledged).unwrap();
    c.drained(&g).unwrap();
}

#[test]
fn a_redelivery_that_does_not_say_so_and_one_that_is_none() {
    let (mut c, g) = shared(None, false);
    wrong(c.delivered(&g, 1, &[again(got(0, 1, 1))], secs(0), secs(10)), "never handed out before");
    c.delivered(&g, 1, &[got(0, 1, 1)], secs(0), secs(10)).unwrap();
    c.consumer_left(&g, 1);
    wrong(c.delivered(&g, 1, &[got(0, 2, 1)], secs(0), secs(10)), "does not say");
    c.sought(&g, P, 0, false);
    c.delivered(&g, 1, &[got(0, 2, 1)], secs(0), secs(10)).unwrap();
    c.crash(End::Process);
    c.scanned(P, &[(0, 1), (1, 2), (2, 3)], bounds(0, 3), true).unwrap();
    c.recovered().unwrap();
    c.delivered(&g, 1, &[again(got(1, 3, 1))], secs(0), secs(10)).unwrap();
}

#[test]
fn what_was_acknowledged_as_it_was_handed_out_comes_again_only_after_a_crash() {
    let (mut c, g) = shared(None, false);
    c.delivered(&g, 1, &[Delivered { acknowledged: true, ..got(0, 0, 1) }], secs(0), secs(10)).unwrap();
    let mut crashed = c.clone();
    wrong(c.delivered(&g, 1, &[again(got(0, 2, 1))], secs(20), secs(30)), "after it was settled");
    crashed.crash(End::Process);
    crashed.delivered(&g, 1, &[again(got(0, 2, 1))], secs(0), secs(10)).unwrap();
}

#[test]
fn tables_that_are_no_moment_of_what_was_put() {
    let at = |key: &str| ("t".to_owned(), key.to_owned());
    let mut c = Checker::default();
    assert_eq!(c.put(vec![(at("a"), Some("1".into())), (at("b"), Some("1".into()))], 9), Ok(1));
    assert_eq!(c.put(vec![(at("a"), None)], 9), Ok(2));
    assert_eq!(c.put(vec![(at("c"), Some("1".into()))], 9), Ok(3));
    c.put_acknowledged(2).unwrap();
    let contents = |keys: &[&str]| keys.iter().map(|key| (at(key), "1".to_owned())).collect::<Contents>();
    c.tables_are(&contents(&["b", "c"]), false).unwrap();
    wrong(c.tables_are(&contents(&["b"]), false), "no moment");
    c.crash(End::Power);
    wrong(c.tables_are(&contents(&["a", "b"]), true), "no moment");
    wrong(c.tables_are(&contents(&["c"]), true), "no moment");
    c.tables_are(&contents(&["b"]), true).unwrap();
    wrong(c.put_refused(vec![(at("a"), Some("1".into()))], 2), "are allowed");
    wrong(c.put(vec![(at("a"), Some("1".into()))], 1).map(drop), "are over 1");
}
