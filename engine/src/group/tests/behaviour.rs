use super::*;
use crate::Error;

#[test]
fn a_partition_is_started_once() {
    let mut group = group(GroupConfig::default());
    let other = Bounds { partition: PartitionId(9), log_start: 4, high_watermark: 9 };
    assert_eq!(ask(&mut group, &[other], false, 0).unwrap(), Some(Next::Start(other.partition)));
    group.apply(&Group::start(other.partition, 6));
    group.apply(&Group::start(other.partition, 4));
    let read = Next::Read { partition: other.partition, offset: 6 };
    assert_eq!(ask(&mut group, &[other], false, 0).unwrap(), Some(read));
    assert_eq!(group.unacknowledged(other.partition, 4, 9), 3);
    assert_eq!(group.unacknowledged(PartitionId(10), 4, 9), 5);
}

#[test]
fn partitions_take_turns() {
    let mut group = group(GroupConfig::default());
    let both = [P, Q].map(|partition| Bounds { partition, log_start: 0, high_watermark: 5 });
    let turns: Vec<_> = (0..4).map(|_| ask(&mut group, &both, false, 0).unwrap().unwrap()).collect();
    assert_eq!(turns, [P, Q, P, Q].map(|partition| Next::Read { partition, offset: 0 }));
}

#[test]
fn a_record_has_one_holder() {
    let mut group = group(GroupConfig::default());
    assert_eq!(offer(&mut group, 0, None, A, 30), FIRST);
    assert_eq!(offer(&mut group, 0, None, B, 30), Outcome::Skip);
    assert_eq!(offer(&mut group, 5, None, B, 30), Outcome::Moved);
    assert_eq!(next(&mut group, 1, 0), None);
    assert_eq!(next(&mut group, 2, 0), Some(1));
}

#[test]
fn acknowledged_is_never_delivered_again() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..10, A);
    acknowledge(&mut group, [9, 3, 4, 0, 1]);
    assert_eq!((group.lowest_unacknowledged(P), group.unacknowledged(P, 0, 12)), (2, 7));
    assert_eq!(group.release_consumer(A), 5);
    let again: Vec<_> = (0..10).filter(|o| offer(&mut group, *o, None, B, 31) == again(1)).collect();
    assert_eq!(again, [2, 5, 6, 7, 8]);
}

#[test]
fn one_call_makes_one_record_of_runs() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..6, A);
    let acks: Vec<_> = [0, 1, 2, 5].map(|offset| Settlement::Acknowledge(id(offset, 30))).into();
    let settled = group.settle(&acks, Duration::ZERO, 0);
    let run = |from, to| Acknowledged { partition: P, from, to };
    assert_eq!(settled.records, [GroupRecord::Acknowledged(vec![run(0, 3), run(5, 6)])]);
}

#[test]
fn a_stale_or_repeated_settlement_is_refused() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..2, A);
    let ack = Settlement::Acknowledge(id(0, 30));
    let twice = settle(&mut group, &[ack.clone(), ack.clone(), reject(id(0, 30)), Settlement::Release(id(0, 30))]);
    assert_eq!(twice, [Ok(()), Err(Error::LeaseGone), Err(Error::LeaseGone), Err(Error::LeaseGone)]);
    assert_eq!(settle(&mut group, &[ack, Settlement::Release(id(1, 30))]), [Err(Error::LeaseGone), Ok(())]);
    // The record's next lease has another token.
    assert_eq!(offer(&mut group, 1, None, B, 31), again(1));
    assert_eq!(settle(&mut group, &[Settlement::Acknowledge(id(1, 30))]), [Err(Error::LeaseGone)]);
    assert_eq!(group.lowest_unacknowledged(P), 1);
}

#[test]
fn all_or_nothing_can_be_asked_first() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..2, A);
    let [one, two] = [0, 1].map(|offset| Settlement::Acknowledge(id(offset, 30)));
    assert_eq!(group.check(&[one.clone(), two.clone()]), Ok(()));
    assert_eq!(group.check(&[one.clone(), two, one.clone()]), Err(Error::LeaseGone));
    assert_eq!(group.check(&[one, Settlement::Acknowledge(id(5, 30))]), Err(Error::LeaseGone));
    assert_eq!(group.in_flight(), 2);
}

#[test]
fn released_goes_back_to_its_place_uncounted() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..5, A);
    assert!(
        settle(&mut group, &[Settlement::Release(id(3, 30)), Settlement::Release(id(1, 30))]).iter().all(Result::is_ok)
    );
    assert_eq!(next(&mut group, 9, 0), Some(1));
    assert_eq!(offer(&mut group, 1, None, B, 31), again(1));
    assert_eq!(next(&mut group, 9, 0), Some(3));
    assert_eq!(offer(&mut group, 3, None, B, 31), again(1));
    assert_eq!(next(&mut group, 9, 0), Some(5));
}

#[test]
fn rejected_comes_back_after_its_delay() {
    let retry = Retry { min: seconds(2), max: seconds(5), multiplier: 2.0 };
    let mut group = group(GroupConfig { retry, ..GroupConfig::default() });
    for (attempt, due_ms) in [(1, 2_000), (2, 4_000), (3, 5_000), (4, 5_000)] {
        assert_eq!(offer(&mut group, 0, None, A, 30), Outcome::Leased { attempt, redelivered: attempt > 1 });
        settle(&mut group, &[reject(id(0, 30))]);
        assert_eq!((group.next_retry(), group.info().delayed), (Some(due_ms), 1));
        assert_eq!(next(&mut group, 1, due_ms - 1), None);
        assert_eq!(offer(&mut group, 0, None, A, 30), Outcome::Skip);
        assert_eq!(next(&mut group, 1, due_ms), Some(0));
    }
    lease(&mut group, 0..1, A);
    let now = Settlement::Reject { lease: id(0, 30), delay: Some(Duration::ZERO), reason: None, dead_letter: false };
    settle(&mut group, &[now]);
    assert_eq!(next(&mut group, 1, 0), Some(0));
}

#[test]
fn a_delay_survives_a_restart() {
    let retry = Retry { min: seconds(2), ..Retry::default() };
    let mut group = group(GroupConfig { retry, ..GroupConfig::default() });
    lease(&mut group, 0..3, A);
    acknowledge(&mut group, [0, 2]);
    settle(&mut group, &[reject(id(1, 30))]);
    let mut group = Group::restore(group.snapshot());
    assert_eq!((group.lowest_unacknowledged(P), group.info().delayed, group.in_flight()), (1, 1, 0));
    assert_eq!(next(&mut group, 4, 0), Some(1));
    assert_eq!(offer(&mut group, 1, None, A, 30), Outcome::Skip);
    assert_eq!(next(&mut group, 4, 0), Some(3));
    assert_eq!(next(&mut group, 4, 2_000), Some(1));
    assert_eq!(offer(&mut group, 1, None, A, 30), again(2));
}

#[test]
fn an_expired_lease_counts_as_failed() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..2, A);
    assert_eq!(group.next_expiry(), Some(seconds(30)));
    assert!(group.expire(seconds(29), 0).records.is_empty());
    settle(&mut group, &[Settlement::Extend(id(1, 30), seconds(50))]);
    let expired = group.expire(seconds(30), 0);
    assert_eq!(group.next_expiry(), Some(seconds(31)));
    apply(&mut group, expired);
    assert_eq!(settle(&mut group, &[Settlement::Acknowledge(id(0, 30))]), [Err(Error::LeaseGone)]);
    assert_eq!(next(&mut group, 2, 0), Some(0));
    assert_eq!(offer(&mut group, 0, None, B, 90), again(2));
    assert!(group.expire(seconds(49), 0).records.is_empty());
    assert_eq!(group.next_expiry(), Some(seconds(50)));
    assert_eq!(group.expire(seconds(50), 0).records.len(), 1);
}

#[test]
fn a_failure_that_could_not_be_written_is_found_again() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..1, A);
    drop(group.expire(seconds(30), 0));
    assert!(group.expire(seconds(30), 0).records.is_empty());
    let again = group.expire(seconds(31), 0);
    apply(&mut group, again);
    assert_eq!((next(&mut group, 1, 0), group.in_flight()), (Some(0), 0));
}

#[test]
fn too_many_failures_are_dead_letters() {
    let config = GroupConfig { max_deliveries: Some(2), dead_letter: dead_letter_topic(), ..GroupConfig::default() };
    let mut group = group(config);
    lease(&mut group, 0..2, A);
    settle(&mut group, &[reject(id(0, 30))]);
    assert_eq!(next(&mut group, 2, 0), Some(0));
    assert_eq!(offer(&mut group, 0, None, A, 31), again(2));
    let mut settled = group.settle(&[reject(id(0, 31))], Duration::ZERO, 0);
    let dead = settled.dead_letters.pop().unwrap();
    assert_eq!((dead.lease, dead.death, dead.attempts), (id(0, 31), Death::DeliveryLimit, 2));
    assert_eq!((settled.records.len(), group.lowest_unacknowledged(P)), (0, 0));
    // Nobody gets or settles it while it is copied, not even its holder.
    assert_eq!(offer(&mut group, 0, None, B, 31), Outcome::Skip);
    assert_eq!(settle(&mut group, &[Settlement::Acknowledge(id(0, 31))]), [Err(Error::LeaseGone)]);
    assert_eq!(group.release_consumer(A), 1);
    let record = group.dead_lettered(std::slice::from_ref(&dead)).unwrap();
    group.apply(&record);
    assert_eq!((group.lowest_unacknowledged(P), group.in_flight()), (1, 0));
    assert_eq!(group.dead_lettered(&[dead]), None);
}

#[test]
fn a_dead_letter_that_is_not_copied_comes_round_again() {
    let config = GroupConfig { max_deliveries: Some(1), dead_letter: dead_letter_topic(), ..GroupConfig::default() };
    let mut group = group(config);
    lease(&mut group, 0..1, A);
    assert_eq!(group.settle(&[reject(id(0, 30))], Duration::ZERO, 0).dead_letters.len(), 1);
    assert_eq!(group.expire(seconds(29), 0).dead_letters.len(), 0);
    assert_eq!(group.expire(seconds(30), 0).dead_letters.len(), 1);
}

#[test]
fn rejected_for_good() {
    let for_good = Settlement::Reject { lease: id(0, 30), delay: None, reason: Some("no".into()), dead_letter: true };
    let mut with = group(GroupConfig { dead_letter: dead_letter_topic(), ..GroupConfig::default() });
    lease(&mut with, 0..1, A);
    let dead = with.settle(std::slice::from_ref(&for_good), Duration::ZERO, 0).dead_letters;
    assert_eq!((dead[0].death, dead[0].attempts, dead[0].reason.as_deref()), (Death::Rejected, 1, Some(&b"no"[..])));

    let mut without = group(GroupConfig::default());
    lease(&mut without, 0..1, A);
    assert_eq!(settle(&mut without, &[for_good]), [Ok(())]);
    assert_eq!(without.lowest_unacknowledged(P), 1);
}

#[test]
fn a_record_past_its_time_is_not_delivered() {
    let old = Offer { partition: P, offset: 0, key: None, expires_at_ms: Some(10) };
    let grant = Grant { consumer: A, token: 1, deadline: seconds(30), acknowledge: false };
    let mut with = group(GroupConfig { dead_letter: dead_letter_topic(), ..GroupConfig::default() });
    let Outcome::Dead(dead) = with.lease(&old, &grant, 10) else { panic!("it should be dead") };
    assert_eq!((dead.death, dead.attempts), (Death::Expired, 0));
    let record = with.dead_lettered(&[dead]).unwrap();
    with.apply(&record);
    assert_eq!(with.lowest_unacknowledged(P), 1);

    let mut without = group(GroupConfig { max_in_flight: 1, ..GroupConfig::default() });
    assert_eq!(without.lease(&old, &grant, 10), Outcome::Skip);
    assert_eq!(without.lease(&Offer { offset: 1, expires_at_ms: Some(11), ..old }, &grant, 10), FIRST);
    let record = without.take_skipped().unwrap();
    without.apply(&record);
    assert_eq!((without.lowest_unacknowledged(P), without.take_skipped()), (1, None));
}

#[test]
fn no_more_than_max_in_flight() {
    let mut group = group(GroupConfig { max_in_flight: 2, ..GroupConfig::default() });
    lease(&mut group, 0..2, A);
    assert_eq!(offer(&mut group, 2, None, A, 30), Outcome::Full);
    assert_eq!(next(&mut group, 9, 0), None);
    acknowledge(&mut group, [1]);
    assert_eq!(next(&mut group, 9, 0), Some(2));
}

#[test]
fn reading_stops_when_too_much_waits() {
    let mut group = group(GroupConfig { mode: Mode::OrderedByKey, ..GroupConfig::default() });
    for offset in 0..=10_000 {
        let expected = if offset == 0 { FIRST } else { Outcome::Skip };
        assert_eq!(offer(&mut group, offset, Some(1), A, 30), expected);
    }
    assert_eq!(offer(&mut group, 10_001, Some(1), A, 30), Outcome::Full);
    assert_eq!(next(&mut group, 20_000, 0), None);
    acknowledge(&mut group, [0]);
    assert_eq!(next(&mut group, 20_000, 0), Some(1));
}

#[test]
fn keys_keep_their_order() {
    let retry = Retry { min: seconds(2), ..Retry::default() };
    let mut group = group(GroupConfig { mode: Mode::OrderedByKey, retry, ..GroupConfig::default() });
    let keys = [Some(1), Some(2), Some(1), None, Some(1), Some(2)];
    let given = |group: &mut Group, deadline| {
        let walk =
            (0..6).zip(keys).filter(|(o, key)| matches!(offer(group, *o, *key, A, deadline), Outcome::Leased { .. }));
        walk.map(|(offset, _)| offset).collect::<Vec<_>>()
    };
    assert_eq!(given(&mut group, 30), [0, 1, 3]);
    settle(&mut group, &[Settlement::Release(id(0, 30)), reject(id(1, 30))]);
    assert_eq!(given(&mut group, 31), [0]);
    // Key 2 is delayed: its second record waits behind it. Key 1 goes on.
    settle(&mut group, &[Settlement::Acknowledge(id(0, 31))]);
    assert_eq!(given(&mut group, 32), [2]);
    assert_eq!(next(&mut group, 6, 1_999), None);
    assert_eq!(next(&mut group, 6, 2_000), Some(1));
    assert_eq!(given(&mut group, 33), [1]);
    settle(&mut group, &[Settlement::Acknowledge(id(1, 33)), Settlement::Acknowledge(id(2, 32))]);
    assert_eq!(given(&mut group, 34), [4, 5]);
}

#[test]
fn keys_keep_their_order_over_a_restart() {
    let retry = Retry { min: seconds(2), ..Retry::default() };
    let mut group = group(GroupConfig { mode: Mode::OrderedByKey, retry, ..GroupConfig::default() });
    assert_eq!(offer(&mut group, 0, Some(1), A, 30), FIRST);
    settle(&mut group, &[reject(id(0, 30))]);
    let mut group = Group::restore(group.snapshot());
    assert_eq!(offer(&mut group, 0, Some(1), A, 30), Outcome::Skip);
    assert_eq!(offer(&mut group, 1, Some(1), A, 30), Outcome::Skip);
    assert_eq!(offer(&mut group, 2, Some(2), A, 30), FIRST);
    assert_eq!(next(&mut group, 2, 2_000), Some(0));
    assert_eq!(offer(&mut group, 0, Some(1), A, 30), again(2));
}

#[test]
fn a_record_let_go_by_the_one_before_it_still_waits_for_its_time() {
    let retry = Retry { min: seconds(2), ..Retry::default() };
    let mut group = group(GroupConfig { retry, ..GroupConfig::default() });
    lease(&mut group, 0..2, A);
    settle(&mut group, &[reject(id(1, 30))]);
    group.set_config(GroupConfig { mode: Mode::OrderedByKey, ..group.config().clone() });
    assert_eq!(offer(&mut group, 0, Some(1), A, 30), again(1));
    assert_eq!(offer(&mut group, 1, Some(1), A, 30), Outcome::Skip);
    assert_eq!((group.next_retry(), group.info().delayed), (None, 0));
    acknowledge(&mut group, [0]);
    assert_eq!((group.next_retry(), group.info().delayed), (Some(2_000), 1));
    assert_eq!((next(&mut group, 2, 1_999), next(&mut group, 2, 2_000)), (None, Some(1)));
}

#[test]
fn what_does_not_exist_is_done() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..2, A);
    group.skip_gap(P, 2, 10);
    group.skip_gap(P, 12, 14); // further on than anybody has looked
    assert_eq!(next(&mut group, 20, 0), Some(10));
    let record = group.take_skipped().unwrap();
    group.apply(&record);
    assert_eq!(group.unacknowledged(P, 0, 10), 2);
    acknowledge(&mut group, [0]);
    settle(&mut group, &[Settlement::Release(id(1, 30))]);
    lease(&mut group, 10..11, A);
    // Compaction has removed 1 and 10 since. 10 is held by somebody, who may yet acknowledge it.
    group.skip_gap(P, 1, 11);
    let record = group.take_skipped().unwrap();
    group.apply(&record);
    assert_eq!(group.lowest_unacknowledged(P), 10);
    acknowledge(&mut group, [10]);
    assert_eq!(group.lowest_unacknowledged(P), 11);
    group.skip_gap(P, 0, 11);
    assert_eq!(group.take_skipped(), None);
}

#[test]
fn the_log_start_takes_everything_below_with_it() {
    let mut group = group(GroupConfig { mode: Mode::OrderedByKey, ..GroupConfig::default() });
    for (offset, key) in [(0, 1), (1, 2), (2, 1)] {
        offer(&mut group, offset, Some(key), A, 30);
    }
    settle(&mut group, &[reject(id(1, 30))]);
    let trimmed = [Bounds { partition: P, log_start: 2, high_watermark: 5 }];
    assert_eq!(ask(&mut group, &trimmed, false, 0).unwrap(), Some(Next::Read { partition: P, offset: 2 }));
    assert_eq!((group.in_flight(), group.info().delayed, group.lowest_unacknowledged(P)), (0, 0, 2));
    assert_eq!(settle(&mut group, &[Settlement::Acknowledge(id(0, 30))]), [Err(Error::LeaseGone)]);
    assert_eq!(offer(&mut group, 2, Some(1), A, 30), FIRST);
}

#[test]
fn a_commit_moves_forward_and_back() {
    let mut group = group(GroupConfig::default());
    let commit = |offset| OffsetCommit { partition: P, offset, leader_epoch: 3, metadata: "note".to_owned() };
    for offset in [10, 4] {
        let record = group.commit(vec![commit(offset)]).unwrap();
        group.apply(&record);
        let committed = Committed { partition: P, offset, leader_epoch: 3, metadata: "note".to_owned() };
        assert_eq!(group.committed()[0], committed);
        assert_eq!(next(&mut group, 20, 0), Some(offset));
    }
    group.apply(&Group::delete_offsets(&[P]));
    assert!(!group.has_progress(P) && group.has_progress(Q));
}

#[test]
fn assigned_and_shared_exclude_each_other() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..5, A);
    let refused = Err(Error::GroupMode { group: group.name().clone(), mode: "shared" });
    assert_eq!(group.set_assigned(true), refused);
    assert!(group.commit(Vec::new()).is_err());
    acknowledge(&mut group, [0, 1, 4]);
    group.release_consumer(A);
    group.set_assigned(true).unwrap();
    assert_eq!(group.committed()[0].offset, 2);
    assert!(ask(&mut group, &bounds(9), false, 0).is_err());
    assert!(group.seek(&[(P, 0)]).is_err());
    group.set_assigned(false).unwrap();
    assert_eq!(next(&mut group, 9, 0), Some(2));
}

#[test]
fn a_seek_drops_leases_and_later_acknowledgements() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..5, A);
    acknowledge(&mut group, [0, 1, 3]);
    let record = group.seek(&[(P, 1)]).unwrap();
    group.apply(&record);
    assert_eq!((group.in_flight(), group.unacknowledged(P, 0, 5)), (0, 4));
    assert_eq!(offer(&mut group, 2, None, B, 31), Outcome::Moved);
    assert_eq!(next(&mut group, 5, 0), Some(1));
    lease(&mut group, 1..5, B);
}

#[test]
fn a_deleted_topic_is_forgotten() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..5, A);
    group.forget_partitions(&[P]);
    assert_eq!((group.in_flight(), group.has_progress(P), group.has_progress(Q)), (0, false, true));
    assert_eq!(offer(&mut group, 0, None, A, 30), Outcome::Moved);
}

#[test]
fn another_mode_takes_leases_back() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..5, A);
    acknowledge(&mut group, [1]);
    group.set_config(GroupConfig { max_in_flight: 9, ..group.config().clone() });
    assert_eq!(group.in_flight(), 4);
    group.set_config(GroupConfig { mode: Mode::OrderedByKey, ..group.config().clone() });
    assert_eq!((group.in_flight(), group.unacknowledged(P, 0, 5)), (0, 4));
    assert_eq!(next(&mut group, 5, 0), Some(0));
}

#[test]
fn a_stuck_record_costs_nothing_for_those_above_it() {
    let mut group = group(GroupConfig::default());
    lease(&mut group, 0..1, A);
    for from in (1..1_000_000).step_by(1_000) {
        lease(&mut group, from..from + 1_000, A);
        acknowledge(&mut group, from..from + 1_000);
    }
    assert_eq!(group.snapshot().partitions[0].acknowledged, [(1, 1_000_001)]);
    acknowledge(&mut group, [0]);
    assert_eq!(group.lowest_unacknowledged(P), 1_000_001);
}

#[test]
fn a_retry_setting_never_panics() {
    let hour = seconds(3600);
    for (multiplier, min) in [(f64::NAN, 1), (f64::INFINITY, 1), (-3.0, 1), (1e300, 1), (2.0, u64::MAX)] {
        let retry = Retry { min: seconds(min), max: hour, multiplier };
        assert!([1, 2, 3, u32::MAX].map(|attempts| retry.delay(attempts)).iter().all(|delay| *delay <= hour));
    }
    assert_eq!(Retry::default().delay(u32::MAX), Duration::ZERO);
}

fn hand_over(group: &mut Group, offer: &Offer) -> Outcome {
    let grant = Grant { consumer: A, token: 0, deadline: seconds(30), acknowledge: true };
    group.lease(offer, &grant, 10)
}

#[test]
fn what_is_acknowledged_as_it_is_handed_out_is_one_record_and_no_lease() {
    let mut group = group(GroupConfig { max_in_flight: 1, ..GroupConfig::default() });
    lease(&mut group, 0..1, B);
    let plain = Offer { partition: P, offset: 1, key: None, expires_at_ms: None };
    for offset in 1..4 {
        assert_eq!(hand_over(&mut group, &Offer { offset, ..plain }), FIRST);
    }
    assert_eq!(hand_over(&mut group, &Offer { offset: 4, expires_at_ms: Some(10), ..plain }), Outcome::Skip);
    settle(&mut group, &[Settlement::Release(id(0, 30))]);
    assert_eq!(hand_over(&mut group, &Offer { offset: 0, ..plain }), again(1));
    assert_eq!(group.in_flight(), 0);
    let record = group.take_skipped().unwrap();
    let run = |from, to| Acknowledged { partition: P, from, to };
    assert_eq!(record, GroupRecord::Acknowledged(vec![run(1, 5), run(0, 1)]));
    group.apply(&record);
    assert_eq!((group.lowest_unacknowledged(P), next(&mut group, 5, 0)), (5, None));
}

#[test]
fn a_key_waits_for_a_lease_and_not_for_what_is_done_at_once() {
    let mut group = group(GroupConfig { mode: Mode::OrderedByKey, ..GroupConfig::default() });
    assert_eq!(offer(&mut group, 0, Some(1), B, 30), FIRST);
    let keyed = |offset, key| Offer { partition: P, offset, key: Some(key), expires_at_ms: None };
    assert_eq!(hand_over(&mut group, &keyed(1, 1)), Outcome::Skip);
    assert_eq!(hand_over(&mut group, &keyed(2, 2)), FIRST);
    assert_eq!(hand_over(&mut group, &keyed(3, 2)), FIRST);
    let record = group.take_skipped().unwrap();
    group.apply(&record);
    acknowledge(&mut group, [0]);
    assert_eq!((group.waiting(), next(&mut group, 4, 0)), (0, Some(1)));
    assert_eq!(hand_over(&mut group, &keyed(1, 1)), FIRST);
}

#[test]
fn what_must_be_copied_is_still_limited() {
    let config = GroupConfig { max_in_flight: 1, dead_letter: dead_letter_topic(), ..GroupConfig::default() };
    let mut group = group(config);
    let old = Offer { partition: P, offset: 0, key: None, expires_at_ms: Some(10) };
    assert!(matches!(hand_over(&mut group, &old), Outcome::Dead(_)));
    assert_eq!(hand_over(&mut group, &Offer { offset: 1, ..old }), Outcome::Full);
    assert_eq!(hand_over(&mut group, &Offer { offset: 1, expires_at_ms: None, ..old }), FIRST);
}
