//! The binary as people and scripts use it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const TIDEGATE: &str = env!("CARGO_BIN_EXE_tidegate");

/// A gateway in a process of its own, stopped with SIGTERM.
struct Gateway {
    process: Child,
    ready: String,
    _home: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let free = "127.0.0.1:0";
        let mut process = Command::new(TIDEGATE)
            .args([
                "serve",
                "--http",
                free,
                "--kafka",
                free,
                "--amqp",
                free,
                "--grpc",
                free,
                "--admin",
                free,
                "--data-dir",
            ])
            .arg(home.path().join("data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert!(ready.starts_with("READY "), "{ready}");
        Self { process, ready, _home: home }
    }

    fn address(&self, listener: &str) -> &str {
        self.ready.split_whitespace().find_map(|word| word.strip_prefix(listener)?.strip_prefix('=')).unwrap()
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(TIDEGATE);
        command.args(arguments).env("TIDEGATE_SERVER", format!("http://{}", self.address("http")));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.client(arguments).output().unwrap()
    }

    /// What a command that works prints.
    fn tell(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn publish(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = self.client(arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(input).unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn stop(mut self) -> i32 {
        terminate(&self.process);
        self.process.wait().unwrap().code().unwrap()
    }
}

fn terminate(process: &Child) {
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Only after a failed assertion is it still there.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn code(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_is_published_is_subscribed_to() {
    let gateway = Gateway::start();
    gateway.publish(&["publish", "orders", "--lines"], b"one\ntwo\n\xff\x00three\n");
    gateway.publish(&["publish", "orders", "--key", "k", "--header", "trace=a=b"], b"four\nlines");
    let read = gateway.run(&["subscribe", "orders", "--from", "earliest", "--count", "4"]).stdout;
    assert_eq!(read, b"one\ntwo\n\xff\x00three\nfour\nlines\n");
    let json =
        gateway.tell(&["subscribe", "orders", "--from", "3", "--partition", "0", "--count", "1", "--output", "json"]);
    let message: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&message["key"], &message["offset"], &message["text"]),
        (&"k".into(), &3.into(), &"four\nlines".into())
    );
    assert_eq!(message["headers"][0]["name"], "trace");
    assert_eq!(message["headers"][0]["value"], "a=b");
    assert_eq!(gateway.stop(), 0);
}

#[test]
fn a_group_continues_where_it_was() {
    let gateway = Gateway::start();
    gateway.publish(&["publish", "orders", "--lines"], b"1\n2\n3\n4\n");
    gateway.tell(&["groups", "create", "billing", "--topic", "orders"]);
    assert_eq!(gateway.tell(&["subscribe", "--group", "billing", "--count", "3"]), "1\n2\n3\n");
    let lag: Value = serde_json::from_str(&gateway.tell(&["groups", "lag", "billing", "--output", "json"])).unwrap();
    assert_eq!(lag["messages"], 1, "{lag}");
    assert_eq!(gateway.tell(&["subscribe", "--group", "billing", "--count", "1"]), "4\n");
    gateway.tell(&["groups", "seek", "billing", "2", "--topic", "orders", "--partition", "0"]);
    assert_eq!(gateway.tell(&["subscribe", "--group", "billing", "--count", "2"]), "3\n4\n");
    gateway.tell(&["groups", "seek", "billing", "earliest"]);
    assert!(gateway.tell(&["groups", "list"]).contains("billing"));
    assert!(gateway.tell(&["groups", "describe", "billing"]).contains("orders"));
    gateway.tell(&["groups", "delete", "billing"]);
    assert_eq!(gateway.run(&["groups", "describe", "billing"]).status.code(), Some(4));
    assert_eq!(gateway.stop(), 0);
}

#[test]
fn topics_are_managed() {
    let gateway = Gateway::start();
    let create = ["topics", "create", "a/b c", "--partitions", "2", "--retention-time", "forever", "--output", "json"];
    let topic: Value = serde_json::from_str(&gateway.tell(&create)).unwrap();
    assert_eq!((&topic["partitions"], &topic["retention"]["time"]), (&2.into(), &Value::Null));
    gateway.tell(&["topics", "alter", "a/b c", "--partitions", "3", "--durability", "page-cache"]);
    let shown = gateway.tell(&["topics", "describe", "a/b c"]);
    assert!(shown.contains("page-cache") && shown.lines().count() == 7, "{shown}");
    assert!(gateway.tell(&["topics", "list"]).contains("a/b c"));
    assert!(!gateway.tell(&["topics", "list", "--prefix", "x"]).contains("a/b c"));
    gateway.tell(&["topics", "delete", "a/b c"]);
    let (code, told) = code(&gateway.run(&["topics", "delete", "a/b c"]));
    assert!(code == 4 && told.contains("does not exist"), "{code} {told}");
    assert_eq!(gateway.stop(), 0);
}

#[test]
fn load_is_generated_and_measured() {
    let gateway = Gateway::start();
    let server = format!("http://{}", gateway.address("http"));
    let runs: [&[&str]; 4] = [
        &[
            "kafka",
            "--broker",
            gateway.address("kafka"),
            "--messages",
            "1050",
            "--partitions",
            "3",
            "--connections",
            "2",
        ],
        &["kafka", "--broker", gateway.address("kafka"), "--read"],
        &["http", "--server", &server, "--messages", "50", "--connections", "4", "--topic", "other"],
        &["http", "--empty", "--messages", "50"],
    ];
    for (run, expected) in runs.iter().zip([1050, 1050, 50, 50]) {
        let arguments = [&["bench"], *run, &["--output", "json"]].concat();
        let result: Value = serde_json::from_str(&gateway.tell(&arguments)).unwrap();
        assert_eq!((&result[0]["messages"], &result[0]["errors"]), (&expected.into(), &0.into()), "{arguments:?}");
    }
    assert_eq!(gateway.stop(), 0);
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    let arguments = ["publish", "t", "--server", "http://127.0.0.1:9"];
    let output = Command::new(TIDEGATE).args(arguments).stdin(Stdio::null()).output().unwrap();
    let (code, told) = code(&output);
    assert!(code == 3 && told.contains("tidegate serve"), "{code} {told}");
}

#[test]
fn check_prints_every_mistake() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("tidegate.yaml");
    let check = |yaml: &str| {
        std::fs::write(&file, yaml).unwrap();
        code(&Command::new(TIDEGATE).args(["check", "--config"]).arg(&file).output().unwrap())
    };
    assert_eq!(check("log: { level: debug }"), (0, String::new()));
    let (code, told) = check("log: { levle: debug }\nengine:\n  max_topics: -1\n");
    assert_eq!(code, 1);
    for mistake in ["2 mistakes", "tidegate.yaml:1: log.levle: ", "tidegate.yaml:3: engine.max_topics: "] {
        assert!(told.contains(mistake), "{told}");
    }
}

#[test]
fn a_stop_while_starting_is_a_stop() {
    let home = tempfile::tempdir().unwrap();
    let mut process = serve_nothing(home.path());
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    terminate(&process);
    assert_eq!(process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_directory_has_one_gateway_and_is_inspected_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut process = serve_nothing(home.path());
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let second = serve_nothing(home.path()).wait_with_output().unwrap();
    let (exit, told) = code(&second);
    assert!(exit == 1 && told.contains("in use by another process"), "{exit} {told}");
    let inspect = || {
        Command::new(TIDEGATE).args(["log", "inspect", "--data-dir"]).arg(home.path().join("data")).output().unwrap()
    };
    assert_eq!(inspect().status.code(), Some(3));
    terminate(&process);
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert_eq!(inspect().status.code(), Some(0));
}

fn serve_nothing(home: &Path) -> Child {
    Command::new(TIDEGATE)
        .args([
            "serve",
            "--http",
            "off",
            "--kafka",
            "off",
            "--amqp",
            "off",
            "--grpc",
            "off",
            "--admin",
            "off",
            "--data-dir",
        ])
        .arg(home.join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}
