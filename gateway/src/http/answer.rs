//! Answers in JSON, and pages of lists.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, PercentEncode, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::error::{Problem, Result};

/// What a path segment keeps as it is: RFC 3986's unreserved characters.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Most answers are no longer.
const USUAL_BYTES: usize = 256;

/// A response in JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => json_bytes(status, bytes),
        Err(error) => {
            tracing::error!(%error, "an answer does not serialize");
            axum::response::IntoResponse::into_response(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the answer does not serialize",
            ))
        }
    }
}

/// A response in JSON that is serialized already.
pub(super) fn json_bytes(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// 204.
pub(super) fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Adds the address of what was created.
pub(super) fn with_location(mut response: Response, location: String) -> Response {
    if let Ok(location) = HeaderValue::try_from(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A name as a path segment.
pub(super) fn segment(name: &str) -> PercentEncode<'_> {
    utf8_percent_encode(name, SEGMENT)
}

/// Which page of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// The most entries; the server may return fewer.
    #[param(minimum = 1, example = 100)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^[A-Za-z0-9_-]+$")]
    cursor: Option<String>,
    /// Only names that begin so.
    prefix: Option<String>,
}

/// Names of a page when the answer does not say how many.
const DEFAULT_PAGE: usize = 100;

impl PageQuery {
    /// The page's part of `entries`, which are sorted by name, and the cursor of the next page.
    pub(super) fn page<T>(
        &self,
        mut entries: Vec<T>,
        name: impl Fn(&T) -> &str,
        max_page: usize,
    ) -> Result<(Vec<T>, Option<String>)> {
        let limit = at_least_one("limit", self.limit)?.unwrap_or(DEFAULT_PAGE).min(max_page);
        if let Some(cursor) = &self.cursor {
            let after = decode_cursor(cursor)?;
            let first = entries.partition_point(|entry| *name(entry) <= *after);
            entries.drain(..first);
        }
        if let Some(prefix) = &self.prefix {
            entries.retain(|entry| name(entry).starts_with(prefix.as_str()));
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        let last = entries.last().filter(|_| more).map(|entry| BASE64_URL_SAFE_NO_PAD.encode(name(entry)));
        Ok((entries, last))
    }
}

/// Refuses zero.
pub(super) fn at_least_one(name: &str, value: Option<usize>) -> Result<Option<usize>> {
    match value {
        Some(0) => Err(Problem::invalid(format!("{name} is at least 1"))),
        value => Ok(value),
    }
}

fn decode_cursor(cursor: &str) -> Result<String> {
    let name = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| Problem::invalid("cursor is not one that this list gave out"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let names = ["a", "b/c", "bé", "d"];
        let mut query = PageQuery { limit: Some(3), ..PageQuery::default() };
        let (page, next) = query.page(names.to_vec(), |name| name, 1000).unwrap();
        assert_eq!(page, ["a", "b/c", "bé"]);
        query.cursor = next;
        assert_eq!(query.page(names.to_vec(), |name| name, 1000).unwrap(), (vec!["d"], None));
        query.cursor = Some("?".into());
        assert!(query.page(names.to_vec(), |name| name, 1000).is_err());
    }

    #[test]
    fn a_page_is_never_over_the_setting() {
        let query = PageQuery { limit: Some(50), prefix: Some("a".into()), ..PageQuery::default() };
        let (page, next) = query.page(vec!["a", "ab", "ac", "b"], |name| name, 2).unwrap();
        assert_eq!(page, ["a", "ab"]);
        assert!(next.is_some());
        assert_eq!(segment("a/b:c é").to_string(), "a%2Fb%3Ac%20%C3%A9");
    }
}
