//! What a channel remembers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_engine::group::{ConsumerId, LeaseId};
use tokio::time::Instant;

use super::basic_publish::Receiving;
use super::error::{Code, Exception, Result};

/// A channel's number, and which of the channels that have had it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ChannelKey {
    pub(super) id: u16,
    pub(super) incarnation: u32,
}

/// One channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    pub(super) key: ChannelKey,
    /// The server has closed it: everything but the client's `channel.close-ok` is for a channel that is no more.
    pub(super) closing: bool,
    /// The number of the last publish, once the client has asked for confirms.
    pub(super) confirms: Option<u64>,
    /// The message that is being received.
    pub(super) receiving: Option<Receiving>,
    /// What was delivered and not settled, by delivery tag.
    pub(super) unacknowledged: BTreeMap<u64, Unacknowledged>,
    pub(super) last_tag: u64,
    /// How many unsettled messages each consumer that is still to come may hold; 0 is any number.
    pub(super) prefetch: u16,
    /// How many they may hold together; 0 is any number.
    pub(super) shared_prefetch: u16,
    /// How many of `unacknowledged` came by `basic.get`, which no prefetch is about.
    pub(super) got: usize,
    pub(super) consumers: Vec<ConsumerId>,
    /// The queue behind its consumer of `amq.rabbitmq.reply-to`, while it has one.
    pub(super) reply_queue: Option<Arc<str>>,
    /// The queue declared last: what an empty name means.
    pub(super) last_queue: Option<Arc<str>>,
}

/// A message delivered and not settled.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    pub(super) lease: LeaseId,
    pub(super) queue: Arc<str>,
    /// Whose; a message that came by `basic.get` is nobody's.
    pub(super) consumer: Option<ConsumerId>,
    pub(super) since: Instant,
    /// The queue counts how often it comes back.
    pub(super) counted: bool,
}

impl Channel {
    /// The tag of the next delivery.
    pub(super) fn next_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// Takes out what a settlement is about: one delivery, or all up to it. 0 with `multiple` is everything.
    ///
    /// # Errors
    /// 406 for a tag that is not outstanding.
    pub(super) fn settled(&mut self, tag: u64, multiple: bool) -> Result<Vec<Unacknowledged>> {
        let settled = self.take(tag, multiple)?;
        self.got = self.got.saturating_sub(settled.iter().filter(|one| one.consumer.is_none()).count());
        Ok(settled)
    }

    fn take(&mut self, tag: u64, multiple: bool) -> Result<Vec<Unacknowledged>> {
        let unknown = || Exception::new(Code::PreconditionFailed, format!("unknown delivery tag {tag}"));
        if !multiple {
            return self.unacknowledged.remove(&tag).map(|one| vec![one]).ok_or_else(unknown);
        }
        if tag == 0 {
            return Ok(std::mem::take(&mut self.unacknowledged).into_values().collect());
        }
        // As in RabbitMQ the tag itself must be outstanding, not only one before it.
        if !self.unacknowledged.contains_key(&tag) {
            return Err(unknown());
        }
        let after = self.unacknowledged.split_off(&(tag + 1));
        Ok(std::mem::replace(&mut self.unacknowledged, after).into_values().collect())
    }

    /// How many more messages its consumers may be sent together.
    pub(super) fn credit(&self, max_unacknowledged: usize) -> usize {
        let shared = if self.shared_prefetch == 0 { usize::MAX } else { usize::from(self.shared_prefetch) };
        shared.saturating_add(self.got).min(max_unacknowledged).saturating_sub(self.unacknowledged.len())
    }

    /// The queue of a request: the one declared last if it names none.
    ///
    /// # Errors
    /// 404 when none was declared.
    pub(super) fn queue(&self, name: &str) -> Result<Arc<str>> {
        if !name.is_empty() {
            return Ok(name.into());
        }
        self.last_queue.clone().ok_or_else(|| Exception::new(Code::NotFound, "no previously declared queue"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tidegate_engine::PartitionId;

    use super::*;

    fn channel(tags: u64) -> Channel {
        let mut channel = Channel::default();
        for offset in 0..tags {
            let lease = LeaseId { partition: PartitionId(1), offset, token: 0 };
            let one =
                Unacknowledged { lease, queue: "q".into(), consumer: None, since: Instant::now(), counted: false };
            let tag = channel.next_tag();
            channel.unacknowledged.insert(tag, one);
        }
        channel
    }

    fn offsets(settled: Result<Vec<Unacknowledged>>) -> Vec<u64> {
        settled.unwrap().iter().map(|one| one.lease.offset).collect()
    }

    #[test]
    fn settlements_take_one_or_all_up_to_one() {
        let mut channel = channel(5);
        assert_eq!(offsets(channel.settled(2, false)), [1]);
        assert!(channel.settled(2, false).is_err(), "settled already");
        assert!(channel.settled(2, true).is_err(), "settled already, though one before it is not");
        assert_eq!(offsets(channel.settled(3, true)), [0, 2]);
        assert!(
            channel.settled(3, true).is_err()
                && channel.settled(6, true).is_err()
                && channel.settled(0, false).is_err()
        );
        assert_eq!(offsets(channel.settled(0, true)), [3, 4]);
        assert!(offsets(channel.settled(0, true)).is_empty(), "nothing is left, and that is no error");
    }

    #[test]
    fn credit_is_what_every_limit_leaves() {
        let mut channel = channel(3);
        assert_eq!(channel.credit(10), 7);
        channel.shared_prefetch = 4;
        assert_eq!(channel.credit(10), 1);
        channel.got = 2;
        assert_eq!((channel.credit(10), channel.credit(4)), (3, 1));
        (channel.got, channel.shared_prefetch) = (0, 2);
        assert_eq!(channel.credit(10), 0);
    }
}
