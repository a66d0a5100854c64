//! The codec against the specification's bytes, against another implementation, and against bytes nobody should send.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod hostile;
mod oracle;
pub(in crate::amqp) mod samples;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use samples::{any_properties, any_table, encoded, methods};

/// Limits that nothing here reaches.
pub(super) fn wide() -> Limits {
    Limits { max_frame_bytes: 1 << 20, ..Limits::default() }
}

/// The frames of a byte stream that comes in pieces of `piece` bytes, and what ended it if not its end.
pub(super) fn frames_of(stream: &[u8], piece: usize, limits: Limits) -> (Vec<Frame>, Option<Malformed>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut socket = in_pieces(stream, piece);
        let mut reader = FrameReader::new(limits);
        let mut frames = Vec::new();
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) if reader.fill(&mut socket).await.unwrap() == 0 => return (frames, None),
                Ok(None) => {}
                Err(malformed) => return (frames, Some(malformed)),
            }
        }
    })
}

fn in_pieces(stream: &[u8], piece: usize) -> impl tokio::io::AsyncRead + Unpin {
    let pieces: Vec<std::io::Result<Bytes>> =
        stream.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    tokio_util::io::StreamReader::new(futures_util::stream::iter(pieces))
}

fn method_frame(channel: u16, method: &Method) -> Bytes {
    let mut out = BytesMut::new();
    frame::write_method(&mut out, channel, |out| method.write(out));
    out.freeze()
}

/// Everything an outbox holds.
fn written(outbox: &mut Outbox) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut out = Vec::new();
    let length = outbox.len();
    assert_eq!(runtime.block_on(outbox.flush(&mut out)).unwrap(), length);
    assert!(outbox.is_empty() && out.len() == length);
    out
}

#[test]
fn every_method_comes_out_as_it_went_in() {
    let mut table = Table::default();
    table.push("x-max-length", 10_i64);
    let methods = methods(&table);
    assert_eq!(methods.len(), 64);
    let mut stream = Vec::new();
    for (channel, method) in methods.iter().enumerate() {
        stream.extend(method_frame(channel as u16, method));
    }
    let expected: Vec<_> = methods
        .into_iter()
        .enumerate()
        .map(|(channel, method)| Frame { channel: channel as u16, payload: Payload::Method(method) })
        .collect();
    for piece in [1, 7, 100, 1 << 20] {
        let (frames, malformed) = frames_of(&stream, piece, wide());
        assert_eq!((&frames, malformed), (&expected, None), "in pieces of {piece}");
    }
}

/// The table of the specification's types, by hand: 4.2.5.5, with the letters RabbitMQ has given them.
#[test]
fn a_table_of_every_type() {
    let bytes = b"\x01tt\x01\
        \x01bb\xff\
        \x01BB\xff\
        \x01ss\xff\xfe\
        \x01uu\xff\xfe\
        \x01II\xff\xff\xff\xfd\
        \x01ii\xff\xff\xff\xfd\
        \x01ll\xff\xff\xff\xff\xff\xff\xff\xfc\
        \x01ff\x3f\xc0\x00\x00\
        \x01dd\xc0\x04\x00\x00\x00\x00\x00\x00\
        \x01DD\x02\x00\x00\x00\x96\
        \x01SS\x00\x00\x00\x03a\x00\xff\
        \x01AA\x00\x00\x00\x07t\x00I\x00\x00\x00\x05\
        \x01TT\x00\x00\x00\x00\x65\x53\xf1\x00\
        \x01FF\x00\x00\x00\x03\x01nV\
        \x01VV\
        \x01xx\x00\x00\x00\x02\x00\x01\
        \x01tt\x00";
    let inner = Table(vec![(Text::from_static("n"), Value::Void)]);
    let values = [
        ("t", Value::Boolean(true)),
        ("b", Value::Int8(-1)),
        ("B", Value::Uint8(255)),
        ("s", Value::Int16(-2)),
        ("u", Value::Uint16(65_534)),
        ("I", Value::Int32(-3)),
        ("i", Value::Uint32(4_294_967_293)),
        ("l", Value::Int64(-4)),
        ("f", Value::Float(1.5)),
        ("d", Value::Double(-2.5)),
        ("D", Value::Decimal(2, 150)),
        ("S", Value::LongString(Bytes::from_static(b"a\0\xff"))),
        ("A", Value::Array(vec![Value::Boolean(false), Value::Int32(5)])),
        ("T", Value::Timestamp(1_700_000_000)),
        ("F", Value::Table(inner)),
        ("V", Value::Void),
        ("x", Value::Bytes(Bytes::from_static(b"\0\x01"))),
        ("t", Value::Boolean(false)),
    ];
    let table = Table(values.map(|(name, value)| (Text::from_static(name), value)).into());
    assert_eq!(encoded(&table), bytes[..]);
    let from = Bytes::from_static(bytes);
    assert_eq!(Table::decode(&from, RawTable::check(&from, &wide()).unwrap()), table);
    // The specification's letter for a long long.
    let from = Bytes::from_static(b"\x00L\x80\0\0\0\0\0\0\0");
    let read = Table::decode(&from, RawTable::check(&from, &wide()).unwrap());
    assert_eq!(read.get(""), Some(&Value::Int64(i64::MIN)));
    assert_eq!(table.get("t").and_then(Value::as_bool), Some(false), "the last of a name counts");
}

/// Frames as the specification draws them: 2.3.5, 4.2.3, 4.2.6.
#[test]
fn frames_by_hand() {
    let mut outbox = Outbox::default();
    let publish =
        Basic::Publish { exchange: Text::EMPTY, routing_key: Text::from_static("q"), mandatory: true, immediate: true };
    let properties = Properties { delivery_mode: Some(2), ..Properties::default() };
    outbox.raw(&PROTOCOL_HEADER);
    outbox.content(
        1,
        &Method::Basic(publish),
        |out| properties.write(out),
        &Bytes::from_static(b"body"),
        MIN_FRAME_MAX,
    );
    outbox.heartbeat();
    let bytes = b"AMQP\0\0\x09\x01\
        \x01\0\x01\0\0\0\x0a\0\x3c\0\x28\0\0\0\x01q\x03\xce\
        \x02\0\x01\0\0\0\x0f\0\x3c\0\0\0\0\0\0\0\0\0\x04\x10\0\x02\xce\
        \x03\0\x01\0\0\0\x04body\xce\
        \x08\0\0\0\0\0\0\xce";
    assert_eq!(written(&mut outbox), bytes);
}

#[test]
fn a_delivery_is_written_as_the_method_is() {
    let strings = ["tag", "exchange", "key"].map(Text::from_static);
    let [consumer_tag, exchange, routing_key] = strings.clone();
    let method = Basic::Deliver { consumer_tag, delivery_tag: 77, redelivered: true, exchange, routing_key };
    let [consumer_tag, exchange, routing_key] = strings.each_ref().map(Text::as_str);
    let delivery = Delivery { consumer_tag, delivery_tag: 77, redelivered: true, exchange, routing_key };
    let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
    Method::Basic(method).write(&mut one);
    delivery.write(&mut other);
    assert_eq!(one, other);
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let reply_text = Text::from(format!("{}é", "x".repeat(254)));
    let close = Method::Channel(Channel::Close { reply_code: 1, reply_text, class_id: 0, method_id: 0 });
    let (frames, malformed) = frames_of(&method_frame(1, &close), 100, wide());
    let Payload::Method(Method::Channel(Channel::Close { reply_text, .. })) = &frames[0].payload else {
        panic!("{frames:?} {malformed:?}");
    };
    assert_eq!(*reply_text, "x".repeat(254).as_str());
}

#[test]
fn an_idle_connection_holds_no_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut reader = FrameReader::new(wide());
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            let body = Bytes::from(vec![0; 100_000]);
            outbox.content(1, &Method::Tx(Tx::Commit {}), |out| out.extend_from_slice(&[0, 0]), &body, 8192);
            let mut left = outbox.flush(&mut theirs).await.unwrap();
            assert_eq!(outbox.memory(), 0);
            while left > 0 {
                left -= reader.fill(&mut ours).await.unwrap();
                while reader.next_frame().unwrap().is_some() {}
            }
            // It waits, and is dropped.
            let waited = tokio::time::timeout(std::time::Duration::ZERO, reader.fill(&mut ours)).await;
            assert!(waited.is_err());
            assert_eq!(reader.memory(), 0);
        }
    });
}

proptest! {
    #[test]
    fn any_table_survives(table in any_table()) {
        let bytes = encoded(&table);
        let read = Table::decode(&bytes, RawTable::check(&bytes, &wide()).unwrap());
        // Not all of them are equal to themselves.
        prop_assert_eq!(encoded(&read), bytes);
        prop_assert_eq!(format!("{read:?}"), format!("{table:?}"));
    }

    #[test]
    fn any_properties_survive(bytes in any_properties()) {
        let mut again = BytesMut::new();
        Properties::parse(&bytes, &wide()).unwrap().write(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn contents_come_out_as_they_went_in(
        bodies in prop::collection::vec(0..40_000_usize, 1..6), frame_max in 4096..20_000_usize, piece in 1..10_000_usize,
    ) {
        let properties = Bytes::from_static(b"\x10\0\x02");
        let mut outbox = Outbox::default();
        for length in &bodies {
            let body: Vec<u8> = (0..*length).map(|at| at as u8).collect();
            outbox.content(9, &Method::Tx(Tx::Commit {}), |out| out.extend_from_slice(&properties), &body.into(), frame_max);
        }
        let limits = Limits { max_frame_bytes: frame_max, ..Limits::default() };
        let (frames, malformed) = frames_of(&written(&mut outbox), piece, limits);
        prop_assert_eq!(malformed, None);
        let mut frames = frames.into_iter().map(|frame| frame.payload);
        for length in bodies {
            prop_assert_eq!(frames.next(), Some(Payload::Method(Method::Tx(Tx::Commit {}))));
            let header = ContentHeader { class_id: 60, body_size: length as u64, properties: properties.clone() };
            prop_assert_eq!(frames.next(), Some(Payload::Header(header)));
            let mut body = Vec::new();
            while body.len() < length {
                let Some(Payload::Body(part)) = frames.next() else { panic!("a part is missing") };
                prop_assert!(!part.is_empty() && part.len() <= frame_max - FRAME_OVERHEAD);
                body.extend(part);
            }
            prop_assert!(body.into_iter().enumerate().all(|(at, byte)| byte == at as u8));
        }
        prop_assert_eq!(frames.next(), None);
    }

    #[test]
    fn everything_is_written_in_order(bodies in prop::collection::vec(0..9000_usize, 0..80), room in 1..5000_usize) {
        let mut outbox = Outbox::default();
        for length in &bodies {
            outbox.content(1, &Method::Tx(Tx::Commit {}), |out| out.extend_from_slice(&[0, 0]), &vec![7; *length].into(), 4096);
        }
        let mut same = Outbox::default();
        for length in &bodies {
            same.content(1, &Method::Tx(Tx::Commit {}), |out| out.extend_from_slice(&[0, 0]), &vec![7; *length].into(), 4096);
        }
        let expected = written(&mut same);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(async move {
            let (mut ours, mut theirs) = tokio::io::duplex(room);
            let writer = async move { outbox.flush(&mut ours).await.unwrap() };
            let reader = async move {
                let mut got = Vec::new();
                tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut got).await.unwrap();
                got
            };
            tokio::join!(writer, reader).1
        });
        prop_assert_eq!(got, expected);
    }
}
