//! Records when each publication left, and when its last subscriber had it. The board is shared by the threads that
//! publish and those that receive; each place is written once, so plain atomics do.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use oyez_sys::waker::Waker;

use super::spread::Spread;
use super::times::Times;

/// Nanoseconds since the bench began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).expect("no bench runs for centuries")
    }
}

/// One line for each publication, by its number. Publication `p` goes to topic `p % topics`.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) clock: Clock,
    groups: usize,
    /// Messages of each publication.
    batch: u32,
    /// The sum that is compared for the payloads of each.
    sums: Vec<AtomicU32>,
    sent_ns: Vec<AtomicU64>,
    done_ns: Vec<AtomicU64>,
    /// Number of threads with a subscriber that does not have it yet.
    missing: Vec<AtomicU32>,
    done: AtomicUsize,
    /// Rings when a publication has reached all subscribers.
    waker: Waker,
}

impl Board {
    pub(crate) fn new(publications: usize, batch: u32, spread: &Spread, waker: Waker) -> Self {
        let tables = spread.tables_per_group();
        let zeros = || (0..publications).map(|_| AtomicU64::new(0)).collect();
        let missing = |number: usize| AtomicU32::new(tables[number % tables.len()]);
        Self {
            clock: Clock::new(),
            groups: spread.groups(),
            batch,
            sums: (0..publications).map(|_| AtomicU32::new(0)).collect(),
            sent_ns: zeros(),
            done_ns: zeros(),
            missing: (0..publications).map(missing).collect(),
            done: AtomicUsize::new(0),
            waker,
        }
    }

    pub(crate) const fn publications(&self) -> usize {
        self.sent_ns.len()
    }

    pub(crate) const fn batch(&self) -> u32 {
        self.batch
    }

    pub(crate) const fn groups(&self) -> usize {
        self.groups
    }

    pub(crate) const fn waker(&self) -> Waker {
        self.waker
    }

    /// Returns the number of the publication that was the `nth` of a topic.
    pub(crate) const fn publication(&self, group: usize, nth: usize) -> usize {
        nth * self.groups + group
    }

    /// Notes that a publication leaves now, or was due at `at_ns`; `sum` is the sum of its payloads.
    pub(crate) fn sent(&self, number: usize, at_ns: u64, sum: u32) {
        self.sums[number].store(sum, Ordering::Release);
        self.sent_ns[number].store(at_ns, Ordering::Release);
    }

    pub(crate) fn sum(&self, number: usize) -> u32 {
        self.sums[number].load(Ordering::Acquire)
    }

    pub(crate) fn sent_ns(&self, number: usize) -> u64 {
        self.sent_ns[number].load(Ordering::Acquire)
    }

    /// Notes that all subscribers of one more thread have a publication.
    pub(crate) fn thread_done(&self, number: usize, now_ns: u64) {
        if self.missing[number].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done_ns[number].store(now_ns, Ordering::Release);
            self.done.fetch_add(1, Ordering::AcqRel);
            self.waker.wake();
        }
    }

    /// Whether all subscribers have a publication.
    pub(crate) fn is_done(&self, number: usize) -> bool {
        self.done_ns[number].load(Ordering::Acquire) > 0
    }

    /// Number of publications that all subscribers have.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }

    /// When the last publication reached its last subscriber; 0 if none has.
    pub(crate) fn last_done_ns(&self) -> u64 {
        let done = self.done_ns.iter().map(|at| at.load(Ordering::Acquire));
        done.max().unwrap_or(0)
    }

    /// From the first departure to the last arrival, in seconds.
    pub(crate) fn span_s(&self) -> f64 {
        let sent = self.sent_ns.iter().map(|at| at.load(Ordering::Acquire));
        let first = sent.min().unwrap_or(0);
        self.last_done_ns().saturating_sub(first) as f64 / 1e9
    }

    /// How long each publication took to its last subscriber.
    pub(crate) fn last_subscriber(&self) -> Times {
        let mut times = Times::new();
        for (done, sent) in self.done_ns.iter().zip(&self.sent_ns) {
            let (done, sent) = (done.load(Ordering::Acquire), sent.load(Ordering::Acquire));
            if done > 0 {
                times.record_ns(done.saturating_sub(sent));
            }
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_is_done_when_the_last_thread_has_it() {
        let spread = Spread::new(10, 1, 20_000, 2);
        let board = Board::new(2, 1, &spread, Waker::new().unwrap());
        board.sent(0, 100_000, 7);
        board.thread_done(0, 150_000);
        assert!(!board.is_done(0));
        board.thread_done(0, 180_000);
        assert!(board.is_done(0) && !board.is_done(1));
        assert_eq!((board.done(), board.sum(0)), (1, 7));
        let last = board.last_subscriber().summary();
        assert_eq!((last.count, last.max_us), (1, 80));
    }

    #[test]
    fn publications_go_round_the_topics() {
        let spread = Spread::new(10, 5, 20_000, 2);
        let board = Board::new(20, 1, &spread, Waker::new().unwrap());
        assert_eq!(board.publication(3, 0), 3);
        assert_eq!(board.publication(3, 2), 13);
    }
}
