//! Why and where a message was dead-lettered, as RabbitMQ tells it: an array with a table for each queue and reason.

use bytes::{BufMut, BytesMut};

use super::entry::{put, put_long, put_value};
use super::slot::{Slot, number};
use crate::amqp::codec::with_length;

/// What a dead letter's headers say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death<'a> {
    pub reason: &'a [u8],
    pub topic: &'a [u8],
    pub exchange: &'a [u8],
    /// None where it is the topic.
    pub routing_key: Option<&'a [u8]>,
    /// Partition, offset and attempts, by name.
    pub numbers: [(&'static [u8], Option<&'a [u8]>); 3],
}

/// The names of the numbers in the table, and their slots.
pub(super) const NUMBERS: [(&[u8], Slot); 3] = [
    (b"partition", Slot::DeadLetterPartition),
    (b"offset", Slot::DeadLetterOffset),
    (b"attempts", Slot::DeadLetterAttempts),
];

impl Death<'_> {
    /// Writes type and value of `x-death`. The engine keeps the last death only, and does not keep its time.
    pub(super) fn write(&self, out: &mut BytesMut) {
        out.put_u8(b'A');
        with_length(out, |out| {
            out.put_u8(b'F');
            with_length(out, |out| self.write_table(out));
        });
    }

    fn write_table(&self, out: &mut BytesMut) {
        put_name(out, b"count");
        put(out, b'l', 1_i64.to_be_bytes());
        put_name(out, b"reason");
        // RabbitMQ's spelling; what a consumer gave as its reason is as it is.
        put_long(out, b'S', if self.reason == b"delivery-limit" { b"delivery_limit" } else { self.reason });
        put_name(out, b"queue");
        put_long(out, b'S', self.topic);
        put_name(out, b"exchange");
        put_long(out, b'S', self.exchange);
        put_name(out, b"routing-keys");
        out.put_u8(b'A');
        with_length(out, |out| put_value(out, Some(self.routing_key.unwrap_or(self.topic)), None));
        for (name, text) in self.numbers {
            if let Some(number) = text.and_then(number).and_then(|number| i64::try_from(number).ok()) {
                put_name(out, name);
                put(out, b'l', number.to_be_bytes());
            }
        }
    }
}

fn put_name(out: &mut BytesMut, name: &[u8]) {
    out.put_u8(name.len() as u8);
    out.extend_from_slice(name);
}
