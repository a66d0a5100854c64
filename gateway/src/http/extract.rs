//! What handlers take from a request: who asks and of what, the query, the body, what the client wants back.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use axum::http::{HeaderMap, StatusCode, header, request};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::convert::json::is_json;
use super::error::{Problem, Result};
use super::state::Http;
use crate::broker::Principal;

/// Who asks, and the names in the path, percent-decoded.
pub(super) struct Target {
    pub principal: Principal,
    path: RawPathParams,
}

impl Target {
    /// A part of the path; empty when the route has no such part.
    pub(super) fn get(&self, name: &str) -> &str {
        self.path.iter().find_map(|(key, value)| (key == name).then_some(value)).unwrap_or_default()
    }

    pub(super) fn topic(&self) -> &str {
        self.get("topic")
    }

    pub(super) fn group(&self) -> &str {
        self.get("group")
    }
}

impl FromRequestParts<Http> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, http: &Http) -> Result<Self> {
        let path = RawPathParams::from_request_parts(parts, http).await;
        let path = path.map_err(|_| Problem::invalid("the path is not UTF-8 once it is percent-decoded"))?;
        let target = Self { principal: http.principal.clone(), path };
        let namespace = target.get("namespace");
        if namespace.is_empty() || namespace == target.principal.namespace() {
            return Ok(target);
        }
        let detail = format!("namespace '{namespace}' is not yours: you have '{}'", target.principal.namespace());
        Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
    }
}

/// The query, every parameter known.
pub(super) struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Http> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _: &Http) -> Result<Self> {
        let query = Query::try_from_uri(&parts.uri);
        query.map(|Query(query)| Self(query)).map_err(|error| Problem::invalid(error.body_text()).within("query"))
    }
}

/// The header fields, and the whole body within `max_body_bytes` and `body_timeout`.
pub(super) struct Whole {
    pub fields: HeaderMap,
    pub body: Bytes,
}

impl FromRequest<Http> for Whole {
    type Rejection = Problem;

    async fn from_request(request: Request, http: &Http) -> Result<Self> {
        let (parts, body) = request.into_parts();
        Ok(Self { fields: parts.headers, body: read_body(body, http).await? })
    }
}

async fn read_body(body: Body, http: &Http) -> Result<Bytes> {
    let limit = http.config.max_body_bytes;
    let mut whole = pin!(Limited::new(body, limit).collect());
    // A small body is there with its head, and is not timed.
    let whole = match poll_fn(|context| Poll::Ready(whole.as_mut().poll(context))).await {
        Poll::Ready(whole) => Ok(whole),
        Poll::Pending => tokio::time::timeout(http.config.body_timeout, whole).await,
    };
    match whole {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("the body is over {limit} bytes (max_body_bytes)"),
        )),
        Ok(Err(_)) => Err(Problem::invalid("the body broke off")),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            format!("the body did not arrive within {:?} (body_timeout)", http.config.body_timeout),
        )
        .later()),
    }
}

/// A body in JSON, and its bytes.
pub(super) struct Json(Bytes);

impl Json {
    /// Reads it.
    ///
    /// # Errors
    /// 400 says what is wrong and where.
    pub(super) fn read<'a, T: serde::Deserialize<'a>>(&'a self) -> Result<T> {
        // An absent body says nothing, as `{}` does, and null.
        let bytes: &[u8] = if matches!(self.0.trim_ascii(), b"" | b"null") { b"{}" } else { &self.0 };
        object(bytes).map_err(|problem| problem.within("body"))
    }
}

/// Reads a JSON object. serde would take an array for one as well, its fields in an order that nobody was told.
///
/// # Errors
/// 400 says what is wrong and where.
pub(super) fn object<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::invalid("it is an array where an object, {…}, is expected"));
    }
    serde_json::from_slice(json).map_err(|error| Problem::invalid(error.to_string()))
}

impl FromRequest<Http> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, http: &Http) -> Result<Self> {
        let of = content_type(request.headers());
        if of.is_some_and(|of| !is_json(of)) {
            return Err(unsupported_media_type("application/json"));
        }
        read_body(request.into_body(), http).await.map(Self)
    }
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"))
}

pub(super) fn unsupported_media_type(expected: &str) -> Problem {
    let detail = format!("send Content-Type: {expected}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// The one of `offered` that the client's Accept field likes best, the first of equals; the first without the field.
/// None when it wants none of them.
pub(super) fn negotiate<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Option<&'a str> {
    let mut accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if accept.peek().is_none() {
        return offered.first().copied();
    }
    let ranges: Vec<_> = accept.flat_map(|value| value.split(',')).filter_map(media_range).collect();
    let quality =
        |of: &str| ranges.iter().filter_map(|range| range.quality_of(of)).max_by_key(|(specific, _)| *specific);
    let scored = offered.iter().map(|of| (quality(of).map_or(0, |(_, quality)| quality), *of));
    // `max_by_key` takes the last of equals, so it is asked from the end.
    scored.rev().max_by_key(|(quality, _)| *quality).filter(|(quality, _)| *quality > 0).map(|(_, of)| of)
}

/// One entry of an Accept field (RFC 9110, 12.5.1).
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u16,
}

fn media_range(text: &str) -> Option<MediaRange<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let quality = parts.filter_map(|part| part.strip_prefix("q=")).find_map(|q| q.parse::<f32>().ok()).unwrap_or(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let quality = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
    Some(MediaRange { kind, subtype, quality })
}

impl MediaRange<'_> {
    /// How specific the match is, and its quality.
    fn quality_of(&self, offered: &str) -> Option<(u8, u16)> {
        let (kind, subtype) = offered.split_once('/')?;
        match (self.kind, self.subtype) {
            ("*", "*") => Some((0, self.quality)),
            (of, "*") if of.eq_ignore_ascii_case(kind) => Some((1, self.quality)),
            (of, sub) if of.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => Some((2, self.quality)),
            _ => None,
        }
    }
}

/// A permit held for as long as an answer is being streamed.
pub(super) type StreamPermit = tokio::sync::OwnedSemaphorePermit;

/// Admits one more stream.
pub(super) fn admit_stream(http: &Http) -> Result<StreamPermit> {
    let permit = Arc::clone(&http.streams).try_acquire_owned();
    permit.map_err(|_| Problem::limit("max_streams", http.config.max_streams))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::{HeaderMap, header};

    use super::negotiate;

    #[test]
    fn the_best_liked_is_offered() {
        let offered = ["text/event-stream", "application/x-ndjson"];
        for (accept, expected) in [
            ("*/*", Some("text/event-stream")),
            ("application/x-ndjson", Some("application/x-ndjson")),
            ("text/event-stream;q=0.5, application/x-ndjson;q=0.9", Some("application/x-ndjson")),
            ("application/*, */*;q=0.1", Some("application/x-ndjson")),
            ("text/event-stream;q=0, */*", Some("application/x-ndjson")),
            ("text/html", None),
            ("nonsense", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(negotiate(&headers, &offered), expected, "{accept}");
        }
    }

    #[test]
    fn without_a_wish_the_first_is_offered() {
        assert_eq!(negotiate(&HeaderMap::new(), &["a/b", "c/d"]), Some("a/b"));
    }
}
