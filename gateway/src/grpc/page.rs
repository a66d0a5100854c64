//! Pages of lists: a page begins after the name that its token says.

/// The page of `items` (by name) after `token`, and the token of the next, empty on the last.
pub(super) fn page<T>(
    items: Vec<T>,
    name: impl Fn(&T) -> String,
    wanted: u32,
    token: &str,
    most: usize,
) -> (Vec<T>, String) {
    let size = if wanted == 0 { most } else { most.min(wanted as usize) };
    let mut rest = items.into_iter().filter(|item| token.is_empty() || name(item).as_str() > token);
    let items: Vec<T> = rest.by_ref().take(size).collect();
    let more = rest.next().is_some();
    let next = items.last().filter(|_| more).map(&name).unwrap_or_default();
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn pages_follow_one_another() {
        let names = || vec!["a", "b", "c"];
        let of = |wanted, token: &str| page(names(), |name| (*name).to_owned(), wanted, token, 2);
        assert_eq!(of(0, ""), (vec!["a", "b"], "b".to_owned()));
        assert_eq!(of(0, "b"), (vec!["c"], String::new()));
        assert_eq!(of(1, "a"), (vec!["b"], "b".to_owned()));
        assert_eq!(of(9, "c"), (Vec::new(), String::new()));
    }
}
