//! Other people's clients, as the programs under `clients/`: each prints `ok NAME` or `not ok NAME: reason` per check.

use std::process::Command;

use crate::place;

/// A program under `clients/python`, run by the environment that has the clients.
#[must_use]
pub fn python(script: &str) -> Command {
    let mut command = Command::new(place::cached("venv/bin/python"));
    command.arg(place::integration("clients/python").join(script));
    command
}

/// A program of one file under `clients/java`, with the jars in a folder of the cache.
#[must_use]
pub fn java(file: &str, jars: &str) -> Command {
    let mut command = Command::new("java");
    let logging = place::integration("peers/kafka/tools-log4j2.yaml");
    command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.arg("-cp").arg(format!("{}/*:{}", place::cached(jars).display(), place::cached("java").display()));
    command.arg(place::integration("clients/java").join(file));
    command
}

/// A program under `clients/node`, with the packages that `integration/run setup` installed.
#[must_use]
pub fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", place::cached("node/node_modules"));
    command.arg(place::integration("clients/node").join(script));
    command
}

/// A program that `integration/run setup` built.
#[must_use]
pub fn built(name: &str) -> Command {
    Command::new(place::cached("bin").join(name))
}

/// Runs a program of checks; what it printed.
///
/// # Panics
/// If a check failed, none ran, or the program did not end well. The message names the checks.
pub fn run_checks(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("not ok ")).collect();
    let passed = text.lines().filter(|line| line.starts_with("ok ")).count();
    println!("{text}");
    if failed.is_empty() && passed > 0 && output.status.success() {
        return text.into_owned();
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    panic!("{passed} checks passed, {} failed ({}):\n{}\n{errors}", failed.len(), output.status, failed.join("\n"));
}
