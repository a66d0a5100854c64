//! `tidegate subscribe`: messages of a topic as they come, or of a group with acknowledgement.

use futures_util::StreamExt;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Error;
use super::arguments::Subscribe;
use super::client::{Client, Problem};
use super::messages::Received;

/// The most messages taken with one pull.
const PULL_MESSAGES: u64 = 100;
/// How long the gateway may wait for messages before it answers a pull with none.
const PULL_WAIT: &str = "20s";
/// The longest line taken from a stream.
const MAX_LINE: usize = 64 << 20;

pub async fn subscribe(subscribe: Subscribe) -> Result<(), Error> {
    let client = Client::new(&subscribe.server)?;
    match (&subscribe.topic, &subscribe.group) {
        (Some(topic), _) => tail(&client, topic, &subscribe).await,
        (None, Some(group)) => consume(&client, group, &subscribe).await,
        (None, None) => Err(Error::failed("name a topic, or a group with --group")),
    }
}

/// Reads without a group: nothing changes, an interrupt ends it.
async fn tail(client: &Client, topic: &str, subscribe: &Subscribe) -> Result<(), Error> {
    let from = subscribe.from.as_deref().unwrap_or("latest");
    let partition = subscribe.partition.map(|partition| ("partition", partition));
    let request = client.request(Method::GET, &["topics", topic, "stream"]);
    let request = request.query(&[("from", from)]).query(&partition.as_slice());
    let response = client.send(request.header("accept", "application/x-ndjson")).await?;
    let mut chunks = response.bytes_stream();
    let (mut pending, mut left) = (Vec::new(), subscribe.count.unwrap_or(u64::MAX));
    while left > 0 {
        let Some(chunk) = chunks.next().await else {
            return Err(Error::unavailable("the gateway ended the stream: it is stopping, try again"));
        };
        pending.extend_from_slice(&chunk.map_err(|error| client.unreachable(&error))?);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n').filter(|_| left > 0) {
            let line: Vec<u8> = pending.drain(..=end).collect();
            left -= show_line(&line, subscribe)?;
        }
        if pending.len() > MAX_LINE {
            return Err(Error::failed("the stream has a line over 64 MiB"));
        }
    }
    Ok(())
}

/// What a line of the stream can be instead of a message.
#[derive(Deserialize)]
struct Notice {
    gap: Option<Gap>,
    error: Option<Problem>,
    drain: Option<IgnoredAny>,
}

/// Retention was faster than the reader.
#[derive(Deserialize)]
struct Gap {
    partition: u32,
    from: u64,
    to: u64,
}

/// Shows a line of the stream if it is a message; how many it was.
fn show_line(line: &[u8], subscribe: &Subscribe) -> Result<u64, Error> {
    let line = std::str::from_utf8(line).map_err(|_| Error::failed("the stream is not UTF-8"))?.trim_end();
    if line.is_empty() {
        return Ok(0);
    }
    let notice: Notice = serde_json::from_str(line).map_err(|error| Error::failed(format!("not a stream: {error}")))?;
    match notice {
        Notice { error: Some(problem), .. } => Err(problem.into()),
        Notice { drain: Some(_), .. } => Err(Error::unavailable("the gateway is stopping, try again")),
        Notice { gap: Some(Gap { partition, from, to }), .. } => {
            eprintln!("tidegate: offsets {from} to {to} of partition {partition} were removed before they were read");
            Ok(0)
        }
        Notice { .. } => Received::parse(line)?.show(line, subscribe.output).map(|()| 1),
    }
}

/// What a pull brings.
#[derive(Deserialize)]
struct Pulled<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    #[serde(default)]
    results: Vec<Value>,
}

/// Consumes for a group. A message is acknowledged after it was shown, with the next pull or at the end; what an
/// interrupt leaves unacknowledged is delivered again.
async fn consume(client: &Client, group: &str, subscribe: &Subscribe) -> Result<(), Error> {
    let mut left = subscribe.count.unwrap_or(u64::MAX);
    let mut shown = Vec::new();
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    while left > 0 {
        let body = json!({ "max_messages": left.min(PULL_MESSAGES), "wait": PULL_WAIT, "acks": shown });
        let pull = client.request(Method::POST, &["groups", &format!("{group}:pull")]).json(&body);
        let answer = tokio::select! {
            answer = client.text(pull) => answer?,
            _ = &mut interrupt => break,
        };
        let pulled: Pulled<'_> = serde_json::from_str(&answer)
            .map_err(|error| Error::failed(format!("cannot read the answer to a pull: {error}")))?;
        warn_of_expired(&pulled.results);
        shown.clear();
        for message in pulled.messages {
            let received = Received::parse(message.get())?;
            received.show(message.get(), subscribe.output)?;
            shown.extend(received.ack_id);
            left -= 1;
        }
    }
    if shown.is_empty() {
        return Ok(());
    }
    let ack = client.request(Method::POST, &["groups", &format!("{group}:ack")]).json(&json!({ "ack_ids": shown }));
    client.send(ack).await.map(drop)
}

/// A lease that ran out before it was acknowledged: the message was shown, and comes again.
fn warn_of_expired(results: &[Value]) {
    let expired = results.iter().filter(|result| result.get("error").is_some()).count();
    if expired > 0 {
        eprintln!("tidegate: {expired} messages were acknowledged too late and will be delivered again");
    }
}
