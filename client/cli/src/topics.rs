//! `oyez topics`: lists the topics that the broker keeps.

use clap::Args;
use serde::Serialize;

use crate::GlobalOptions;
use crate::answers::{self, TopicInfo};
use crate::failure::Failure;
use crate::output::{Format, grouped, print_json, print_table};
use crate::say::shown;

/// Arguments of `oyez topics`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  oyez topics\n  oyez topics -o json | jq '.topics[].name'")]
pub(crate) struct Arguments {
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Serialize)]
struct List {
    topics: Vec<TopicInfo>,
}

/// Runs the command.
pub(crate) fn run(global: &GlobalOptions, arguments: &Arguments) -> Result<(), Failure> {
    let client = global.connect()?;
    let topics = answers::topics(&client)?;
    client.drain()?;
    if arguments.output == Format::Json {
        return print_json(&List { topics });
    }
    let titles = [
        "TOPIC",
        "DURABILITY",
        "EARLIEST",
        "NEXT",
        "RECORDS",
        "BYTES",
        "EPOCH",
    ];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(topics.iter().map(row));
    print_table(&rows, &(2..6))
}

fn row(topic: &TopicInfo) -> Vec<String> {
    vec![
        shown(&topic.name),
        shown(&topic.durability),
        grouped(topic.earliest),
        grouped(topic.next),
        grouped(topic.records),
        grouped(topic.bytes),
        shown(&topic.epoch),
    ]
}
