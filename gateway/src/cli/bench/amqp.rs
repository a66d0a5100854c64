//! An AMQP listener, of Tidegate or of anybody: messages published to a queue, or to many through a fanout exchange, and
//! consumed again meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use clap::Args;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::amqp_client::{self, Arguments, BASIC_ACK, BASIC_DELIVER, BASIC_NACK, BASIC_PUBLISH, Client, Frame, Reader};
use super::load::{Measured, Run};
use super::{Amount, load, report};
use crate::cli::Error;

/// Messages that one write takes at most.
const WRITE: usize = 256;
/// How long consumers wait for messages that were published and do not come.
const PATIENCE: Duration = Duration::from_secs(20);
/// A message's body begins with when it was published, if there is room.
const STAMP: usize = 8;

/// Load an AMQP listener.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How much.
    #[command(flatten)]
    amount: Amount,
    /// The listener
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5672")]
    broker: String,
    /// Who connects
    #[arg(long, default_value = "guest")]
    user: String,
    /// Their password
    #[arg(long, default_value = "guest")]
    password: String,
    /// The queue, created if it is not there, and emptied
    #[arg(long, default_value = "bench")]
    queue: String,
    /// Publish to a fanout exchange with so many queues, named as --queue and numbered
    #[arg(long, value_name = "N")]
    fanout: Option<usize>,
    /// Unconfirmed messages of one connection; 0 for no confirms
    #[arg(long, value_name = "N", default_value_t = 100)]
    in_flight: usize,
    /// A queue that is not durable, and messages that are not persistent
    #[arg(long)]
    transient: bool,
    /// Connections that consume meanwhile
    #[arg(long, value_name = "N", default_value_t = 1)]
    consumers: usize,
    /// Unacknowledged messages of one consumer; 0 for automatic acknowledgement
    #[arg(long, value_name = "N", default_value_t = 500)]
    prefetch: u16,
    /// Acknowledge so many messages with one acknowledgement
    #[arg(long, value_name = "N", default_value_t = 1)]
    ack_every: u64,
}

impl Options {
    fn queues(&self) -> Vec<String> {
        match self.fanout {
            None => vec![self.queue.clone()],
            Some(count) => (0..count).map(|index| format!("{}-{index}", self.queue)).collect(),
        }
    }

    /// Exchange and routing key.
    fn destination(&self) -> (&str, &str) {
        if self.fanout.is_some() { (&self.queue, "") } else { ("", &self.queue) }
    }

    async fn connect(&self) -> Result<Client, Error> {
        Client::connect(&self.broker, &self.user, &self.password).await
    }
}

/// What publishers tell consumers.
struct Progress {
    started: Instant,
    published: AtomicU64,
    finished: AtomicBool,
    received: AtomicU64,
}

pub async fn run(options: Options) -> Result<(), Error> {
    let options = Arc::new(options);
    declare(&options).await?;
    let started = Instant::now();
    let counts = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = Progress { started, published: counts.0, finished: AtomicBool::new(false), received: counts.1 };
    let progress = Arc::new(progress);
    let mut consumers = JoinSet::new();
    for index in 0..options.consumers {
        let client = subscribe(&options, index).await?;
        consumers.spawn(consume(client, Arc::clone(&options), Arc::clone(&progress)));
    }
    let publisher = |_, run| publish(Arc::clone(&options), Arc::clone(&progress), run);
    let (published, took) = load::run(&options.amount, publisher).await?;
    progress.finished.store(true, Ordering::Release);
    let (mut received, mut until) = (Measured::new()?, started);
    while let Some(ended) = consumers.join_next().await {
        let (measured, last) = ended.map_err(|error| Error::failed(error.to_string()))??;
        received.add(measured);
        until = until.max(last);
    }
    let mut lines = vec![("amqp publish", published, took)];
    if options.consumers > 0 {
        lines.push(("amqp consume", received, until - started));
    }
    report::print(options.amount.output, &lines)
}

async fn declare(options: &Options) -> Result<(), Error> {
    let mut client = options.connect().await?;
    let durable = if options.transient { 0 } else { 0b10 };
    if options.fanout.is_some() {
        client.call((40, 10), |method| method.u16(0).short(&options.queue).short("fanout").u8(durable).u32(0)).await?;
    }
    for queue in options.queues() {
        client.call((50, 10), |method| method.u16(0).short(&queue).u8(durable).u32(0)).await?;
        client.call((50, 30), |method| method.u16(0).short(&queue).u8(0)).await?;
        if options.fanout.is_some() {
            let bind = |method: Arguments| method.u16(0).short(&queue).short(&options.queue).short("").u8(0).u32(0);
            client.call((50, 20), bind).await?;
        }
    }
    Ok(())
}

/// What a publisher waits for: (when it was written, up to which number), in order.
type Unconfirmed = Mutex<VecDeque<(Instant, u64)>>;

/// How many messages there are to be confirmed, as soon as that is known.
struct All {
    sent: AtomicU64,
    known: Notify,
}

async fn publish(options: Arc<Options>, progress: Arc<Progress>, run: Arc<Run>) -> Result<Measured, Error> {
    let mut client = options.connect().await?;
    if options.in_flight == 0 {
        return publish_unconfirmed(client, &options, &progress, &run).await;
    }
    client.call((85, 10), |method| method.u8(0)).await?;
    let room = Semaphore::new(options.in_flight);
    let (unconfirmed, frame_max) = (Unconfirmed::default(), client.frame_max);
    let all = All { sent: AtomicU64::new(u64::MAX), known: Notify::new() };
    let mut messages = Messages::new(&options, frame_max, run.size());
    let sending = async {
        let mut number = 0;
        loop {
            // Closed only by an error on the other side, which tells it.
            let Ok(first) = room.acquire().await else { return Ok(()) };
            let more = room.try_acquire_many(room.available_permits().min(WRITE - 1) as u32).ok();
            let most = 1 + more.as_ref().map_or(0, tokio::sync::SemaphorePermit::num_permits) as u64;
            let Some(count) = run.claim(most) else { break };
            // What was not claimed at the end is not needed any more.
            first.forget();
            more.into_iter().for_each(tokio::sync::SemaphorePermit::forget);
            number += count;
            unconfirmed.lock().push_back((Instant::now(), number));
            messages.write(&mut client.writer, count as usize, &progress).await?;
        }
        all.sent.store(number, Ordering::Release);
        all.known.notify_one();
        Ok::<(), Error>(())
    };
    let confirming = confirm(&mut client.reader, &unconfirmed, &room, &all, &run);
    tokio::pin!(sending, confirming);
    tokio::select! {
        measured = &mut confirming => measured,
        sent = &mut sending => { sent?; confirming.await }
    }
}

/// Takes confirms until all are there that were sent.
async fn confirm(
    reader: &mut Reader,
    unconfirmed: &Unconfirmed,
    room: &Semaphore,
    all: &All,
    run: &Run,
) -> Result<Measured, Error> {
    let mut measured = Measured::new()?;
    let mut confirmed = Confirmed::default();
    while confirmed.count() < all.sent.load(Ordering::Acquire) {
        let before = confirmed.count();
        while let Some(frame) = reader.next()? {
            let Frame::Method(id, mut arguments) = frame else { continue };
            if id != BASIC_ACK && id != BASIC_NACK {
                continue;
            }
            let tag = arguments.try_get_u64().unwrap_or_default();
            confirmed.add(tag, arguments.first().is_some_and(|bits| bits & 1 == 1));
            if id == BASIC_NACK {
                measured.fail(format!("message {tag} was refused"));
            }
        }
        room.add_permits((confirmed.count() - before) as usize);
        record_confirmed(unconfirmed, confirmed.floor, run, &mut measured);
        if confirmed.count() < all.sent.load(Ordering::Acquire) {
            tokio::select! {
                filled = reader.fill() => filled?,
                () = all.known.notified() => {}
            }
        }
    }
    Ok(measured)
}

fn record_confirmed(unconfirmed: &Unconfirmed, floor: u64, run: &Run, measured: &mut Measured) {
    let mut waiting = unconfirmed.lock();
    while let Some((sent, upto)) = waiting.front().copied().filter(|(_, upto)| *upto <= floor) {
        let messages = upto - measured.messages;
        run.record(measured, sent, messages, messages * run.size() as u64);
        waiting.pop_front();
    }
}

/// Which messages are confirmed: singly or up to one, in any order.
#[derive(Default)]
struct Confirmed {
    /// All up to this one.
    floor: u64,
    above: BTreeSet<u64>,
}

impl Confirmed {
    fn add(&mut self, tag: u64, multiple: bool) {
        if multiple {
            self.floor = self.floor.max(tag);
            self.above = self.above.split_off(&(self.floor + 1));
        } else {
            self.above.insert(tag);
        }
        while self.above.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
    }

    fn count(&self) -> u64 {
        self.floor + self.above.len() as u64
    }
}

async fn publish_unconfirmed(
    mut client: Client,
    options: &Options,
    progress: &Progress,
    run: &Run,
) -> Result<Measured, Error> {
    let mut measured = Measured::new()?;
    let mut messages = Messages::new(options, client.frame_max, run.size());
    while let Some(count) = run.claim(WRITE as u64) {
        let sent = Instant::now();
        messages.write(&mut client.writer, count as usize, progress).await?;
        run.record(&mut measured, sent, count, count * run.size() as u64);
    }
    // Everything before the answer has been taken.
    client.call((60, 10), |method| method.u32(0).u16(0).u8(0)).await?;
    Ok(measured)
}

/// The same message again and again, encoded once; only the time in it changes.
struct Messages {
    bytes: BytesMut,
    one: usize,
    /// Where the time stands in each, if there is room for it.
    stamp: Option<usize>,
}

impl Messages {
    fn new(options: &Options, frame_max: usize, size: usize) -> Self {
        let (exchange, key) = options.destination();
        let publish = Arguments::new(BASIC_PUBLISH).u16(0).short(exchange).short(key).u8(0);
        let one = amqp_client::message(&publish, !options.transient, &vec![b'x'; size], frame_max);
        let empty = amqp_client::message(&publish, !options.transient, b"", frame_max).len();
        // The first body frame's head is 7 bytes long.
        let stamp = (size >= STAMP).then_some(empty + 7);
        Self { one: one.len(), bytes: BytesMut::from(one.repeat(WRITE).as_slice()), stamp }
    }

    async fn write(&mut self, to: &mut OwnedWriteHalf, count: usize, progress: &Progress) -> Result<(), Error> {
        let now = progress.started.elapsed().as_nanos() as u64;
        if let Some(at) = self.stamp {
            for index in 0..count {
                let start = index * self.one + at;
                self.bytes[start..start + STAMP].copy_from_slice(&now.to_be_bytes());
            }
        }
        progress.published.fetch_add(count as u64, Ordering::Release);
        to.write_all(&self.bytes[..count * self.one]).await.map_err(|error| amqp_client::broken(&error))
    }
}

/// A consumer of its share of the queues.
async fn subscribe(options: &Options, index: usize) -> Result<Client, Error> {
    let mut client = options.connect().await?;
    let prefetch = options.prefetch;
    if prefetch > 0 {
        client.call((60, 10), |method| method.u32(0).u16(prefetch).u8(0)).await?;
    }
    let queues = options.queues();
    let automatic = if prefetch == 0 { 0b10 } else { 0 };
    // With fewer queues than consumers several share one.
    let mine: Vec<&String> = if queues.len() < options.consumers {
        vec![&queues[index % queues.len()]]
    } else {
        queues.iter().skip(index).step_by(options.consumers).collect()
    };
    for queue in mine {
        client.call((60, 20), |method| method.u16(0).short(queue).short("").u8(automatic).u32(0)).await?;
    }
    Ok(client)
}

/// Takes messages until everything published has arrived somewhere; what it measured, and when the last came.
async fn consume(
    mut client: Client,
    options: Arc<Options>,
    progress: Arc<Progress>,
) -> Result<(Measured, Instant), Error> {
    let mut consumer = Consumer::new(&options)?;
    let copies = options.queues().len() as u64;
    let mut last = progress.started;
    loop {
        let before = consumer.measured.messages;
        while let Some(frame) = client.reader.next()? {
            consumer.take(frame, &progress);
        }
        if !consumer.acks.is_empty() {
            client.writer.write_all(&consumer.acks).await.map_err(|error| amqp_client::broken(&error))?;
            consumer.acks.clear();
        }
        let new = consumer.measured.messages - before;
        if new > 0 {
            last = Instant::now();
        }
        let received = progress.received.fetch_add(new, Ordering::AcqRel) + new;
        if progress.finished.load(Ordering::Acquire) {
            let wanted = progress.published.load(Ordering::Acquire) * copies;
            if received >= wanted {
                break;
            }
            if last.elapsed() > PATIENCE {
                consumer.measured.fail(format!("{} of {wanted} messages did not come", wanted - received));
                break;
            }
        }
        if let Ok(filled) = tokio::time::timeout(Duration::from_millis(100), client.reader.fill()).await {
            filled?;
        }
    }
    if let Some(tag) = consumer.unacknowledged {
        amqp_client::put_ack(tag, true, &mut consumer.acks);
        client.writer.write_all(&consumer.acks).await.map_err(|error| amqp_client::broken(&error))?;
        client.call((60, 10), |method| method.u32(0).u16(0).u8(0)).await?;
    }
    Ok((consumer.measured, last))
}

/// Joins frames to messages.
struct Consumer {
    measured: Measured,
    tag: u64,
    /// Bytes of the body that have not come yet.
    missing: u64,
    /// The body's first bytes, as far as they have come.
    stamp: [u8; STAMP],
    stamped: usize,
    manual: bool,
    ack_every: u64,
    /// Acknowledgements to be sent.
    acks: BytesMut,
    /// The newest delivery that waits for company in its acknowledgement.
    unacknowledged: Option<u64>,
}

impl Consumer {
    fn new(options: &Options) -> Result<Self, Error> {
        Ok(Self {
            measured: Measured::new()?,
            tag: 0,
            missing: 0,
            stamp: [0; STAMP],
            stamped: 0,
            manual: options.prefetch > 0,
            ack_every: options.ack_every.clamp(1, u64::from(options.prefetch).max(1)),
            acks: BytesMut::new(),
            unacknowledged: None,
        })
    }

    fn take(&mut self, frame: Frame<'_>, progress: &Progress) {
        match frame {
            Frame::Method(BASIC_DELIVER, arguments) => {
                let skip = 1 + arguments.first().copied().map_or(0, usize::from);
                self.tag = arguments.get(skip..).and_then(|mut rest| rest.try_get_u64().ok()).unwrap_or_default();
                self.stamped = 0;
            }
            Frame::Method(..) => {}
            Frame::Header(size) => {
                self.missing = size;
                self.measured.bytes += size;
                if size == 0 {
                    self.complete(progress);
                }
            }
            Frame::Body(part) => {
                let wanted = (STAMP - self.stamped).min(part.len());
                self.stamp[self.stamped..self.stamped + wanted].copy_from_slice(&part[..wanted]);
                self.stamped += wanted;
                self.missing = self.missing.saturating_sub(part.len() as u64);
                if self.missing == 0 {
                    self.complete(progress);
                }
            }
        }
    }

    fn complete(&mut self, progress: &Progress) {
        self.measured.messages += 1;
        if self.stamped == STAMP {
            let now = progress.started.elapsed().as_nanos() as u64;
            self.measured.latencies.saturating_record(now.saturating_sub(u64::from_be_bytes(self.stamp)) / 1000);
        }
        if !self.manual {
            return;
        }
        if self.tag.is_multiple_of(self.ack_every) {
            amqp_client::put_ack(self.tag, self.ack_every > 1, &mut self.acks);
            self.unacknowledged = None;
        } else {
            self.unacknowledged = Some(self.tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confirms_are_counted_in_any_order() {
        let mut confirmed = Confirmed::default();
        for (tag, multiple, count, floor) in
            [(2, false, 1, 0), (1, false, 2, 2), (5, false, 3, 2), (4, true, 5, 5), (9, true, 9, 9), (3, true, 9, 9)]
        {
            confirmed.add(tag, multiple);
            assert_eq!((confirmed.count(), confirmed.floor), (count, floor), "after {tag} {multiple}");
        }
    }
}
