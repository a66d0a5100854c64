//! The disk: it is written past the page cache; it is full, then it is not.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;

use tidegate_integration::load::{self, Load};
use tidegate_integration::{Gateway, Setup, http, place};

use crate::crash::once;
use crate::mount::Mount;

/// A disk of 64 MiB that is half full, with a gateway on it.
pub struct SmallDisk {
    ballast: PathBuf,
    _mount: Mount,
}

impl SmallDisk {
    /// None where it cannot be mounted, which is said.
    pub fn with_gateway(test: &str) -> Option<(Self, Gateway)> {
        let mount = Mount::new(64).inspect_err(|why| place::skip(test, why)).ok()?;
        let ballast = mount.path().join("ballast");
        let mut file = File::create(&ballast).unwrap();
        for _ in 0..32 {
            file.write_all(&[1; 1 << 20]).unwrap();
        }
        file.sync_all().unwrap();
        let setup = Setup::default().data(mount.path().join("data")).segments("2MiB");
        let gateway = setup.expect_error("disk").expect_error("space").start();
        Some((Self { ballast, _mount: mount }, gateway))
    }

    /// Gives the other half back.
    pub fn make_room(&self) {
        fs::remove_file(&self.ballast).unwrap();
    }
}

#[test]
fn disk_full_and_recovered() {
    let Some((disk, mut gateway)) = SmallDisk::with_gateway("disk_full_and_recovered") else { return };
    drop(Load::new(&gateway, "before", 1));
    load::fill(&gateway, "before", 2);

    let mut load = Load::new(&gateway, "load", 3);
    load.kafka_producer("idempotent", 3, true);
    load.kafka_producer("plain", 3, false);
    load.tail();
    let refusal = loop {
        let body = [b'x'; 100_000];
        // What was admitted in the moment the disk was found full is told so too, though it is written later.
        match http::send(gateway.http, "POST", "/v1/topics/before/messages", "text/plain", &body) {
            Ok(answer) if answer.status >= 400 => break answer,
            _ => {}
        }
    };
    assert!(refusal.status >= 500 && refusal.body.contains("disk is full"), "{refusal:?}");
    let acknowledged = load.acknowledged();
    assert!(gateway.is_running());
    let read = http::get(gateway.http, "/v1/topics/before/messages?partition=0&offset=0&limit=1").unwrap();
    assert_eq!(read.status, 200, "reading goes on: {read:?}");

    disk.make_room();
    load.wait_acknowledged(acknowledged + 2_000);
    let history = load.finish();
    place::report(&format!(
        "disk full at {acknowledged} acknowledged; {} in the end, {} stored, without a restart",
        history.acked.len(),
        history.finally.len()
    ));
    history.check(once);
    gateway.restart();
    let sorted = |mut stored: Vec<_>| {
        stored.sort();
        stored
    };
    assert!(sorted(load::read(&gateway, "load")) == sorted(history.finally), "after a kill -9 other than before it");
}

/// Whether the gateway has a segment open past the page cache.
fn is_direct(gateway: &Gateway) -> bool {
    const O_DIRECT: u32 = 0o40_000;
    let process = PathBuf::from(format!("/proc/{}", gateway.pid()));
    let open = fs::read_dir(process.join("fd")).unwrap().map(|entry| entry.unwrap());
    let segments =
        open.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.extension() == Some("seg".as_ref())));
    let flags = segments.map(|entry| {
        let told = fs::read_to_string(process.join("fdinfo").join(entry.file_name())).unwrap();
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        u32::from_str_radix(flags.trim(), 8).unwrap()
    });
    let flags = flags.collect::<Vec<_>>();
    assert!(!flags.is_empty());
    flags.iter().any(|flags| flags & O_DIRECT != 0)
}

#[test]
fn the_page_cache_is_passed_by_unless_it_is_wanted() {
    assert!(is_direct(&Gateway::start()));
    assert!(!is_direct(&Setup::default().set("direct_io", "false").start()));
}
