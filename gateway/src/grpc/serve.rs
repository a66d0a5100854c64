//! Connections: accepted up to a limit, held to time limits, drained.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tonic_health::server::HealthReporter;
use tower::Service;

use super::config::Config;
use super::consume::look_after;
use super::services::{report, routes};
use super::state::Grpc;
use crate::listener::{Drain, Surroundings, Tasks, accept, converse};
use crate::metrics::Gather;

/// Serves gRPC on `listener` until the drain is requested: then publishing streams end after what has been read, consumers
/// are told and may settle for a while, and each connection closes after its calls.
pub async fn serve(listener: TcpListener, grpc: Grpc) {
    let health = HealthReporter::new();
    report(&health, true).await;
    let router = routes(grpc.clone(), health.clone()).into_axum_router();
    let builder = builder(&grpc.config, grpc.drain.clone());
    let (limit, drain) = (grpc.config.max_connections, grpc.drain.on_shared_threads());
    grpc.drain.spawn(look_after(grpc.clone()));
    accept(listener, limit, drain, move |stream, _peer| {
        connection(stream, router.clone(), builder.clone(), grpc.clone())
    })
    .await;
    report(&health, false).await;
}

/// Starts the listener on a socket; what gathers its metrics.
pub fn start(socket: TcpListener, surroundings: &Surroundings) -> Gather {
    let Surroundings { broker, config, identity, drain } = surroundings;
    let settings = Arc::new(config.listeners.grpc.settings.clone());
    let grpc = Grpc::new(broker.clone(), settings, identity.ack_key, drain.clone());
    let metrics = grpc.metrics();
    drain.spawn(serve(socket, grpc));
    Box::new(move || metrics.families())
}

fn builder(config: &Config, drain: Drain) -> http2::Builder<Tasks> {
    // HTTP/2 counts in 31 bits.
    let bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).clamp(64 << 10, i32::MAX.cast_unsigned());
    let mut builder = http2::Builder::new(Tasks(drain));
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keep_alive)
        .keep_alive_timeout(config.keep_alive)
        .max_concurrent_streams(config.max_streams_per_connection)
        .max_header_list_size(u32::try_from(config.max_metadata_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(bytes(config.stream_window_bytes))
        .initial_connection_window_size(bytes(config.connection_window_bytes))
        .max_send_buf_size(config.max_send_buffer_bytes.min(i32::MAX as usize));
    builder
}

async fn connection(stream: TcpStream, router: Router, builder: http2::Builder<Tasks>, grpc: Grpc) {
    let _open = grpc.metrics.open_connection();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let begun = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let begun = Arc::clone(&begun);
        move |request| {
            begun.store(true, Ordering::Relaxed);
            answer(router.clone(), request)
        }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    converse(
        connection,
        |connection| connection.graceful_shutdown(),
        &begun,
        grpc.config.handshake_timeout,
        &grpc.drain,
    )
    .await;
}

fn answer(mut router: Router, request: Request<Incoming>) -> impl Future<Output = Result<Response, Infallible>> {
    Service::<Request<Incoming>>::call(&mut router, request)
}
