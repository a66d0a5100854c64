//! Class 60: messages.

use bytes::{BufMut, BytesMut};

use super::class;
use super::{Field, FieldReader, FieldWriter, MethodBody, Unread};
use crate::amqp::codec::field::put_short;
use crate::amqp::codec::{Table, Text};

class! {
    /// Class 60: messages.
    Basic = 60 {
        Qos = 10 "basic.qos" [] { prefetch_size: u32, prefetch_count: u16, global: bool } []
        QosOk = 11 "basic.qos-ok" [] {} []
        Consume = 20 "basic.consume" [u16] {
            queue: Text, consumer_tag: Text, no_local: bool, no_ack: bool, exclusive: bool, no_wait: bool,
            arguments: Table,
        } []
        ConsumeOk = 21 "basic.consume-ok" [] { consumer_tag: Text } []
        Cancel = 30 "basic.cancel" [] { consumer_tag: Text, no_wait: bool } []
        CancelOk = 31 "basic.cancel-ok" [] { consumer_tag: Text } []
        Publish = 40 "basic.publish" [u16] { exchange: Text, routing_key: Text, mandatory: bool, immediate: bool } []
        Return = 50 "basic.return" [] { reply_code: u16, reply_text: Text, exchange: Text, routing_key: Text } []
        Deliver = 60 "basic.deliver" [] {
            consumer_tag: Text, delivery_tag: u64, redelivered: bool, exchange: Text, routing_key: Text,
        } []
        Get = 70 "basic.get" [u16] { queue: Text, no_ack: bool } []
        GetOk = 71 "basic.get-ok" [] {
            delivery_tag: u64, redelivered: bool, exchange: Text, routing_key: Text, message_count: u32,
        } []
        GetEmpty = 72 "basic.get-empty" [] {} [Text]
        Ack = 80 "basic.ack" [] { delivery_tag: u64, multiple: bool } []
        Reject = 90 "basic.reject" [] { delivery_tag: u64, requeue: bool } []
        RecoverAsync = 100 "basic.recover-async" [] { requeue: bool } []
        Recover = 110 "basic.recover" [] { requeue: bool } []
        RecoverOk = 111 "basic.recover-ok" [] {} []
        Nack = 120 "basic.nack" [] { delivery_tag: u64, multiple: bool, requeue: bool } []
    }
}

/// `basic.deliver` with borrowed strings: what is written most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Delivery<'a> {
    pub consumer_tag: &'a str,
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a str,
    pub routing_key: &'a str,
}

impl MethodBody for Delivery<'_> {
    #[inline]
    fn write(&self, out: &mut BytesMut) {
        out.put_u32(60 << 16 | 60);
        put_short(out, self.consumer_tag);
        out.put_u64(self.delivery_tag);
        out.put_u8(self.redelivered.into());
        put_short(out, self.exchange);
        put_short(out, self.routing_key);
    }
}
