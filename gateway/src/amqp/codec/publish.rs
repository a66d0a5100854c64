//! A publish whose three frames have come, read where it lies.

use super::{Basic, Limits, frame};

/// A message of one body frame, as most are. Nothing of it is copied or shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Never 0.
    pub channel: u16,
    /// Where to.
    pub exchange: &'a str,
    /// What for.
    pub routing_key: &'a str,
    /// To be given back if nobody takes it.
    pub mandatory: bool,
    /// Not looked at; see [`super::Properties::parse`].
    pub properties: &'a [u8],
    /// The whole body.
    pub body: &'a [u8],
}

const MANDATORY: u8 = 1;

impl<'a> Publish<'a> {
    /// The message that `bytes` begin with, and its size there. None for whatever is anything else or in any way unusual: frame
    /// by frame it is found out what.
    #[inline]
    #[must_use]
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Option<(Self, usize)> {
        let (channel, method, rest) = frame::take(bytes, frame::METHOD, limits)?;
        let (arguments, bits) = method.split_last_chunk::<1>()?;
        let arguments = arguments.strip_prefix(&METHOD_HEAD)?.get(2..)?;
        let (exchange, arguments) = short(arguments)?;
        let (routing_key, arguments) = short(arguments)?;
        let mandatory = match bits {
            [0] => false,
            [MANDATORY] => true,
            _ => return None,
        };
        let (of_header, header, rest) = frame::take(rest, frame::HEADER, limits)?;
        let (head, properties) = header.split_first_chunk::<{ frame::CONTENT_HEAD }>()?;
        let (of_body, body, rest) = frame::take(rest, frame::BODY, limits)?;
        let is_whole = head[..2] == Basic::CLASS_ID.to_be_bytes() && head[4..] == (body.len() as u64).to_be_bytes();
        let belongs = channel != 0 && of_header == channel && of_body == channel;
        if !is_whole || !belongs || !arguments.is_empty() {
            return None;
        }
        let message = Self { channel, exchange, routing_key, mandatory, properties, body };
        Some((message, bytes.len() - rest.len()))
    }
}

/// Class and method.
const METHOD_HEAD: [u8; 4] = [0, 60, 0, 40];

#[inline]
fn short(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use proptest::prelude::*;

    use super::super::{ContentHeader, Method, Outbox, Payload, Text};
    use super::*;

    fn limits() -> Limits {
        Limits { max_frame_bytes: 128 << 10, ..Limits::default() }
    }

    fn written(channel: u16, exchange: &str, routing_key: &str, bits: (bool, bool), body: &[u8]) -> Vec<u8> {
        let (exchange, routing_key) = (Text::from(exchange), Text::from(routing_key));
        let method = Method::Basic(Basic::Publish { exchange, routing_key, mandatory: bits.0, immediate: bits.1 });
        let mut outbox = Outbox::default();
        let properties = |out: &mut BytesMut| out.extend_from_slice(&[0x10, 0, 2]);
        outbox.content(channel, &method, properties, &Bytes::copy_from_slice(body), limits().max_frame_bytes);
        let mut stream = Vec::new();
        futures_util::FutureExt::now_or_never(outbox.flush(&mut stream)).unwrap().unwrap();
        stream
    }

    /// The same, frame by frame.
    fn general(bytes: &[u8]) -> Option<(u16, Method, ContentHeader, Bytes, usize)> {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut at = 0;
        let mut next = || {
            let size = frame::size(&bytes[at..], &limits()).ok()??;
            let place = at..(at + size).min(bytes.len());
            if place.len() < size {
                return None;
            }
            at += size;
            frame::read(&bytes, place, &limits()).ok()
        };
        let (first, second, third) = (next()?, next()?, next()?);
        let (Payload::Method(method), Payload::Header(header), Payload::Body(body)) =
            (first.payload, second.payload, third.payload)
        else {
            return None;
        };
        (first.channel == second.channel && second.channel == third.channel).then_some((
            first.channel,
            method,
            header,
            body,
            at,
        ))
    }

    #[test]
    fn a_message_is_read_where_it_lies() {
        let mut bytes = written(7, "amq.topic", "a.b", (true, false), b"body");
        let size = bytes.len();
        bytes.extend_from_slice(b"what comes next");
        let expected = Publish {
            channel: 7,
            exchange: "amq.topic",
            routing_key: "a.b",
            mandatory: true,
            properties: &[0x10, 0, 2],
            body: b"body",
        };
        assert_eq!(Publish::read(&bytes, &limits()), Some((expected, size)));
        for end in 0..size {
            assert_eq!(Publish::read(&bytes[..end], &limits()), None, "{end} bytes of {size}");
        }
    }

    #[test]
    fn the_unusual_is_left_to_others() {
        let none = |bytes: &[u8]| assert_eq!(Publish::read(bytes, &limits()), None);
        none(&written(7, "", "q", (false, true), b"immediate"));
        none(&written(0, "", "q", (false, false), b"on the connection's channel"));
        none(&written(7, "", "q", (false, false), b""));
        none(&written(7, "", "q", (false, false), &vec![0; 200 << 10]));
        let small = Limits { max_frame_bytes: 4096, ..limits() };
        assert_eq!(Publish::read(&written(7, "", "q", (false, false), &[0; 5000]), &small), None);
    }

    proptest! {
        /// Whatever is changed, what is read is what the frames say one by one.
        #[test]
        fn agrees_with_reading_frame_by_frame(
            exchange in ".{0,8}", key in ".{0,8}", body in proptest::collection::vec(any::<u8>(), 0..40),
            mandatory: bool, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes = written(1, &exchange, &key, (mandatory, false), &body);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some((read, size)) = Publish::read(&bytes, &limits()) {
                let (channel, method, header, body, end) = general(&bytes).unwrap();
                let Method::Basic(Basic::Publish { exchange, routing_key, mandatory, immediate }) = method else {
                    panic!("not a publish: {method:?}");
                };
                prop_assert!(!immediate);
                prop_assert_eq!(header.body_size, body.len() as u64);
                let same = Publish {
                    channel,
                    exchange: &exchange,
                    routing_key: &routing_key,
                    mandatory,
                    properties: &header.properties,
                    body: &body,
                };
                prop_assert_eq!((read, size), (same, end));
            }
        }
    }
}
