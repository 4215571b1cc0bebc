//! `oyez stats`: the broker's counters.

use clap::Args;
use serde_json::Value;

use crate::Shared;
use crate::failure::Failure;
use crate::output::{Format, grouped, print_json, print_table, shown};

/// What `oyez stats` is told.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  oyez stats\n  oyez stats -o json | jq .connections")]
pub(crate) struct Arguments {
    /// How to print them
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(shared: &Shared, arguments: &Arguments) -> Result<(), Failure> {
    let client = shared.connect()?;
    let stats = client.stats()?;
    client.drain()?;
    if arguments.output == Format::Json {
        return print_json(&stats);
    }
    let mut rows = Vec::new();
    flatten("", &stats, &mut rows);
    print_table(&rows, &(1..2))
}

/// One row per number or text; the names of what holds it stand before its own.
fn flatten(name: &str, value: &Value, rows: &mut Vec<Vec<String>>) {
    let below = |part: &str| {
        if name.is_empty() {
            part.to_owned()
        } else {
            format!("{name}.{part}")
        }
    };
    match value {
        Value::Object(fields) => {
            for (part, value) in fields {
                flatten(&below(part), value, rows);
            }
        }
        // A table of its own, as that of the shards: `oyez top` shows it, and JSON has it.
        Value::Array(items) if items.iter().any(Value::is_object) => {}
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                flatten(&below(&index.to_string()), value, rows);
            }
        }
        Value::String(text) => rows.push(vec![shown(name), shown(text)]),
        Value::Number(number) => {
            let text = number.as_u64().map_or_else(|| number.to_string(), grouped);
            rows.push(vec![shown(name), text]);
        }
        Value::Bool(_) | Value::Null => rows.push(vec![shown(name), value.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_is_named_by_its_path() {
        let stats =
            serde_json::json!({"a": 1000, "b": {"c": "uring", "d": [1.5, true]}, "e": [{"f": 1}]});
        let mut rows = Vec::new();
        flatten("", &stats, &mut rows);
        let rows: Vec<String> = rows.iter().map(|row| row.join("=")).collect();
        assert_eq!(rows, ["a=1,000", "b.c=uring", "b.d.0=1.5", "b.d.1=true"]);
    }
}
