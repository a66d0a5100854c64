//! Deliveries straight onto the wire, where most of what is sent comes from: a record without headers is written from
//! where it lies. What is written is what [`received`] encodes to.

use ::bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, bytes, encode_key, encode_varint, encoded_len_varint, message, uint64};
use tidegate_engine::TopicName;
use tidegate_engine::batch::Record;
use tidegate_engine::group::Delivery;

use super::super::convert::received;
use super::super::time::timestamp;

/// In `Messages`.
const MESSAGES: u32 = 1;
/// In `ReceivedMessage`.
const MESSAGE: u32 = 1;
const TOPIC: u32 = 2;
const PARTITION: u32 = 3;
const OFFSET: u32 = 4;
const DELIVERY_ID: u32 = 5;
const DELIVERY_ATTEMPT: u32 = 7;
const REDELIVERED: u32 = 8;
const ACK_DEADLINE: u32 = 9;
/// In `Message`.
const VALUE: u32 = 1;
const KEY: u32 = 2;
const TIMESTAMP: u32 = 4;

/// Every key here is one byte.
const KEY_BYTES: usize = 1;
/// More than a message takes besides its record and its topic.
const OVERHEAD: usize = 96;

/// What the session knows of a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Numbered {
    /// 0 where nobody acknowledges.
    pub id: u64,
    /// The deliveries of the session have a time limit of their own.
    pub timed: bool,
}

/// The field `messages` of these deliveries.
pub(super) fn encode<'a>(deliveries: impl ExactSizeIterator<Item = (&'a Delivery, Numbered)> + Clone) -> Bytes {
    let size = |(delivery, _): (&Delivery, Numbered)| delivery.record.size() + delivery.topic.name().len() + OVERHEAD;
    let mut to = Vec::with_capacity(deliveries.clone().map(size).sum());
    let mut topic = Topic::default();
    for (delivery, numbered) in deliveries {
        if delivery.record.headers.is_empty() {
            put_plain(&mut to, delivery, numbered, topic.field(&delivery.topic));
        } else {
            message::encode(MESSAGES, &whole(delivery, numbered), &mut to);
        }
    }
    to.into()
}

/// A delivery as its type has it.
fn whole(delivery: &Delivery, Numbered { id, timed }: Numbered) -> tidegate_proto::v1::ReceivedMessage {
    let mut message = received(delivery.topic.name(), delivery.partition_index, &delivery.record);
    message.delivery_id = id;
    message.delivery_attempt = delivery.attempt;
    message.redelivered = delivery.redelivered;
    message.ack_deadline = timed.then(|| timestamp(delivery.deadline_ms));
    message
}

/// The field of the topic that the last delivery was of.
#[derive(Default)]
struct Topic {
    of: Option<TopicName>,
    field: Vec<u8>,
}

impl Topic {
    fn field(&mut self, topic: &TopicName) -> &[u8] {
        if self.of.as_ref() != Some(topic) {
            self.of = Some(topic.clone());
            self.field.clear();
            put_length(&mut self.field, TOPIC, topic.name().len());
            self.field.extend_from_slice(topic.name().as_bytes());
        }
        &self.field
    }
}

fn put_length(to: &mut Vec<u8>, tag: u32, length: usize) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// Bytes of a field with a length.
fn framed(length: usize) -> usize {
    KEY_BYTES + encoded_len_varint(length as u64) + length
}

fn put_plain(to: &mut Vec<u8>, delivery: &Delivery, Numbered { id, timed }: Numbered, topic: &[u8]) {
    let record: &Record = &delivery.record;
    let created = timestamp(record.timestamp_ms);
    let deadline = timed.then(|| timestamp(delivery.deadline_ms));
    let part = |part: &Option<Bytes>| part.as_ref().map_or(0, |bytes| framed(bytes.len()));
    let inner = part(&record.value) + part(&record.key) + framed(created.encoded_len());
    let number = |value: u64| if value == 0 { 0 } else { KEY_BYTES + encoded_len_varint(value) };
    let outer = framed(inner)
        + topic.len()
        + number(delivery.partition_index.into())
        + number(record.offset)
        + number(id)
        + number(delivery.attempt.into())
        + number(delivery.redelivered.into())
        + deadline.as_ref().map_or(0, |deadline| framed(deadline.encoded_len()));
    put_length(to, MESSAGES, outer);
    put_length(to, MESSAGE, inner);
    record.value.iter().for_each(|value| bytes::encode(VALUE, value, to));
    record.key.iter().for_each(|key| bytes::encode(KEY, key, to));
    message::encode(TIMESTAMP, &created, to);
    to.extend_from_slice(topic);
    put_number(to, PARTITION, delivery.partition_index.into());
    put_number(to, OFFSET, record.offset);
    put_number(to, DELIVERY_ID, id);
    put_number(to, DELIVERY_ATTEMPT, delivery.attempt.into());
    put_number(to, REDELIVERED, delivery.redelivered.into());
    deadline.iter().for_each(|deadline| message::encode(ACK_DEADLINE, deadline, to));
}

/// A number, unless it is 0, which goes without saying.
fn put_number(to: &mut Vec<u8>, tag: u32, value: u64) {
    if value != 0 {
        uint64::encode(tag, &value, to);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use tidegate_engine::PartitionId;
    use tidegate_engine::batch::Header;
    use tidegate_engine::group::LeaseId;
    use tidegate_proto::Messages;

    use super::*;

    fn any_delivery() -> impl Strategy<Value = Delivery> {
        let bytes = || option::of(proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from));
        let headers = prop_oneof![
            3 => Just(Vec::new()),
            1 => Just(vec![Header { name: "content-type".into(), value: Some("text/plain".into()) }]),
        ];
        let record = (any::<u64>(), any::<i64>(), bytes(), bytes(), headers).prop_map(
            |(offset, timestamp_ms, key, value, headers)| Record { offset, timestamp_ms, key, value, headers },
        );
        (record, "[a-z]{1,200}", any::<u32>(), any::<u32>(), any::<i64>()).prop_map(
            |(record, topic, partition_index, attempt, deadline_ms)| Delivery {
                lease: LeaseId { partition: PartitionId(1), offset: record.offset, token: 1 },
                topic: TopicName::new("default", &topic).unwrap(),
                partition_index,
                record,
                attempt,
                redelivered: attempt % 2 == 0,
                deadline_ms,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_the_type_encodes_to(
            deliveries in proptest::collection::vec((any_delivery(), any::<u64>(), any::<bool>()), 0..5),
        ) {
            let numbered = deliveries.iter().map(|(delivery, id, timed)| (delivery, Numbered { id: *id, timed: *timed }));
            let messages: Vec<_> = numbered.clone().map(|(delivery, numbered)| whole(delivery, numbered)).collect();
            let written = encode(numbered);
            let typed = Messages { messages: messages.clone(), encoded: Bytes::new() };
            prop_assert_eq!(&written, &Bytes::from(typed.encode_to_vec()));
            let sent = Messages { messages: Vec::new(), encoded: written }.encode_to_vec();
            prop_assert_eq!(Messages::decode(Bytes::from(sent)).unwrap().messages, messages);
        }
    }
}
