//! Bounds the lines of log that clients can cause as often as they like. A few lines of each kind are written in [`SPAN_MS`]; the
//! others are counted, and their number is written when that time is over.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;

use tracing::warn;

use crate::config::Config;
use crate::parts::due::Due;

/// Time over which lines of a kind are counted together, in milliseconds.
const SPAN_MS: u64 = 10_000;
/// Lines of one kind that a shard logs in that time.
const LINES_MAX: u32 = 10;

/// The kinds of lines that are bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogEvent {
    /// A connection is refused, since the broker has as many as it may.
    Full,
    /// A session is told to go for what it has done.
    Refused,
    /// A connection cannot be accepted.
    NotAccepted,
    /// A range of a log cannot be read for a subscriber.
    Unreadable,
}

impl LogEvent {
    const ALL: [Self; 4] = [
        Self::Full,
        Self::Refused,
        Self::NotAccepted,
        Self::Unreadable,
    ];

    /// Lines of this kind that are logged before the others are only counted.
    const fn max(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::Refused | Self::NotAccepted | Self::Unreadable => LINES_MAX,
        }
    }
}

/// The state of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// When the time began over which lines are counted together, in milliseconds; `None` while there is none to count.
    since_ms: Option<u64>,
    lines: u32,
    held_back: u64,
    /// The peer that has caused the last line that was held back.
    last: Option<SocketAddr>,
}

/// The line that says how many lines of a kind were held back.
struct Summary<'a> {
    line: LogEvent,
    told: Told,
    config: &'a Config,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, seconds) = (self.told.held_back, SPAN_MS / 1_000);
        match self.line {
            LogEvent::Full => {
                let max = self.config.max_connections;
                write!(
                    out,
                    "refused {count} connections in the last {seconds} s: full (max_connections={max})"
                )?;
            }
            LogEvent::Refused => {
                write!(out, "refused {count} more sessions in the last {seconds} s")?;
            }
            LogEvent::NotAccepted => write!(
                out,
                "connections could not be accepted {count} more times in the last {seconds} s"
            )?,
            LogEvent::Unreadable => write!(
                out,
                "ranges of logs could not be read {count} more times in the last {seconds} s"
            )?,
        }
        match self.told.last {
            Some(peer) => write!(out, "; last from {peer}"),
            None => Ok(()),
        }
    }
}

/// The bounded kinds of lines of one shard.
#[derive(Debug)]
pub(crate) struct LogLimits {
    told: RefCell<[Told; LogEvent::ALL.len()]>,
    /// When the first kind's time is over, in milliseconds.
    due_ms: Cell<u64>,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            told: RefCell::default(),
            due_ms: Cell::new(u64::MAX),
        }
    }
}

impl LogLimits {
    /// Returns whether a line that `peer` has caused may be written now. A line that may not is counted.
    pub(crate) fn may_tell(&self, line: LogEvent, peer: Option<SocketAddr>, now_ms: u64) -> bool {
        let told = &mut self.told.borrow_mut()[line as usize];
        if told.since_ms.is_none() {
            told.since_ms = Some(now_ms);
            self.due_ms.set(self.due_ms.get().min(now_ms + SPAN_MS));
        }
        if told.lines < line.max() {
            told.lines += 1;
            return true;
        }
        told.held_back += 1;
        told.last = peer.or(told.last);
        false
    }

    pub(crate) fn due(&self) -> Due {
        match self.due_ms.get() {
            u64::MAX => Due::Idle,
            due_ms => Due::At(due_ms),
        }
    }

    /// Writes how many lines were held back, for the kinds whose time is over.
    pub(crate) fn tell_held_back(&self, shard: usize, config: &Config, now_ms: u64) {
        if now_ms < self.due_ms.get() {
            return;
        }
        for (line, told) in self.take_over(now_ms) {
            let summary = Summary { line, told, config };
            warn!(shard, "{summary}");
        }
    }

    /// Takes what was held back, for the kinds whose time is over. Where lines were, the next time begins now: as long as more
    /// come, only sums are written.
    fn take_over(&self, now_ms: u64) -> Vec<(LogEvent, Told)> {
        let (mut over, mut due_ms) = (Vec::new(), u64::MAX);
        let mut all = self.told.borrow_mut();
        for (line, told) in LogEvent::ALL.into_iter().zip(&mut *all) {
            let Some(since_ms) = told.since_ms else {
                continue;
            };
            if now_ms < since_ms + SPAN_MS {
                due_ms = due_ms.min(since_ms + SPAN_MS);
            } else if told.held_back == 0 {
                *told = Told::default();
            } else {
                over.push((line, *told));
                told.since_ms = Some(now_ms);
                (told.held_back, told.lines) = (0, line.max());
                due_ms = due_ms.min(now_ms + SPAN_MS);
            }
        }
        self.due_ms.set(due_ms);
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> Option<SocketAddr> {
        Some(([127, 0, 0, 1], port).into())
    }

    #[test]
    fn so_many_lines_of_a_kind_are_written_and_the_others_are_counted() {
        let limits = LogLimits::default();
        assert_eq!(limits.due(), Due::Idle);
        let told = |line: LogEvent, now_ms| {
            (0..5_000)
                .filter(|_| limits.may_tell(line, peer(7), now_ms))
                .count()
        };
        assert_eq!(told(LogEvent::Refused, 1_000), 10);
        assert_eq!(told(LogEvent::Full, 2_000), 1);
        assert_eq!(limits.due(), Due::At(11_000));
        assert!(limits.take_over(10_999).is_empty());
        let over = limits.take_over(11_000);
        assert_eq!(over.len(), 1);
        assert_eq!((over[0].0, over[0].1.held_back), (LogEvent::Refused, 4_990));
        assert_eq!(limits.due(), Due::At(12_000), "that of the other kind");
    }

    #[test]
    fn as_long_as_lines_are_held_back_only_sums_are_written_and_after_a_pause_lines_again() {
        let limits = LogLimits::default();
        let tell = |now_ms| limits.may_tell(LogEvent::Full, peer(7), now_ms);
        assert!(tell(0) && !tell(1));
        assert_eq!(limits.take_over(10_000).len(), 1);
        assert!(!tell(10_001));
        assert_eq!(limits.take_over(20_000).len(), 1);
        assert!(limits.take_over(30_000).is_empty());
        assert_eq!(limits.due(), Due::Idle);
        assert!(tell(30_001));
    }

    #[test]
    fn a_sum_says_how_many_why_and_which_peer_was_the_last() {
        let config = Config::default();
        let told = Told {
            held_back: 12_345,
            last: peer(7_000),
            ..Told::default()
        };
        let line = LogEvent::Full;
        let said = Summary {
            line,
            told,
            config: &config,
        }
        .to_string();
        let expected = "refused 12345 connections in the last 10 s: full (max_connections=10000); last from 127.0.0.1:7000";
        assert_eq!(said, expected);
    }
}
