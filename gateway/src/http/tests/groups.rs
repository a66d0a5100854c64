use serde_json::{Value, json};

use super::Gateway;

fn ack_ids(pulled: &Value) -> Vec<String> {
    pulled["messages"].as_array().unwrap().iter().map(|m| m["ack_id"].as_str().unwrap().to_owned()).collect()
}

fn texts(pulled: &Value) -> Vec<String> {
    pulled["messages"].as_array().unwrap().iter().map(|m| m["text"].as_str().unwrap().to_owned()).collect()
}

async fn pull(gateway: &Gateway, body: Value) -> Value {
    gateway.json("POST", "/v1/groups/g:pull", body).await.expect(200)
}

#[tokio::test]
async fn a_group_is_created_once_and_changed() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    gateway.send("PUT", "/v1/topics/dead", &[], "").await.expect(201);
    let body = json!({"topics": ["t"], "mode": "ordered-by-key", "start": "2026-01-01T00:00:00Z", "ack_deadline": "1m",
        "max_deliveries": 5, "retry": {"min": "1s", "max": "1m", "multiplier": 3}, "dead_letter": "dead", "max_in_flight": 10});
    let created = gateway.json("PUT", "/v1/groups/g%2F1", body.clone()).await;
    let mut group = created.expect(201);
    assert_eq!(created.headers["location"], "/v1/groups/g%2F1");
    let shown = group.as_object_mut().unwrap();
    assert_eq!(
        (shown.remove("name"), shown.remove("in_flight"), shown.remove("delayed")),
        (Some(json!("g/1")), Some(json!(0)), Some(json!(0)))
    );
    let mut expected = body.clone();
    expected["retry"]["multiplier"] = json!(3.0);
    assert_eq!(group, expected);
    gateway.json("PUT", "/v1/groups/g%2F1", body).await.expect(200);
    gateway.json("PUT", "/v1/groups/g%2F1", json!({"ack_deadline": "2m"})).await.expect_problem(409, "already_exists");
    let changed = gateway
        .json("PATCH", "/v1/groups/g%2F1", json!({"max_deliveries": null, "dead_letter": null}))
        .await
        .expect(200);
    assert_eq!((&changed["max_deliveries"], &changed["ack_deadline"]), (&json!(null), &json!("1m")));
    assert_eq!(gateway.get("/v1/groups").await.expect(200)["groups"][0]["name"], "g/1");
    gateway.send("DELETE", "/v1/groups/g%2F1", &[], "").await.expect(204);
    gateway.get("/v1/groups/g%2F1").await.expect_problem(404, "not_found");
    for (body, status) in [
        (json!({}), 400),
        (json!({"topics": []}), 400),
        (json!({"topics": ["none"]}), 404),
        (json!({"topics": ["t"], "dead_letter": "none"}), 404),
        (json!({"topics": ["t"], "retry": {"multiplier": 0.5}}), 400),
        (json!({"topics": ["t"], "start": "sometime"}), 400),
        (json!({"topics": ["t", "t"]}), 400),
        (json!({"topics": ["t"], "ack_deadline": "0s"}), 400),
        (json!({"topics": ["t"], "max_deliveries": 0}), 400),
        (json!({"topics": ["t"], "max_in_flight": 0}), 400),
        (json!({"topics": ["t"], "dead_letter": "t"}), 400),
        (json!({"topics": ["t"], "push": {"url": "http://localhost"}}), 400),
    ] {
        assert_eq!(gateway.json("PUT", "/v1/groups/h", body.clone()).await.status.as_u16(), status, "{body}");
    }
    gateway.close().await;
}

#[tokio::test]
async fn messages_are_leased_and_acknowledged() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    for body in ["a", "b", "c"] {
        gateway.publish("t", body).await;
    }
    let pulled = pull(&gateway, json!({"max_messages": 2})).await;
    assert_eq!(
        (texts(&pulled), &pulled["messages"][0]["delivery_attempt"]),
        (vec!["a".to_owned(), "b".to_owned()], &json!(1))
    );
    assert_eq!(texts(&pull(&gateway, json!({})).await), ["c"]);
    let ids = ack_ids(&pulled);
    let acked = gateway.json("POST", "/v1/groups/g:ack", json!({"ack_ids": ids})).await.expect(200);
    assert_eq!(acked["results"][0], json!({"ack_id": ids[0], "status": 200}));
    let again = gateway.json("POST", "/v1/groups/g:ack", json!({"ack_ids": [ids[0], "made up"]})).await.expect(207);
    assert_eq!(again["results"][0]["error"]["code"], "lease_gone");
    assert_eq!(
        (&again["results"][1]["status"], &again["results"][1]["error"]["code"]),
        (&json!(400), &json!("invalid"))
    );
    let lag = gateway.get("/v1/groups/g/lag").await.expect(200);
    assert_eq!((&lag["messages"], &lag["partitions"][0]["committed"]), (&json!(1), &json!(2)));
    assert!(lag["oldest_age"].is_string(), "{lag}");
    gateway.close().await;
}

#[tokio::test]
async fn an_ack_id_is_of_one_group() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.json("PUT", "/v1/groups/h", json!({"topics": ["t"]})).await.expect(201);
    gateway.publish("t", "a").await;
    let ids = ack_ids(&pull(&gateway, json!({})).await);
    let foreign = gateway.json("POST", "/v1/groups/h:ack", json!({"ack_ids": ids})).await.expect(207);
    assert_eq!(foreign["results"][0]["status"], 400);
    gateway.close().await;
}

#[tokio::test]
async fn failed_messages_come_again_and_then_go_to_the_dead() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    gateway.send("PUT", "/v1/topics/dead", &[], "").await.expect(201);
    let group = json!({"topics": ["t"], "max_deliveries": 2, "dead_letter": "dead"});
    gateway.json("PUT", "/v1/groups/g", group).await.expect(201);
    gateway.publish("t", "poison").await;
    let first = pull(&gateway, json!({})).await;
    let released = json!({"ack_ids": ack_ids(&first), "count_attempt": false});
    gateway.json("POST", "/v1/groups/g:nack", released).await.expect(200);
    let mut ids = ack_ids(&pull(&gateway, json!({"wait": "10s"})).await);
    for attempt in [1, 2] {
        let body = json!({"nacks": [{"ack_ids": ids, "reason": "does not parse", "delay": "0s"}], "wait": if attempt == 1 { "10s" } else { "0s" }});
        let next = pull(&gateway, body).await;
        assert_eq!(next["results"][0]["status"], 200);
        if attempt == 1 {
            assert_eq!(next["messages"][0]["delivery_attempt"], 2);
        }
        ids = ack_ids(&next);
    }
    assert!(ids.is_empty());
    // Burying goes on behind the answer.
    let dead = loop {
        let page = gateway.get("/v1/topics/dead/messages").await.expect(200);
        match page["messages"].get(0) {
            Some(dead) => break dead.clone(),
            None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
        }
    };
    assert_eq!(dead["text"], "poison");
    assert_eq!(dead["dead_letter"]["reason"], "does not parse");
    assert_eq!((&dead["dead_letter"]["topic"], &dead["dead_letter"]["offset"]), (&json!("t"), &json!(0)));
    gateway.close().await;
}

#[tokio::test]
async fn a_deadline_is_extended() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    gateway.publish("t", "a").await;
    let ids = ack_ids(&pull(&gateway, json!({"ack_deadline": "1h"})).await);
    for body in [json!({"ack_ids": ids, "ack_deadline": "2h"}), json!({"ack_ids": ids})] {
        gateway.json("POST", "/v1/groups/g:extend", body).await.expect(200);
    }
    gateway.json("POST", "/v1/groups/g:extend", json!({"ack_ids": ["x"]})).await.expect(207);
    let at_once = json!({"ack_ids": ids, "ack_deadline": "0s"});
    gateway.json("POST", "/v1/groups/g:extend", at_once).await.expect_problem(400, "invalid");
    gateway.close().await;
}

/// A group with two messages, a pull of one of them that may be repeated, and its answer.
async fn first_attempt() -> (Gateway, Value, Value) {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    for body in ["a", "b"] {
        gateway.publish("t", body).await;
    }
    let attempt = json!({"attempt_id": "1", "max_messages": 1});
    let first = pull(&gateway, attempt.clone()).await;
    (gateway, attempt, first)
}

#[tokio::test]
async fn an_attempt_repeated_gets_the_same_messages() {
    let (gateway, attempt, first) = first_attempt().await;
    let again = gateway.json("POST", "/v1/groups/g:pull", attempt).await;
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(again.expect(200), first);
    let next = pull(&gateway, json!({"attempt_id": "2", "acks": ack_ids(&first)})).await;
    assert_eq!((texts(&next), &next["results"][0]["status"]), (vec!["b".to_owned()], &json!(200)));
    let other = json!({"attempt_id": "2", "acks": ack_ids(&next)});
    gateway.json("POST", "/v1/groups/g:pull", other).await.expect_problem(422, "attempt_id_reused");
    gateway.close().await;
}

#[tokio::test]
async fn an_attempt_whose_messages_are_done_is_not_repeated() {
    let (gateway, attempt, first) = first_attempt().await;
    gateway.json("POST", "/v1/groups/g:ack", json!({"ack_ids": ack_ids(&first)})).await.expect(200);
    assert_eq!(texts(&pull(&gateway, attempt.clone()).await), ["b"]);
    gateway.send("DELETE", "/v1/groups/g", &[], "").await.expect(204);
    gateway.json("POST", "/v1/groups/g:pull", attempt.clone()).await.expect_problem(404, "not_found");
    gateway.json("PUT", "/v1/groups/g", json!({"topics": ["t"]})).await.expect(201);
    assert_eq!(texts(&pull(&gateway, attempt).await), ["a"]);
    gateway.close().await;
}

#[tokio::test]
async fn a_pull_waits_for_a_message() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let waiting = pull(&gateway, json!({"wait": "30s"}));
    let (pulled, _) = tokio::join!(waiting, gateway.publish("t", "a"));
    assert_eq!(texts(&pulled), ["a"]);
    gateway.close().await;
}

#[tokio::test]
async fn a_drain_ends_a_waiting_pull() {
    let gateway = Gateway::new();
    gateway.topic_and_group(1).await;
    let drain = gateway.drain.clone();
    let waiting = pull(&gateway, json!({"wait": "30s"}));
    let (pulled, _) = tokio::join!(waiting, drain.finish(std::time::Duration::ZERO));
    assert_eq!(texts(&pulled).len(), 0);
    gateway.close().await;
}

#[tokio::test]
async fn a_group_is_moved() {
    let gateway = Gateway::new();
    gateway.topic_and_group(2).await;
    for n in 0..4 {
        let fields = [("tidegate-partition", "1"), ("tidegate-timestamp", &*format!("2026-01-01T00:00:0{n}Z"))];
        gateway.send("POST", "/v1/topics/t/messages", &fields, format!("{n}")).await.expect(201);
    }
    let seek = async |body: Value| gateway.json("POST", "/v1/groups/g:seek", body).await;
    let sought = seek(json!({"to": "latest"})).await.expect(200);
    assert_eq!(sought["positions"][1], json!({"topic": "t", "partition": 1, "offset": 4}));
    assert!(texts(&pull(&gateway, json!({})).await).is_empty());
    seek(json!({"to": "2026-01-01T00:00:02Z", "topics": ["t"]})).await.expect(200);
    assert_eq!(texts(&pull(&gateway, json!({})).await), ["2", "3"]);
    seek(json!({"offsets": [{"topic": "t", "partition": 1, "offset": 3}]})).await.expect(200);
    assert_eq!(texts(&pull(&gateway, json!({})).await), ["3"]);
    seek(json!({"to": "earliest"})).await.expect(200);
    assert_eq!(texts(&pull(&gateway, json!({})).await).len(), 4);
    for (body, status) in [
        (json!({}), 400),
        (json!({"to": "later"}), 400),
        (json!({"to": "latest", "topics": ["other"]}), 400),
        (json!({"to": "latest", "offsets": []}), 400),
        (json!({"offsets": [{"topic": "other", "partition": 0, "offset": 0}]}), 400),
        (json!({"offsets": [{"topic": "t", "partition": 2, "offset": 0}]}), 404),
        (json!({"offsets": [{"topic": "t", "partition": 1, "offset": 5}]}), 416),
    ] {
        assert_eq!(seek(body.clone()).await.status.as_u16(), status, "{body}");
    }
    gateway.close().await;
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let gateway = Gateway::new();
    for action in ["pull", "ack", "nack", "extend", "seek"] {
        let body = match action {
            "pull" => json!({}),
            "seek" => json!({"to": "latest"}),
            _ => json!({"ack_ids": []}),
        };
        let path = format!("/v1/groups/none:{action}");
        gateway.json("POST", &path, body).await.expect_problem(404, "not_found");
    }
    gateway.get("/v1/groups/none/lag").await.expect_problem(404, "not_found");
    gateway.get("/v1/groups/none/stream").await.expect_problem(404, "not_found");
    gateway.close().await;
}
