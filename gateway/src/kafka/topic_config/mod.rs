//! A topic's settings under Kafka's names.
//!
//! Every name that Kafka 4 knows is in the table ([`known`]), and nothing is accepted that would then be kept from a client. A
//! setting either means something to the store; or has one possible value here (shown with it, accepted with it and refused with
//! any other); or is only kept to be shown again, because the records that clients write and read are the same whatever it is (all but
//! how far records may lie in the future, which producing looks up).
//! Names that Kafka does not know are refused.
//!
//! The store keeps what it understands ([`TopicConfig`]). What was set by name is kept beside it, in the topic's attributes: the
//! settings of the third kind, and which of the others are the topic's own although they have the default's value.

mod known;

use std::time::Duration;

use kafka_protocol::ResponseError;
use tidegate_engine::{Durability, Retention, Topic, TopicConfig};

use super::context::Context;
use super::error::{About, Refusal};
use crate::broker::Attributes;
use known::{KNOWN, Key, Known, Values};
pub(super) use known::{LEAST_MAX_AHEAD_MS, Type};

const POLICY: &str = "cleanup.policy";
const LIMITS: [&str; 2] = ["retention.ms", "retention.bytes"];

/// The longest list kept only to be shown.
const MAX_LIST_BYTES: usize = 4096;

/// The settings of a topic, or those it would have by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) store: TopicConfig,
    /// What was set by name.
    pub(super) named: Attributes,
}

/// One setting of a topic as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) kind: Type,
    pub(super) documentation: &'static str,
    /// It cannot be changed.
    pub(super) is_fixed: bool,
    /// It is the topic's own, not the default.
    pub(super) is_own: bool,
}

impl Settings {
    /// A topic's.
    pub(super) fn of(context: &Context<'_>, topic: &Topic) -> Result<Self, Refusal> {
        let named = context.broker().attributes(topic).map_err(Refusal::about(About::Topic))?;
        Ok(Self { store: topic.config.clone(), named })
    }

    /// A new topic's.
    pub(super) fn default_of(context: &Context<'_>) -> Self {
        Self { store: context.broker().settings().topic.clone(), named: Attributes::new() }
    }

    /// Every setting.
    pub(super) fn show(&self, defaults: &Self) -> impl Iterator<Item = Shown> {
        KNOWN.iter().map(|known| {
            let value = self.value_of(known);
            Shown {
                name: known.name,
                is_own: self.named.contains_key(known.name)
                    || (value != defaults.value_of(known) && !self.is_unused(known)),
                value,
                kind: known.kind,
                documentation: known.documentation,
                is_fixed: matches!(known.key, Key::Fixed(_)),
            }
        })
    }

    /// The value of a setting, if there is one of that name.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        find(name).ok().map(|known| self.value_of(known))
    }

    /// How far ahead of the clock a record's time may lie, in milliseconds.
    pub(super) fn max_ahead_ms(&self) -> i64 {
        self.get("message.timestamp.after.max.ms").and_then(|value| value.parse().ok()).unwrap_or(LEAST_MAX_AHEAD_MS)
    }

    /// Whether old records are removed, whatever their keys.
    pub(super) fn deletes(&self) -> bool {
        Policy::of(self).delete
    }

    /// Whether a setting is a limit of a topic that deletes nothing.
    fn is_unused(&self, known: &Known) -> bool {
        LIMITS.contains(&known.name) && !self.deletes()
    }

    fn value_of(&self, known: &Known) -> String {
        let Retention { time, bytes, until_acknowledged, tombstones, .. } = &self.store.retention;
        let policy = Policy::of(self);
        let limit_of = |limit: Option<String>| match self.named.get(known.name) {
            // The limit that was set and waits until the topic deletes.
            Some(named) if !policy.delete => named.clone(),
            _ => limit.unwrap_or_else(|| "-1".to_owned()),
        };
        match known.key {
            Key::CleanupPolicy => match self.named.get(POLICY) {
                // In the order in which it was set.
                Some(named) if Policy::named(&self.named) == Some(policy) => named.clone(),
                _ => policy.name().to_owned(),
            },
            Key::DeleteRetentionMs => tombstones.as_millis().to_string(),
            Key::MaxMessageBytes => self.store.max_message_bytes.to_string(),
            Key::MessageTimestampType if self.store.log_append_time => "LogAppendTime".to_owned(),
            Key::MessageTimestampType => "CreateTime".to_owned(),
            Key::RetentionBytes => limit_of(bytes.map(|bytes| bytes.to_string())),
            Key::RetentionMs => limit_of(time.map(|time| time.as_millis().to_string())),
            Key::Durability => durability_name(self.store.durability).to_owned(),
            Key::Retention if *until_acknowledged => "until-acknowledged".to_owned(),
            Key::Retention => "keep".to_owned(),
            Key::Fixed(value) => value.to_owned(),
            Key::Noted(default, _) => self.named.get(known.name).map_or(default, String::as_str).to_owned(),
        }
    }
}

/// Whether a setting holds a list, to which values can be added.
pub(super) fn is_list(name: &str) -> bool {
    find(name).is_ok_and(|known| known.kind == Type::List)
}

fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "fsync",
        Durability::PageCache => "page-cache",
        Durability::Memory => "memory",
    }
}

/// Settings being changed. The clean-up policy is applied last: without `delete`, Kafka keeps time and size limits unused.
pub(super) struct Changes<'a> {
    settings: Settings,
    defaults: &'a Settings,
    before: Policy,
    policy: Policy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    delete: bool,
    compact: bool,
}

impl Policy {
    fn of(Settings { store, named }: &Settings) -> Self {
        let Retention { compact, time, bytes, .. } = &store.retention;
        // A topic that deletes and has no limit looks to the store like one that does not.
        let named = Self::named(named).filter(|named| named.compact == *compact);
        let delete = time.is_some() || bytes.is_some() || named.map_or(!compact, |named| named.delete);
        Self { delete, compact: *compact }
    }

    /// The policy that was set by name.
    fn named(named: &Attributes) -> Option<Self> {
        named.get(POLICY).and_then(|value| policy(POLICY, value).ok())
    }

    fn name(self) -> &'static str {
        match self {
            Self { delete: true, compact: false } => "delete",
            Self { delete: false, compact: true } => "compact",
            Self { delete: true, compact: true } => "compact,delete",
            Self { delete: false, compact: false } => "",
        }
    }
}

impl<'a> Changes<'a> {
    pub(super) fn of(settings: Settings, defaults: &'a Settings) -> Self {
        let before = Policy::of(&settings);
        Self { settings, defaults, before, policy: before }
    }

    /// Sets a setting by name; a null is refused.
    pub(super) fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), Refusal> {
        let known = find(name)?;
        let value = value.ok_or_else(|| invalid(name, "null", "a value"))?;
        let lower_case;
        let value = match known.kind {
            // Clients write them as their language does.
            Type::Boolean => {
                lower_case = value.trim().to_ascii_lowercase();
                &lower_case
            }
            _ => value.trim(),
        };
        let store = &mut self.settings.store;
        match known.key {
            Key::CleanupPolicy => self.policy = policy(name, value)?,
            Key::DeleteRetentionMs => store.retention.tombstones = Duration::from_millis(number(name, value)?),
            Key::MaxMessageBytes => store.max_message_bytes = number(name, value)?,
            Key::MessageTimestampType => {
                store.log_append_time = one_of(name, value, &[("CreateTime", false), ("LogAppendTime", true)])?;
            }
            Key::RetentionBytes => store.retention.bytes = limit(name, value)?,
            Key::RetentionMs => store.retention.time = limit(name, value)?.map(Duration::from_millis),
            Key::Durability => {
                let known = [Durability::Fsync, Durability::PageCache, Durability::Memory];
                store.durability = one_of(name, value, &known.map(|known| (durability_name(known), known)))?;
            }
            Key::Retention => {
                let known = [("keep", false), ("until-acknowledged", true)];
                store.retention.until_acknowledged = one_of(name, value, &known)?;
            }
            Key::Fixed(fixed) => one_of(name, value, &[(fixed, ())])?,
            Key::Noted(_, values) => check(name, value, values)?,
        }
        self.settings.named.insert(known.name.to_owned(), value.to_owned());
        Ok(())
    }

    /// Sets a setting to its default.
    pub(super) fn reset(&mut self, name: &str) -> Result<(), Refusal> {
        let known = find(name)?;
        self.set(name, Some(&self.defaults.value_of(known)))?;
        self.settings.named.remove(known.name);
        Ok(())
    }

    /// The settings after the changes.
    pub(super) fn finish(self) -> Settings {
        let Self { mut settings, defaults, before, policy } = self;
        let limits = LIMITS.map(|name| (name, settings.get(name)));
        let Settings { store, named } = &mut settings;
        store.retention.compact = policy.compact;
        if !policy.delete {
            if before.delete {
                // They wait, as they are: another protocol may have changed them since they were named.
                for (name, limit) in limits {
                    if let (Some(named), Some(limit)) = (named.get_mut(name), limit) {
                        *named = limit;
                    }
                }
            }
            store.retention.time = None;
            store.retention.bytes = None;
        } else if !before.delete {
            // The limits come into force that the store had no use for until now.
            let defaults = &defaults.store.retention;
            let [time, bytes] = LIMITS.map(|name| named.get(name).and_then(|value| limit(name, value).ok()));
            store.retention.time = time.map_or(defaults.time, |time| time.map(Duration::from_millis));
            store.retention.bytes = bytes.unwrap_or(defaults.bytes);
        }
        settings
    }
}

fn find(name: &str) -> Result<&'static Known, Refusal> {
    KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        Refusal::new(
            ResponseError::InvalidConfig,
            format!("topic setting '{}' does not exist here", shown.escape_debug()),
        )
    })
}

fn check(name: &str, value: &str, values: Values) -> Result<(), Refusal> {
    match values {
        Values::Boolean => one_of(name, value, &[("true", ()), ("false", ())]),
        Values::OneOf(known) if known.contains(&value) => Ok(()),
        Values::OneOf(known) => Err(invalid(name, value, &known.join(" or "))),
        Values::Whole(min, max) => match value.parse::<i64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(()),
            _ => Err(invalid(name, value, &format!("a whole number from {min} to {max}"))),
        },
        Values::Ratio => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => Err(invalid(name, value, "a number from 0 to 1")),
        },
        Values::List if value.len() <= MAX_LIST_BYTES => Ok(()),
        Values::List => Err(invalid(name, value, &format!("at most {MAX_LIST_BYTES} bytes"))),
    }
}

fn policy(name: &str, value: &str) -> Result<Policy, Refusal> {
    let mut policy = Policy { delete: false, compact: false };
    for part in value.split(',').map(str::trim) {
        match part {
            "delete" => policy.delete = true,
            "compact" => policy.compact = true,
            // An empty list: everything is kept.
            "" if value.trim().is_empty() => {}
            _ => return Err(invalid(name, value, "delete, compact, both with a comma between, or nothing")),
        }
    }
    Ok(policy)
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Refusal> {
    value.parse().map_err(|_| invalid(name, value, "a whole number from 0"))
}

/// A number, or -1 for none.
fn limit(name: &str, value: &str) -> Result<Option<u64>, Refusal> {
    match value.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(limit) => u64::try_from(limit).map(Some).map_err(|_| invalid(name, value, "a whole number from -1")),
        Err(_) => Err(invalid(name, value, "a whole number from -1")),
    }
}

fn one_of<T: Copy>(name: &str, value: &str, known: &[(&str, T)]) -> Result<T, Refusal> {
    let found = known.iter().find(|(text, _)| *text == value).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let texts: Vec<&str> = known.iter().map(|(text, _)| *text).collect();
        invalid(name, value, &texts.join(" or "))
    })
}

fn invalid(name: &str, value: &str, expected: &str) -> Refusal {
    let shown: String = value.chars().take(64).collect();
    Refusal::new(
        ResponseError::InvalidConfig,
        format!("{name} cannot be '{}': it takes {expected}", shown.escape_debug()),
    )
}

#[cfg(test)]
mod tests;
