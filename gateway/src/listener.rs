//! What every listener shares: accepting connections up to a limit, and draining them at shutdown.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::rt::Executor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::config::Config;
use crate::identity::Identity;
use crate::workers::Workers;

/// What a listener is started with.
pub struct Surroundings {
    /// The door to the engine.
    pub broker: Broker,
    /// Every setting; a listener looks at its own.
    pub config: Arc<Config>,
    /// What the installation keeps for itself.
    pub identity: Identity,
    /// Tells connections to finish.
    pub drain: Drain,
}

/// Tells connections to finish, and knows when they have.
#[derive(Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
    workers: Option<Workers>,
}

impl Drain {
    /// One whose connections run on threads of their own.
    #[must_use]
    pub fn with_workers(workers: Workers) -> Self {
        Self { workers: Some(workers), ..Self::default() }
    }

    /// The same for connections that are served by many tasks, which the runtime's threads share.
    #[must_use]
    pub fn on_shared_threads(&self) -> Self {
        Self { workers: None, ..self.clone() }
    }

    /// Resolves when connections should finish what they have begun and close.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Whether [`Drain::requested`] would resolve at once.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Runs a task that the drain waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// Runs a connection as a task that the drain waits for.
    fn serve<S, F>(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit, session: &Arc<S>)
    where
        S: Fn(TcpStream, SocketAddr) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(workers) = &self.workers else {
            let session = session(stream, peer);
            return self.spawn(async move {
                session.await;
                drop(permit);
            });
        };
        let session = Arc::clone(session);
        let stream = stream.into_std();
        workers.spawn(&self.tasks, async move {
            // The thread's own runtime wakes it from now on.
            match stream.and_then(TcpStream::from_std) {
                Ok(stream) => session(stream, peer).await,
                Err(error) => tracing::warn!(%peer, %error, "a connection could not be taken over"),
            }
            drop(permit);
        });
    }

    /// Asks everybody to finish and waits, at most so long. False when somebody had not finished.
    pub async fn finish(&self, within: Duration) -> bool {
        self.token.cancel();
        self.tasks.close();
        tokio::time::timeout(within, self.tasks.wait()).await.is_ok()
    }
}

/// Accepts connections until the drain is requested, at most `max_connections` at a time: a further one waits in the
/// kernel's queue. Each runs `session` as a task the drain waits for.
pub async fn accept<S, F>(listener: TcpListener, max_connections: usize, drain: Drain, session: S)
where
    S: Fn(TcpStream, SocketAddr) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let session = Arc::new(session);
    let permits = Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS)));
    loop {
        let permit = tokio::select! {
            permit = Arc::clone(&permits).acquire_owned() => permit,
            () = drain.requested() => return,
        };
        let Ok(permit) = permit else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = drain.requested() => return,
        };
        match accepted {
            Ok((stream, peer)) => drain.serve(stream, peer, permit, &session),
            Err(error) => {
                // Out of file descriptors, usually: wait for connections to close rather than spin.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Runs what an HTTP/2 connection starts as tasks the drain waits for.
#[derive(Clone)]
pub struct Tasks(pub Drain);

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Runs an HTTP connection to its end: asked by `shut_down` to finish when the drain is requested, cut off when no request
/// has `begun` within that time.
pub async fn converse<C, E>(
    connection: C,
    shut_down: fn(Pin<&mut C>),
    begun: &AtomicBool,
    first_within: Duration,
    drain: &Drain,
) where
    C: Future<Output = Result<(), E>>,
    E: fmt::Display,
{
    tokio::pin!(connection);
    let first = tokio::time::sleep(first_within);
    tokio::pin!(first);
    let (mut watching, mut draining) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
                return;
            }
            () = drain.requested(), if !draining => {
                draining = true;
                shut_down(connection.as_mut());
            }
            () = &mut first, if watching => {
                watching = false;
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}
