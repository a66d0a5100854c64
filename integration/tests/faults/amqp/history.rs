//! What AMQP clients were promised and what they saw, and the rules the two must obey.

use std::collections::{BTreeSet, HashMap, HashSet};

/// A message: who published it, and its number among that publisher's.
pub type Message = (String, u64);

/// Everything that happened. Broken rules are noted as they are seen.
#[derive(Debug, Default)]
pub struct History {
    /// Confirmed messages of each publisher.
    confirmed: HashMap<String, BTreeSet<u64>>,
    /// What was delivered from each queue, and how often.
    delivered: HashMap<String, HashMap<Message, u32>>,
    /// What was acknowledged in each queue before something else on the same channel was answered.
    settled: HashMap<String, HashSet<Message>>,
    /// The newest message of each publisher in each session of a consumer.
    newest: HashMap<(u64, String), u64>,
    broken: Vec<String>,
    sessions: u64,
}

impl History {
    /// A consumer begins anew; its number.
    pub fn session(&mut self) -> u64 {
        self.sessions += 1;
        self.sessions
    }

    /// The broker confirmed a message.
    pub fn confirmed(&mut self, (publisher, number): Message) {
        self.confirmed.entry(publisher).or_default().insert(number);
    }

    /// Something that no rule covers and that must not be.
    pub fn trouble(&mut self, what: String) {
        self.broken.push(what);
    }

    /// A consumer was given a message.
    pub fn delivered(&mut self, session: u64, queue: &str, message: Message) {
        if self.settled.get(queue).is_some_and(|settled| settled.contains(&message)) {
            self.broken.push(format!("again: {message:?} from {queue} after its acknowledgement was durable"));
        }
        let newest = self.newest.entry((session, message.0.clone())).or_insert(0);
        // One session requeues nothing, so each message comes once and in order.
        if message.1 < *newest {
            self.broken.push(format!("disorder: {message:?} from {queue} in session {session} after {newest}"));
        }
        *newest = message.1 + 1;
        *self.delivered.entry(queue.to_owned()).or_default().entry(message).or_default() += 1;
    }

    /// The broker answered something that came after the acknowledgements of these.
    pub fn settled(&mut self, queue: &str, messages: &[Message]) {
        self.settled.entry(queue.to_owned()).or_default().extend(messages.iter().cloned());
    }

    /// Messages confirmed so far.
    pub fn confirmed_count(&self) -> usize {
        self.confirmed.values().map(BTreeSet::len).sum()
    }

    /// Messages whose acknowledgement is durable so far.
    pub fn settled_count(&self) -> usize {
        self.settled.values().map(HashSet::len).sum()
    }

    /// Deliveries beyond the first of each message.
    pub fn repeated_count(&self) -> u32 {
        self.delivered.values().flat_map(HashMap::values).map(|count| count - 1).sum()
    }

    /// Every broken rule, in words. `routes` says from which queues a publisher's messages must come out.
    pub fn violations(&self, routes: &[(&str, &[&str])]) -> Vec<String> {
        let mut broken = self.broken.clone();
        for (publisher, queues) in routes {
            for queue in *queues {
                let delivered = self.delivered.get(*queue);
                let arrived = |number: &u64| {
                    delivered.is_some_and(|delivered| delivered.contains_key(&((*publisher).to_owned(), *number)))
                };
                let confirmed = self.confirmed.get(*publisher).into_iter().flatten();
                broken.extend(
                    confirmed.filter(|number| !arrived(number)).map(|number| {
                        format!("lost: {publisher} {number} was confirmed and never came out of {queue}")
                    }),
                );
            }
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(number: u64) -> Message {
        ("p".to_owned(), number)
    }

    fn kinds(history: &History) -> Vec<String> {
        let word = |line: &String| line.split(':').next().unwrap_or_default().to_owned();
        history.violations(&[("p", &["q"])]).iter().map(word).collect()
    }

    #[test]
    fn a_good_history_breaks_no_rule() {
        let mut history = History::default();
        history.confirmed(message(0));
        let (first, second) = (history.session(), history.session());
        history.delivered(first, "q", message(0));
        history.delivered(first, "q", message(1));
        history.delivered(second, "q", message(0));
        history.settled("q", &[message(0)]);
        assert_eq!(kinds(&history), Vec::<String>::new());
        assert_eq!((history.settled_count(), history.repeated_count()), (1, 1));
    }

    #[test]
    fn each_rule_is_seen_broken() {
        let mut lost = History::default();
        lost.confirmed(message(0));
        assert_eq!(kinds(&lost), ["lost"]);
        let mut again = History::default();
        again.settled("q", &[message(0)]);
        again.delivered(1, "q", message(0));
        assert_eq!(kinds(&again), ["again"]);
        let mut disorder = History::default();
        disorder.delivered(1, "q", message(1));
        disorder.delivered(1, "q", message(0));
        assert_eq!(kinds(&disorder), ["disorder"]);
        let mut twice = History::default();
        twice.delivered(1, "q", message(0));
        twice.delivered(1, "q", message(0));
        assert_eq!(kinds(&twice), ["disorder"]);
    }
}
