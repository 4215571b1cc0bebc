//! Private descriptor tables.
//!
//! A thread that calls [`unshare`] gets a copy of the process's descriptor table: its own descriptors cost no lock on
//! a shared table and count against `RLIMIT_NOFILE` on their own. A number then means a different file in each
//! thread, so nothing that holds a descriptor may travel between threads afterwards; only numbers that were the same
//! in all tables when they were copied, and are never closed, may be used from everywhere ([`crate::waker`]).
//!
//! Where a sandbox refuses that ([`probe`]), all threads share the process's table: then nothing else here is called, each number
//! means one file, and the limit counts once.

use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::check;

/// Descriptors that stay open in every table: stdin, stdout, stderr.
const STANDARD: [RawFd; 3] = [0, 1, 2];

/// Tries whether threads can have tables of their own, in a thread that ends at once.
///
/// # Errors
/// Why they cannot: [`unshare`] would fail with the same error.
pub fn probe() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("probe".to_owned());
    let tried = thread.spawn(|| unshare(&[]))?;
    tried
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the probe panicked")))
}

/// Gives the calling thread a descriptor table of its own and closes in it everything but the standard streams and
/// `keep`.
///
/// # Errors
/// When the kernel, or a sandbox, refuses a table, or to close the descriptors in it.
pub fn unshare(keep: &[RawFd]) -> io::Result<()> {
    // SAFETY: unshare takes no pointers; CLONE_FILES only replaces this thread's descriptor table by a copy.
    check(unsafe { libc::unshare(libc::CLONE_FILES) })?;
    let mut kept: Vec<RawFd> = STANDARD.iter().chain(keep).copied().collect();
    kept.sort_unstable();
    kept.dedup();
    // Sandboxes that are older than close_range refuse it.
    close_ranges(&kept).or_else(|error| close_listed(&kept).map_err(|_| error))
}

/// Takes ownership of the descriptor `number` in the calling thread's own table, which [`unshare`] was told to keep. To be called
/// once for each number.
///
/// # Errors
/// When the table holds nothing under that number.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes no pointers with this command, and fails if the number is no descriptor.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: the table is this thread's own, so the owner that the number has in the table that it was copied from is
    // not touched; in this one it has none yet, as the caller ensures.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes all descriptors but `kept`, which is sorted.
fn close_ranges(kept: &[RawFd]) -> io::Result<()> {
    for pair in kept.windows(2) {
        close_between(pair[0] + 1, pair[1] - 1)?;
    }
    let last = *kept.last().unwrap_or(&-1);
    close_between(last + 1, RawFd::MAX)
}

fn close_between(first: RawFd, last: RawFd) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: the calling thread has just got a table that no other thread uses, and no object of this thread owns a
    // descriptor yet, so that no owner is left with a number that means something else.
    check(unsafe { libc::close_range(first.cast_unsigned(), last.cast_unsigned(), 0) })?;
    Ok(())
}

/// Closes, one by one, the descriptors that the kernel lists for this thread, but for `kept`.
fn close_listed(kept: &[RawFd]) -> io::Result<()> {
    let entries = fs::read_dir("/proc/thread-self/fd")?;
    let numbers = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().parse().ok()));
    let numbers: Vec<Option<RawFd>> = numbers.collect::<io::Result<_>>()?;
    for number in numbers.into_iter().flatten() {
        if kept.binary_search(&number).is_err() {
            // SAFETY: as in `close_between`. The listing's own descriptor is closed by now; closing it again fails, as
            // no other thread could have put something into this table.
            unsafe { libc::close(number) };
        }
    }
    Ok(())
}

/// A second descriptor for the file that is open under `number`.
///
/// # Errors
/// When no file is, or no descriptor is left.
pub fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes no pointers with this command.
    let own = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: the descriptor is fresh and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(own) })
}

/// Raises the soft limit to the hard one, and returns how many descriptors one table may hold. Where a sandbox refuses to raise
/// it, that is the soft limit.
#[must_use]
pub fn limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        limit = raised;
    }
    let most = limit.current.unwrap_or(u64::MAX);
    usize::try_from(most).unwrap_or(usize::MAX)
}
