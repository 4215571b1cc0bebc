//! The processor time of long turns: the length of a turn without the time in which other threads had the core. Reading it is a
//! system call of 0.4 us, so for a turn shorter than a millisecond, in which no other thread had the core for long, its length
//! counts as its processor time.

use crate::clock::Clock;

/// A turn this long is measured, in microseconds.
const LONG_US: u64 = 1_000;
/// After so many short turns the thread's time is read all the same, because the time of their waits adds up.
const SHORT_TURNS_MAX: u32 = 8;

/// The processor time of a shard's turns.
#[derive(Debug, Default)]
pub(crate) struct TurnCpu {
    /// The thread's processor time when it was last read, and the lengths of the turns since.
    read_us: u64,
    short_us: u64,
    /// How many short turns there were since.
    short: u32,
}

impl TurnCpu {
    /// The processor time of the turn that ends after `took_us`, in microseconds, if it was long. It includes the time of the
    /// waits since the last reading.
    pub(crate) fn finish_turn(&mut self, took_us: u64, clock: &mut dyn Clock) -> Option<u64> {
        let is_short = took_us < LONG_US;
        if is_short {
            self.short_us += took_us;
            self.short += 1;
            if self.short < SHORT_TURNS_MAX {
                return None;
            }
        }
        let now_us = clock.thread_cpu_us();
        let used_us = now_us - std::mem::replace(&mut self.read_us, now_us);
        self.short = 0;
        let before_us = std::mem::take(&mut self.short_us);
        (!is_short).then(|| used_us.saturating_sub(before_us).min(took_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;

    /// The clock of a thread that has used so much processor time.
    struct Used(u64);

    impl Clock for Used {
        fn now(&mut self) -> Now {
            Now::default()
        }

        fn elapsed_us(&mut self) -> u64 {
            0
        }

        fn thread_cpu_us(&mut self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_long_turn_counts_what_the_thread_has_used_without_the_short_turns_before_it() {
        let mut cpu = TurnCpu::default();
        assert_eq!(cpu.finish_turn(5_000, &mut Used(10_000)), Some(5_000));
        assert_eq!(cpu.finish_turn(900, &mut Used(0)), None);
        assert_eq!(cpu.finish_turn(600, &mut Used(0)), None);
        assert_eq!(cpu.finish_turn(9_000, &mut Used(13_500)), Some(2_000));
        assert_eq!(cpu.finish_turn(9_000, &mut Used(14_500)), Some(1_000));
        // The waits of many short turns take more than the turns.
        for _ in 0..SHORT_TURNS_MAX {
            assert_eq!(cpu.finish_turn(10, &mut Used(100_000)), None);
        }
        assert_eq!(cpu.finish_turn(90_000, &mut Used(102_000)), Some(2_000));
    }
}
