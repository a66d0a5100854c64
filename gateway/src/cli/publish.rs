//! `tidegate publish`: one message, or one a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::arguments::{Output, Publish};
use super::client::{Client, Problem};
use super::{Error, messages, output};

/// The most lines in one request.
const BATCH_LINES: usize = 500;
/// A request is sent when its lines have so many bytes.
const BATCH_BYTES: usize = 1 << 20;
/// Where standard input is read into; what is in it goes into one request.
const READ_BYTES: usize = 1 << 20;

pub async fn publish(publish: Publish) -> Result<(), Error> {
    let client = Client::new(&publish.server)?;
    let mut input = open(publish.file.as_deref())?;
    let mut published = Published::default();
    if publish.lines {
        while let Some(bodies) = next_lines(&mut input)? {
            send(&client, &publish, bodies, &mut published).await?;
        }
    } else {
        let mut body = Vec::new();
        input.read_to_end(&mut body)?;
        send(&client, &publish, vec![body], &mut published).await?;
    }
    match publish.output {
        Output::Json => Ok(()),
        Output::Table => output::print(&published.table(&publish.topic)),
    }
}

fn open(file: Option<&Path>) -> Result<BufReader<Box<dyn Read>>, Error> {
    let input: Box<dyn Read> = match file {
        None => Box::new(io::stdin()),
        Some(path) if path == Path::new("-") => Box::new(io::stdin()),
        Some(path) => Box::new(
            File::open(path).map_err(|error| Error::failed(format!("cannot read {}: {error}", path.display())))?,
        ),
    };
    Ok(BufReader::with_capacity(READ_BYTES, input))
}

/// The lines that are there already, at least one: a person's line is sent when it is typed, a file's go together.
fn next_lines(input: &mut BufReader<Box<dyn Read>>) -> Result<Option<Vec<Vec<u8>>>, Error> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        line.pop_if(|last| *last == b'\n');
        bytes += line.len();
        lines.push(line);
        if lines.len() == BATCH_LINES || bytes >= BATCH_BYTES || !input.buffer().contains(&b'\n') {
            break;
        }
    }
    Ok(Some(lines).filter(|lines| !lines.is_empty()))
}

async fn send(
    client: &Client,
    publish: &Publish,
    bodies: Vec<Vec<u8>>,
    published: &mut Published,
) -> Result<(), Error> {
    let messages = bodies.into_iter().map(|body| messages::outgoing(body, publish.key.as_deref(), &publish.headers));
    let request = client.request(Method::POST, &["topics", &publish.topic, "messages:batch"]);
    let answer = client.json(request.json(&json!({ "messages": messages.collect::<Vec<_>>() }))).await?;
    for result in answer.get("results").and_then(Value::as_array).into_iter().flatten() {
        if publish.output == Output::Json {
            output::print(&format!("{result}\n"))?;
        }
        published.take(result)?;
    }
    Ok(())
}

/// What has been stored.
#[derive(Default)]
struct Published {
    count: usize,
    last: Value,
}

impl Published {
    fn take(&mut self, result: &Value) -> Result<(), Error> {
        if let Some(problem) = result.get("error") {
            let problem = Problem::deserialize(problem).unwrap_or_default();
            let Error { exit, message } = problem.into();
            let message = format!("message {} was not stored: {message} ({} were)", self.count + 1, self.count);
            return Err(Error { exit, message });
        }
        self.count += 1;
        self.last = result.clone();
        Ok(())
    }

    fn table(&self, topic: &str) -> String {
        let cell = |name| output::cell(&self.last, name);
        let row = vec![topic.to_owned(), self.count.to_string(), cell("partition"), cell("offset"), cell("durability")];
        output::table(&["TOPIC", "PUBLISHED", "LAST PARTITION", "LAST OFFSET", "DURABILITY"], &[row])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_every_byte_but_the_line_feed() {
        let text: &[u8] = b"a\r\n\n\xff\nlast";
        let mut input: BufReader<Box<dyn Read>> = BufReader::new(Box::new(text));
        let mut lines = Vec::new();
        while let Some(batch) = next_lines(&mut input).unwrap() {
            lines.extend(batch);
        }
        assert_eq!(lines, [&b"a\r"[..], b"", b"\xff", b"last"]);
    }

    #[test]
    fn a_message_that_was_not_stored_ends_it() {
        let mut published = Published::default();
        published.take(&json!({"status": 201, "partition": 0, "offset": 7})).unwrap();
        let error = published.take(&json!({"status": 413, "error": {"status": 413, "detail": "too large"}}));
        assert_eq!(error, Err(Error::refused("message 2 was not stored: too large (1 were)")));
    }
}
