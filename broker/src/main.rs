//! `oyez-server`: the broker as a program.

mod cli;
mod stop;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
