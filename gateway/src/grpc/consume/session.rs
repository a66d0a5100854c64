//! What a session holds: leases by the number of their delivery, and the flow of one stream at a time.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_engine::group::{ConsumerId, LeaseId, Settlement};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::state::Grpc;
use super::unsettled::Unsettled;
use crate::metrics::Open;

/// What a session was begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub namespace: String,
    pub group: String,
    /// The consumer's own time limit. Without one leases live as long as the session.
    pub ack_deadline: Option<Duration>,
    /// What is sent counts as done.
    pub acknowledge: bool,
}

/// A consumer of a group, as long as it may come back.
pub(in crate::grpc) struct Session {
    id: String,
    consumer: ConsumerId,
    state: Mutex<State>,
    _open: Open,
}

pub(super) struct State {
    pub settings: Settings,
    /// The last delivery's number.
    pub last_id: u64,
    pub unsettled: Unsettled,
    /// Deliveries lost since the stream was told.
    pub lost: Vec<u64>,
    /// Counts the streams; only the newest may deliver.
    pub stream: u64,
    /// When the last stream broke.
    pub left_at: Option<Instant>,
    /// When the leases are to be prolonged next.
    pub prolong_at: Instant,
    /// The session is over.
    pub ended: bool,
    /// Wakes the newest stream.
    changed: Arc<Notify>,
}

/// What one stream has been asked for.
#[derive(Debug, Default)]
struct Flow {
    credit: Credit,
    /// Answers outstanding.
    answering: usize,
    /// The consumer wants no more.
    draining: bool,
}

/// What may be sent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credit {
    messages: u64,
    /// None until bytes are given for the first time; below zero when a message was larger than what was left.
    bytes: Option<i64>,
}

impl Credit {
    pub(super) fn grant(&mut self, messages: u64, bytes: u64) {
        self.messages = self.messages.saturating_add(messages);
        if bytes > 0 {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            self.bytes = Some(self.bytes.unwrap_or(0).saturating_add(bytes));
        }
    }

    /// Messages and bytes that may be sent; neither is zero.
    fn left(&self) -> Option<(usize, usize)> {
        let bytes = match self.bytes {
            None => usize::MAX,
            Some(bytes) => usize::try_from(bytes).ok()?,
        };
        let messages = usize::try_from(self.messages).unwrap_or(usize::MAX);
        (messages > 0 && bytes > 0).then_some((messages, bytes))
    }

    fn spend(&mut self, messages: usize, bytes: usize) {
        self.messages = self.messages.saturating_sub(messages as u64);
        let spent = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.bytes = self.bytes.map(|left| left.saturating_sub(spent));
    }
}

impl Session {
    pub(super) fn new(id: String, consumer: ConsumerId, settings: Settings, open: Open) -> Self {
        let state = State {
            settings,
            last_id: 0,
            unsettled: Unsettled::default(),
            lost: Vec::new(),
            stream: 0,
            left_at: None,
            prolong_at: Instant::now(),
            ended: false,
            changed: Arc::default(),
        };
        Self { id, consumer, state: Mutex::new(state), _open: open }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn consumer(&self) -> ConsumerId {
        self.consumer
    }

    /// Looks at the state, or changes it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock())
    }

    /// Forgets deliveries that are the session's no more and tells the stream. What was settled meanwhile is not lost.
    pub(super) fn lose(&self, ids: impl Iterator<Item = u64>) {
        self.look(|state| {
            let before = state.lost.len();
            state.lost.extend(ids.filter(|id| state.unsettled.remove(*id)));
            if state.lost.len() > before {
                state.changed.notify_one();
            }
        });
    }
}

/// A session with a stream. Dropped, the session is left and waits for the consumer to come back.
pub(super) struct Attached {
    session: Arc<Session>,
    /// What this stream wants of the session.
    settings: Settings,
    /// Which of the session's streams.
    stream: u64,
    flow: Mutex<Flow>,
    changed: Arc<Notify>,
}

/// What a stream may do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another stream has the session.
    TakenOver,
    /// Tell the consumer that these are lost.
    Tell(Vec<u64>),
    /// Deliver up to so many messages and bytes.
    Deliver(usize, usize),
    /// There is nothing to do before something changes.
    Wait,
    /// The consumer wanted no more, and everything is settled and answered.
    Finished,
}

impl Attached {
    /// Takes the session from the stream that had it before.
    pub(super) fn new(session: Arc<Session>, settings: Settings) -> Self {
        let changed = Arc::new(Notify::new());
        let stream = session.look(|state| {
            state.settings = settings.clone();
            state.stream += 1;
            state.left_at = None;
            state.lost.clear();
            std::mem::replace(&mut state.changed, Arc::clone(&changed)).notify_one();
            state.stream
        });
        Self { session, settings, stream, flow: Mutex::default(), changed }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Gives back what the consumer did not receive.
    pub(super) fn resume(&self, received_up_to: Option<u64>) -> Vec<Settlement> {
        let Some(after) = received_up_to.and_then(|id| id.checked_add(1)) else { return Vec::new() };
        let unseen = self.session.look(|state| state.unsettled.take(after..=u64::MAX));
        unseen.into_iter().flat_map(|(_, row)| row.leases()).map(Settlement::Release).collect()
    }

    /// The deliveries still to be settled.
    pub(super) fn unsettled(&self) -> Vec<u64> {
        self.session.look(|state| state.unsettled.iter().map(|(id, _)| id).collect())
    }

    pub(super) fn grant(&self, messages: u64, bytes: u64) {
        self.flow.lock().credit.grant(messages, bytes);
        self.changed.notify_one();
    }

    /// The consumer wants no more.
    pub(super) fn drain(&self) {
        self.flow.lock().draining = true;
        self.changed.notify_one();
    }

    /// Something is to be answered before the stream may end.
    pub(super) fn owes(&self) {
        self.flow.lock().answering += 1;
    }

    /// It is answered.
    pub(super) fn answered(&self) {
        self.flow.lock().answering -= 1;
        self.changed.notify_one();
    }

    /// What to do, with at most so many unsettled; `stopping`: nothing more is delivered.
    pub(super) fn next(&self, max_unsettled: usize, stopping: bool) -> Next {
        let (lost, unsettled) = match self.session.look(|state| {
            let mine = state.stream == self.stream;
            mine.then(|| (std::mem::take(&mut state.lost), state.unsettled.len()))
        }) {
            None => return Next::TakenOver,
            Some(found) => found,
        };
        if !lost.is_empty() {
            return Next::Tell(lost);
        }
        let flow = self.flow.lock();
        if stopping || flow.draining {
            return if unsettled == 0 && flow.answering == 0 { Next::Finished } else { Next::Wait };
        }
        let room = max_unsettled.saturating_sub(unsettled);
        match flow.credit.left() {
            Some((messages, bytes)) if room > 0 => Next::Deliver(messages.min(room), bytes),
            _ => Next::Wait,
        }
    }

    /// Numbers what is about to be sent and gives the first number; none when another stream has taken over. Nothing is
    /// kept of what counts as done.
    pub(super) fn sent(&self, leases: impl ExactSizeIterator<Item = LeaseId>, bytes: usize) -> Option<u64> {
        self.flow.lock().credit.spend(leases.len(), bytes);
        let until = self.settings.ack_deadline.map(|deadline| Instant::now() + deadline);
        self.session.look(|state| {
            if state.stream != self.stream {
                return None;
            }
            let first = state.last_id + 1;
            state.last_id += leases.len() as u64;
            if !self.settings.acknowledge {
                state.unsettled.extend(first, leases, until);
            }
            Some(first)
        })
    }

    /// Returns when there is something to look at.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the session: what it holds goes back at once, in order.
    pub(super) fn end(self, grpc: &Grpc) {
        let mine = self.session.look(|state| {
            let mine = state.stream == self.stream;
            state.ended |= mine;
            mine
        });
        if mine {
            grpc.sessions.close(grpc, &self.session);
        }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.session.look(|state| {
            if state.stream == self.stream {
                state.left_at = Some(Instant::now());
            }
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Credit;

    #[test]
    fn credit_adds_up_and_is_used_up() {
        let mut credit = Credit::default();
        assert_eq!(credit.left(), None);
        credit.grant(2, 0);
        credit.grant(1, 0);
        assert_eq!(credit.left(), Some((3, usize::MAX)));
        credit.spend(3, 1_000);
        assert_eq!(credit.left(), None);
    }

    #[test]
    fn a_message_larger_than_what_is_left_is_owed() {
        let mut credit = Credit::default();
        credit.grant(10, 100);
        assert_eq!(credit.left(), Some((10, 100)));
        credit.spend(1, 250);
        assert_eq!(credit.left(), None);
        credit.grant(0, 150);
        assert_eq!(credit.left(), None);
        credit.grant(0, 1);
        assert_eq!(credit.left(), Some((9, 1)));
    }

    #[test]
    fn credit_does_not_overflow() {
        let mut credit = Credit::default();
        credit.grant(u64::MAX, u64::MAX);
        credit.grant(u64::MAX, u64::MAX);
        credit.spend(usize::MAX, usize::MAX);
        credit.spend(usize::MAX, usize::MAX);
        assert_eq!(credit.left(), None);
    }
}
