//! Waiting: for a write to become durable, for something new to read.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::shard::Shard;
use crate::waiting::Signal;
use crate::{Error, GroupName, PartitionId, Result};

/// Resolves when what it stands for has the durability it was promised, or fails when that can never be.
/// Dropping it forgets about the answer, not about the write.
#[must_use = "a write is not durable before its commit is done"]
pub struct Commit(Waiting);

enum Waiting {
    Done(Result<()>),
    For(Arc<Mutex<Slot>>),
}

/// What a [`Commit`] waits for. Dropped before it is kept, it fails the commit: the engine is closed.
pub(crate) struct Promise(Arc<Mutex<Slot>>);

/// Between a promise and its commit.
enum Slot {
    /// Who waits, if somebody does already, and the thread it was on.
    Open(Option<(ThreadId, Waker)>),
    /// The result, and others who waited on the same thread: to be woken by who takes it.
    Kept(Result<()>, Vec<Waker>),
    /// The result was taken, or nobody will.
    Over,
}

/// The first waiter of a thread.
struct Leader {
    thread: ThreadId,
    waker: Waker,
    promise: Promise,
    companions: Vec<Waker>,
}

impl Commit {
    pub(crate) fn ready(result: Result<()>) -> Self {
        Self(Waiting::Done(result))
    }

    /// A commit, and what it waits for.
    pub(crate) fn promised() -> (Promise, Self) {
        let slot = Arc::new(Mutex::new(Slot::Open(None)));
        (Promise(Arc::clone(&slot)), Self(Waiting::For(slot)))
    }

    /// Waits.
    ///
    /// # Errors
    /// [`Error::Undecided`], [`Error::Poisoned`] or [`Error::Closed`]: it is unknown whether the write survives.
    pub async fn wait(self) -> Result<()> {
        match &self.0 {
            Waiting::Done(result) => result.clone(),
            Waiting::For(slot) => poll_fn(|context| Slot::poll(slot, context)).await,
        }
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let Waiting::For(slot) = &self.0 {
            Slot::take(slot);
        }
    }
}

impl Slot {
    fn poll(slot: &Mutex<Self>, context: &Context<'_>) -> Poll<Result<()>> {
        if let Self::Open(waiter) = &mut *slot.lock() {
            *waiter = Some((thread::current().id(), context.waker().clone()));
            return Poll::Pending;
        }
        Poll::Ready(Self::take(slot).unwrap_or(Err(Error::Closed)))
    }

    /// The result if there is one. Who waited on the same thread is woken: from there that takes no system call.
    fn take(slot: &Mutex<Self>) -> Option<Result<()>> {
        let taken = mem::replace(&mut *slot.lock(), Self::Over);
        let Self::Kept(result, companions) = taken else { return None };
        companions.into_iter().for_each(Waker::wake);
        Some(result)
    }
}

impl Promise {
    /// Keeps promises, all with one result. Waking somebody on another thread takes a system call each time, so of each
    /// thread's waiters one is woken, and wakes the others.
    pub(crate) fn keep_all(promises: impl IntoIterator<Item = Self>, result: &Result<()>) {
        let mut leaders: Vec<Leader> = Vec::new();
        for promise in promises {
            let mut slot = promise.0.lock();
            let Slot::Open(waiter) = &mut *slot else { continue };
            let Some((thread, waker)) = waiter.take() else {
                *slot = Slot::Kept(result.clone(), Vec::new());
                continue;
            };
            if let Some(leader) = leaders.iter_mut().find(|leader| leader.thread == thread) {
                *slot = Slot::Kept(result.clone(), Vec::new());
                leader.companions.push(waker);
            } else {
                drop(slot);
                leaders.push(Leader { thread, waker, promise, companions: Vec::new() });
            }
        }
        // Whoever wakes, all the results are there.
        leaders.into_iter().for_each(|leader| leader.wake(result.clone()));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut slot = self.0.lock();
        if let Slot::Open(waiter) = &mut *slot {
            let waiter = waiter.take();
            *slot = Slot::Kept(Err(Error::Closed), Vec::new());
            drop(slot);
            waiter.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }
}

impl Leader {
    fn wake(self, result: Result<()>) {
        let mut slot = self.promise.0.lock();
        // It may have looked again since, and gone elsewhere or away.
        if let Slot::Open(waiter) = &mut *slot {
            let waker = waiter.take().map_or(self.waker, |(_, waker)| waker);
            *slot = Slot::Kept(result, self.companions);
            drop(slot);
            waker.wake();
        } else {
            drop(slot);
            self.companions.into_iter().for_each(Waker::wake);
        }
    }
}

/// Wakes its owner once when there is something new. See [`crate::Engine::watch`] and [`crate::Engine::watch_group`].
pub struct Watch {
    notify: Arc<Notify>,
    shard: Weak<Shard>,
    partitions: Vec<PartitionId>,
    group: Option<Arc<Signal>>,
}

impl Watch {
    /// Registers with every partition whose high watermark is not above its position yet.
    pub(crate) fn partitions(shard: &Arc<Shard>, positions: &[(PartitionId, u64)]) -> Self {
        let watch = Self::new(shard, positions.iter().map(|(id, _)| *id).collect(), None);
        let mut inner = shard.lock();
        let closed = matches!(inner.failed, Some(Error::Closed));
        for (id, position) in positions {
            match inner.state.partition_mut(*id) {
                Some(partition) if partition.high_watermark <= *position && !closed => {
                    partition.readers.add(*position, &watch.notify)
                }
                _ => watch.notify.notify_one(),
            }
        }
        drop(inner);
        watch
    }

    /// Registers with a group, which is woken by the partitions it consumes.
    pub(crate) fn group(shard: &Arc<Shard>, name: &GroupName) -> Self {
        let mut inner = shard.lock();
        let closed = matches!(inner.failed, Some(Error::Closed));
        let signal = inner.state.subscription(name).ok().map(|subscription| Arc::clone(&subscription.signal));
        let watch = Self::new(shard, Vec::new(), signal);
        match &watch.group {
            Some(signal) if !closed => signal.add(&watch.notify),
            _ => watch.notify.notify_one(),
        }
        drop(inner);
        watch
    }

    fn new(shard: &Arc<Shard>, partitions: Vec<PartitionId>, group: Option<Arc<Signal>>) -> Self {
        Self { notify: Arc::new(Notify::new()), shard: Arc::downgrade(shard), partitions, group }
    }

    /// Returns when something watched has changed since the watch was made (at once if it had already), or the engine
    /// closes. A watch wakes once: make another, then look, then wait again.
    pub async fn changed(&mut self) {
        self.notify.notified().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(signal) = &self.group {
            signal.remove(&self.notify);
        }
        let Some(shard) = self.shard.upgrade().filter(|_| !self.partitions.is_empty()) else { return };
        let mut inner = shard.lock();
        for id in &self.partitions {
            if let Some(partition) = inner.state.partition_mut(*id) {
                partition.readers.remove(&self.notify);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Somebody who waits, and how often it was woken.
    struct Waiter {
        wait: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
        woken: Arc<Count>,
    }

    impl Waiter {
        fn new(commit: Commit) -> Self {
            let mut waiter = Self { wait: Box::pin(commit.wait()), woken: Arc::default() };
            assert!(waiter.poll().is_pending());
            waiter
        }

        fn poll(&mut self) -> Poll<Result<()>> {
            self.wait.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.woken))))
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    fn waiting(count: usize) -> (Vec<Promise>, Vec<Waiter>) {
        (0..count).map(|_| Commit::promised()).map(|(promise, commit)| (promise, Waiter::new(commit))).unzip()
    }

    fn woken(waiters: &[Waiter]) -> Vec<usize> {
        waiters.iter().map(Waiter::woken).collect()
    }

    #[test]
    fn one_of_each_thread_is_woken_and_wakes_the_others() {
        let (here, mut waiters) = waiting(3);
        let (there, mut others) = thread::spawn(|| waiting(2)).join().unwrap();
        Promise::keep_all(here.into_iter().chain(there), &Ok(()));
        assert_eq!((woken(&waiters), woken(&others)), (vec![1, 0, 0], vec![1, 0]));
        assert_eq!(waiters[0].poll(), Poll::Ready(Ok(())));
        assert_eq!((woken(&waiters), woken(&others)), (vec![1, 1, 1], vec![1, 0]));
        assert!(waiters[1..].iter_mut().chain(&mut others).all(|waiter| waiter.poll() == Poll::Ready(Ok(()))));
    }

    #[test]
    fn whoever_gives_up_wakes_the_others_too() {
        let (promises, mut waiters) = waiting(3);
        Promise::keep_all(promises, &Err(Error::Undecided));
        waiters.remove(0);
        assert_eq!(woken(&waiters), [1, 1]);
        assert!(waiters.iter_mut().all(|waiter| waiter.poll() == Poll::Ready(Err(Error::Undecided))));

        let (promises, mut waiters) = waiting(3);
        waiters.remove(0);
        Promise::keep_all(promises, &Ok(()));
        assert_eq!(woken(&waiters), [1, 0], "who had given up before is not counted on");
    }

    #[test]
    fn a_leader_that_gave_up_meanwhile_does_not_keep_the_others_asleep() {
        let (mut promises, waiters) = waiting(2);
        let companion = Waker::from(Arc::clone(&waiters[1].woken));
        let leader = Leader {
            thread: thread::current().id(),
            waker: Waker::from(Arc::clone(&waiters[0].woken)),
            promise: promises.remove(0),
            companions: vec![companion],
        };
        let rest = waiters.into_iter().nth(1).unwrap();
        leader.wake(Ok(()));
        assert_eq!(rest.woken(), 1);
    }

    #[test]
    fn who_comes_late_finds_the_result() {
        let (promise, commit) = Commit::promised();
        Promise::keep_all([promise], &Ok(()));
        let mut wait = pin!(commit.wait());
        assert_eq!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
    }

    #[test]
    fn a_promise_that_is_not_kept_means_closed() {
        let (promises, mut waiters) = waiting(2);
        drop(promises);
        assert_eq!(woken(&waiters), [1, 1]);
        assert!(waiters.iter_mut().all(|waiter| waiter.poll() == Poll::Ready(Err(Error::Closed))));
    }
}
