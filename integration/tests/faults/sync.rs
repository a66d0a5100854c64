//! A sync that fails: nothing is promised any more until a restart.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tidegate_integration::load::Load;
use tidegate_integration::{Gateway, http, place, signal};

/// strace attached to a process, letting every sync fail.
struct FailingSync(Child);

impl FailingSync {
    fn attach(pid: u32) -> Self {
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO", "-p"]);
        command.arg(pid.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn detach(mut self) {
        signal(self.0.id(), "TERM");
        self.0.wait().unwrap();
    }
}

fn publish(gateway: &Gateway) -> http::Answer {
    http::send(gateway.http, "POST", "/v1/topics/load/messages", "text/plain", b"probe 0").unwrap()
}

#[test]
fn a_failed_sync_stops_publishing_until_a_restart() {
    if !place::has("strace") || !place::is_root() {
        return place::skip("a_failed_sync_stops_publishing_until_a_restart", "needs root and strace");
    }
    let mut gateway = Gateway::start();
    gateway.expect_error("");
    let mut load = Load::new(&gateway, "load", 3);
    load.kafka_producer("idempotent", 3, true);
    load.wait_acknowledged(500);

    let tracer = FailingSync::attach(gateway.pid());
    let start = Instant::now();
    let refused = loop {
        let answer = publish(&gateway);
        if answer.status != 201 {
            break answer;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "publishing goes on although every sync fails");
    };
    assert!((500..600).contains(&refused.status), "{refused:?}");
    tracer.detach();
    assert!(gateway.is_running(), "the process stays up");
    let refused = publish(&gateway);
    assert!((500..600).contains(&refused.status), "a sync that failed once is not trusted again: {refused:?}");
    let ready = http::get(gateway.admin, "/readyz").unwrap();
    assert_ne!(ready.status, 200, "not ready any more");

    gateway.restart();
    load.wait_acknowledged(load.acknowledged() + 200);
    let history = load.finish();
    // The probe was refused: whether it is stored, nobody was promised.
    history.check(|sender| sender == "idempotent");
}
