//! Tables: keyed state for whoever stands above the engine, durable in the same log and snapshot. The last value wins.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::name::check_name;
use crate::record::StateRecord;
use crate::{Commit, Durability, Engine, EngineConfig, Error, Result};

/// A key's value in a table, or that it has none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// The table's name, as for a topic: 1 to [`crate::MAX_NAME_BYTES`] bytes without control characters. A table is there
    /// while it holds something.
    pub table: String,
    /// The key, at most [`EngineConfig::max_table_value_bytes`] long.
    pub key: String,
    /// The value, at most so long too. None removes the key.
    pub value: Option<Bytes>,
}

impl Engine {
    /// Sets and removes keys of tables, in order, all or nothing. What was put is seen at once, by [`Engine::table`] and
    /// [`Engine::value`]; it survives a crash when the commit is done.
    ///
    /// Everything that is managed goes into one log in the order of the calls: [`Engine::create_topic`],
    /// [`Engine::create_group`], [`Engine::put`] and the rest. When a later call's commit is done, those before it are durable
    /// too, and after a crash a later one is never there without an earlier one. Who makes several changes waits for the last.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::LimitReached`], or why nothing can be written. Nothing happened then.
    pub fn put(&self, entries: Vec<TableEntry>) -> Result<Commit> {
        let mut inner = self.shard.lock();
        inner.state.tables.check(&entries, self.config())?;
        self.shard.change_all(&mut inner, entries.into_iter().map(into_record).collect(), Durability::Fsync)
    }

    /// A table's keys and values, ordered by key; empty when there is no such table.
    #[must_use]
    pub fn table(&self, table: &str) -> Vec<(String, Bytes)> {
        let inner = self.shard.lock();
        let entries = inner.state.tables.tables.get(table).into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// A key's value.
    #[must_use]
    pub fn value(&self, table: &str, key: &str) -> Option<Bytes> {
        self.shard.lock().state.tables.tables.get(table)?.get(key).cloned()
    }
}

/// Copies the value: the caller's bytes may be a small part of a large buffer.
fn into_record(entry: TableEntry) -> StateRecord {
    let TableEntry { table, key, value } = entry;
    StateRecord::TableSet { table, key, value: value.map(|value| value.to_vec()) }
}

/// Every table.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<String, BTreeMap<String, Bytes>>,
    entries: usize,
}

/// Tables as they are stored: by name, each by key.
pub(crate) type TablesSnapshot = Vec<(String, Vec<(String, Vec<u8>)>)>;
/// The same, borrowed while it is written.
pub(crate) type TablesRef<'a> = Vec<(&'a str, TableRef<'a>)>;
type TableRef<'a> = Vec<(&'a str, &'a [u8])>;

impl Tables {
    /// Keys over all tables.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Whether entries may be set.
    fn check(&self, entries: &[TableEntry], config: &EngineConfig) -> Result<()> {
        let mut bytes = 0;
        for TableEntry { table, key, value } in entries {
            check_name("table", table)?;
            let value = value.as_ref().map_or(0, Bytes::len);
            if key.len().max(value) > config.max_table_value_bytes {
                let limit = config.max_table_value_bytes;
                return Err(Error::LimitReached { setting: "max_table_value_bytes", limit });
            }
            bytes += key.len() + value;
        }
        if bytes > config.pending_bytes {
            return Err(Error::LimitReached { setting: "pending_bytes", limit: config.pending_bytes });
        }
        if self.len_after(entries) > config.max_table_entries.max(self.entries) {
            return Err(Error::LimitReached { setting: "max_table_entries", limit: config.max_table_entries });
        }
        Ok(())
    }

    fn len_after(&self, entries: &[TableEntry]) -> usize {
        let last: HashMap<_, _> = entries.iter().map(|entry| ((&entry.table, &entry.key), &entry.value)).collect();
        let is_there =
            |(table, key): (&String, &String)| self.tables.get(table).is_some_and(|entries| entries.contains_key(key));
        let (mut more, mut less) = (0, 0);
        for (at, value) in last {
            match (is_there(at), value) {
                (false, Some(_)) => more += 1,
                (true, None) => less += 1,
                _ => {}
            }
        }
        self.entries + more - less
    }

    /// Sets a key, or removes it.
    pub(crate) fn set(&mut self, table: &str, key: &str, value: Option<&[u8]>) {
        let Some(value) = value.map(Bytes::copy_from_slice) else { return self.remove(table, key) };
        if !self.tables.contains_key(table) {
            self.tables.insert(table.to_owned(), BTreeMap::new());
        }
        if let Some(entries) = self.tables.get_mut(table)
            && entries.insert(key.to_owned(), value).is_none()
        {
            self.entries += 1;
        }
    }

    fn remove(&mut self, table: &str, key: &str) {
        let Some(entries) = self.tables.get_mut(table) else { return };
        self.entries -= usize::from(entries.remove(key).is_some());
        if entries.is_empty() {
            self.tables.remove(table);
        }
    }

    pub(crate) fn snapshot(&self) -> TablesRef<'_> {
        let tables = self.tables.iter();
        tables
            .map(|(table, entries)| (table.as_str(), entries.iter().map(|(k, v)| (k.as_str(), &v[..])).collect()))
            .collect()
    }

    pub(crate) fn restore(snapshot: TablesSnapshot) -> Self {
        let entries = snapshot.iter().map(|(_, entries)| entries.len()).sum();
        let one =
            |entries: Vec<(String, Vec<u8>)>| entries.into_iter().map(|(key, value)| (key, value.into())).collect();
        let tables = snapshot.into_iter().map(|(table, entries)| (table, one(entries))).collect();
        Self { tables, entries }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(table: &str, key: &str, value: Option<&'static str>) -> TableEntry {
        TableEntry { table: table.to_owned(), key: key.to_owned(), value: value.map(Bytes::from) }
    }

    fn config() -> EngineConfig {
        EngineConfig { max_table_entries: 2, max_table_value_bytes: 4, pending_bytes: 16, ..EngineConfig::default() }
    }

    #[test]
    fn limits_count_what_will_be_there() {
        let mut tables = Tables::default();
        tables.set("a", "x", Some(b"1"));
        tables.set("b", "x", Some(b"1"));
        assert!(tables.check(&[entry("a", "x", Some("2"))], &config()).is_ok());
        assert!(tables.check(&[entry("a", "y", Some("2")), entry("b", "x", None)], &config()).is_ok());
        assert!(tables.check(&[entry("a", "y", Some("2")), entry("a", "y", None)], &config()).is_ok());
        let full = tables.check(&[entry("a", "y", Some("2")), entry("a", "z", None)], &config());
        assert_eq!(full, Err(Error::LimitReached { setting: "max_table_entries", limit: 2 }));
        let lower = EngineConfig { max_table_entries: 1, ..config() };
        assert!(tables.check(&[entry("a", "x", Some("2"))], &lower).is_ok(), "a lowered limit refuses only more");
    }

    #[test]
    fn a_name_a_key_and_a_value_have_limits() {
        let tables = Tables::default();
        let long = Err(Error::LimitReached { setting: "max_table_value_bytes", limit: 4 });
        assert_eq!(tables.check(&[entry("a", "12345", None)], &config()), long);
        assert_eq!(tables.check(&[entry("a", "1", Some("12345"))], &config()), long);
        assert!(matches!(tables.check(&[entry("", "1", None)], &config()), Err(Error::InvalidName { .. })));
        let much: Vec<_> = (0..3).map(|_| entry("a", "1234", Some("1234"))).collect();
        assert!(tables.check(&much[..2], &config()).is_ok());
        assert_eq!(tables.check(&much, &config()), Err(Error::LimitReached { setting: "pending_bytes", limit: 16 }));
    }

    #[test]
    fn a_table_is_gone_with_its_last_key() {
        let mut tables = Tables::default();
        tables.set("a", "x", Some(b"1"));
        tables.set("a", "x", Some(b"2"));
        assert_eq!((tables.len(), tables.snapshot()), (1, vec![("a", vec![("x", &b"2"[..])])]));
        tables.set("a", "y", None);
        tables.set("a", "x", None);
        assert_eq!((tables.len(), tables.snapshot()), (0, vec![]));
    }
}
