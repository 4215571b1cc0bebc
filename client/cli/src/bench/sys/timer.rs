//! A timer that a poll can wait for, finer than the poll's own milliseconds: a load that is paced must not add the
//! rounding of its clock to what it measures.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{check, check_count};

/// A `timerfd` on the monotonic clock.
#[derive(Debug)]
pub(crate) struct Timer {
    fd: OwnedFd,
}

impl Timer {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_NONBLOCK | libc::TFD_CLOEXEC;
        // SAFETY: timerfd_create takes no pointers; the fresh descriptor has no other owner.
        let fd = unsafe {
            OwnedFd::from_raw_fd(check(libc::timerfd_create(libc::CLOCK_MONOTONIC, flags))?)
        };
        Ok(Self { fd })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Becomes readable once, `after` this much time.
    pub(crate) fn arm(&self, after: Duration) -> io::Result<()> {
        // Zero would disarm it.
        let after = after.max(Duration::from_nanos(1));
        let value = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(after.subsec_nanos().cast_signed()),
            },
        };
        // SAFETY: the descriptor is a timerfd owned by `self`, and `value` is a valid itimerspec.
        check(unsafe {
            libc::timerfd_settime(self.fd(), 0, &raw const value, std::ptr::null_mut())
        })?;
        Ok(())
    }

    /// Takes the expiry, so that the next one is news again.
    pub(crate) fn hush(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight writable bytes; nothing expired fails with EAGAIN, which is fine.
        let _none =
            check_count(unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) });
    }
}
