//! The log: one line an event, on standard error, for people or for programs. No text from outside can forge a line.

use std::fmt::{self, Write};
use std::io::IsTerminal;

use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::config::{Log, LogFormat};

/// Changes the level of the running log.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<EnvFilter, Registry>);

impl LevelHandle {
    /// Applies a level that [`crate::config`] has checked.
    pub fn set(&self, level: &str) {
        if let Err(error) = self.0.reload(filter(level)) {
            tracing::warn!(%error, "the log level stays as it was");
        }
    }
}

/// Starts the log of this process. Called once.
#[must_use]
pub fn start(log: &Log) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(filter(&log.level));
    let layer = match log.format {
        LogFormat::Human => tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .fmt_fields(HumanFields)
            .boxed(),
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    // Somebody else's log is already running only inside tests; theirs is then as good.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    LevelHandle(handle)
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}

/// `message name=value name=value`, on one line whatever the values are.
struct HumanFields;

impl<'writer> FormatFields<'writer> for HumanFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = HumanVisitor { writer, first: true, result: Ok(()) };
        fields.record(&mut visitor);
        visitor.result
    }
}

struct HumanVisitor<'writer> {
    writer: Writer<'writer>,
    first: bool,
    result: fmt::Result,
}

impl HumanVisitor<'_> {
    fn write(&mut self, field: &Field, value: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::take(&mut self.first) {
            self.writer.write_char(' ')?;
        }
        if field.name() != "message" {
            write!(self.writer, "{}=", field.name())?;
        }
        write!(OneLine(&mut self.writer), "{value}")
    }
}

impl Visit for HumanVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.result.is_ok() {
            self.result = match field.name() {
                "message" => self.write(field, format_args!("{value}")),
                _ => self.write(field, format_args!("{value:?}")),
            };
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if self.result.is_ok() {
            self.result = self.write(field, format_args!("{value:?}"));
        }
    }
}

/// Passes text on, with everything escaped that would end the line, command a terminal, or reorder or hide what is read.
struct OneLine<'a, W>(&'a mut W);

impl<W: Write> Write for OneLine<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut clean = 0;
        for (at, c) in text.char_indices().filter(|(_, c)| is_hostile(*c)) {
            self.0.write_str(&text[clean..at])?;
            write!(self.0, "{}", c.escape_unicode())?;
            clean = at + c.len_utf8();
        }
        self.0.write_str(&text[clean..])
    }
}

/// Control characters, line separators, direction marks and invisible characters.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// A text as it may be shown in a terminal: as `OneLine` writes it.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // Writing to a string does not fail.
    let _ = OneLine(&mut shown).write_str(text);
    shown
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const HOSTILE: &str = "a\r\n2026-01-01T00:00:00Z ERROR forged \u{1b}[2J\u{202e}txt\u{0}";

    fn logged<L>(layer: impl FnOnce(Sink) -> L) -> String
    where
        L: Layer<Registry> + Send + Sync,
    {
        let sink = Sink::default();
        let subscriber = tracing_subscriber::registry().with(layer(sink.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::other(HOSTILE);
            tracing::info!(client = HOSTILE, %error, debug = ?HOSTILE, count = 3, "{HOSTILE}");
        });
        let bytes = sink.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn check_one_line(log: &str) {
        assert_eq!(log.matches('\n').count(), 1, "{log}");
        assert!(log.ends_with('\n'));
        assert!(!log.trim_end_matches('\n').contains(char::is_control), "{log:?}");
    }

    #[test]
    fn hostile_text_stays_on_its_line_for_people() {
        let log = logged(|sink| {
            tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || sink.clone()).fmt_fields(HumanFields)
        });
        check_one_line(&log);
        assert!(!log.contains('\u{202e}'), "{log:?}");
        assert!(log.contains("count=3"), "{log}");
    }

    #[test]
    fn hostile_text_stays_in_its_string_for_programs() {
        let log = logged(|sink| {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(move || sink.clone())
        });
        check_one_line(&log);
        let event: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(event["client"], HOSTILE);
        assert_eq!(event["count"], 3);
    }
}
