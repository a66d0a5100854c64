//! Deliveries straight onto the wire, where most of what is sent comes from: a record without headers is written from
//! where it lies. What is written is what [`received`] encodes to.

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, message, uint64};
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

/// A key of one byte, as every one here is, and a varint.
const MAX_NUMBER: usize = 1 + 10;
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
    let mut shared = Shared::default();
    for (delivery, numbered) in deliveries {
        if delivery.record.headers.is_empty() {
            shared.put(&mut to, delivery, numbered);
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

/// Fields that a delivery mostly has in common with the one before.
#[derive(Default)]
struct Shared {
    created: Fields<i64>,
    place: Fields<(TopicName, u32)>,
    attempt: Fields<(u32, bool, Option<i64>)>,
}

/// Encoded fields, and what they tell.
struct Fields<T> {
    of: Option<T>,
    encoded: Vec<u8>,
}

impl<T> Default for Fields<T> {
    fn default() -> Self {
        Self { of: None, encoded: Vec::new() }
    }
}

impl<T: PartialEq> Fields<T> {
    /// Encodes them anew if they tell something else.
    fn tell(&mut self, is: impl FnOnce(&T) -> bool, of: impl FnOnce() -> T, encode: impl FnOnce(&mut Vec<u8>)) {
        if !self.of.as_ref().is_some_and(is) {
            self.of = Some(of());
            self.encoded.clear();
            encode(&mut self.encoded);
        }
    }
}

impl Shared {
    fn look_at(&mut self, delivery: &Delivery, timed: bool) {
        let Delivery { topic, partition_index, record, attempt, redelivered, deadline_ms, .. } = delivery;
        let created_ms = record.timestamp_ms;
        self.created.tell(
            |of| *of == created_ms,
            || created_ms,
            |to| message::encode(TIMESTAMP, &timestamp(created_ms), to),
        );
        self.place.tell(
            |(of, index)| of == topic && index == partition_index,
            || (topic.clone(), *partition_index),
            |to| {
                put_length(TOPIC, topic.name().len(), to);
                to.extend_from_slice(topic.name().as_bytes());
                put_number(PARTITION, (*partition_index).into(), to);
            },
        );
        let until_ms = timed.then_some(*deadline_ms);
        self.attempt.tell(
            |of| *of == (*attempt, *redelivered, until_ms),
            || (*attempt, *redelivered, until_ms),
            |to| {
                put_number(DELIVERY_ATTEMPT, (*attempt).into(), to);
                put_number(REDELIVERED, (*redelivered).into(), to);
                until_ms.iter().for_each(|ms| message::encode(ACK_DEADLINE, &timestamp(*ms), to));
            },
        );
    }

    /// Writes a delivery whose record has no headers.
    fn put(&mut self, to: &mut Vec<u8>, delivery: &Delivery, Numbered { id, timed }: Numbered) {
        self.look_at(delivery, timed);
        let record: &Record = &delivery.record;
        let numbers: Short<{ 2 * MAX_NUMBER }> = Short::of(|mut room| {
            put_number(OFFSET, record.offset, &mut room);
            put_number(DELIVERY_ID, id, &mut room);
            room.len()
        });
        let value = part(VALUE, record.value.as_ref());
        let key = part(KEY, record.key.as_ref());
        let bytes = record.value.as_ref().map_or(0, Bytes::len) + record.key.as_ref().map_or(0, Bytes::len);
        let inner = value.len() + key.len() + bytes + self.created.encoded.len();
        let head: Short<{ 2 * MAX_NUMBER }> = Short::of(|mut room| {
            let others = self.place.encoded.len() + numbers.len() + self.attempt.encoded.len();
            put_length(MESSAGES, 1 + encoded_len_varint(inner as u64) + inner + others, &mut room);
            put_length(MESSAGE, inner, &mut room);
            room.len()
        });
        to.extend_from_slice(head.bytes());
        to.extend_from_slice(value.bytes());
        record.value.iter().for_each(|value| to.extend_from_slice(value));
        to.extend_from_slice(key.bytes());
        record.key.iter().for_each(|key| to.extend_from_slice(key));
        to.extend_from_slice(&self.created.encoded);
        to.extend_from_slice(&self.place.encoded);
        to.extend_from_slice(numbers.bytes());
        to.extend_from_slice(&self.attempt.encoded);
    }
}

/// What comes before the bytes of a field, if there is one.
fn part(tag: u32, bytes: Option<&Bytes>) -> Short<MAX_NUMBER> {
    Short::of(|mut room| {
        bytes.into_iter().for_each(|bytes| put_length(tag, bytes.len(), &mut room));
        room.len()
    })
}

/// A few bytes, written where they need no room to be made.
struct Short<const ROOM: usize> {
    bytes: [u8; ROOM],
    length: usize,
}

impl<const ROOM: usize> Short<ROOM> {
    /// `write` tells how much room it left.
    fn of(write: impl FnOnce(&mut [u8]) -> usize) -> Self {
        let mut bytes = [0; ROOM];
        let left = write(&mut bytes);
        Self { bytes, length: ROOM - left }
    }

    fn len(&self) -> usize {
        self.length
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn put_length(tag: u32, length: usize, to: &mut impl BufMut) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// A number, unless it is 0, which goes without saying.
fn put_number(tag: u32, value: u64, to: &mut impl BufMut) {
    if value != 0 {
        uint64::encode(tag, &value, to);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::option;
    use proptest::prelude::*;
    use prost::Message;
    use tidegate_engine::PartitionId;
    use tidegate_engine::batch::Headers;
    use tidegate_engine::group::LeaseId;
    use tidegate_proto::Messages;

    use super::*;

    fn any_delivery() -> impl Strategy<Value = Delivery> {
        let bytes = || option::of(proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from));
        let headers = prop_oneof![
            3 => Just(Headers::default()),
            1 => Just(Headers::from_iter([("content-type", Some("text/plain"))])),
        ];
        let record = (any::<u64>(), any::<i64>(), bytes(), bytes(), headers).prop_map(
            |(offset, timestamp_ms, key, value, headers)| Record { offset, timestamp_ms, key, value, headers },
        );
        (record, "[a-z]{1,200}", any::<u32>(), any::<u32>(), any::<i64>()).prop_map(
            |(record, topic, partition_index, attempt, deadline_ms)| Delivery {
                lease: LeaseId { partition: PartitionId(1), offset: record.offset, token: 1 },
                topic: TopicName::new("default", &topic).unwrap(),
                partition_index,
                record: record.into(),
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
