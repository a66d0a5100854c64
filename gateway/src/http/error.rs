//! Errors as RFC 9457 problem details, and the one place where the broker's kinds become status codes.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tidegate_engine as engine;
use utoipa::ToSchema;

use crate::broker::{self, Kind};

/// The handlers' result.
pub(super) type Result<T, E = Problem> = std::result::Result<T, E>;

/// After so long a request that met a limit or an unavailable engine is worth another try.
const RETRY_AFTER_MS: u64 = 1_000;

/// What went wrong: RFC 9457 `application/problem+json`.
///
/// A handler returns it; it travels to the session layer in the response's extensions and is written there, with the
/// request's id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The status code's phrase.
    title: &'static str,
    /// The status code.
    #[serde(serialize_with = "status_number")]
    #[schema(value_type = u16)]
    status: StatusCode,
    /// A stable name for programs.
    code: &'static str,
    /// For people: what is wrong and what to do next.
    detail: String,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// When it is worth another try, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// The request's id, as in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
}

fn status_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            code,
            detail: detail.into(),
            retryable: false,
            retry_after_ms: None,
            request_id: None,
        }
    }

    /// 400.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }

    /// 404.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 429 for a limit of the listener's own.
    pub(super) fn limit(setting: &str, limit: usize) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", format!("{setting} is {limit}: try again later")).later()
    }

    /// The same request may succeed later.
    pub(super) fn later(mut self) -> Self {
        self.retryable = true;
        self.retry_after_ms = Some(RETRY_AFTER_MS);
        self
    }

    /// Puts words in front of the detail.
    pub(super) fn within(mut self, place: impl std::fmt::Display) -> Self {
        self.detail = format!("{place}: {}", self.detail);
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn code(&self) -> &'static str {
        self.code
    }

    /// The response, body and all.
    pub(super) fn render(mut self, request_id: &str) -> Response {
        self.request_id = Some(request_id.to_owned());
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000)));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The status and the code of each kind.
fn status_of(kind: Kind) -> (StatusCode, &'static str) {
    match kind {
        Kind::Invalid => (StatusCode::BAD_REQUEST, "invalid"),
        Kind::BadBatch => (StatusCode::BAD_REQUEST, "bad_batch"),
        Kind::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
        Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
        Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
        Kind::AlreadyExists => (StatusCode::CONFLICT, "already_exists"),
        Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        Kind::Throttled => (StatusCode::TOO_MANY_REQUESTS, "throttled"),
        Kind::OutOfRange => (StatusCode::RANGE_NOT_SATISFIABLE, "out_of_range"),
        Kind::OutOfSequence => (StatusCode::CONFLICT, "out_of_sequence"),
        Kind::Fenced => (StatusCode::CONFLICT, "fenced"),
        Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
        Kind::Locked => (StatusCode::LOCKED, "locked"),
        Kind::LeaseGone => (StatusCode::CONFLICT, "lease_gone"),
        Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "unsupported"),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Kind::Corrupt => (StatusCode::INTERNAL_SERVER_ERROR, "corrupt"),
        Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    }
}

impl From<broker::Error> for Problem {
    fn from(error: broker::Error) -> Self {
        let (status, code) = status_of(error.kind);
        let later = error.is_retryable();
        let problem = Self::new(status, code, error.message);
        if later { problem.later() } else { problem }
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        match error {
            // The Idempotency-Key draft's own status for a key that comes back with another payload.
            engine::Error::IdempotencyMismatch => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", error.to_string())
            }
            error => broker::Error::from(error).into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use axum::http::StatusCode;
    use tidegate_engine as engine;

    use super::Problem;

    #[test]
    fn a_problem_says_what_and_when() {
        let problem = Problem::from(engine::Error::DiskFull);
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!((json["status"].as_u64(), json["code"].as_str()), (Some(503), Some("unavailable")));
        assert_eq!(json["retryable"], true);
        let response = problem.render("r1");
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }

    #[test]
    fn a_reused_idempotency_key_is_not_a_mere_conflict() {
        assert_eq!(Problem::from(engine::Error::IdempotencyMismatch).status(), StatusCode::UNPROCESSABLE_ENTITY);
    }
}
