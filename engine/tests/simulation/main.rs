//! Producers, consumers and crashes from a seed, and a checker of the promises.
//!
//! `cargo test -p tidegate-engine --test simulation` runs a fixed number of seeds; `TIDEGATE_SEEDS=10000` runs so many
//! (add `--release` for thousands), and `TIDEGATE_SEED=42` runs one, with everything that happened in it on failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, clippy::type_complexity)]

mod checker;
mod consume;
mod damage;
mod each_call;
mod executor;
mod operate;
mod publish;
mod tables;
mod value;
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use checker::Verdict;
use tidegate_engine::store::faulty::{End, FaultPoint};
use world::World;

/// Seeds of an ordinary run: well under a minute without optimisation.
const SEEDS: u64 = 200;
/// Steps of one seed.
const STEPS: u32 = 400;

/// One step of somebody, or of nature.
fn step(world: &mut World) -> Verdict {
    match world.random.below(220) {
        0..200 => peaceful_step(world),
        200..206 => {
            world.plan_fault();
            Ok(())
        }
        206..210 => world.fill_or_free(),
        210..212 => world.verify(false),
        212..214 => world.close_and_reopen(),
        214..217 => world.restart(End::Process),
        _ => world.restart(End::Power),
    }
}

/// One step of somebody.
fn peaceful_step(world: &mut World) -> Verdict {
    match world.random.below(206) {
        200.. => world.put_entries(),
        0..35 => world.publish_plain(),
        35..50 => world.publish_idempotent(),
        50..58 => world.publish_keyed(),
        58..64 => world.publish_atomic(),
        64..68 => world.publish_fanned_out(),
        68..72 => world.publish_delayed(),
        72..86 => world.read_somewhere(),
        86..88 => world.read_outside(),
        88..90 => world.find_by_time(),
        90..96 => world.commit_progress(),
        96..112 => world.lease_some(),
        112..128 => world.settle_some(),
        128..130 => world.consumer_leaves(),
        130..136 => world.change_topics(),
        136..138 => world.remove_records(),
        138 => world.seek(),
        139..178 => world.turn(),
        178..187 => world.maintain(),
        _ => {
            world.pass_time();
            Ok(())
        }
    }
}

/// A whole life: steps and crashes, then peace, in which everything must come right.
fn live(world: &mut World) -> Verdict {
    for number in 0..STEPS {
        step(world).map_err(|broken| format!("step {number}: {broken}"))?;
        let restart = world.store.crashed() || (world.poisoned && world.random.chance(10));
        if restart {
            let end = if world.random.chance(50) { End::Power } else { End::Process };
            world.restart(end)?;
        }
    }
    settle_down(world)
}

/// Peace: everything must come right.
fn settle_down(world: &mut World) -> Verdict {
    world.enlarge();
    world.restart(End::Power)?;
    while !world.undisturbed() {
        world.restart(End::Process)?;
    }
    for _ in 0..4 {
        world.advance(Duration::from_secs(700));
        world.maintain()?;
        world.turn()?;
    }
    world.drain()?;
    world.verify(false)?;
    world.checker.finished()
}

struct Lived {
    points: BTreeSet<FaultPoint>,
    crashes: u64,
    acknowledged: u64,
}

fn run(seed: u64) -> Lived {
    let mut world = World::new(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
    if let Err(broken) = live(&mut world) {
        let story: Vec<&String> = world.checker.trace().collect();
        eprintln!("{}", story.iter().map(|line| format!("  {line}\n")).collect::<String>());
        panic!("seed {seed}: {broken}\nTIDEGATE_SEED={seed} cargo test -p tidegate-engine --test simulation promises");
    }
    Lived {
        points: world.store.injected().into_iter().collect(),
        crashes: world.crashes,
        acknowledged: world.acknowledged,
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|value| value.parse().ok())
}

#[test]
fn promises_hold_whatever_crashes() {
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SEEDS").unwrap_or(SEEDS),
    };
    let (start, count) = (Instant::now(), seeds.end - seeds.start);
    let mut points = BTreeSet::new();
    let (mut crashes, mut acknowledged) = (0, 0);
    for seed in seeds {
        if std::env::var("TIDEGATE_PROGRESS").is_ok() {
            eprintln!("seed {seed} {:?}", start.elapsed());
        }
        let lived = run(seed);
        points.extend(lived.points);
        crashes += lived.crashes;
        acknowledged += lived.acknowledged;
    }
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    println!(
        "{count} seeds, {:.0} a minute: {crashes} crashes, {} distinct fault points, {acknowledged} acknowledged writes",
        count as f64 / minutes,
        points.len()
    );
}
