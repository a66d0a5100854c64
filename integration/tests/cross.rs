//! Protocols meet on the same topics and groups.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use tidegate_integration::{Gateway, client, place};

#[test]
fn http_and_kafka() {
    let gateway = Gateway::start();
    client::run_checks(client::python("cross.py").arg(gateway.url("")).arg(gateway.bootstrap()));
}

/// Every ordered pair: what one publishes the other consumes, and a group that one began the other goes on with.
#[test]
fn every_protocol_to_every_other() {
    const PROTOCOLS: usize = 4;
    let gateway = Gateway::start();
    let mut matrix = client::python("matrix.py");
    matrix.arg(gateway.url("")).arg(gateway.bootstrap()).arg(gateway.amqp.to_string()).arg(gateway.grpc.to_string());
    let said = client::run_checks(&mut matrix);
    let rows = |line: &&str| line.starts_with("| ") && !line.starts_with("| from");
    let tables: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("| from")).collect();
    for line in said.lines().filter(|line| line.starts_with('|') || line.starts_with("Messages")) {
        place::report(line);
    }
    let cells: Vec<&str> = tables
        .into_iter()
        .filter(rows)
        .flat_map(|row| row.trim_matches(['|', ' ']).split('|').skip(1).map(str::trim))
        .filter(|cell| !cell.is_empty())
        .collect();
    assert_eq!(cells.len(), 2 * PROTOCOLS * PROTOCOLS, "cells are empty:\n{said}");
}
