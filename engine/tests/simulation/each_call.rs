//! A small fixed workload, once for every call of the storage it makes, with that call failing.

use std::collections::BTreeSet;

use tidegate_engine::EngineConfig;
use tidegate_engine::store::faulty::{End, Fault};

use crate::checker::Verdict;
use crate::world::World;
use crate::{number, peaceful_step, settle_down};

const SEED: u64 = 11;
const STEPS: u32 = 150;

/// Small segments and quick reclaim, so that a short workload rolls, snapshots, rewrites and deletes.
fn config() -> EngineConfig {
    EngineConfig {
        segment_bytes: 64 << 10,
        tail_cache_bytes: 2 << 10,
        reclaim_live_percent: 90,
        ..EngineConfig::default()
    }
}

/// The calls it made before the end.
fn run(fault: Option<(u64, Fault)>, end: End) -> Result<World, String> {
    let mut world = World::scripted(SEED, config(), fault)?;
    let verdict = workload(&mut world, end);
    if verdict.is_err() {
        let story: Vec<&String> = world.checker.trace().collect();
        eprintln!("{}", story.iter().map(|line| format!("  {line}\n")).collect::<String>());
    }
    verdict.map(|()| world)
}

fn workload(world: &mut World, end: End) -> Verdict {
    for _ in 0..STEPS {
        peaceful_step(world)?;
        if world.store.crashed() || world.poisoned {
            world.restart(end)?;
        }
    }
    Ok(())
}

#[test]
fn every_call_fails_once() {
    let calls = run(None, End::Power).map(|world| world.store.calls()).expect("it works undisturbed");
    let stride = if number("TIDEGATE_SEEDS").is_some() { 1 } else { 3 };
    let faults = [
        (Fault::Device, End::Process),
        (Fault::Full, End::Process),
        (Fault::Crash, End::Power),
        (Fault::Crash, End::Process),
    ];
    let mut points = BTreeSet::new();
    for (fault, end) in faults {
        for call in (0..calls).step_by(stride) {
            let lived = run(Some((call, fault)), end).and_then(|mut world| settle_down(&mut world).map(|()| world));
            match lived {
                Ok(world) => points.extend(world.store.injected()),
                Err(broken) => panic!("{fault:?} at call {call} of {calls}, then {end:?}: {broken}"),
            }
        }
    }
    println!("{calls} calls, {} distinct fault points", points.len());
}
