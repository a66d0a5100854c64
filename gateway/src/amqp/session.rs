//! One connection after its handshake.
//!
//! One task does everything in turns: it handles every whole frame that has come, appends what they published and settles
//! what they settled (all of one read together), hands out messages to consumers that have credit, and then waits for
//! whatever comes first: bytes, room to write, a confirmation, a message for a consumer, the clock.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::FutureExt;
use futures_util::future::{Abortable, Aborted, BoxFuture};
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use tidegate_engine::group::ConsumerId;
use tokio::time::Instant;

use super::Listener;
use super::basic_consume::Consumer;
use super::basic_publish::Publishing;
use super::basic_settle::Settling;
use super::channel::{Channel, ChannelKey};
use super::codec::{self, Connection, Frame, Malformed, Method, Payload};
use super::confirm::Confirmation;
use super::connection::{Ended, Wire};
use super::error::{Code, Exception, Result};
use super::handshake::Opened;
use super::pace::Pace;
use super::space::FULL_DISK_PAUSE;
use crate::broker::OwnerId;
use crate::listener::Drain;

/// A consumer that waits for a message of its queue.
type Wake = Abortable<BoxFuture<'static, ConsumerId>>;

/// An open connection.
pub(super) struct Session<'a> {
    pub(super) listener: &'a Listener,
    pub(super) wire: Wire,
    pub(super) pace: Pace,
    pub(super) opened: Opened,
    pub(super) owner: OwnerId,
    // Boxed, because most connections have one of each, and a map's table has room for more.
    pub(super) channels: HashMap<u16, Box<Channel>>,
    pub(super) consumers: HashMap<ConsumerId, Box<Consumer>>,
    /// Consumers that may have credit and messages.
    pub(super) ready: VecDeque<ConsumerId>,
    pub(super) wakes: FuturesUnordered<Wake>,
    /// Who leases what is asked for by `basic.get`.
    pub(super) getter: ConsumerId,
    pub(super) publishing: Publishing,
    pub(super) settling: Settling,
    pub(super) confirmations: FuturesOrdered<BoxFuture<'static, Confirmation>>,
    /// Something was published or settled that may not be durable yet.
    pub(super) unsynced: bool,
    /// A request that is not answered before what came ahead of it has found space on the disk.
    pub(super) held: Option<(u16, Method)>,
    /// Channels to be closed for what they published.
    pub(super) failed: Vec<(ChannelKey, Exception)>,
    /// Queues that end with the connection.
    pub(super) exclusive_queues: Vec<Arc<str>>,
    /// Bytes of messages begun and not finished.
    pub(super) unfinished_bytes: usize,
    /// The client was told that publishing waits.
    pub(super) blocked: bool,
    channels_opened: u32,
    pub(super) last_read: Instant,
    pub(super) last_written: Instant,
}

impl<'a> Session<'a> {
    pub(super) fn new(listener: &'a Listener, wire: Wire, opened: Opened) -> Self {
        Self {
            listener,
            wire,
            pace: Pace::new(listener.config.read_gather, Instant::now()),
            opened,
            owner: listener.broker.new_owner(),
            channels: HashMap::new(),
            consumers: HashMap::new(),
            ready: VecDeque::new(),
            wakes: FuturesUnordered::new(),
            getter: listener.broker.new_consumer(),
            publishing: Publishing::default(),
            settling: Settling::default(),
            confirmations: FuturesOrdered::new(),
            unsynced: false,
            held: None,
            failed: Vec::new(),
            channels_opened: 0,
            blocked: false,
            exclusive_queues: Vec::new(),
            unfinished_bytes: 0,
            last_read: Instant::now(),
            last_written: Instant::now(),
        }
    }

    pub(super) async fn serve(&mut self, drain: &Drain) -> Ended {
        match self.turns(drain).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn turns(&mut self, drain: &Drain) -> Result<std::convert::Infallible, Ended> {
        let mut clock = self.clock();
        let mut drained = std::pin::pin!(drain.requested());
        loop {
            self.take_in().await?;
            self.settle_gathered()?;
            self.publish_gathered().await?;
            self.close_failed()?;
            self.say_whether_blocked();
            let more = self.deliver().await?;
            let has_frames = self.wire.reader.has_frames();
            let (may_read, more) = (self.may_read(), more || (has_frames && self.may_read()));
            let waits_for_space = self.is_stuck() || self.held.is_some();
            let next_look = self.keep_pace()?;
            let Wire { reader, outbox, socket } = &mut self.wire;
            let (mut input, mut output) = socket.halves();
            tokio::select! {
                biased;
                written = outbox.flush(&mut output), if !outbox.is_empty() => self.note_written(written?),
                // Before what a busy client always has more of: it wants heartbeats, too.
                now = clock.tick() => self.tick(&mut clock, now)?,
                Some(confirmation) = self.confirmations.next() => {
                    self.confirm_with_company(confirmation);
                    self.look_early()?;
                }
                Some(woken) = self.wakes.next() => {
                    self.wake(woken);
                    self.wake_others();
                    self.look_early()?;
                }
                read = reader.fill(&mut input), if may_read && !has_frames && next_look.is_none() => self.note_read(read?)?,
                () = tokio::time::sleep_until(next_look.unwrap_or(self.last_read)), if next_look.is_some() => self.look()?,
                () = tokio::time::sleep(FULL_DISK_PAUSE), if waits_for_space => {}
                () = &mut drained => return Err(Ended::Drained),
                () = std::future::ready(()), if more => {}
            }
        }
    }

    /// Handles what has come. What filled all the room it was given is probably not all: the rest is taken in before anything
    /// is done with it, so that a group that was sent together stays together.
    async fn take_in(&mut self) -> Result<(), Ended> {
        self.answer_held().await?;
        for left in (0..READS_TOGETHER).rev() {
            self.publish_whole()?;
            while self.may_read()
                && let Some(frame) = self.wire.reader.next_frame()?
            {
                if let Some(request) = self.frame(frame)? {
                    self.held = Some(request);
                    self.answer_held().await?;
                }
                self.publish_whole()?;
            }
            let reader = &self.wire.reader;
            if left == 0 || !reader.may_have_more() || reader.has_frames() || !self.read_at_once()? {
                break;
            }
        }
        Ok(())
    }

    fn note_written(&mut self, written: usize) {
        self.listener.metrics.bytes_out.add(written);
        self.last_written = Instant::now();
        self.pace.wrote();
    }

    pub(super) fn note_read(&mut self, read: usize) -> Result<(), Ended> {
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.listener.metrics.reads.add(1);
        self.listener.metrics.bytes_in.add(read);
        self.last_read = Instant::now();
        self.pace.read(read, self.last_read);
        Ok(())
    }

    /// Reading goes on, so that settlements arrive, also while nothing more is delivered because the client does not read;
    /// but not for ever.
    pub(super) fn may_read(&self) -> bool {
        self.wire.outbox.len() < self.listener.config.max_unsent_bytes
            && !self.publishing.is_stuck()
            && self.held.is_none()
            && self.publishing.unconfirmed() < self.listener.config.max_unconfirmed
    }

    fn wake(&mut self, woken: Result<ConsumerId, Aborted>) {
        if let Ok(consumer) = woken {
            self.make_ready(consumer);
        }
    }

    /// Everybody who can be woken is, before one of them is given all there is.
    fn wake_others(&mut self) {
        while let Some(Some(woken)) = self.wakes.next().now_or_never() {
            self.wake(woken);
        }
    }

    // ---- frames -------------------------------------------------------------------------------------------------

    /// Handles what needs no waiting, which is what comes most; gives back a request that may have to wait.
    fn frame(&mut self, frame: Frame) -> Result<Option<(u16, Method)>, Ended> {
        let Frame { channel, payload } = frame;
        if channel == 0 {
            return match payload {
                Payload::Method(method) => self.connection(method).map(|()| None),
                Payload::Heartbeat => Ok(None),
                Payload::Header(_) | Payload::Body(_) => {
                    let message = "channel 0 is the connection's own: it takes no content";
                    Err(Exception::new(Code::UnexpectedFrame, message).into())
                }
            };
        }
        let (about, done) = match payload {
            Payload::Header(header) => (PUBLISH, self.content_header(channel, header)),
            Payload::Body(body) => (PUBLISH, self.content_body(channel, body)),
            Payload::Method(Method::Basic(method)) if self.is_ready(channel) => {
                match self.message_method(channel, method) {
                    Ok(None) => return Ok(None),
                    Ok(Some(method)) => return Ok(Some((channel, Method::Basic(method)))),
                    Err((about, exception)) => (about, Err(exception)),
                }
            }
            Payload::Method(method) => return Ok(Some((channel, method))),
            Payload::Heartbeat => return Err(Malformed::Heartbeat.into()),
        };
        match done {
            Ok(()) => Ok(None),
            Err(exception) => self.fail(channel, exception, about).map(|()| None),
        }
    }

    /// Whether a channel is open and between messages.
    pub(super) fn is_ready(&self, id: u16) -> bool {
        self.channels.get(&id).is_some_and(|channel| !channel.closing && channel.receiving.is_none())
    }

    /// Publishes and settlements; gives back any other method of the class.
    fn message_method(&mut self, id: u16, method: codec::Basic) -> Result<Option<codec::Basic>, (About, Exception)> {
        use codec::Basic as B;
        self.pace.handled();
        let (about, done) = match method {
            B::Publish { exchange, routing_key, mandatory, immediate } => {
                (PUBLISH, self.begin_publish(id, exchange, routing_key, mandatory, immediate))
            }
            B::Ack { delivery_tag, multiple } => ((60, 80, "basic.ack"), self.acknowledge(id, delivery_tag, multiple)),
            B::Nack { delivery_tag, multiple, requeue } => {
                ((60, 120, "basic.nack"), self.reject(id, delivery_tag, multiple, requeue))
            }
            B::Reject { delivery_tag, requeue } => {
                ((60, 90, "basic.reject"), self.reject(id, delivery_tag, false, requeue))
            }
            method => return Ok(Some(method)),
        };
        done.map(|()| None).map_err(|exception| (about, exception))
    }

    /// Handles a request of a channel.
    pub(super) async fn request(&mut self, id: u16, method: Method) -> Result<(), Ended> {
        let about = (method.class_id(), method.method_id(), method.name());
        if looks_at_messages(&method) {
            // What this connection published for its own consumers is theirs first.
            if let Err(exception) = self.catch_up().await {
                return self.fail(id, exception, about);
            }
            self.wake_others();
            self.deliver().await?;
        }
        match self.method(id, method).await {
            Ok(()) => Ok(()),
            Err(exception) => self.fail(id, exception, about),
        }
    }

    fn connection(&mut self, method: Method) -> Result<(), Ended> {
        match method {
            Method::Connection(Connection::Close { .. }) => Err(Ended::ByClient),
            // A password is looked at once, when the connection is opened, and so is what renews it: nothing to be done.
            Method::Connection(Connection::UpdateSecret { .. }) => {
                self.reply(0, Method::Connection(Connection::UpdateSecretOk {}));
                Ok(())
            }
            method => {
                let message = format!("{} on channel 0 of an open connection", method.name());
                Err(exception_of(Exception::new(Code::ChannelError, message), &method))
            }
        }
    }

    async fn method(&mut self, id: u16, method: Method) -> Result<()> {
        if let Method::Channel(codec::Channel::Open {}) = method {
            return self.open_channel(id);
        }
        let closing = match self.channels.get(&id) {
            // Both sides closed it at the same time, and this is the answer to ours.
            None if matches!(method, Method::Channel(codec::Channel::CloseOk {})) => return Ok(()),
            None => return Err(Exception::new(Code::ChannelError, "expected 'channel.open'")),
            Some(channel) => {
                if channel.receiving.is_some() && !channel.closing {
                    let message = format!("expected content header or body, got {} instead", method.name());
                    return Err(Exception::new(Code::UnexpectedFrame, message));
                }
                channel.closing
            }
        };
        if closing {
            if let Method::Channel(codec::Channel::Close { .. } | codec::Channel::CloseOk {}) = method {
                self.channels.remove(&id);
                if let Method::Channel(codec::Channel::Close { .. }) = method {
                    self.reply(id, Method::Channel(codec::Channel::CloseOk {}));
                }
            }
            return Ok(());
        }
        match method {
            Method::Channel(method) => self.channel_method(id, method).await,
            Method::Exchange(method) => self.exchange_method(id, method).await,
            Method::Queue(method) => self.queue_method(id, method).await,
            Method::Basic(method) => self.basic_method(id, method).await,
            Method::Confirm(method) => self.confirm_method(id, method),
            Method::Tx(method) => Err(Exception::not_implemented(method.name())),
            Method::Connection(method) => {
                let message = format!("{} belongs on channel 0", method.name());
                Err(Exception::new(Code::CommandInvalid, message))
            }
        }
    }

    async fn basic_method(&mut self, id: u16, method: codec::Basic) -> Result<()> {
        use codec::Basic as B;
        match method {
            B::Recover { requeue } => {
                self.recover(id, requeue)?;
                if self.is_stuck() {
                    // Nothing is left to be given back when it comes round again.
                    self.held = Some((id, Method::Basic(B::Recover { requeue })));
                    return Ok(());
                }
                self.catch_up().await?;
                self.reply(id, Method::Basic(B::RecoverOk {}));
                Ok(())
            }
            B::RecoverAsync { requeue } => self.recover(id, requeue),
            B::Qos { prefetch_size, prefetch_count, global } => {
                self.qos(id, prefetch_size, prefetch_count, global)?;
                self.catch_up().await?;
                self.reply(id, Method::Basic(B::QosOk {}));
                Ok(())
            }
            method @ B::Consume { .. } => self.consume(id, method).await,
            B::Cancel { consumer_tag, no_wait } => self.cancel(id, consumer_tag, no_wait).await,
            B::Get { queue, no_ack } => self.get(id, &queue, no_ack).await,
            // A client that was told of a cancellation may say that it has heard it.
            B::CancelOk { .. } => Ok(()),
            B::Publish { .. } | B::Ack { .. } | B::Nack { .. } | B::Reject { .. } => {
                // They are handled without waiting wherever the channel can take them.
                Err(Exception::new(Code::InternalError, format!("{} came where it cannot", method.name())))
            }
            B::QosOk {}
            | B::ConsumeOk { .. }
            | B::Return { .. }
            | B::Deliver { .. }
            | B::GetOk { .. }
            | B::GetEmpty {}
            | B::RecoverOk {} => Err(from_servers(method.name())),
        }
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, channel: u16, method: Method) {
        self.wire.outbox.method(channel, &method);
    }

    /// The channel of a method, which has been found to be open.
    ///
    /// # Errors
    /// 504.
    pub(super) fn channel(&mut self, id: u16) -> Result<&mut Channel> {
        self.channels
            .get_mut(&id)
            .map(|channel| &mut **channel)
            .ok_or_else(|| Exception::new(Code::ChannelError, "expected 'channel.open'"))
    }

    /// Everything that came before is as durable as it will be: what is answered from here on is answered in its light. A
    /// request is held back until it has found space.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        while let Some(confirmation) = self.confirmations.next().await {
            self.confirm_with_company(confirmation);
        }
        self.sync().await
    }

    /// Waits until the settlements made are durable.
    pub(super) async fn sync(&mut self) -> Result<()> {
        if std::mem::take(&mut self.unsynced) {
            self.listener.broker.sync().await?;
        }
        Ok(())
    }

    // ---- channels -----------------------------------------------------------------------------------------------

    fn open_channel(&mut self, id: u16) -> Result<()> {
        if self.channels.contains_key(&id) {
            return Err(Exception::new(Code::ChannelError, "second 'channel.open' seen"));
        }
        if id > self.opened.max_channels || self.channels.len() >= usize::from(self.opened.max_channels) {
            let message = format!(
                "number of channels opened has reached the negotiated channel_max ({})",
                self.opened.max_channels
            );
            return Err(Exception::new(Code::NotAllowed, message));
        }
        self.channels_opened = self.channels_opened.wrapping_add(1);
        let key = ChannelKey { id, incarnation: self.channels_opened };
        self.channels.insert(id, Box::new(Channel { key, ..Channel::default() }));
        self.listener.metrics.channels.add(1);
        self.reply(id, Method::Channel(codec::Channel::OpenOk {}));
        Ok(())
    }

    async fn channel_method(&mut self, id: u16, method: codec::Channel) -> Result<()> {
        use codec::Channel as C;
        match method {
            C::Close { .. } => {
                self.catch_up().await?;
                self.leave_channel(id)?;
                self.channels.remove(&id);
                self.reply(id, Method::Channel(C::CloseOk {}));
                Ok(())
            }
            C::Flow { active: true } => {
                self.reply(id, Method::Channel(C::FlowOk { active: true }));
                Ok(())
            }
            C::Flow { active: false } => Err(Exception::not_implemented("channel.flow with active=false")),
            C::FlowOk { .. } => Ok(()),
            C::CloseOk {} => Err(Exception::new(Code::CommandInvalid, "channel.close-ok for a channel that is open")),
            C::Open {} | C::OpenOk {} => Err(from_servers(method.name())),
        }
    }

    /// Closes a channel, or for a hard error the connection.
    pub(super) fn fail(
        &mut self,
        id: u16,
        exception: Exception,
        (class_id, method_id, method): About,
    ) -> Result<(), Ended> {
        if exception.code.is_hard() {
            return Err(Ended::Exception { exception, class_id, method_id, method });
        }
        tracing::debug!(channel = id, %exception, method, "channel closed");
        self.listener.metrics.channels_refused.add(1);
        // What was published and settled before counts.
        self.settle_gathered()?;
        self.leave_channel(id)?;
        if let Some(channel) = self.channels.get_mut(&id) {
            **channel = Channel { closing: true, key: channel.key, ..Channel::default() };
        }
        let close = codec::Channel::Close {
            reply_code: exception.code.number(),
            reply_text: exception.text().into(),
            class_id,
            method_id,
        };
        self.reply(id, Method::Channel(close));
        Ok(())
    }

    /// Closes the channels whose publishes were refused and that asked for no confirms.
    fn close_failed(&mut self) -> Result<(), Ended> {
        for (key, exception) in std::mem::take(&mut self.failed) {
            if self.channels.get(&key.id).is_some_and(|channel| channel.key == key && !channel.closing) {
                self.fail(key.id, exception, PUBLISH)?;
            }
        }
        Ok(())
    }

    /// Gives back what the channel holds.
    fn leave_channel(&mut self, id: u16) -> Result<()> {
        let Some(channel) = self.channels.get_mut(&id) else { return Ok(()) };
        self.listener.metrics.channels.sub(1);
        if let Some(receiving) = channel.receiving.take() {
            self.unfinished_bytes -= receiving.received();
        }
        let unacknowledged = std::mem::take(&mut channel.unacknowledged);
        for consumer in std::mem::take(&mut channel.consumers) {
            self.remove_consumer(consumer);
        }
        self.give_back(unacknowledged.into_values());
        self.settle_gathered()
    }

    /// Who holds unsettled messages, and of which queues.
    fn held(&self) -> BTreeSet<(Arc<str>, ConsumerId)> {
        let all = self.channels.values().flat_map(|channel| channel.unacknowledged.values());
        all.map(|one| (Arc::clone(&one.queue), one.consumer.unwrap_or(self.getter))).collect()
    }

    /// Gives back everything. What was confirmed or settled before stays so.
    pub(super) async fn end(&mut self) {
        // A message that came whole before the end counts as sent.
        let held = self.held();
        let published = self.publish_gathered().await;
        let settled = self.settle_gathered();
        let ids: Vec<u16> = self.channels.iter().filter(|(_, channel)| !channel.closing).map(|(id, _)| *id).collect();
        let left: Result<()> = ids.into_iter().try_for_each(|id| self.leave_channel(id));
        if let Err(exception) = published.and(settled).and(left) {
            tracing::debug!(%exception, "a connection could not put everything in order at its end");
        }
        self.channels.clear();
        if self.settling.is_stuck() {
            // Nothing can be written; giving back needs no writing.
            for (queue, consumer) in held {
                let _ = self.listener.broker.release_consumer(&self.opened.principal, &queue, consumer);
            }
        }
        if self.blocked {
            self.listener.metrics.blocked.sub(1);
        }
        for queue in std::mem::take(&mut self.exclusive_queues) {
            let deleted = self.listener.broker.delete_queue(&self.opened.principal, &queue, self.owner, (false, false));
            if let Err(error) = deleted.await {
                tracing::warn!(%error, %queue, "an exclusive queue could not be deleted");
            }
        }
    }
}

/// So many reads, each of all the room there was, are handled as one.
const READS_TOGETHER: usize = 4;

/// Whether the answer says what is in a queue.
fn looks_at_messages(method: &Method) -> bool {
    use codec::{Basic, Queue};
    matches!(method, Method::Basic(Basic::Get { .. }) | Method::Queue(Queue::Declare { passive: true, .. }))
}

/// A method's class, its number there, and its name.
pub(super) type About = (u16, u16, &'static str);

pub(super) const PUBLISH: About = (60, 40, "basic.publish");

fn exception_of(exception: Exception, method: &Method) -> Ended {
    Ended::Exception { exception, class_id: method.class_id(), method_id: method.method_id(), method: method.name() }
}

/// A method that only servers send.
pub(super) fn from_servers(name: &str) -> Exception {
    Exception::new(Code::CommandInvalid, format!("{name} is for servers to send"))
}

/// Wall-clock time, ms since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
