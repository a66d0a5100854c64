//! Admin's topics: create, show, list, delete.

use std::sync::Arc;
use std::time::Duration;

use tidegate_engine::{Durability, Retention, Topic, TopicConfig};
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::retention::{Size, Time};

use super::entries;
use super::error::Result;
use super::page::page;
use super::state::Grpc;
use super::time::{duration, length, optional_length, timestamp};
use crate::broker::Place;

pub(super) async fn create(grpc: &Grpc, request: proto::CreateTopicRequest) -> Result<proto::Topic> {
    let config = request.config.unwrap_or_default();
    let config = apply(config, &grpc.broker.settings().topic)?;
    let topic = grpc.broker.create_topic(&grpc.principal, &request.topic, request.partitions, config).await?;
    Ok(shown(&topic))
}

pub(super) async fn delete(grpc: &Grpc, name: &str) -> Result<proto::DeleteTopicResponse> {
    grpc.broker.delete_topic(&grpc.principal, name).await?;
    Ok(proto::DeleteTopicResponse {})
}

pub(super) fn get(grpc: &Grpc, name: &str) -> Result<proto::Topic> {
    let topic = grpc.broker.topic_for_read(&grpc.principal, name)?;
    let bounds = Place::all(&topic).map(|place| {
        let info = grpc.broker.partition(place.id)?;
        let (earliest, latest) = (info.log_start, info.high_watermark);
        Ok(proto::PartitionBounds { partition: place.index, earliest, latest, bytes: info.bytes })
    });
    Ok(proto::Topic { bounds: bounds.collect::<Result<_>>()?, ..shown(&topic) })
}

pub(super) fn list(grpc: &Grpc, request: &proto::ListTopicsRequest) -> Result<proto::ListTopicsResponse> {
    let topics = grpc.broker.topics(&grpc.principal);
    let name = |topic: &Arc<Topic>| topic.name.name().to_owned();
    let (topics, next_page_token) = page(topics, name, request.page_size, &request.page_token, grpc.config.max_page);
    Ok(proto::ListTopicsResponse { topics: topics.iter().map(|topic| shown(topic)).collect(), next_page_token })
}

/// The default settings with what is given.
fn apply(given: proto::TopicConfig, config: &TopicConfig) -> Result<TopicConfig> {
    let durability = match given.durability() {
        proto::Durability::Unspecified => config.durability,
        proto::Durability::Memory => Durability::Memory,
        proto::Durability::PageCache => Durability::PageCache,
        proto::Durability::Fsync => Durability::Fsync,
    };
    Ok(TopicConfig {
        durability,
        retention: retention(given.retention.unwrap_or_default(), &config.retention)?,
        max_message_bytes: given.max_message_bytes.unwrap_or(config.max_message_bytes),
        log_append_time: given.log_append_time.unwrap_or(config.log_append_time),
    })
}

fn retention(given: proto::Retention, retention: &Retention) -> Result<Retention> {
    let retention = retention.compacting(given.compact);
    let time = match given.time {
        None | Some(Time::UnlimitedAge(false)) => retention.time,
        Some(Time::MaxAge(age)) => Some(length(&age).map_err(|refusal| refusal.within("max_age"))?),
        Some(Time::UnlimitedAge(true)) => None,
    };
    let bytes = match given.size {
        None | Some(Size::UnlimitedBytes(false)) => retention.bytes,
        Some(Size::MaxBytes(bytes)) => Some(bytes),
        Some(Size::UnlimitedBytes(true)) => None,
    };
    Ok(Retention {
        time,
        bytes,
        until_acknowledged: given.until_acknowledged.unwrap_or(retention.until_acknowledged),
        compact: retention.compact,
        tombstones: optional_length("tombstones", given.tombstones.as_ref())?.unwrap_or(retention.tombstones),
    })
}

fn shown(topic: &Topic) -> proto::Topic {
    let Retention { time, bytes, until_acknowledged, compact, tombstones } = topic.config.retention;
    let age = |age: Duration| Time::MaxAge(duration(age));
    let retention = proto::Retention {
        time: Some(time.map_or(Time::UnlimitedAge(true), age)),
        size: Some(bytes.map_or(Size::UnlimitedBytes(true), Size::MaxBytes)),
        until_acknowledged: Some(until_acknowledged),
        compact: Some(compact),
        tombstones: Some(duration(tombstones)),
    };
    let config = proto::TopicConfig {
        durability: entries::durability(topic.config.durability).into(),
        retention: Some(retention),
        max_message_bytes: Some(topic.config.max_message_bytes),
        log_append_time: Some(topic.config.log_append_time),
    };
    proto::Topic {
        name: topic.name.name().to_owned(),
        id: topic.id.to_string(),
        partitions: u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX),
        config: Some(config),
        created_at: Some(timestamp(topic.created_at_ms)),
        bounds: Vec::new(),
    }
}
