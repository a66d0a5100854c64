//! House rules that no linter knows.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file with this extension under a directory of the repository, with its text.
fn sources(directory: &str, extension: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut waiting = vec![root().join(directory)];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') && name != "__pycache__" {
                waiting.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.push((path, text));
            }
        }
    }
    found
}

fn without_comment(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

/// Words of an identifier: `KafkaBatch` and `kafka_batch` both contain `kafka`.
fn names_protocol(code: &str) -> bool {
    let lower = code.to_lowercase();
    ["kafka", "amqp", "http", "grpc", "rabbit"].iter().any(|protocol| lower.contains(protocol))
}

#[test]
fn the_engine_names_no_protocol() {
    let mut broken = Vec::new();
    for (path, text) in sources("engine/src", "rs") {
        if names_protocol(&path.strip_prefix(root()).unwrap().to_string_lossy()) {
            broken.push(path.display().to_string());
        }
        // The batch format's own tests have another implementation of it as their oracle.
        if path.ends_with("batch/tests.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if names_protocol(without_comment(line)) {
                broken.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert_none("the engine knows no wire protocol; only comments may name Kafka's batch format", &broken);
}

#[test]
fn protocols_do_not_import_each_other() {
    let protocols = ["kafka", "http", "amqp", "grpc", "admin"];
    let mut broken = Vec::new();
    for own in protocols {
        for (path, text) in sources(&format!("gateway/src/{own}"), "rs") {
            for other in protocols.iter().filter(|other| **other != own) {
                if text.lines().map(without_comment).any(|line| line.contains(&format!("crate::{other}"))) {
                    broken.push(format!("{} imports crate::{other}", path.display()));
                }
            }
        }
    }
    assert_none("a protocol talks to the broker, never to another protocol", &broken);
}

#[test]
fn the_broker_imports_no_protocol() {
    let mut broken = Vec::new();
    for (path, text) in sources("gateway/src/broker", "rs") {
        for protocol in ["kafka", "http", "amqp", "grpc"] {
            if text.lines().map(without_comment).any(|line| line.contains(&format!("crate::{protocol}"))) {
                broken.push(format!("{} imports crate::{protocol}", path.display()));
            }
        }
    }
    assert_none("the broker is asked in no protocol's words", &broken);
}

#[test]
fn architecture_names_every_module() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut missing = Vec::new();
    for directory in ["engine/src", "gateway/src"] {
        for entry in fs::read_dir(root().join(directory)).expect("sources").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let module = name.trim_end_matches(".rs");
            if !["lib", "main"].contains(&module) && !page.contains(module) {
                missing.push(format!("{directory}/{name}"));
            }
        }
    }
    assert_none("ARCHITECTURE.md does not name", &missing);
}

/// Directories that exist on one machine and not on another.
const HOMES: [&str; 4] = ["home", "root", "Users", "work"];

#[test]
fn no_absolute_paths_of_a_machine() {
    let mut broken = Vec::new();
    for directory in
        ["engine", "gateway", "integration/src", "integration/tests", "integration/clients", "integration/peers"]
    {
        for extension in ["rs", "py", "java", "go", "toml"] {
            for (path, text) in sources(directory, extension) {
                for (number, line) in text.lines().enumerate() {
                    if HOMES.iter().any(|home| line.contains(&format!("\"/{home}/"))) {
                        broken.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
                    }
                }
            }
        }
    }
    assert_none("paths belong to a machine, not to the project", &broken);
}

#[test]
fn one_concept_a_file() {
    const LINES: usize = 700;
    let long: Vec<String> = ["engine/src", "gateway/src", "integration/src", "integration/tests"]
        .iter()
        .flat_map(|directory| sources(directory, "rs"))
        .filter(|(_, text)| text.lines().count() > LINES)
        .map(|(path, text)| format!("{}: {} lines", path.display(), text.lines().count()))
        .collect();
    assert_none("a file is one concept", &long);
}

#[test]
fn no_vague_type_names() {
    let mut broken = Vec::new();
    for (path, text) in ["engine/src", "gateway/src"].iter().flat_map(|directory| sources(directory, "rs")) {
        for line in text.lines().map(without_comment) {
            let declared =
                ["struct ", "enum ", "trait "].iter().find_map(|word| line.split_once(word)).map(|(_, rest)| rest);
            let name: String =
                declared.unwrap_or_default().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if ["Manager", "Helper", "Util", "Utils"].iter().any(|ending| name.ends_with(ending)) {
                broken.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert_none("a type is a noun of the field", &broken);
}
