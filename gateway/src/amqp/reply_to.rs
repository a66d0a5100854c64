//! Direct reply-to: who consumes from a queue of this name without acknowledging gets the answers to what it publishes with
//! that name as `reply-to`. Behind it is a queue of the channel's own, in memory, under a name that nobody can guess.

use std::sync::Arc;

use super::error::{Code, Exception, Result};
use super::session::Session;
use crate::broker::{Kind, QueueInfo, QueueSpec};

/// What clients call it.
pub(super) const REPLY_TO: &str = "amq.rabbitmq.reply-to";
/// What names of the queues behind it begin with.
const PREFIX: &str = "amq.rabbitmq.reply-to.";

impl Session<'_> {
    /// The queue for a channel's answers.
    ///
    /// # Errors
    /// 406 for a consumer that acknowledges, or a second one.
    pub(super) async fn declare_reply_queue(&mut self, id: u16, no_ack: bool) -> Result<Arc<str>> {
        let refused = |message| Err(Exception::new(Code::PreconditionFailed, message));
        if !no_ack {
            return refused("reply consumer cannot acknowledge");
        }
        if self.channel(id)?.reply_queue.is_some() {
            return refused("reply consumer already set");
        }
        let spec = QueueSpec { durable: false, exclusive: true, auto_delete: true, ..QueueSpec::default() };
        let (broker, principal) = (&self.listener.broker, &self.opened.principal);
        let name = broker.declare_new_queue(principal, PREFIX, spec, self.owner).await?.name;
        self.exclusive_queues.push(Arc::clone(&name));
        self.channel(id)?.reply_queue = Some(Arc::clone(&name));
        Ok(name)
    }

    /// A consumer has left; the queue goes with it.
    pub(super) fn forget_reply_queue(&mut self, id: u16, queue: &Arc<str>) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.reply_queue.as_ref() == Some(queue)
        {
            channel.reply_queue = None;
            self.exclusive_queues.retain(|of| of != queue);
        }
    }

    /// What a request's `reply-to` is replaced with.
    ///
    /// # Errors
    /// 406 when the channel has no consumer for answers.
    pub(super) fn reply_queue(&self, id: u16) -> Result<Arc<str>> {
        let queue = self.channels.get(&id).and_then(|channel| channel.reply_queue.clone());
        queue.ok_or_else(|| Exception::new(Code::PreconditionFailed, "fast reply consumer does not exist"))
    }

    /// Declaring such a queue only asks whether somebody waits for the answer; none for any other queue.
    pub(super) fn look_at_reply_queue(&self, name: &str) -> Result<Option<QueueInfo>> {
        let info = QueueInfo { name: name.into(), messages: 0, consumers: 1 };
        if name == REPLY_TO {
            return Ok(Some(info));
        }
        if !name.starts_with(PREFIX) {
            return Ok(None);
        }
        match self.listener.broker.queue(&self.opened.principal, name, self.owner) {
            Err(error) if error.kind != Kind::Locked => Err(error.into()),
            _ => Ok(Some(info)),
        }
    }
}
