//! Watches whether the reader of standard output is still there while nothing is written to it.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::Failure;

/// Waits until the reader has left, at most for `at_most`. Returns whether it has. A file never loses its reader.
pub(crate) fn leaves(at_most: Option<Duration>) -> Result<bool, Failure> {
    let (output, began) = (io::stdout(), Instant::now());
    loop {
        let left = at_most.map(|at_most| at_most.saturating_sub(began.elapsed()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        // `poll` always reports errors and hang-ups, without being asked for them.
        let mut polled = [PollFd::new(&output, PollFlags::empty())];
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::io("cannot watch standard output", &error.into())),
            Ok(found) => return Ok(found > 0),
        }
    }
}

/// Sleeps for this time, unless the reader leaves.
///
/// # Errors
/// [`Failure::ReaderGone`].
pub(crate) fn pass_time(time: Duration) -> Result<(), Failure> {
    if leaves(Some(time))? {
        return Err(Failure::ReaderGone);
    }
    Ok(())
}
