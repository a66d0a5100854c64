//! Metric families, and their text.

use std::collections::HashSet;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// Labels of a sample.
pub type Labels = Vec<(&'static str, String)>;

/// Samples of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Name; a counter's gets `_total` appended.
    pub name: &'static str,
    /// One line, without a full stop.
    pub help: &'static str,
    /// What it measures, one after the other.
    pub samples: Samples,
}

/// Values with their labels.
#[derive(Debug, Clone, PartialEq)]
pub enum Samples {
    /// May go down.
    Gauges(Vec<(Labels, f64)>),
    /// Only grows.
    Counters(Vec<(Labels, f64)>),
}

impl Family {
    /// A gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: impl Number) -> Self {
        Self::gauges(name, help, vec![(Labels::new(), value.number())])
    }

    /// A counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: impl Number) -> Self {
        Self { name, help, samples: Samples::Counters(vec![(Labels::new(), value.number())]) }
    }

    /// With at most so many samples: names that clients choose must not fill memory.
    #[must_use]
    pub fn truncated(mut self, most: usize) -> Self {
        match &mut self.samples {
            Samples::Gauges(samples) | Samples::Counters(samples) => samples.truncate(most),
        }
        self
    }

    /// Gauges with labels.
    pub fn gauges(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Self {
        Self { name, help, samples: Samples::Gauges(samples) }
    }

    /// Counters with labels.
    pub fn counters(name: &'static str, help: &'static str, samples: Vec<(Labels, f64)>) -> Self {
        Self { name, help, samples: Samples::Counters(samples) }
    }
}

/// What can be a sample's value. Prometheus computes with doubles: counts above 2^53 are rounded there in any case.
pub trait Number {
    /// As a double.
    fn number(self) -> f64;
}

impl Number for f64 {
    fn number(self) -> f64 {
        self
    }
}

impl Number for u64 {
    fn number(self) -> f64 {
        self as f64
    }
}

impl Number for usize {
    fn number(self) -> f64 {
        self as f64
    }
}

/// The families in the text format of Prometheus 0.0.4, where a counter's family is named as its samples are.
#[must_use]
pub fn encode_classic(families: Vec<Family>) -> String {
    let counters = families.iter().filter(|family| matches!(family.samples, Samples::Counters(_)));
    let counters: HashSet<_> = counters.map(|family| family.name).collect();
    let mut classic = String::new();
    for line in encode(families).lines().filter(|line| *line != "# EOF") {
        // `# HELP name words` and `# TYPE name counter`; a sample never begins with a hash.
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                classic.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => classic.extend([line, "\n"]),
        }
    }
    classic
}

/// The families in the OpenMetrics text format.
#[must_use]
pub fn encode(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collected(families)));
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Collected(Vec<Family>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (kind, samples) = match &self.samples {
            Samples::Gauges(samples) => (MetricType::Gauge, samples),
            Samples::Counters(samples) => (MetricType::Counter, samples),
        };
        let mut family = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (labels, value) in samples {
            let value = *value;
            match (kind, labels.is_empty()) {
                (MetricType::Counter, true) => family.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
                (MetricType::Counter, false) => {
                    ConstCounter::new(value).encode(family.encode_family(&labels.as_slice())?)?;
                }
                (_, true) => family.encode_gauge(&value)?,
                (_, false) => ConstGauge::new(value).encode(family.encode_family(&labels.as_slice())?)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classic_text_names_a_counter_as_its_samples() {
        let text = encode_classic(vec![
            Family::counter("tidegate_snapshots", "Snapshots written", 5_u64),
            Family::gauge("tidegate_topics", "Topics", 2_usize),
        ]);
        let expected = "# HELP tidegate_snapshots_total Snapshots written\n\
            # TYPE tidegate_snapshots_total counter\n\
            tidegate_snapshots_total 5.0\n\
            # HELP tidegate_topics Topics\n\
            # TYPE tidegate_topics gauge\n\
            tidegate_topics 2.0\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let topic = |name: &str| vec![("topic", name.to_owned()), ("partition", "0".to_owned())];
        let text = encode(vec![
            Family::gauge("tidegate_topics", "Topics", 2_usize),
            Family::gauges(
                "kafka_topic_partition_current_offset",
                "Next offset",
                vec![(topic("a"), 3.0), (topic("quote\" slash\\ line\n"), 4.0)],
            ),
            Family::counter("tidegate_engine_written_bytes", "Bytes", 5_u64),
            Family::counters("tidegate_kafka_requests", "Requests", vec![(vec![("api", "Fetch".into())], 6.0)]),
        ]);
        let expected = "# HELP tidegate_topics Topics\n\
            # TYPE tidegate_topics gauge\n\
            tidegate_topics 2.0\n\
            # HELP kafka_topic_partition_current_offset Next offset\n\
            # TYPE kafka_topic_partition_current_offset gauge\n\
            kafka_topic_partition_current_offset{topic=\"a\",partition=\"0\"} 3.0\n\
            kafka_topic_partition_current_offset{topic=\"quote\\\" slash\\\\ line\\n\",partition=\"0\"} 4.0\n\
            # HELP tidegate_engine_written_bytes Bytes\n\
            # TYPE tidegate_engine_written_bytes counter\n\
            tidegate_engine_written_bytes_total 5.0\n\
            # HELP tidegate_kafka_requests Requests\n\
            # TYPE tidegate_kafka_requests counter\n\
            tidegate_kafka_requests_total{api=\"Fetch\"} 6.0\n\
            # EOF\n";
        assert_eq!(text, expected);
    }
}
