//! Connections: accepted up to a limit, held to time limits, drained.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

use super::config::Config;
use super::router;
use super::state::Http;
use crate::listener::{Drain, Surroundings, Tasks, accept, converse};
use crate::metrics::Gather;

/// Serves HTTP/1.1 and HTTP/2 (prior knowledge) on `listener` until the drain is requested: then streams and waiting
/// pulls end, and each connection closes after the request it is at.
pub async fn serve(listener: TcpListener, http: Http) {
    let router = router(http.clone());
    let builder = builder(&http.config, http.drain.clone());
    let (limit, drain) = (http.config.max_connections, http.drain.clone());
    accept(listener, limit, drain, move |stream, _peer| {
        connection(stream, router.clone(), builder.clone(), http.clone())
    })
    .await;
}

/// Starts the listener on a socket; what gathers its metrics.
pub fn start(socket: TcpListener, surroundings: &Surroundings) -> Gather {
    let Surroundings { broker, config, identity, drain } = surroundings;
    let settings = Arc::new(config.listeners.http.settings.clone());
    let http = Http::new(broker.clone(), settings, identity.ack_key, drain.clone());
    let metrics = http.metrics();
    drain.spawn(serve(socket, http));
    Box::new(move || metrics.families())
}

fn builder(config: &Config, drain: Drain) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(Tasks(drain));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(config.max_headers)
        // hyper takes no less.
        .max_buf_size(config.max_header_bytes.max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keep_alive)
        .keep_alive_timeout(config.keep_alive)
        .max_concurrent_streams(config.max_requests_per_connection)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

async fn connection(stream: TcpStream, router: Router, builder: auto::Builder<Tasks>, http: Http) {
    let _open = http.metrics.open_connection();
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
    // hyper times the head of a request only once it knows which HTTP it is.
    converse(connection, |connection| connection.graceful_shutdown(), &begun, http.config.header_timeout, &http.drain)
        .await;
}

fn answer(mut router: Router, request: Request<Incoming>) -> impl Future<Output = Result<Response, Infallible>> {
    Service::<Request<Incoming>>::call(&mut router, request)
}
