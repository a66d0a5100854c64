//! Free-form idempotency keys: what a key was used for, and for how long that is remembered.

use std::collections::{HashMap, VecDeque};

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
    /// Keys in order of use, for forgetting.
    order: VecDeque<(i64, u128)>,
}

impl Dedupe {
    /// The first use of a key, or none.
    ///
    /// # Errors
    /// [`Error::IdempotencyMismatch`] for another body, [`Error::LimitReached`] when no more keys are remembered.
    pub(crate) fn look_up(&self, key: &DedupeKey, limit: usize) -> Result<Option<Used>> {
        match self.used.get(&key.key) {
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
        self.order.push_back((at_ms, key));
    }

    /// Forgets keys used before `before_ms`. Not logged: replaying forgets the same ones again later.
    pub(crate) fn forget(&mut self, before_ms: i64) {
        while let Some((at_ms, key)) = self.order.front().copied()
            && at_ms < before_ms
        {
            self.order.pop_front();
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
