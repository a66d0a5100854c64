//! What every request goes through: its id, the limits, the time it may take, the writing of problems, the counters.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, Route};
use bytes::BytesMut;
use futures_util::future::Either;
use tower::layer::layer_fn;
use tower::{Service, service_fn};

use super::error::Problem;
use super::groups::Action;
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

/// Puts every request of these routes into a session. `path` is theirs in the document; empty for what is not in it.
pub(super) fn in_session(http: &Http, path: &str, routes: MethodRouter<Http>) -> MethodRouter<Http> {
    let sessions = Arc::new(Sessions { http: http.clone(), path: path.to_owned() });
    // Not axum's from_fn: that makes every request's route and future anew, on the heap, once more.
    routes.layer(layer_fn(move |mut route: Route| {
        let sessions = Arc::clone(&sessions);
        service_fn(move |request: Request| {
            let id = sessions.http.request_ids.of(&request);
            let method = request.method().clone();
            let response = match refuse_other_sites(&request) {
                Ok(()) => Either::Left(route.call(request)),
                Err(problem) => Either::Right(ready(Ok(problem.into_response()))),
            };
            Arc::clone(&sessions).run(id, method, response)
        })
    }))
}

/// Refuses what a page of another site makes a browser send. Nobody has to log in on this machine's own addresses, so any
/// page that somebody here looks at could publish, or take a group's messages. Browsers say so themselves; following a link is fine.
fn refuse_other_sites(request: &Request) -> Result<(), Problem> {
    let says = |name: &str, what: &str| request.headers().get(name).is_some_and(|value| value == what);
    let follows_a_link = request.method() == Method::GET && says("sec-fetch-mode", "navigate");
    if says("sec-fetch-site", "cross-site") && !follows_a_link {
        let detail = "a web page of another site may not use this: let its own server send the request";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross_site", detail));
    }
    Ok(())
}

/// What the sessions of one path share.
struct Sessions {
    http: Http,
    path: String,
}

impl Sessions {
    async fn run(
        self: Arc<Self>,
        id: HeaderValue,
        method: Method,
        response: impl Future<Output = Result<Response, Infallible>>,
    ) -> Result<Response, Infallible> {
        let Self { http, path } = &*self;
        let may_wait = method == Method::POST && path == GROUP;
        let (response, action) = finish(limited(http, response, may_wait).await?, id);
        match action {
            Some(action) => http.metrics.answered(&method, &format!("{GROUP}:{}", action.name()), response.status()),
            None => http.metrics.answered(&method, path, response.status()),
        }
        Ok(response)
    }
}

async fn limited<E>(
    http: &Http,
    response: impl Future<Output = Result<Response, E>>,
    may_wait: bool,
) -> Result<Response, E> {
    let Ok(_permit) = http.requests.try_acquire() else {
        return Ok(Problem::limit("max_requests", http.config.max_requests).into_response());
    };
    let wait = if may_wait { http.config.max_wait } else { Duration::ZERO };
    tokio::time::timeout(http.config.request_timeout + wait, response).await.unwrap_or_else(|_| {
        let detail = "the request took too long (request_timeout); whether it was carried out is not known";
        Ok(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).later().into_response())
    })
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
