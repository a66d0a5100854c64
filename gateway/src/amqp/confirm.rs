//! Class 85: publishers are told when what they published is durable.

use futures_util::{FutureExt, StreamExt};
use tidegate_engine::Commit;

use super::channel::ChannelKey;
use super::codec::{self, Basic, Method};
use super::error::Result;
use super::session::{Session, from_servers};

/// A publish that waits for its confirmation: its channel, and its number there.
pub(super) type Sequence = (ChannelKey, u64);

/// What became of the publishes of one append whose channels asked to be told.
#[derive(Debug, Default)]
pub(super) struct Confirmation {
    /// All of them, in order.
    pub(super) published: Vec<Sequence>,
    /// Those that are not known to have been kept.
    pub(super) refused: Vec<Sequence>,
}

impl Confirmation {
    /// Waits for all of it to be durable.
    pub(super) async fn when(self, commits: Vec<Commit>) -> Self {
        for commit in commits {
            if let Err(error) = commit.wait().await {
                tracing::debug!(%error, "publishes are refused: nobody knows whether they are kept");
                return self.failed();
            }
        }
        self
    }

    fn and(mut self, later: Self) -> Self {
        self.published.extend(later.published);
        self.refused.extend(later.refused);
        self
    }

    fn failed(self) -> Self {
        Self { refused: self.published.clone(), ..self }
    }

    /// By channel, the last publish that was kept: everything up to it was kept or is refused by name.
    fn kept(&self) -> Vec<Sequence> {
        let mut kept: Vec<Sequence> = Vec::new();
        for (channel, number) in self.published.iter().filter(|one| !self.refused.contains(one)) {
            match kept.iter_mut().find(|(of, _)| of == channel) {
                Some((_, last)) => *last = *number,
                None => kept.push((*channel, *number)),
            }
        }
        kept
    }
}

impl Session<'_> {
    pub(super) fn confirm_method(&mut self, id: u16, method: codec::Confirm) -> Result<()> {
        match method {
            codec::Confirm::Select { nowait } => {
                self.channel(id)?.confirms.get_or_insert(0);
                if !nowait {
                    self.reply(id, Method::Confirm(codec::Confirm::SelectOk {}));
                }
                Ok(())
            }
            codec::Confirm::SelectOk {} => Err(from_servers(method.name())),
        }
    }

    /// One commit often ends several confirmations: a publisher is told of all of them in one word.
    pub(super) fn confirm_with_company(&mut self, mut confirmation: Confirmation) {
        while let Some(Some(later)) = self.confirmations.next().now_or_never() {
            confirmation = confirmation.and(later);
        }
        self.confirm(&confirmation);
    }

    /// Tells publishers. The refused are named one by one, then everything up to the last that was kept is confirmed at once.
    fn confirm(&mut self, confirmation: &Confirmation) {
        let Confirmation { published, refused } = confirmation;
        self.publishing.confirmed(published.len());
        self.listener.metrics.refused.add(refused.len());
        self.listener.metrics.confirmed.add(published.len() - refused.len());
        for (channel, delivery_tag) in refused.iter().copied() {
            if !self.is_open(channel) {
                continue;
            }
            let nack = Basic::Nack { delivery_tag, multiple: false, requeue: false };
            self.wire.outbox.method(channel.id, &Method::Basic(nack));
        }
        for (channel, delivery_tag) in confirmation.kept() {
            if !self.is_open(channel) {
                continue;
            }
            let ack = Basic::Ack { delivery_tag, multiple: true };
            self.wire.outbox.method(channel.id, &Method::Basic(ack));
        }
    }

    fn is_open(&self, key: ChannelKey) -> bool {
        self.channels.get(&key.id).is_some_and(|channel| channel.key == key && !channel.closing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_told_of_the_last_that_was_kept() {
        let (one, two) = (ChannelKey { id: 1, incarnation: 1 }, ChannelKey { id: 2, incarnation: 1 });
        let published = vec![(one, 1), (two, 1), (one, 2), (one, 3)];
        let confirmation = Confirmation { published, refused: vec![(one, 3)] };
        assert_eq!(confirmation.kept(), [(one, 2), (two, 1)]);
        assert!(confirmation.failed().kept().is_empty());
    }
}
