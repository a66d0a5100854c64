//! Streams of messages, as server-sent events (WHATWG HTML, 9.2) or as NDJSON: the loop that both kinds of stream share.
//!
//! A stream is driven by its connection: nothing is read before the client has taken what came before.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use tidegate_engine::Watch;
use tokio::time::{Instant, sleep_until};

use super::browse::{NDJSON, not_acceptable};
use super::convert::json::MessageView;
use super::error::{Problem, Result};
use super::extract::{StreamPermit, admit_stream, negotiate};
use super::group_stream::GroupTail;
use super::state::Http;
use super::topic_stream::TopicTail;
use crate::metrics::Open;

pub(super) const SSE: &str = "text/event-stream";

/// How messages are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-sent events.
    Events,
    /// A line of JSON each.
    Lines,
}

/// Messages on their way out.
pub(super) struct Frames {
    form: Form,
    bytes: Vec<u8>,
}

/// Where a stream's messages come from.
pub(super) enum Source {
    Topic(TopicTail),
    Group(GroupTail),
}

/// What a source has.
pub(super) enum Step {
    Messages(Bytes),
    /// Nothing before this wakes.
    Wait(Wake),
    /// Nothing any more: another connection of the same consumer has taken over.
    End,
}

/// What may bring a source something.
pub(super) enum Wake {
    Topic(Watch),
    Group {
        watch: Watch,
        held: std::sync::Arc<super::consumers::Held>,
    },
    /// The consumer holds all it may.
    Full(std::sync::Arc<super::consumers::Held>),
}

struct Live {
    http: Http,
    source: Source,
    form: Form,
    heartbeat_at: Instant,
    ended: bool,
    _permit: StreamPermit,
    _open: Open,
}

impl Form {
    pub(super) fn of(fields: &HeaderMap) -> Result<Self> {
        match negotiate(fields, &[SSE, NDJSON]) {
            Some(SSE) => Ok(Self::Events),
            Some(_) => Ok(Self::Lines),
            None => Err(not_acceptable(&[SSE, NDJSON])),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Events => SSE,
            Self::Lines => NDJSON,
        }
    }

    /// What keeps a silent connection alive: a comment, or an empty line.
    fn heartbeat(self) -> Bytes {
        match self {
            Self::Events => Bytes::from_static(b": heartbeat\n\n"),
            Self::Lines => Bytes::from_static(b"\n"),
        }
    }

    /// Something that is no message.
    pub(super) fn notice<T: Serialize>(self, name: &str, about: &T) -> Bytes {
        let json = serde_json::to_string(about).unwrap_or_default();
        match self {
            Self::Events => format!("event: {name}\ndata: {json}\n\n").into(),
            Self::Lines => format!("{{\"{name}\":{json}}}\n").into(),
        }
    }
}

impl Frames {
    pub(super) fn new(form: Form) -> Self {
        Self { form, bytes: Vec::with_capacity(1024) }
    }

    /// Adds a message and where the stream goes on after it.
    pub(super) fn push(&mut self, mut message: MessageView<'_>, cursor: String) -> Result<()> {
        match self.form {
            Form::Events => {
                self.bytes.extend_from_slice(b"id: ");
                self.bytes.extend_from_slice(cursor.as_bytes());
                self.bytes.extend_from_slice(b"\ndata: ");
                self.write(&message)?;
                self.bytes.extend_from_slice(b"\n\n");
            }
            Form::Lines => {
                message.cursor = Some(cursor);
                self.write(&message)?;
                self.bytes.push(b'\n');
            }
        }
        Ok(())
    }

    fn write(&mut self, message: &MessageView<'_>) -> Result<()> {
        serde_json::to_writer(&mut self.bytes, message)
            .map_err(|error| Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))
    }

    pub(super) fn finish(self) -> Bytes {
        self.bytes.into()
    }
}

/// The response that streams `source`.
///
/// # Errors
/// 429 when there are `max_streams` already.
pub(super) fn respond(http: &Http, source: Source, form: Form) -> Result<Response> {
    let live = Live {
        http: http.clone(),
        source,
        form,
        heartbeat_at: Instant::now() + http.config.heartbeat,
        ended: false,
        _permit: admit_stream(http)?,
        _open: http.metrics.open_stream(),
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(live, Live::next)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would hold messages back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Live {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.ended {
            return None;
        }
        let bytes = self.next_bytes().await?;
        self.heartbeat_at = Instant::now() + self.http.config.heartbeat;
        Some((Ok(bytes), self))
    }

    async fn next_bytes(&mut self) -> Option<Bytes> {
        loop {
            if self.http.drain.is_requested() {
                self.ended = true;
                return Some(self.form.notice("drain", &Drained { reason: "the gateway is stopping" }));
            }
            match self.source.step(&self.http, self.form).await {
                Ok(Step::Messages(bytes)) => return Some(bytes),
                Ok(Step::Wait(wake)) => {
                    if !self.wait(wake).await {
                        return Some(self.form.heartbeat());
                    }
                }
                Ok(Step::End) => return None,
                Err(problem) => {
                    self.ended = true;
                    return Some(self.form.notice("error", &problem));
                }
            }
        }
    }

    /// False when it is time for a heartbeat.
    async fn wait(&self, wake: Wake) -> bool {
        tokio::select! {
            () = wake.woken() => true,
            () = self.http.drain.requested() => true,
            () = sleep_until(self.heartbeat_at) => false,
        }
    }
}

/// The server ends the stream; connect again, to another node.
#[derive(Serialize)]
struct Drained {
    reason: &'static str,
}

impl Source {
    async fn step(&mut self, http: &Http, form: Form) -> Result<Step> {
        match self {
            Self::Topic(tail) => tail.step(http, form).await,
            Self::Group(tail) => tail.step(http, form).await,
        }
    }
}

impl Wake {
    async fn woken(self) {
        match self {
            Self::Topic(mut watch) => watch.changed().await,
            Self::Group { mut watch, held } => tokio::select! {
                () = watch.changed() => {}
                () = held.freed() => {}
            },
            Self::Full(held) => held.freed().await,
        }
    }
}

/// Where a client wants to go on: the Last-Event-ID that browsers send when they reconnect, or the query's `cursor`.
pub(super) fn resume_at<'a>(fields: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
    let last = fields.get("last-event-id").and_then(|value| value.to_str().ok());
    last.filter(|last| !last.is_empty()).or(query)
}
