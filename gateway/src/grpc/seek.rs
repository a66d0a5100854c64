//! Consumer.Seek: moves a group back or forth.

use tidegate_engine::group::GroupInfo;
use tidegate_engine::{PartitionId, TopicName};
use tidegate_proto::v1::position::Position as Where;
use tidegate_proto::v1::{Anchor as End, PartitionOffset, Position, SeekRequest, SeekResponse};

use super::error::{Refusal, Result};
use super::state::Grpc;
use super::time::milliseconds;
use crate::broker::{Anchor, Broker, Error, Kind, Place};

type Sought = Vec<(PartitionId, PartitionOffset)>;

pub(super) async fn seek(grpc: &Grpc, request: SeekRequest) -> Result<SeekResponse> {
    let group = grpc.find_group(&request.group)?;
    let sought = match (&request.to, request.offsets.is_empty()) {
        (Some(to), true) => {
            let topics = chosen(&group, &request.topics)?;
            everywhere(grpc, topics, anchor(to)?).await?
        }
        (None, false) if request.topics.is_empty() => {
            Broker::check_consumed(&group, request.offsets.iter().map(|position| position.topic.as_str()))?;
            one_by_one(grpc, request.offsets)?
        }
        _ => return Err(Refusal::invalid("give one of to (with topics, if not all) and offsets")),
    };
    let ids: Vec<_> = sought.iter().map(|(id, position)| (*id, position.offset)).collect();
    grpc.broker.seek(&grpc.principal, &request.group, &ids).await?;
    Ok(SeekResponse { positions: sought.into_iter().map(|(_, position)| position).collect() })
}

/// A position that every partition has.
pub(super) fn anchor(position: &Position) -> Result<Anchor> {
    let wrong = || Refusal::invalid("the position is an anchor (earliest or latest) or a timestamp");
    match position.position.as_ref().ok_or_else(wrong)? {
        Where::Anchor(anchor) if *anchor == End::Earliest as i32 => Ok(Anchor::Earliest),
        Where::Anchor(anchor) if *anchor == End::Latest as i32 => Ok(Anchor::Latest),
        Where::Timestamp(time) => milliseconds(time).map(Anchor::Time).map_err(|refusal| refusal.within("timestamp")),
        Where::Anchor(_) | Where::Offset(_) => Err(wrong()),
    }
}

/// The group's topics, or those of them that are named.
fn chosen<'a>(group: &'a GroupInfo, named: &'a [String]) -> Result<Vec<&'a str>> {
    if named.is_empty() {
        return Ok(group.config.topics.iter().map(TopicName::name).collect());
    }
    Broker::check_consumed(group, named.iter().map(String::as_str))?;
    Ok(named.iter().map(String::as_str).collect())
}

async fn everywhere(grpc: &Grpc, topics: Vec<&str>, to: Anchor) -> Result<Sought> {
    let mut sought = Vec::new();
    for name in topics {
        let topic = grpc.broker.topic_for_read(&grpc.principal, name)?;
        for place in Place::all(&topic) {
            let offset = grpc.broker.offset_at(place.id, to).await?;
            sought.push((place.id, PartitionOffset { topic: name.to_owned(), partition: place.index, offset }));
        }
    }
    Ok(sought)
}

fn one_by_one(grpc: &Grpc, offsets: Vec<PartitionOffset>) -> Result<Sought> {
    let mut sought = Vec::with_capacity(offsets.len());
    for position in offsets {
        let topic = grpc.broker.topic_for_read(&grpc.principal, &position.topic)?;
        let id = Place::find(&topic, position.partition)?.id;
        let info = grpc.broker.partition(id)?;
        if !(info.log_start..=info.high_watermark).contains(&position.offset) {
            let (PartitionOffset { topic, partition, offset }, range) =
                (&position, info.log_start..=info.high_watermark);
            let words = format!("offset {offset} is outside {range:?} of partition {partition} of topic '{topic}'");
            return Err(Error::new(Kind::OutOfRange, words).into());
        }
        sought.push((id, position));
    }
    Ok(sought)
}
