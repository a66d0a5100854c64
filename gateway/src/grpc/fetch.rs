//! Consumer.Fetch: a topic's messages by offset or time, without a group.

use tidegate_engine::batch::Record;
use tidegate_engine::{PartitionId, Topic};
use tidegate_proto::v1::position::Position as Where;
use tidegate_proto::v1::{FetchRequest, FetchResponse, Gap, Position};

use super::convert::received;
use super::driven::Writer;
use super::error::{Refusal, Result};
use super::seek::anchor;
use super::state::Grpc;
use crate::broker::{Anchor, Kind, Place, ReadLimit};

/// One frame.
const FRAME: ReadLimit = ReadLimit { messages: 1000, bytes: 256 << 10 };

/// A topic's partitions and how far each has been sent.
struct Tail<'a> {
    grpc: &'a Grpc,
    topic: String,
    positions: Vec<Progress>,
    /// Messages still to send.
    left: u64,
}

struct Progress {
    place: Place,
    next: u64,
    /// Where the partition ended when reading began; none to follow it.
    end: Option<u64>,
}

impl Progress {
    fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }
}

/// Runs a stream to its end.
pub(super) async fn run(grpc: Grpc, request: FetchRequest, responses: Writer<FetchResponse>) -> Result<()> {
    let topic = grpc.broker.topic_for_read(&grpc.principal, &request.topic)?;
    let places = places(&topic, request.partition, grpc.config.max_fetch_partitions)?;
    let mut positions = Vec::with_capacity(places.len());
    for place in &places {
        let next = begin(&grpc, place.id, request.from.as_ref(), places.len() == 1).await?;
        grpc.broker.check_begin(place.id, next)?;
        let end = grpc.broker.partition(place.id)?.high_watermark;
        positions.push(Progress { place: *place, next, end: (!request.follow).then_some(end) });
    }
    let left = if request.limit == 0 { u64::MAX } else { request.limit };
    Tail { grpc: &grpc, topic: request.topic, positions, left }.run(&responses).await
}

fn places(topic: &Topic, partition: Option<u32>, limit: usize) -> Result<Vec<Place>> {
    if let Some(index) = partition {
        return Ok(vec![Place::find(topic, index)?]);
    }
    if topic.partitions.len() > limit {
        let count = topic.partitions.len();
        let words = format!(
            "topic '{}' has {count} partitions, over {limit} (max_fetch_partitions): fetch one with partition",
            topic.name
        );
        return Err(Refusal::invalid(words));
    }
    Ok(Place::all(topic).collect())
}

async fn begin(grpc: &Grpc, id: PartitionId, from: Option<&Position>, alone: bool) -> Result<u64> {
    match from.map(|from| (from, from.position.as_ref())) {
        None => Ok(grpc.broker.offset_at(id, Anchor::Earliest).await?),
        Some((_, Some(Where::Offset(offset)))) if alone => Ok(*offset),
        Some((_, Some(Where::Offset(_)))) => Err(Refusal::invalid("from is an offset: say of which partition")),
        Some((from, _)) => Ok(grpc.broker.offset_at(id, anchor(from)?).await?),
    }
}

impl Tail<'_> {
    async fn run(mut self, responses: &Writer<FetchResponse>) -> Result<()> {
        while self.left > 0 && !self.grpc.drain.is_requested() {
            let watched: Vec<_> = self.positions.iter().map(|position| (position.place.id, position.next)).collect();
            let mut watch = self.grpc.broker.watch(&watched);
            let mut found = false;
            for index in 0..self.positions.len() {
                if let Some(frame) = self.read(index).await? {
                    responses.send(frame).await?;
                    found = true;
                }
            }
            self.positions.retain(|position| !position.is_done());
            if self.positions.is_empty() {
                return Ok(());
            }
            if !found {
                tokio::select! {
                    () = watch.changed() => {}
                    () = self.grpc.drain.requested() => {}
                }
            }
        }
        Ok(())
    }

    /// What a partition has, if it has something.
    async fn read(&mut self, index: usize) -> Result<Option<FetchResponse>> {
        let position = &mut self.positions[index];
        let (place, next) = (position.place, position.next);
        let info = self.grpc.broker.partition(place.id)?;
        if next < info.log_start {
            position.next = info.log_start;
            let gap = Gap { partition: place.index, from: next, to: info.log_start };
            return Ok(Some(FetchResponse { messages: Vec::new(), gaps: vec![gap] }));
        }
        if next == info.high_watermark || position.is_done() || self.left == 0 {
            return Ok(None);
        }
        let messages = FRAME.messages.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let end = position.end.unwrap_or(u64::MAX);
        let limit = ReadLimit { messages, ..FRAME };
        let page = match self.grpc.broker.read_page(place.id, next, limit, |record| record.offset < end).await {
            // Retention was faster: there is a gap now.
            Err(error) if error.kind == Kind::OutOfRange && next < info.high_watermark => return Ok(None),
            page => page?,
        };
        position.next = page.next_offset;
        self.left -= page.records.len() as u64;
        self.grpc.metrics.sent.add(page.records.len(), page.records.iter().map(Record::size).sum());
        let messages: Vec<_> = page.records.iter().map(|record| received(&self.topic, place.index, record)).collect();
        Ok((!messages.is_empty()).then_some(FetchResponse { messages, gaps: Vec::new() }))
    }
}
