//! Keeps signals from the shards' threads.
//!
//! A handler that was installed with descriptors of the process's table would, on a shard's thread, use their numbers in the
//! shard's private table, where they name other files or none. So the shards, and every thread that they start, take no signals;
//! the other threads do.

use std::io;

/// Signals for a fault of the thread itself: another thread cannot take them.
const FAULTS: [i32; 5] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGTRAP,
];

/// Blocks all signals but faults for the calling thread and those that it will start.
///
/// # Errors
/// The kernel's error; no case is known in which it refuses.
pub fn block() -> io::Result<()> {
    // SAFETY: sigset_t is an array of integers, for which all zeros is a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is a valid sigset_t.
    unsafe { libc::sigfillset(&raw mut set) };
    for fault in FAULTS {
        // SAFETY: `set` is a valid sigset_t and the number is a signal's.
        unsafe { libc::sigdelset(&raw mut set, fault) };
    }
    // SAFETY: `set` is a valid sigset_t; the old mask is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
