//! Publisher.PublishStream: what has arrived is stored together and acknowledged in the order it came.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt;
use tidegate_engine::Commit;
use tidegate_proto::v1::{
    Entry, FailedEntry, PublishResult, PublishStreamRequest, PublishStreamResponse, PublishWindow, SequencedResult,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Streaming;

use super::driven::Writer;
use super::entries::{self, Topics};
use super::error::{Refusal, Result};
use super::state::Grpc;
use super::time::now_ms;
use crate::broker::Gathering;

/// One append takes no more than this (and one frame): batches stay as small as the engine keeps decoded for consumers.
const APPEND_ENTRIES: usize = 4096;
const APPEND_BYTES: usize = 128 << 10;
/// Appends whose answers are outstanding.
const APPENDS: usize = 64;

type Frames = Streaming<PublishStreamRequest>;

/// Runs a stream to its end.
pub(super) async fn run(grpc: Grpc, frames: Frames, responses: Writer<PublishStreamResponse>) -> Result<()> {
    let window = Window::new(&grpc);
    responses.send(PublishStreamResponse { window: Some(window.told()), ..Default::default() }).await?;
    let (pending, queue) = mpsc::channel(APPENDS);
    // Reading goes on while answers are waited for; both run in this task. When it ends, what is owed is still answered.
    let mut answering = pin!(acknowledge(queue, responses));
    tokio::select! {
        biased;
        failed = &mut answering => failed,
        ended = read(&grpc, frames, window, pending) => answering.await.and(ended),
    }
}

/// What one append will be answered with.
struct Pending {
    commit: Commit,
    response: PublishStreamResponse,
    /// Given back when it is answered.
    _admitted: Admitted,
}

/// How much may be unanswered.
struct Window {
    messages: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most: (usize, usize),
}

type Admitted = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Window {
    fn new(grpc: &Grpc) -> Self {
        let permits = |limit: usize| limit.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let most = (permits(grpc.config.publish_window_messages), permits(grpc.config.publish_window_bytes));
        Self { messages: Arc::new(Semaphore::new(most.0)), bytes: Arc::new(Semaphore::new(most.1)), most }
    }

    fn told(&self) -> PublishWindow {
        PublishWindow { messages: self.most.0 as u64, bytes: self.most.1 as u64 }
    }

    /// Waits until so much more may be unanswered (or, for more than the window, until nothing else is).
    async fn admit(&self, messages: usize, bytes: usize) -> Result<Admitted> {
        let take = |semaphore: &Arc<Semaphore>, count: usize, most: usize| {
            Arc::clone(semaphore).acquire_many_owned(u32::try_from(count.min(most)).unwrap_or(u32::MAX))
        };
        let closed = |_| Refusal::new(tonic::Code::Internal, "INTERNAL", "the window is closed");
        let messages = take(&self.messages, messages, self.most.0).await.map_err(closed)?;
        Ok((messages, take(&self.bytes, bytes, self.most.1).await.map_err(closed)?))
    }
}

/// Frames that had arrived together.
#[derive(Default)]
struct Arrived {
    /// With the topic of their frame and whether their results are wanted.
    frames: Vec<(String, bool, Vec<Entry>)>,
    entries: usize,
    bytes: usize,
}

/// The numbers of entries.
#[derive(Default)]
struct Sequence(Option<u64>);

impl Sequence {
    /// Checks the number of a frame's first entry.
    fn check(&mut self, first: u64, entries: usize) -> Result<()> {
        let first = match (self.0, first) {
            (Some(next), 0) => next,
            (None, 0) => 1,
            (Some(next), first) if first != next => {
                let words = format!("first_sequence is {first} where {next} is next: number entries without a gap");
                return Err(Refusal::invalid(words));
            }
            (_, first) => first,
        };
        let next = first.checked_add(entries as u64);
        self.0 = Some(next.ok_or_else(|| Refusal::invalid("sequence numbers end at 2^64-1"))?);
        Ok(())
    }

    /// The number after the last entry.
    fn next(&self) -> u64 {
        self.0.unwrap_or(1)
    }
}

async fn read(grpc: &Grpc, mut frames: Frames, window: Window, pending: mpsc::Sender<Pending>) -> Result<()> {
    let mut sequence = Sequence::default();
    loop {
        let first = tokio::select! {
            biased;
            frame = frames.message() => frame.map_err(Refusal::transport)?,
            // What has been read is answered; the client sends the rest to whoever serves next.
            () = grpc.drain.requested() => return Ok(()),
        };
        let Some(first) = first else { return Ok(()) };
        let mut arrived = Arrived::default();
        let mut next = Some(first);
        while let Some(frame) = next.take() {
            arrived.take(grpc, &mut sequence, frame)?;
            if arrived.entries < APPEND_ENTRIES && arrived.bytes < APPEND_BYTES {
                // What else is here already goes with it.
                next = frames.message().now_or_never().transpose().map_err(Refusal::transport)?.flatten();
            }
        }
        if arrived.entries == 0 {
            continue;
        }
        let admitted = window.admit(arrived.entries, arrived.bytes).await?;
        let answer = store(grpc, arrived, sequence.next(), admitted).await?;
        let gone = |_| Refusal::new(tonic::Code::Cancelled, "CANCELLED", "the client is gone");
        pending.send(answer).await.map_err(gone)?;
    }
}

impl Arrived {
    fn take(&mut self, grpc: &Grpc, sequence: &mut Sequence, frame: PublishStreamRequest) -> Result<()> {
        let (count, limit) = (frame.entries.len(), grpc.config.max_batch_messages);
        if count > limit {
            return Err(Refusal::too_many("entries", count, "max_batch_messages", limit));
        }
        sequence.check(frame.first_sequence, count)?;
        self.entries += count;
        self.bytes += frame.entries.iter().map(size).sum::<usize>();
        self.frames.push((frame.topic, frame.want_results, frame.entries));
        Ok(())
    }
}

/// Bytes of key, value and headers.
fn size(entry: &Entry) -> usize {
    let Some(message) = &entry.message else { return 0 };
    let length = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers: usize = message.headers.iter().map(prost::Message::encoded_len).sum();
    length(&message.key) + length(&message.value) + headers
}

/// Appends what arrived; `next` is the number after the last entry.
async fn store(grpc: &Grpc, arrived: Arrived, next: u64, admitted: Admitted) -> Result<Pending> {
    let first = next - arrived.entries as u64;
    let mut gathering = Gathering::new(grpc.principal.namespace(), None, now_ms());
    let mut topics = Topics::new(grpc);
    let mut answers = Answers { first, wanted: Vec::new(), failed: Vec::new(), results: Vec::new() };
    let mut position = 0;
    for (topic, wanted, entries) in arrived.frames {
        answers.wanted.push((position + entries.len(), wanted));
        topics.find(&topic, &entries).await;
        for entry in entries {
            if let Err(refusal) = topics.gather(&mut gathering, position, &topic, entry) {
                answers.enter(position, || entries::failed(refusal.clone()), Some(&refusal));
            }
            position += 1;
        }
    }
    let appends = grpc.broker.publish(entries::writes(grpc, &gathering)?).await;
    for (group, appended) in gathering.groups().iter().zip(appends.results) {
        let appended = appended.map_err(Refusal::from);
        if appended.is_ok() && !answers.any_wanted() {
            continue;
        }
        for (nth, position) in group.positions.iter().enumerate() {
            answers.enter(*position, || entries::result(group, &appended, nth), appended.as_ref().err());
        }
    }
    Ok(Pending { commit: appends.commit, response: answers.response(next - 1), _admitted: admitted })
}

/// What will be said about entries, as it is found out.
struct Answers {
    /// Number of the entry at position 0.
    first: u64,
    /// Up to which position results are wanted, or not.
    wanted: Vec<(usize, bool)>,
    failed: Vec<FailedEntry>,
    results: Vec<SequencedResult>,
}

impl Answers {
    fn any_wanted(&self) -> bool {
        self.wanted.iter().any(|(_, wanted)| *wanted)
    }

    fn enter(&mut self, position: usize, result: impl FnOnce() -> PublishResult, refusal: Option<&Refusal>) {
        let sequence = self.first + position as u64;
        let wanted = self.wanted.iter().find(|(end, _)| position < *end).is_some_and(|(_, wanted)| *wanted);
        if wanted {
            self.results.push(SequencedResult { sequence, result: Some(result()) });
        } else if let Some(refusal) = refusal {
            self.failed.push(FailedEntry { sequence, error: Some(refusal.clone().into()) });
        }
    }

    /// Groups are by partition, answers by number.
    fn response(mut self, acknowledged: u64) -> PublishStreamResponse {
        self.failed.sort_unstable_by_key(|failed| failed.sequence);
        self.results.sort_unstable_by_key(|result| result.sequence);
        PublishStreamResponse { acknowledged, failed: self.failed, results: self.results, window: None }
    }
}

/// Answers each append when it is durable, in order.
async fn acknowledge(mut queue: mpsc::Receiver<Pending>, responses: Writer<PublishStreamResponse>) -> Result<()> {
    while let Some(Pending { commit, response, _admitted }) = queue.recv().await {
        commit.wait().await?;
        responses.send(response).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Sequence;

    #[test]
    fn entries_are_numbered_without_a_gap() {
        let mut sequence = Sequence::default();
        assert!(sequence.check(0, 3).is_ok());
        assert_eq!(sequence.next(), 4);
        assert!(sequence.check(4, 1).is_ok());
        assert!(sequence.check(0, 1).is_ok());
        assert_eq!(sequence.next(), 6);
        assert!(sequence.check(7, 1).is_err());
        assert!(sequence.check(5, 1).is_err());
        let mut from = Sequence::default();
        assert!(from.check(100, 2).is_ok());
        assert_eq!(from.next(), 102);
        assert!(Sequence::default().check(u64::MAX, 2).is_err());
    }
}
