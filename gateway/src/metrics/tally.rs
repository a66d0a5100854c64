//! Messages counted with their bytes.

use super::Counter;

/// So many messages, of so many bytes.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many.
    pub messages: Counter,
    /// Bytes of all of them.
    pub bytes: Counter,
}

impl Tally {
    /// Adds both.
    pub(crate) fn add(&self, messages: usize, bytes: usize) {
        self.messages.add(messages);
        self.bytes.add(bytes);
    }
}
