//! Whoever stands above the engine keeps its own state in tables.

use tidegate_engine::{Error, TableEntry};

use crate::checker::{Contents, Put, Verdict};
use crate::world::{Waiting, World};

const TABLES: [&str; 2] = ["bindings", "queues"];

impl World {
    /// Sets and removes a few keys.
    pub fn put_entries(&mut self) -> Verdict {
        let mut put = Put::new();
        for _ in 0..=self.random.below(3) {
            self.next_number += 1;
            let table = TABLES[self.random.index(TABLES.len())].to_owned();
            let key = format!("k{}", self.random.below(6));
            put.push(((table, key), self.random.chance(70).then(|| self.next_number.to_string())));
        }
        let entry = |((table, key), value): &((String, String), Option<String>)| TableEntry {
            table: table.clone(),
            key: key.clone(),
            value: value.clone().map(Into::into),
        };
        self.checker.note(format!("put {put:?}"));
        match self.engine.put(put.iter().map(entry).collect()) {
            Ok(commit) => {
                let number = self.checker.put(put, self.config.max_table_entries)?;
                self.wait(commit, Waiting::Put(number));
                Ok(())
            }
            Err(Error::LimitReached { .. }) => self.checker.put_refused(put, self.config.max_table_entries),
            Err(error) => self.expected("put", &error),
        }
    }

    /// Looks at every table.
    pub fn look_at_tables(&mut self, recovered: bool) -> Verdict {
        let mut found = Contents::new();
        for table in TABLES {
            for (key, value) in self.engine.table(table) {
                if self.engine.value(table, &key).as_ref() != Some(&value) {
                    return Err(format!("{table} has {value:?} for {key} in the list only"));
                }
                found.insert((table.to_owned(), key), String::from_utf8_lossy(&value).into_owned());
            }
        }
        if found.len() != self.engine.usage().table_entries {
            return Err(format!("{} entries of tables are counted of {found:?}", self.engine.usage().table_entries));
        }
        self.checker.tables_are(&found, recovered)
    }
}
