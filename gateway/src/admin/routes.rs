//! The admin listener's routes.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::gateway::{Gateway, Phase};
use super::metrics;

use crate::config::Config;
use crate::metrics::{encode, encode_classic};

/// What Prometheus asks for first.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What everybody reads.
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/startupz", get(startupz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .route("/config", get(show_config))
        .with_state(gateway)
}

/// The process answers.
async fn livez() -> &'static str {
    "ok\n"
}

/// Data is open and the listeners listen (or did).
async fn startupz(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.phase() {
        Phase::Starting => unavailable("starting"),
        Phase::Ready | Phase::Draining => "ok\n".into_response(),
    }
}

/// Clients can be sent here.
async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response {
    match gateway.unready() {
        Some(reason) => unavailable(&reason),
        None => "ok\n".into_response(),
    }
}

fn unavailable(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}

async fn show_metrics(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let openmetrics = accept.contains("application/openmetrics-text");
    // Thousands of partitions take milliseconds: not on a thread that serves connections.
    let collected = tokio::task::spawn_blocking(move || {
        let families = metrics::collect(&gateway);
        if openmetrics { (OPENMETRICS, encode(families)) } else { (CLASSIC, encode_classic(families)) }
    });
    match collected.await {
        Ok((content_type, text)) => ([(header::CONTENT_TYPE, content_type)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// The configuration in effect. It holds no secret.
async fn show_config(State(gateway): State<Arc<Gateway>>) -> Json<Config> {
    Json(Config::clone(&gateway.config()))
}
