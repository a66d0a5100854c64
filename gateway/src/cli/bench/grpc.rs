//! The gRPC listener: frames of messages published and acknowledged, or a group's messages consumed and acknowledged, over
//! one bidirectional stream per connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use prost::Message;
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::admin_client::AdminClient;
use tidegate_proto::v1::consume_request::{Ack, Credit, Frame, Start};
use tidegate_proto::v1::consume_response::Frame as Response;
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::grpc_client::{ECHO, connect, open, serve_echo};
use super::load::{Measured, Run};
use super::{Amount, load, report};
use crate::cli::Error;

/// A consumer that gets nothing for so long has everything.
const IDLE: Duration = Duration::from_secs(3);
/// Messages a consumer has credit for.
const CREDIT: u64 = 10_000;

/// Load the gRPC listener.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How much.
    #[command(flatten)]
    amount: Amount,
    /// The listener
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    server: String,
    /// The topic, created if it is not there
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Messages in one frame
    #[arg(long, value_name = "N", default_value_t = 100)]
    batch: usize,
    /// Frames of one connection that wait for their acknowledgement
    #[arg(long, value_name = "N", default_value_t = 16)]
    in_flight: usize,
    /// Consume this group, created if it is not there, instead of publishing
    #[arg(long, value_name = "GROUP")]
    consume: Option<String>,
    /// Load an empty tonic echo of the same frames in this process instead, for comparison
    #[arg(long)]
    empty: bool,
}

pub async fn run(options: Options) -> Result<(), Error> {
    let mut options = options;
    let name = match (&options.consume, options.empty) {
        (_, true) => {
            options.server = serve_echo().await?;
            "empty tonic echo"
        }
        (Some(_), _) => "grpc consume",
        (None, _) => "grpc publish stream",
    };
    if !options.empty {
        prepare(&options).await?;
    }
    let amount = options.amount.clone();
    let options = Arc::new(options);
    let (measured, took) = load::run(&amount, |_, run| work(Arc::clone(&options), run)).await?;
    report::print(amount.output, &[(name, measured, took)])
}

/// Creates the topic and the group if need be.
async fn prepare(options: &Options) -> Result<(), Error> {
    let mut admin = AdminClient::new(connect(&options.server).await?);
    let topic = proto::CreateTopicRequest { topic: options.topic.clone(), ..Default::default() };
    created(admin.create_topic(topic).await.map(drop))?;
    if let Some(group) = &options.consume {
        let config = proto::GroupConfig {
            topics: vec![options.topic.clone()],
            max_in_flight: Some(1_000_000),
            ..Default::default()
        };
        let group = proto::CreateGroupRequest { group: group.clone(), config: Some(config) };
        created(admin.create_group(group).await.map(drop))?;
    }
    Ok(())
}

fn created(created: Result<(), Status>) -> Result<(), Error> {
    match created {
        Err(status) if status.code() != Code::AlreadyExists => Err(failed(&status)),
        _ => Ok(()),
    }
}

fn failed(status: &Status) -> Error {
    Error::failed(format!("{:?}: {}", status.code(), status.message()))
}

async fn work(options: Arc<Options>, run: Arc<Run>) -> Result<Measured, Error> {
    let channel = connect(&options.server).await?;
    match &options.consume {
        Some(group) if !options.empty => consume(channel, group, &run).await,
        _ => publish(channel, &options, &run).await,
    }
}

/// What is sent again and again: encoded once, so that what is measured is the other side.
fn encoded(options: &Options, messages: usize, size: usize) -> Bytes {
    let value = Bytes::from(vec![b'x'; size]);
    let message = proto::Message { value: Some(value), ..Default::default() };
    let entry = proto::Entry { message: Some(message), ..Default::default() };
    let entries = vec![entry; messages];
    proto::PublishStreamRequest { topic: options.topic.clone(), entries, ..Default::default() }.encode_to_vec().into()
}

/// Frames out and their answers in: acknowledgements, or the frames again from an echo.
async fn publish(channel: Channel, options: &Options, run: &Run) -> Result<Measured, Error> {
    let (frames, receiver) = mpsc::channel(options.in_flight.max(1));
    // The channel's capacity is the number of frames in flight.
    let (sent, mut waiting) = mpsc::channel::<(Instant, u64)>(options.in_flight.max(1));
    let sending = async {
        let full = options.batch.max(1);
        let frame = encoded(options, full, run.size());
        while let Some(messages) = run.claim(full as u64) {
            let last = (messages < full as u64).then(|| encoded(options, messages as usize, run.size()));
            let frame = last.unwrap_or_else(|| frame.clone());
            if sent.send((Instant::now(), messages)).await.is_err() || frames.send(frame).await.is_err() {
                break;
            }
        }
        drop((frames, sent));
        Ok::<(), Error>(())
    };
    let receiving = async {
        let mut measured = Measured::new()?;
        let mut answers = Answers::open(channel, options, receiver).await?;
        let mut answered = 0;
        while let Some((sent, messages)) = waiting.recv().await {
            while answered < messages {
                answered += answers.next(&mut measured).await?;
            }
            answered -= messages;
            run.record(&mut measured, sent, messages, messages * run.size() as u64);
        }
        Ok(measured)
    };
    let ((), measured) = tokio::try_join!(sending, receiving)?;
    Ok(measured)
}

/// What comes back.
enum Answers {
    Acknowledgements { stream: Streaming<proto::PublishStreamResponse>, acknowledged: u64 },
    Echo(Streaming<proto::PublishStreamRequest>),
}

impl Answers {
    async fn open(channel: Channel, options: &Options, frames: mpsc::Receiver<Bytes>) -> Result<Self, Error> {
        if options.empty {
            return Ok(Self::Echo(open(channel, ECHO, frames).await?));
        }
        let stream = open(channel, "/tidegate.v1.Publisher/PublishStream", frames).await?;
        Ok(Self::Acknowledgements { stream, acknowledged: 0 })
    }

    /// How many more messages are answered.
    async fn next(&mut self, measured: &mut Measured) -> Result<u64, Error> {
        let ended = || Error::unavailable("the stream ended before everything was answered");
        match self {
            Self::Echo(stream) => {
                let frame = stream.message().await.map_err(|status| failed(&status))?.ok_or_else(ended)?;
                Ok(frame.entries.len() as u64)
            }
            Self::Acknowledgements { stream, acknowledged } => {
                let answer = stream.message().await.map_err(|status| failed(&status))?.ok_or_else(ended)?;
                for failed in answer.failed {
                    measured.fail(failed.error.map_or_else(String::new, |error| error.message));
                }
                let before = std::mem::replace(acknowledged, answer.acknowledged.max(*acknowledged));
                Ok(*acknowledged - before)
            }
        }
    }
}

/// Receives until there is nothing more, acknowledging frame by frame.
async fn consume(channel: Channel, group: &str, run: &Run) -> Result<Measured, Error> {
    let (frames, receiver) = mpsc::channel(64);
    let send = async |frame: Frame| {
        let request = proto::ConsumeRequest { frame: Some(frame) };
        let gone = |_| Error::unavailable("the stream ended");
        frames.send(Bytes::from(request.encode_to_vec())).await.map_err(gone)
    };
    let credit = Some(Credit { messages: CREDIT, bytes: 0 });
    send(Frame::Start(Start { group: group.to_owned(), credit, ..Default::default() })).await?;
    let mut stream: Streaming<proto::ConsumeResponse> =
        open(channel, "/tidegate.v1.Consumer/Consume", receiver).await?;
    let mut measured = Measured::new()?;
    let (mut acknowledging, mut done) = (0_u64, false);
    while !done || acknowledging > 0 {
        let waited = Instant::now();
        let Ok(frame) = tokio::time::timeout(IDLE, stream.message()).await else { break };
        match frame.map_err(|status| failed(&status))?.and_then(|response| response.frame) {
            None => break,
            Some(Response::Messages(messages)) => {
                let count = messages.messages.len() as u64;
                let bytes = messages.messages.iter().map(value_bytes).sum();
                let up_to = messages.messages.last().map_or(0, |last| last.delivery_id);
                acknowledging += 1;
                send(Frame::Ack(Ack { up_to, ..Default::default() })).await?;
                done = run.claim(count).is_none_or(|claimed| claimed < count) || run.is_used_up();
                run.record(&mut measured, waited, count, bytes);
                if !done {
                    send(Frame::Credit(Credit { messages: count, bytes: 0 })).await?;
                }
            }
            Some(Response::AckResult(result)) => {
                acknowledging -= 1;
                run.answered();
                if !result.failed.is_empty() {
                    measured.fail(format!("{} deliveries could not be acknowledged", result.failed.len()));
                }
            }
            Some(_) => {}
        }
    }
    Ok(measured)
}

fn value_bytes(message: &proto::ReceivedMessage) -> u64 {
    let value = message.message.as_ref().and_then(|message| message.value.as_ref());
    value.map_or(0, |value| value.len() as u64)
}
