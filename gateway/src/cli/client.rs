//! The gateway's HTTP API as its own commands use it.

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;
use super::arguments::ServerOption;
use crate::telemetry::printable;

/// How long connecting may take. Requests themselves may wait for messages, and are bounded by the gateway.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to one gateway.
pub struct Client {
    base: Url,
    http: reqwest::Client,
}

/// RFC 9457, as much of it as is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    title: Option<String>,
    status: u16,
    detail: Option<String>,
    retryable: bool,
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let told = problem.detail.or(problem.title).unwrap_or_else(|| format!("HTTP status {}", problem.status));
        let told = printable(&told);
        match problem.status {
            _ if problem.retryable => Self::unavailable(told + " (try again)"),
            400..500 => Self::refused(told),
            _ => Self::failed(told),
        }
    }
}

impl Client {
    pub fn new(server: &ServerOption) -> Result<Self, Error> {
        let base: Url = server.server.parse().map_err(|error| {
            Error::failed(format!("--server '{}' is not a URL ({error}): write http://HOST:PORT", server.server))
        })?;
        if base.scheme() != "http" || base.cannot_be_a_base() {
            return Err(Error::failed(format!(
                "--server '{base}': write http://HOST:PORT, this version speaks no TLS"
            )));
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build();
        Ok(Self { base, http: http.map_err(|error| Error::failed(error.to_string()))? })
    }

    /// A request to `/v1/` and these segments, each of them encoded: names may hold anything.
    pub fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        self.http.request(method, url)
    }

    /// Sends it; any answer but success is an error.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// Sends it; the text that comes back.
    pub async fn text(&self, request: RequestBuilder) -> Result<String, Error> {
        self.send(request).await?.text().await.map_err(|error| self.unreachable(&error))
    }

    /// Sends it; the JSON that comes back.
    pub async fn json(&self, request: RequestBuilder) -> Result<Value, Error> {
        serde_json::from_str(&self.text(request).await?).map_err(|error| {
            Error::failed(format!("{} does not answer as Tidegate's HTTP API: {error}. Check --server", self.base))
        })
    }

    /// The gateway is not there, or went away.
    pub fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut reason: &dyn std::error::Error = error;
        while let Some(source) = reason.source() {
            reason = source;
        }
        Error::unavailable(format!(
            "cannot reach the gateway at {}: {reason}. Start it with: tidegate serve, or name it with --server or TIDEGATE_SERVER",
            self.base
        ))
    }
}

/// All topics or groups (`kind`) whose names begin so, under the name of their kind, whatever the number of pages.
pub async fn list(client: &Client, kind: &str, prefix: Option<&str>) -> Result<Value, Error> {
    let (mut entries, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let request = client.request(Method::GET, &[kind]);
        let request = request.query(&[("prefix", prefix), ("cursor", cursor.as_deref())]);
        let mut page = client.json(request).await?;
        if let Some(Value::Array(found)) = page.get_mut(kind).map(Value::take) {
            entries.extend(found);
        }
        match page.get("next_cursor").and_then(Value::as_str) {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(json!({ kind: entries })),
        }
    }
}

async fn refusal(response: Response) -> Error {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap_or_default();
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    Problem { status, retryable: problem.retryable || matches!(status, 429 | 503), ..problem }.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn url(server: &str, segments: &[&str]) -> String {
        let client = Client::new(&ServerOption { server: server.into() }).unwrap();
        client.request(Method::GET, segments).build().unwrap().url().to_string()
    }

    #[test]
    fn names_are_encoded_into_one_segment() {
        assert_eq!(url("http://h:1", &["topics", "a/b ?#%ü"]), "http://h:1/v1/topics/a%2Fb%20%3F%23%25%C3%BC");
        assert_eq!(url("http://h:1/base/", &["topics"]), "http://h:1/base/v1/topics");
    }

    #[test]
    fn what_is_no_url_is_refused_with_an_example() {
        for server in ["localhost:8080", "https://h", "nothing"] {
            let error = Client::new(&ServerOption { server: server.into() }).err().unwrap();
            assert!(error.message.contains("http://HOST:PORT"), "{error}");
        }
    }
}
