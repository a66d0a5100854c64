//! Waiting: for a write to become durable, for something new to read.

use std::sync::{Arc, Weak};

use tokio::sync::{Notify, oneshot};

use crate::shard::Shard;
use crate::waiting::Signal;
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
    group: Option<Arc<Signal>>,
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
                    partition.readers.add(*position, &watch.notify)
                }
                _ => watch.notify.notify_one(),
            }
        }
        shard.hasten(&mut inner);
        drop(inner);
        watch
    }

    /// Registers with a group, which is woken by the partitions it consumes: before those served after `served`.
    pub(crate) fn group(shard: &Arc<Shard>, name: &GroupName, served: u64) -> Self {
        let mut inner = shard.lock();
        let closed = matches!(inner.failed, Some(Error::Closed));
        let signal = inner.state.subscription(name).ok().map(|subscription| Arc::clone(&subscription.signal));
        let watch = Self::new(shard, Vec::new(), signal);
        match &watch.group {
            Some(signal) if !closed => signal.add(&watch.notify, served),
            _ => watch.notify.notify_one(),
        }
        shard.hasten(&mut inner);
        drop(inner);
        watch
    }

    fn new(shard: &Arc<Shard>, partitions: Vec<PartitionId>, group: Option<Arc<Signal>>) -> Self {
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
        if let Some(signal) = &self.group {
            signal.remove(&self.notify);
        }
        let Some(shard) = self.shard.upgrade().filter(|_| !self.partitions.is_empty()) else { return };
        let mut inner = shard.lock();
        for id in &self.partitions {
            if let Some(partition) = inner.state.partition_mut(*id) {
                partition.readers.remove(&self.notify);
            }
        }
    }
}
