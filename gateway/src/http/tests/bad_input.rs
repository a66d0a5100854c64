//! Whatever is sent, the answer is a success or a problem: never a server error, never a panic.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config as Runs, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use super::Gateway;

/// Every operation with a body in JSON, and one that is right.
fn requests() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        (
            "PUT",
            "/v1/topics/u",
            json!({"partitions": 1, "durability": "fsync", "retention": {"time": "1d", "bytes": 5, "compact": false}, "max_message_bytes": "1MiB"}),
        ),
        ("PATCH", "/v1/topics/t", json!({"partitions": 1, "log_append_time": true, "retention": {"tombstones": "1h"}})),
        (
            "POST",
            "/v1/topics/t/messages:batch",
            json!({"messages": [{"key": "k", "value": {"a": 1}, "ttl": "1s", "priority": 3,
            "timestamp": 5, "headers": [{"name": "n", "value": 1, "type": "int8"}, {"name": "m", "base64": "AA=="}]}], "atomic": false}),
        ),
        (
            "PUT",
            "/v1/groups/h",
            json!({"topics": ["t"], "mode": "shared", "start": "latest", "ack_deadline": "5s", "max_deliveries": 3,
            "retry": {"min": "1s", "max": "2s", "multiplier": 1.5}, "dead_letter": null, "max_in_flight": 4}),
        ),
        ("PATCH", "/v1/groups/g", json!({"ack_deadline": "5s", "max_in_flight": 4})),
        (
            "POST",
            "/v1/groups/g:pull",
            json!({"max_messages": 1, "max_bytes": "1KiB", "wait": "0s", "ack_deadline": "1s", "attempt_id": "a",
            "acks": ["x"], "nacks": [{"ack_ids": ["y"], "delay": "1s", "reason": "r"}]}),
        ),
        ("POST", "/v1/groups/g:ack", json!({"ack_ids": ["x"]})),
        ("POST", "/v1/groups/g:nack", json!({"ack_ids": ["x"], "count_attempt": false})),
        ("POST", "/v1/groups/g:extend", json!({"ack_ids": ["x"], "ack_deadline": "1s"})),
        ("POST", "/v1/groups/g:seek", json!({"offsets": [{"topic": "t", "partition": 0, "offset": 0}]})),
    ]
}

/// One place of a document, replaced, removed or doubled.
fn mutate(value: &mut Value, place: usize, with: &Value) -> Option<usize> {
    if place == 0 {
        *value = with.clone();
        return None;
    }
    let mut left = place - 1;
    match value {
        Value::Array(items) => {
            for item in items {
                left = mutate(item, left, with)?;
            }
        }
        Value::Object(fields) => {
            for field in fields.values_mut() {
                left = mutate(field, left, with)?;
            }
        }
        _ => {}
    }
    Some(left)
}

fn replacement() -> impl Strategy<Value = Value> {
    let numbers =
        [json!(0), json!(-1), json!(1e308), json!(u64::MAX), json!(i64::MIN), json!(0.5), json!(4_294_967_296_u64)];
    let texts = [
        "",
        "\0",
        "..",
        "a/b",
        "99999999999999999999d",
        "1s1s",
        "18446744073709551615TiB",
        "+262143-12-31T23:59:59Z",
        "9223372036854775807",
        "-9223372036854775808",
        "\u{202e}",
        "'; --",
        "{}",
    ];
    prop_oneof![
        proptest::sample::select(numbers.to_vec()),
        proptest::sample::select(texts.to_vec()).prop_map(Value::from),
        ".{0,300}".prop_map(Value::from),
        Just(Value::Null),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[[]]]]])),
        Just(json!({"a": {"b": 1}})),
    ]
}

fn mangled() -> impl Strategy<Value = (usize, Vec<u8>)> {
    let count = requests().len();
    (0..count, 0..24_usize, replacement(), any::<u16>(), any::<u8>(), 0..4_u8).prop_map(
        |(which, place, with, at, byte, how)| {
            let mut body = requests().swap_remove_at(which);
            if how > 0 {
                mutate(&mut body, place, &with);
            }
            let mut bytes = body.to_string().into_bytes();
            let at = usize::from(at) % bytes.len().max(1);
            match how {
                0 => bytes[at] = byte,
                1 => bytes.truncate(at),
                _ => {}
            }
            (which, bytes)
        },
    )
}

trait Nth {
    fn swap_remove_at(self, index: usize) -> Value;
}

impl Nth for Vec<(&'static str, &'static str, Value)> {
    fn swap_remove_at(mut self, index: usize) -> Value {
        self.swap_remove(index).2
    }
}

/// The same inputs in every run.
fn inputs<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[42; 32]);
    let mut runner = TestRunner::new_with_rng(Runs::default(), rng);
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

fn assert_answered(what: &str, answer: &super::Answer) {
    let status = answer.status.as_u16();
    assert!(status < 500, "{what}: {answer:?}");
    if status >= 400 {
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(problem["code"].is_string() && problem["detail"].is_string(), "{what}: {problem}");
    }
}

#[tokio::test]
async fn mangled_bodies_are_answered() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    for (which, body) in inputs(&mangled(), 3_000) {
        let (method, path, _) = requests().swap_remove(which);
        let answer = gateway.send(method, path, &[("content-type", "application/json")], body.clone()).await;
        assert_answered(&format!("{method} {path} {}", String::from_utf8_lossy(&body)), &answer);
    }
    gateway.close().await;
}

#[tokio::test]
async fn mangled_paths_and_fields_are_answered() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let names = [
        "tidegate-key",
        "tidegate-ttl",
        "tidegate-delay",
        "tidegate-timestamp",
        "tidegate-partition",
        "tidegate-priority",
        "tidegate-base64-key",
        "tidegate-header-%",
        "tidegate-null-header-x",
        "idempotency-key",
        "content-type",
        "accept",
        "last-event-id",
        "if-none-match",
        "x-request-id",
        "ce-x",
        "content-encoding",
    ];
    let path = "/v1/(topics|groups|namespaces)/[a-z%0-9:.~-]{0,12}(/(messages|stream|lag)(/[0-9a-z%-]{0,8}|:batch)?)?(\\?(offset|limit|partition|timestamp|key|from|cursor)=[0-9a-z%:-]{0,22})?";
    let method = proptest::sample::select(vec!["GET", "PUT", "POST", "PATCH", "DELETE"]);
    let field = (proptest::sample::select(names.to_vec()), proptest::collection::vec(any::<u8>(), 0..30));
    for (method, path, (name, value)) in inputs(&(method, path, field), 3_000) {
        let Ok(value) = axum::http::HeaderValue::from_bytes(&value) else { continue };
        let request = axum::http::Request::builder().method(method).uri(&path).header(name, value.clone());
        let Ok(request) = request.body(axum::body::Body::from("x")) else { continue };
        let response = gateway.response(request).await;
        let (parts, body) = response.into_parts();
        // A stream does not end.
        let is_stream = parts.status == 200 && path.contains("/stream");
        let body = if is_stream { Default::default() } else { axum::body::to_bytes(body, 1 << 20).await.unwrap() };
        let answer = super::Answer { status: parts.status, headers: parts.headers, body };
        assert_answered(&format!("{method} {path} {name}: {value:?}"), &answer);
    }
    gateway.close().await;
}

#[tokio::test]
async fn deep_nesting_is_refused_or_kept() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let deep = "[".repeat(100_000);
    let answer = gateway.send("PUT", "/v1/topics/u", &[("content-type", "application/json")], deep.clone()).await;
    answer.expect_problem(400, "invalid");
    let body = format!("{{\"messages\":[{{\"value\":{deep}{}}}]}}", "]".repeat(100_000));
    let answer = gateway.send("POST", "/v1/topics/t/messages:batch", &[], body).await;
    assert_answered("a deep value", &answer);
    gateway.close().await;
}
