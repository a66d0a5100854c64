//! Bytes that nobody should send.

use bytes::{Bytes, BytesMut};
use tidegate_engine::store::faulty::Random;

use super::samples::{encoded, methods};
use super::{frames_of, method_frame, wide};
use crate::amqp::codec::{
    FRAME_OVERHEAD, FrameReader, Limits, Malformed, Method, Outbox, Payload, Properties, RawTable, Syntax, Table, Text,
    Tx, Value, frame,
};
use crate::amqp::error::Exception;

fn malformed(stream: &[u8]) -> Malformed {
    let (_, malformed) = frames_of(stream, usize::MAX, wide());
    malformed.unwrap_or_else(|| panic!("{stream:?} is taken"))
}

fn frame(of: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let (channel, length) = (channel.to_be_bytes(), (payload.len() as u32).to_be_bytes());
    [&[of], &channel[..], &length, payload, &[206]].concat()
}

#[test]
fn each_mistake_has_its_reply_code() {
    let arguments = |class_id, method_id, syntax| Malformed::Arguments { class_id, method_id, syntax };
    let cases: [(Vec<u8>, Malformed, u16); 17] = [
        (b"\x01\0\0\0\0\0\0\xcd".to_vec(), Malformed::FrameEnd(0xcd), 501),
        (frame(4, 0, b""), Malformed::FrameType(4), 501),
        (b"GET / HTTP/1.1\r\n".to_vec(), Malformed::FrameType(b'G'), 501),
        (b"\x03\0\x01\xff\xff\xff\xff".to_vec(), Malformed::FrameSize(0xffff_ffff + FRAME_OVERHEAD, 1 << 20), 501),
        (frame(8, 1, b""), Malformed::Heartbeat, 505),
        (frame(8, 0, b"x"), Malformed::Heartbeat, 505),
        (frame(1, 0, b"\0\x0a\0"), Malformed::FrameTooShort, 501),
        (frame(2, 1, b"\0\x3c\0\0\0\0\0\0\0\0\0"), Malformed::FrameTooShort, 501),
        (frame(1, 0, b"\0\x0b\0\x0a"), Malformed::UnknownClass(11), 503),
        (frame(1, 1, b"\0\x3c\0\x29"), Malformed::UnknownMethod(60, 41), 503),
        (frame(2, 1, b"\0\x32\0\0\0\0\0\0\0\0\0\0\0\0"), Malformed::ContentClass(50), 505),
        (frame(1, 1, b"\0\x5a\0\x0ax"), arguments(90, 10, Syntax::LeftOver), 501),
        (frame(1, 1, b"\0\x3c\0\x50\0\0\0"), arguments(60, 80, Syntax::Truncated), 501),
        (frame(1, 1, b"\0\x3c\0\x28\0\0\x05q"), arguments(60, 40, Syntax::Truncated), 501),
        (frame(1, 1, b"\0\x3c\0\x28\0\0\x01\xff\0\0"), arguments(60, 40, Syntax::NotUtf8), 501),
        (frame(1, 1, b"\0\x32\0\x0a\0\0\0\0\0\0\0\x03\x01nU"), arguments(50, 10, Syntax::FieldType(b'U')), 501),
        (frame(1, 1, b"\0\x32\0\x0a\0\0\0\0\xff\xff\xff\xff"), arguments(50, 10, Syntax::Truncated), 501),
    ];
    for (stream, expected, code) in cases {
        let found = malformed(&stream);
        assert_eq!((found, Exception::from(found).code.number()), (expected, code));
    }
    assert_eq!(malformed(&frame(1, 1, b"\0\x3c\0\x29")).class_and_method(), (60, 41));
    assert_eq!(malformed(&frame(1, 1, b"\0\x5a\0\x0ax")).class_and_method(), (90, 10));
    assert_eq!(malformed(&frame(4, 0, b"")).class_and_method(), (0, 0));
}

#[test]
fn frames_before_a_mistake_are_read() {
    let good = method_frame(1, &Method::Tx(Tx::Select {}));
    let (frames, malformed) = frames_of(&[&good[..], &good, b"\xff\0\0\0\0\0\0"].concat(), usize::MAX, wide());
    assert_eq!((frames.len(), malformed), (2, Some(Malformed::FrameType(0xff))));
}

#[test]
fn the_protocol_header_comes_first() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let header = |bytes: &'static [u8]| {
        runtime.block_on(async {
            let mut reader = FrameReader::new(Limits::default());
            reader.fill(&mut &*bytes).await.unwrap();
            (reader.protocol_header(), reader.is_partial())
        })
    };
    assert_eq!(header(b"AMQP\0\0\x09\x01"), (Ok(true), false));
    assert_eq!(header(b"AMQP\0\0\x09\x01\x08"), (Ok(true), true));
    assert_eq!(header(b"AMQP\0"), (Ok(false), true));
    assert_eq!(header(b""), (Ok(false), false));
    for other in [&b"AMQP\0\x01\0\0"[..], b"AMQP\x03\x01\0\0", b"AMQP\x01\x01\0\x09", b"G", b"\x16\x03\x01"] {
        assert_eq!(header(other), (Err(Malformed::ProtocolHeader), true));
    }
}

#[test]
fn frames_are_as_large_as_was_negotiated() {
    let limits = Limits { max_frame_bytes: 4096, ..Limits::default() };
    let largest = frame(3, 1, &vec![0; 4096 - FRAME_OVERHEAD]);
    let (frames, malformed) = frames_of(&largest, 1000, limits);
    assert_eq!((frames.len(), malformed), (1, None));
    let larger = frame(3, 1, &vec![0; 4097 - FRAME_OVERHEAD]);
    assert_eq!(frames_of(&larger, 1000, limits), (vec![], Some(Malformed::FrameSize(4097, 4096))));
}

#[test]
fn a_length_alone_reserves_little() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let limits = Limits { max_frame_bytes: usize::MAX, ..Limits::default() };
        let mut reader = FrameReader::new(limits);
        let mut stream = tokio::io::AsyncReadExt::chain(&b"\x03\0\x01\xff\xff\xff\xff"[..], tokio::io::empty());
        while reader.fill(&mut stream).await.unwrap() > 0 {}
        assert_eq!(reader.next_frame().unwrap(), None);
        assert!(reader.memory() <= 32 << 10, "{} bytes are held for 7", reader.memory());
    });
}

#[test]
fn tables_have_a_depth_and_a_size() {
    let limits = Limits { max_table_depth: 3, max_table_fields: 5, ..Limits::default() };
    let check = |table: &Table| RawTable::check(&encoded(table), &limits).map(drop);
    let nested = |depth: usize| {
        let inner = Value::Table(Table::default());
        let value = (2..depth).fold(inner, |inner, _| Value::Array(vec![inner]));
        Table(vec![(Text::EMPTY, value)])
    };
    assert_eq!((check(&nested(3)), check(&nested(4))), (Ok(()), Err(Syntax::TableDepth)));
    let many = |count: usize| Table(vec![(Text::EMPTY, Value::Array(vec![Value::Void; count - 1]))]);
    assert_eq!((check(&many(5)), check(&many(6))), (Ok(()), Err(Syntax::TableFields)));
    // A megabyte of opening brackets does not reach the stack's end.
    let mut deep = BytesMut::new();
    for left in (0..200_000_u32).rev() {
        deep.extend_from_slice(b"\0F");
        deep.extend_from_slice(&(left * 6).to_be_bytes());
    }
    assert_eq!(RawTable::check(&deep, &Limits { max_table_fields: usize::MAX, ..limits }), Err(Syntax::TableDepth));
}

#[test]
fn properties_are_checked() {
    let parse = |bytes: &'static [u8]| Properties::parse(bytes, &wide()).map(drop);
    let cases: [(&[u8], Syntax); 8] = [
        (b"", Syntax::Truncated),
        (b"\x10\0", Syntax::Truncated),
        (b"\x10\0\x02x", Syntax::LeftOver),
        (b"\0\x01", Syntax::PropertyFlags),
        (b"\0\x02", Syntax::PropertyFlags),
        (b"\x80\0\x05text", Syntax::Truncated),
        (b"\x20\0\0\0\0\x04\x01nI\0", Syntax::Truncated),
        (b"\x20\0\0\0\0\x03\x01\xffV", Syntax::NotUtf8),
    ];
    for (bytes, syntax) in cases {
        assert_eq!(parse(bytes), Err(Malformed::Properties(syntax)), "{bytes:?}");
        assert_eq!(Exception::from(Malformed::Properties(syntax)).code.number(), 502);
    }
    assert_eq!(parse(b"\x80\0\x01\xff"), Ok(()), "what a publisher means by its properties is its own affair");
}

/// Changes a frame the way a broken or hostile client would; mostly so that the change gets past the framing.
fn mutate(random: &mut Random, frame: &[u8]) -> Vec<u8> {
    const NUMBERS: [u64; 5] = [u64::MAX, 0, i32::MAX as u64, 0x0100_0000, 1 << 31];
    let mut frame = frame.to_vec();
    for _ in 0..=random.index(3) {
        let first = if random.index(8) == 0 { 0 } else { 7.min(frame.len() - 1) };
        let at = first + random.index(frame.len() - first);
        match random.index(4) {
            0 => frame[at] = [0xff, 0x7f, 0x80, 0, b'F', b'A', b'S', b'V'][random.index(8)],
            1 => frame[at] ^= 1 << random.index(8),
            2 => {
                let number = NUMBERS[random.index(NUMBERS.len())].to_be_bytes();
                let width = [2, 4, 8][random.index(3)].min(frame.len() - at);
                frame[at..at + width].copy_from_slice(&number[8 - width..]);
            }
            _ if frame.len() > 8 => {
                // A shorter or longer payload, framed as it should be.
                frame.truncate(frame.len() - 1);
                match random.index(2) {
                    0 => frame.truncate(8.max(frame.len() - random.index(4))),
                    _ => frame.extend_from_slice(&[0, 1, b'x'][..=random.index(2)]),
                }
                let length = (frame.len() - 7) as u32;
                frame[3..7].copy_from_slice(&length.to_be_bytes());
                frame.push(206);
            }
            _ => {}
        }
    }
    frame
}

/// A frame of each kind, with tables in them.
fn seeds() -> Vec<Vec<u8>> {
    let list = Value::Array(vec![Value::Timestamp(1), Value::LongString(Bytes::from_static(b"x")), Value::Void]);
    let inner = Table(vec![(Text::from_static("list"), list), (Text::from_static("n"), Value::Decimal(2, 5))]);
    let mut table = Table::default();
    table.push("x-max-length", 10_i64);
    table.push("inner", inner);
    table.push("text", "value");
    let mut seeds: Vec<_> = methods(&table).iter().map(|method| method_frame(1, method).to_vec()).collect();
    let table = encoded(&table);
    let properties = Properties {
        content_type: Some(b"text/plain"),
        headers: RawTable::check(&table, &wide()).ok(),
        delivery_mode: Some(2),
        expiration: Some(b"60000"),
        timestamp: Some(1),
        ..Properties::default()
    };
    for properties in [properties, Properties::default()] {
        let mut header = BytesMut::new();
        frame::write_header(&mut header, 1, 4, |out| properties.write(out));
        seeds.extend(std::iter::repeat_n(header.to_vec(), 10));
    }
    seeds.push(frame(3, 1, b"body"));
    seeds.push(frame::HEARTBEAT_FRAME.to_vec());
    seeds
}

/// Nothing panics, and what is read holds no more memory than the bytes it came in account for.
#[test]
fn mutated_frames_never_panic() {
    let (seeds, mut random) = (seeds(), Random::new(0x6361_7272_6f74_0091));
    let (mut read, mut refused) = (0, 0);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..10_000 {
        let at = random.index(seeds.len());
        let stream = mutate(&mut random, &seeds[at]);
        let mut reader = FrameReader::new(Limits::default());
        let mut rest = &stream[..];
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    read += 1;
                    if let Payload::Header(header) = frame.payload {
                        let parsed = header.parse_properties(reader.limits());
                        refused += usize::from(parsed.is_err());
                        let mut again = Outbox::default();
                        let properties = parsed.unwrap_or_default();
                        again.content(1, &Method::Tx(Tx::Select {}), |out| properties.write(out), &Bytes::new(), 4096);
                    }
                }
                Ok(None) => match runtime.block_on(reader.fill(&mut rest)).unwrap() {
                    0 => break,
                    _ => assert!(reader.memory() <= 64 << 10),
                },
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
        }
    }
    assert!(read > 2000 && refused > 2000, "{read} frames read, {refused} refused: nothing much was tried");
}
