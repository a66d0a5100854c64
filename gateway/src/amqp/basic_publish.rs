//! `basic.publish`: a method, a header, a body, put together and routed. Everything one read brought is appended together:
//! neighbours that go to the same partitions share a batch, and a batch for many partitions is stored once.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidegate_engine::batch::{Batch, BatchBuilder};
use tidegate_engine::{Appended, Appends, Commit, Error as EngineError, PartitionId, Write};

use super::channel::ChannelKey;
use super::codec::{Basic, ContentHeader, Method, Properties, Publish, Text};
use super::confirm::{Confirmation, Sequence};
use super::connection::Ended;
use super::convert::Incoming;
use super::error::{Code, Exception, Result};
use super::reply_to::REPLY_TO;
use super::session::{PUBLISH, Session, now_ms};
use crate::broker::{self, Route};

/// A batch is closed at this size, so that one message more does not make it too large for its topic.
const BATCH_BYTES: usize = 256 << 10;
/// Room is taken for a batch before it is filled up to this size.
const MAX_ROOM: usize = 64 << 10;
/// Routes a connection remembers.
const MAX_ROUTES: usize = 1024;
/// A message that is being received.
#[derive(Debug)]
pub(super) struct Receiving {
    exchange: Text,
    routing_key: Text,
    mandatory: bool,
    header: Option<ContentHeader>,
    body: Body,
}

/// What has come of a body. One that came in one frame is not copied.
#[derive(Debug)]
enum Body {
    Whole(Bytes),
    Parts(BytesMut),
}

impl Receiving {
    /// Bytes of the body so far.
    pub(super) fn received(&self) -> usize {
        match &self.body {
            Body::Whole(bytes) => bytes.len(),
            Body::Parts(parts) => parts.len(),
        }
    }

    fn push(&mut self, part: Bytes) {
        self.body = match mem::replace(&mut self.body, Body::Whole(Bytes::new())) {
            Body::Whole(first) if first.is_empty() => Body::Whole(part),
            Body::Whole(first) => {
                // The whole is known by its header, but memory is taken only as the body comes.
                let mut parts = BytesMut::with_capacity(2 * (first.len() + part.len()));
                parts.extend_from_slice(&first);
                parts.extend_from_slice(&part);
                Body::Parts(parts)
            }
            Body::Parts(mut parts) => {
                parts.extend_from_slice(&part);
                Body::Parts(parts)
            }
        };
    }
}

impl Body {
    fn bytes(self) -> Bytes {
        match self {
            Self::Whole(bytes) => bytes,
            Self::Parts(parts) => parts.freeze(),
        }
    }
}

/// Who published a record, and under which number if its channel asked for confirms.
#[derive(Debug, Clone, Copy)]
struct Publisher {
    channel: ChannelKey,
    number: Option<u64>,
}

/// A batch that is being filled, for the partitions that its messages go to.
struct Filling {
    partitions: Vec<PartitionId>,
    builder: BatchBuilder,
    deliver_at_ms: Option<i64>,
    publishers: Vec<Publisher>,
}

/// A batch on its way.
#[derive(Clone)]
struct Outbound {
    write: Write,
    /// Of each record.
    publishers: Vec<Publisher>,
}

/// What was published and not yet appended.
#[derive(Default)]
pub(super) struct Publishing {
    filling: Vec<Filling>,
    /// How large the last batches were: what the next will probably need.
    room: usize,
    /// Where each partition's last message of them is: a later one must not come before it.
    last: HashMap<PartitionId, usize>,
    /// Refused for want of space, and to be tried again.
    stuck: Vec<Outbound>,
    /// Of `filling` and `stuck`, in order.
    sequences: Vec<Sequence>,
    /// What time it was at the first of them.
    now_ms: Option<i64>,
    /// Publishes appended that wait for their confirmation.
    unconfirmed: usize,
    routes: HashMap<(Box<str>, Box<str>), Arc<Route>>,
    last_route: Option<(Box<str>, Box<str>, Arc<Route>)>,
}

impl Publishing {
    /// How many publishes wait for their confirmation.
    pub(super) fn unconfirmed(&self) -> usize {
        self.unconfirmed + self.sequences.len()
    }

    pub(super) fn confirmed(&mut self, count: usize) {
        self.unconfirmed -= count;
    }

    /// Publishing waits for space on the disk.
    pub(super) fn is_stuck(&self) -> bool {
        !self.stuck.is_empty()
    }

    /// The batch a message goes into.
    fn batch(&mut self, partitions: &[PartitionId], deliver_at_ms: Option<i64>, size: usize) -> &mut Filling {
        let fits = |filling: &Filling| {
            filling.partitions == partitions
                && filling.deliver_at_ms == deliver_at_ms
                && filling.builder.bytes() + size <= BATCH_BYTES
        };
        // Most messages go where the one before them went.
        let newest = self.filling.len().checked_sub(1).filter(|index| fits(&self.filling[*index]));
        let open = newest.or_else(|| {
            let last = partitions.first().and_then(|first| self.last.get(first)).copied();
            last.filter(|index| {
                partitions.iter().all(|id| self.last.get(id) == Some(index))
                    && self.filling.get(*index).is_some_and(fits)
            })
        });
        let index = open.unwrap_or_else(|| {
            let (builder, publishers) = (BatchBuilder::with_room(self.room), Vec::new());
            self.filling.push(Filling { partitions: partitions.to_vec(), builder, deliver_at_ms, publishers });
            let index = self.filling.len() - 1;
            self.last.extend(partitions.iter().map(|id| (*id, index)));
            index
        });
        &mut self.filling[index]
    }

    /// Takes what is to be appended.
    fn take(&mut self) -> Result<Vec<Outbound>> {
        self.last.clear();
        self.now_ms = None;
        let mut outbound = mem::take(&mut self.stuck);
        let bytes: usize = self.filling.iter().map(|filling| filling.builder.bytes()).sum();
        self.room = (bytes / self.filling.len().max(1)).min(MAX_ROOM);
        for Filling { partitions, builder, deliver_at_ms, publishers } in self.filling.drain(..) {
            let batch = builder.finish().map_err(broker::Error::from)?;
            outbound.push(Outbound { write: Write { partitions, batch, dedupe: None, deliver_at_ms }, publishers });
        }
        Ok(outbound)
    }
}

impl Session<'_> {
    pub(super) fn begin_publish(
        &mut self,
        id: u16,
        exchange: Text,
        routing_key: Text,
        mandatory: bool,
        immediate: bool,
    ) -> Result<()> {
        if immediate {
            return Err(Exception::new(Code::NotImplemented, "immediate=true"));
        }
        let body = Body::Whole(Bytes::new());
        self.channel(id)?.receiving = Some(Receiving { exchange, routing_key, mandatory, header: None, body });
        Ok(())
    }

    pub(super) fn content_header(&mut self, id: u16, header: ContentHeader) -> Result<()> {
        let max = self.listener.config.max_message_bytes;
        let channel = self.channel(id)?;
        if channel.closing {
            return Ok(());
        }
        let Some(incoming) = channel.receiving.as_mut().filter(|incoming| incoming.header.is_none()) else {
            return Err(Exception::new(Code::UnexpectedFrame, "expected method, got content header instead"));
        };
        if header.body_size > max as u64 {
            let message = format!(
                "message size {} is larger than configured max size {max} (max_message_bytes)",
                header.body_size
            );
            return Err(Exception::new(Code::PreconditionFailed, message));
        }
        let is_whole = header.body_size == 0;
        incoming.header = Some(header);
        if is_whole { self.publish_received(id) } else { Ok(()) }
    }

    pub(super) fn content_body(&mut self, id: u16, part: Bytes) -> Result<()> {
        let max = self.listener.config.max_unfinished_bytes;
        let unfinished = self.unfinished_bytes;
        let channel = self.channel(id)?;
        if channel.closing {
            return Ok(());
        }
        let incoming = channel.receiving.as_mut();
        let Some((incoming, size)) =
            incoming.and_then(|one| one.header.as_ref().map(|head| head.body_size).map(|size| (one, size)))
        else {
            return Err(Exception::new(Code::UnexpectedFrame, "expected method, got content body instead"));
        };
        let (before, length) = (incoming.received(), part.len());
        let received = (before + length) as u64;
        if received > size {
            let message = format!("a content body of more bytes than its header said ({size})");
            return Err(Exception::new(Code::UnexpectedFrame, message));
        }
        if received == size {
            incoming.push(part);
            self.unfinished_bytes = unfinished - before;
            return self.publish_received(id);
        }
        if unfinished + length > max {
            let message = format!("messages of {max} bytes are begun and not finished (max_unfinished_bytes)");
            return Err(Exception::new(Code::ResourceError, message));
        }
        incoming.push(part);
        self.unfinished_bytes = unfinished + length;
        Ok(())
    }

    /// Takes the messages that have come whole, up to the first thing that is anything else.
    pub(super) fn publish_whole(&mut self) -> Result<(), Ended> {
        let frames = self.wire.reader.frames()?;
        let mut at = 0;
        let mut refused = None;
        while self.may_read()
            && refused.is_none()
            && let Some((message, size)) = Publish::read(&frames[at..], self.wire.reader.limits())
            && message.body.len() <= self.listener.config.max_message_bytes
            && self.is_ready(message.channel)
        {
            at += size;
            self.pace.handled();
            refused = self.publish(&message).err().map(|exception| (message.channel, exception));
        }
        self.wire.reader.done(frames, at);
        refused.map_or(Ok(()), |(channel, exception)| self.fail(channel, exception, PUBLISH))
    }

    /// The last part of a message has come.
    fn publish_received(&mut self, id: u16) -> Result<()> {
        let Some(Receiving { exchange, routing_key, mandatory, header: Some(header), body }) =
            self.channel(id)?.receiving.take()
        else {
            return Ok(());
        };
        let (exchange, routing_key, properties) = (&*exchange, &*routing_key, &*header.properties);
        self.publish(&Publish { channel: id, exchange, routing_key, mandatory, properties, body: &body.bytes() })
    }

    fn publish(&mut self, message: &Publish<'_>) -> Result<()> {
        let Publish { channel: id, exchange, routing_key, mandatory, properties, body } = *message;
        let channel = self.channel(id)?;
        let number = channel.confirms.as_mut().map(|last| {
            *last += 1;
            *last
        });
        let publisher = Publisher { channel: channel.key, number };
        self.listener.metrics.published.add(1);
        let mut properties = Properties::parse(properties, self.wire.reader.limits())?;
        self.check_user(properties.user_id)?;
        let reply_queue;
        if properties.reply_to == Some(REPLY_TO.as_bytes()) {
            reply_queue = self.reply_queue(id)?;
            properties.reply_to = Some(reply_queue.as_bytes());
        }
        let route = self.route_with_copies(exchange, routing_key, properties.headers)?;
        if route.topics.is_empty() {
            if mandatory {
                self.give_back_unroutable(message);
            }
            return self.unroutable(publisher);
        }
        let incoming = Incoming::new(exchange, routing_key, &properties, body)?;
        let placed: Vec<PartitionId>;
        let partitions = match &route.partitions {
            Some(partitions) => partitions,
            None => {
                let key = incoming.key();
                placed = route.topics.iter().map(|topic| self.listener.broker.place(topic, key).id).collect();
                &placed
            }
        };
        let now_ms = *self.publishing.now_ms.get_or_insert_with(now_ms);
        let filling = self.publishing.batch(partitions, incoming.deliver_at_ms(now_ms), body.len());
        incoming.append(&mut filling.builder, now_ms)?;
        filling.publishers.push(publisher);
        self.publishing.sequences.extend(number.map(|number| (publisher.channel, number)));
        Ok(())
    }

    /// Who publishes may say who he is, but not that he is somebody else (RabbitMQ's validated user-id).
    fn check_user(&self, user_id: Option<&[u8]>) -> Result<()> {
        match user_id {
            Some(said) if said != self.opened.user.as_bytes() => {
                let said = String::from_utf8_lossy(said).escape_debug().to_string();
                let message =
                    format!("user_id property set to '{said}' but authenticated user was '{}'", self.opened.user);
                Err(Exception::new(Code::PreconditionFailed, message))
            }
            _ => Ok(()),
        }
    }

    fn give_back_unroutable(&mut self, message: &Publish<'_>) {
        let returned = Basic::Return {
            reply_code: 312,
            reply_text: Text::from_static("NO_ROUTE"),
            exchange: message.exchange.into(),
            routing_key: message.routing_key.into(),
        };
        let properties = |out: &mut BytesMut| out.extend_from_slice(message.properties);
        let (body, max_frame_bytes) = (Bytes::copy_from_slice(message.body), self.opened.max_frame_bytes);
        self.wire.outbox.content(message.channel, &Method::Basic(returned), properties, &body, max_frame_bytes);
    }

    /// Nobody takes it, and with that everything is done that was to be done with it.
    fn unroutable(&mut self, publisher: Publisher) -> Result<()> {
        self.listener.metrics.unroutable.add(1);
        if let Some(delivery_tag) = publisher.number {
            let ack = Basic::Ack { delivery_tag, multiple: false };
            self.wire.outbox.method(publisher.channel.id, &Method::Basic(ack));
            self.listener.metrics.confirmed.add(1);
        }
        Ok(())
    }

    /// Where messages of an exchange and a routing key go. Most publishers name the same again and again.
    pub(super) fn route(&mut self, exchange: &str, routing_key: &str) -> Result<Arc<Route>> {
        let broker = &self.listener.broker;
        let publishing = &mut self.publishing;
        if let Some((of, with, route)) = &publishing.last_route
            && **of == *exchange
            && **with == *routing_key
            && broker.is_current(route)
        {
            return Ok(Arc::clone(route));
        }
        let key: (Box<str>, Box<str>) = (exchange.into(), routing_key.into());
        let route = match publishing.routes.get(&key).filter(|route| broker.is_current(route)) {
            Some(route) => Arc::clone(route),
            None => {
                if publishing.routes.len() >= MAX_ROUTES {
                    publishing.routes.clear();
                }
                let route = Arc::new(broker.route(&self.opened.principal, exchange, routing_key)?);
                publishing.routes.insert(key.clone(), Arc::clone(&route));
                route
            }
        };
        publishing.last_route = Some((key.0, key.1, Arc::clone(&route)));
        Ok(route)
    }

    // ---- appending ----------------------------------------------------------------------------------------------

    /// Appends what was published since the last time. Waits while there is no room in memory for it; what finds none on
    /// the disk is kept and tried again, and until then nothing more is read.
    pub(super) async fn publish_gathered(&mut self) -> Result<()> {
        if self.publishing.filling.is_empty() && self.publishing.stuck.is_empty() {
            return Ok(());
        }
        let outbound = self.publishing.take()?;
        let mut commits = Vec::new();
        let results = self.append(&outbound, &mut commits).await;
        let mut refused = Vec::new();
        for (outbound, result) in outbound.into_iter().zip(results) {
            match result {
                Ok(_) => {}
                Err(EngineError::DiskFull) => self.publishing.stuck.push(outbound),
                Err(error) => self.append_again(outbound, error, &mut commits, &mut refused).await?,
            }
        }
        self.published(commits, refused);
        Ok(())
    }

    async fn append(&mut self, outbound: &[Outbound], commits: &mut Vec<Commit>) -> Vec<Result<Appended, EngineError>> {
        let writes = outbound.iter().map(|outbound| outbound.write.clone()).collect();
        if self.publishing.sequences.is_empty() {
            return self.listener.broker.publish_untold(writes).await;
        }
        let Appends { results, commit } = self.listener.broker.publish(writes).await;
        commits.push(commit);
        results
    }

    /// A batch was refused: because one of its queues is gone meanwhile, or because of one of its messages. The others get
    /// where they were going.
    async fn append_again(
        &mut self,
        mut outbound: Outbound,
        error: EngineError,
        commits: &mut Vec<Commit>,
        refused: &mut Vec<(Publisher, EngineError)>,
    ) -> Result<()> {
        let broker = &self.listener.broker;
        let before = outbound.write.partitions.len();
        outbound.write.partitions.retain(|partition| broker.partition(*partition).is_ok());
        if outbound.write.partitions.is_empty() {
            return outbound.publishers.into_iter().try_for_each(|publisher| self.lost_its_queues(publisher));
        }
        if outbound.publishers.len() == 1 && outbound.write.partitions.len() == before {
            refused.extend(outbound.publishers.into_iter().map(|publisher| (publisher, error.clone())));
            return Ok(());
        }
        for single in outbound.singly(broker.engine().config().max_decompressed_bytes)? {
            match self.append(std::slice::from_ref(&single), commits).await.pop() {
                Some(Err(EngineError::DiskFull)) => self.publishing.stuck.push(single),
                Some(Err(error)) => refused.extend(single.publishers.into_iter().map(|one| (one, error.clone()))),
                Some(Ok(_)) | None => {}
            }
        }
        Ok(())
    }

    fn lost_its_queues(&mut self, publisher: Publisher) -> Result<()> {
        self.publishing
            .sequences
            .retain(|(channel, number)| Some(*number) != publisher.number || *channel != publisher.channel);
        self.unroutable(publisher)
    }

    /// Publishers are told when it is durable. One that did not ask for confirms hears of a refusal by losing its channel.
    fn published(&mut self, commits: Vec<Commit>, refused: Vec<(Publisher, EngineError)>) {
        let mut confirmation = Confirmation::default();
        let stuck: Vec<Publisher> = self.publishing.stuck.iter().flat_map(|stuck| stuck.publishers.clone()).collect();
        let is_stuck =
            |(channel, number): &Sequence| stuck.iter().any(|of| of.channel == *channel && of.number == Some(*number));
        let sequences = mem::take(&mut self.publishing.sequences);
        (self.publishing.sequences, confirmation.published) =
            if stuck.is_empty() { (Vec::new(), sequences) } else { sequences.into_iter().partition(is_stuck) };
        for (publisher, error) in refused {
            match publisher.number {
                Some(number) => {
                    tracing::debug!(%error, channel = publisher.channel.id, "publish refused");
                    confirmation.refused.push((publisher.channel, number));
                }
                None => self.failed.push((publisher.channel, broker::Error::from(error).into())),
            }
        }
        self.unsynced = true;
        if !confirmation.published.is_empty() {
            self.publishing.unconfirmed += confirmation.published.len();
            self.confirmations.push_back(Box::pin(confirmation.when(commits)));
        }
    }
}

impl Outbound {
    /// Each record in a batch of its own.
    fn singly(self, max_decompressed: usize) -> Result<Vec<Self>> {
        let Self { write, publishers } = self;
        let records = write.batch.records(0, max_decompressed).map_err(broker::Error::from)?;
        let single = |(record, publisher)| {
            let batch = Batch::pack(std::slice::from_ref(&record)).map_err(broker::Error::from)?;
            Ok(Self { write: Write { batch, ..write.clone() }, publishers: vec![publisher] })
        };
        records.into_iter().zip(publishers).map(single).collect()
    }
}
