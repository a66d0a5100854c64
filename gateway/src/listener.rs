//! What every listener shares: accepting connections up to a limit, and draining them at shutdown.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::broker::Broker;
use crate::config::Config;
use crate::identity::Identity;

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
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Drain {
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
    S: Fn(TcpStream, SocketAddr) -> F,
    F: Future<Output = ()> + Send + 'static,
{
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
            Ok((stream, peer)) => {
                let session = session(stream, peer);
                drain.spawn(async move {
                    session.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of file descriptors, usually: wait for connections to close rather than spin.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
