//! Linux system calls that more than one of Oyez's crates needs: the broker, its doctor, the load generator, the tests.
//!
//! One file is one mechanism of the kernel with its contract. Calls that `rustix` has in a safe form are used from there; the
//! rest go through `libc`. Only safe types leave this crate, and it knows nothing of brokers. Calls that only one crate needs
//! stay in that crate's own `sys`.
//!
//! - [`fdtable`]: descriptor tables of single threads, and how many descriptors one may hold
//! - [`waker`]: ending another thread's poll; [`timer`]: ending one's own poll, to the microsecond
//! - [`socket`]: connecting from a chosen address, sharing a port, sending without blocking
//! - [`signals`]: threads that take no signals
//! - [`cpu`]: cores, staying on one, time spent on it; [`latency`]: how deep idle cores sleep
//! - [`host`]: the kernel's log, room on a file system
#![expect(
    unsafe_code,
    reason = "system calls that neither std nor rustix has in a safe form: unshare, close_range, sigmask, klogctl, sched_setattr"
)]
#![deny(missing_docs)]

pub mod cpu;
pub mod fdtable;
pub mod host;
pub mod latency;
pub mod signals;
pub mod socket;
pub mod timer;
pub mod waker;

use std::io;

/// Turns the `-1` of a system call into its error.
fn check(result: i32) -> io::Result<i32> {
    match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
