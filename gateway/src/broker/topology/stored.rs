//! Exchanges, queues and bindings in the engine's tables: what they are called there and what they look like.
//! Keys are names joined with NUL, which no name contains; values are JSON. Only what is durable is written.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidegate_engine::{Engine, TableEntry};

use super::{ExchangeSpec, QueueSpec, Topology};
use crate::broker::{Error, Kind, Result};

/// Exchanges, by namespace and name.
const EXCHANGES: &str = "exchanges";
/// Queues, by namespace and name. Those that a restart removes are written too, or it would not find them.
const QUEUES: &str = "queues";
/// Bindings, by namespace, exchange, queue and routing key.
const BINDINGS: &str = "bindings";

pub(in crate::broker) fn exchange_entry(
    namespace: &str,
    name: &str,
    spec: Option<&ExchangeSpec>,
) -> Result<TableEntry> {
    entry(EXCHANGES, &[namespace, name], spec)
}

pub(in crate::broker) fn queue_entry(namespace: &str, name: &str, spec: Option<&QueueSpec>) -> Result<TableEntry> {
    entry(QUEUES, &[namespace, name], spec)
}

pub(in crate::broker) fn binding_entry(
    namespace: &str,
    (exchange, queue, key): (&str, &str, &str),
    exists: bool,
) -> Result<TableEntry> {
    entry(BINDINGS, &[namespace, exchange, queue, key], exists.then_some(&()))
}

fn entry<T: Serialize>(table: &str, names: &[&str], value: Option<&T>) -> Result<TableEntry> {
    let value = value.map(serde_json::to_vec).transpose();
    let value = value.map_err(|error| Error::new(Kind::Internal, error.to_string()))?.map(Bytes::from);
    Ok(TableEntry { table: table.to_owned(), key: names.join("\0"), value })
}

/// Everything stored, by namespace. Bindings without their exchange or queue are left out: they were not durable.
///
/// # Errors
/// [`Kind::Corrupt`] when something stored is not what this version writes.
pub(in crate::broker) fn load(engine: &Engine) -> Result<HashMap<Arc<str>, Topology>> {
    let mut all: HashMap<Arc<str>, Topology> = HashMap::new();
    for (key, value) in engine.table(EXCHANGES) {
        let [namespace, name] = names(EXCHANGES, &key)?;
        all.entry(namespace.into()).or_default().add_exchange(name, read(EXCHANGES, &key, &value)?);
    }
    for (key, value) in engine.table(QUEUES) {
        let [namespace, name] = names(QUEUES, &key)?;
        all.entry(namespace.into()).or_default().add_queue(name, read(QUEUES, &key, &value)?, None);
    }
    for (key, _) in engine.table(BINDINGS) {
        let [namespace, exchange, queue, key] = names(BINDINGS, &key)?;
        all.entry(namespace.into()).or_default().bind(exchange, queue, key);
    }
    Ok(all)
}

fn names<'a, const N: usize>(table: &str, key: &'a str) -> Result<[&'a str; N]> {
    // A routing key comes last: it is the one that may contain anything.
    let names: Vec<&str> = key.splitn(N, '\0').collect();
    names.try_into().map_err(|_| unreadable(table, key, "its key has too few parts"))
}

fn read<T: DeserializeOwned>(table: &str, key: &str, value: &[u8]) -> Result<T> {
    serde_json::from_slice(value).map_err(|error| unreadable(table, key, &error.to_string()))
}

fn unreadable(table: &str, key: &str, reason: &str) -> Error {
    let key = key.escape_debug();
    Error::new(
        Kind::Corrupt,
        format!("the entry '{key}' of the table '{table}' was not written by this version: {reason}"),
    )
}
