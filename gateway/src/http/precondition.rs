//! Conditions of a change (RFC 9110, 13.1). Topics and groups have no entity tags, so `*`, that there is one, is the only
//! condition that can be met.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use super::error::{Problem, Result};

/// Checks `If-Match` and `If-None-Match` for something that is there, or not.
///
/// # Errors
/// 412.
pub(super) fn check(fields: &HeaderMap, exists: bool) -> Result<()> {
    if is_any(fields, &header::IF_MATCH).is_some_and(|any| !(any && exists)) {
        let detail = "If-Match: there is no such version; topics and groups have no entity tags, only * can match";
        return Err(failed(detail));
    }
    if is_any(fields, &header::IF_NONE_MATCH).is_some_and(|any| any && exists) {
        return Err(failed("If-None-Match: it is there already"));
    }
    Ok(())
}

/// Whether the condition, if it is given, is `*`.
fn is_any(fields: &HeaderMap, name: &HeaderName) -> Option<bool> {
    let mut given = fields.get_all(name).iter().peekable();
    given.peek()?;
    Some(given.any(|value| value.as_bytes().trim_ascii() == b"*"))
}

fn failed(detail: &str) -> Problem {
    Problem::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_a_star_can_match() {
        for (name, value, if_there, if_not) in [
            (header::IF_MATCH, "*", true, false),
            (header::IF_MATCH, "\"a\"", false, false),
            (header::IF_NONE_MATCH, "*", false, true),
            (header::IF_NONE_MATCH, "\"a\"", true, true),
            (header::IF_UNMODIFIED_SINCE, "Sun, 22 Nov 2026 00:00:00 GMT", true, true),
        ] {
            let fields = HeaderMap::from_iter([(name.clone(), value.parse().unwrap())]);
            assert_eq!((check(&fields, true).is_ok(), check(&fields, false).is_ok()), (if_there, if_not), "{name}");
        }
    }
}
