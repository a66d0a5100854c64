//! Messages in the HTTP API's JSON, as much of them as the commands need.

use std::io::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::Error;
use super::arguments::MessageOutput;

/// A message received.
#[derive(Debug, Deserialize)]
pub struct Received<'a> {
    /// Names the delivery, in a group.
    pub ack_id: Option<String>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    text: Option<String>,
    base64: Option<String>,
}

impl<'a> Received<'a> {
    /// Reads a message.
    pub fn parse(json: &'a str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|error| Error::failed(format!("cannot read a message: {error}")))
    }

    /// The body's bytes; none is a tombstone.
    fn body(&self) -> Result<Vec<u8>, Error> {
        match (&self.text, &self.base64, self.value) {
            (Some(text), _, _) => Ok(text.clone().into_bytes()),
            (_, Some(base64), _) => BASE64_STANDARD
                .decode(base64)
                .map_err(|error| Error::failed(format!("cannot read a message's body: {error}"))),
            (_, _, Some(value)) => Ok(value.get().as_bytes().to_vec()),
            (None, None, None) => Ok(Vec::new()),
        }
    }

    /// Writes the message on a line of its own.
    pub fn show(&self, json: &str, output: MessageOutput) -> Result<(), Error> {
        let mut out = std::io::stdout().lock();
        match output {
            MessageOutput::Json => out.write_all(json.as_bytes())?,
            MessageOutput::Raw => out.write_all(&self.body()?)?,
        }
        out.write_all(b"\n")?;
        Ok(out.flush()?)
    }
}

/// A message to publish, in JSON: text where it is text.
pub fn outgoing(body: Vec<u8>, key: Option<&str>, headers: &[(String, String)]) -> Value {
    let mut message = Map::new();
    match String::from_utf8(body) {
        Ok(text) => message.insert("text".into(), text.into()),
        Err(error) => message.insert("base64".into(), BASE64_STANDARD.encode(error.as_bytes()).into()),
    };
    if let Some(key) = key {
        message.insert("key".into(), key.into());
    }
    let headers = headers.iter().map(|(name, value)| serde_json::json!({ "name": name, "value": value }));
    message.insert("headers".into(), headers.collect());
    Value::Object(message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_it_was_stored() {
        let body = |json: &str| Received::parse(json).unwrap().body().unwrap();
        assert_eq!(body(r#"{"text":"a\nb"}"#), b"a\nb");
        assert_eq!(body(r#"{"base64":"/wA="}"#), [0xff, 0]);
        assert_eq!(body(r#"{"value":{"b": 1.50,"a":2}}"#), br#"{"b": 1.50,"a":2}"#);
        assert_eq!(body(r#"{"key":"k"}"#), b"");
    }

    #[test]
    fn what_is_not_text_goes_as_base64() {
        let headers = [("n".to_owned(), "v".to_owned())];
        let expected = serde_json::json!({"base64": "/wA=", "key": "k", "headers": [{"name": "n", "value": "v"}]});
        assert_eq!(outgoing(vec![0xff, 0], Some("k"), &headers), expected);
        assert_eq!(outgoing(b"x".to_vec(), None, &[]), serde_json::json!({"text": "x", "headers": []}));
    }
}
