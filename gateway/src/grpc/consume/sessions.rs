//! The sessions of this process: found again after a break, their leases kept alive, ended when nobody comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidegate_engine::group::Settlement;
use tokio::time::Instant;

use super::super::error::{Refusal, Result};
use super::super::state::Grpc;
use super::session::{Session, Settings};
use super::unsettled::Row;
use crate::broker::Kind;

/// How often sessions are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Leases are taken for so long and prolonged when a third of it is over.
const LEASE: Duration = Duration::from_secs(30);

/// Sessions by their id.
pub(in crate::grpc) struct Sessions {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
    limit: usize,
}

/// How long the session's leases last at first: what is left of them when a stream breaks must outlive the grace.
pub(super) fn lease_time(grpc: &Grpc, settings: &Settings) -> Duration {
    settings.ack_deadline.unwrap_or_else(|| LEASE.max(grpc.config.session_grace.saturating_mul(3)))
}

impl Sessions {
    pub(in crate::grpc) fn new(limit: usize) -> Self {
        Self { by_id: Mutex::default(), limit }
    }

    /// The session of that id if it is of the same group, else a new one; and which.
    pub(super) fn open(&self, grpc: &Grpc, id: &str, settings: &Settings) -> Result<(Arc<Session>, bool)> {
        let mut by_id = self.by_id.lock();
        if let Some(session) = by_id.get(id) {
            let resumed = session.look(|state| {
                let same = state.settings.namespace == settings.namespace && state.settings.group == settings.group;
                same && !state.ended
            });
            if resumed {
                return Ok((Arc::clone(session), true));
            }
        }
        if by_id.len() >= self.limit {
            return Err(Refusal::limit("max_sessions", self.limit));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let open = grpc.metrics.open_session();
        let session = Arc::new(Session::new(id.clone(), grpc.broker.new_consumer(), settings.clone(), open));
        by_id.insert(id, Arc::clone(&session));
        Ok((session, false))
    }

    /// Forgets a session that has ended and gives back what it held, in order.
    pub(super) fn close(&self, grpc: &Grpc, session: &Session) {
        self.by_id.lock().remove(session.id());
        let group = session.look(|state| {
            state.unsettled.clear();
            state.settings.group.clone()
        });
        if let Err(error) = grpc.broker.release_consumer(&grpc.principal, &group, session.consumer()) {
            // A group that is gone has no leases; any others end at their deadline.
            tracing::debug!(%error, group, "could not give back the leases of a session");
        }
    }

    fn all(&self) -> Vec<Arc<Session>> {
        self.by_id.lock().values().cloned().collect()
    }
}

/// Looks after sessions until the listener drains.
pub(in crate::grpc) async fn look_after(grpc: Grpc) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = grpc.drain.requested() => return,
        }
        let now = Instant::now();
        for session in grpc.sessions.all() {
            attend(&grpc, &session, now);
        }
    }
}

/// What one session needs now.
fn attend(grpc: &Grpc, session: &Session, now: Instant) {
    let grace = grpc.config.session_grace;
    let over = session.look(|state| {
        state.ended |= state.left_at.is_some_and(|left_at| now.duration_since(left_at) >= grace);
        state.ended
    });
    if over {
        return grpc.sessions.close(grpc, session);
    }
    let expired: Vec<u64> = session.look(|state| {
        if state.settings.ack_deadline.is_none() {
            return Vec::new();
        }
        let ended = |row: &Row| row.until().is_some_and(|until| until <= now);
        state.unsettled.iter().filter(|(_, row)| ended(row)).map(|(id, _)| id).collect()
    });
    session.lose(expired.into_iter());
    prolong(grpc, session, now);
}

/// Keeps the leases of a session without a time limit of its own alive, also while it waits for its consumer.
fn prolong(grpc: &Grpc, session: &Session, now: Instant) {
    let due = session.look(|state| {
        let time = lease_time(grpc, &state.settings);
        if state.settings.ack_deadline.is_some() || state.unsettled.len() == 0 || state.prolong_at > now {
            return None;
        }
        state.prolong_at = now + time / 3;
        Some((state.settings.group.clone(), time, state.unsettled.find(0..=u64::MAX)))
    });
    let Some((group, time, held)) = due else { return };
    let extensions =
        held.iter().flat_map(|(_, row)| row.leases()).map(|lease| Settlement::Extend(lease, time)).collect();
    let ids = held.iter().flat_map(|(id, row)| row.deliveries(*id)).map(|(id, _)| id);
    match grpc.broker.settle(&grpc.principal, &group, extensions) {
        Ok((results, _commit)) => {
            session.lose(ids.zip(results).filter(|(_, result)| result.is_err()).map(|(id, _)| id));
        }
        // The group was deleted, and its leases with it.
        Err(error) if error.kind == Kind::NotFound => session.lose(ids),
        Err(error) => tracing::debug!(%error, group, "could not prolong the leases of a session"),
    }
}
