//! `basic.get`: one message, now.

use tidegate_engine::group::LeaseRequest;
use tokio::time::Instant;

use super::channel::Unacknowledged;
use super::codec::{Basic, Method, Text};
use super::convert::{Extra, Outgoing};
use super::error::Result;
use super::queue::count;
use super::session::Session;

impl Session<'_> {
    pub(super) async fn get(&mut self, id: u16, queue: &Text, no_ack: bool) -> Result<()> {
        self.catch_up().await?;
        let queue = self.channel(id)?.queue(queue)?;
        let (broker, principal) = (&self.listener.broker, &self.opened.principal);
        let counted = broker.open_queue(principal, &queue, self.owner).await?;
        let request = LeaseRequest {
            consumer: self.getter,
            max_messages: 1,
            max_bytes: usize::MAX,
            deadline: Some(self.lease_time()),
            acknowledge: no_ack,
            waited: false,
        };
        let Some(delivery) = broker.lease(principal, &queue, request).await?.pop() else {
            self.reply(id, Method::Basic(Basic::GetEmpty {}));
            return Ok(());
        };
        let left = broker.queue(principal, &queue, self.owner)?.messages;
        let channel = self.channel(id)?;
        let delivery_tag = channel.next_tag();
        if !no_ack {
            let one = Unacknowledged { lease: delivery.lease, queue, consumer: None, since: Instant::now(), counted };
            channel.unacknowledged.insert(delivery_tag, one);
            channel.got += 1;
        }
        let outgoing = Outgoing::new(&delivery.record, delivery.topic.name());
        let ok = Basic::GetOk {
            delivery_tag,
            redelivered: delivery.redelivered,
            exchange: Text::from(outgoing.exchange().to_owned()),
            routing_key: Text::from(outgoing.routing_key().to_owned()),
            message_count: count(left),
        };
        let extra = Extra { offset: false, delivery_count: delivery.attempt - 1, max_bytes: self.max_properties() };
        let properties = |out: &mut _| outgoing.write_properties(out, &extra);
        self.wire.outbox.content(id, &Method::Basic(ok), properties, outgoing.body(), self.opened.max_frame_bytes);
        self.listener.metrics.delivered.add(1);
        self.listener.metrics.redelivered.add(usize::from(delivery.redelivered));
        Ok(())
    }
}
