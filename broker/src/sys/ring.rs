//! The same bytes to many sockets in one system call: non-blocking sends staged in an io_uring of the shard's own.
//!
//! What a completion must tell decides the flags, each of them. `MSG_DONTWAIT`: a full socket answers `EAGAIN` at once;
//! without it the kernel would arm a poll and keep the buffers. `MSG_WAITALL`: a short send counts as a failure; without
//! it its completion would be skipped with those of the successes. So everything has been sent or answered when the
//! submission returns, nothing stays in flight, and only sockets that did not take all cost a completion.
//!
//! Sends are never linked, and never staged twice for one socket: within a submission a second one would overtake the
//! rest of a short first.

use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

/// Sends in one submission: enough that entering the kernel does not matter. 24 KiB of slots per shard.
const SENDS_MAX: u32 = 256;
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

struct Staged {
    fd: RawFd,
    tag: u64,
}

/// A ring for sends. Not `Send`: it belongs to the thread that has opened it, and so do the descriptors it is given.
pub(crate) struct SendRing {
    ring: IoUring,
    staged: Vec<Staged>,
    _thread: PhantomData<*const ()>,
}

impl SendRing {
    /// Opens a ring for the calling thread.
    ///
    /// # Errors
    /// When io_uring is forbidden, or older than what this needs (Linux 6.1).
    pub(crate) fn open() -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(SENDS_MAX)
            .build(SENDS_MAX)?;
        Ok(Self {
            ring,
            staged: Vec::with_capacity(SENDS_MAX as usize),
            _thread: PhantomData,
        })
    }

    /// How many sends are staged.
    pub(crate) fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Whether the next thing to do is [`Self::submit`].
    pub(crate) fn is_full(&self) -> bool {
        self.staged.len() >= SENDS_MAX as usize
    }

    /// Stages a send to `stream`, which must stay open, and not be staged again, until [`Self::submit`]. `tag` names it
    /// in the answer.
    pub(crate) fn stage(&mut self, stream: BorrowedFd<'_>, tag: u64) {
        let fd = stream.as_raw_fd();
        self.staged.push(Staged { fd, tag });
    }

    /// Sends all of `parts` to every socket that is staged. `answered` hears of each that did not take all: how much it
    /// took, or why it took nothing; `Interrupted` says that it was not asked. Nothing is staged or in flight afterwards.
    ///
    /// # Errors
    /// When the kernel does not take the submission. The ring is of no use any more.
    pub(crate) fn submit(
        &mut self,
        parts: &[IoSlice<'_>],
        mut answered: impl FnMut(u64, io::Result<usize>),
    ) -> io::Result<()> {
        // SAFETY: msghdr is plain integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // IoSlice is guaranteed to have the layout of iovec; sends only read through it.
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len();
        let mut slots = self.ring.submission();
        for staged in &self.staged {
            let entry = entry(types::Fd(staged.fd), parts, &message)
                .flags(Flags::SKIP_SUCCESS)
                .user_data(staged.tag);
            // SAFETY: the entry points to `message`, `parts` and what these borrow. The kernel reads them while it is in
            // the calls of `enter` below, and not later: sends with MSG_DONTWAIT are over when their submission
            // returns. What it did not consume stays in a ring that is not entered again.
            unsafe { slots.push(&entry) }.expect("no more is staged than there are slots");
        }
        drop(slots);
        let entered = self.enter();
        for completion in self.ring.completion() {
            let answer = match completion.result() {
                error if error < 0 => Err(io::Error::from_raw_os_error(-error)),
                size => Ok(size.unsigned_abs() as usize),
            };
            answered(completion.user_data(), answer);
        }
        let unasked = self.ring.submission().len();
        for staged in &self.staged[self.staged.len() - unasked..] {
            answered(staged.tag, Err(io::ErrorKind::Interrupted.into()));
        }
        self.staged.clear();
        entered
    }

    /// Hands everything in the slots to the kernel.
    fn enter(&mut self) -> io::Result<()> {
        while !self.ring.submission().is_empty() {
            match self.ring.submit() {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// One part needs no message around it, which the kernel would have to read for each socket.
fn entry(fd: types::Fd, parts: &[IoSlice<'_>], message: &libc::msghdr) -> Entry {
    match parts {
        [one] if let Ok(size) = u32::try_from(one.len()) => {
            opcode::Send::new(fd, one.as_ptr(), size)
                .flags(FLAGS)
                .build()
        }
        _ => opcode::SendMsg::new(fd, message)
            .flags(FLAGS.cast_unsigned())
            .build(),
    }
}
