//! Errors as gRPC statuses, and the one place where the broker's kinds become codes.

use std::collections::HashMap;
use std::time::Duration;

use tidegate_engine as engine;
use tidegate_proto::v1 as proto;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::time::duration;
use crate::broker::{self, Kind};

/// The handlers' result.
pub(super) type Result<T, E = Refusal> = std::result::Result<T, E>;

/// After so long a request that met a limit or an unavailable engine is worth another try.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Who gives the reasons.
const DOMAIN: &str = "tidegate";

/// Why not: the status of a call, or of a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    /// A stable name for programs.
    reason: &'static str,
    /// For people: what is wrong and what to do next.
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(code: Code, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), retry_after: None }
    }

    /// The request is wrong.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, "INVALID", message)
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, "NOT_FOUND", message)
    }

    /// More in one request than a setting allows.
    pub(super) fn too_many(what: &str, count: usize, setting: &str, limit: usize) -> Self {
        Self::new(
            Code::ResourceExhausted,
            "TOO_LARGE",
            format!("{count} {what} are over the limit of {limit} ({setting})"),
        )
    }

    /// A limit of the listener's own.
    pub(super) fn limit(setting: &str, limit: usize) -> Self {
        Self::new(Code::ResourceExhausted, "THROTTLED", format!("{setting} is {limit}: try again later")).later()
    }

    /// What the transport says: the client broke off, or sent what is no message.
    pub(super) fn transport(status: Status) -> Self {
        Self::new(status.code(), "TRANSPORT", status.message())
    }

    /// The same request may succeed later.
    pub(super) fn later(mut self) -> Self {
        self.retry_after = Some(RETRY_AFTER);
        self
    }

    /// Puts words in front of the message.
    pub(super) fn within(mut self, place: impl std::fmt::Display) -> Self {
        self.message = format!("{place}: {}", self.message);
        self
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn reason(&self) -> &'static str {
        self.reason
    }
}

/// A value of an enum. One that a later version may know is refused rather than taken for another.
pub(super) fn known<E: TryFrom<i32>>(name: &str, value: i32) -> Result<E> {
    E::try_from(value).map_err(|_| Refusal::invalid(format!("{name}: this version knows no value {value}")))
}

/// The code and the reason of each kind.
fn code_of(kind: Kind) -> (Code, &'static str) {
    match kind {
        Kind::Invalid => (Code::InvalidArgument, "INVALID"),
        Kind::BadBatch => (Code::InvalidArgument, "BAD_BATCH"),
        Kind::Unauthenticated => (Code::Unauthenticated, "UNAUTHENTICATED"),
        Kind::Forbidden => (Code::PermissionDenied, "FORBIDDEN"),
        Kind::NotFound => (Code::NotFound, "NOT_FOUND"),
        Kind::AlreadyExists => (Code::AlreadyExists, "ALREADY_EXISTS"),
        Kind::TooLarge => (Code::ResourceExhausted, "TOO_LARGE"),
        Kind::Throttled => (Code::ResourceExhausted, "THROTTLED"),
        Kind::OutOfRange => (Code::OutOfRange, "OUT_OF_RANGE"),
        Kind::OutOfSequence => (Code::Aborted, "OUT_OF_SEQUENCE"),
        Kind::Fenced => (Code::Aborted, "FENCED"),
        Kind::Conflict => (Code::Aborted, "CONFLICT"),
        Kind::Locked => (Code::FailedPrecondition, "LOCKED"),
        // Asking again cannot help.
        Kind::LeaseGone => (Code::FailedPrecondition, "LEASE_GONE"),
        Kind::Unsupported => (Code::Unimplemented, "UNSUPPORTED"),
        Kind::Unavailable => (Code::Unavailable, "UNAVAILABLE"),
        Kind::Corrupt => (Code::DataLoss, "CORRUPT"),
        Kind::Internal => (Code::Internal, "INTERNAL"),
    }
}

impl From<broker::Error> for Refusal {
    fn from(error: broker::Error) -> Self {
        let (code, reason) = code_of(error.kind);
        let later = error.is_retryable();
        let refusal = Self::new(code, reason, error.message);
        if later { refusal.later() } else { refusal }
    }
}

impl From<engine::Error> for Refusal {
    fn from(error: engine::Error) -> Self {
        match error {
            // A contradiction that no retry resolves, unlike the others of its kind.
            engine::Error::IdempotencyMismatch => {
                Self::new(Code::FailedPrecondition, "IDEMPOTENCY_KEY_REUSED", error.to_string())
            }
            error => broker::Error::from(error).into(),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let mut details = ErrorDetails::with_error_info(refusal.reason, DOMAIN, HashMap::new());
        if let Some(after) = refusal.retry_after {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(refusal.code, refusal.message, details)
    }
}

impl From<Refusal> for proto::Error {
    fn from(refusal: Refusal) -> Self {
        Self {
            code: refusal.code.into(),
            reason: refusal.reason.to_owned(),
            message: refusal.message,
            retry_after: refusal.retry_after.map(duration),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_and_when() {
        let status = Status::from(Refusal::from(engine::Error::DiskFull));
        assert_eq!(status.code(), Code::Unavailable);
        let details = status.get_error_details();
        let info = details.error_info().map(|info| (info.reason.as_str(), info.domain.as_str()));
        assert_eq!(info, Some(("UNAVAILABLE", "tidegate")));
        assert_eq!(details.retry_info().and_then(|info| info.retry_delay), Some(RETRY_AFTER));
    }

    #[test]
    fn what_cannot_help_is_not_to_be_retried() {
        for error in [engine::Error::IdempotencyMismatch, engine::Error::LeaseGone] {
            let status = Status::from(Refusal::from(error));
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.get_error_details().retry_info().is_none());
        }
    }
}
