use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::Gateway;

#[tokio::test]
async fn a_message_comes_back_as_it_was_published() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let fields = [
        ("content-type", "image/png"),
        ("tidegate-key", "k"),
        ("tidegate-timestamp", "2026-01-02T03:04:05.678Z"),
        ("tidegate-ttl", "30s"),
        ("tidegate-priority", "9"),
        ("tidegate-correlation-id", "c-1"),
        ("tidegate-header-colour", "red"),
        ("ce-id", "1%202"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let published = gateway.send("POST", "/v1/topics/t/messages", &fields, vec![0, 255, 1]).await;
    let result = published.expect(201);
    assert_eq!(
        result,
        json!({"id": "0-0", "topic": "t", "partition": 0, "offset": 0, "timestamp": "2026-01-02T03:04:05.678Z",
            "durability": "fsync", "duplicate": false})
    );
    let location = published.headers["location"].to_str().unwrap();
    assert_eq!(location, "/v1/topics/t/messages/0-0");
    let raw = gateway.get(location).await;
    assert_eq!((raw.status.as_u16(), &raw.body[..]), (200, &[0, 255, 1][..]));
    for (name, value) in fields {
        assert_eq!(raw.headers[name], value, "{name}");
    }
    assert_eq!(
        (&raw.headers["tidegate-offset"], &raw.headers["x-content-type-options"]),
        (&"0".parse().unwrap(), &"nosniff".parse().unwrap())
    );

    let shown = gateway.send("GET", location, &[("accept", "application/json")], "").await.expect(200);
    assert_eq!(shown["base64"], BASE64_STANDARD.encode([0, 255, 1]));
    assert_eq!((&shown["key"], &shown["ttl"], &shown["priority"]), (&json!("k"), &json!("30s"), &json!(9)));
    let names: Vec<_> = shown["headers"].as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"ce_id") && names.contains(&"colour") && names.contains(&"traceparent"), "{names:?}");
    gateway.close().await;
}

#[tokio::test]
async fn an_idempotency_key_stores_once() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"partitions": 4})).await.expect(201);
    let key = [("idempotency-key", "order-1")];
    let first = gateway.send("POST", "/v1/topics/t/messages", &key, "body").await;
    let again = gateway.send("POST", "/v1/topics/t/messages", &key, "body").await;
    let (mut result, repeated) = (first.expect(201), again.expect(201));
    assert_eq!(
        (first.headers.get("idempotent-replayed"), &again.headers["idempotent-replayed"]),
        (None, &"true".parse().unwrap())
    );
    assert_eq!(first.headers["location"], again.headers["location"]);
    result["duplicate"] = json!(true);
    assert_eq!(result, repeated);
    gateway.send("POST", "/v1/topics/t/messages", &key, "other").await.expect_problem(422, "idempotency_key_reused");
    let other = [("idempotency-key", "order-1"), ("tidegate-priority", "1")];
    gateway.send("POST", "/v1/topics/t/messages", &other, "body").await.expect_problem(422, "idempotency_key_reused");
    gateway.close().await;
}

#[tokio::test]
async fn keys_and_partitions_place() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"partitions": 8})).await.expect(201);
    let path = "/v1/topics/t/messages";
    let by_key = gateway.send("POST", path, &[("tidegate-key", "a")], "1").await.expect(201);
    let same = gateway.send("POST", path, &[("tidegate-key", "a")], "2").await.expect(201);
    assert_eq!(by_key["partition"], same["partition"]);
    assert_eq!(gateway.send("POST", path, &[("tidegate-partition", "7")], "3").await.expect(201)["partition"], 7);
    gateway.send("POST", path, &[("tidegate-partition", "8")], "4").await.expect_problem(404, "not_found");
    gateway.send("POST", "/v1/topics/none/messages", &[], "5").await.expect_problem(404, "not_found");
    let found = gateway.get("/v1/topics/t/messages?key=a").await.expect(200);
    let bodies: Vec<_> = found["messages"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["1", "2"]);
    gateway.get("/v1/topics/t/messages").await.expect_problem(400, "invalid");
    gateway.close().await;
}

#[tokio::test]
async fn a_batch_has_a_result_for_each() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"partitions": 2, "max_message_bytes": 1000})).await.expect(201);
    let messages = json!([
        {"text": "a", "partition": 0},
        {"text": "b", "partition": 1},
        {"base64": "?"},
        {"text": "c", "partition": 0},
        {"text": "x".repeat(2000), "partition": 0},
        {"value": {"n": 1}, "partition": 0, "idempotency_key": "d"},
        {"value": null, "key": "gone", "partition": 0},
        {"text": "e", "partition": 9},
        {"text": "f", "partition": 0, "priority": "high"},
    ]);
    let answer = gateway.json("POST", "/v1/topics/t/messages:batch", json!({"messages": messages})).await.expect(207);
    let results = answer["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 400, 201, 413, 201, 201, 404, 400]);
    let offsets: Vec<_> = results.iter().filter_map(|result| result["offset"].as_u64()).collect();
    assert_eq!(offsets, [0, 0, 1, 2, 3]);
    let page = gateway.get("/v1/topics/t/messages?partition=0").await.expect(200);
    assert_eq!(page["messages"][2]["value"], json!({"n": 1}));
    assert_eq!(page["messages"][3]["value"], Value::Null);
    assert!(page["messages"][3].as_object().unwrap().contains_key("value"));
    gateway.close().await;
}

#[tokio::test]
async fn a_batch_larger_than_a_message_may_be_is_split() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"max_message_bytes": 1000})).await.expect(201);
    let messages: Vec<_> = (0..50).map(|n| json!({"text": format!("{n:0100}")})).collect();
    let answer = gateway.json("POST", "/v1/topics/t/messages:batch", json!({"messages": messages})).await.expect(200);
    let offsets: Vec<_> = answer["results"].as_array().unwrap().iter().map(|r| r["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>());
    let page = gateway.get("/v1/topics/t/messages?limit=20&offset=15").await.expect(200);
    assert_eq!(page["messages"][0]["text"], format!("{:0100}", 15));
    assert_eq!((&page["next_offset"], &page["latest"]), (&json!(35), &json!(50)));
    gateway.close().await;
}

#[tokio::test]
async fn an_atomic_batch_is_all_or_nothing() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"partitions": 2, "max_message_bytes": 1000})).await.expect(201);
    let path = "/v1/topics/t/messages:batch";
    let batch = |second: Value| json!({"atomic": true, "messages": [{"text": "a", "partition": 0}, second]});
    for (second, status, code) in [
        (json!({"text": "b", "partition": 7}), 404, "not_found"),
        (json!({"text": "x".repeat(2000), "partition": 1}), 413, "too_large"),
        (json!({"txt": "b"}), 400, "invalid"),
    ] {
        gateway.json("POST", path, batch(second)).await.expect_problem(status, code);
    }
    assert_eq!(gateway.get("/v1/topics/t").await.expect(200)["offsets"][0]["latest"], 0);
    let stored = gateway.json("POST", path, batch(json!({"text": "b", "partition": 1}))).await.expect(200);
    assert_eq!(stored["results"][1]["partition"], 1);
    gateway.close().await;
}

#[tokio::test]
async fn a_batch_of_nothing_but_mistakes_creates_no_topic() {
    let gateway = Gateway::new();
    let creating = crate::broker::Settings { auto_create_topics: true, partitions: 1, ..Default::default() };
    gateway.http.broker.set_settings(creating);
    let path = "/v1/topics/t/messages:batch";
    gateway.json("POST", path, json!({"messages": [{"txt": "b"}]})).await.expect_problem(404, "not_found");
    gateway.json("POST", path, json!({"messages": []})).await.expect_problem(404, "not_found");
    gateway.json("POST", path, json!({"atomic": true, "messages": [{"text": "a"}, {"txt": "b"}]})).await.expect(400);
    gateway.get("/v1/topics/t").await.expect(404);
    gateway.json("POST", path, json!({"messages": [{"text": "a"}, {"txt": "b"}]})).await.expect(207);
    gateway.get("/v1/topics/t").await.expect(200);
    let raw = gateway.get("/v1/topics/t/messages/0-0").await;
    assert_eq!(raw.headers["content-type"], "application/octet-stream");
    gateway.close().await;
}

#[tokio::test]
async fn a_batch_repeated_under_its_key_is_stored_once() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"partitions": 3})).await.expect(201);
    let batch =
        json!({"messages": [{"text": "a"}, {"text": "b", "key": "k"}, {"text": "c", "partition": 2}]}).to_string();
    let fields = [("idempotency-key", "b1"), ("content-type", "application/json")];
    let first = gateway.send("POST", "/v1/topics/t/messages:batch", &fields, batch.clone()).await.expect(200);
    let again = gateway.send("POST", "/v1/topics/t/messages:batch", &fields, batch).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    let ids = |answer: &Value| -> Vec<Value> {
        answer["results"].as_array().unwrap().iter().map(|result| result["id"].clone()).collect()
    };
    assert_eq!(ids(&first), ids(&again.expect(200)));
    let other =
        json!({"messages": [{"text": "z"}, {"text": "b", "key": "k"}, {"text": "c", "partition": 2}]}).to_string();
    let mixed = gateway.send("POST", "/v1/topics/t/messages:batch", &fields, other).await.expect(207);
    assert_eq!(mixed["results"][0]["error"]["code"], "idempotency_key_reused");
    gateway.close().await;
}

#[tokio::test]
async fn cloud_events_come_in_batches() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    let event =
        json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "partitionkey": "k", "data": {"a": 1}});
    let body = json!([event, {"id": "2"}]).to_string();
    let fields = [("content-type", "application/cloudevents-batch+json; charset=utf-8")];
    let answer = gateway.send("POST", "/v1/topics/t/messages:batch", &fields, body).await.expect(207);
    assert_eq!((&answer["results"][0]["status"], &answer["results"][1]["status"]), (&json!(201), &json!(400)));
    let message = gateway.get("/v1/topics/t/messages").await.expect(200)["messages"][0].clone();
    assert_eq!((&message["value"], &message["key"]), (&event, &json!("k")));
    assert_eq!(message["content_type"], "application/cloudevents+json");
    gateway.close().await;
}

#[tokio::test]
async fn a_delayed_message_has_no_offset_yet() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    let answer = gateway.send("POST", "/v1/topics/t/messages", &[("tidegate-delay", "1h")], "later").await;
    let result = answer.expect(201);
    assert_eq!((&result["id"], &result["offset"], answer.headers.get("location")), (&json!(null), &json!(null), None));
    assert_eq!(gateway.get("/v1/topics/t/messages").await.expect(200)["messages"], json!([]));
    gateway.close().await;
}

#[tokio::test]
async fn browsing_changes_nothing_and_says_when_nothing_changed() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    for n in 0..3 {
        let at = format!("2026-01-01T00:00:0{n}Z");
        gateway.send("POST", "/v1/topics/t/messages", &[("tidegate-timestamp", &at)], format!("{n}")).await.expect(201);
    }
    let path = "/v1/topics/t/messages?timestamp=2026-01-01T00:00:01Z";
    let page = gateway.get(path).await;
    assert_eq!(page.expect(200)["messages"].as_array().unwrap().len(), 2);
    let tag = page.headers["etag"].to_str().unwrap();
    let again = gateway.send("GET", path, &[("if-none-match", tag)], "").await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    gateway.publish("t", "3").await;
    gateway.send("GET", path, &[("if-none-match", tag)], "").await.expect(200);
    let lines = gateway.send("GET", path, &[("accept", "application/x-ndjson")], "").await;
    assert_eq!(lines.body.iter().filter(|byte| **byte == b'\n').count(), 3);
    gateway.send("GET", path, &[("accept", "text/html")], "").await.expect_problem(406, "not_acceptable");
    gateway.get("/v1/topics/t/messages?offset=9").await.expect_problem(416, "out_of_range");
    gateway.get("/v1/topics/t/messages?offset=1&timestamp=1").await.expect_problem(400, "invalid");
    gateway.get("/v1/topics/t/messages/0-9").await.expect_problem(404, "not_found");
    gateway.get("/v1/topics/t/messages/nine").await.expect_problem(404, "not_found");
    gateway.close().await;
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let gateway =
        Gateway::with(crate::http::Config { max_body_bytes: 100, max_batch_messages: 2, ..Default::default() });
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    gateway.send("POST", "/v1/topics/t/messages", &[], "x".repeat(100)).await.expect(201);
    gateway.send("POST", "/v1/topics/t/messages", &[], "x".repeat(101)).await.expect_problem(413, "too_large");
    let batch = json!({"messages": [{"text": ""}, {"text": ""}, {"text": ""}]});
    gateway.json("POST", "/v1/topics/t/messages:batch", batch).await.expect_problem(413, "too_large");
    gateway
        .send("POST", "/v1/topics/t/messages:batch", &[("content-type", "text/csv")], "a")
        .await
        .expect_problem(415, "unsupported_media_type");
    gateway.close().await;
}

#[tokio::test]
async fn nothing_of_a_publish_is_passed_over() {
    let gateway = Gateway::new();
    let null = gateway.send("POST", "/v1/topics/t/messages", &[("tidegate-null-header-a", "b")], "x").await;
    null.expect_problem(400, "invalid");
    let keys = [("idempotency-key", "a"), ("idempotency-key", "b")];
    let twice = gateway.send("POST", "/v1/topics/t/messages:batch", &keys, r#"{"messages":[{"text":"a"}]}"#).await;
    twice.expect_problem(400, "invalid");
    gateway.close().await;
}

#[tokio::test]
async fn an_array_is_no_object() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!([2, null, null, null, null])).await.expect_problem(400, "invalid");
    let batch = "/v1/topics/t/messages:batch";
    gateway.json("POST", batch, json!([[{"text": "a"}], false])).await.expect_problem(400, "invalid");
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    let message: Vec<_> = std::iter::repeat_n(json!(null), 3).chain([json!("text")]).collect();
    let results = gateway.json("POST", batch, json!({"messages": [message]})).await.expect(207);
    let detail = results["results"][0]["error"]["detail"].as_str().unwrap();
    assert!(detail.contains("an object"), "{detail}");
    gateway.close().await;
}
