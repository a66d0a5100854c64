//! A response stream and the work that fills it, in one task: nothing is done ahead of a client that does not read.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::{Code, Status};

use super::error::{Refusal, Result};
use super::metrics::{Method, Metrics};
use crate::metrics::Open;

/// Frames that may wait for the client besides those on their way to it.
const FRAMES: usize = 1;

/// Where the work writes its frames.
#[derive(Debug)]
pub(super) struct Writer<T>(mpsc::Sender<T>);

impl<T> Clone for Writer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Writer<T> {
    /// Waits until there is room.
    pub(super) async fn send(&self, frame: T) -> Result<()> {
        let gone = |_| Refusal::new(Code::Cancelled, "CANCELLED", "the client is gone");
        self.0.send(frame).await.map_err(gone)
    }
}

type Work = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A response stream.
pub struct Driven<T> {
    work: Option<Work>,
    frames: mpsc::Receiver<T>,
    outcome: Option<Refusal>,
    metrics: Arc<Metrics>,
    method: Method,
    /// None once it is counted.
    code: Option<Code>,
    _admitted: (OwnedSemaphorePermit, Open),
}

impl<T> Driven<T> {
    pub(super) fn new<F>(
        work: impl FnOnce(Writer<T>) -> F,
        metrics: Arc<Metrics>,
        method: Method,
        admitted: (OwnedSemaphorePermit, Open),
    ) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (sender, frames) = mpsc::channel(FRAMES);
        let work: Work = Box::pin(work(Writer(sender)));
        let code = Some(Code::Cancelled);
        Self { work: Some(work), frames, outcome: None, metrics, method, code, _admitted: admitted }
    }

    fn count(&mut self) {
        if let Some(code) = self.code.take() {
            self.metrics.ended(self.method, code);
        }
    }
}

impl<T> Stream for Driven<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(work) = &mut this.work
            && let Poll::Ready(done) = work.as_mut().poll(context)
        {
            this.work = None;
            this.code = this.code.map(|_| done.as_ref().map_or_else(Refusal::code, |()| Code::Ok));
            this.outcome = done.err();
        }
        match this.frames.poll_recv(context) {
            Poll::Ready(Some(frame)) => Poll::Ready(Some(Ok(frame))),
            Poll::Ready(None) => {
                this.count();
                Poll::Ready(this.outcome.take().map(|refusal| Err(refusal.into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for Driven<T> {
    fn drop(&mut self) {
        // The client went before the end.
        self.count();
    }
}
