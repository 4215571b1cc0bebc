//! Shows a progress bar on standard error, when that is a terminal and reading the input takes long.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Input that takes longer than this is long.
const SHOWN_AFTER: Duration = Duration::from_secs(1);
/// Messages between two reads of the clock.
const STRIDE: u64 = 256;

/// Counts what was read so far.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    shown: bool,
    started: Instant,
    messages: u64,
    bytes: u64,
}

impl Progress {
    /// `size` is the size of the whole input in bytes, where it is known.
    pub(crate) fn new(size: Option<u64>) -> Self {
        let hidden = ProgressDrawTarget::hidden();
        let bar = io::stderr()
            .is_terminal()
            .then(|| ProgressBar::with_draw_target(size, hidden).with_style(style(size)));
        Self {
            bar,
            shown: false,
            started: Instant::now(),
            messages: 0,
            bytes: 0,
        }
    }

    /// Counts another message, which took `bytes` bytes of the input.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
        let Some(bar) = self
            .bar
            .as_ref()
            .filter(|_| self.messages.is_multiple_of(STRIDE))
        else {
            return;
        };
        if !self.shown && self.started.elapsed() >= SHOWN_AFTER {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        bar.set_message(format!("{} messages", self.messages));
        bar.set_position(self.bytes);
    }
}

impl Drop for Progress {
    /// Removes the bar.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(size: Option<u64>) -> ProgressStyle {
    let template = if size.is_some() {
        "{wide_bar} {percent:>3} %  {bytes_per_sec}  {eta} left"
    } else {
        "{spinner} {bytes}  {bytes_per_sec}  {msg}"
    };
    ProgressStyle::with_template(template).expect("the templates above are well formed")
}

#[cfg(test)]
mod tests {
    use super::style;

    #[test]
    fn both_templates_are_well_formed() {
        let _bar = (style(None), style(Some(1)));
    }
}
