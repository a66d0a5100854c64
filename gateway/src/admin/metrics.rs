//! What is shown at /metrics, gathered when it is asked for. Names that kafka_exporter made known are kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_engine::group::GroupInfo;
use tidegate_engine::{Engine, PartitionId, Topic};

use super::{Gateway, Running, process};
use crate::metrics::{Family, Labels};

/// Everything at this moment.
pub fn collect(gateway: &Gateway) -> Vec<Family> {
    let mut families = vec![
        Family::gauges(
            "tidegate_build_info",
            "The running version",
            vec![(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1.0)],
        ),
        Family::gauge("tidegate_ready", "1 while clients can be served", usize::from(gateway.unready().is_none())),
    ];
    families.extend(process::collect());
    if let Some(running) = gateway.running() {
        let shown = gateway.config().listeners.admin.settings.metrics_partitions;
        families.extend(collect_running(running, shown));
    }
    families
}

fn collect_running(running: &Running, shown: usize) -> Vec<Family> {
    let engine = running.broker.engine();
    let mut families = engine_families(engine);
    families.extend(Topics::collect(engine, shown).families());
    families.extend(Groups::collect(engine, shown).families());
    families.extend(running.listeners.iter().flat_map(|gather| gather()).map(|family| family.truncated(shown)));
    families
}

fn engine_families(engine: &Engine) -> Vec<Family> {
    let usage = engine.usage();
    let counters = engine.counters();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    vec![
        Family::gauge("tidegate_topics", "Topics", usage.topics),
        Family::gauge("tidegate_partitions", "Partitions of all topics", usage.partitions),
        Family::gauge("tidegate_groups", "Groups", usage.groups),
        Family::gauge("tidegate_leases", "Records leased and not yet settled, over all groups", usage.leases),
        Family::gauge("tidegate_dedupe_keys", "Idempotency keys remembered", usage.dedupe_keys),
        Family::gauge("tidegate_table_entries", "Keys the gateway keeps for itself", usage.table_entries),
        Family::gauge("tidegate_scheduled", "Records waiting for their delivery time", usage.scheduled),
        Family::gauge("tidegate_segments", "Segments of the log", usage.segments),
        Family::gauge("tidegate_tail_cache_bytes", "Recently written batches in memory", usage.tail_cache_bytes),
        Family::gauge("tidegate_pending_bytes", "Appended and not yet written", usage.pending_bytes),
        Family::gauge(
            "tidegate_disk_full",
            "1 while publishing is refused for want of disk space",
            usize::from(usage.disk_full),
        ),
        Family::gauge("tidegate_poisoned", "1 after a write or sync failed: restart", usize::from(usage.poisoned)),
        Family::counter(
            "tidegate_log_written_bytes",
            "Written to the log, framing included",
            count(&counters.written_bytes),
        ),
        Family::counter("tidegate_log_commits", "Group commits", count(&counters.blocks)),
        Family::counter("tidegate_log_syncs", "Syncs of the log", count(&counters.syncs)),
        Family::counter(
            "tidegate_log_read_bytes",
            "Read from segment files, not from memory",
            count(&counters.read_bytes),
        ),
        Family::counter(
            "tidegate_log_read_ahead_bytes",
            "Read from segment files before a consumer that reads on came for it",
            count(&counters.read_ahead_bytes),
        ),
        Family::counter("tidegate_snapshots", "Snapshots written", count(&counters.snapshots)),
        Family::counter(
            "tidegate_segments_deleted",
            "Segments deleted, nothing in them lived",
            count(&counters.segments_deleted),
        ),
        Family::counter(
            "tidegate_rewritten_bytes",
            "Copied by reclaim and compaction",
            count(&counters.rewritten_bytes),
        ),
        Family::counter("tidegate_dead_lettered", "Records dead-lettered", count(&counters.dead_lettered)),
        Family::counter(
            "tidegate_undecodable_batches",
            "Batches that groups came to and could not decode",
            count(&counters.undecodable),
        ),
        Family::counter(
            "tidegate_corrupt_reads",
            "Reads that met data which does not check",
            count(&counters.corrupt_reads),
        ),
    ]
}

fn topic_labels(topic: &Topic) -> Labels {
    vec![("namespace", topic.name.namespace().to_owned()), ("topic", topic.name.name().to_owned())]
}

fn partition_labels(topic: &Topic, index: usize) -> Labels {
    let mut labels = topic_labels(topic);
    labels.push(("partition", index.to_string()));
    labels
}

#[derive(Default)]
struct Topics {
    partitions: usize,
    stored_bytes: u64,
    omitted: usize,
    partitions_of: Vec<(Labels, f64)>,
    current: Vec<(Labels, f64)>,
    oldest: Vec<(Labels, f64)>,
    bytes: Vec<(Labels, f64)>,
}

impl Topics {
    fn collect(engine: &Engine, shown: usize) -> Self {
        let mut found = Self::default();
        for topic in engine.topics() {
            found.partitions += topic.partitions.len();
            let show = found.partitions <= shown;
            found.omitted += if show { 0 } else { topic.partitions.len() };
            if show {
                found.partitions_of.push((topic_labels(&topic), topic.partitions.len() as f64));
            }
            for (index, partition) in topic.partitions.iter().enumerate() {
                found.add_partition(engine, &topic, index, *partition, show);
            }
        }
        found
    }

    fn add_partition(&mut self, engine: &Engine, topic: &Topic, index: usize, partition: PartitionId, show: bool) {
        // Deleted between the listing and now.
        let Ok(info) = engine.partition(partition) else { return };
        self.stored_bytes += info.bytes;
        if show {
            let labels = partition_labels(topic, index);
            self.current.push((labels.clone(), info.high_watermark as f64));
            self.oldest.push((labels.clone(), info.log_start as f64));
            self.bytes.push((labels, info.bytes as f64));
        }
    }

    fn families(self) -> Vec<Family> {
        vec![
            Family::gauge("kafka_brokers", "Nodes", 1_usize),
            Family::gauge("tidegate_stored_bytes", "Bytes of records kept in all partitions", self.stored_bytes),
            Family::gauge(
                "tidegate_metrics_omitted_partitions",
                "Partitions without series of their own, see listeners.admin.metrics_partitions",
                self.omitted,
            ),
            Family::gauges("kafka_topic_partitions", "Partitions of the topic", self.partitions_of),
            Family::gauges("kafka_topic_partition_current_offset", "Next offset of the partition", self.current),
            Family::gauges("kafka_topic_partition_oldest_offset", "First offset kept in the partition", self.oldest),
            Family::gauges("tidegate_partition_bytes", "Bytes of records kept in the partition", self.bytes),
        ]
    }
}

#[derive(Default)]
struct Groups {
    lag: u64,
    delayed: usize,
    omitted: usize,
    offsets: Vec<(Labels, f64)>,
    lags: Vec<(Labels, f64)>,
    lag_sums: Vec<(Labels, f64)>,
    leased: Vec<(Labels, f64)>,
    retrying: Vec<(Labels, f64)>,
    oldest: Vec<(Labels, f64)>,
}

impl Groups {
    fn collect(engine: &Engine, shown: usize) -> Self {
        let mut found = Self::default();
        let mut names = HashMap::new();
        for topic in engine.topics() {
            names.extend(topic.partitions.iter().enumerate().map(|(index, id)| (*id, partition_labels(&topic, index))));
        }
        for group in engine.groups() {
            found.add_group(engine, &group, &names, shown);
        }
        found
    }

    fn add_group(&mut self, engine: &Engine, group: &GroupInfo, names: &HashMap<PartitionId, Labels>, shown: usize) {
        let lags = engine.lag(&group.name).unwrap_or_default();
        let sum: u64 = lags.iter().map(|lag| lag.messages).sum();
        self.lag += sum;
        self.delayed += group.delayed;
        if self.lags.len() + lags.len() > shown {
            self.omitted += 1;
            return;
        }
        let own: Labels =
            vec![("namespace", group.name.namespace().to_owned()), ("consumergroup", group.name.name().to_owned())];
        let on = |partition: PartitionId| {
            let mut labels = own.clone();
            labels.extend(names.get(&partition)?.iter().skip(1).cloned());
            Some(labels)
        };
        for lag in &lags {
            self.lags.extend(on(lag.partition).map(|labels| (labels, lag.messages as f64)));
        }
        for committed in engine.committed(&group.name).unwrap_or_default() {
            self.offsets.extend(on(committed.partition).map(|labels| (labels, committed.offset as f64)));
        }
        if let Some(oldest) = lags.iter().filter_map(|lag| lag.oldest_timestamp_ms).min() {
            self.oldest.push((own.clone(), oldest as f64 / 1000.0));
        }
        self.lag_sums.push((own.clone(), sum as f64));
        self.leased.push((own.clone(), group.in_flight as f64));
        self.retrying.push((own, group.delayed as f64));
    }

    fn families(self) -> Vec<Family> {
        vec![
            Family::gauge("tidegate_lag", "Records that groups have still to consume, over all groups", self.lag),
            Family::gauge("tidegate_delayed", "Records waiting for a retry delay, over all groups", self.delayed),
            Family::gauge(
                "tidegate_metrics_omitted_groups",
                "Groups without series of their own, see listeners.admin.metrics_partitions",
                self.omitted,
            ),
            Family::gauges("kafka_consumergroup_current_offset", "Next offset the group consumes", self.offsets),
            Family::gauges("kafka_consumergroup_lag", "Records the group has still to consume", self.lags),
            Family::gauges("kafka_consumergroup_lag_sum", "The same over its partitions", self.lag_sums),
            Family::gauges("tidegate_group_leases", "Records leased and not yet settled", self.leased),
            Family::gauges("tidegate_group_delayed", "Records waiting for a retry delay", self.retrying),
            Family::gauges(
                "tidegate_group_oldest_timestamp_seconds",
                "Time of the oldest unacknowledged record, seconds since the Unix epoch",
                self.oldest,
            ),
        ]
    }
}
