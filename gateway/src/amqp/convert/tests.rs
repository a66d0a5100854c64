#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidegate_engine::batch::{BatchBuilder, Header, Headers, Record};

use super::{Extra, Incoming, Outgoing, Refusal};
use crate::amqp::codec::tests::samples::{any_properties, encoded};
use crate::amqp::codec::{Limits, MIN_FRAME_MAX, Properties, RawTable, Table, Text, Value, max_properties};
use crate::broker::{HeaderType, property, read_header_types};

const NOW: i64 = 1_700_000_000_123;
const EXTRA: Extra = Extra { offset: false, delivery_count: 0, max_bytes: 1 << 20 };

fn limits() -> Limits {
    Limits { max_frame_bytes: 1 << 20, ..Limits::default() }
}

/// The record that is stored, after a batch and back.
fn publish(exchange: &str, routing_key: &str, properties: &[u8], body: &[u8]) -> Result<Record, Refusal> {
    let properties = Properties::parse(properties, &limits()).unwrap();
    let mut builder = BatchBuilder::new();
    Incoming::new(exchange, routing_key, &properties, body)?.append(&mut builder, NOW)?;
    let batch = builder.finish().unwrap();
    // What is stored is what every protocol may read.
    batch.check_records(1 << 24).unwrap();
    Ok(batch.records(5, 1 << 24).unwrap().remove(0))
}

fn written(outgoing: &Outgoing<'_>, extra: &Extra) -> Bytes {
    let mut out = BytesMut::new();
    outgoing.write_properties(&mut out, extra);
    out.freeze()
}

fn properties_bytes(properties: &Properties<'_>) -> Bytes {
    let mut out = BytesMut::new();
    properties.write(&mut out);
    out.freeze()
}

fn with_table(table: &Table) -> Bytes {
    let table = encoded(table);
    properties_bytes(&Properties { headers: RawTable::check(&table, &limits()).ok(), ..Properties::default() })
}

fn table_of(properties: &Bytes) -> Table {
    let parsed = Properties::parse(properties, &limits()).unwrap();
    Table::decode(properties, parsed.headers.unwrap_or_default())
}

fn table<const N: usize>(fields: [(&'static str, Value); N]) -> Table {
    Table(fields.map(|(name, value)| (Text::from_static(name), value)).into())
}

fn text(record: &Record, name: &str) -> Option<String> {
    record.headers.named(name).last()?.map(|value| String::from_utf8_lossy(value).into_owned())
}

fn headers<const N: usize>(named: [(&str, &str); N]) -> Headers {
    named.map(|(name, value)| (name, Some(value))).into_iter().collect()
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40).prop_map(Bytes::from), "\\PC{0,20}".prop_map(Bytes::from)]
}

fn header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "\\PC{0,12}",
        2 => "[a-z]{1,3}",
        1 => "x-[a-jl-z]{1,3}",
        3 => prop::sample::select(&[
            property::CONTENT_TYPE, property::CORRELATION_ID, property::TTL_MS, property::PRIORITY, property::DELIVER_AT,
            property::USER_ID, property::CLUSTER_ID, property::AMQP_EXCHANGE, property::AMQP_ROUTING_KEY, property::AMQP,
            property::DEAD_LETTER_REASON, property::DEAD_LETTER_OFFSET, property::HEADER_TYPES,
        ][..]).prop_map(str::to_owned),
        1 => "[a-z]{250,260}",
    ]
}

fn header_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => any_bytes(),
        2 => any::<i64>().prop_map(|number| number.to_string().into()),
        1 => Just("31".into()),
        1 => Just("0=int32".into()),
        1 => Just("2tk1n0m7dh".into()),
        1 => vec(any::<u8>(), 250..260).prop_map(Bytes::from),
    ]
}

/// What any protocol may have written.
fn any_record() -> impl Strategy<Value = Record> {
    let header = (header_name(), option::weighted(0.9, header_value()));
    let time = prop_oneof![any::<i64>(), (0..4_000_000_000_i64).prop_map(|seconds| seconds * 1000)];
    (time, option::of(any_bytes()), option::of(any_bytes()), vec(header, 0..7)).prop_map(
        |(timestamp_ms, key, value, headers)| {
            let headers = headers.into_iter().collect();
            Record { offset: 5, timestamp_ms, key, value, headers }
        },
    )
}

/// Headers, sorted by name (those of one name keep their order), without what only AMQP adds.
fn visible(record: &Record) -> Vec<Header<'_>> {
    let hidden = [property::HEADER_TYPES, property::AMQP, "x-stream-offset"];
    let is_hidden = |header: &Header<'_>| hidden.iter().any(|name| header.name == name.as_bytes());
    let mut headers: Vec<_> = record.headers.iter().filter(|header| !is_hidden(header)).collect();
    headers.sort_by(|a, b| a.name.cmp(b.name));
    headers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn amqp_to_record_to_amqp_is_exact(
        exchange in prop_oneof![Just(String::new()), "\\PC{1,20}"], routing_key in "\\PC{1,20}",
        properties in any_properties(), body in any_bytes(),
    ) {
        let record = publish(&exchange, &routing_key, &properties, &body).unwrap();
        let topic = if exchange.is_empty() { &*routing_key } else { "a queue" };
        let outgoing = Outgoing::new(&record, topic);
        prop_assert_eq!(written(&outgoing, &EXTRA), properties, "{:?}", record);
        prop_assert_eq!(outgoing.exchange(), &*exchange);
        prop_assert_eq!(outgoing.routing_key(), &*routing_key);
        prop_assert_eq!(outgoing.body(), &body);
        // Every type that was written is read, by every protocol.
        let has_types = record.headers.iter().last().is_some_and(|header| header.name == property::HEADER_TYPES.as_bytes());
        prop_assert_eq!(has_types, read_header_types(&record.headers).is_some());
    }

    #[test]
    fn any_record_is_delivered_and_comes_back(mut record in any_record()) {
        let outgoing = Outgoing::new(&record, "topic");
        written(&outgoing, &EXTRA);
        prop_assert!(outgoing.exchange().len() <= 255 && outgoing.routing_key().len() <= 255);
        // What says how AMQP published it, another protocol does not write; and such long names it cannot carry.
        let is_carried = |header: &Header<'_>| {
            let says_how = [property::AMQP, property::HEADER_TYPES, property::AMQP_ROUTING_KEY];
            header.name.len() <= 255 && !says_how.iter().any(|name| header.name == name.as_bytes())
        };
        record.headers = record.headers.iter().filter(is_carried).collect();
        let outgoing = Outgoing::new(&record, "topic");
        let properties = written(&outgoing, &EXTRA);
        let again = publish(outgoing.exchange(), outgoing.routing_key(), &properties, outgoing.body()).unwrap();
        prop_assert_eq!((again.timestamp_ms, &again.key, &again.value), (record.timestamp_ms, &record.key, &record.value));
        prop_assert_eq!(visible(&again), visible(&record));
        // From here on it is exact.
        let once_more = Outgoing::new(&again, "topic");
        prop_assert_eq!(written(&once_more, &EXTRA), properties);
    }

    #[test]
    fn any_record_fits_in_the_smallest_frame(record in any_record(), times in 0..30_usize, delivery_count in 0..3_u32) {
        let headers = record.headers.iter().cycle().take(record.headers.len() * times).collect();
        let record = Record { headers, ..record };
        let extra = Extra { offset: true, delivery_count, max_bytes: max_properties(MIN_FRAME_MAX) };
        let key = record.key.as_ref().map_or(0, Bytes::len);
        let properties = written(&Outgoing::new(&record, "topic"), &extra);
        prop_assert!(properties.len() <= extra.max_bytes && key < 100);
        let written = Properties::parse(&properties, &limits()).unwrap();
        prop_assert!(written.headers.is_some());
    }

    #[test]
    fn mutated_properties_are_refused_or_delivered(
        properties in any_properties(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), body in any_bytes(),
    ) {
        let mut properties = properties.to_vec();
        for (at, with) in changes {
            let at = at.index(properties.len());
            properties[at] = with;
        }
        let is_whole = Properties::parse(&properties, &limits()).is_ok();
        if let Some(Ok(record)) = is_whole.then(|| publish("e", "k", &properties, &body)) {
            // They may have been written in another form than ours: a true is any number but 0.
            let delivered = written(&Outgoing::new(&record, "topic"), &EXTRA);
            let again = publish("e", "k", &delivered, &body).unwrap();
            prop_assert_eq!(written(&Outgoing::new(&again, "topic"), &EXTRA), delivered);
        }
    }

    #[test]
    fn any_bytes_as_properties_are_taken_or_refused(bytes in vec(any::<u8>(), 0..200), body in any_bytes()) {
        if let Ok(properties) = Properties::parse(&bytes, &limits()) {
            let _ = Incoming::new("", "q", &properties, &body).map(|incoming| incoming.append(&mut BatchBuilder::new(), NOW));
        }
    }
}

#[test]
fn most_messages_cost_seven_bytes() {
    let properties = properties_bytes(&Properties { delivery_mode: Some(2), ..Properties::default() });
    let record = publish("", "orders", &properties, b"body").unwrap();
    assert_eq!(record.headers, headers([("amqp", "2")]));
    assert_eq!((record.timestamp_ms, record.key, record.value), (NOW, None, Some("body".into())));
}

#[test]
fn other_protocols_see_readable_text() {
    let inner = table([("a", Value::Int32(1)), ("a", Value::Array(vec![Value::from("x"), Value::Void]))]);
    let headers = table([
        ("retries", Value::Int32(3)),
        ("name", Value::from("é")),
        ("at", Value::Timestamp(1_700_000_000)),
        ("price", Value::Decimal(2, (-150_i32).cast_unsigned())),
        ("inner", Value::Table(inner)),
        ("nothing", Value::Void),
        ("late", Value::Timestamp(u64::MAX)),
        ("content-type", Value::from("a header, not the property")),
        (
            "odd",
            Value::Array(vec![
                Value::LongString("\u{7f}\0\"".into()),
                Value::LongString(b"\xff"[..].into()),
                Value::Double(f64::NAN),
            ]),
        ),
    ]);
    let table = encoded(&headers);
    let properties = Properties {
        content_type: Some(b"text/plain"),
        headers: RawTable::check(&table, &limits()).ok(),
        priority: Some(9),
        expiration: Some(b"60000"),
        ..Properties::default()
    };
    let record = publish("logs", "a.b", &properties_bytes(&properties), b"").unwrap();
    for (name, value) in [
        ("retries", "3"),
        ("name", "é"),
        ("at", "2023-11-14T22:13:20Z"),
        ("price", "-1.50"),
        ("inner", r#"{"a":1,"a":["x",null]}"#),
        ("late", "18446744073709551615"),
        ("odd", r#"["\u007f\u0000\"","/w==","NaN"]"#),
        ("content-type", "text/plain"),
        ("priority", "9"),
        ("ttl-ms", "60000"),
        ("amqp-exchange", "logs"),
        ("amqp-routing-key", "a.b"),
        ("amqp", ""),
        (
            "tidegate-header-types",
            "0=int32,2=timestamp,3=decimal,4=table(int32,array(string,void)),6=timestamp,7=string,8=array(string,base64,double)",
        ),
    ] {
        // Serde leaves DEL as it is.
        assert_eq!(text(&record, name).unwrap().replace('\u{7f}', "\\u007f"), value, "{name}");
    }
    assert!(record.headers.named("nothing").eq([None]));
}

#[test]
fn the_time_is_the_publishers_or_the_arrivals() {
    let publish =
        |properties: Properties<'_>| publish("", "q", &properties_bytes(&properties), b"").unwrap().timestamp_ms;
    let at = |timestamp| Properties { timestamp: Some(timestamp), ..Properties::default() };
    assert_eq!(publish(Properties::default()), NOW);
    assert_eq!(publish(at(1_600_000_000)), 1_600_000_000_000);
    assert_eq!(publish(at(1_700_000_000)), NOW, "the same second, told better");
    assert_eq!(publish(at(u64::MAX)), NOW);
    assert_eq!(
        publish(Properties { expiration: Some(b"5"), ..at(1_600_000_000) }),
        NOW,
        "a lifetime counts from the arrival"
    );
    let headers = encoded(&table([("x-timestamp-ms", Value::Int64(-5))]));
    let headers = RawTable::check(&headers, &limits()).ok();
    assert_eq!(publish(Properties { headers, ..at(1_600_000_000) }), -5);
}

fn incoming(headers: &Table, now_ms: i64) -> (Option<Bytes>, Option<i64>) {
    let properties = with_table(headers);
    let properties = Properties::parse(&properties, &limits()).unwrap();
    let incoming = Incoming::new("", "q", &properties, b"").unwrap();
    (incoming.key().map(Bytes::copy_from_slice), incoming.deliver_at_ms(now_ms))
}

#[test]
fn headers_say_key_tombstone_and_delivery_time() {
    let record = publish(
        "",
        "q",
        &with_table(&table([("a", Value::Void), ("x-key", Value::from("k")), ("x-tombstone", Value::Boolean(true))])),
        b"",
    )
    .unwrap();
    assert_eq!((record.key.as_deref(), &record.value), (Some(&b"k"[..]), &None));
    assert_eq!(record.headers, Headers::from_iter([("a", None), ("amqp", Some("k1n2"))]));
    let record = publish("", "q", &with_table(&table([("x-tombstone", Value::Boolean(true))])), b"body").unwrap();
    assert_eq!(record.value.as_deref(), Some(&b"body"[..]), "a body is never thrown away");
    for (headers, deliver_at_ms) in [
        (table([("x-delay", Value::Int32(500))]), Some(NOW + 500)),
        (table([("x-delay", Value::Int32(-500))]), None),
        (table([("x-delay", Value::from("500"))]), None),
        (table([("x-delay", Value::Int64(i64::MAX))]), Some(i64::MAX)),
        (table([("x-deliver-at", Value::Int64(77))]), Some(77)),
        (table([("x-deliver-at", Value::Timestamp(77))]), Some(77_000)),
        (table([("x-deliver-at", Value::from("1970-01-01T00:00:01.5Z"))]), Some(1500)),
        (table([("x-deliver-at", Value::from("tomorrow"))]), None),
        (table([("x-delay", Value::Int32(5)), ("x-deliver-at", Value::Int64(77))]), Some(77)),
    ] {
        assert_eq!(incoming(&headers, NOW), (None, deliver_at_ms), "{headers:?}");
        let record = publish("", "q", &with_table(&headers), b"").unwrap();
        assert_eq!(text(&record, "deliver-at"), deliver_at_ms.map(|at_ms| at_ms.to_string()), "{headers:?}");
    }
    assert_eq!(incoming(&table([("x-key", Value::Bytes("k".into()))]), NOW).0.as_deref(), Some(&b"k"[..]));
    assert_eq!(incoming(&table([("x-key", Value::Int32(1))]), NOW).0, None);
}

#[test]
fn an_expiration_is_a_number() {
    let properties = properties_bytes(&Properties { expiration: Some(b"1h"), ..Properties::default() });
    let refusal = publish("", "q", &properties, b"").unwrap_err();
    assert_eq!(refusal, Refusal::Expiration("1h".to_owned()));
    assert_eq!(crate::amqp::error::Exception::from(refusal).code.number(), 406);
}

#[test]
fn other_protocols_messages_tell_key_offset_and_time() {
    let record = Record {
        offset: 7,
        timestamp_ms: 1_700_000_000_123,
        key: Some("k".into()),
        value: None,
        headers: headers([
            ("content-type", "first"),
            ("content-type", "text/plain"),
            ("priority", "high"),
            ("deliver-at", "5"),
            ("retries", "3"),
            ("tidegate-header-types", "4=int32"),
        ]),
    };
    let outgoing = Outgoing::new(&record, "orders");
    assert_eq!((outgoing.exchange(), outgoing.routing_key(), outgoing.body().len()), ("", "orders", 0));
    let properties = written(&outgoing, &EXTRA);
    let parsed = Properties::parse(&properties, &limits()).unwrap();
    let seen = (parsed.content_type, parsed.timestamp, parsed.delivery_mode, parsed.priority);
    assert_eq!(seen, (Some(&b"text/plain"[..]), Some(1_700_000_000), None, None));
    let expected = table([
        ("x-key", Value::from("k")),
        ("x-tombstone", Value::Boolean(true)),
        ("content-type", Value::from("first")),
        ("priority", Value::from("high")),
        ("x-deliver-at", Value::Int64(5)),
        ("retries", Value::Int32(3)),
        ("x-timestamp-ms", Value::Int64(1_700_000_000_123)),
        ("x-stream-offset", Value::Int64(7)),
    ]);
    assert_eq!(table_of(&properties), expected);
}

#[test]
fn a_delivery_says_more_when_there_is_more_to_say() {
    let record = publish("", "q", &properties_bytes(&Properties::default()), b"").unwrap();
    let outgoing = Outgoing::new(&record, "q");
    assert!(table_of(&written(&outgoing, &EXTRA)).is_empty());
    let extra = Extra { offset: true, delivery_count: 2, ..EXTRA };
    let expected = table([("x-stream-offset", Value::Int64(5)), ("x-delivery-count", Value::Int64(2))]);
    assert_eq!(table_of(&written(&outgoing, &extra)), expected);
}

#[test]
fn a_dead_letter_tells_its_death_as_rabbitmq_does() {
    let mut record = publish("logs", "a.b", &with_table(&table([("n", Value::Int32(1))])), b"").unwrap();
    for (name, value) in [
        ("reason", "delivery-limit"),
        ("topic", "work"),
        ("partition", "0"),
        ("offset", "41"),
        ("attempts", "3"),
        ("group", "work"),
    ] {
        record.headers.push(&format!("dead-letter-{name}"), Some(value.as_bytes()));
    }
    let outgoing = Outgoing::new(&record, "graveyard");
    assert_eq!((outgoing.exchange(), outgoing.routing_key()), ("", "graveyard"));
    let death = table([
        ("count", Value::Int64(1)),
        ("reason", Value::from("delivery_limit")),
        ("queue", Value::from("work")),
        ("exchange", Value::from("logs")),
        ("routing-keys", Value::Array(vec![Value::from("a.b")])),
        ("partition", Value::Int64(0)),
        ("offset", Value::Int64(41)),
        ("attempts", Value::Int64(3)),
    ]);
    let expected = table([("n", Value::Int32(1)), ("x-death", Value::Array(vec![Value::Table(death)]))]);
    assert_eq!(table_of(&written(&outgoing, &EXTRA)), expected);
}

#[test]
fn what_amqp_cannot_carry_is_delivered_all_the_same() {
    let long = "n".repeat(256);
    let named = headers([(&long, "v"), ("correlation-id", &long), ("small", "s")]);
    let record = Record { headers: named, key: Some("k".into()), value: Some("v".into()), ..Record::default() };
    let fallback = Value::Array(vec![Value::Array(vec![Value::from(long.clone()), Value::from("v")])]);
    let expected = table([
        ("x-key", Value::from("k")),
        ("correlation-id", Value::from(long)),
        ("small", Value::from("s")),
        ("x-long-headers", fallback),
        ("x-stream-offset", Value::Int64(0)),
    ]);
    assert_eq!(table_of(&written(&Outgoing::new(&record, "t"), &EXTRA)), expected);
    // More than a frame holds.
    let large = "x".repeat(5000);
    let named = headers([("large", &large), ("small", "s"), ("content-type", "text/plain")]);
    let record = Record { headers: named, value: Some("v".into()), ..Record::default() };
    let extra = Extra { max_bytes: max_properties(MIN_FRAME_MAX), ..EXTRA };
    let properties = written(&Outgoing::new(&record, "t"), &extra);
    assert_eq!(Properties::parse(&properties, &limits()).unwrap().content_type, Some(&b"text/plain"[..]));
    let expected = table([
        ("small", Value::from("s")),
        ("x-stream-offset", Value::Int64(0)),
        ("x-omitted-headers", Value::Int64(1)),
    ]);
    assert_eq!(table_of(&properties), expected);
}

#[test]
fn types_that_amqp_lacks_are_text() {
    let typed = |of: &str, value: &str| {
        let headers = headers([("n", value), ("tidegate-header-types", &format!("0={of}"))]);
        let record = Record { headers, value: Some("v".into()), ..Record::default() };
        assert!(HeaderType::from_name(of).unwrap().accepts(value.as_bytes()));
        table_of(&written(&Outgoing::new(&record, "t"), &EXTRA)).0.remove(0).1
    };
    assert_eq!(typed("uint64", "9223372036854775807"), Value::Int64(i64::MAX));
    assert_eq!(typed("uint64", "9223372036854775808"), Value::from("9223372036854775808"));
    assert_eq!(typed("timestamp", "1970-01-01T00:00:05Z"), Value::Timestamp(5));
    assert_eq!(typed("timestamp", "1970-01-01T00:00:05.5Z"), Value::from("1970-01-01T00:00:05.5Z"));
    assert_eq!(
        typed("array(uint64)", "[18446744073709551615]"),
        Value::Array(vec![Value::from("18446744073709551615")])
    );
    let json = format!("{{\"{}\":1}}", "n".repeat(256));
    assert_eq!(typed("table(int8)", &json), Value::from(json));
}
