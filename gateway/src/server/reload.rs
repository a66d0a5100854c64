//! A changed configuration file: read, checked whole, compared, and what can change live is changed.

use serde_json::Value;

use super::{Server, broker_settings};
use crate::config::{Change, Config, Mistakes, Sources, changes};
use crate::telemetry::LevelHandle;

/// Looks at the configuration file and puts what is new into effect.
pub struct Reloader {
    sources: Sources,
    level: LevelHandle,
    /// The file's text when it was last looked at, good or not.
    seen: Option<String>,
}

impl Reloader {
    /// Watches the sources that `server` was started from.
    #[must_use]
    pub fn new(sources: Sources, level: LevelHandle) -> Self {
        let seen = sources.read().ok().flatten();
        Self { sources, level, seen }
    }

    /// Reads the file and applies it if its text has changed since it was last looked at. A file that is not there at
    /// this moment is being replaced: the next look will find it.
    pub fn look(&mut self, server: &Server) {
        if let Ok(Some(text)) = self.sources.read()
            && self.seen.as_ref() != Some(&text)
        {
            self.apply(server, text);
        }
    }

    /// Reads the file and applies it, changed or not.
    pub fn reload(&mut self, server: &Server) {
        match self.sources.read() {
            Ok(text) => self.apply(server, text.unwrap_or_default()),
            Err(mistakes) => refuse(&mistakes),
        }
    }

    fn apply(&mut self, server: &Server, text: String) {
        let parsed = self.sources.parse(&text);
        self.seen = Some(text);
        match parsed {
            Ok(config) => self.put_into_effect(server, &config),
            Err(mistakes) => refuse(&mistakes),
        }
    }

    fn put_into_effect(&self, server: &Server, wanted: &Config) {
        let current = server.gateway.config();
        let (live, waiting): (Vec<_>, Vec<_>) = changes(&current, wanted).into_iter().partition(Change::is_live);
        for change in &waiting {
            tracing::warn!(setting = change.setting, from = %change.from, to = %change.to, "takes effect after a restart");
        }
        for change in &live {
            tracing::info!(setting = change.setting, from = %change.from, to = %change.to, "takes effect now");
        }
        let effective = with(&current, &live);
        if effective.log.level != current.log.level {
            self.level.set(&effective.log.level);
        }
        if let Some(running) = server.gateway.running() {
            running.broker.set_settings(broker_settings(&effective));
        }
        server.gateway.set_config(effective);
        tracing::info!(changed = live.len(), waiting = waiting.len(), "configuration read");
    }
}

fn refuse(mistakes: &Mistakes) {
    for line in mistakes.to_string().lines() {
        tracing::error!("{line}");
    }
    tracing::error!("the changed configuration is refused as a whole; the running one stays");
}

/// A configuration with some settings changed.
fn with(config: &Config, changes: &[Change]) -> Config {
    let mut value = serde_json::to_value(config).unwrap_or_default();
    for change in changes {
        let place = change.setting.split('.').try_fold(&mut value, |place, key| place.get_mut(key));
        if let Some(place) = place {
            *place = Value::clone(&change.to);
        }
    }
    serde_json::from_value(value).unwrap_or_else(|_| config.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn live_changes_are_taken_and_others_left() {
        let yaml = "log: { level: debug }\nengine: { max_topics: 5 }\nshutdown_deadline: 1s";
        let wanted = Sources::default().parse(yaml).unwrap();
        let current = Config::default();
        let live: Vec<_> = changes(&current, &wanted).into_iter().filter(Change::is_live).collect();
        let effective = with(&current, &live);
        assert_eq!(effective.log.level, "debug");
        assert_eq!(effective.shutdown_deadline, wanted.shutdown_deadline);
        assert_eq!(effective.engine, current.engine);
    }
}
