//! The program `oyez`.

use std::process::ExitCode;

fn main() -> ExitCode {
    oyez_cli::run()
}
