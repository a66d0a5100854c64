//! What may wait for the disk, off the runtime's own threads.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::shard::Shard;
use crate::{Engine, Error, Result};

/// Work that was begun.
pub(crate) enum Begun<T> {
    Task(JoinHandle<Result<T>>),
    Done(Result<T>),
}

impl<T> Begun<T> {
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Task(task) => task.is_finished(),
            Self::Done(_) => true,
        }
    }

    pub(crate) async fn result(self) -> Result<T> {
        match self {
            Self::Task(task) => task.await.unwrap_or(Err(Error::Closed)),
            Self::Done(result) => result,
        }
    }
}

impl Engine {
    /// Begins work off the runtime's own threads; without threads it is done right here.
    pub(crate) fn begin<T: Send + 'static>(&self, work: impl FnOnce(&Shard) -> Result<T> + Send + 'static) -> Begun<T> {
        if self.is_manual() {
            return Begun::Done(work(&self.shard));
        }
        let shard = Arc::clone(&self.shard);
        Begun::Task(tokio::task::spawn_blocking(move || work(&shard)))
    }

    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shard) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.begin(work).result().await
    }
}
