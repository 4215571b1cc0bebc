//! Waking another thread's poll across private descriptor tables: an eventfd made before the tables part, so that its
//! number means the same in all of them, and open for the life of the process.

use std::io;
use std::os::fd::RawFd;

use super::{check, check_count};

/// The number of an eventfd. Copying it copies the number.
#[derive(Clone, Copy, Debug)]
pub struct Bell {
    fd: RawFd,
}

impl Bell {
    /// Makes one. Must be called before the threads that use it part from this table, and be among what they keep. It is never
    /// closed: another thread's table may still be using its number.
    ///
    /// # Errors
    /// When the table is full.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        Ok(Self { fd })
    }

    /// Its number, for a poll.
    #[must_use]
    pub const fn fd(self) -> RawFd {
        self.fd
    }

    /// Makes the poll that watches it return. Never blocks: a counter that is full wakes just as well.
    pub fn ring(self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight readable bytes, and the number is an eventfd in this thread's table (see `new`).
        let _pending = unsafe { libc::write(self.fd, one.as_ptr().cast(), one.len()) };
    }

    /// Takes the pending rings, so that the next one is news again.
    pub fn hush(self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight writable bytes; an empty counter fails with EAGAIN, which is fine.
        let _none =
            check_count(unsafe { libc::read(self.fd, count.as_mut_ptr().cast(), count.len()) });
    }
}
