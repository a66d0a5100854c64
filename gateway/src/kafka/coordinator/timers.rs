//! When which group has something to do.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use tidegate_engine::GroupName;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Groups by the time they are due. A group is in here at most once, at the time it has noted itself.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: Mutex<BTreeSet<(Instant, GroupName)>>,
    sooner: Notify,
}

impl Timers {
    /// Notes when a group is due. A time noted before stays when it is earlier: heartbeats move deadlines all the time, and
    /// looking once too often costs less than moving a timer for each.
    pub(super) fn schedule(&self, name: &GroupName, noted: &mut Option<Instant>, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return };
        if noted.is_some_and(|noted| noted <= deadline) {
            return;
        }
        self.cancel(name, *noted);
        *noted = Some(deadline);
        let mut due = self.due.lock();
        let is_first = due.first().is_none_or(|(first, _)| deadline < *first);
        due.insert((deadline, name.clone()));
        drop(due);
        if is_first {
            self.sooner.notify_one();
        }
    }

    /// Forgets a group.
    pub(super) fn cancel(&self, name: &GroupName, noted: Option<Instant>) {
        if let Some(noted) = noted {
            self.due.lock().remove(&(noted, name.clone()));
        }
    }

    /// Waits for the next group that is due, and takes it out.
    pub(super) async fn next_due(&self) -> GroupName {
        loop {
            let first = self.due.lock().first().map(|(at, _)| *at);
            match first {
                Some(at) if at <= Instant::now() => {
                    if let Some((_, name)) = self.due.lock().pop_first() {
                        return name;
                    }
                }
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.sooner.notified() => {}
                },
                None => self.sooner.notified().await,
            }
        }
    }
}
