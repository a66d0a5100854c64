//! `basic.ack`, `basic.nack`, `basic.reject`, `basic.recover`: deliveries are settled. What one read brought is settled
//! together, by queue.

use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::group::{ConsumerId, Settlement};

use super::channel::Unacknowledged;
use super::error::{Exception, Result};
use super::session::Session;
use crate::broker::Kind;

/// Settlements gathered and not yet made.
#[derive(Default)]
pub(super) struct Settling {
    by_queue: Vec<(Arc<str>, Vec<Settlement>)>,
}

impl Settling {
    /// Settlements wait for space on the disk.
    pub(super) fn is_stuck(&self) -> bool {
        !self.by_queue.is_empty()
    }

    fn push(&mut self, queue: &Arc<str>, settlement: Settlement) {
        match self.by_queue.iter_mut().rfind(|(of, _)| of == queue) {
            Some((_, settlements)) => settlements.push(settlement),
            None => self.by_queue.push((Arc::clone(queue), vec![settlement])),
        }
    }
}

impl Session<'_> {
    pub(super) fn acknowledge(&mut self, id: u16, tag: u64, multiple: bool) -> Result<()> {
        let settled = self.channel(id)?.settled(tag, multiple)?;
        self.listener.metrics.acknowledged.add(settled.len());
        let last = consumer_of_last(&settled);
        self.settle(settled, |one| Settlement::Acknowledge(one.lease));
        self.share_credit(id, last);
        Ok(())
    }

    /// Back into the queue, in its place, or given up: dead-lettered if the queue says where to, dropped otherwise.
    pub(super) fn reject(&mut self, id: u16, tag: u64, multiple: bool, requeue: bool) -> Result<()> {
        let settled = self.channel(id)?.settled(tag, multiple)?;
        let last = consumer_of_last(&settled);
        if requeue {
            self.give_back(settled);
        } else {
            self.settle(settled, |one| reject(one, true));
        }
        self.share_credit(id, last);
        Ok(())
    }

    pub(super) fn recover(&mut self, id: u16, requeue: bool) -> Result<()> {
        if !requeue {
            return Err(Exception::not_implemented("basic.recover without requeue"));
        }
        let all = self.channel(id)?.settled(0, true)?;
        let last = consumer_of_last(&all);
        self.give_back(all);
        self.share_credit(id, last);
        self.settle_gathered()
    }

    /// Back into the queue, in its place. The attempt does not count unless the queue limits deliveries.
    pub(super) fn give_back(&mut self, settled: impl IntoIterator<Item = Unacknowledged>) {
        self.settle(settled, |one| if one.counted { reject(one, false) } else { Settlement::Release(one.lease) });
    }

    fn settle(
        &mut self,
        settled: impl IntoIterator<Item = Unacknowledged>,
        how: impl Fn(&Unacknowledged) -> Settlement,
    ) {
        for one in settled {
            let settlement = how(&one);
            self.settling.push(&one.queue, settlement);
            if let Some(consumer) = one.consumer {
                self.give_credit(consumer);
            }
        }
    }

    /// Makes the settlements gathered. A queue that has been deleted needs none; what finds no space is tried again.
    pub(super) fn settle_gathered(&mut self) -> Result<()> {
        for (queue, settlements) in std::mem::take(&mut self.settling.by_queue) {
            match self.listener.broker.settle_untold(&self.opened.principal, &queue, &settlements) {
                // A lease that is gone was taken back by an operator, or with its queue. Nobody is told when it is durable,
                // unless by the answer to a later request.
                Ok(()) => self.unsynced = true,
                Err(error) if error.kind == Kind::NotFound => {}
                Err(_) if self.listener.broker.engine().usage().disk_full => {
                    self.settling.by_queue.push((queue, settlements));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

fn consumer_of_last(settled: &[Unacknowledged]) -> Option<ConsumerId> {
    settled.last().and_then(|one| one.consumer)
}

fn reject(one: &Unacknowledged, dead_letter: bool) -> Settlement {
    Settlement::Reject { lease: one.lease, delay: Some(Duration::ZERO), reason: None, dead_letter }
}
