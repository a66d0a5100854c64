//! Sender-selected distribution: a message's headers `CC` and `BCC` name further routing keys.

use std::sync::Arc;

use super::codec::{RawTable, RawValue, Text};
use super::error::{Code, Exception, Result};
use super::session::Session;
use crate::broker::Route;

const CC: &[u8] = b"CC";
/// Consumers do not see this one.
pub(super) const BCC: &[u8] = b"BCC";

impl Session<'_> {
    /// Where a message goes: by its routing key, and by those in its headers.
    pub(super) fn route_with_copies(
        &mut self,
        exchange: &str,
        routing_key: &str,
        headers: Option<RawTable<'_>>,
    ) -> Result<Arc<Route>> {
        let route = self.route(exchange, routing_key)?;
        let Some(headers) = headers.filter(|headers| headers.iter().any(|(name, _)| is_copies(name))) else {
            return Ok(route);
        };
        let mut routes = vec![route];
        for key in keys(headers)? {
            routes.push(self.route(exchange, &key)?);
        }
        Ok(Arc::new(Route::join(&routes)))
    }
}

fn is_copies(name: &[u8]) -> bool {
    name == CC || name == BCC
}

/// The routing keys that the headers name; what is no text there, or too long for a routing key, is none.
fn keys(headers: RawTable<'_>) -> Result<Vec<Text>> {
    let mut keys = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_copies(name)) {
        let RawValue::Array(array) = value else {
            let message = format!("header {} is not of type array", String::from_utf8_lossy(name));
            return Err(Exception::new(Code::PreconditionFailed, message));
        };
        keys.extend(array.iter().filter_map(|value| match value {
            RawValue::LongString(key) if key.len() <= 255 => {
                Some(Text::from(std::str::from_utf8(key).ok()?.to_owned()))
            }
            _ => None,
        }));
    }
    Ok(keys)
}
