//! Private descriptor tables: each thread's connections count against `RLIMIT_NOFILE` on their own, and no lock is
//! shared. A number then means a different file in each thread, so nothing that holds a descriptor may travel between
//! threads afterwards; only bells, which were there before, are the same everywhere.

use std::io;
use std::os::fd::RawFd;

use super::check;

/// Descriptors that stay open in every table: the standard streams.
const STANDARD: [RawFd; 3] = [0, 1, 2];

/// Gives the calling thread a table of its own with nothing in it but the standard streams and `keep`. Where a sandbox
/// refuses that, the thread stays in the table of all, whose limit is met sooner.
pub fn unshare(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: unshare takes no pointers; CLONE_FILES only replaces this thread's descriptor table by a copy.
    match check(unsafe { libc::unshare(libc::CLONE_FILES) }) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
            return Ok(());
        }
        unshared => unshared?,
    };
    let mut kept: Vec<RawFd> = STANDARD.iter().chain(keep).copied().collect();
    kept.sort_unstable();
    kept.dedup();
    for pair in kept.windows(2) {
        close_between(pair[0] + 1, pair[1] - 1)?;
    }
    close_between(kept[kept.len() - 1] + 1, RawFd::MAX)
}

/// Whether threads may have tables of their own: a sandbox may refuse that.
#[must_use]
pub fn can_part() -> bool {
    // SAFETY: unshare takes no pointers; the thread ends with the copy of the table that it has got.
    let parts = || unsafe { libc::unshare(libc::CLONE_FILES) } == 0;
    std::thread::spawn(parts).join().unwrap_or(false)
}

fn close_between(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the calling thread has just got a table that nobody else uses, and no object of this thread owns a
    // descriptor yet, so that no owner is left with a number that means something else.
    check(unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) })?;
    Ok(())
}

/// How many descriptors one table may hold, after raising the soft limit to the hard one.
pub fn limit() -> io::Result<usize> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid rlimit to write to.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit to read from.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}
