use std::time::Instant;

use super::*;

/// Prints what a lease and its settlement cost: `cargo test --release -p tidegate-engine -- --ignored --nocapture lease_cost`.
#[test]
#[ignore = "prints times"]
fn lease_cost() {
    for (mode, name) in [(Mode::Shared, "shared"), (Mode::OrderedByKey, "ordered by key, 1,000 keys")] {
        for in_flight in [100, 10_000] {
            let each = rounds(mode, in_flight, |offsets| offsets);
            println!("{name}, {in_flight} in flight, settled in order: {each:.0} ns per lease and acknowledgement");
            let each = rounds(mode, in_flight, |mut offsets| {
                offsets.sort_by_key(|offset| offset.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                offsets
            });
            println!("{name}, {in_flight} in flight, settled in any order: {each:.0} ns");
        }
    }
}

/// Leases and settles a million records, 100 in a call, with so many in flight.
fn rounds(mode: Mode, in_flight: u64, order: impl Fn(Vec<u64>) -> Vec<u64>) -> f64 {
    let mut group = group(GroupConfig { mode, ..GroupConfig::default() });
    let mut leased = Vec::new();
    let mut taken = Duration::ZERO;
    for from in (0..1_000_000u64).step_by(in_flight as usize) {
        let start = Instant::now();
        for offset in from..from + in_flight {
            if offset % 100 == 0 {
                let _ = std::hint::black_box(ask(&mut group, &bounds(u64::MAX), false, 0));
            }
            let key = Some(offset % 1_000);
            let offer = Offer { partition: P, offset, key, expires_at_ms: None };
            if let Outcome::Leased { .. } =
                group.lease(&offer, &Grant { consumer: A, token: 1, deadline: seconds(30), acknowledge: false }, 0)
            {
                leased.push(offset);
            }
        }
        while let Some(Next::Read { offset, .. }) = ask(&mut group, &bounds(0), false, 0).unwrap_or(None) {
            let offer = Offer { partition: P, offset, key: None, expires_at_ms: None };
            group.lease(&offer, &Grant { consumer: A, token: 1, deadline: seconds(30), acknowledge: false }, 0);
            leased.push(offset);
        }
        taken += start.elapsed();
        // Held records are freed as the ones before them are settled.
        while !leased.is_empty() {
            let offsets = order(std::mem::take(&mut leased));
            let acks: Vec<_> = offsets
                .into_iter()
                .map(|offset| Settlement::Acknowledge(LeaseId { partition: P, offset, token: 1 }))
                .collect();
            let start = Instant::now();
            for call in acks.chunks(100) {
                let settled = group.settle(call, Duration::ZERO, 0);
                settled.records.iter().for_each(|record| group.apply(record));
            }
            while let Some(Next::Read { offset, .. }) = ask(&mut group, &bounds(0), false, 0).unwrap_or(None) {
                let offer = Offer { partition: P, offset, key: None, expires_at_ms: None };
                group.lease(&offer, &Grant { consumer: A, token: 1, deadline: seconds(30), acknowledge: false }, 0);
                leased.push(offset);
            }
            taken += start.elapsed();
        }
    }
    assert_eq!(group.lowest_unacknowledged(P), 1_000_000);
    taken.as_nanos() as f64 / 1_000_000.0
}
