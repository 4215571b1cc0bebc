//! Controls the terminal while a screen is shown: the alternate screen, keys without Enter, and the restored state
//! after it.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::format::Size;
use crate::failure::Failure;

/// Alternate screen, no cursor, and no line wrap: wrapped lines would push the screen up.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
/// Clears the rest of an earlier, longer line.
const END_OF_LINE: &str = "\x1b[K";
/// Clears the lines below.
const END_OF_SCREEN: &str = "\x1b[J";

/// The terminal; restores its state when dropped.
pub(super) struct Terminal {
    keys: Receiver<u8>,
    before: Option<Termios>,
}

impl Terminal {
    /// Takes the terminal. A signal restores it and ends the process: nothing else is left to do, and the broker may be
    /// out of reach.
    pub(super) fn take() -> Result<Self, Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::io("cannot wait for signals", &error))?;
        let before = unbuffered_keys();
        write(ENTER)?;
        let restored = before.clone();
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                // The lock is kept until the end, so that nothing is drawn any more.
                let mut output = io::stdout().lock();
                let _gone = output
                    .write_all(LEAVE.as_bytes())
                    .and_then(|()| output.flush());
                restore(restored.as_ref());
                std::process::exit(0);
            }
        });
        Ok(Self {
            keys: keys(before.is_some()),
            before,
        })
    }

    /// Returns the size of the terminal.
    pub(super) fn size(&self) -> Size {
        size().unwrap_or(Size::SMALL)
    }

    /// Waits for a key, but not longer than `patience`.
    pub(super) fn key(&self, patience: Duration) -> Option<char> {
        match self.keys.recv_timeout(patience) {
            Ok(byte) => Some(char::from(byte)),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                thread::sleep(patience);
                None
            }
        }
    }

    /// Waits for a key. Returns `None` when none can come any more.
    pub(super) fn next_key(&self) -> Option<char> {
        self.keys.recv().ok().map(char::from)
    }

    /// Replaces what is shown.
    pub(super) fn show(&self, screen: &str) -> Result<(), Failure> {
        write(&redrawn(screen))
    }
}

/// Returns the size of the terminal on standard output, if it is one and states its size.
pub(super) fn size() -> Option<Size> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    let size = Size {
        rows: usize::from(size.ws_row),
        columns: usize::from(size.ws_col),
    };
    (size.rows > 0 && size.columns > 0).then_some(size)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone need not be restored.
        let _gone = write(LEAVE);
        restore(self.before.as_ref());
    }
}

/// Makes keys come without Enter and without echo. Returns the settings before; `None` where standard input is no
/// terminal.
fn unbuffered_keys() -> Option<Termios> {
    let input = io::stdin();
    if !input.is_terminal() {
        return None;
    }
    let before = tcgetattr(&input).ok()?;
    let mut unbuffered = before.clone();
    unbuffered.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    tcsetattr(&input, OptionalActions::Now, &unbuffered).ok()?;
    Some(before)
}

fn restore(before: Option<&Termios>) {
    if let Some(before) = before {
        // A terminal that is gone need not be restored.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Flush, before);
    }
}

/// Reads the keys that are pressed; none come where standard input is no terminal.
fn keys(wanted: bool) -> Receiver<u8> {
    let (struck, keys) = channel();
    if wanted {
        thread::spawn(move || {
            for byte in io::stdin().lock().bytes() {
                let Ok(byte) = byte else { return };
                if struck.send(byte).is_err() {
                    return;
                }
            }
        });
    }
    keys
}

fn redrawn(screen: &str) -> String {
    let lines: Vec<String> = screen
        .lines()
        .map(|line| [line, END_OF_LINE].concat())
        .collect();
    // No line ends after the last one: on the terminal's last line that would push the screen up.
    [HOME, &lines.join("\r\n"), END_OF_SCREEN].concat()
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
        assert_eq!(redrawn("a\nb\n"), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }
}
