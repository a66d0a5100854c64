//! What a request names more than once: Kafka does none of it, and answers once.

use std::collections::HashMap;
use std::hash::Hash;

use kafka_protocol::ResponseError;

use super::error::Refusal;

/// Each of `wanted` once, in order, with a refusal if there were more of the same key.
pub(super) fn once<T, K: Eq + Hash>(
    wanted: Vec<T>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = (T, Result<(), Refusal>)> {
    let mut times: HashMap<K, usize> = HashMap::with_capacity(wanted.len());
    for one in &wanted {
        *times.entry(key(one)).or_default() += 1;
    }
    wanted.into_iter().filter_map(move |one| {
        let times = times.remove(&key(&one))?;
        Some((one, if times == 1 { Ok(()) } else { Err(refusal()) }))
    })
}

fn refusal() -> Refusal {
    Refusal::new(ResponseError::InvalidRequest, "it is in the request more than once")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_twice_comes_once_and_refused() {
        let once: Vec<_> = once(vec!["a", "b", "a"], |name| *name).map(|(name, ok)| (name, ok.is_ok())).collect();
        assert_eq!(once, [("a", false), ("b", true)]);
    }
}
