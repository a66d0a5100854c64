//! What clients were promised and what they saw, and the rules the two must obey (after Jepsen's Kafka workload).

use std::collections::{BTreeMap, HashMap, HashSet};

/// A message's identity: who sent it, and its number among that sender's messages.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// The sender's name.
    pub sender: String,
    /// Counted from 0.
    pub sequence: u64,
}

/// A place in a topic.
pub type Place = (u32, u64);

/// One line of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The gateway acknowledged the message as stored there.
    Acked(Message, Place),
    /// The message was given up.
    Failed(String),
    /// A reader found the value there.
    Read(Place, String),
    /// A group's consumer was given the message there.
    Delivered(String, Place),
    /// The gateway said that the group's acknowledgement of it is durable.
    Settled(String, Place),
    /// Anything else worth failing for.
    Trouble(String),
    /// Nothing of interest.
    Note,
}

impl Event {
    /// Reads one line of `clients/python/load.py`.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["acked", sender, sequence, place] => {
                let (partition, offset) = place.split_once(' ').expect("partition and offset");
                Self::Acked(message(sender, sequence), (number(partition), number(offset)))
            }
            ["failed", ..] => Self::Failed(line.to_owned()),
            ["delivered", group, partition, offset] => {
                Self::Delivered((*group).to_owned(), (number(partition), number(offset)))
            }
            ["settled", group, partition, offset] => {
                Self::Settled((*group).to_owned(), (number(partition), number(offset)))
            }
            ["read", partition, offset, value] => Self::Read((number(partition), number(offset)), (*value).to_owned()),
            ["left", _, "0"] | ["end", ..] => Self::Note,
            _ => Self::Trouble(line.to_owned()),
        }
    }
}

fn message(sender: &str, sequence: &str) -> Message {
    Message { sender: sender.to_owned(), sequence: number(sequence) }
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse().unwrap_or_else(|_| panic!("'{word}' is not a number"))
}

/// Everything that happened to one topic.
#[derive(Debug, Default)]
pub struct History {
    /// Acknowledged messages, in the order of the acknowledgements.
    pub acked: Vec<(Message, Place)>,
    /// Messages their sender gave up, with the reason.
    pub failed: Vec<String>,
    /// What readers saw while it happened, in order.
    pub read: Vec<(Place, String)>,
    /// What was there in the end, in order.
    pub finally: Vec<(Place, String)>,
    /// What each group was given and what it settled, in order.
    pub groups: BTreeMap<String, Vec<(Delivery, Place)>>,
    /// Errors that no rule covers.
    pub trouble: Vec<String>,
}

/// What a group's consumer saw of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It was given to it.
    Delivered,
    /// Its acknowledgement was reported durable.
    Settled,
}

impl FromIterator<Event> for History {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        let mut history = Self::default();
        for event in events {
            match event {
                Event::Acked(message, place) => history.acked.push((message, place)),
                Event::Failed(line) => history.failed.push(line),
                Event::Read(place, value) => history.read.push((place, value)),
                Event::Delivered(group, place) => history.saw(group, Delivery::Delivered, place),
                Event::Settled(group, place) => history.saw(group, Delivery::Settled, place),
                Event::Trouble(line) => history.trouble.push(line),
                Event::Note => {}
            }
        }
        history
    }
}

impl History {
    /// Adds another client's history.
    pub fn join(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.failed.extend(other.failed);
        self.read.extend(other.read);
        self.trouble.extend(other.trouble);
        for (group, seen) in other.groups {
            self.groups.entry(group).or_default().extend(seen);
        }
    }

    fn saw(&mut self, group: String, delivery: Delivery, place: Place) {
        self.groups.entry(group).or_default().push((delivery, place));
    }

    /// Every broken rule, in words. `once` tells which senders were promised no duplicates.
    #[must_use]
    pub fn violations(&self, once: impl Fn(&str) -> bool) -> Vec<String> {
        let mut broken: Vec<String> = self.trouble.iter().map(|line| format!("trouble: {line}")).collect();
        let stored: BTreeMap<Place, &str> =
            self.finally.iter().map(|(place, value)| (*place, value.as_str())).collect();
        broken.extend(self.lost(&stored));
        broken.extend(self.changed(&stored));
        broken.extend(gaps(&stored));
        broken.extend(disorder(&stored));
        broken.extend(duplicates(&stored, once));
        broken.extend(backwards(&self.read));
        for (group, seen) in &self.groups {
            broken.extend(again(group, seen));
            broken.extend(withheld(group, seen, &stored));
        }
        broken
    }

    /// Panics with the first broken rules, if there are any.
    pub fn check(&self, once: impl Fn(&str) -> bool) {
        let broken = self.violations(once);
        let shown: Vec<&String> = broken.iter().take(10).collect();
        assert!(broken.is_empty(), "{} rules broken, first: {shown:#?}", broken.len());
        assert!(!self.acked.is_empty(), "nothing was acknowledged: the test tested nothing");
    }

    fn lost(&self, stored: &BTreeMap<Place, &str>) -> Vec<String> {
        let is_missing = |(message, place): &&(Message, Place)| {
            stored.get(place).copied() != Some(format!("{} {}", message.sender, message.sequence).as_str())
        };
        let lost = self.acked.iter().filter(is_missing);
        lost.map(|(message, place)| {
            format!("lost: {message:?} acknowledged at {place:?}, where there is {:?}", stored.get(place))
        })
        .collect()
    }

    fn changed(&self, stored: &BTreeMap<Place, &str>) -> Vec<String> {
        let differs = |(place, value): &&(Place, String)| stored.get(place) != Some(&value.as_str());
        let changed = self.read.iter().filter(differs);
        changed
            .map(|(place, value)| format!("changed: {place:?} was read as '{value}', is {:?}", stored.get(place)))
            .collect()
    }
}

/// Offsets of a partition follow one another from 0.
fn gaps(stored: &BTreeMap<Place, &str>) -> Vec<String> {
    let mut next: HashMap<u32, u64> = HashMap::new();
    let mut broken = Vec::new();
    for (partition, offset) in stored.keys() {
        let expected = next.insert(*partition, offset + 1).unwrap_or(0);
        if *offset != expected {
            broken.push(format!("gap: partition {partition} goes from before {expected} to {offset}"));
        }
    }
    broken
}

fn parts(value: &str) -> Option<Message> {
    let (sender, sequence) = value.split_once(' ')?;
    Some(Message { sender: sender.to_owned(), sequence: sequence.parse().ok()? })
}

/// On a partition, a sender's messages are in the order sent; one sent again may repeat but not come first after a later one.
fn disorder(stored: &BTreeMap<Place, &str>) -> Vec<String> {
    let mut newest: HashMap<(u32, String), u64> = HashMap::new();
    let mut seen = HashSet::new();
    let mut broken = Vec::new();
    for ((partition, offset), value) in stored {
        let Some(message) = parts(value) else {
            broken.push(format!("foreign: partition {partition} offset {offset} holds '{value}'"));
            continue;
        };
        let first_time = seen.insert(message.clone());
        let newest = newest.entry((*partition, message.sender.clone())).or_insert(message.sequence);
        if first_time && message.sequence < *newest {
            broken.push(format!("disorder: {message:?} at {partition}:{offset} came after {newest}"));
        }
        *newest = (*newest).max(message.sequence);
    }
    broken
}

fn duplicates(stored: &BTreeMap<Place, &str>, once: impl Fn(&str) -> bool) -> Vec<String> {
    let mut seen: HashMap<Message, Place> = HashMap::new();
    let mut broken = Vec::new();
    for (place, message) in stored.iter().filter_map(|(place, value)| Some((place, parts(value)?))) {
        if !once(&message.sender) {
            continue;
        }
        if let Some(first) = seen.insert(message.clone(), *place) {
            broken.push(format!("duplicate: {message:?} at {first:?} and at {place:?}"));
        }
    }
    broken
}

/// What was reported as settled is not delivered again.
fn again(group: &str, seen: &[(Delivery, Place)]) -> Vec<String> {
    let mut settled = HashSet::new();
    let mut broken = Vec::new();
    for (delivery, place) in seen {
        match delivery {
            Delivery::Settled => drop(settled.insert(*place)),
            Delivery::Delivered if settled.contains(place) => {
                broken.push(format!("again: {group} was given {place:?} after it had settled it"));
            }
            Delivery::Delivered => {}
        }
    }
    broken
}

/// Everything stored is delivered to every group.
fn withheld(group: &str, seen: &[(Delivery, Place)], stored: &BTreeMap<Place, &str>) -> Vec<String> {
    let delivered: HashSet<Place> = seen.iter().map(|(_, place)| *place).collect();
    let missing = stored.keys().filter(|place| !delivered.contains(place));
    missing.map(|place| format!("withheld: {group} never got {place:?}")).collect()
}

/// A reader sees each offset of a partition once, the next after the last.
fn backwards(read: &[(Place, String)]) -> Vec<String> {
    let mut next: HashMap<u32, u64> = HashMap::new();
    let mut broken = Vec::new();
    for ((partition, offset), _) in read {
        let expected = next.insert(*partition, offset + 1).unwrap_or(0);
        if *offset != expected {
            broken.push(format!("jump: a reader of partition {partition} got {offset} where {expected} was next"));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[&str], finally: &[&str]) -> History {
        let mut history: History = lines.iter().map(|line| Event::parse(line)).collect();
        history.finally = finally.iter().map(|line| Event::parse(line)).collect::<History>().read;
        history
    }

    fn kinds(history: &History) -> Vec<String> {
        let word = |line: &String| line.split(':').next().unwrap_or_default().to_owned();
        history.violations(|sender| sender == "once").iter().map(word).collect()
    }

    #[test]
    fn a_good_history_breaks_no_rule() {
        let good = history(
            &[
                "acked a 0 0 0",
                "acked once 0 0 1",
                "read 0 0 a 0",
                "read 0 1 once 0",
                "left a 0",
                "delivered g 0 1",
                "delivered g 0 0",
                "delivered g 0 0",
                "settled g 0 0",
                "delivered g 0 2",
            ],
            &["read 0 0 a 0", "read 0 1 once 0", "read 0 2 a 0", "end 0:3"],
        );
        assert_eq!(kinds(&good), Vec::<String>::new());
    }

    #[test]
    fn each_rule_is_seen_broken() {
        let cases: [(&[&str], &[&str], &str); 10] = [
            (&["acked a 0 0 0"], &[], "lost"),
            (&["acked a 0 0 0"], &["read 0 0 a 1"], "lost"),
            (&["read 0 0 a 0"], &["read 0 0 a 7"], "changed"),
            (&[], &["read 0 0 a 0", "read 0 2 a 1"], "gap"),
            (&[], &["read 0 0 a 1", "read 0 1 a 0"], "disorder"),
            (&[], &["read 0 0 once 1", "read 0 1 once 1"], "duplicate"),
            (&["read 0 0 a 0", "read 0 0 a 0"], &["read 0 0 a 0"], "jump"),
            (&["delivered g 0 0", "settled g 0 0", "delivered g 0 0"], &["read 0 0 a 0"], "again"),
            (&["delivered g 0 0"], &["read 0 0 a 0", "read 0 1 a 1"], "withheld"),
            (&["left a 3"], &[], "trouble"),
        ];
        for (lines, finally, kind) in cases {
            assert_eq!(kinds(&history(lines, finally)), vec![kind.to_owned()], "{lines:?} {finally:?}");
        }
    }
}
