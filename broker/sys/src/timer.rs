//! A timer that a poll can wait for, finer than the poll's own milliseconds, so that a paced load does not add the rounding of
//! its clock to its measurements.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// A `timerfd` on the monotonic clock.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// A timer that is not armed.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { fd })
    }

    /// The number to poll, for readiness to be read.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Makes the timer readable once, `after` this much time.
    ///
    /// # Errors
    /// The kernel's error; no case is known in which it refuses.
    pub fn arm(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let value = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &value)?;
        Ok(())
    }

    /// Takes the expiry, so that the next one makes the timer readable again.
    pub fn drain(&self) {
        // Without an expiry this fails with EAGAIN, which is fine.
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    fn expires(timer: &Timer, within_s: i64) -> bool {
        let timeout = Timespec {
            tv_sec: within_s,
            tv_nsec: 0,
        };
        let mut polled = [PollFd::new(&timer.fd, PollFlags::IN)];
        poll(&mut polled, Some(&timeout)).expect("a poll") == 1
    }

    #[test]
    fn a_timer_expires_once_and_is_drained_even_when_armed_with_nothing() {
        let timer = Timer::new().unwrap();
        assert!(!expires(&timer, 0));
        for after in [Duration::ZERO, Duration::from_micros(50)] {
            timer.arm(after).unwrap();
            assert!(expires(&timer, 10));
            timer.drain();
            assert!(!expires(&timer, 0));
        }
        timer.arm(Duration::MAX).unwrap();
        assert!(!expires(&timer, 0));
    }
}
