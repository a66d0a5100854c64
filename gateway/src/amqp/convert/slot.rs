//! Which record headers are properties of a message.

use crate::broker::property;

macro_rules! slots {
    ($($slot:ident = $name:ident)*) => {
        /// A property's place among [`SLOTS`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Slot {
            $($slot),*
        }

        /// How many there are.
        pub(super) const SLOTS: usize = [$(Slot::$slot),*].len();

        impl Slot {
            /// Every slot.
            pub(super) const ALL: [Self; SLOTS] = [$(Self::$slot),*];

            /// The slot of a header, by its name.
            #[inline]
            pub(super) fn of(name: &[u8]) -> Option<Self> {
                $(
                    const $name: &[u8] = property::$name.as_bytes();
                )*
                match name {
                    $($name => Some(Self::$slot),)*
                    _ => None,
                }
            }
        }
    };
}

slots! {
    Amqp = AMQP
    ContentType = CONTENT_TYPE
    ContentEncoding = CONTENT_ENCODING
    CorrelationId = CORRELATION_ID
    ReplyTo = REPLY_TO
    TtlMs = TTL_MS
    MessageId = MESSAGE_ID
    MessageType = MESSAGE_TYPE
    UserId = USER_ID
    AppId = APP_ID
    ClusterId = CLUSTER_ID
    Priority = PRIORITY
    Exchange = AMQP_EXCHANGE
    RoutingKey = AMQP_ROUTING_KEY
    DeliverAt = DELIVER_AT
    DeadLetterReason = DEAD_LETTER_REASON
    DeadLetterTopic = DEAD_LETTER_TOPIC
    DeadLetterPartition = DEAD_LETTER_PARTITION
    DeadLetterOffset = DEAD_LETTER_OFFSET
    DeadLetterAttempts = DEAD_LETTER_ATTEMPTS
    DeadLetterGroup = DEAD_LETTER_GROUP
}

/// Whether a header of the name would be taken for something else than a header.
#[inline]
pub(super) fn is_reserved(name: &[u8]) -> bool {
    Slot::of(name).is_some() || name == property::HEADER_TYPES.as_bytes()
}

/// RabbitMQ's largest expiration, in milliseconds: ten years.
const MAX_EXPIRATION: u64 = 315_360_000_000;

/// Whether a text is an expiration: a decimal number of milliseconds.
pub(super) fn is_expiration(text: &[u8]) -> bool {
    let is_number = !text.is_empty() && text.len() <= 255 && text.iter().all(u8::is_ascii_digit);
    let digits = text.iter().position(|digit| *digit != b'0').map_or(&b""[..], |from| &text[from..]);
    is_number && (digits.is_empty() || number(digits).is_some_and(|ms| ms <= MAX_EXPIRATION))
}

/// A number in decimal, written in the one way there is.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    match digits {
        b"0" => Some(0),
        [b'1'..=b'9', ..] => digits.iter().try_fold(0_u64, |number, digit| match digit {
            b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
            _ => None,
        }),
        _ => None,
    }
}

/// A number in decimal, written in the one way there is; it may be negative.
pub(super) fn signed_number(text: &[u8]) -> Option<i64> {
    match text.strip_prefix(b"-") {
        None => number(text).and_then(|number| i64::try_from(number).ok()),
        Some(digits) => {
            number(digits).filter(|number| *number > 0).and_then(|number| 0_i64.checked_sub_unsigned(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        for (text, number) in [
            ("0", Some(0)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-0", None),
            ("01", None),
            ("", None),
            ("-", None),
            ("+1", None),
            ("1 ", None),
        ] {
            assert_eq!(signed_number(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn expirations_are_what_rabbitmq_takes() {
        for text in ["0", "60000", "4294967296", "315360000000", "007", "00315360000000"] {
            assert!(is_expiration(text.as_bytes()), "{text}");
        }
        for text in ["", "-1", "1.5", "1s", "315360000001", "99999999999999999999999", " 1"] {
            assert!(!is_expiration(text.as_bytes()), "{text}");
        }
    }
}
