//! Tables for people.

use std::io::{self, Write};

use serde_json::Value;

use super::Error;
use super::arguments::Output;
use crate::telemetry::printable;

/// Writes to standard output.
pub fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Shows what was answered: as it came, or as a table made of it.
pub fn show(output: Output, answer: &Value, table: impl FnOnce(&Value) -> String) -> Result<(), Error> {
    match output {
        Output::Json => print(&format!("{answer}\n")),
        Output::Table => print(&table(answer)),
    }
}

/// A table of the objects in one field of an answer; a title for each of their fields.
#[must_use]
pub fn table_of(answer: &Value, list: &str, columns: &[(&str, &str)]) -> String {
    let objects = answer.get(list).and_then(Value::as_array).into_iter().flatten();
    let row = |object| columns.iter().map(|(_, field)| cell(object, field)).collect();
    table(&columns.iter().map(|(title, _)| *title).collect::<Vec<_>>(), &objects.map(row).collect::<Vec<_>>())
}

/// A field of a JSON object as a table's cell; `-` when there is none.
#[must_use]
pub fn cell(object: &Value, field: &str) -> String {
    match object.get(field) {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// Columns as wide as their widest cell, numbers to the right. Names may come from anybody: nothing in a cell commands
/// the terminal.
#[must_use]
pub fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([titles[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let numeric: Vec<bool> = (0..titles.len()).map(|column| rows.iter().all(|row| is_number(&row[column]))).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| match numeric[column] && !rows.is_empty() {
            true => format!("{cell:>width$}", width = widths[column]),
            false => format!("{cell:<width$}", width = widths[column]),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head = line(titles.to_vec());
    rows.iter().fold(head, |text, row| text + &line(row.iter().map(String::as_str).collect()))
}

fn is_number(cell: &str) -> bool {
    cell == "-" || cell.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let rows = [vec!["orders".into(), "12".into()], vec!["a\u{1b}[2J".into(), "-".into()]];
        let expected = "TOPIC       PARTITIONS\norders              12\na\\u{1b}[2J           -\n";
        assert_eq!(table(&["TOPIC", "PARTITIONS"], &rows), expected);
    }
}
