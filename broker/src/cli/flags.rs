//! A flag for every setting, made from the settings, so that file, variables and flags take the same values.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use oyez_broker::config::{Kind, Setting, Unit, settings};

/// Settings that `-h` shows; `--help` shows all.
const SHORT: [&str; 6] = [
    "listen",
    "operator",
    "open",
    "data",
    "shards",
    "max_connections",
];

/// Settings that subcommands take, too.
const GLOBAL: [&str; 5] = ["data", "shards", "disk", "sending", "keep_awake"];

/// The command with a flag for every setting.
pub(super) fn with_settings(command: Command) -> Command {
    command.args(settings().iter().map(argument))
}

fn argument(setting: &Setting) -> Arg {
    let argument = Arg::new(setting.key)
        .long(setting.flag())
        .help(help(setting))
        .help_heading("Settings")
        .hide_short_help(!SHORT.contains(&setting.key))
        .global(GLOBAL.contains(&setting.key));
    match setting.kind {
        Kind::Switch => argument
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(PossibleValuesParser::new(["true", "false"]))
            .hide_possible_values(true),
        Kind::Word(words) => argument
            .value_name("WORD")
            .value_parser(PossibleValuesParser::new(words))
            // The help names them.
            .hide_possible_values(true),
        Kind::List => argument
            .value_name(value_name(setting.key))
            .action(ArgAction::Append),
        Kind::Number(Unit::Bytes) => argument.value_name("SIZE"),
        Kind::Number(Unit::Count) => argument.value_name("N"),
        Kind::Number(_) => argument.value_name("TIME"),
        Kind::Text => argument
            .value_name(value_name(setting.key))
            .value_hint(value_hint(setting.key)),
    }
}

fn value_name(key: &str) -> &'static str {
    match key {
        "listen" | "operator" => "ADDR",
        "data" => "DIR",
        "hosts" => "NAMES",
        "origins" => "ORIGINS",
        "proxy_from" => "NETWORKS",
        "log" => "LEVELS",
        _ if key.ends_with("_topics") => "FILTERS",
        _ => "TEXT",
    }
}

fn value_hint(key: &str) -> ValueHint {
    match key {
        "data" => ValueHint::DirPath,
        _ => ValueHint::Other,
    }
}

/// The first sentence of what a setting means, and its default.
fn help(setting: &Setting) -> String {
    let meaning = setting.meaning.trim_end_matches('.');
    let sentence = meaning.split(". ").next().unwrap_or_default();
    match setting.default {
        "" | "[]" => sentence.to_owned(),
        default => {
            let default = default.trim_matches(['[', ']', '"']);
            format!("{sentence} [default: {default}]")
        }
    }
}

/// The settings that flags give, with what they were given; several values of one flag are parted by commas.
pub(super) fn given(matches: &ArgMatches) -> Vec<(String, String)> {
    let given = |setting: &Setting| {
        let values = matches.get_many::<String>(setting.key)?;
        let values: Vec<&str> = values.map(String::as_str).collect();
        Some((setting.key.to_owned(), values.join(",")))
    };
    settings().iter().filter_map(given).collect()
}
