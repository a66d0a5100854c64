//! Against the crate amq-protocol, both ways: ours to theirs to ours.

use amq_protocol::frame::{AMQPFrame, WriteContext, gen_frame, parse_frame};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::samples::{any_properties, any_table, methods};
use super::{frames_of, method_frame, wide};
use crate::amqp::codec::{Frame, Limits, Payload, Properties, RawTable, Table, Text, Value, frame};

fn theirs(bytes: &[u8]) -> AMQPFrame {
    let (rest, frame) = parse_frame(bytes).unwrap_or_else(|error| panic!("they do not read {bytes:?}: {error:?}"));
    assert!(rest.is_empty());
    frame
}

fn ours(frame: &AMQPFrame) -> Frame {
    let written = gen_frame(frame)(WriteContext::from(Vec::new())).unwrap().write;
    let (mut frames, malformed) = frames_of(&written, usize::MAX, wide());
    assert_eq!((frames.len(), malformed), (1, None));
    frames.remove(0)
}

/// Names and values of a method's fields as `{:?}` shows them, without what both name in their own way.
fn fields(shown: &str) -> Vec<(String, String)> {
    let shown = shown.replace("ShortString(", "").replace([')', '"', '('], "");
    let inside = shown.split_once('{').map_or("", |(_, inside)| inside).trim_end_matches([' ', '}']);
    let pairs = inside.split(", ").filter_map(|pair| pair.trim().split_once(": "));
    let pairs = pairs.filter(|(name, _)| {
        // Tables and long strings are shown differently, and the size they leave out as nobody has it.
        !["arguments", "properties", "mechanisms", "locales", "response", "challenge", "secret", "prefetch_size"]
            .iter()
            .any(|of| name.ends_with(of))
    });
    let named = |name: &str| name.replace("kind", "type").replace("nowait", "no_wait");
    pairs.map(|(name, value)| (named(name), value.to_owned())).collect()
}

#[test]
fn they_read_every_method_as_it_is_meant() {
    for method in methods(&Table::default()) {
        let frame = theirs(&method_frame(3, &method));
        let AMQPFrame::Method(3, class) = &frame else { panic!("{frame:?}") };
        assert_eq!(class.get_amqp_class_id(), method.class_id(), "{}", method.name());
        let shown = format!("{class:?}").replace("AMQPMethod", "");
        let kebab: String = method.name().split_once('.').unwrap().1.split('-').map(capital).collect();
        assert!(shown.contains(&format!("({kebab}")), "{shown} is not {kebab}");
        assert_eq!(fields(&shown), fields(&format!("{method:?}")), "{shown}");
        assert_eq!(ours(&frame), Frame { channel: 3, payload: Payload::Method(method) });
    }
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// They sort tables, and give each name one value.
fn as_they_have_it(table: Table) -> Table {
    let unique: std::collections::BTreeMap<Text, Value> =
        table.0.into_iter().map(|(name, value)| (name, value_as_they_have_it(value))).collect();
    Table(unique.into_iter().collect())
}

fn value_as_they_have_it(value: Value) -> Value {
    match value {
        Value::Table(table) => Value::Table(as_they_have_it(table)),
        Value::Array(values) => Value::Array(values.into_iter().map(value_as_they_have_it).collect()),
        value => value,
    }
}

proptest! {
    #[test]
    fn any_table_survives_them(table in any_table()) {
        let table = as_they_have_it(table);
        for method in methods(&table).into_iter().filter(|method| format!("{method:?}").contains("arguments")) {
            let bytes = method_frame(1, &method);
            let Payload::Method(again) = ours(&theirs(&bytes)).payload else { panic!("no method") };
            prop_assert_eq!(method_frame(1, &again), bytes);
        }
    }

    #[test]
    fn any_properties_survive_them(bytes in any_properties(), body_size: u64) {
        let mut properties = Properties::parse(&bytes, &wide()).unwrap();
        // Theirs are UTF-8, and their tables sorted.
        let text = |value: &mut Option<&[u8]>| *value = value.filter(|value| std::str::from_utf8(value).is_ok());
        for value in [
            &mut properties.content_type, &mut properties.content_encoding, &mut properties.correlation_id,
            &mut properties.reply_to, &mut properties.message_id, &mut properties.r#type, &mut properties.user_id,
            &mut properties.app_id, &mut properties.cluster_id,
        ] {
            text(value);
        }
        let table = properties.headers.map(|table| {
            let bytes = Bytes::copy_from_slice(table.as_bytes());
            let table = Table::decode(&bytes, RawTable::check(&bytes, &wide()).unwrap());
            super::encoded(&as_they_have_it(table))
        });
        properties.headers = table.as_ref().map(|table| RawTable::check(table, &Limits::default()).unwrap());
        let mut bytes = BytesMut::new();
        frame::write_header(&mut bytes, 1, body_size, |out| properties.write(out));
        let Payload::Header(header) = ours(&theirs(&bytes)).payload else { panic!("no header") };
        prop_assert_eq!(header.body_size, body_size);
        let again = header.parse_properties(&wide()).unwrap();
        let (mut one, mut other) = (BytesMut::new(), BytesMut::new());
        again.write(&mut one);
        properties.write(&mut other);
        prop_assert_eq!(one, other);
    }
}

#[test]
fn a_body_and_a_heartbeat_are_theirs_too() {
    assert_eq!(ours(&AMQPFrame::Heartbeat), Frame { channel: 0, payload: Payload::Heartbeat });
    let body = AMQPFrame::Body(4, b"body".to_vec());
    assert_eq!(ours(&body), Frame { channel: 4, payload: Payload::Body(Bytes::from_static(b"body")) });
    assert!(matches!(theirs(&frame::HEARTBEAT_FRAME), AMQPFrame::Heartbeat));
}
