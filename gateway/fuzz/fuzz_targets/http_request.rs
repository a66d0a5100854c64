//! Requests against the HTTP routes in front of a real engine: the answer is never a server error.
//!
//! Input: a line with the method and the path, lines with fields, an empty line, the body.
#![no_main]

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use tidegate::broker::Settings;
use tidegate::http::{Config, Http, router};
use tidegate::listener::Drain;
use tower::ServiceExt;

struct Target {
    runtime: tokio::runtime::Runtime,
    router: axum::Router,
}

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let broker = tidegate_fuzz::broker(Settings::default());
    // A pull that may wait would only slow the search down.
    let config = Config { max_wait: std::time::Duration::ZERO, ..Config::default() };
    let http = Http::new(broker, Arc::new(config), [7; 32], Drain::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    Target { runtime, router: router(http) }
});

fn request(input: &[u8]) -> Option<Request<Body>> {
    let split = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = split.map_or((input, &[][..]), |at| (&input[..at], &input[at + 2..]));
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, path) = first.split_once(' ')?;
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).ok()?).uri(path);
    for line in lines {
        let at = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (HeaderName::from_bytes(&line[..at]).ok()?, HeaderValue::from_bytes(&line[at + 1..]).ok()?);
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_vec())).ok()
}

fuzz_target!(|input: &[u8]| {
    let Some(request) = request(input) else { return };
    let is_stream = request.uri().path().ends_with("/stream");
    TARGET.runtime.block_on(async {
        let response = TARGET.router.clone().oneshot(request).await.expect("routes do not fail");
        let (status, fields) = (response.status(), response.headers().clone());
        // Over a count limit of this small engine is an answer too, and a full one is not a mistake of the routes.
        assert!(!status.is_server_error(), "{status}");
        if status.is_client_error() {
            assert_eq!(fields["content-type"], "application/problem+json");
        }
        if !is_stream {
            response.into_body().collect().await.expect("a whole body");
        }
    });
});
