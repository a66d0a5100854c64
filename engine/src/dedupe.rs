//! Free-form idempotency keys: what a key was used for, and for how long that is remembered.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{DedupeKey, Error, PartitionId, Result};

/// What a key was used for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Used {
    body: u64,
    /// Where the write went.
    pub partition: PartitionId,
    /// The offset it got; none if it waits for its delivery time.
    pub base_offset: Option<u64>,
    at_ms: i64,
}

/// The keys of the window. Committed with the write, so a key is known exactly if its write is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Dedupe {
    used: HashMap<u128, Used>,
    /// Keys by the time of their use, for forgetting: a clock that was wrong for a while put them in another order.
    order: BTreeSet<(i64, u128)>,
}

impl Dedupe {
    /// The first use of a key, or none. It counts only while the partition it was for `is_there`: a topic created anew is another.
    ///
    /// # Errors
    /// [`Error::IdempotencyMismatch`] for another body, [`Error::LimitReached`] when no more keys are remembered.
    pub(crate) fn look_up(
        &self,
        key: &DedupeKey,
        limit: usize,
        is_there: impl Fn(PartitionId) -> bool,
    ) -> Result<Option<Used>> {
        match self.used.get(&key.key).filter(|used| is_there(used.partition)) {
            Some(used) if used.body == key.body => Ok(Some(*used)),
            Some(_) => Err(Error::IdempotencyMismatch),
            None if self.used.len() >= limit => Err(Error::LimitReached { setting: "max_dedupe_keys", limit }),
            None => Ok(None),
        }
    }

    /// Remembers a key.
    pub(crate) fn remember(
        &mut self,
        key: u128,
        body: u64,
        partition: PartitionId,
        base_offset: Option<u64>,
        at_ms: i64,
    ) {
        self.used.insert(key, Used { body, partition, base_offset, at_ms });
        self.order.insert((at_ms, key));
    }

    /// Forgets keys used before `before_ms`. Not logged: replaying forgets the same ones again later.
    pub(crate) fn forget(&mut self, before_ms: i64) {
        while let Some((at_ms, key)) = self.order.first().copied()
            && at_ms < before_ms
        {
            self.order.pop_first();
            if self.used.get(&key).is_some_and(|used| used.at_ms == at_ms) {
                self.used.remove(&key);
            }
        }
    }

    /// Keys remembered.
    pub(crate) fn len(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_used_while_the_clock_was_wrong_do_not_keep_those_used_after() {
        let mut dedupe = Dedupe::default();
        for (key, at_ms) in [(1, 1_000), (2, 9_000_000), (3, 2_000), (4, 3_000)] {
            dedupe.remember(key, 0, PartitionId(1), Some(0), at_ms);
        }
        dedupe.forget(3_000);
        assert!(dedupe.used.keys().all(|key| [2, 4].contains(key)) && dedupe.len() == 2);
        dedupe.forget(10_000_000);
        assert_eq!((dedupe.len(), dedupe.order.len()), (0, 0));
    }
}
