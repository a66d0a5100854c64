//! Messages between gRPC and records: nothing is lost in either direction.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use tidegate_engine::batch::{Batch, Header, Headers, Record};
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::header::Value;

use crate::broker::{HeaderType, property, read_header_types, typed_headers, write_header_types};
use crate::grpc::convert::{PROPERTIES, draft, message};

const NOW: i64 = 1_700_000_000_000;

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40).prop_map(Bytes::from), ".{0,20}".prop_map(Bytes::from)]
}

fn header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => ".{0,12}",
        3 => proptest::sample::select(PROPERTIES.map(str::to_owned).to_vec()),
        1 => Just(property::HEADER_TYPES.to_owned()),
        1 => Just(property::DEAD_LETTER_REASON.to_owned()),
    ]
}

fn header_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any_bytes(),
        any::<i64>().prop_map(|number| number.to_string().into()),
        any::<u64>().prop_map(|number| number.to_string().into()),
        Just("".into()),
        Just("0=int32".into()),
        Just("007".into()),
        Just("{}".into()),
        Just("[1]".into()),
        Just("31".into()),
    ]
}

fn header_type() -> impl Strategy<Value = HeaderType> {
    let names = "boolean int8 int32 int64 uint64 float double timestamp decimal string bytes table() array(int32)";
    let types: Vec<_> = names.split(' ').map(|name| HeaderType::from_name(name).unwrap()).collect();
    proptest::sample::select(types)
}

/// What a client of any protocol may have written: types where the values fit them.
fn any_record() -> impl Strategy<Value = Record> {
    let header = (header_name(), option::weighted(0.9, header_value()));
    let typed = vec(option::of(header_type()), 6);
    (any::<i64>(), option::of(any_bytes()), option::of(any_bytes()), vec(header, 0..6), typed).prop_map(
        |(timestamp_ms, key, value, headers, typed)| {
            let mut headers: Headers = headers.into_iter().collect();
            let fits = |(index, (header, of)): (usize, (Header<'_>, Option<HeaderType>))| {
                Some(index).zip(of.filter(|of| header.value.is_some_and(|value| of.accepts(value))))
            };
            let types: Vec<_> = headers.iter().zip(typed).enumerate().filter_map(fits).collect();
            write_header_types(&mut headers, &types);
            Record { offset: 0, timestamp_ms, key, value, headers }
        },
    )
}

/// Headers with their types, those of one name in order: that of different names has no meaning.
fn sorted<'a>(record: &'a Record) -> (Record, Vec<(Header<'a>, Option<HeaderType>)>) {
    let types = read_header_types(&record.headers);
    let is_property = |header: &Header<'_>| PROPERTIES.iter().any(|property| header.name == property.as_bytes());
    // Of what is no property, that it is a string goes without saying.
    let says = |(header, of): (Header<'a>, Option<&HeaderType>)| {
        (header, of.filter(|of| is_property(&header) || **of != HeaderType::String).cloned())
    };
    let mut headers: Vec<_> = typed_headers(&record.headers, types.as_ref()).map(says).collect();
    // A property is another thing than a header with its name and a type.
    headers.sort_by_key(|(header, of)| (header.name, of.is_some() && is_property(header)));
    (Record { headers: Headers::default(), ..record.clone() }, headers)
}

/// The record after a batch and back.
fn stored(record: &Record) -> Record {
    let batch = Batch::pack(std::slice::from_ref(record)).unwrap();
    batch.records(0, 1 << 20).unwrap().pop().unwrap()
}

/// The message after the wire and back.
fn sent(message: &proto::Message) -> proto::Message {
    proto::Message::decode(Bytes::from(message.encode_to_vec())).unwrap()
}

fn republished(message: proto::Message) -> Record {
    let entry = proto::Entry { message: Some(message), ..Default::default() };
    draft(entry).unwrap().into_record(NOW).0
}

fn any_header() -> impl Strategy<Value = proto::Header> {
    let text = prop_oneof![
        ".{0,10}".prop_map(|text| (text, String::new())),
        any::<i32>().prop_map(|number| (number.to_string(), "int32".to_owned())),
        any::<bool>().prop_map(|of| (of.to_string(), "boolean".to_owned())),
        any::<f64>().prop_map(|number| (number.to_string(), "double".to_owned())),
    ];
    let binary = vec(any::<u8>(), 1..10).prop_filter("text", |bytes| std::str::from_utf8(bytes).is_err());
    let value = prop_oneof![
        4 => text.prop_map(|(text, of)| (Some(Value::Text(text)), of)),
        1 => binary.prop_map(|bytes| (Some(Value::Binary(bytes.into())), String::new())),
        1 => Just((None, String::new())),
    ];
    ("[a-z]{1,6}!", value).prop_map(|(name, (value, r#type))| proto::Header { name, value, r#type })
}

fn any_message() -> impl Strategy<Value = proto::Message> {
    let time = || {
        (any::<i32>(), 0..1000)
            .prop_map(|(seconds, ms)| prost_types::Timestamp { seconds: seconds.into(), nanos: ms * 1_000_000 })
    };
    let ttl = (0..i64::from(i32::MAX), 0..1000)
        .prop_map(|(seconds, ms)| prost_types::Duration { seconds, nanos: ms * 1_000_000 });
    let numbers = (time(), option::of(ttl), option::of(time()), option::of(0..=31_u32));
    let texts = vec(option::of(".{0,8}"), 8);
    let headers = vec(any_header(), 0..4);
    (option::of(any_bytes()), option::of(any_bytes()), headers, numbers, texts).prop_map(
        |(value, key, headers, (timestamp, ttl, deliver_at, priority), texts)| {
            let text = |index: usize| texts[index].clone();
            let properties = proto::Properties {
                content_type: text(0),
                content_encoding: text(1),
                message_id: text(2),
                correlation_id: text(3),
                reply_to: text(4),
                ttl,
                deliver_at,
                priority,
                r#type: text(5),
                app_id: text(6),
                user_id: text(7),
            };
            let properties = (properties != proto::Properties::default()).then(|| Box::new(properties));
            proto::Message { value, key, headers, timestamp: Some(timestamp), properties }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn record_to_message_to_record_loses_nothing(record in any_record()) {
        let record = stored(&record);
        let shown = sent(&message(&record));
        let again = stored(&republished(shown.clone()));
        prop_assert_eq!(sorted(&again), sorted(&record), "{:?}", shown);
    }

    #[test]
    fn message_to_record_to_message_loses_nothing(given in any_message()) {
        let shown = message(&stored(&republished(sent(&given))));
        prop_assert_eq!(shown, given);
    }
}

fn with(properties: proto::Properties) -> proto::Entry {
    let message = proto::Message { properties: Some(Box::new(properties)), ..Default::default() };
    proto::Entry { message: Some(message), ..Default::default() }
}

#[test]
fn properties_are_readable_headers() {
    let given = proto::Properties {
        content_type: Some("text/plain".into()),
        message_id: Some(String::new()),
        ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        priority: Some(7),
        deliver_at: Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 }),
        ..Default::default()
    };
    let (record, deliver_at_ms) = draft(with(given)).unwrap().into_record(NOW);
    let text = |name| Some(String::from_utf8_lossy(record.headers.named(name).next()??).into_owned());
    assert_eq!(text("content-type").unwrap(), "text/plain");
    assert_eq!(text("message-id").unwrap(), "", "an empty text is said");
    assert_eq!(text("reply-to"), None, "one left out is not");
    assert_eq!(text("ttl-ms").unwrap(), "60000");
    assert_eq!(text("priority").unwrap(), "7");
    assert_eq!(text("deliver-at").unwrap(), "1767225600000");
    assert_eq!(deliver_at_ms, Some(1_767_225_600_000));
    assert_eq!(record.value, None);
}

#[test]
fn nonsense_is_refused_in_words() {
    let header = |value: Option<Value>, of: &str| proto::Message {
        headers: vec![proto::Header { name: "n".into(), value, r#type: of.into() }],
        ..Default::default()
    };
    let properties = |properties| proto::Message { properties: Some(Box::new(properties)), ..Default::default() };
    let ttl = |seconds, nanos| {
        properties(proto::Properties { ttl: Some(prost_types::Duration { seconds, nanos }), ..Default::default() })
    };
    let priority = |priority| proto::Properties { priority: Some(priority), ..Default::default() };
    let own = proto::Header { name: "priority".into(), ..Default::default() };
    for (given, words) in [
        (ttl(0, 1), "finer than a millisecond"),
        (ttl(-1, 0), "not negative"),
        (ttl(i64::MAX, 0), "too long"),
        (header(Some(Value::Text("x".into())), "int9"), "type is one of"),
        (header(Some(Value::Text("x".into())), "int32"), "not of type int32"),
        (header(None, "int32"), "not of type int32"),
        (proto::Message { headers: vec![own], ..properties(priority(1)) }, "given twice"),
        (properties(priority(32)), "0 to 31"),
    ] {
        let entry = proto::Entry { message: Some(given), ..Default::default() };
        let refusal = draft(entry).unwrap_err();
        assert!(refusal.message().contains(words), "{refusal:?} does not say {words}");
    }
    let at = proto::Properties { deliver_at: Some(prost_types::Timestamp::default()), ..Default::default() };
    let both = proto::Entry { delay: Some(prost_types::Duration::default()), ..with(at) };
    assert!(draft(both).unwrap_err().message().contains("two ways"));
}
