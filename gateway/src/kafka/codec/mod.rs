//! Bytes to requests and responses to bytes. Message structs are the kafka-protocol crate's; frames, headers, the check that
//! comes before decoding and the response that carries records are ours.

pub(super) mod fetch_response;
mod frame;
mod header;
mod outbox;
mod reader;
#[cfg(test)]
mod samples;
mod shape;
#[cfg(test)]
mod tests;

pub(super) use frame::{Frame, encode};
pub(super) use header::RequestHeader;
pub(super) use outbox::Outbox;
pub(super) use reader::FrameReader;
pub(super) use shape::{check, flexible_from};

/// What a client sent cannot be understood; its connection is closed, as Kafka does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a request of {0} bytes (max_request_bytes)")]
    FrameLength(i32),
    #[error("the request ends early")]
    Truncated,
    #[error("a length or count that cannot be")]
    Length,
    #[error("more elements in one request than max_request_elements")]
    Elements,
    #[error("the request does not decode")]
    Undecodable,
    #[error("API key {0}")]
    UnknownKey(i16),
    #[error("version {1} of API key {0}")]
    UnknownVersion(i16, i16),
}
