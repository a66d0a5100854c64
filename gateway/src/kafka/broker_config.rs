//! This node's settings under Kafka's names, as DescribeConfigs shows them. They are changed in the gateway's configuration.

use super::context::Context;
use super::topic_config::{Settings, Type};

/// Name, value and type of every setting shown.
pub(super) fn show(context: &Context<'_>) -> Vec<(&'static str, String, Type)> {
    let config = &context.listener.config;
    let settings = context.broker().settings();
    let defaults = Settings::default_of(context);
    let topic = |name| defaults.get(name).unwrap_or_default();
    let millis = |time: std::time::Duration| time.as_millis().to_string();
    let listener = format!("PLAINTEXT://{}:{}", &*context.peer.host, context.peer.port);
    vec![
        ("advertised.listeners", listener, Type::List),
        ("auto.create.topics.enable", settings.auto_create_topics.to_string(), Type::Boolean),
        ("broker.id", config.node_id.to_string(), Type::Int),
        ("compression.type", "producer".to_owned(), Type::String),
        ("connections.max.idle.ms", millis(config.idle_timeout), Type::Long),
        ("default.replication.factor", "1".to_owned(), Type::Int),
        ("delete.topic.enable", "true".to_owned(), Type::Boolean),
        ("fetch.max.bytes", config.max_fetch_bytes.to_string(), Type::Int),
        ("group.initial.rebalance.delay.ms", millis(config.initial_rebalance_delay), Type::Int),
        ("group.max.session.timeout.ms", millis(config.max_session_timeout), Type::Int),
        ("group.max.size", config.max_group_members.to_string(), Type::Int),
        ("group.min.session.timeout.ms", millis(config.min_session_timeout), Type::Int),
        ("log.cleaner.delete.retention.ms", topic("delete.retention.ms"), Type::Long),
        ("log.cleanup.policy", topic("cleanup.policy"), Type::List),
        ("log.message.timestamp.type", topic("message.timestamp.type"), Type::String),
        ("log.retention.bytes", topic("retention.bytes"), Type::Long),
        ("log.retention.check.interval.ms", millis(context.broker().retention_interval()), Type::Long),
        ("log.retention.ms", topic("retention.ms"), Type::Long),
        ("max.connections", config.max_connections.to_string(), Type::Int),
        ("message.max.bytes", topic("max.message.bytes"), Type::Int),
        ("min.insync.replicas", "1".to_owned(), Type::Int),
        ("node.id", config.node_id.to_string(), Type::Int),
        ("num.partitions", settings.partitions.max(1).to_string(), Type::Int),
        ("offset.metadata.max.bytes", config.max_offset_metadata_bytes.to_string(), Type::Int),
        ("socket.request.max.bytes", config.max_request_bytes.to_string(), Type::Int),
    ]
}
