//! The routes, without a socket, in front of a real engine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod groups;
mod publish;
mod router;
mod streams;
mod topics;

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tidegate_engine::store::Environment;
use tidegate_engine::{Engine, EngineConfig};
use tower::ServiceExt;

use super::{Config, Http, router};
use crate::broker::{Broker, Settings};
use crate::listener::Drain;

/// A gateway on a directory of its own.
pub(super) struct Gateway {
    router: axum::Router,
    pub http: Http,
    pub drain: Drain,
    engine: Engine,
    _directory: tempfile::TempDir,
}

/// An answer, read.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Gateway {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let environment = Environment::local(directory.path()).unwrap();
        let settings = EngineConfig { segment_bytes: 4 << 20, ..EngineConfig::default() };
        let (engine, _) = Engine::open(settings, environment).unwrap();
        let broker = Broker::open(engine.clone(), Settings { partitions: 1, ..Settings::default() }).unwrap();
        let drain = Drain::default();
        let http = Http::new(broker, Arc::new(config), [7; 32], drain.clone());
        Self { router: router(http.clone()), http, drain, engine, _directory: directory }
    }

    /// Ends the engine's threads.
    pub(super) async fn close(self) {
        self.engine.close().await.unwrap();
    }

    pub(super) async fn response(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(super) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.response(request.body(body.into()).unwrap()).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body }
    }

    pub(super) async fn json(&self, method: &str, path: &str, body: Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// A topic `t` with so many partitions, and a group `g` on it.
    pub(super) async fn topic_and_group(&self, partitions: u32) {
        self.json("PUT", "/v1/topics/t", serde_json::json!({"partitions": partitions, "retention": {"time": null}}))
            .await
            .expect(201);
        self.json("PUT", "/v1/groups/g", serde_json::json!({"topics": ["t"]})).await.expect(201);
    }

    pub(super) async fn publish(&self, topic: &str, body: &str) -> Value {
        self.send("POST", &format!("/v1/topics/{topic}/messages"), &[], body.to_owned()).await.expect(201)
    }
}

impl Answer {
    /// The body, if the status is this.
    #[track_caller]
    pub(super) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// A problem with this status and code.
    #[track_caller]
    pub(super) fn expect_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str(), self.headers["x-request-id"].to_str().ok());
        problem
    }
}
