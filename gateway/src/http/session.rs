//! What every request goes through: its id, the limits, the time it may take, the writing of problems, the counters.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;

use super::error::Problem;
use super::groups::Action;
use super::openapi::{PREFIX, PREFIX_NAMESPACE};
use super::state::Http;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id taken over from a client.
const MAX_REQUEST_ID: usize = 128;
const GROUP: &str = "/groups/{group}";

/// Makes ids for requests that bring none: the process's own part and a number.
#[derive(Debug)]
pub(super) struct RequestIds {
    process: String,
    next: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        Self { process: format!("{:08x}-", uuid::Uuid::new_v4().as_fields().0), next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The client's id if it is short and readable, a new one otherwise.
    fn of(&self, request: &Request) -> HeaderValue {
        let given = request.headers().get(&REQUEST_ID);
        let is_usable = |id: &&HeaderValue| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        given.filter(is_usable).cloned().unwrap_or_else(|| self.new_id())
    }

    /// Every request gets one, so it is put together by hand.
    fn new_id(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
        let digit = |nth: u32| b"0123456789abcdef"[(number >> (4 * nth)) as usize & 0xf];
        let mut id = BytesMut::with_capacity(self.process.len() + digits as usize);
        id.extend_from_slice(self.process.as_bytes());
        id.extend((0..digits).rev().map(digit));
        HeaderValue::from_maybe_shared(id.freeze()).unwrap_or_else(|_| HeaderValue::from_static("-"))
    }
}

pub(super) async fn session(State(http): State<Http>, request: Request, next: Next) -> Response {
    let id = http.request_ids.of(&request);
    let method = request.method().clone();
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map_or("", |path| route_of(path.as_str()));
    let response = run(&http, request, next, method == Method::POST && path == GROUP).await;
    let (response, action) = finish(response, id);
    match action {
        Some(action) => http.metrics.answered(&method, &format!("{GROUP}:{}", action.name()), response.status()),
        None => http.metrics.answered(&method, path, response.status()),
    }
    response
}

/// The path as in the document.
fn route_of(matched: &str) -> &str {
    matched.strip_prefix(PREFIX_NAMESPACE).or_else(|| matched.strip_prefix(PREFIX)).unwrap_or(matched)
}

async fn run(http: &Http, request: Request, next: Next, may_wait: bool) -> Response {
    let Ok(_permit) = http.requests.try_acquire() else {
        return Problem::limit("max_requests", http.config.max_requests).into_response();
    };
    let wait = if may_wait { http.config.max_wait } else { std::time::Duration::ZERO };
    match tokio::time::timeout(http.config.request_timeout + wait, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let detail = "the request took too long (request_timeout); whether it was carried out is not known";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).later().into_response()
        }
    }
}

/// Writes a problem, and the request's id on every response.
fn finish(mut response: Response, id: HeaderValue) -> (Response, Option<Action>) {
    let action = response.extensions_mut().remove::<Action>();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if problem.status().is_server_error() {
            tracing::warn!(request_id = ?id, code = problem.code(), "{problem:?}");
        }
        let mut rendered = problem.render(id.to_str().unwrap_or_default());
        for (name, value) in response.headers() {
            if !rendered.headers().contains_key(name) {
                rendered.headers_mut().insert(name, value.clone());
            }
        }
        response = rendered;
    }
    response.headers_mut().insert(REQUEST_ID, id);
    (response, action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_processs_own_part_and_a_number_in_hexadecimal() {
        let ids = RequestIds::default();
        for number in [0, 1, 15, 16, 0xabc, u64::MAX] {
            ids.next.store(number, Ordering::Relaxed);
            assert_eq!(ids.new_id(), format!("{}{number:x}", ids.process));
        }
        assert_eq!(ids.process.len(), 9);
    }
}
