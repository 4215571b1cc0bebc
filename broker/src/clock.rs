//! Time as an argument: the shard reads a clock once per turn, and passes the time to everything else.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use oyez_storage::Moment;

/// Length of a tick in milliseconds: a slot of the timer wheels, and the resolution of the times that sessions remember.
pub(crate) const TICK_MS: u64 = 256;

/// The time at the start of a turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds since some fixed point of this process; never goes back.
    pub monotonic_ms: u64,
    /// Microseconds since the same point, to measure durations. The only decision made by it is whether cores may sleep.
    pub monotonic_us: u64,
    /// Milliseconds since the Unix epoch; may jump.
    pub wall_ms: u64,
}

impl From<Now> for Moment {
    fn from(now: Now) -> Self {
        Self {
            monotonic_ms: now.monotonic_ms,
            monotonic_us: now.monotonic_us,
            wall_ms: now.wall_ms,
        }
    }
}

/// Where a shard gets the time from.
pub(crate) trait Clock: Send {
    /// Reads the clock.
    fn now(&mut self) -> Now;

    /// [`Now::monotonic_us`] at this moment.
    fn elapsed_us(&mut self) -> u64;

    /// Microseconds of processor time that the calling thread has used.
    fn thread_cpu_us(&mut self) -> u64;
}

/// Where monotonic time begins: one point for all threads, since stores that share an arena share their time.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The machine's clocks.
#[derive(Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&mut self) -> Now {
        let milliseconds = |duration: std::time::Duration| {
            u64::try_from(duration.as_millis()).expect("584 million years fit")
        };
        let monotonic_us = self.elapsed_us();
        Now {
            monotonic_ms: monotonic_us / 1000,
            monotonic_us,
            // A clock set before 1970 counts as 1970.
            wall_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, milliseconds),
        }
    }

    fn elapsed_us(&mut self) -> u64 {
        u64::try_from(STARTED.elapsed().as_micros()).expect("half a million years fit")
    }

    fn thread_cpu_us(&mut self) -> u64 {
        oyez_sys::cpu::thread_us()
    }
}
