//! Messages counted with their bytes.

use super::{Counter, Family};

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

/// What a listener has taken in and given out, under its names for messages and bytes received and sent.
pub(crate) fn traffic(names: [&'static str; 4], received: &Tally, sent: &Tally) -> [Family; 4] {
    let [messages_in, bytes_in, messages_out, bytes_out] = names;
    [
        Family::counter(messages_in, "Messages published, repeats included", received.messages.get()),
        Family::counter(bytes_in, "Bytes of messages published, as packed", received.bytes.get()),
        Family::counter(messages_out, "Messages given out", sent.messages.get()),
        Family::counter(bytes_out, "Bytes of keys, values and headers given out", sent.bytes.get()),
    ]
}
