//! The program `oyez`: publish to, subscribe to and look at an Oyez broker from the command line.
//!
//! Standard output carries the result of a command and nothing else; progress, notes and errors go to standard error.
//!
//! It is a library so that the comparisons in `benches/` can put other servers under the same load: only [`bench`] is
//! public, for them. Programs that publish and subscribe use `oyez-client`.

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
  oyez topics                            the topics that the broker keeps
  oyez top                               the broker's rates, live
  oyez bench fanout --subscribers 10000  how fast all of them get a record

Exit codes:
  0 done   1 failed   2 wrong usage   3 cannot connect   4 refused   5 timeout
  130, 143  SIGINT or SIGTERM ended `oyez pub`";

/// Publish to, subscribe to and look at an Oyez broker.
#[derive(Debug, Parser)]
#[command(name = "oyez", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command: which broker to connect to, and how much to print.
#[derive(Debug, clap::Args)]
pub struct GlobalOptions {
    /// Address of the broker: host, host:port or oyez://host:port
    #[arg(
        long,
        global = true,
        env = "OYEZ_SERVER",
        value_name = "ADDR",
        default_value = "127.0.0.1:7450"
    )]
    server: String,

    /// Longest time to wait for a connection and the broker's welcome
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse, default_value = "10s")]
    connect_timeout: Duration,

    /// Print more on standard error
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
    /// Show the broker's rates and counters, refreshed every second
    Top(top::Arguments),
    /// List the topics that the broker keeps
    Topics(topics::Arguments),
    /// Put a broker under load and measure it
    Bench(bench::Arguments),
    /// Print a completion script for a shell
    Completions(manual::Completions),
    /// Print the manual page, or write a page for each command
    Man(manual::Pages),
}

impl GlobalOptions {
    /// Connects a client that asks questions.
    fn connect(&self) -> Result<Client, Failure> {
        self.connect_with(self.options())
    }

    fn connect_with(&self, options: ConnectOptions) -> Result<Client, Failure> {
        Ok(Client::connect_with(&self.server, options)?)
    }

    /// The options with which every command connects.
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
