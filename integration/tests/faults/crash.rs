//! The process dies; what it acknowledged stays.

use std::time::Duration;

use tidegate_integration::load::{self, Load};
use tidegate_integration::{Gateway, Setup, http, place};

use crate::mount::Mount;

const PARTITIONS: u32 = 3;

/// Senders that were promised no duplicates.
pub fn once(sender: &str) -> bool {
    sender != "plain"
}

fn full_load(gateway: &Gateway) -> Load {
    let mut load = Load::new(gateway, "load", PARTITIONS);
    load.kafka_producer("idempotent", PARTITIONS, true);
    load.kafka_producer("plain", PARTITIONS, false);
    load.http_publisher(gateway, "http");
    load.grpc_publisher(gateway, "grpc");
    load.grpc_group(gateway, "consumers");
    load.tail();
    load
}

pub fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Random moments, from a seed that is printed.
pub struct Moments(u64);

impl Moments {
    pub fn from_seed() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
        let seed = setting("TIDEGATE_SEED", u64::try_from(now % 1_000_000_007).unwrap());
        place::report(&format!("seed {seed} (TIDEGATE_SEED repeats it)"));
        Self(seed | 1)
    }

    pub fn next(&mut self, below_ms: u64) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(self.0 % below_ms)
    }
}

#[test]
fn kill_9_under_load() {
    let kills: u32 = setting("TIDEGATE_KILLS", 10);
    let kept_gib: u64 = setting("TIDEGATE_KEPT_GIB", 0);
    let segment = if kept_gib > 0 { "128MiB" } else { "8MiB" };
    let mut gateway = Setup::default().segments(segment).start();
    if kept_gib > 0 {
        drop(Load::new(&gateway, "kept", 1));
        load::fill(&gateway, "kept", kept_gib * 1024);
    }
    let load = full_load(&gateway);
    let mut moments = Moments::from_seed();
    let mut recoveries = Vec::new();
    for _ in 0..kills {
        load.wait_acknowledged(load.acknowledged() + 50);
        std::thread::sleep(moments.next(1_000));
        gateway.restart();
        recoveries.push(gateway.ready_after);
    }
    load.wait_acknowledged(load.acknowledged() + 50);
    let history = load.finish();
    recoveries.sort();
    place::report(&format!(
        "{kills} kills with {kept_gib} GiB kept: {} acknowledged, {} stored; ready again after {:?} (median), {:?} (worst)",
        history.acked.len(),
        history.finally.len(),
        recoveries[recoveries.len() / 2],
        recoveries[recoveries.len() - 1],
    ));
    history.check(once);
}

#[test]
fn sigterm_drains_and_exits_0() {
    let mut gateway = Gateway::start();
    let load = full_load(&gateway);
    for _ in 0..3 {
        load.wait_acknowledged(load.acknowledged() + 200);
        let status = gateway.stop();
        assert!(status.success(), "{status}");
        gateway.restart();
    }
    load.wait_acknowledged(load.acknowledged() + 200);
    load.finish().check(once);
}

#[test]
fn a_power_cut_loses_nothing_acknowledged() {
    let disk = match Mount::new(1024) {
        Ok(disk) => disk,
        Err(why) => return place::skip("a_power_cut_loses_nothing_acknowledged", &why),
    };
    let data = disk.path().join("data");
    let setup = Setup::default().data(&data).segments("8MiB").expect_error("");
    let mut gateway = setup.start();
    let load = full_load(&gateway);
    for _ in 0..3 {
        load.wait_acknowledged(load.acknowledged() + 2_000);
        // A sync under way while the file system is shut down may be told that it succeeded, which no power cut could do:
        // with the power, the process stops too.
        gateway.freeze();
        if let Err(why) = disk.cut_power() {
            return place::skip("a_power_cut_loses_nothing_acknowledged", &why);
        }
        gateway.kill();
        disk.unmount().unwrap();
        disk.mount().unwrap();
        gateway.restart();
    }
    load.wait_acknowledged(load.acknowledged() + 200);
    let history = load.finish();
    place::report(&format!("3 power cuts: {} acknowledged, {} stored", history.acked.len(), history.finally.len()));
    history.check(once);
}

#[test]
fn a_second_process_is_refused() {
    let gateway = Gateway::start();
    let (status, log) = Setup::default().data(&gateway.data).start_refused();
    assert!(!status.success(), "it started: {status}");
    assert!(log.contains("in use by another process"), "the reason is not said: {log}");
    let answer = http::get(gateway.admin, "/readyz").unwrap();
    assert_eq!(answer.status, 200, "the first one goes on");
}
