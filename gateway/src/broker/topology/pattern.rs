//! Topic exchanges' patterns: words between dots, `*` for one word, `#` for any number of them (AMQP 0-9-1, 3.1.3.3).
//!
//! A tree with a node per word. A routing key is matched by walking it with the set of all nodes it may be at, so the work
//! is bounded by the words times the nodes, whatever patterns somebody binds (`#.#.#.#…` included).

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// The patterns of one exchange and the queues bound with them.
#[derive(Debug, Default)]
pub(in crate::broker) struct Patterns {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    words: HashMap<Box<str>, Node>,
    any_word: Option<Box<Node>>,
    any_words: Option<Box<Node>>,
    queues: BTreeSet<Arc<str>>,
}

/// A node a key may be at, and whether further words may stay there.
#[derive(Clone, Copy)]
struct At<'a> {
    node: &'a Node,
    stays: bool,
}

impl Patterns {
    /// False when the queue is bound with the pattern already.
    pub(super) fn insert(&mut self, pattern: &str, queue: &Arc<str>) -> bool {
        let mut node = &mut self.root;
        for word in words(pattern) {
            node = match word {
                "*" => node.any_word.get_or_insert_default(),
                "#" => node.any_words.get_or_insert_default(),
                word => node.words.entry(word.into()).or_default(),
            };
        }
        node.queues.insert(Arc::clone(queue))
    }

    /// False when the queue is not bound with the pattern.
    pub(super) fn remove(&mut self, pattern: &str, queue: &str) -> bool {
        self.root.remove(&mut words(pattern), queue)
    }

    /// The queues bound with a pattern that the key matches.
    pub(super) fn matching(&self, key: &str) -> BTreeSet<Arc<str>> {
        let mut at = Vec::new();
        enter(&mut at, &self.root, false);
        for word in words(key) {
            let mut next = Vec::new();
            for At { node, stays } in at {
                if stays {
                    enter(&mut next, node, true);
                }
                node.words
                    .get(word)
                    .into_iter()
                    .chain(node.any_word.as_deref())
                    .for_each(|to| enter(&mut next, to, false));
            }
            at = next;
        }
        at.iter().flat_map(|at| &at.node.queues).cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

/// The words of a key or pattern; an empty one has none.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('.').filter(move |_| !text.is_empty())
}

/// Adds a node, and those reached from it without a word.
fn enter<'a>(set: &mut Vec<At<'a>>, node: &'a Node, stays: bool) {
    if set.iter().any(|at| std::ptr::eq(at.node, node)) {
        return;
    }
    set.push(At { node, stays });
    if let Some(any) = &node.any_words {
        enter(set, any, true);
    }
}

impl Node {
    fn is_empty(&self) -> bool {
        self.words.is_empty() && self.any_word.is_none() && self.any_words.is_none() && self.queues.is_empty()
    }

    fn remove(&mut self, words: &mut dyn Iterator<Item = &str>, queue: &str) -> bool {
        match words.next() {
            None => self.queues.remove(queue),
            Some("*") => remove_below(&mut self.any_word, words, queue),
            Some("#") => remove_below(&mut self.any_words, words, queue),
            Some(word) => {
                let Some(node) = self.words.get_mut(word) else { return false };
                let removed = node.remove(words, queue);
                if node.is_empty() {
                    self.words.remove(word);
                }
                removed
            }
        }
    }
}

fn remove_below(place: &mut Option<Box<Node>>, words: &mut dyn Iterator<Item = &str>, queue: &str) -> bool {
    let Some(node) = place else { return false };
    let removed = node.remove(words, queue);
    if node.is_empty() {
        *place = None;
    }
    removed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The specification's words, as slowly as they can be said.
    fn matches(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => (0..=key.len()).any(|skip| matches(rest, &key[skip..])),
            (Some((&"*", rest)), Some((_, key))) => matches(rest, key),
            (Some((word, rest)), Some((first, key))) => word == first && matches(rest, key),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn patterns() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!["*", "#", "a", "b", ""]), 1..6)
            .prop_map(|words| words.join("."))
    }

    proptest! {
        #[test]
        fn agrees_with_the_specification(patterns in prop::collection::vec(patterns(), 0..6), key in patterns()) {
            let mut tree = Patterns::default();
            for pattern in &patterns {
                tree.insert(pattern, &pattern.as_str().into());
            }
            let key_words: Vec<&str> = words(&key).collect();
            let expected: BTreeSet<Arc<str>> = patterns
                .iter()
                .filter(|pattern| matches(&words(pattern).collect::<Vec<_>>(), &key_words))
                .map(|pattern| pattern.as_str().into())
                .collect();
            prop_assert_eq!(tree.matching(&key), expected);
            for pattern in &patterns {
                tree.remove(pattern, pattern);
                prop_assert!(!tree.remove(pattern, pattern));
            }
            prop_assert!(tree.is_empty());
        }
    }

    #[test]
    fn a_pattern_of_many_hashes_takes_no_longer() {
        let mut tree = Patterns::default();
        tree.insert(&["#"; 60].join(".a."), &"q".into());
        assert!(tree.matching(&["a"; 120].join(".")).contains("q"));
        assert!(tree.matching(&["b"; 120].join(".")).is_empty());
    }
}
