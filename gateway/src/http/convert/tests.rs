#![allow(clippy::unwrap_used, clippy::expect_used)]

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::value::RawValue;
use tidegate_engine::batch::{Batch, Record};

use super::field::fields_of;
use super::json::MessageView;
use super::*;
use crate::broker::{HeaderType, read_header_types, typed_headers, write_header_types};

const NOW: i64 = 1_700_000_000_000;

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![vec(any::<u8>(), 0..40).prop_map(Bytes::from), ".{0,20}".prop_map(Bytes::from)]
}

fn header_name() -> impl Strategy<Value = String> {
    let known: Vec<_> = PROPERTIES.iter().map(|property| property.record.to_owned()).collect();
    prop_oneof![
        4 => ".{0,12}",
        2 => "[a-zA-Z][a-zA-Z0-9_-]{0,10}",
        2 => "ce_[a-z]{1,8}",
        3 => proptest::sample::select(known),
        1 => Just("traceparent".to_owned()),
        1 => Just(property::HEADER_TYPES.to_owned()),
        1 => Just(property::DEAD_LETTER_REASON.to_owned()),
    ]
}

fn header_value() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        any_bytes(),
        any::<i64>().prop_map(|number| number.to_string().into()),
        Just("application/json".into()),
        Just("0=int32".into()),
        Just("31".into()),
    ]
}

/// What a Kafka client may have written.
fn any_record() -> impl Strategy<Value = Record> {
    let header = (header_name(), option::weighted(0.9, header_value()));
    let json = prop_oneof![Just("{\"a\": [1.0, null]}"), Just("null"), Just(" 1"), Just("[\n]"), Just("\"x\"")];
    let body = prop_oneof![any_bytes(), json.prop_map(|json: &str| Bytes::from(json))];
    (any::<i64>(), option::of(any_bytes()), option::of(body), vec(header, 0..6)).prop_map(
        |(timestamp_ms, key, value, headers)| {
            let headers = headers.into_iter().collect();
            Record { offset: 0, timestamp_ms, key, value, headers }
        },
    )
}

/// A value of each type, as other protocols store them.
const TYPED: [(&str, &[u8]); 14] = [
    ("boolean", b"true"),
    ("int32", b"3"),
    ("uint64", b"18446744073709551615"),
    ("double", b"NaN"),
    ("float(7fc00001)", b"NaN"),
    ("timestamp", b"2026-01-31T12:00:00Z"),
    ("timestamp", b"18446744073709551615"),
    ("decimal", b"1.50"),
    ("string", b"text"),
    ("string", b"\xff"),
    ("bytes", b"text"),
    ("bytes", b"\xff"),
    ("table(int32,array(string,void,double),base64)", br#"{"a":1,"b":["x\n",null,"inf"],"a":"/w=="}"#),
    ("array(table(int8))", b"[{\"\":\n1}]"),
];

/// What AMQP may have written: headers with types, and among them some with names of properties.
fn typed_record() -> impl Strategy<Value = Record> {
    let header = (header_name(), option::weighted(0.7, proptest::sample::select(&TYPED[..])));
    vec(header, 0..6).prop_map(|named| {
        let mut types = Vec::new();
        let mut headers = Headers::default();
        for (index, (name, typed)) in named.into_iter().enumerate() {
            let value = typed.map_or(&b"untyped"[..], |(_, value)| value);
            types.extend(typed.map(|(of, _)| (index, HeaderType::from_name(of).expect("it is a type"))));
            headers.push(&name, Some(value));
        }
        write_header_types(&mut headers, &types);
        Record { headers, value: Some("body".into()), ..Record::default() }
    })
}

/// Names with types, and values.
type Named = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Headers of one name keep their order; that of different names has no meaning.
fn sorted(record: &Record) -> (Record, Named) {
    let types = read_header_types(&record.headers);
    // What is a string goes without saying.
    let typed = |of: Option<&HeaderType>| {
        of.filter(|of| **of != HeaderType::String).map_or(String::new(), |of| format!("|{}", of.name()))
    };
    let headers = typed_headers(&record.headers, types.as_ref());
    let named =
        headers.map(|(header, of)| ([header.name, typed(of).as_bytes()].concat(), header.value.map(<[u8]>::to_vec)));
    let mut named: Named = named.collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    (Record { headers: Headers::default(), ..record.clone() }, named)
}

/// The record after a batch and back.
fn stored(record: &Record) -> Record {
    let batch = Batch::pack(std::slice::from_ref(record)).unwrap();
    batch.records(0, 1 << 20).unwrap().pop().unwrap()
}

/// A reader's message, made into a publisher's by leaving out what only readers have.
fn republished(view: &MessageView<'_>) -> Box<RawValue> {
    let text = serde_json::to_string(view).unwrap();
    let mut message: std::collections::BTreeMap<String, Box<RawValue>> = serde_json::from_str(&text).unwrap();
    for only_read in ["id", "topic", "offset", "dead_letter"] {
        message.remove(only_read);
    }
    assert!(!text.contains('\n'), "a message is one line: {text}");
    serde_json::value::to_raw_value(&message).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn kafka_to_json_to_kafka_loses_nothing(record in any_record()) {
        let record = stored(&record);
        let json = republished(&MessageView::new("t", 3, &record, None));
        let draft = Draft::from_json(&json).map_err(|problem| TestCaseError::fail(format!("{problem:?} of {json}")))?;
        prop_assert_eq!(draft.partition, Some(3));
        let (again, _) = draft.into_record(NOW);
        prop_assert_eq!(sorted(&stored(&again)), sorted(&record), "{}", json);
    }

    #[test]
    fn types_survive_json(record in typed_record()) {
        let json = republished(&MessageView::new("t", 3, &record, None));
        let draft = Draft::from_json(&json).map_err(|problem| TestCaseError::fail(format!("{problem:?} of {json}")))?;
        let (again, _) = draft.into_record(NOW);
        prop_assert_eq!(sorted(&again).1, sorted(&record).1, "{}", json);
    }

    #[test]
    fn kafka_to_fields_to_kafka_loses_nothing(record in any_record()) {
        // Types have no place in fields.
        prop_assume!(read_header_types(&record.headers).is_none());
        let record = stored(&record);
        let (fields, body) = fields_of(&record);
        let draft = Draft::from_fields(&fields, body)
            .map_err(|problem| TestCaseError::fail(format!("{problem:?} of {fields:?}")))?;
        let (again, _) = draft.into_record(NOW);
        let by_value = |record: &Record| {
            let (record, mut headers) = sorted(record);
            headers.sort();
            (record, headers)
        };
        prop_assert_eq!(by_value(&stored(&again)), by_value(&record), "{:?}", fields);
    }

    #[test]
    fn fields_to_kafka_to_fields_loses_nothing(
        body in any_bytes(),
        key in option::of("[!-~]([ -~é]{0,8}[!-~])?"),
        timestamp in option::of(-1_000_000_000_000_i64..4_000_000_000_000),
        ttl in option::of(0..10_000_000_u64),
        priority in option::of(0..=31_u8),
        texts in vec(option::of("[!-~]([ -~]{0,8}[!-~])?"), 8),
        headers in vec(("[a-z0-9_.-]{1,8}", "[!-~]([ -~é]{0,8}[!-~])?"), 0..5),
        events in vec(("[a-z0-9]{1,8}", "[!-~]{1,8}"), 0..3),
    ) {
        let mut fields = HeaderMap::new();
        let mut put = |name: &str, value: &str| {
            fields.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        };
        let timestamp = print_time(timestamp.unwrap_or(NOW));
        put("tidegate-timestamp", &timestamp);
        key.iter().for_each(|key| put("tidegate-key", key));
        ttl.iter().for_each(|ttl| put("tidegate-ttl", &units::print_duration(Duration::from_millis(*ttl))));
        priority.iter().for_each(|priority| put("tidegate-priority", &priority.to_string()));
        let names = ["content-type", "content-encoding", "tidegate-message-id", "tidegate-correlation-id",
            "tidegate-reply-to", "tidegate-type", "tidegate-app-id", "traceparent"];
        for (name, text) in names.iter().zip(&texts) {
            text.iter().for_each(|text| put(name, text));
        }
        for (name, value) in &headers {
            if !name.starts_with("ce_") && !PROPERTIES.iter().any(|property| property.record == name) {
                put(&format!("tidegate-header-{name}"), value);
            }
        }
        for (name, value) in &events {
            // As CloudEvents has it encoded.
            put(&format!("ce-{name}"), &value.replace('%', "%25").replace('"', "%22"));
        }
        let draft = Draft::from_fields(&fields, body.clone()).unwrap();
        let (record, _) = draft.into_record(NOW);
        let (again, same_body) = fields_of(&stored(&record));
        prop_assert_eq!(same_body, body);
        prop_assert_eq!(again, fields);
    }

    #[test]
    fn any_json_is_answered(text in ".{0,80}", number: i64) {
        let json = serde_json::value::to_raw_value(&serde_json::json!({
            "text": text, "timestamp": number, "ttl": text, "deliver_at": text, "headers": [{"name": text, "value": number, "type": text}],
        })).unwrap();
        let _ = Draft::from_json(&json);
    }

    #[test]
    fn any_field_is_answered(name in "(tidegate|ce)-[a-z0-9%-]{0,20}", value in vec(any::<u8>(), 0..20)) {
        let mut fields = HeaderMap::new();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value)) {
            fields.insert(name, value);
        }
        let _ = Draft::from_fields(&fields, Bytes::new());
    }
}

fn from_json(json: serde_json::Value) -> Result<Draft> {
    Draft::from_json(&serde_json::value::to_raw_value(&json).unwrap())
}

fn text(record: &Record, name: &str) -> Option<String> {
    record.headers.named(name).next()?.map(|value| String::from_utf8_lossy(value).into_owned())
}

#[test]
fn properties_are_readable_headers() {
    let draft = from_json(serde_json::json!({
        "key": "k", "value": {"a": 1}, "ttl": "1m", "priority": 7, "correlation_id": "c",
        "deliver_at": "2026-01-01T00:00:00Z", "headers": [{"name": "retries", "value": 3, "type": "int32"}],
    }));
    let (record, deliver_at_ms) = draft.unwrap().into_record(NOW);
    assert_eq!(record.value.as_deref(), Some(&b"{\"a\":1}"[..]));
    assert_eq!(text(&record, "content-type").unwrap(), "application/json");
    assert_eq!(text(&record, "ttl-ms").unwrap(), "60000");
    assert_eq!(text(&record, "priority").unwrap(), "7");
    assert_eq!(text(&record, "retries").unwrap(), "3");
    assert_eq!(text(&record, "deliver-at").unwrap(), "1767225600000");
    assert_eq!(deliver_at_ms, Some(1_767_225_600_000));
}

#[test]
fn a_delay_counts_from_now() {
    let draft = from_json(serde_json::json!({"text": "x", "delay": "5m"})).unwrap();
    assert_eq!(draft.clone().into_record(NOW).1, Some(NOW + 300_000));
    // The digest is of what was sent, not of when.
    assert_eq!(draft.digest(), draft.clone().digest());
    assert_ne!(draft.digest(), from_json(serde_json::json!({"text": "x", "delay": "6m"})).unwrap().digest());
}

#[test]
fn nonsense_is_refused_in_words() {
    for (json, words) in [
        (serde_json::json!({}), "no body"),
        (serde_json::json!({"text": "a", "base64": "YQ=="}), "two bodies"),
        (serde_json::json!({"base64": "?"}), "base64"),
        (serde_json::json!({"text": "a", "priority": 32}), "0 to 31"),
        (serde_json::json!({"text": "a", "ttl": "1us"}), "millisecond"),
        (serde_json::json!({"text": "a", "ttl": 5}), "string"),
        (serde_json::json!({"text": "a", "deliver_at": "soon"}), "not a time"),
        (serde_json::json!({"text": "a", "delay": "1s", "deliver_at": "2026-01-01T00:00:00Z"}), "two ways"),
        (serde_json::json!({"text": "a", "key": "a", "key_base64": "YQ=="}), "twice"),
        (serde_json::json!({"text": "a", "headers": [{"name": "n"}]}), "one of value and base64"),
        (serde_json::json!({"text": "a", "headers": [{"name": "n", "value": []}]}), "boolean or null"),
        (
            serde_json::json!({"text": "a", "headers": [{"name": "n", "value": [1], "type": "array(string,void)"}]}),
            "array(",
        ),
        (
            serde_json::json!({"text": "a", "headers": [{"name": "n", "value": [1, 2], "type": "array(int8)"}]}),
            "array(int8)",
        ),
        (serde_json::json!({"text": "a", "headers": [{"name": "n", "value": 300, "type": "int8"}]}), "int8"),
        (serde_json::json!({"text": "a", "headers": [{"name": "n", "value": "x", "type": "long"}]}), "type is one of"),
        (serde_json::json!({"text": "a", "idempotency_key": ""}), "1 to 255"),
        (serde_json::json!({"text": "a", "colour": "red"}), "unknown field"),
    ] {
        let problem = format!("{:?}", from_json(json.clone()).expect_err(&json.to_string()));
        assert!(problem.contains(words), "{problem} does not say {words}");
    }
}

#[test]
fn unknown_and_repeated_fields_are_refused() {
    for (fields, words) in [
        (vec![("tidegate-colour", "red")], "Tidegate-Header"),
        (vec![("tidegate-key", "a"), ("tidegate-key", "b")], "twice"),
        (vec![("tidegate-key", "a"), ("tidegate-base64-key", "YQ==")], "twice"),
        (vec![("tidegate-ttl", "30")], "not a duration"),
        (vec![("tidegate-partition", "-1")], "number from 0"),
        (vec![("tidegate-tombstone", "true")], "no body"),
        (vec![("tidegate-header-%ff", "a")], "UTF-8"),
        (vec![("idempotency-key", "")], "1 to 255"),
        (vec![("content-type", "a"), ("content-type", "b")], "twice"),
    ] {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let problem = format!("{:?}", Draft::from_fields(&map, "body".into()).expect_err("it is refused"));
        assert!(problem.contains(words), "{problem} does not say {words}");
    }
}

#[test]
fn a_tombstone_is_no_empty_body() {
    let mut fields = HeaderMap::new();
    assert_eq!(Draft::from_fields(&fields, Bytes::new()).unwrap().value, Some(Bytes::new()));
    fields.insert("tidegate-tombstone", HeaderValue::from_static("true"));
    assert_eq!(Draft::from_fields(&fields, Bytes::new()).unwrap().value, None);
    assert_eq!(from_json(serde_json::json!({"key": "k", "value": null})).unwrap().value, None);
}
