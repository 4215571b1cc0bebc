//! Ends the poll of another thread, across private descriptor tables: an `eventfd` that is made before the tables are copied
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
    /// Makes an `eventfd`. To be called before any thread that uses it leaves this table; each of them has to keep its number.
    /// The descriptor is never closed, since another thread's table may still use its number.
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

    /// Makes the poll that watches it return. Never blocks: a full counter wakes as well.
    pub fn wake(self) {
        // The only possible failure is a full counter, which means that the wake-up is already pending.
        let _ = rustix::io::write(self.fd, &1u64.to_ne_bytes());
    }

    /// Takes the pending wake-ups, so that the next one ends a poll again.
    pub fn drain(self) {
        // Without a pending wake-up this fails with EAGAIN, which is fine.
        let _ = rustix::io::read(self.fd, &mut [0u8; 8]);
    }
}
