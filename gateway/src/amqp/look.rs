//! What a session does about its pace: it lets the socket rest, and looks what has come meanwhile.

use std::io;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::connection::{Ended, Wire};
use super::session::Session;

impl Session<'_> {
    /// Reads what is there already; false if nothing is.
    pub(super) fn read_at_once(&mut self) -> Result<bool, Ended> {
        let Wire { reader, socket, .. } = &mut self.wire;
        let Some(read) = reader.fill(&mut socket.halves().0).now_or_never() else { return Ok(false) };
        self.note_read(read?).map(|()| true)
    }

    /// Lets the socket rest or not, as the pace says; when to look, if it rests.
    pub(super) fn keep_pace(&mut self) -> io::Result<Option<Instant>> {
        let next_look = self.pace.next_look();
        match (next_look.is_some(), self.wire.socket.is_resting()) {
            (true, false) => self.wire.socket.rest()?,
            (false, true) => self.wire.socket.watch()?,
            _ => {}
        }
        Ok(next_look)
    }

    /// Looks for what has come while the socket rested.
    pub(super) fn look(&mut self) -> Result<(), Ended> {
        if !self.may_read() || !self.wire.outbox.is_empty() {
            // The client does not take what it is sent, or is not to be read: there is something to be woken for.
            self.pace.watch(true);
            return Ok(());
        }
        if !self.wire.reader.has_frames() {
            self.read_at_once()?;
        }
        self.pace.looked(Instant::now());
        Ok(())
    }

    /// The thread is awake for something else: what has come to a socket that rests need not wake it again.
    pub(super) fn look_early(&mut self) -> Result<(), Ended> {
        let rests = self.pace.next_look().is_some();
        if rests && self.may_read() && !self.wire.reader.has_frames() && self.read_at_once()? {
            self.pace.looked_early(self.last_read);
        }
        Ok(())
    }
}
