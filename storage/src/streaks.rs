//! What fails and is tried again: told once when it begins to fail, counted for as long as it does, and told again when
//! it works. Nothing is tried again in silence.

use std::io;

use oyez_protocol::LogId;

use crate::place::Progress;
use crate::trouble::{Attempt, Mended, Trouble};

#[derive(Debug)]
struct Streak {
    attempt: Attempt,
    kind: io::ErrorKind,
    number: Option<i32>,
    failures: u64,
}

/// The failures in a row of one log, or of a store.
#[derive(Debug, Default)]
pub(crate) struct Streaks {
    failing: Vec<Streak>,
    // What the next turn tells.
    begun: Vec<(Attempt, io::Error)>,
    mended: Vec<(Attempt, u64)>,
    failures: u64,
}

impl Streaks {
    pub(crate) fn failed(&mut self, attempt: Attempt, error: io::Error) {
        self.failures += 1;
        let (kind, number) = (error.kind(), error.raw_os_error());
        let mut failing = self.failing.iter_mut();
        match failing.find(|streak| streak.attempt == attempt) {
            Some(streak) => {
                streak.failures += 1;
                if (streak.kind, streak.number) == (kind, number) {
                    return;
                }
                (streak.kind, streak.number) = (kind, number);
            }
            None => self.failing.push(Streak {
                attempt,
                kind,
                number,
                failures: 1,
            }),
        }
        self.begun.push((attempt, error));
    }

    pub(crate) fn worked(&mut self, attempt: Attempt) {
        let of_attempt = |streak: &Streak| streak.attempt == attempt;
        if let Some(at) = self.failing.iter().position(of_attempt) {
            let streak = self.failing.swap_remove(at);
            self.mended.push((attempt, streak.failures));
        }
    }

    pub(crate) fn fails(&self, attempt: Attempt) -> bool {
        self.failing.iter().any(|streak| streak.attempt == attempt)
    }

    /// How many things fail now.
    pub(crate) fn failing(&self) -> usize {
        self.failing.len()
    }

    pub(crate) fn tell(&mut self, log: Option<LogId>, progress: &mut Progress) {
        if self.failures == 0 && self.mended.is_empty() {
            return;
        }
        progress.failures += std::mem::take(&mut self.failures);
        let begun = self.begun.drain(..);
        progress
            .trouble
            .extend(begun.map(|(attempt, error)| Trouble {
                log,
                attempt,
                error,
            }));
        let mended = self.mended.drain(..);
        progress
            .mended
            .extend(mended.map(|(attempt, failures)| Mended {
                log,
                attempt,
                failures,
            }));
    }
}
