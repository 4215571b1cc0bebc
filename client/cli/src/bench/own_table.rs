//! Threads with descriptor tables of their own, where that is allowed.

use std::io;
use std::os::fd::RawFd;

use oyez_sys::fdtable;
use rustix::io::Errno;

/// Gives the calling thread a descriptor table of its own, with the standard streams and `keep` in it. Where a sandbox
/// refuses that, the thread stays in the process's table, whose limit is met sooner.
///
/// # Errors
/// When the kernel refuses for another reason.
pub fn own_table(keep: &[RawFd]) -> io::Result<()> {
    match fdtable::unshare(keep) {
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::PERM | Errno::NOSYS)
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}
