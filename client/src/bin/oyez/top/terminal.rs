//! The terminal while a screen is shown on it: the alternate screen, and the way back.

use std::io::{self, Write};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Alternate screen, no cursor, and lines that are too long are cut: broken ones would push the screen up.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
/// Clears what an earlier, longer line has left.
const END_OF_LINE: &str = "\x1b[K\n";
/// Clears the lines below.
const END_OF_SCREEN: &str = "\x1b[J";

/// Gives the terminal back when it is dropped.
pub(super) struct Terminal;

impl Terminal {
    /// Takes the terminal. A signal gives it back and ends the process: nothing is left to do then, and the broker may
    /// be out of reach.
    pub(super) fn take() -> Result<Self, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::io("cannot wait for signals", &error))?;
        write(ENTER)?;
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                // Held until the end, so that nothing is drawn any more.
                let mut output = io::stdout().lock();
                let _gone = output
                    .write_all(LEAVE.as_bytes())
                    .and_then(|()| output.flush());
                std::process::exit(0);
            }
        });
        Ok(Self)
    }

    /// Replaces what is shown.
    pub(super) fn show(&self, screen: &str) -> Result<(), Failure> {
        write(&redrawn(screen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _gone = write(LEAVE);
    }
}

fn redrawn(screen: &str) -> String {
    let lines: String = screen
        .lines()
        .map(|line| [line, END_OF_LINE].concat())
        .collect();
    [HOME, &lines, END_OF_SCREEN].concat()
}

fn write(text: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .map_err(|error| Failure::output(&error))
}

#[cfg(test)]
mod tests {
    use super::redrawn;

    #[test]
    fn a_redrawn_screen_leaves_nothing_of_the_one_before() {
        assert_eq!(redrawn("a\nb\n"), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
    }
}
