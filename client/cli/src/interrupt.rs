//! Handles SIGINT and SIGTERM while messages are published: nothing more is read, and what was read is still sent,
//! within [`GRACE`].

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use oyez_client::Client;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;

/// Longest wait for the acknowledgement of what was read. A second signal ends it.
const GRACE: Duration = Duration::from_secs(5);

/// Whether a signal came, and the pipe that then ends the wait for more input.
#[derive(Debug)]
pub(crate) struct Interrupt {
    signal: AtomicI32,
    /// Readable from the first signal on.
    wake: UnixStream,
    waker: UnixStream,
}

impl Interrupt {
    pub(crate) fn new() -> Result<Arc<Self>, Failure> {
        let pair = UnixStream::pair();
        let (wake, waker) = pair.map_err(|error| Failure::io("cannot wait for signals", &error))?;
        Ok(Arc::new(Self {
            signal: AtomicI32::new(0),
            wake,
            waker,
        }))
    }

    /// From now on a signal ends the input instead of the process; and it closes the client when [`GRACE`] is over.
    pub(crate) fn watch(self: &Arc<Self>, client: &Arc<Client>) -> Result<(), Failure> {
        let mut signals = Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Failure::io("cannot wait for signals", &error))?;
        let (interrupt, client) = (Arc::clone(self), Arc::clone(client));
        let (again, second) = channel();
        thread::spawn(move || {
            for signal in signals.forever() {
                if interrupt.signal.swap(signal, Ordering::AcqRel) == 0 {
                    // This process holds the reading end, too.
                    let _woken = (&interrupt.waker).write_all(&[0]);
                }
                if again.send(()).is_err() {
                    return;
                }
            }
        });
        thread::spawn(move || {
            if second.recv().is_err() {
                return;
            }
            match second.recv_timeout(GRACE) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => client.close(),
                Err(RecvTimeoutError::Disconnected) => {}
            }
        });
        Ok(())
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        let signal = self.signal.load(Ordering::Acquire);
        (signal != 0).then_some(signal)
    }
}

/// A file that is read until a signal comes.
#[derive(Debug)]
pub(crate) struct Interruptible<F> {
    pub(crate) file: F,
    pub(crate) interrupt: Arc<Interrupt>,
}

impl<F: Read + std::os::fd::AsFd> Read for Interruptible<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut polled = [
                PollFd::new(&self.interrupt.wake, PollFlags::IN),
                PollFd::new(&self.file, PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if !polled[0].revents().is_empty() => {
                    return Err(io::Error::other("interrupted by a signal"));
                }
                Ok(_) => return self.file.read(buffer),
            }
        }
    }
}
