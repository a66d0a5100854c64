//! What a session does while the disk is full: it waits for space and goes on with everything else.

use std::time::Duration;

use super::codec::{Connection, Method};
use super::connection::Ended;
use super::error::Result;
use super::session::Session;

/// While the disk is full, publishing is tried again this often.
pub(super) const FULL_DISK_PAUSE: Duration = Duration::from_millis(200);

impl Session<'_> {
    /// What was published or settled waits for space on the disk.
    pub(super) fn is_stuck(&self) -> bool {
        self.publishing.is_stuck() || self.settling.is_stuck()
    }

    /// Handles the request that came last, unless something ahead of it waits for space on the disk: then the session goes on,
    /// with its heartbeats, reads nothing more, and comes back to it.
    pub(super) async fn answer_held(&mut self) -> Result<(), Ended> {
        let Some((id, method)) = self.held.take() else { return Ok(()) };
        let gathered = self.offer_gathered().await;
        match gathered {
            Ok(()) if self.is_stuck() => {
                self.held = Some((id, method));
                Ok(())
            }
            // Boxed, because it is rare, and the session's own future is as large as the largest in it.
            Ok(()) => Box::pin(self.request(id, method)).await,
            Err(exception) => self.fail(id, exception, (method.class_id(), method.method_id(), method.name())),
        }
    }

    async fn offer_gathered(&mut self) -> Result<()> {
        self.settle_gathered()?;
        self.publish_gathered().await
    }

    /// Tells a client that cares when publishing begins to wait for space, and when it goes on.
    pub(super) fn say_whether_blocked(&mut self) {
        let is_stuck = self.publishing.is_stuck();
        if std::mem::replace(&mut self.blocked, is_stuck) == is_stuck {
            return;
        }
        let method = if is_stuck {
            self.listener.metrics.blocked.add(1);
            Connection::Blocked { reason: "low on disk".into() }
        } else {
            self.listener.metrics.blocked.sub(1);
            Connection::Unblocked {}
        };
        if self.opened.connection_blocked {
            self.reply(0, Method::Connection(method));
        }
    }
}
