//! Ending the poll of another thread, across private descriptor tables: an `eventfd` made before the tables part
//! ([`crate::fdtable`]), so that its number means the same in all of them, and kept open for the life of the process.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::{EventfdFlags, eventfd};

/// The number of an `eventfd`. Copying it copies the number.
#[derive(Clone, Copy, Debug)]
pub struct Waker {
    fd: BorrowedFd<'static>,
}

impl Waker {
    /// To be called before any thread that uses it parts from this table, and to be among what each of them keeps. The
    /// descriptor is never closed: another thread's table may still be using its number.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        let kept: &'static OwnedFd = Box::leak(Box::new(fd));
        Ok(Self { fd: kept.as_fd() })
    }

    /// The number to poll, for readiness to be read.
    #[must_use]
    pub fn fd(self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Makes the poll return that watches it. Never blocks: a counter that is full wakes just as well.
    pub fn wake(self) {
        // The only possible failure is a full counter, which means that the wake-up is already pending.
        let _ = rustix::io::write(self.fd, &1u64.to_ne_bytes());
    }

    /// Takes the pending wake-ups, so that the next one is news again.
    pub fn drain(self) {
        // Nothing pending fails with EAGAIN, which is fine.
        let _ = rustix::io::read(self.fd, &mut [0u8; 8]);
    }
}
