//! The HTTP listener: publish, read and consume with JSON, server-sent events and NDJSON.
//!
//! `serve` runs it; one file holds the routes of one family, `convert` maps messages, `error` maps errors.

mod answer;
mod attempts;
mod browse;
mod config;
mod consumers;
mod convert;
mod error;
mod extract;
mod group_stream;
mod groups;
mod lag;
mod metrics;
mod openapi;
mod precondition;
mod publish;
mod publish_batch;
mod pull;
mod schema;
mod seek;
mod serve;
mod session;
mod settle;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod topic_stream;
mod topics;

use axum::Router;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get};

pub use config::Config;
pub use metrics::{Metrics, Requests};
pub use openapi::document;
pub use serve::{serve, start};
pub use state::Http;

use error::Problem;
use session::in_session;

/// Every route, without a socket.
pub fn router(http: Http) -> Router {
    let (routes, _) = openapi::routes();
    let in_session = |path: &str, methods: MethodRouter<Http>| in_session(&http, path, methods);
    let document = get(openapi::serve_document).fallback(method_not_allowed);
    let mut router = Router::new().route("/openapi.json", in_session("", document));
    // Not nested: that would write every request's path anew.
    for prefix in [openapi::PREFIX, openapi::PREFIX_NAMESPACE] {
        for (path, methods) in &routes {
            let methods = methods.clone().fallback(method_not_allowed);
            router = router.route(&format!("{prefix}{path}"), in_session(path, methods));
        }
    }
    router.fallback_service(in_session("", any(no_route)).with_state(http.clone())).with_state(http)
}

async fn no_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(StatusCode::NOT_FOUND, "no_route", format!("there is nothing at {path}: see /openapi.json"))
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    let detail = format!("{method} is not possible here: see /openapi.json");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).into_response();
    // A group and what is done to it share a route, which would name the methods of both.
    if let Some(methods) = groups::methods(uri.path()) {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    response
}
