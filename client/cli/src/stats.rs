//! `oyez stats`: the broker's counters.

use clap::Args;
use serde_json::Value;

use crate::GlobalOptions;
use crate::answers;
use crate::failure::Failure;
use crate::output::{Format, grouped, print_json, print_table};
use crate::say::shown;

const SLOWEST_TITLES: [&str; 5] = [
    "slowest",
    "behind",
    "blocked ms",
    "unacknowledged bytes",
    "topic",
];

const EXAMPLES: &str = "\
Examples:
  oyez stats
  oyez stats -o json | jq .connections
  oyez stats --lag -o json | jq '.lag.slowest[]'";

/// Arguments of `oyez stats`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Also show how far subscriptions are behind, and the slowest ones; the broker looks at every subscription for
    /// that
    #[arg(long)]
    lag: bool,

    /// How to print the counters
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Runs the command.
pub(crate) fn run(global: &GlobalOptions, arguments: &Arguments) -> Result<(), Failure> {
    let client = global.connect()?;
    let mut stats: Value = answers::stats(&client)?;
    if arguments.lag
        && let Some(fields) = stats.as_object_mut()
    {
        fields.insert("lag".to_owned(), answers::lag(&client)?);
    }
    client.drain()?;
    if arguments.output == Format::Json {
        return print_json(&stats);
    }
    let mut rows = Vec::new();
    flatten("", &stats, &mut rows);
    print_table(&rows, &(1..2))?;
    match stats["lag"]["slowest"].as_array() {
        Some(slowest) if !slowest.is_empty() => print_slowest(slowest),
        _ => Ok(()),
    }
}

fn print_slowest(slowest: &[Value]) -> Result<(), Failure> {
    let mut rows = vec![SLOWEST_TITLES.map(str::to_owned).to_vec()];
    rows.extend(slowest.iter().map(|slow| {
        let name = |key: &str| shown(slow[key].as_str().unwrap_or("-"));
        let number = |key: &str| slow[key].as_u64().map_or_else(|| "-".to_owned(), grouped);
        vec![
            name("peer"),
            number("lag"),
            number("blocked_ms"),
            number("unacknowledged_bytes"),
            name("topic"),
        ]
    }));
    print_table(&rows, &(1..4))
}

/// Appends one row per number or text, named by its path: `outer.inner`.
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
        // Tables, such as that of the shards, are left out: `oyez top` shows them, and JSON has them.
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
