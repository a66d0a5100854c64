//! Order by key: of the records of one key that a group has looked at and not finished, only the first may be handed out.

use std::collections::hash_map::{DefaultHasher, Entry};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hasher;
use std::ops::Range;

/// A key's hash. Two keys with one hash only wait for each other.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

/// The unfinished records of a partition by key.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    queues: HashMap<u64, VecDeque<u64>>,
    key_of: BTreeMap<u64, u64>,
}

impl Keys {
    /// Adds a record behind the earlier ones of its key. True when there is none.
    pub(crate) fn push(&mut self, key: u64, offset: u64) -> bool {
        let queue = self.queues.entry(key).or_default();
        queue.push_back(offset);
        self.key_of.insert(offset, key);
        queue.len() == 1
    }

    /// Whether a record of this key would have to wait.
    pub(crate) fn is_busy(&self, key: u64) -> bool {
        self.queues.contains_key(&key)
    }

    /// How many wait behind another one.
    pub(crate) fn held(&self) -> usize {
        self.key_of.len() - self.queues.len()
    }

    /// Takes finished records out, lowest first; `free` is told which record comes first of its key in their place.
    pub(crate) fn remove(&mut self, range: Range<u64>, mut free: impl FnMut(u64)) {
        while let Some((&offset, &key)) = self.key_of.range(range.clone()).next() {
            self.key_of.remove(&offset);
            let Entry::Occupied(mut queue) = self.queues.entry(key) else { continue };
            let was_first = queue.get().front() == Some(&offset);
            queue.get_mut().retain(|queued| *queued != offset);
            match queue.get().front() {
                None => drop(queue.remove()),
                Some(&next) if was_first && !range.contains(&next) => free(next),
                Some(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(keys: &mut Keys, range: Range<u64>) -> Vec<u64> {
        let mut freed = Vec::new();
        keys.remove(range, |offset| freed.push(offset));
        freed
    }

    #[test]
    fn one_at_a_time_per_key() {
        let mut keys = Keys::default();
        assert!(keys.push(1, 10) && keys.push(2, 11));
        assert!(!keys.push(1, 12) && !keys.push(1, 13) && !keys.push(2, 14));
        assert_eq!(keys.held(), 3);
        assert_eq!(removed(&mut keys, 12..13), []);
        assert_eq!(removed(&mut keys, 10..11), [13]);
        assert_eq!(removed(&mut keys, 11..15), []);
        assert!(!keys.is_busy(1) && !keys.is_busy(2) && keys.key_of.is_empty());
    }
}
