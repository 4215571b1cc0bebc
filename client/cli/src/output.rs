//! Writes results to standard output, and formats numbers for people.

use std::io::{self, Write};
use std::ops::Range;

use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

/// The format of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// Prints one JSON object on a line of its own.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(value)
        .map_err(|error| Failure::Failed(format!("cannot write JSON: {error}")))?;
    line.push(b'\n');
    print(&line)
}

/// Prints rows with aligned columns; the columns in `right` are aligned to the right.
pub(crate) fn print_table(rows: &[Vec<String>], right: &Range<usize>) -> Result<(), Failure> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            if right.contains(&column) {
                line.extend([padding.as_str(), cell, "  "]);
            } else {
                line.extend([cell, padding.as_str(), "  "]);
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    print(text.as_bytes())
}

/// Writes to standard output, and flushes.
pub(crate) fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}

/// Formats `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let grouped: Vec<String> = [0, 999, 1000, 1_234_567].map(grouped).to_vec();
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
    }
}
