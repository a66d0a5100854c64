//! The Kafka listener: the wire protocol of Apache Kafka 4 in front of the broker.
//!
//! One file per API, named by its key, so that a listing of this folder is the table of what is served; each opens with its
//! versions and behaviour, and `api` ties them together. `session` is a connection, `codec` its bytes,
//! `coordinator` the classic group protocol.

mod api;
mod api_00_produce;
mod api_01_fetch;
mod api_02_list_offsets;
mod api_03_metadata;
mod api_08_offset_commit;
mod api_09_offset_fetch;
mod api_10_find_coordinator;
mod api_11_join_group;
mod api_12_heartbeat;
mod api_13_leave_group;
mod api_14_sync_group;
mod api_15_describe_groups;
mod api_16_list_groups;
mod api_18_api_versions;
mod api_19_create_topics;
mod api_20_delete_topics;
mod api_21_delete_records;
mod api_22_init_producer_id;
mod api_23_offset_for_leader_epoch;
mod api_32_describe_configs;
mod api_33_alter_configs;
mod api_35_describe_log_dirs;
mod api_37_create_partitions;
mod api_42_delete_groups;
mod api_43_elect_leaders;
mod api_44_incremental_alter_configs;
mod api_46_list_partition_reassignments;
mod api_47_offset_delete;
mod api_60_describe_cluster;
mod api_74_list_config_resources;
mod api_75_describe_topic_partitions;
mod broker_config;
mod codec;
mod config;
mod context;
mod coordinator;
mod error;
mod metrics;
mod names;
mod repeats;
mod session;
mod topic_config;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::net::TcpListener;

pub use config::Config;
pub use metrics::Metrics;

use crate::broker::Broker;
use crate::listener::{self, Drain, Surroundings};
use crate::metrics::{Family, Gather, Number};
use coordinator::Coordinator;

/// The Kafka listener: shared by its connections.
pub struct Listener {
    broker: Broker,
    config: Arc<Config>,
    coordinator: Coordinator,
    metrics: Arc<Metrics>,
}

impl Listener {
    /// A listener in front of `broker`. It counts into `metrics`.
    #[must_use]
    pub fn new(broker: Broker, config: Arc<Config>, metrics: Arc<Metrics>) -> Self {
        let coordinator = Coordinator::new(broker.clone(), Arc::clone(&config), Arc::clone(&metrics));
        Self { broker, config, coordinator, metrics }
    }

    /// The members of each group that has any, under the name that kafka_exporter made known.
    fn members(&self) -> Family {
        let members = self.coordinator.members().into_iter().map(|(group, members)| {
            let labels = vec![("namespace", group.namespace().to_owned()), ("consumergroup", group.name().to_owned())];
            (labels, members.number())
        });
        Family::gauges("kafka_consumergroup_members", "Members of the group", members.collect())
    }

    /// Handles one request's frame (without its length) as a connection would: the size of the response, if there is one. For
    /// tests and fuzzing: a response that cannot be encoded panics here.
    #[doc(hidden)]
    pub async fn answer(&self, frame: bytes::Bytes) -> Option<usize> {
        session::answer(self, frame).await
    }

    /// Serves connections until the drain is requested. Returns when no more are accepted; those that are open finish as
    /// tasks of the drain.
    pub async fn serve(self: Arc<Self>, socket: TcpListener, drain: Drain) {
        let this = self;
        let timers = Arc::clone(&this);
        let stop = drain.clone();
        drain.spawn(async move {
            tokio::select! {
                () = timers.coordinator.run_timers() => {}
                () = stop.requested() => {}
            }
        });
        let max_connections = this.config.max_connections;
        let connections = drain.clone();
        listener::accept(socket, max_connections, drain, move |stream, peer| {
            session::run(Arc::clone(&this), stream, peer, connections.clone())
        })
        .await;
    }
}

/// Serves Kafka clients on `listener` until the drain is requested; see [`Listener`].
pub async fn serve(listener: TcpListener, broker: Broker, config: Arc<Config>, drain: Drain) {
    Arc::new(Listener::new(broker, config, Arc::default())).serve(listener, drain).await;
}

/// Starts the listener on a socket; what gathers its metrics.
pub fn start(socket: TcpListener, surroundings: &Surroundings) -> Gather {
    let Surroundings { broker, config, identity, drain } = surroundings;
    let mut settings = config.listeners.kafka.settings.clone();
    settings.cluster_id.clone_from(&identity.cluster_id);
    let listener = Arc::new(Listener::new(broker.clone(), Arc::new(settings), Arc::default()));
    drain.spawn(Arc::clone(&listener).serve(socket, drain.clone()));
    Box::new(move || {
        let mut families = listener.metrics.families();
        families.push(listener.members());
        families
    })
}
