//! What the program prints, and what comes of it when that fails.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::FAILED;

/// Prints `text` on stdout.
pub(super) fn print(text: &[u8]) -> ExitCode {
    let mut stdout = io::stdout().lock();
    printed(stdout.write_all(text).and_then(|()| stdout.flush()))
}

/// The exit status of what was printed. A reader that has left wants no more, which is nobody's fault.
pub(super) fn printed(result: io::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => fail(
            FAILED,
            &format_args!("cannot write to standard output: {error}"),
        ),
    }
}

/// Tells why the program ends, and gives its exit status.
pub(super) fn fail(code: u8, error: &dyn Display) -> ExitCode {
    note(&format_args!("oyez-server: {error}"));
    ExitCode::from(code)
}

/// A line on stderr; where that cannot be written, there is nobody to tell.
pub(super) fn note(line: &dyn Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Ends for what the command line was refused for, or for the help that it asks for.
pub(super) fn end_with(error: &clap::Error) -> ExitCode {
    let text = error.render();
    if error.use_stderr() {
        let _ = match io::stderr().is_terminal() {
            true => write!(io::stderr(), "{}", text.ansi()),
            false => write!(io::stderr(), "{text}"),
        };
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(FAILED));
    }
    let text = match io::stdout().is_terminal() {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    print(text.as_bytes())
}
