//! Exceptions: from the broker's error to AMQP's reply code, in exactly one total match.

use super::codec::Malformed;
use super::convert::Refusal;
use crate::broker::{self, Kind};

/// The handlers' result.
pub(super) type Result<T, E = Exception> = std::result::Result<T, E>;

/// AMQP 0-9-1 reply codes (1.1, and RabbitMQ's use of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    ContentTooLarge,
    ConnectionForced,
    AccessRefused,
    NotFound,
    ResourceLocked,
    PreconditionFailed,

    FrameError,
    SyntaxError,
    CommandInvalid,
    ChannelError,
    UnexpectedFrame,
    ResourceError,
    NotAllowed,
    NotImplemented,
    InternalError,
}

impl Code {
    pub(super) fn number(self) -> u16 {
        match self {
            Self::ContentTooLarge => 311,
            Self::ConnectionForced => 320,
            Self::AccessRefused => 403,
            Self::NotFound => 404,
            Self::ResourceLocked => 405,
            Self::PreconditionFailed => 406,

            Self::FrameError => 501,
            Self::SyntaxError => 502,
            Self::CommandInvalid => 503,
            Self::ChannelError => 504,
            Self::UnexpectedFrame => 505,
            Self::ResourceError => 506,
            Self::NotAllowed => 530,
            Self::NotImplemented => 540,
            Self::InternalError => 541,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ContentTooLarge => "CONTENT_TOO_LARGE",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",

            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether it ends the connection; the others end their channel (the specification calls them soft).
    pub(super) fn is_hard(self) -> bool {
        match self {
            Self::ContentTooLarge
            | Self::AccessRefused
            | Self::NotFound
            | Self::ResourceLocked
            | Self::PreconditionFailed => false,
            Self::ConnectionForced
            | Self::FrameError
            | Self::SyntaxError
            | Self::CommandInvalid
            | Self::ChannelError
            | Self::UnexpectedFrame
            | Self::ResourceError
            | Self::NotAllowed
            | Self::NotImplemented
            | Self::InternalError => true,
        }
    }
}

/// Why a channel or connection ends: a code and words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} - {message}", .code.name())]
pub(super) struct Exception {
    pub(super) code: Code,
    message: String,
}

/// The longest text a short string holds.
const MAX_TEXT: usize = 255;

impl Exception {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// 540: known, and not in this version.
    pub(super) fn not_implemented(what: impl std::fmt::Display) -> Self {
        Self::new(Code::NotImplemented, format!("{what}: not in this version"))
    }

    /// The words for the client, `NAME - message`, cut to what a short string holds.
    pub(super) fn text(&self) -> String {
        let mut text = self.to_string();
        if text.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
        }
        text
    }
}

impl From<broker::Error> for Exception {
    fn from(error: broker::Error) -> Self {
        let code = match error.kind {
            Kind::Invalid
            | Kind::BadBatch
            | Kind::AlreadyExists
            | Kind::OutOfRange
            | Kind::OutOfSequence
            | Kind::Fenced
            | Kind::Conflict
            | Kind::LeaseGone => Code::PreconditionFailed,
            Kind::Unauthenticated | Kind::Forbidden => Code::AccessRefused,
            Kind::NotFound => Code::NotFound,
            Kind::TooLarge => Code::ContentTooLarge,
            Kind::Locked => Code::ResourceLocked,
            Kind::Throttled => Code::ResourceError,
            Kind::Unsupported => Code::NotImplemented,
            Kind::Unavailable => Code::ConnectionForced,
            Kind::Corrupt | Kind::Internal => Code::InternalError,
        };
        Self::new(code, error.message)
    }
}

impl From<Malformed> for Exception {
    fn from(malformed: Malformed) -> Self {
        let code = match malformed {
            Malformed::ProtocolHeader
            | Malformed::FrameEnd(_)
            | Malformed::FrameType(_)
            | Malformed::FrameSize(..)
            | Malformed::FrameTooShort
            // The specification would have 502; clients know RabbitMQ's answer.
            | Malformed::Arguments { .. } => Code::FrameError,
            Malformed::Properties(_) => Code::SyntaxError,
            Malformed::UnknownClass(_) | Malformed::UnknownMethod(..) => Code::CommandInvalid,
            Malformed::ContentClass(_) | Malformed::Heartbeat => Code::UnexpectedFrame,
        };
        Self::new(code, malformed.to_string())
    }
}

impl From<Refusal> for Exception {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Expiration(_) => Code::PreconditionFailed,
            Refusal::TooLarge(_) => Code::ContentTooLarge,
        };
        Self::new(code, refusal.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fit_a_short_string() {
        let exception = Exception::new(Code::NotFound, "ß".repeat(200));
        assert!(exception.text().len() <= MAX_TEXT && exception.text().starts_with("NOT_FOUND - ß"));
        assert_eq!(Exception::new(Code::NotFound, "no queue 'q'").text(), "NOT_FOUND - no queue 'q'");
    }
}
