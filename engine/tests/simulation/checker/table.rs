//! Tables: what was put into them, in order.

use std::collections::BTreeMap;

use super::{Checker, Verdict, require};

/// Values by table and key.
pub type Contents = BTreeMap<(String, String), String>;
/// One call: entries set, or removed where there is no value.
pub type Put = Vec<((String, String), Option<String>)>;

#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    /// As of the last start.
    base: Contents,
    /// What was put since.
    puts: Vec<Put>,
    /// So many of these were acknowledged.
    acknowledged: usize,
}

impl Tables {
    fn after(&self, puts: usize) -> Contents {
        let mut contents = self.base.clone();
        for (key, value) in self.puts[..puts].iter().flatten() {
            match value {
                Some(value) => drop(contents.insert(key.clone(), value.clone())),
                None => drop(contents.remove(key)),
            }
        }
        contents
    }
}

impl Checker {
    /// Entries were taken. Returns the number of the call since the last start.
    pub fn put(&mut self, entries: Put, limit: usize) -> Result<usize, String> {
        require!(!self.poisoned, "a poisoned log took entries of a table");
        let before = self.tables.after(self.tables.puts.len()).len();
        self.tables.puts.push(entries);
        let after = self.tables.after(self.tables.puts.len()).len();
        require!(after <= limit.max(before), "{after} entries of tables are over {limit}");
        Ok(self.tables.puts.len())
    }

    /// Entries were refused because there would be too many.
    pub fn put_refused(&mut self, entries: Put, limit: usize) -> Verdict {
        self.tables.puts.push(entries);
        let after = self.tables.after(self.tables.puts.len()).len();
        self.tables.puts.pop();
        require!(after > limit, "{after} entries of tables were refused, {limit} are allowed");
        Ok(())
    }

    /// A call was acknowledged, and with it those before.
    pub fn put_acknowledged(&mut self, number: usize) -> Verdict {
        require!(!self.poisoned, "a poisoned log acknowledged entries of a table");
        self.tables.acknowledged = self.tables.acknowledged.max(number);
        Ok(())
    }

    /// This is in the tables. After a start it may lack the last calls that were not acknowledged.
    pub fn tables_are(&mut self, found: &Contents, recovered: bool) -> Verdict {
        let all = self.tables.puts.len();
        let mut allowed = if recovered { self.tables.acknowledged..=all } else { all..=all };
        require!(
            allowed.any(|puts| self.tables.after(puts) == *found),
            "tables hold {found:?}, which is no moment of {:?}",
            self.tables
        );
        if recovered {
            self.tables = Tables { base: found.clone(), ..Tables::default() };
        }
        Ok(())
    }
}
