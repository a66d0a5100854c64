//! From the broker's error to Kafka's code: exactly one total match.

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;

use crate::broker::{Error, Kind};

/// What a request was about when it failed: Kafka has a code of its own for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Topic,
    Group,
    Cluster,
}

/// Kafka's code for a broker error (<https://kafka.apache.org/protocol#protocol_error_codes>).
pub(super) fn code(kind: Kind, about: About) -> ResponseError {
    use ResponseError as E;
    match kind {
        Kind::Invalid => E::InvalidRequest,
        Kind::BadBatch | Kind::Corrupt => E::CorruptMessage,
        Kind::Unauthenticated => E::SaslAuthenticationFailed,
        Kind::Forbidden => match about {
            About::Topic => E::TopicAuthorizationFailed,
            About::Group => E::GroupAuthorizationFailed,
            About::Cluster => E::ClusterAuthorizationFailed,
        },
        Kind::NotFound => match about {
            About::Topic | About::Cluster => E::UnknownTopicOrPartition,
            About::Group => E::GroupIdNotFound,
        },
        Kind::AlreadyExists => match about {
            About::Topic | About::Cluster => E::TopicAlreadyExists,
            About::Group => E::NonEmptyGroup,
        },
        Kind::TooLarge => E::MessageTooLarge,
        Kind::Throttled => E::ThrottlingQuotaExceeded,
        Kind::OutOfRange => E::OffsetOutOfRange,
        Kind::OutOfSequence => E::OutOfOrderSequenceNumber,
        Kind::Fenced => E::InvalidProducerEpoch,
        // A group whose consumers are of the other kind; of a topic nothing contradicts.
        Kind::Conflict => match about {
            About::Topic | About::Cluster => E::InvalidRequest,
            About::Group => E::InconsistentGroupProtocol,
        },
        Kind::Locked => E::PolicyViolation,
        Kind::LeaseGone => E::InvalidRecordState,
        Kind::Unsupported => E::UnsupportedVersion,
        // Both are retried by every client.
        Kind::Unavailable => match about {
            About::Topic | About::Cluster => E::KafkaStorageError,
            About::Group => E::CoordinatorNotAvailable,
        },
        Kind::Internal => E::UnknownServerError,
    }
}

/// A code and the words that go with it.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) error: ResponseError,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(error: ResponseError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }

    pub(super) fn about(about: About) -> impl Fn(Error) -> Self {
        move |error| Self { error: code(error.kind, about), message: error.message }
    }

    pub(super) fn code(&self) -> i16 {
        self.error.code()
    }
}

/// An outcome on the wire: a code, and words only when it is a refusal.
pub(super) fn outcome(result: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(refusal) => (refusal.code(), Some(StrBytes::from_string(refusal.message))),
    }
}

impl From<ResponseError> for Refusal {
    fn from(error: ResponseError) -> Self {
        Self { error, message: error.to_string() }
    }
}
