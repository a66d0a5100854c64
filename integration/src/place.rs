//! Where things are: the built binary, the clients, the caches filled by `integration/run setup`, free ports.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// A path inside `integration/`.
#[must_use]
pub fn integration(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path inside `integration/.cache`, which `integration/run setup` fills.
#[must_use]
pub fn cached(path: &str) -> PathBuf {
    let path = integration(".cache").join(path);
    assert!(path.exists(), "{} is missing: run `integration/run setup` first", path.display());
    path
}

/// The `tidegate` that was built beside the running test.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test");
    let profile = test.parent().and_then(Path::parent).expect("target/PROFILE/deps");
    let binary = profile.join("tidegate");
    assert!(binary.exists(), "{} is missing: run `cargo build -p tidegate` first", binary.display());
    binary
}

/// Ports handed out so far by this process.
static NEXT: AtomicU16 = AtomicU16::new(0);
/// Below the range from which the kernel takes the ports of outgoing connections, so that no client gets in the way.
const FIRST: u16 = 24_100;
const COUNT: u16 = 4_000;

/// A free loopback address, different at each call. The same one can be used again after a restart.
#[must_use]
pub fn free_address() -> SocketAddr {
    let start = u16::try_from(std::process::id() * 16 % u32::from(COUNT)).expect("less than COUNT");
    for _ in 0..COUNT {
        let port = FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no free port from {FIRST} on");
}

/// Whether the tests may mount and trace.
#[must_use]
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

/// Whether a program is installed.
#[must_use]
pub fn has(program: &str) -> bool {
    output(Command::new("sh").args(["-c", &format!("command -v {program}")])).is_some()
}

/// What a command prints, if it succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says that a test does not run here, and why. Not captured by the test runner.
pub fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// Prints a figure. Not captured by the test runner.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "    {line}");
}
