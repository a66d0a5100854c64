//! Names and identifiers. A name always carries its namespace, so nothing can cross namespaces by accident.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The longest topic or group name in bytes, as in Kafka (249) rounded to what AMQP short strings allow.
pub const MAX_NAME_BYTES: usize = 255;

/// What a name consists of. Shared, because every delivery carries one.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
struct Qualified {
    namespace: Box<str>,
    name: Box<str>,
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $noun:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $type(Arc<Qualified>);

        impl $type {
            /// Checks the name: 1 to [`MAX_NAME_BYTES`] bytes of UTF-8 without control characters, not `.` or `..`.
            ///
            /// # Errors
            /// [`Error::InvalidName`] says what is wrong with it.
            pub fn new(namespace: &str, name: &str) -> Result<Self> {
                check_name($noun, name)?;
                Ok(Self(Arc::new(Qualified { namespace: namespace.into(), name: name.into() })))
            }

            /// The namespace the name lives in (`default`, or an AMQP vhost).
            #[must_use]
            pub fn namespace(&self) -> &str {
                &self.0.namespace
            }

            /// The name as its owner wrote it.
            #[must_use]
            pub fn name(&self) -> &str {
                &self.0.name
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0.name)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}:{}", self.0.namespace, self.0.name)
            }
        }
    };
}

name!(
    /// The name of a topic within its namespace.
    TopicName,
    "topic"
);
name!(
    /// The name of a group within its namespace.
    GroupName,
    "group"
);

pub(crate) fn check_name(noun: &'static str, name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 255 bytes"
    } else if name == "." || name == ".." {
        "'.' and '..' are not names"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { noun, name: name.chars().take(64).collect(), reason })
}

/// A partition's number within the engine: dense, never reused, the same after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
