//! What a changed configuration changes, and what of it can happen without a restart.

use serde_json::Value;

use super::Config;

/// Settings (or whole sections) that take effect while running. Everything else waits for a restart.
pub const LIVE: [&str; 6] = [
    "auto_create_topics",
    "defaults.topic",
    "listeners.admin.metrics_partitions",
    "log.level",
    "reload_interval",
    "shutdown_deadline",
];

/// One setting that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The setting, dotted.
    pub setting: String,
    /// As it was.
    pub from: Value,
    /// As it is now.
    pub to: Value,
}

impl Change {
    /// Whether it takes effect at once.
    #[must_use]
    pub fn is_live(&self) -> bool {
        is_live(&self.setting)
    }
}

/// Whether a setting takes effect at once.
pub(super) fn is_live(setting: &str) -> bool {
    LIVE.iter().any(|live| setting.strip_prefix(live).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

/// Every setting that differs.
#[must_use]
pub fn changes(from: &Config, to: &Config) -> Vec<Change> {
    let mut found = Vec::new();
    let values = [from, to].map(|config| serde_json::to_value(config).unwrap_or_default());
    compare("", &values[0], &values[1], &mut found);
    found
}

fn compare(setting: &str, from: &Value, to: &Value, found: &mut Vec<Change>) {
    match (from, to) {
        // A configuration has the same settings always, so both sides have the same keys.
        (Value::Object(from), Value::Object(to)) => {
            for (key, value) in from {
                let setting = if setting.is_empty() { key.clone() } else { format!("{setting}.{key}") };
                compare(&setting, value, to.get(key).unwrap_or(&Value::Null), found);
            }
        }
        _ if from == to => {}
        _ => found.push(Change { setting: setting.into(), from: from.clone(), to: to.clone() }),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn a_change_is_named_and_known_to_be_live_or_not() {
        let to = "log: { level: debug }\nengine: { max_topics: 5 }\ndefaults: { topic: { retention: { time: 1h } } }";
        let found = changes(&Config::default(), &Sources::default().parse(to).unwrap());
        let named: Vec<_> = found.iter().map(|change| (change.setting.as_str(), change.is_live())).collect();
        let expected = [("defaults.topic.retention.time", true), ("engine.max_topics", false), ("log.level", true)];
        assert_eq!(named, expected);
        assert_eq!((&found[2].from, &found[2].to), (&"info".into(), &"debug".into()));
    }

    #[test]
    fn nothing_changed_is_nothing() {
        assert_eq!(changes(&Config::default(), &Config::default()), []);
    }
}
