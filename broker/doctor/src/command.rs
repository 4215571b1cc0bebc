//! The command: its arguments, and what it prints.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::AtomicBool;

use clap::value_parser;

use super::{Exam, HostFacts, Report, examine, prove};
use crate::{Broker, Setup};

/// The arguments of `oyez-server doctor`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Connections that this host should hold [default: those of --prove, else the configured max_connections]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub connections: Option<u64>,

    /// How to print the report
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Show what is fine as well, and what could not be found out; JSON always has them
    #[arg(short, long)]
    pub verbose: bool,

    /// Print the fixes as a shell script instead; nothing is changed
    #[arg(long, conflicts_with = "output")]
    pub script: bool,

    /// Also try it: start a broker in a temporary directory and open N connections to it
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub prove: Option<u64>,
}

const EXAMPLES: &str = "\
Examples:
  oyez-server doctor --connections 1000000       what stands in the way, and the commands that mend it
  oyez-server doctor -v                          everything that was looked at
  oyez-server doctor --connections 1000000 --script > fixes.sh
  oyez-server doctor --prove 100000              open them, and say what stopped it
  oyez-server --config oyez.toml doctor -o json | jq '.findings[] | select(.verdict != \"ok\")'

Exit status: 0 so many connections are possible, 1 they are not, 2 usage.";

/// How a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The temporary directory of the broker cannot be made.
    #[error(
        "cannot create a temporary directory for the broker in {directory}: {source}; set TMPDIR to another one"
    )]
    Directory {
        /// The directory in which it would lie.
        directory: String,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output is gone.
    #[error("cannot print the report: {0}")]
    Print(#[from] io::Error),
}

/// Examines this host, runs the proof if one is asked for, until `stop`, prints the report, and returns whether so many
/// connections are possible.
///
/// # Errors
/// See [`Failure`].
pub fn run(
    setup: &Setup,
    broker: &dyn Broker,
    arguments: &Arguments,
    stop: &AtomicBool,
) -> Result<bool, Failure> {
    let connections = arguments.connections.or(arguments.prove);
    let exam = Exam {
        facts: &HostFacts,
        setup,
        broker,
        connections: connections.unwrap_or(setup.max_connections),
    };
    let findings = examine(&exam);
    let proof = match arguments.prove {
        Some(connections) => {
            if io::stderr().is_terminal() {
                // A closed stderr is no reason to stop.
                let _ = writeln!(
                    io::stderr(),
                    "opening {connections} connections; Ctrl-C ends it with a report"
                );
            }
            Some(prove::prove(broker, connections, stop)?)
        }
        None => None,
    };
    let report = Report::new(exam.connections, findings, proof);
    let text = if arguments.script {
        report.script()
    } else {
        match arguments.output {
            Output::Text => report.text(arguments.verbose),
            Output::Json => {
                serde_json::to_string(&report).expect("a report is texts and numbers") + "\n"
            }
        }
    };
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())?;
    Ok(report.possible)
}
