//! What happened, a line each: printed when somebody wants to read it, and always summed up, so that two runs can be
//! compared.

use std::fmt::{self, Write};

/// The story of a run.
#[derive(Debug)]
pub(super) struct Trace {
    prints: bool,
    line: String,
    hash: u64,
    /// The last lines, which explain a failure.
    last: Vec<String>,
    next: usize,
}

/// Column in which it is told who it was.
const WHO_ENDS: usize = 26;
/// Lines that are kept.
const KEPT: usize = 40;

impl Trace {
    pub(super) fn new(prints: bool) -> Self {
        Self {
            prints,
            line: String::new(),
            hash: 0xcbf2_9ce4_8422_2325,
            last: vec![String::new(); KEPT],
            next: 0,
        }
    }

    /// Tells of something that happened at a time, to somebody.
    pub(super) fn tell(&mut self, now_ms: u64, who: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
        self.line.clear();
        let (seconds, ms) = (now_ms / 1_000, now_ms % 1_000);
        // A width says nothing to arguments of a format: the column is filled by hand.
        let begin = self.line.len();
        write!(self.line, "{seconds:>6}.{ms:03}  {who}").expect("a string takes everything");
        while self.line.len() < begin + WHO_ENDS {
            self.line.push(' ');
        }
        write!(self.line, " {what}").expect("a string takes everything");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.prints {
            println!("{}", self.line);
        }
        let kept = &mut self.last[self.next];
        kept.clear();
        kept.push_str(&self.line);
        self.next = (self.next + 1) % KEPT;
    }

    /// Stands for everything told so far.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines, oldest first.
    pub(super) fn last(&self) -> Vec<String> {
        let (newer, older) = self.last.split_at(self.next);
        let lines = older.iter().chain(newer);
        lines.filter(|line| !line.is_empty()).cloned().collect()
    }
}
