//! A configuration as it was written: plain values, and where each came from.
//!
//! File, environment and flags become one tree before anything is checked, so a mistake can be reported where it was
//! made, and every mistake can be reported at once.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;

/// A setting's place: the keys from the root down.
pub type Path = Vec<String>;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Line of the configuration file, from 1.
    Line(u64),
    /// Name of an environment variable.
    Variable(String),
    /// A command line flag.
    Flag(&'static str),
    /// Nowhere: it follows from defaults.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Values with their origins.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// The values.
    pub value: Value,
    origins: BTreeMap<Path, Origin>,
}

impl Tree {
    /// Reads YAML.
    ///
    /// # Errors
    /// The parser's words and the line, when it is not YAML at all.
    pub fn parse(yaml: &str) -> Result<Self, (Origin, String)> {
        let mut tree = Self { value: Value::Object(serde_json::Map::new()), origins: BTreeMap::new() };
        if yaml.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(tree);
        }
        let node: Spanned<Node> = serde_saphyr::from_str_with_options(yaml, options()).map_err(|error| {
            let line = error.location().map_or(1, |location| location.line());
            let words = error.without_snippet().to_string();
            // The parser's advice on a setting given twice is for programmers.
            let words = words.split(", set DuplicateKeyPolicy").next().unwrap_or_default().to_owned();
            (Origin::Line(line), words)
        })?;
        tree.value = tree.keep(node, &mut Path::new());
        Ok(tree)
    }

    /// Replaces the value at `path`, making the sections above it where needed.
    pub fn set(&mut self, path: &[String], value: Value, origin: Origin) {
        let mut place = &mut self.value;
        for (depth, key) in path.iter().enumerate() {
            self.origins.entry(path[..=depth].to_vec()).or_insert_with(|| origin.clone());
            if !place.is_object() {
                *place = Value::Object(serde_json::Map::new());
            }
            let Value::Object(map) = place else { return };
            place = map.entry(key.clone()).or_insert(Value::Null);
        }
        *place = value;
        self.origins.insert(path.to_vec(), origin);
    }

    /// Takes the value at `path` out; false when there was none.
    pub fn remove(&mut self, path: &[String]) -> bool {
        let Some((last, parents)) = path.split_last() else { return false };
        let parent = parents.iter().try_fold(&mut self.value, |place, key| place.get_mut(key));
        match parent {
            Some(Value::Object(map)) => map.remove(last).is_some(),
            _ => false,
        }
    }

    /// Where the value at `path`, or the nearest section above it, was written.
    #[must_use]
    pub fn origin(&self, path: &[String]) -> Origin {
        (0..=path.len()).rev().find_map(|length| self.origins.get(&path[..length])).cloned().unwrap_or(Origin::Default)
    }

    fn keep(&mut self, node: Spanned<Node>, path: &mut Path) -> Value {
        self.origins.entry(path.clone()).or_insert(Origin::Line(node.referenced.line()));
        match node.value {
            Node::Scalar(value) => value,
            Node::Sequence(items) => Value::Array(
                items.into_iter().enumerate().map(|(i, item)| self.child(i.to_string(), item, path)).collect(),
            ),
            Node::Mapping(entries) => Value::Object(
                entries
                    .into_iter()
                    .map(|(key, item)| {
                        // The key's line, not the value's: a section's value begins on the line after.
                        path.push(key.value.clone());
                        self.origins.insert(path.clone(), Origin::Line(key.referenced.line()));
                        path.pop();
                        let value = self.child(key.value.clone(), item, path);
                        (key.value, value)
                    })
                    .collect(),
            ),
        }
    }

    fn child(&mut self, key: String, item: Spanned<Node>, path: &mut Path) -> Value {
        path.push(key);
        let value = self.keep(item, path);
        path.pop();
        value
    }
}

/// Reads one value as YAML would (`true`, `3`, `[a, b]`), or as the text it is when that is not YAML (`[::1]:9092`).
#[must_use]
pub fn scalar(text: &str) -> Value {
    match serde_saphyr::from_str_with_options::<Value>(text, options()) {
        Ok(Value::Null) | Err(_) => Value::String(text.to_owned()),
        Ok(value) => value,
    }
}

/// YAML 1.2: only `true` and `false` are booleans, so `off` stays the word it is.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! { strict_booleans: true }
}

enum Node {
    Scalar(Value),
    Sequence(Vec<Spanned<Node>>),
    Mapping(Vec<(Spanned<String>, Spanned<Node>)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Node::Sequence(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Mapping(entries))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn every_value_knows_its_line() {
        let tree = Tree::parse("# head\na:\n  b: 1\n  c: [x, off]\nd: { e: true }\n").unwrap();
        assert_eq!(tree.value, serde_json::json!({"a": {"b": 1, "c": ["x", "off"]}, "d": {"e": true}}));
        assert_eq!(tree.origin(&path("a")), Origin::Line(2));
        assert_eq!(tree.origin(&path("a.b")), Origin::Line(3));
        assert_eq!(tree.origin(&path("a.c.1")), Origin::Line(4));
        assert_eq!(tree.origin(&path("d.e")), Origin::Line(5));
        assert_eq!(tree.origin(&path("d.unwritten")), Origin::Line(5));
    }

    #[test]
    fn an_empty_file_is_an_empty_tree() {
        assert_eq!(Tree::parse("# nothing\n\n").unwrap().value, serde_json::json!({}));
    }

    #[test]
    fn a_duplicate_key_is_refused_with_its_line() {
        let refused = Tree::parse("a: 1\na: 2\n").unwrap_err();
        assert_eq!(refused, (Origin::Line(2), "duplicate mapping key: a".to_owned()));
    }

    #[test]
    fn setting_makes_the_sections_above() {
        let mut tree = Tree::parse("a: 1").unwrap();
        tree.set(&path("x.y"), scalar("[::1]:9092"), Origin::Flag("--y"));
        assert_eq!(tree.value, serde_json::json!({"a": 1, "x": {"y": "[::1]:9092"}}));
        assert_eq!(tree.origin(&path("x.y")), Origin::Flag("--y"));
        assert!(tree.remove(&path("x.y")));
        assert!(!tree.remove(&path("x.y")));
    }
}
