//! A published message, as a record.

use tidegate_engine::batch::BatchBuilder;

use crate::amqp::codec::Properties;

/// A message that was published.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    exchange: &'a str,
    routing_key: &'a str,
    properties: Properties<'a>,
    body: &'a [u8],
}

/// Why a message is not taken: the channel is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The expiration is no number of milliseconds.
    #[error("invalid expiration '{0}': a decimal number of milliseconds from 0 to 4294967295")]
    Expiration(String),
    /// The batch would be larger than a batch can be.
    #[error("{0}")]
    TooLarge(String),
}

impl Refusal {
    /// AMQP's code for `channel.close`.
    #[must_use]
    pub fn reply_code(&self) -> u16 {
        match self {
            Self::Expiration(_) => 406,
            Self::TooLarge(_) => 311,
        }
    }
}

impl<'a> Incoming<'a> {
    /// Looks at what decides where and when the message goes.
    ///
    /// # Errors
    /// [`Refusal::Expiration`].
    pub fn new(
        exchange: &'a str,
        routing_key: &'a str,
        properties: &Properties<'a>,
        body: &'a [u8],
    ) -> Result<Self, Refusal> {
        Ok(Self { exchange, routing_key, properties: *properties, body })
    }

    /// The record's key, which decides the partition where there are several.
    #[must_use]
    pub fn key(&self) -> Option<&'a [u8]> {
        None
    }

    /// When it is to be delivered, if not at once; it needs a batch of its own then.
    #[must_use]
    pub fn deliver_at_ms(&self, _now_ms: i64) -> Option<i64> {
        None
    }

    /// Adds the record to a batch.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`]; the batch is as it was.
    pub fn append(&self, _builder: &mut BatchBuilder, _now_ms: i64) -> Result<(), Refusal> {
        Ok(())
    }
}
