//! The listener's counters.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::http::{Method, StatusCode};

use crate::metrics::{Family, Labels, Number, Open, Tally, traffic};

/// What the HTTP listener has done since the process started. Read without stopping anybody.
#[derive(Debug)]
pub struct Metrics {
    routes: Vec<Route>,
    /// Where a path's methods are in `routes`.
    by_path: BTreeMap<String, Vec<(Method, usize)>>,
    /// Taken in (repeats included), with their bytes as packed.
    pub received: Tally,
    /// Given out, with their bytes of keys, values and headers.
    pub sent: Tally,
    connections: Arc<AtomicU64>,
    streams: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Route {
    method: String,
    path: String,
    /// By the status code's first digit, from 1.
    by_class: [AtomicU64; 5],
}

/// How many requests of a route were answered with a class of status codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests<'a> {
    /// The method; `*` for requests that met no route.
    pub method: &'a str,
    /// As in the OpenAPI document, without `/v1`; empty for requests that met no route.
    pub path: &'a str,
    /// `1xx` to `5xx`.
    pub class: &'static str,
    /// How many.
    pub count: u64,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// As they are shown at /metrics.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let requests = self.requests().map(|requests| {
            let labels: Labels = vec![
                ("method", requests.method.to_owned()),
                ("path", requests.path.to_owned()),
                ("status", requests.class.to_owned()),
            ];
            (labels, requests.count.number())
        });
        let mut families = vec![
            Family::gauge("tidegate_http_connections", "Connections open", self.connections()),
            Family::gauge("tidegate_http_streams", "Event streams open", self.streams()),
            Family::counters("tidegate_http_requests", "Requests by route and class of status", requests.collect()),
        ];
        let names = [
            "tidegate_http_received_messages",
            "tidegate_http_received_bytes",
            "tidegate_http_sent_messages",
            "tidegate_http_sent_bytes",
        ];
        families.extend(traffic(names, &self.received, &self.sent));
        families
    }

    /// Counters for these methods and paths.
    pub(super) fn new(operations: impl IntoIterator<Item = (Method, String)>) -> Self {
        let route = |method: &str, path: &str| Route {
            method: method.to_owned(),
            path: path.to_owned(),
            by_class: Default::default(),
        };
        let mut routes = vec![route("*", "")];
        let mut by_path: BTreeMap<String, Vec<(Method, usize)>> = BTreeMap::new();
        for (method, path) in operations {
            routes.push(route(method.as_str(), &path));
            by_path.entry(path).or_default().push((method, routes.len() - 1));
        }
        Self {
            routes,
            by_path,
            received: Tally::default(),
            sent: Tally::default(),
            connections: Arc::default(),
            streams: Arc::default(),
        }
    }

    /// Requests answered, of every route and class that had any.
    pub fn requests(&self) -> impl Iterator<Item = Requests<'_>> {
        self.routes.iter().flat_map(|route| {
            CLASSES.into_iter().zip(&route.by_class).filter_map(|(class, count)| {
                let count = count.load(Relaxed);
                (count > 0).then_some(Requests { method: &route.method, path: &route.path, class, count })
            })
        })
    }

    /// Connections open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Relaxed)
    }

    /// Streams open.
    #[must_use]
    pub fn streams(&self) -> u64 {
        self.streams.load(Relaxed)
    }

    /// A request was answered. HEAD counts as GET.
    pub(super) fn answered(&self, method: &Method, path: &str, status: StatusCode) {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let of_path = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        let index = of_path.iter().find(|(of, _)| of == method).map_or(0, |(_, index)| *index);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.routes[index].by_class[class].fetch_add(1, Relaxed);
    }

    pub(super) fn open_connection(&self) -> Open {
        Open::new(&self.connections)
    }

    pub(super) fn open_stream(&self) -> Open {
        Open::new(&self.streams)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_class() {
        let metrics = Metrics::new([(Method::GET, "/topics".to_owned()), (Method::PUT, "/topics/{topic}".to_owned())]);
        metrics.answered(&Method::HEAD, "/topics", StatusCode::OK);
        metrics.answered(&Method::PUT, "/topics/{topic}", StatusCode::CONFLICT);
        metrics.answered(&Method::POST, "/elsewhere", StatusCode::NOT_FOUND);
        let counted: Vec<_> = metrics.requests().map(|r| (r.method, r.path, r.class, r.count)).collect();
        assert_eq!(counted, [("*", "", "4xx", 1), ("GET", "/topics", "2xx", 1), ("PUT", "/topics/{topic}", "4xx", 1)]);
        let open = metrics.open_stream();
        assert_eq!(metrics.streams(), 1);
        drop(open);
        assert_eq!(metrics.streams(), 0);
    }
}
