//! Waking a shard from another thread: one eventfd per shard, made before the descriptor tables part, so that its
//! number means the same in all of them, and kept open for the life of the process.

use std::io;
use std::os::fd::RawFd;

use super::{check, check_count};

/// The number of a shard's eventfd. Copying it copies the number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waker {
    fd: RawFd,
}

impl Waker {
    /// Must be called before any shard has unshared its table. The descriptor is never closed: another thread's table
    /// may still be using its number.
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(Self { fd })
    }

    pub(crate) const fn fd(self) -> RawFd {
        self.fd
    }

    /// Makes the shard's poll return. Never blocks: a counter that is full wakes just as well.
    pub(crate) fn wake(self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight readable bytes, and the number is an eventfd in this thread's table (see `new`).
        // The only possible failure is a full counter, which means that the wake-up is already pending.
        let _ = unsafe { libc::write(self.fd, one.as_ptr().cast(), one.len()) };
    }

    /// Takes the pending wake-ups, so that the next one is news again.
    pub(crate) fn drain(self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight writable bytes; an empty counter fails with EAGAIN, which is fine.
        let _ = check_count(unsafe { libc::read(self.fd, count.as_mut_ptr().cast(), count.len()) });
    }
}
