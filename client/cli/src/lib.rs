//! The program `oyez`: publish to, subscribe to and look at an Oyez broker from the command line.
//!
//! Standard output carries what was asked for and nothing else; everything said about it goes to standard error.
//!
//! It is a library so that the comparisons in `benches/` put other servers under the same load: [`bench`] is open for
//! them, and nothing else is. Programs that publish and subscribe use `oyez-client`.

mod answers;
pub mod bench;
mod duration;
mod failure;
mod input;
mod interrupt;
mod manual;
mod outage;
mod output;
mod progress;
mod publish;
mod reader;
mod say;
mod stats;
mod subscribe;
mod top;
mod topic;
mod topics;

use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{CommandFactory, Parser, Subcommand};
use oyez_client::{Client, ConnectOptions};

pub use crate::failure::Failure;
use crate::outage::Outage;
use crate::say::say;

const EXAMPLES: &str = "\
Examples:
  oyez sub demo                          print messages as they come
  oyez pub demo 'hello'                  publish one message
  tail -f app.log | oyez pub -l logs     publish every line
  oyez sub logs --from earliest --count 10 -o json
  oyez topics                            what the broker keeps
  oyez top                               the broker at work
  oyez bench fanout --subscribers 10000  how fast a record reaches ten thousand subscribers

Exit codes:
  0 done   1 failed   2 usage   3 cannot connect   4 refused by the broker   5 timeout
  130, 143  publishing was ended by SIGINT or SIGTERM";

/// Publish to, subscribe to and look at an Oyez broker.
#[derive(Debug, Parser)]
#[command(name = "oyez", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

/// What every command is told: which broker, and how much to say.
#[derive(Debug, clap::Args)]
pub struct GlobalOptions {
    /// The broker: host, host:port or oyez://host:port
    #[arg(
        long,
        global = true,
        env = "OYEZ_SERVER",
        value_name = "ADDR",
        default_value = "127.0.0.1:7450"
    )]
    server: String,

    /// Longest time for a connection to stand and be welcomed
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    connect_timeout: Duration,

    /// Say more on standard error
    #[arg(short, long, global = true)]
    verbose: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish messages to a topic
    Pub(publish::Arguments),
    /// Print the messages of a topic
    Sub(subscribe::Arguments),
    /// Show the broker's counters
    Stats(stats::Arguments),
    /// Watch the broker at work
    Top(top::Arguments),
    /// List the topics that the broker keeps
    Topics(topics::Arguments),
    /// Put a broker under load and measure it
    Bench(bench::Arguments),
    /// Print completions for a shell
    Completions(manual::Completions),
    /// Print the manual page, or write one for each command
    Man(manual::Pages),
}

impl GlobalOptions {
    /// A client that asks questions.
    fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(self.options())
    }

    fn connect_with(&self, options: ConnectOptions) -> Result<Client, Failure> {
        Ok(Client::connect_with(&self.server, options)?)
    }

    /// How every command connects.
    fn options(&self) -> ConnectOptions {
        let (outage, began) = (Mutex::new(Outage::default()), Instant::now());
        ConnectOptions::new()
            .name(concat!("oyez ", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect_timeout)
            .on_event(move |event| {
                let mut outage = outage.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(text) = outage.meet(event, began.elapsed()) {
                    say(&text);
                }
            })
    }
}

/// Runs the program with the arguments of the process.
#[must_use]
pub fn run() -> ExitCode {
    let Arguments { global, command } = Arguments::parse();
    let done = match command {
        Command::Pub(arguments) => publish::run(&global, &arguments),
        Command::Sub(arguments) => subscribe::run(&global, &arguments),
        Command::Stats(arguments) => stats::run(&global, &arguments),
        Command::Top(arguments) => top::run(&global, &arguments),
        Command::Topics(arguments) => topics::run(&global, &arguments),
        Command::Bench(arguments) => arguments.run(&global),
        Command::Completions(arguments) => manual::complete(Arguments::command(), &arguments),
        Command::Man(arguments) => manual::explain(Arguments::command(), &arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report("oyez"),
    }
}
