//! Topic names that Kafka allows.

use kafka_protocol::ResponseError;

use super::error::Refusal;

/// The longest name Kafka allows, in bytes.
const MAX_BYTES: usize = 249;

/// Whether Kafka clients can see a topic of this name.
pub(super) fn is_legal(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_BYTES).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}

/// Refuses a name that Kafka does not allow.
pub(super) fn check(name: &str) -> Result<(), Refusal> {
    if is_legal(name) {
        return Ok(());
    }
    let shown: String = name.chars().take(64).collect();
    Err(Refusal::new(
        ResponseError::InvalidTopicException,
        format!(
            "'{}' is not a Kafka topic name: use 1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'",
            shown.escape_debug()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafka_s_rules() {
        for legal in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert!(is_legal(legal), "{legal}");
        }
        for illegal in ["", ".", "..", "a b", "a/b", "ä", "a\0", &"x".repeat(250)] {
            assert!(!is_legal(illegal), "{illegal}");
        }
    }
}
