//! From sources to a configuration, or to every mistake in them.

use std::fmt;
use std::path::{Path as FilePath, PathBuf};

use serde_json::Value;

use super::tree::{Origin, Path, Tree, scalar};
use super::{Config, NAMES, check};

/// Where a configuration comes from. Kept for the life of the process, to read it again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The YAML file, if one was named.
    pub file: Option<PathBuf>,
    /// The environment's variables that begin with `TIDEGATE__`.
    pub environment: Vec<(String, String)>,
    /// Flags that stand for a setting.
    pub flags: Vec<Flag>,
    /// Whether listening beyond this machine is allowed without authentication.
    pub insecure: bool,
}

/// A command line flag that stands for a setting.
#[derive(Debug, Clone)]
pub struct Flag {
    /// As typed, `--kafka`.
    pub name: &'static str,
    /// The setting, `listeners.kafka.listen`.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where it was written.
    pub origin: Origin,
    /// The setting, dotted.
    pub setting: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Every mistake found, in the order of their lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    /// The file they are in, if there is one.
    pub file: Option<PathBuf>,
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.setting.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.setting, self.message)
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            let end = if i + 1 < self.mistakes.len() { "\n" } else { "" };
            match (&mistake.origin, &self.file) {
                (Origin::Line(line), Some(file)) => write!(f, "{}:{line}: {mistake}{end}", file.display())?,
                (Origin::Default, _) => write!(f, "{mistake}{end}")?,
                (origin, _) => write!(f, "{origin}: {mistake}{end}")?,
            }
        }
        Ok(())
    }
}

impl Sources {
    /// Adds this process's environment.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
    pub fn with_environment(mut self) -> Self {
        let texts = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        self.environment = texts
            .filter(|(name, _)| name.starts_with(PREFIX))
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
            .collect();
        self
    }

    /// Reads, merges and checks everything.
    ///
    /// # Errors
    /// Every mistake that can be told apart.
    pub fn load(&self) -> Result<Config, Mistakes> {
        let text = self.read()?;
        self.parse(text.as_deref().unwrap_or_default())
    }

    /// The file as it is now; none when none was named.
    ///
    /// # Errors
    /// One mistake: the file cannot be read.
    pub fn read(&self) -> Result<Option<String>, Mistakes> {
        let read = |file: &PathBuf| std::fs::read_to_string(file).map_err(|error| self.unreadable(file, &error));
        self.file.as_ref().map(read).transpose()
    }

    /// As [`Sources::load`], with the file's text at hand.
    ///
    /// # Errors
    /// Every mistake that can be told apart.
    pub fn parse(&self, yaml: &str) -> Result<Config, Mistakes> {
        let mut tree = Tree::parse(yaml)
            .map_err(|(origin, message)| self.refuse(vec![Mistake { origin, setting: String::new(), message }]))?;
        let known = serde_json::to_value(Config::default()).unwrap_or_default();
        self.overlay(&mut tree);
        let mut mistakes = take_no_sections(&mut tree, &known, &mut Path::new());
        let (config, wrong) = deserialize(tree.clone());
        mistakes.extend(wrong);
        mistakes.extend(check::check(&config, self.insecure).into_iter().map(|(setting, message)| {
            let path: Path = setting.split('.').map(str::to_owned).collect();
            Mistake { origin: tree.origin(&path), setting: setting.to_owned(), message }
        }));
        mistakes.sort();
        if mistakes.is_empty() { Ok(config) } else { Err(self.refuse(mistakes)) }
    }

    fn overlay(&self, tree: &mut Tree) {
        for (name, text) in &self.environment {
            tree.set(&variable_path(name), scalar(text), Origin::Variable(name.clone()));
        }
        for flag in &self.flags {
            let path: Path = flag.setting.split('.').map(str::to_owned).collect();
            tree.set(&path, Value::String(flag.value.clone()), Origin::Flag(flag.name));
        }
    }

    fn refuse(&self, mistakes: Vec<Mistake>) -> Mistakes {
        Mistakes { file: self.file.clone(), mistakes }
    }

    fn unreadable(&self, file: &FilePath, error: &std::io::Error) -> Mistakes {
        let message = format!("cannot read {}: {error}", file.display());
        self.refuse(vec![Mistake { origin: Origin::Flag("--config"), setting: String::new(), message }])
    }
}

const PREFIX: &str = "TIDEGATE__";

/// `TIDEGATE__ENGINE__MAX_TOPICS` is `engine.max_topics`; a listener's name may stand first, without `LISTENERS`.
fn variable_path(name: &str) -> Path {
    let mut path: Path = name[PREFIX.len()..].split("__").map(str::to_lowercase).collect();
    if NAMES.contains(&path[0].as_str()) {
        path.insert(0, "listeners".into());
    }
    path
}

/// Takes out what stands where a section is expected. serde would read a list as a section, its settings in the order of
/// our source.
fn take_no_sections(tree: &mut Tree, known: &Value, path: &mut Path) -> Vec<Mistake> {
    let Value::Object(settings) = known else { return Vec::new() };
    let written = path.iter().try_fold(&tree.value, |value, key| value.get(key));
    if written.is_none_or(|value| value.is_object() || value.is_null()) {
        return settings
            .iter()
            .flat_map(|(name, known)| {
                path.push(name.clone());
                let mistakes = take_no_sections(tree, known, path);
                path.pop();
                mistakes
            })
            .collect();
    }
    let message = "settings are expected here, each as `name: value`".to_owned();
    let mistake = Mistake { origin: tree.origin(path), setting: path.join("."), message };
    if !tree.remove(path) {
        tree.value = Value::Object(serde_json::Map::new());
    }
    vec![mistake]
}

/// Takes what is wrong out of the tree until the rest can be read. Every setting has a default, so that ends.
fn deserialize(mut tree: Tree) -> (Config, Vec<Mistake>) {
    let mut mistakes = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, Config>(&tree.value) {
            Ok(config) => return (config, mistakes),
            Err(error) => error,
        };
        let path = error.path().iter().map(ToString::to_string).collect::<Path>();
        mistakes.push(Mistake {
            origin: tree.origin(&path),
            setting: path.join("."),
            message: explain(&path, &error.into_inner()),
        });
        // An element of a list has no default: its list goes.
        if !(0..=path.len()).rev().any(|length| tree.remove(&path[..length])) {
            return (Config::default(), mistakes);
        }
    }
}

/// The parser's words, but an unknown setting is answered with the known ones.
fn explain(path: &[String], error: &serde_json::Error) -> String {
    let message = error.to_string();
    if !message.starts_with("unknown field") {
        return message;
    }
    let known = serde_json::to_value(Config::default()).unwrap_or_default();
    let section = path.iter().take(path.len() - 1).try_fold(&known, |value, key| value.get(key));
    let names = section.and_then(Value::as_object).map(|map| map.keys().cloned().collect::<Vec<_>>());
    format!("there is no such setting; here can stand: {}", names.unwrap_or_default().join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tidegate_engine::Durability;

    use super::*;
    use crate::config::Listen;

    fn file(yaml: &str) -> Result<Config, Mistakes> {
        Sources { file: Some("t.yaml".into()), ..Sources::default() }.parse(yaml)
    }

    fn environment(variables: &[(&str, &str)]) -> Sources {
        let environment = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Sources { environment, ..Sources::default() }
    }

    fn mistakes(yaml: &str) -> Vec<String> {
        file(yaml).unwrap_err().to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_section_is_no_list_and_no_text() {
        let expected = "settings are expected here, each as `name: value`";
        for yaml in ["[]", "- 1", "hello", "7"] {
            assert_eq!(mistakes(yaml), [format!("t.yaml:1: {expected}")], "{yaml}");
        }
        assert_eq!(
            mistakes("engine: [5]\nlisteners:\n  http: 8080\n  kafka: []\n  amqp:\n"),
            [("1", "engine"), ("3", "listeners.http"), ("4", "listeners.kafka")]
                .map(|(line, setting)| format!("t.yaml:{line}: {setting}: {expected}"))
        );
    }

    #[test]
    fn nothing_written_is_the_default() {
        assert_eq!(file("").unwrap(), Config::default());
        assert_eq!(file("listeners:\n  kafka: {}\n").unwrap(), Config::default());
    }

    #[test]
    fn what_is_written_holds_and_the_rest_is_default() {
        let config = file(
            "listeners:\n  kafka: { listen: localhost:0, advertised: broker.example:9093 }\n  http: { listen: off }\n\
             defaults: { topic: { durability: page-cache, retention: { time: 1h30m, bytes: 10GiB } } }\n\
             engine: { tail_cache_bytes: 1048576 }\n",
        )
        .unwrap();
        assert_eq!(config.listeners.kafka.listen, Listen::loopback(0));
        assert_eq!(config.listeners.kafka.settings.advertised.as_deref(), Some("broker.example:9093"));
        assert_eq!(config.listeners.http.listen, Listen::Off);
        assert_eq!(config.listeners.admin.listen, Listen::loopback(9600));
        let topic = config.defaults.topic.config();
        assert_eq!(topic.durability, Durability::PageCache);
        assert_eq!(topic.retention.time, Some(Duration::from_secs(5400)));
        assert_eq!(topic.retention.bytes, Some(10 << 30));
        assert_eq!(config.engine.tail_cache_bytes, 1 << 20);
        assert_eq!(config.engine.max_topics, Config::default().engine.max_topics);
    }

    #[test]
    fn null_removes_a_limit() {
        let config = file("defaults: { topic: { retention: { time: null } } }").unwrap();
        assert_eq!(config.defaults.topic.retention.time, None);
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let found = mistakes(
            "data_dir: /x\n\
             lisetners: {}\n\
             listeners:\n\
             \x20 kafka:\n\
             \x20   lisen: 127.0.0.1:1\n\
             \x20 http: { listen: here }\n\
             \x20 management: { listen: 127.0.0.1:15672 }\n\
             engine:\n\
             \x20 max_topics: many\n\
             \x20 reclaim_live_percent: 101\n\
             \x20 dedupe_window: 3\n\
             \x20 lazy_commit: 11s\n\
             \x20 retention_interval: 25h\n\
             log: { level: 'loud=loud' }\n\
             connection_threads: 2000\n",
        );
        let expected = [
            "t.yaml:2: lisetners: there is no such setting; here can stand: auto_create_topics, connection_threads",
            "t.yaml:5: listeners.kafka.lisen: there is no such setting; here can stand: ",
            "t.yaml:6: listeners.http.listen: 'here' is no address to listen on",
            "t.yaml:7: listeners.management.listen: this version has no management listener",
            "t.yaml:9: engine.max_topics: invalid type: string \"many\"",
            "t.yaml:10: engine.reclaim_live_percent: a percentage is 0 to 100",
            "t.yaml:11: engine.dedupe_window: invalid type",
            "t.yaml:12: engine.lazy_commit: it must be at most 10s",
            "t.yaml:13: engine.retention_interval: it must be at most 1d",
            "t.yaml:14: log.level: ",
            "t.yaml:15: connection_threads: ",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
        assert!(found[1].contains("listen"), "{}", found[1]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = serde_json::to_string(&Config::default()).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), Config::default());
    }

    #[test]
    fn every_part_refuses_what_it_does_not_know() {
        let parts = ["amqp", "grpc", "http", "kafka", "admin"]
            .map(|name| format!("listeners: {{ {name}: {{ max_conections: 1 }} }}\n"));
        for text in parts
            .iter()
            .map(String::as_str)
            .chain(["engine: { max_topcis: 1 }\n", "defaults: { topic: { retention: { tiem: 1h } } }\n"])
        {
            assert!(mistakes(text)[0].contains("there is no such setting"), "{text}: {:?}", mistakes(text));
        }
    }

    #[test]
    fn what_is_not_yaml_is_told_with_its_line() {
        assert!(mistakes("data_dir: x\nlisteners: [\n")[0].starts_with("t.yaml:"));
        assert!(mistakes("- a\n- b\n")[0].starts_with("t.yaml:1: "));
        assert!(mistakes("just words\n")[0].starts_with("t.yaml:1: "));
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let sources = environment(&[
            ("TIDEGATE__LISTENERS__KAFKA__LISTEN", "off"),
            ("TIDEGATE__HTTP__LISTEN", "[::1]:0"),
            ("TIDEGATE__ENGINE__MAX_TOPICS", "7"),
            ("TIDEGATE__AUTO_CREATE_TOPICS", "false"),
        ]);
        let config = sources.parse("engine: { max_topics: 5, max_groups: 6 }\nlisteners: { kafka: 3 }").unwrap();
        assert_eq!(config.listeners.kafka.listen, Listen::Off);
        assert_eq!(config.listeners.http.listen, "[::1]:0".parse().unwrap());
        assert_eq!((config.engine.max_topics, config.engine.max_groups), (7, 6));
        assert!(!config.auto_create_topics);
    }

    #[test]
    fn flags_override_the_environment() {
        let mut sources = environment(&[("TIDEGATE__HTTP__LISTEN", "127.0.0.1:1")]);
        sources.flags.push(Flag { name: "--http", setting: "listeners.http.listen", value: "127.0.0.1:2".into() });
        assert_eq!(sources.parse("").unwrap().listeners.http.listen, Listen::loopback(2));
        sources.flags[0].value = "nowhere".into();
        let told = sources.parse("").unwrap_err().to_string();
        assert!(told.starts_with("--http: listeners.http.listen: 'nowhere' is no address"), "{told}");
    }

    #[test]
    fn a_mistaken_variable_is_named() {
        let told = environment(&[("TIDEGATE__NO__SUCH", "1")]).parse("").unwrap_err().to_string();
        assert!(told.starts_with("TIDEGATE__NO__SUCH: no: there is no such setting"), "{told}");
    }

    #[test]
    fn listening_to_the_world_is_refused_unless_told() {
        let mut sources = Sources::default();
        let yaml = "listeners: { kafka: { listen: 0.0.0.0:9092 }, admin: { listen: '[::]:9600' } }";
        let told = sources.parse(yaml).unwrap_err();
        assert_eq!(told.mistakes.len(), 2);
        assert!(told.to_string().contains("--insecure"), "{told}");
        sources.insecure = true;
        assert!(sources.parse(yaml).is_ok());
    }

    #[test]
    fn one_port_for_two_listeners_is_refused() {
        let told = mistakes("listeners:\n  kafka: { listen: 127.0.0.1:1 }\n  http: { listen: 127.0.0.1:1 }\n");
        assert!(told[0].contains("is taken by listeners."), "{told:?}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let sources = Sources { file: Some("no/such.yaml".into()), ..Sources::default() };
        assert!(sources.load().unwrap_err().to_string().contains("no/such.yaml"));
    }
}
