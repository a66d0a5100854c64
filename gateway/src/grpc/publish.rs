//! Publisher.Publish: a batch in one call, a result for each entry.

use tidegate_engine::Atomic;
use tidegate_proto::v1::{PublishRequest, PublishResponse, PublishResult};

use super::convert::{draft, idempotency_key};
use super::entries::{self, Topics};
use super::error::{Refusal, Result};
use super::state::Grpc;
use super::time::now_ms;
use crate::broker::{Gathering, Kind};

pub(super) async fn publish(grpc: &Grpc, request: PublishRequest) -> Result<PublishResponse> {
    let PublishRequest { topic, entries, atomic, idempotency_key: key } = request;
    let limit = grpc.config.max_batch_messages;
    if entries.len() > limit {
        return Err(Refusal::too_many("entries", entries.len(), "max_batch_messages", limit));
    }
    let mut gathering = Gathering::new(grpc.principal.namespace(), idempotency_key(key)?, now_ms());
    let mut results: Vec<Option<PublishResult>> = Vec::new();
    results.resize_with(entries.len(), || None);
    for (position, entry) in entries.iter().enumerate().filter(|_| atomic) {
        draft(entry.clone()).map_err(|refusal| refusal.within(format_args!("entries[{position}]")))?;
    }
    let mut topics = Topics::new(grpc);
    topics.find(&topic, &entries).await;
    for (position, entry) in entries.into_iter().enumerate() {
        match topics.gather(&mut gathering, position, &topic, entry) {
            Ok(()) => {}
            Err(refusal) if atomic => return Err(refusal.within(format_args!("entries[{position}]"))),
            Err(refusal) => results[position] = Some(entries::failed(refusal)),
        }
    }
    store(grpc, &gathering, atomic, &mut results).await?;
    // Every entry was put into a group or failed before.
    Ok(PublishResponse { results: results.into_iter().flatten().collect() })
}

/// Stores the groups and enters their results.
async fn store(
    grpc: &Grpc,
    gathering: &Gathering<'_>,
    atomic: bool,
    results: &mut [Option<PublishResult>],
) -> Result<()> {
    if gathering.groups().is_empty() {
        return Ok(());
    }
    let writes = entries::writes(grpc, gathering)?;
    let (appended, commit) = if atomic {
        let atomic = Atomic { writes, ..Atomic::default() };
        let (appended, commit) = grpc.broker.publish_atomic(atomic).await.map_err(atomic_refusal)?;
        (appended.into_iter().map(Ok).collect(), commit)
    } else {
        let appends = grpc.broker.publish(writes).await;
        (appends.results, appends.commit)
    };
    commit.wait().await?;
    for (group, appended) in gathering.groups().iter().zip(appended) {
        let appended = appended.map_err(Refusal::from);
        for (nth, position) in group.positions.iter().enumerate() {
            results[*position] = Some(entries::result(group, &appended, nth));
        }
    }
    Ok(())
}

/// A batch contradicts only what its idempotency keys were used for.
fn atomic_refusal(error: crate::broker::Error) -> Refusal {
    match error.kind {
        Kind::Conflict => tidegate_engine::Error::IdempotencyMismatch.into(),
        _ => error.into(),
    }
}
