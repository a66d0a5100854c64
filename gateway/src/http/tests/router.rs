use axum::http::Method;

use super::Gateway;
use crate::http::{Config, openapi};

/// A path of the document with names of things that are not there.
fn filled(path: &str) -> String {
    path.replace("{topic}", "none").replace("{group}", "none").replace("{id}", "0-0")
}

/// What the router says of a path that it does not know.
const UNKNOWN: [&str; 2] = ["no_route", "method_not_allowed"];

#[tokio::test]
async fn every_operation_of_the_document_has_a_route_and_no_other_method_has() {
    let gateway = Gateway::new();
    let (_, document) = openapi::routes();
    let operations = openapi::operations(&document);
    let methods = [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE];
    for path in document.paths.paths.keys() {
        for prefix in ["/v1", "/v1/namespaces/default"] {
            for method in &methods {
                let answer = gateway.send(method.as_str(), &format!("{prefix}{}", filled(path)), &[], "").await;
                let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let is_routed = !UNKNOWN.contains(&problem["code"].as_str().unwrap_or_default());
                let is_documented = operations.contains(&(method.clone(), path.clone()));
                assert_eq!(is_routed, is_documented, "{method} {path}: {problem}");
                if !is_routed {
                    assert_eq!(answer.status.as_u16(), 405, "{method} {path}");
                    let allowed = answer.headers["allow"].to_str().unwrap();
                    let mut allowed: Vec<_> = allowed.split(',').map(str::trim).filter(|of| *of != "HEAD").collect();
                    let of_path = operations.iter().filter(|(_, of)| of == path).map(|(method, _)| method.as_str());
                    let mut documented: Vec<_> = of_path.collect();
                    allowed.sort_unstable();
                    documented.sort_unstable();
                    assert_eq!(allowed, documented, "{method} {path}");
                }
            }
        }
    }
    gateway.close().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let gateway = Gateway::new();
    for (method, path, status, code) in [
        ("GET", "/", 404, "no_route"),
        ("GET", "/v1", 404, "no_route"),
        ("GET", "/v2/topics", 404, "no_route"),
        ("GET", "/v1/topics/a/b/c", 404, "no_route"),
        ("POST", "/v1/topics", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/topics", 405, "method_not_allowed"),
        ("POST", "/v1/groups/g", 405, "method_not_allowed"),
        ("POST", "/v1/groups/g:fly", 404, "not_found"),
        ("DELETE", "/openapi.json", 405, "method_not_allowed"),
    ] {
        gateway.send(method, path, &[], "").await.expect_problem(status, code);
    }
    gateway.close().await;
}

#[tokio::test]
async fn the_document_is_served() {
    let gateway = Gateway::new();
    let document = gateway.get("/openapi.json").await.expect(200);
    assert_eq!(document["openapi"].as_str().map(|version| &version[..3]), Some("3.1"));
    assert!(document["paths"]["/groups/{group}:pull"]["post"].is_object());
    gateway.close().await;
}

#[tokio::test]
async fn a_request_has_an_id() {
    let gateway = Gateway::new();
    let given = gateway.send("GET", "/v1/topics/none", &[("x-request-id", "abc-1")], "").await;
    assert_eq!(given.expect_problem(404, "not_found")["request_id"], "abc-1");
    let (one, two) = (gateway.get("/v1/topics").await, gateway.get("/v1/topics").await);
    assert_ne!(one.headers["x-request-id"], two.headers["x-request-id"]);
    let unusable = gateway.send("GET", "/v1/topics", &[("x-request-id", "a b")], "").await;
    assert_ne!(unusable.headers["x-request-id"], "a b");
    gateway.close().await;
}

#[tokio::test]
async fn requests_have_a_limit_and_are_counted() {
    let gateway = Gateway::with(Config { max_requests: 1, ..Config::default() });
    gateway.topic_and_group(1).await;
    let waiting = gateway.json("POST", "/v1/groups/g:pull", serde_json::json!({"wait": "30s"}));
    let meanwhile = async {
        let refused = gateway.get("/v1/topics").await;
        refused.expect_problem(429, "throttled");
        assert_eq!(refused.headers["retry-after"], "1");
        gateway.drain.finish(std::time::Duration::ZERO).await;
    };
    // The pull is polled first, and waits.
    let (pulled, ()) = tokio::join!(biased; waiting, meanwhile);
    pulled.expect(200);
    let metrics = gateway.http.metrics();
    let counted: Vec<_> = metrics.requests().map(|r| (r.method, r.path, r.class, r.count)).collect();
    assert!(counted.contains(&("POST", "/groups/{group}:pull", "2xx", 1)), "{counted:?}");
    assert!(counted.contains(&("GET", "/topics", "4xx", 1)), "{counted:?}");
    gateway.close().await;
}

#[tokio::test]
async fn a_page_of_another_site_is_refused() {
    let gateway = Gateway::new();
    let cross = ("sec-fetch-site", "cross-site");
    let path = "/v1/topics/t/messages";
    gateway.topic_and_group(1).await;
    gateway.send("POST", path, &[cross, ("sec-fetch-mode", "no-cors")], "x").await.expect_problem(403, "cross_site");
    gateway.send("POST", path, &[cross, ("sec-fetch-mode", "navigate")], "x").await.expect_problem(403, "cross_site");
    gateway.send("GET", "/v1/topics", &[cross, ("sec-fetch-mode", "cors")], "").await.expect_problem(403, "cross_site");
    gateway.send("GET", "/v1/topics", &[cross, ("sec-fetch-mode", "navigate")], "").await.expect(200);
    gateway.send("POST", path, &[("sec-fetch-site", "same-origin")], "x").await.expect(201);
    gateway.close().await;
}
