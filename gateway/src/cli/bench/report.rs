//! The result of a run, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use super::load::Measured;
use crate::cli::arguments::Output;
use crate::cli::{Error, output};

/// One line of the result.
#[derive(Debug, Serialize)]
struct Line<'a> {
    run: &'a str,
    messages: u64,
    seconds: f64,
    messages_per_second: f64,
    mebibytes_per_second: f64,
    requests: u64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    errors: u64,
}

impl<'a> Line<'a> {
    fn new(run: &'a str, measured: &Measured, took: Duration) -> Self {
        let seconds = took.as_secs_f64().max(1e-9);
        let quantile = |q| measured.latencies.value_at_quantile(q) as f64 / 1000.0;
        Self {
            run,
            messages: measured.messages,
            seconds,
            messages_per_second: measured.messages as f64 / seconds,
            mebibytes_per_second: measured.bytes as f64 / seconds / f64::from(1 << 20),
            requests: measured.latencies.len(),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            max_ms: measured.latencies.max() as f64 / 1000.0,
            errors: measured.errors,
        }
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.run.to_owned(),
            self.messages.to_string(),
            format!("{:.2}", self.seconds),
            format!("{:.0}", self.messages_per_second),
            format!("{:.1}", self.mebibytes_per_second),
            format!("{:.3}", self.p50_ms),
            format!("{:.3}", self.p99_ms),
            format!("{:.3}", self.p999_ms),
            format!("{:.3}", self.max_ms),
            self.errors.to_string(),
        ]
    }
}

const TITLES: [&str; 10] =
    ["RUN", "MESSAGES", "SECONDS", "MSG/S", "MIB/S", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS", "ERRORS"];

/// Prints the runs; an error when any request failed.
pub fn print(output: Output, runs: &[(&str, Measured, Duration)]) -> Result<(), Error> {
    let lines: Vec<_> = runs.iter().map(|(run, measured, took)| Line::new(run, measured, *took)).collect();
    match output {
        Output::Table => {
            output::print(&output::table(&TITLES, &lines.iter().map(Line::cells).collect::<Vec<_>>()))?;
        }
        Output::Json => output::print(&(serde_json::to_string_pretty(&lines).unwrap_or_default() + "\n"))?,
    }
    let errors: u64 = runs.iter().map(|(_, measured, _)| measured.errors).sum();
    match runs.iter().find_map(|(_, measured, _)| measured.first_error.as_ref()) {
        None => Ok(()),
        Some(first) => Err(Error::failed(format!("{errors} requests failed, the first with: {first}"))),
    }
}
