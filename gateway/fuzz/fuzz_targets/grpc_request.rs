//! Calls of the gRPC services in front of a real engine: the answer is never an error of ours.
//!
//! Input: a line with the method, such as `Publisher/Publish`, then the body as gRPC frames it.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use libfuzzer_sys::fuzz_target;
use tidegate::broker::Settings;
use tidegate::grpc::{Config, Grpc, routes};
use tidegate::listener::Drain;
use tonic::service::Routes;
use tower::ServiceExt;

struct Target {
    runtime: tokio::runtime::Runtime,
    routes: Routes,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let broker = tidegate_fuzz::broker(Settings::default());
    // A pull that may wait would only slow the search down.
    let config = Config { max_wait: Duration::ZERO, ..Config::default() };
    let grpc = Grpc::new(broker, Arc::new(config), [7; 32], Drain::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Target { runtime, routes: routes(grpc) }
});

/// The status of a call that ends.
async fn status(path: &str, body: &[u8]) -> Option<String> {
    let request = Request::post(format!("/tidegate.v1.{path}"))
        .header("content-type", "application/grpc")
        .body(tonic::body::Body::new(Full::new(Bytes::copy_from_slice(body))))
        .ok()?;
    let response = TARGET.routes.clone().oneshot(request).await.expect("routes do not fail");
    let of = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok().map(str::to_owned);
    match of(response.headers()) {
        Some(code) => Some(code),
        None => of(response.into_body().collect().await.ok()?.trailers()?),
    }
}

fuzz_target!(|input: &[u8]| {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let Ok(path) = std::str::from_utf8(&input[..end]) else { return };
    TARGET.runtime.block_on(async {
        // A stream may go on.
        let ended = tokio::time::timeout(Duration::from_millis(100), status(path, &input[end + 1..])).await;
        // 2 UNKNOWN, 14 UNAVAILABLE, 15 DATA_LOSS; 13 INTERNAL is what tonic says of what is no protobuf.
        assert!(!matches!(ended.ok().flatten().as_deref(), Some("2" | "14" | "15")), "{path}");
    });
});
