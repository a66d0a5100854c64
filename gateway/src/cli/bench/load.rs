//! Workers that share one amount of work, and what they measured.

use std::future::Future;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use super::Amount;
use crate::cli::Error;
use crate::workers::{self, Workers};

/// Latencies are kept to three digits, up to a minute.
const LONGEST_US: u64 = 60_000_000;

/// One run, shared by its workers.
pub struct Run {
    amount: Amount,
    started: Instant,
    claimed: AtomicU64,
    done: AtomicU64,
    /// Microseconds until the last answer.
    last_us: AtomicU64,
}

/// What one worker, or all of them, measured.
pub struct Measured {
    /// Latency of each request in microseconds.
    pub latencies: Histogram<u64>,
    /// Messages that were answered well.
    pub messages: u64,
    /// Their values' bytes.
    pub bytes: u64,
    /// Requests answered with an error.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

impl Measured {
    /// Nothing yet.
    pub fn new() -> Result<Self, Error> {
        let latencies = Histogram::new_with_bounds(1, LONGEST_US, 3);
        let latencies = latencies.map_err(|error| Error::failed(format!("cannot measure: {error}")))?;
        Ok(Self { latencies, messages: 0, bytes: 0, errors: 0, first_error: None })
    }

    /// A request went wrong.
    pub fn fail(&mut self, error: impl Into<String>) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| error.into());
    }

    /// Both together.
    pub fn add(&mut self, other: Self) {
        // Both have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

impl Run {
    /// Takes up to `most` messages of the work; none when it is done.
    pub fn claim(&self, most: u64) -> Option<u64> {
        let Some(messages) = self.amount.messages else {
            return (self.started.elapsed() < self.amount.duration).then_some(most);
        };
        let claimed = self.claimed.fetch_add(most, Ordering::Relaxed);
        Some(messages.saturating_sub(claimed).min(most)).filter(|left| *left > 0)
    }

    /// A request for `messages` messages that was sent at `sent` is answered.
    pub fn record(&self, measured: &mut Measured, sent: Instant, messages: u64, bytes: u64) {
        measured.latencies.saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(LONGEST_US));
        measured.messages += messages;
        measured.bytes += bytes;
        self.done.fetch_add(messages, Ordering::Relaxed);
        self.answered();
    }

    /// Something was answered: the run has taken until now, however long somebody waits for more that does not come.
    pub fn answered(&self) {
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Whether there is nothing left to claim.
    pub fn is_used_up(&self) -> bool {
        match self.amount.messages {
            Some(messages) => self.claimed.load(Ordering::Relaxed) >= messages,
            None => self.started.elapsed() >= self.amount.duration,
        }
    }

    fn took(&self) -> Duration {
        match self.last_us.load(Ordering::Relaxed) {
            0 => self.started.elapsed(),
            us => Duration::from_micros(us),
        }
    }

    /// Size of a message's value in bytes.
    pub fn size(&self) -> usize {
        self.amount.size
    }

    /// Shows how far it is until it is dropped; nothing when nobody looks.
    async fn show(&self) {
        let bar = match self.amount.messages {
            Some(messages) => ProgressBar::new(messages),
            None => ProgressBar::new(self.amount.duration.as_millis() as u64),
        };
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3}%  {msg}") {
            bar.set_style(style);
        }
        loop {
            let (done, elapsed) = (self.done.load(Ordering::Relaxed), self.started.elapsed());
            bar.set_position(if self.amount.messages.is_some() { done } else { elapsed.as_millis() as u64 });
            bar.set_message(format!("{:.0} messages/s", done as f64 / elapsed.as_secs_f64().max(0.001)));
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Runs one worker per connection. Gives what they measured and how long it took.
pub async fn run<W, F>(amount: &Amount, worker: W) -> Result<(Measured, Duration), Error>
where
    W: Fn(usize, Arc<Run>) -> F,
    F: Future<Output = Result<Measured, Error>> + Send + 'static,
{
    let run = Arc::new(Run {
        amount: amount.clone(),
        started: Instant::now(),
        claimed: AtomicU64::new(0),
        done: AtomicU64::new(0),
        last_us: AtomicU64::new(0),
    });
    // As the gateway's connections are: what one core does for them wakes no other.
    let threads = Workers::start(workers::cores())?;
    let tasks = TaskTracker::new();
    let mut measured = FuturesUnordered::new();
    for index in 0..amount.connections.max(1) {
        let (done, wait) = oneshot::channel();
        let work = worker(index, Arc::clone(&run));
        threads.spawn(&tasks, async { drop(done.send(work.await)) });
        measured.push(wait);
    }
    let finished = async {
        let mut total = Measured::new()?;
        while let Some(measured) = measured.next().await {
            total.add(measured.map_err(|_| Error::failed("a connection's task ended early"))??);
        }
        Ok(total)
    };
    tokio::select! {
        total = finished => total.map(|total| (total, run.took())),
        () = run.show() => Err(Error::failed("the progress bar ended before the work")),
    }
}
