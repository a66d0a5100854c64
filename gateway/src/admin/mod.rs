//! The admin listener: health, metrics, the running configuration. It answers while everything else starts and stops.

mod config;
mod gateway;
mod metrics;
mod process;
mod routes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};

pub use config::Config;
pub use gateway::{Gateway, Phase, Running};

use crate::listener::{self, Drain};

/// A client that has not sent its request's head by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves connections until the drain is requested.
pub async fn serve(socket: TcpListener, gateway: Arc<Gateway>, drain: Drain) {
    let max_connections = gateway.config().listeners.admin.settings.max_connections;
    let router = routes::router(gateway);
    let session_drain = drain.clone();
    let session = move |stream: TcpStream, _: SocketAddr| session(stream, router.clone(), session_drain.clone());
    listener::accept(socket, max_connections, drain, session).await;
}

async fn session(stream: TcpStream, router: axum::Router, drain: Drain) {
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.requested() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "an admin connection ended badly");
    }
}
