//! Entries into records: their topics found, their partitions chosen, gathered for the engine; and what became of them.

use std::sync::Arc;

use tidegate_engine::{Appended, Durability, Topic, Write};
use tidegate_proto::v1 as proto;
use tidegate_proto::v1::publish_result::Outcome;

use super::convert::draft;
use super::error::{Refusal, Result};
use super::state::Grpc;
use super::time::timestamp;
use crate::broker::{Gathering, Group};

/// Topics found for the entries of one request, so that each is looked up once.
pub(super) struct Topics<'a> {
    grpc: &'a Grpc,
    found: Vec<(String, Result<Arc<Topic>>)>,
}

impl<'a> Topics<'a> {
    pub(super) fn new(grpc: &'a Grpc) -> Self {
        Self { grpc, found: Vec::new() }
    }

    /// Looks up the topics that the entries of a frame name. One that is refused for itself creates none.
    pub(super) async fn find(&mut self, default: &str, entries: &[proto::Entry]) {
        for entry in entries {
            let name = named(entry, default);
            if self.known(name).is_none() && draft(entry.clone()).is_ok() {
                let topic = match name {
                    "" => Err(Refusal::invalid("the entry names no topic, and the request neither")),
                    name => self.grpc.broker.topic_for_write(&self.grpc.principal, name).await.map_err(Refusal::from),
                };
                self.found.push((name.to_owned(), topic));
            }
        }
    }

    fn known(&self, name: &str) -> Option<&Result<Arc<Topic>>> {
        self.found.iter().find(|(of, _)| of == name).map(|(_, topic)| topic)
    }

    /// Puts an entry, whose topic was looked up, into the group of its partition.
    pub(super) fn gather(
        &self,
        gathering: &mut Gathering<'_>,
        position: usize,
        default: &str,
        entry: proto::Entry,
    ) -> Result<()> {
        let topic = self.known(named(&entry, default));
        let draft = draft(entry)?;
        let unknown = || Err(Refusal::not_found("the topic was not looked up"));
        let topic = topic.map_or_else(unknown, |topic| topic.as_ref().map_err(Clone::clone))?;
        let place = self.grpc.broker.place_draft(topic, &draft, gathering.key())?;
        gathering.add(position, topic, place, draft);
        Ok(())
    }
}

fn named<'a>(entry: &'a proto::Entry, default: &'a str) -> &'a str {
    if entry.topic.is_empty() { default } else { &entry.topic }
}

/// The writes of what was gathered, counted.
pub(super) fn writes(grpc: &Grpc, gathering: &Gathering<'_>) -> Result<Vec<Write>> {
    let writes = gathering.writes()?;
    for (group, write) in gathering.groups().iter().zip(&writes) {
        grpc.metrics.received.add(group.positions.len(), write.batch.bytes.len());
    }
    Ok(writes)
}

/// What became of a group's nth entry.
pub(super) fn result(group: &Group, appended: &Result<Appended, Refusal>, nth: usize) -> proto::PublishResult {
    let outcome = match appended {
        Ok(appended) => Outcome::Published(published(group, appended, nth)),
        Err(refusal) => Outcome::Error(refusal.clone().into()),
    };
    proto::PublishResult { outcome: Some(outcome) }
}

pub(super) fn failed(refusal: Refusal) -> proto::PublishResult {
    proto::PublishResult { outcome: Some(Outcome::Error(refusal.into())) }
}

fn published(group: &Group, appended: &Appended, nth: usize) -> proto::Published {
    proto::Published {
        topic: group.topic.name.name().to_owned(),
        partition: group.place.index,
        offset: appended.base_offset.map(|base| base + nth as u64),
        timestamp: group.timestamp_ms(appended, nth).map(timestamp),
        durability: durability(appended.durability).into(),
        duplicate: appended.duplicate,
    }
}

pub(super) fn durability(durability: Durability) -> proto::Durability {
    match durability {
        Durability::Memory => proto::Durability::Memory,
        Durability::PageCache => proto::Durability::PageCache,
        Durability::Fsync => proto::Durability::Fsync,
    }
}
