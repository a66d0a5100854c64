//! `basic.consume` and what follows from it: messages are leased for a consumer as long as it has credit, and written.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable};
use tidegate_engine::group::{ConsumerId, Delivery, LeaseRequest};
use tokio::time::Instant;

use super::channel::Unacknowledged;
use super::codec::{self, Basic, Method, Table, Text, max_properties};
use super::connection::Ended;
use super::convert::{Extra, Outgoing};
use super::error::{Code, Exception, Result};
use super::reply_to::REPLY_TO;
use super::session::Session;
use crate::broker::Attachment;

/// One turn leases at most so many messages and about so many bytes for one consumer: then it is another one's turn.
const TURN_MESSAGES: usize = 256;
const TURN_BYTES: usize = 64 << 10;
/// Consumers of one queue on one connection take turns of this part of what is ready there, one message at least.
const SHORT_TURNS: usize = 256;

/// One consumer of a queue.
pub(super) struct Consumer {
    channel: u16,
    tag: Text,
    queue: Arc<str>,
    no_ack: bool,
    /// How many unsettled messages it may hold; 0 is any number.
    prefetch: u16,
    unacknowledged: usize,
    /// It is in the queue of those that are ready.
    queued: bool,
    /// It waits for a message.
    waiting: Option<AbortHandle>,
    /// It has found nothing, and had credit ever since.
    waited: bool,
    /// The token of what it was given last.
    served: u64,
    attachment: Attachment,
    /// It waits for the end of its queue.
    watching: AbortHandle,
}

/// What a consumer may be given in one turn.
#[derive(Debug, Clone, Copy)]
struct Share {
    messages: usize,
    /// Others of its connection are ready, too.
    in_turn: bool,
}

impl Consumer {
    fn credit(&self) -> usize {
        match self.prefetch {
            0 => usize::MAX,
            prefetch => usize::from(prefetch).saturating_sub(self.unacknowledged),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.watching.abort();
        if let Some(waiting) = &self.waiting {
            waiting.abort();
        }
    }
}

impl Session<'_> {
    pub(super) fn qos(&mut self, id: u16, prefetch_size: u32, prefetch_count: u16, global: bool) -> Result<()> {
        if prefetch_size != 0 {
            return Err(Exception::not_implemented("basic.qos with prefetch_size"));
        }
        let channel = self.channel(id)?;
        if global {
            channel.shared_prefetch = prefetch_count;
            // A larger limit may be what they have waited for.
            for consumer in channel.consumers.clone() {
                self.make_ready(consumer);
            }
        } else {
            channel.prefetch = prefetch_count;
        }
        Ok(())
    }

    pub(super) async fn consume(&mut self, id: u16, method: Basic) -> Result<()> {
        let Basic::Consume { queue, consumer_tag, no_local, no_ack, exclusive, no_wait, arguments } = method else {
            return Ok(());
        };
        if no_local {
            return Err(Exception::not_implemented("basic.consume with no_local"));
        }
        check_arguments(&arguments)?;
        self.catch_up().await?;
        let max = self.listener.config.max_consumers;
        let mut queue = self.channel(id)?.queue(&queue)?;
        if *queue == *REPLY_TO {
            queue = self.declare_reply_queue(id, no_ack).await?;
        }
        let channel = self.channel(id)?;
        if channel.consumers.len() >= max {
            let message = format!("a channel has at most {max} consumers (max_consumers)");
            return Err(Exception::new(Code::PreconditionFailed, message));
        }
        let prefetch = channel.prefetch;
        let number = self.listener.broker.new_consumer();
        let tag = if consumer_tag.is_empty() { generated_tag() } else { consumer_tag.as_str().to_owned() };
        if self.consumer_by_tag(id, &tag).is_some() {
            return Err(Exception::new(
                Code::NotAllowed,
                format!("attempt to reuse consumer tag '{}'", tag.escape_debug()),
            ));
        }
        let attachment = self.listener.broker.attach(&self.opened.principal, &queue, self.owner, exclusive).await?;
        let consumer = Consumer {
            channel: id,
            tag: Text::from(tag),
            queue,
            no_ack,
            prefetch,
            unacknowledged: 0,
            queued: false,
            waiting: None,
            waited: false,
            served: 0,
            watching: self.wake_after(number, attachment.gone()),
            attachment,
        };
        if !no_wait {
            self.reply(id, Method::Basic(Basic::ConsumeOk { consumer_tag: consumer.tag.clone() }));
        }
        self.channel(id)?.consumers.push(number);
        self.consumers.insert(number, Box::new(consumer));
        self.listener.metrics.consumers.add(1);
        self.make_ready(number);
        Ok(())
    }

    pub(super) async fn cancel(&mut self, id: u16, consumer_tag: Text, no_wait: bool) -> Result<()> {
        self.catch_up().await?;
        // What it holds stays with the channel and can still be settled.
        if let Some(number) = self.consumer_by_tag(id, &consumer_tag) {
            self.channel(id)?.consumers.retain(|of| *of != number);
            self.remove_consumer(number);
        }
        if !no_wait {
            self.reply(id, Method::Basic(Basic::CancelOk { consumer_tag }));
        }
        Ok(())
    }

    fn consumer_by_tag(&self, id: u16, tag: &str) -> Option<ConsumerId> {
        let mut consumers = self.channels.get(&id)?.consumers.iter();
        consumers.find(|number| self.consumers.get(number).is_some_and(|of| of.tag == tag)).copied()
    }

    pub(super) fn remove_consumer(&mut self, number: ConsumerId) {
        if let Some(consumer) = self.consumers.remove(&number) {
            self.listener.metrics.consumers.sub(1);
            self.forget_reply_queue(consumer.channel, &consumer.queue);
        }
    }

    /// One of its messages was settled.
    pub(super) fn give_credit(&mut self, number: ConsumerId) {
        let Some(consumer) = self.consumers.get_mut(&number) else { return };
        consumer.unacknowledged = consumer.unacknowledged.saturating_sub(1);
        let (id, waits) = (consumer.channel, consumer.waiting.is_some() || consumer.queued);
        // What consumers share is given out by `share_credit`.
        if !waits && self.channels.get(&id).is_some_and(|channel| channel.shared_prefetch == 0) {
            self.make_ready(number);
        }
    }

    /// Messages of the channel were settled. Its consumers may have waited for the limit that they share: whoever had the
    /// last of it comes last.
    pub(super) fn share_credit(&mut self, id: u16, last: Option<ConsumerId>) {
        let Some(channel) = self.channels.get(&id).filter(|channel| channel.shared_prefetch > 0) else { return };
        let mut consumers = channel.consumers.clone();
        if let Some(at) = consumers.iter().position(|of| Some(*of) == last) {
            consumers.rotate_left(at + 1);
        }
        for number in consumers {
            if self.consumers.get(&number).is_some_and(|of| of.waiting.is_none()) {
                self.make_ready(number);
            }
        }
    }

    /// It may have credit, and its queue messages.
    pub(super) fn make_ready(&mut self, number: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&number) {
            consumer.waiting = None;
            if !std::mem::replace(&mut consumer.queued, true) {
                self.ready.push_back(number);
            }
        }
    }

    /// Gives every consumer that is ready one turn, while the client takes what is written. True when there is more to do
    /// at once.
    pub(super) async fn deliver(&mut self) -> Result<bool, Ended> {
        let (mut turns, mut short_turns) = (self.ready.len(), 0);
        while turns > 0 {
            if self.wire.outbox.is_full() {
                return Ok(false);
            }
            let Some(number) = self.ready.pop_front() else { break };
            turns -= 1;
            if let Some(consumer) = self.consumers.get_mut(&number) {
                consumer.queued = false;
                match self.turn(number).await {
                    // What is handed out in small pieces is written in one.
                    Ok(true) if short_turns < TURN_MESSAGES => (turns, short_turns) = (turns + 1, short_turns + 1),
                    Ok(_) => {}
                    Err(exception) => self.lose(number, exception)?,
                }
            }
        }
        Ok(!self.ready.is_empty() && !self.wire.outbox.is_full())
    }

    /// Makes a consumer ready when something has happened.
    fn wake_after(&self, number: ConsumerId, event: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let (abort, registration) = AbortHandle::new_pair();
        self.wakes.push(Abortable::new(event.map(move |()| number).boxed(), registration));
        abort
    }

    /// True when it was a short one, because others of this connection wait for theirs.
    async fn turn(&mut self, number: ConsumerId) -> Result<bool> {
        if let Some(consumer) = self.consumers.get(&number).filter(|consumer| consumer.attachment.is_gone()) {
            return Err(Exception::new(Code::NotFound, format!("queue '{}' was deleted", consumer.queue)));
        }
        let Some(mut wanted) = self.wanted(number) else {
            if let Some(consumer) = self.consumers.get_mut(&number) {
                consumer.waited = false;
            }
            return Ok(false);
        };
        let share = self.share(number)?;
        wanted.max_messages = share.map_or(wanted.max_messages, |share| share.messages.min(wanted.max_messages));
        let mut deliveries = self.lease(number, wanted).await?;
        if deliveries.is_empty() {
            let Some(consumer) = self.consumers.get(&number) else { return Ok(false) };
            let (broker, principal) = (&self.listener.broker, &self.opened.principal);
            let mut watch = broker.watch_group_since(principal, &consumer.queue, consumer.served)?;
            // Something may have come before the watch was made.
            deliveries = self.lease(number, wanted).await?;
            if deliveries.is_empty() {
                let waiting = self.wake_after(number, async move { watch.changed().await });
                if let Some(consumer) = self.consumers.get_mut(&number) {
                    consumer.waiting = Some(waiting);
                    consumer.waited = true;
                }
                return Ok(false);
            }
        }
        self.write(number, deliveries);
        self.make_ready(number);
        let in_turn = share.is_some_and(|share| share.in_turn);
        if share.is_some() && !in_turn {
            // Consumers of other connections on this thread have theirs before this one has more.
            tokio::task::yield_now().await;
        }
        Ok(in_turn)
    }

    /// Its share of what is ready, where its queue has other consumers.
    fn share(&self, number: ConsumerId) -> Result<Option<Share>> {
        let Some(consumer) = self.consumers.get(&number) else { return Ok(None) };
        let company = consumer.attachment.company();
        if company < 2 {
            return Ok(None);
        }
        let is_of_queue = |other: &ConsumerId| {
            *other != number && self.consumers.get(other).is_some_and(|of| of.queue == consumer.queue)
        };
        // Where those of a queue are ready together they come one after the other.
        let in_turn = self.ready.front().into_iter().chain(self.ready.back()).any(is_of_queue);
        let ready = self.listener.broker.queue(&self.opened.principal, &consumer.queue, self.owner)?.messages;
        let ready = usize::try_from(ready).unwrap_or(usize::MAX);
        let messages = if in_turn { ready / SHORT_TURNS } else { ready.div_ceil(company) };
        Ok(Some(Share { messages: messages.max(1), in_turn }))
    }

    /// How much it may be given; nothing when it has to wait for settlements.
    fn wanted(&self, number: ConsumerId) -> Option<LeaseRequest> {
        let consumer = self.consumers.get(&number)?;
        let channel = self.channels.get(&consumer.channel)?;
        let of_channel = channel.credit(self.listener.config.max_unacknowledged);
        let shares = channel.shared_prefetch > 0;
        let credit = match consumer.no_ack {
            // It uses none of what is shared, and waits like the others when there is none.
            true if shares && of_channel == 0 => 0,
            true => usize::MAX,
            false => consumer.credit().min(of_channel),
        };
        let most = if shares { credit.div_ceil(channel.consumers.len().max(1)) } else { credit };
        (credit > 0).then(|| LeaseRequest {
            consumer: number,
            max_messages: most.min(TURN_MESSAGES),
            max_bytes: TURN_BYTES,
            deadline: Some(self.lease_time()),
            acknowledge: consumer.no_ack,
            waited: consumer.waited,
        })
    }

    /// Leases outlive the consumer timeout: it is the session that says when a consumer has taken too long.
    pub(super) fn lease_time(&self) -> Duration {
        self.listener.config.consumer_timeout * 2 + Duration::from_secs(60)
    }

    async fn lease(&mut self, number: ConsumerId, wanted: LeaseRequest) -> Result<Vec<Delivery>> {
        let Some(consumer) = self.consumers.get(&number) else { return Ok(Vec::new()) };
        Ok(self.listener.broker.lease(&self.opened.principal, &consumer.queue, wanted).await?)
    }

    fn write(&mut self, number: ConsumerId, deliveries: Vec<Delivery>) {
        let (max_frame_bytes, max_bytes) = (self.opened.max_frame_bytes, self.max_properties());
        let Some(consumer) = self.consumers.get_mut(&number) else { return };
        let Some(channel) = self.channels.get_mut(&consumer.channel) else { return };
        let metrics = &self.listener.metrics;
        metrics.delivered.add(deliveries.len());
        metrics.redelivered.add(deliveries.iter().filter(|delivery| delivery.redelivered).count());
        let since = Instant::now();
        for Delivery { lease, topic, record, attempt, redelivered, .. } in deliveries {
            consumer.served = lease.token;
            let delivery_tag = channel.next_tag();
            let outgoing = Outgoing::new(&record, topic.name());
            let deliver = codec::Delivery {
                consumer_tag: &consumer.tag,
                delivery_tag,
                redelivered,
                exchange: outgoing.exchange(),
                routing_key: outgoing.routing_key(),
            };
            let extra = Extra { offset: false, delivery_count: attempt - 1, max_bytes };
            let properties = |out: &mut _| outgoing.write_properties(out, &extra);
            self.wire.outbox.content(consumer.channel, &deliver, properties, outgoing.body(), max_frame_bytes);
            if !consumer.no_ack {
                consumer.unacknowledged += 1;
                let counted = consumer.attachment.counts_returns();
                let queue = Arc::clone(&consumer.queue);
                let one = Unacknowledged { lease, queue, consumer: Some(number), since, counted };
                channel.unacknowledged.insert(delivery_tag, one);
            }
        }
    }

    pub(super) fn max_properties(&self) -> usize {
        max_properties(self.opened.max_frame_bytes)
    }

    /// A consumer whose queue is gone is no more; its client is told if it wants to be. Anything else is the channel's end.
    fn lose(&mut self, number: ConsumerId, exception: Exception) -> Result<(), Ended> {
        let Some(consumer) = self.consumers.get(&number) else { return Ok(()) };
        let (id, tag) = (consumer.channel, consumer.tag.clone());
        if exception.code != Code::NotFound {
            return self.fail(id, exception, (60, 60, "basic.deliver"));
        }
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.consumers.retain(|of| *of != number);
        }
        self.remove_consumer(number);
        if self.opened.consumer_cancel_notify {
            self.reply(id, Method::Basic(Basic::Cancel { consumer_tag: tag, no_wait: true }));
        }
        Ok(())
    }
}

fn generated_tag() -> String {
    format!("amq.ctag-{}", uuid::Uuid::new_v4().simple())
}

fn check_arguments(arguments: &Table) -> Result<()> {
    for name in ["x-priority", "x-stream-offset", "x-stream-filter"] {
        if arguments.get(name).is_some() {
            return Err(Exception::not_implemented(format_args!("consumer argument {name}")));
        }
    }
    Ok(())
}
