//! The listener's counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tonic::Code;

use crate::metrics::{Family, Labels, Number, Open, Tally, traffic};

/// Every method, as `Service/Method`.
macro_rules! methods {
    ($($name:ident => $path:literal),* $(,)?) => {
        /// A method of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Method { $($name),* }

        const PATHS: &[&str] = &[$($path),*];
    };
}

methods! {
    Publish => "Publisher/Publish",
    PublishStream => "Publisher/PublishStream",
    Consume => "Consumer/Consume",
    Pull => "Consumer/Pull",
    Ack => "Consumer/Ack",
    Nack => "Consumer/Nack",
    Extend => "Consumer/Extend",
    Seek => "Consumer/Seek",
    GetLag => "Consumer/GetLag",
    Fetch => "Consumer/Fetch",
    CreateTopic => "Admin/CreateTopic",
    DeleteTopic => "Admin/DeleteTopic",
    GetTopic => "Admin/GetTopic",
    ListTopics => "Admin/ListTopics",
    CreateGroup => "Admin/CreateGroup",
    DeleteGroup => "Admin/DeleteGroup",
    GetGroup => "Admin/GetGroup",
    ListGroups => "Admin/ListGroups",
}

/// Status codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// What the gRPC listener has done since the process started. Read without stopping anybody.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; CODES.len()]; PATHS.len()],
    /// Taken in (repeats included), with their bytes as packed.
    pub received: Tally,
    /// Given out, with their bytes of keys, values and headers.
    pub sent: Tally,
    connections: Arc<AtomicU64>,
    streams: Arc<AtomicU64>,
    sessions: Arc<AtomicU64>,
}

/// How many calls of a method ended with a status code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requests {
    /// `Service/Method`.
    pub method: &'static str,
    /// As gRPC names it.
    pub code: &'static str,
    /// How many.
    pub count: u64,
}

impl Metrics {
    /// As they are shown at /metrics.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let requests = self.requests().map(|requests| {
            let labels: Labels = vec![("method", requests.method.to_owned()), ("code", requests.code.to_owned())];
            (labels, requests.count.number())
        });
        let mut families = vec![
            Family::gauge("tidegate_grpc_connections", "Connections open", self.connections()),
            Family::gauge("tidegate_grpc_streams", "Streams open", self.streams()),
            Family::gauge(
                "tidegate_grpc_sessions",
                "Consumers' sessions, those that may come back included",
                self.sessions(),
            ),
            Family::counters(
                "tidegate_grpc_requests",
                "Calls and streams ended, by method and status code",
                requests.collect(),
            ),
        ];
        let names = [
            "tidegate_grpc_received_messages",
            "tidegate_grpc_received_bytes",
            "tidegate_grpc_sent_messages",
            "tidegate_grpc_sent_bytes",
        ];
        families.extend(traffic(names, &self.received, &self.sent));
        families
    }

    /// Calls that have ended, of every method and code that had any.
    pub fn requests(&self) -> impl Iterator<Item = Requests> {
        PATHS.iter().zip(&self.requests).flat_map(|(method, by_code)| {
            CODES.into_iter().zip(by_code).filter_map(|(code, count)| {
                let count = count.load(Relaxed);
                (count > 0).then_some(Requests { method, code, count })
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

    /// Sessions of consumers, those that may still come back included.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions.load(Relaxed)
    }

    /// A call has ended.
    pub(super) fn ended(&self, method: Method, code: Code) {
        if let Some(count) = self.requests[method as usize].get(code as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn open_connection(&self) -> Open {
        Open::new(&self.connections)
    }

    pub(super) fn open_stream(&self) -> Open {
        Open::new(&self.streams)
    }

    pub(super) fn open_session(&self) -> Open {
        Open::new(&self.sessions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let metrics = Metrics::default();
        metrics.ended(Method::Pull, Code::Ok);
        metrics.ended(Method::Pull, Code::NotFound);
        metrics.ended(Method::Pull, Code::NotFound);
        let counted: Vec<_> = metrics.requests().map(|r| (r.method, r.code, r.count)).collect();
        assert_eq!(counted, [("Consumer/Pull", "OK", 1), ("Consumer/Pull", "NOT_FOUND", 2)]);
        let open = metrics.open_stream();
        assert_eq!(metrics.streams(), 1);
        drop(open);
        assert_eq!(metrics.streams(), 0);
    }

    #[test]
    fn every_code_has_its_name() {
        for (number, name) in CODES.iter().enumerate() {
            let code = Code::from(i32::try_from(number).unwrap_or_default());
            assert_eq!(name.replace('_', "").to_lowercase(), format!("{code:?}").to_lowercase());
        }
    }
}
