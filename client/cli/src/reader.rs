//! The reader of standard output: whether it is still there, while nothing is written to it.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::failure::Failure;

/// Waits until the reader has left, at most for `at_most`. Returns whether it has. Output that nobody can leave, such as
/// a file, has its reader for ever.
pub(crate) fn leaves(at_most: Option<Duration>) -> Result<bool, Failure> {
    let (output, began) = (io::stdout(), Instant::now());
    loop {
        let left = at_most.map(|at_most| at_most.saturating_sub(began.elapsed()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        // Errors and the end are told without being asked for.
        let mut polled = [PollFd::new(&output, PollFlags::empty())];
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(Failure::io("cannot watch standard output", &error.into())),
            Ok(found) => return Ok(found > 0),
        }
    }
}

/// Lets so much time pass, unless the reader leaves.
///
/// # Errors
/// [`Failure::ReaderGone`].
pub(crate) fn pass_time(time: Duration) -> Result<(), Failure> {
    if leaves(Some(time))? {
        return Err(Failure::ReaderGone);
    }
    Ok(())
}
