use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::Gateway;
use crate::http::Config;

/// A stream being read event by event.
struct Events {
    body: BodyDataStream,
    pending: String,
}

#[derive(Debug, Default, PartialEq)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

impl Events {
    async fn open(gateway: &Gateway, path: &str, last: Option<&str>) -> Self {
        let mut request = Request::builder().uri(path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = gateway.response(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status().as_u16(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), pending: String::new() }
    }

    /// The next event or comment; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.pending.split_once("\n\n") {
                let block = block.to_owned();
                self.pending = rest.to_owned();
                return Some(block);
            }
            let chunk = self.body.next().await?.unwrap();
            self.pending.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn next(&mut self) -> Event {
        let mut event = Event::default();
        for line in self.block().await.expect("the stream ended").lines() {
            match line.split_once(": ").unwrap() {
                ("event", name) => event.name = name.to_owned(),
                ("id", id) => event.id = id.to_owned(),
                ("data", data) => event.data = serde_json::from_str(data).unwrap(),
                other => panic!("what is {other:?}?"),
            }
        }
        event
    }

    async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(self.next().await.data["text"].as_str().unwrap().to_owned());
        }
        texts
    }
}

#[tokio::test]
async fn a_topic_is_followed_and_resumed() {
    let gateway = Gateway::new();
    gateway.json("PUT", "/v1/topics/t", json!({"partitions": 2})).await.expect(201);
    let publish = async |partition: &str, text: &str| {
        let fields = [("tidegate-partition", partition)];
        gateway.send("POST", "/v1/topics/t/messages", &fields, text.to_owned()).await.expect(201);
    };
    publish("0", "before").await;
    let mut latest = Events::open(&gateway, "/v1/topics/t/stream", None).await;
    publish("0", "a").await;
    publish("1", "b").await;
    let (first, second) = (latest.next().await, latest.next().await);
    assert_eq!((&first.data["text"], &second.data["text"]), (&json!("a"), &json!("b")));
    publish("1", "c").await;
    let mut resumed = Events::open(&gateway, "/v1/topics/t/stream", Some(&first.id)).await;
    assert_eq!(resumed.texts(2).await, ["b", "c"]);
    let mut all = Events::open(&gateway, "/v1/topics/t/stream?from=earliest&partition=0", None).await;
    assert_eq!(all.texts(2).await, ["before", "a"]);
    let mut one = Events::open(&gateway, "/v1/topics/t/stream?from=1&partition=0", None).await;
    assert_eq!(one.texts(1).await, ["a"]);
    for query in ["from=1", "from=never", "cursor=x", "partition=x"] {
        gateway.get(&format!("/v1/topics/t/stream?{query}")).await.expect_problem(400, "invalid");
    }
    gateway.get("/v1/topics/t/stream?partition=2").await.expect_problem(404, "not_found");
    gateway.close().await;
}

#[tokio::test]
async fn lines_carry_their_cursor() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish("t", "a").await;
    gateway.publish("t", "b").await;
    let request = Request::builder().uri("/v1/topics/t/stream?from=earliest").header("accept", "application/x-ndjson");
    let response = gateway.response(request.body(Body::empty()).unwrap()).await;
    let mut body = response.into_body().into_data_stream();
    let chunk = body.next().await.unwrap().unwrap();
    let line: Value = serde_json::from_slice(chunk.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(line["text"], "a");
    let path = format!("/v1/topics/t/stream?cursor={}", line["cursor"].as_str().unwrap());
    assert_eq!(Events::open(&gateway, &path, None).await.texts(1).await, ["b"]);
    gateway.close().await;
}

#[tokio::test]
async fn a_group_streams_no_more_than_its_consumer_may_hold() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    for text in ["a", "b", "c"] {
        gateway.publish("t", text).await;
    }
    let mut events = Events::open(&gateway, "/v1/groups/g/stream?max_in_flight=2&ack_deadline=1h", None).await;
    let (first, _second) = (events.next().await, events.next().await);
    assert_eq!(first.data["delivery_attempt"], 1);
    let next = events.next();
    tokio::pin!(next);
    // One turn of the executor: the stream has nothing to say until something is settled.
    assert!(futures_util::poll!(next.as_mut()).is_pending());
    let ack = json!({"ack_ids": [first.data["ack_id"]]});
    gateway.json("POST", "/v1/groups/g:ack", ack).await.expect(200);
    assert_eq!(next.await.data["text"], "c");
    gateway.close().await;
}

#[tokio::test]
async fn what_a_broken_stream_did_not_deliver_comes_again() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    for text in ["a", "b", "c"] {
        gateway.publish("t", text).await;
    }
    let path = "/v1/groups/g/stream?ack_deadline=1h";
    let mut events = Events::open(&gateway, path, None).await;
    let first = events.next().await;
    drop(events);
    let mut resumed = Events::open(&gateway, path, Some(&first.id)).await;
    assert_eq!(resumed.texts(2).await, ["b", "c"]);
    // What was received before the break can still be settled.
    let ack = json!({"ack_ids": [first.data["ack_id"]]});
    gateway.json("POST", "/v1/groups/g:ack", ack).await.expect(200);
    gateway.send("GET", path, &[("last-event-id", "made-up")], "").await.expect_problem(400, "invalid");
    gateway.close().await;
}

#[tokio::test]
async fn a_silent_stream_gives_a_sign_of_life_and_a_drain_ends_it() {
    let gateway = Gateway::with(Config { heartbeat: Duration::from_millis(1), ..Config::default() });
    gateway.topic_and_group(1).await;
    for path in ["/v1/topics/t/stream", "/v1/groups/g/stream"] {
        let mut events = Events::open(&gateway, path, None).await;
        assert_eq!(events.block().await.unwrap(), ": heartbeat");
    }
    let mut events = Events::open(&gateway, "/v1/groups/g/stream", None).await;
    gateway.drain.finish(Duration::ZERO).await;
    assert_eq!(events.next().await.name, "drain");
    assert_eq!(events.block().await, None);
    gateway.close().await;
}

#[tokio::test]
async fn a_stream_of_what_is_gone_says_so() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let mut topic = Events::open(&gateway, "/v1/topics/t/stream", None).await;
    let mut group = Events::open(&gateway, "/v1/groups/g/stream", None).await;
    gateway.send("DELETE", "/v1/groups/g", &[], "").await.expect(204);
    gateway.send("DELETE", "/v1/topics/t", &[], "").await.expect(204);
    for events in [&mut topic, &mut group] {
        let last = events.next().await;
        assert_eq!((last.name.as_str(), &last.data["code"]), ("error", &json!("not_found")));
        assert_eq!(events.block().await, None);
    }
    gateway.close().await;
}

#[tokio::test]
async fn streams_have_a_limit() {
    let gateway = Gateway::with(Config { max_streams: 1, ..Config::default() });
    gateway.topic_and_group(1).await;
    let first = Events::open(&gateway, "/v1/topics/t/stream", None).await;
    gateway.get("/v1/groups/g/stream").await.expect_problem(429, "throttled");
    assert_eq!(gateway.http.metrics().streams(), 1);
    drop(first);
    Events::open(&gateway, "/v1/groups/g/stream", None).await;
    gateway.close().await;
}

#[tokio::test]
async fn a_stream_does_not_begin_behind_the_end() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish("t", "a").await;
    gateway.get("/v1/topics/t/stream?from=2").await.expect_problem(416, "out_of_range");
    // One ahead of what is there, as after the topic was made anew.
    gateway.get("/v1/topics/t/stream?cursor=AQI").await.expect_problem(416, "out_of_range");
    gateway.close().await;
}
