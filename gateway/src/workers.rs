//! Threads that run connections, each on one of them from beginning to end.
//!
//! The runtime's own threads share their work: a task that is woken wakes a second thread to look whether there is more to do,
//! and whichever polls the sockets is woken for those that another serves. With a handful of busy connections that costs more
//! than it brings. Here a commit wakes one thread for each connection, and nothing else does.

use std::future::Future;
use std::io;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::metrics::Open;

/// How often it is looked how busy the threads are.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Blocking calls (reads of cold data, mostly) that one thread's connections may have running.
const BLOCKING_THREADS: usize = 64;

/// The threads. They end when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Workers(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    threads: Vec<Thread>,
    looks: Mutex<Looks>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Thread {
    runtime: Handle,
    connections: Arc<AtomicU64>,
}

/// What is known of each thread's load.
#[derive(Debug)]
struct Looks {
    busy: Vec<Duration>,
    /// In tenths of its time, between the last two looks.
    load: Vec<usize>,
    /// Connections given to it since the last look.
    given: Vec<usize>,
}

/// How many threads can run at the same time.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

impl Workers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let threads = (0..count).map(|index| Thread::start(index, stop.clone())).collect::<io::Result<Vec<_>>>()?;
        let looks =
            Mutex::new(Looks { busy: vec![Duration::ZERO; count], load: vec![0; count], given: vec![0; count] });
        let workers = Arc::new(Threads { threads, looks, _stop: stop.drop_guard() });
        if let Some(first) = workers.threads.first() {
            first.runtime.spawn(keep_looking(Arc::downgrade(&workers)));
        }
        Ok(Self(workers))
    }

    /// Runs a connection on the thread that has the most time for it.
    pub fn spawn<F>(&self, tasks: &TaskTracker, connection: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let threads = &self.0.threads;
        let open = threads.iter().map(|thread| thread.connections.load(Ordering::Relaxed));
        let Some(thread) = threads.get(self.0.looks.lock().least(open)) else { return };
        let open = Open::new(&thread.connections);
        let connection = async move {
            connection.await;
            drop(open);
        };
        tasks.spawn_on(connection, &thread.runtime);
    }
}

async fn keep_looking(threads: Weak<Threads>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(threads) = threads.upgrade() else { return };
        let busy = threads.threads.iter().map(|thread| thread.runtime.metrics().worker_total_busy_duration(0));
        threads.looks.lock().look(LOOK_EVERY, busy.collect());
    }
}

impl Looks {
    fn look(&mut self, since: Duration, busy: Vec<Duration>) {
        let load = |(now, before): (&Duration, &Duration)| {
            (now.saturating_sub(*before).as_micros() * 10 / since.as_micros().max(1)) as usize
        };
        self.load = busy.iter().zip(&self.busy).map(load).collect();
        self.given.fill(0);
        self.busy = busy;
    }

    /// The thread with the least to do; a connection given to it counts as a tenth of its time until that is known.
    fn least(&mut self, open: impl Iterator<Item = u64>) -> usize {
        let load = self.load.iter().zip(&self.given).map(|(load, given)| load + given);
        let least = load.zip(open).enumerate().min_by_key(|(_, load)| *load).map_or(0, |(index, _)| index);
        if let Some(given) = self.given.get_mut(least) {
            *given += 1;
        }
        least
    }
}

impl Thread {
    fn start(index: usize, stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS).build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name(format!("connections-{index}"))
            .spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Self { runtime: handle, connections: Arc::default() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn looks(busy: [u64; 3]) -> Looks {
        let mut looks = Looks { busy: vec![Duration::ZERO; 3], load: vec![0; 3], given: vec![0; 3] };
        looks.look(Duration::from_secs(1), busy.map(Duration::from_millis).to_vec());
        looks
    }

    #[test]
    fn idle_threads_get_as_many_connections_each() {
        let mut looks = looks([0, 3, 1]);
        let mut open = [5, 0, 0];
        for _ in 0..31 {
            let chosen = looks.least(open.into_iter());
            open[chosen] += 1;
        }
        open.sort_unstable();
        assert_eq!(open, [10, 11, 15], "10 or 11 more for each");
    }

    #[test]
    fn a_busy_thread_is_spared() {
        let mut looks = looks([800, 0, 900]);
        let open = [0, 100, 0];
        let chosen: Vec<_> = (0..10).map(|_| looks.least(open.into_iter())).collect();
        assert_eq!(chosen, [1, 1, 1, 1, 1, 1, 1, 1, 0, 1]);
    }

    #[test]
    fn a_connection_runs_on_one_of_the_threads_and_is_waited_for() {
        let workers = Workers::start(2).unwrap();
        let tasks = TaskTracker::new();
        let names = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..2 {
            let names = Arc::clone(&names);
            workers.spawn(&tasks, async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                names.lock().push(std::thread::current().name().map(str::to_owned));
            });
        }
        tasks.close();
        Builder::new_current_thread().build().unwrap().block_on(tasks.wait());
        let mut names = names.lock().clone();
        names.sort_unstable();
        assert_eq!(names, ["connections-0", "connections-1"].map(|name| Some(name.to_owned())));
        assert!(workers.0.threads.iter().all(|thread| thread.connections.load(Ordering::Relaxed) == 0));
    }
}
