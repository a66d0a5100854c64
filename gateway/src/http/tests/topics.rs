use serde_json::json;

use super::Gateway;

#[tokio::test]
async fn a_topic_is_created_once_and_changed() {
    let gateway = Gateway::new();
    let body = json!({"partitions": 3, "retention": {"time": "1d", "bytes": "1GiB"}, "durability": "page-cache", "max_message_bytes": "2MiB"});
    let created = gateway.json("PUT", "/v1/topics/orders", body.clone()).await;
    let topic = created.expect(201);
    assert_eq!(created.headers["location"], "/v1/topics/orders");
    assert_eq!((&topic["partitions"], &topic["durability"]), (&json!(3), &json!("page-cache")));
    assert_eq!(topic["retention"]["time"], "1d");
    assert_eq!((&topic["retention"]["bytes"], &topic["max_message_bytes"]), (&json!(1 << 30), &json!(2 << 20)));

    gateway.json("PUT", "/v1/topics/orders", body).await.expect(200);
    gateway.send("PUT", "/v1/topics/orders", &[], "").await.expect(200);
    gateway.json("PUT", "/v1/topics/orders", json!({"partitions": 4})).await.expect_problem(409, "already_exists");

    let changed =
        gateway.json("PATCH", "/v1/topics/orders", json!({"partitions": 5, "retention": {"time": null}})).await;
    assert_eq!(changed.expect(200)["partitions"], 5);
    let topic = gateway.get("/v1/topics/orders").await.expect(200);
    assert_eq!(topic["retention"]["time"], json!(null));
    assert_eq!(topic["retention"]["bytes"], 1 << 30);
    assert_eq!(topic["offsets"].as_array().unwrap().len(), 5);
    gateway.json("PATCH", "/v1/topics/orders", json!({"partitions": 2})).await.expect_problem(400, "invalid");

    gateway.send("DELETE", "/v1/topics/orders", &[], "").await.expect(204);
    gateway.get("/v1/topics/orders").await.expect_problem(404, "not_found");
    gateway.send("DELETE", "/v1/topics/orders", &[], "").await.expect_problem(404, "not_found");
    gateway.close().await;
}

#[tokio::test]
async fn names_are_percent_decoded_and_checked() {
    let gateway = Gateway::new();
    for (path, name) in [("a%2Fb", "a/b"), ("a:b", "a:b"), ("%C3%A9", "é"), ("x%20y", "x y"), ("messages", "messages")]
    {
        let created = gateway.send("PUT", &format!("/v1/topics/{path}"), &[], "").await;
        assert_eq!(created.expect(201)["name"], name);
        let location = created.headers["location"].to_str().unwrap().to_owned();
        assert_eq!(gateway.get(&location).await.expect(200)["name"], name);
        let published = gateway.send("POST", &format!("{location}/messages"), &[], "x").await;
        published.expect(201);
        assert_eq!(gateway.get(published.headers["location"].to_str().unwrap()).await.expect(200), json!(null));
    }
    for path in ["%00", "a%0Ab", "..", "%2E%2E", ".", &"x".repeat(256)] {
        gateway.send("PUT", &format!("/v1/topics/{path}"), &[], "").await.expect_problem(400, "invalid");
    }
    gateway.send("PUT", "/v1/topics/%FF", &[], "").await.expect_problem(400, "invalid");
    gateway.send("PUT", "/v1/topics/__consumer_offsets", &[], "").await.expect_problem(403, "forbidden");
    gateway.close().await;
}

#[tokio::test]
async fn topics_are_listed_in_pages() {
    let gateway = Gateway::new();
    for name in ["b", "a", "c"] {
        gateway.send("PUT", &format!("/v1/topics/{name}"), &[], "").await.expect(201);
    }
    let page = gateway.get("/v1/topics?limit=2").await.expect(200);
    let names = |page: &serde_json::Value| -> Vec<String> {
        page["topics"].as_array().unwrap().iter().map(|topic| topic["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&page), ["a", "b"]);
    let next = format!("/v1/topics?limit=2&cursor={}", page["next_cursor"].as_str().unwrap());
    let page = gateway.get(&next).await.expect(200);
    assert_eq!((names(&page), &page["next_cursor"]), (vec!["c".to_owned()], &json!(null)));
    for query in ["limit=0", "limit=-1", "limit=x", "cursor=?", "colour=red"] {
        gateway.get(&format!("/v1/topics?{query}")).await.expect_problem(400, "invalid");
    }
    gateway.close().await;
}

#[tokio::test]
async fn a_namespace_is_ones_own() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/namespaces/default/topics/t", &[], "").await.expect(201);
    assert_eq!(gateway.get("/v1/topics/t").await.expect(200)["name"], "t");
    for (method, path) in [("GET", "topics"), ("PUT", "topics/t"), ("GET", "groups/g"), ("POST", "groups/g:pull")] {
        let path = format!("/v1/namespaces/other/{path}");
        gateway.send(method, &path, &[], "").await.expect_problem(403, "forbidden");
    }
    gateway.close().await;
}

#[tokio::test]
async fn settings_are_checked() {
    let gateway = Gateway::new();
    for body in [
        json!({"partitions": 0}),
        json!({"partitions": -1}),
        json!({"partitions": "many"}),
        json!({"durability": "maybe"}),
        json!({"retention": {"time": 7}}),
        json!({"retention": {"time": "7 days"}}),
        json!({"retention": {"forever": true}}),
        json!({"max_message_bytes": "1GB", "colour": "red"}),
        json!({"max_message_bytes": 4294967296_u64}),
        json!([]),
    ] {
        gateway.json("PUT", "/v1/topics/t", body).await.expect_problem(400, "invalid");
    }
    gateway.get("/v1/topics/t").await.expect_problem(404, "not_found");
    gateway.close().await;
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/topics/t", &[], "").await.expect(201);
    let body = json!({"partitions": 1_000_000, "retention": {"time": "9d"}});
    gateway.json("PATCH", "/v1/topics/t", body).await.expect_problem(400, "invalid");
    assert_eq!(gateway.get("/v1/topics/t").await.expect(200)["retention"]["time"], "7d");
    gateway.close().await;
}

#[tokio::test]
async fn conditions_are_kept() {
    let gateway = Gateway::new();
    gateway.send("PUT", "/v1/topics/t", &[("if-match", "*")], "").await.expect_problem(412, "precondition_failed");
    gateway.send("PUT", "/v1/topics/t", &[("if-none-match", "*")], "").await.expect(201);
    gateway.json("PUT", "/v1/groups/g", json!({"topics": ["t"]})).await.expect(201);
    for path in ["/v1/topics/t", "/v1/groups/g"] {
        gateway.send("PUT", path, &[("if-none-match", "*")], "").await.expect_problem(412, "precondition_failed");
        for method in ["PUT", "PATCH", "DELETE"] {
            let refused = gateway.send(method, path, &[("if-match", "\"a\"")], "").await;
            refused.expect_problem(412, "precondition_failed");
        }
        gateway.send("PATCH", path, &[("if-match", "*")], "").await.expect(200);
        gateway.send("DELETE", path, &[("if-match", "*")], "").await.expect(204);
    }
    gateway.close().await;
}
