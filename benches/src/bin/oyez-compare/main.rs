//! `oyez-compare`: runs the benches of `oyez bench` on other brokers and on a bare kernel loop.
//!
//! The load, the clocks and the figures are those of `oyez bench`. This program adds targets: `floor`, a server
//! that does no more than the kernel has to, and `peer`, other brokers in their own protocols.

mod floor;
mod peer;
mod rivals;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use oyez_cli::{GlobalOptions, bench};

use crate::floor::server;
use crate::rivals::{RivalOptions, Rivals};

const NAME: &str = "oyez-compare";

const EXAMPLES: &str = "\
Examples:
  oyez-compare fanout --subscribers 10000                           the broker, as oyez bench does it
  oyez-compare fanout --subscribers 10000 --target floor            what the bare kernel does here
  oyez-compare fanout --target redis://127.0.0.1:6379
  oyez-compare fanout --target ws://127.0.0.1:8080                  a server of WebSocket that broadcasts
  oyez-compare connect --connections 10000 --target floor           accepted, and no more
  oyez-compare connect --connections 10000 --target floor --answer  read and answered, too
  oyez-compare connect --via sse --target floor                     the same request, the same answer
  oyez-compare idle --connections 10000 --target nats://127.0.0.1:4222
  oyez-compare publish --target floor --sync-file /data/x           a TCP echo, a write and fdatasync
  oyez-compare publish --target redis://127.0.0.1:6379 --durable    XADD; appendfsync always
  oyez-compare publish --target nats://127.0.0.1:4222 --durable     JetStream; sync_interval: always

PUBLISH of other servers keeps nothing. With --durable Redis appends to a stream (XADD, the nearest to
a topic that is kept: numbered, in order, read by many; a batch is one entry with as many fields) and
NATS to a JetStream stream in files, which the bench creates; whether their answer waits for the disk,
is up to their configuration as well. Both want an empty data directory.";

/// Put other brokers, or a bare kernel loop, under the load of `oyez bench`.
#[derive(Debug, Parser)]
#[command(name = NAME, version, after_help = EXAMPLES, max_term_width = 100)]
struct CommandLine {
    #[command(flatten)]
    global: GlobalOptions,
    #[command(flatten)]
    rivals: RivalOptions,
    #[command(flatten)]
    bench: bench::Arguments,
}

fn main() -> ExitCode {
    let mut words = env::args_os();
    let program = words.next().unwrap_or_else(|| OsString::from(NAME));
    let done = if words.next().is_some_and(|word| word == server::COMMAND) {
        server::run(&server::Arguments::parse_from(
            std::iter::once(program).chain(words),
        ))
    } else {
        let CommandLine {
            global,
            rivals,
            bench,
        } = CommandLine::parse();
        bench.run(&Rivals { global, rivals })
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(NAME),
    }
}
