//! Waiting: for a write to become durable, for something new to read.

use std::sync::{Arc, Weak};

use tokio::sync::{Notify, oneshot};

use crate::shard::Shard;
use crate::{Error, GroupName, PartitionId, Result};

/// Resolves when what it stands for has the durability it was promised, or fails when that can never be.
/// Dropping it forgets about the answer, not about the write.
#[must_use = "a write is not durable before its commit is done"]
pub struct Commit(Waiting);

enum Waiting {
    Done(Result<()>),
    For(oneshot::Receiver<Result<()>>),
}

impl Commit {
    pub(crate) fn ready(result: Result<()>) -> Self {
        Self(Waiting::Done(result))
    }

    pub(crate) fn waiting(receiver: oneshot::Receiver<Result<()>>) -> Self {
        Self(Waiting::For(receiver))
    }

    /// Waits.
    ///
    /// # Errors
    /// [`Error::Undecided`], [`Error::Poisoned`] or [`Error::Closed`]: it is unknown whether the write survives.
    pub async fn wait(self) -> Result<()> {
        match self.0 {
            Waiting::Done(result) => result,
            Waiting::For(receiver) => receiver.await.unwrap_or(Err(Error::Closed)),
        }
    }
}

/// Wakes its owner once when there is something new. See [`crate::Engine::watch`] and [`crate::Engine::watch_group`].
pub struct Watch {
    notify: Arc<Notify>,
    shard: Weak<Shard>,
    partitions: Vec<PartitionId>,
    group: Option<GroupName>,
}

impl Watch {
    /// Registers with every partition whose high watermark is not above its position yet.
    pub(crate) fn partitions(shard: &Arc<Shard>, positions: &[(PartitionId, u64)]) -> Self {
        let watch = Self::new(shard, positions.iter().map(|(id, _)| *id).collect(), None);
        let mut inner = shard.lock();
        let closed = matches!(inner.failed, Some(Error::Closed));
        for (id, position) in positions {
            match inner.state.partition_mut(*id) {
                Some(partition) if partition.high_watermark <= *position && !closed => {
                    partition.waiters.push((*position, Arc::clone(&watch.notify)))
                }
                _ => watch.notify.notify_one(),
            }
        }
        drop(inner);
        watch
    }

    /// Registers with a group and the partitions it consumes.
    pub(crate) fn group(shard: &Arc<Shard>, name: &GroupName) -> Self {
        let mut inner = shard.lock();
        let Ok(group) = inner.state.group(name) else {
            let watch = Self::new(shard, Vec::new(), None);
            watch.notify.notify_one();
            return watch;
        };
        let watch = Self::new(shard, inner.state.group_partitions(group), Some(name.clone()));
        for id in &watch.partitions {
            if let Some(partition) = inner.state.partition_mut(*id) {
                partition.waiters.push((partition.high_watermark, Arc::clone(&watch.notify)));
            }
        }
        inner.state.group_waiters.entry(name.clone()).or_default().push(Arc::clone(&watch.notify));
        drop(inner);
        watch
    }

    fn new(shard: &Arc<Shard>, partitions: Vec<PartitionId>, group: Option<GroupName>) -> Self {
        Self { notify: Arc::new(Notify::new()), shard: Arc::downgrade(shard), partitions, group }
    }

    /// Returns when something watched has changed since the watch was made (at once if it had already), or the engine
    /// closes. A watch wakes once: make another, then look, then wait again.
    pub async fn changed(&mut self) {
        self.notify.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Some(shard) = self.shard.upgrade() else { return };
        let mut inner = shard.lock();
        let others = |waiter: &Arc<Notify>| !Arc::ptr_eq(waiter, &self.notify);
        for id in &self.partitions {
            if let Some(partition) = inner.state.partition_mut(*id) {
                partition.waiters.retain(|(_, waiter)| others(waiter));
            }
        }
        if let Some(waiters) = self.group.as_ref().and_then(|name| inner.state.group_waiters.get_mut(name)) {
            waiters.retain(others);
        }
    }
}
