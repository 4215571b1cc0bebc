//! Sends the same bytes to many sockets in one system call: non-blocking sends staged in an io_uring of the shard's own.
//!
//! Each flag follows from what a completion must say. `MSG_DONTWAIT`: a full socket answers `EAGAIN` at once; without it the
//! kernel would arm a poll and keep the buffers. `MSG_WAITALL`: a short send counts as a failure; without it its completion would
//! be skipped with those of the successes. So everything has been sent or answered when the submission returns, nothing stays in
//! flight, and only sockets that did not take all cost a completion.
//!
//! Descriptors are plain. Registered ones, each put into the ring's table when it is first sent to, made no difference
//! (*processor time of a send of 200 B to 10,000 sockets: 6.30 us registered, 6.32 us plain, 10.45 us by `sendmsg`; each
//! wave of one run sent in another way, both cores busy*), and would have to leave the table before they are closed.
//!
//! Sends are never linked, and never staged twice for one socket: within a submission a second send would overtake the rest of a
//! first one that was cut short.

use std::io::{self, IoSlice};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, opcode, types};

/// Most sends in one submission. 64 cost as little each as 256 did; 10 KiB of slots per shard.
pub(crate) const SENDS_MAX: u32 = 128;
const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;

/// A ring for sends. Not `Send`: it belongs to the thread that has opened it, and so do the descriptors that it gets.
pub(crate) struct SendRing {
    ring: IoUring,
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
        let mut ring = Self {
            ring,
            _thread: PhantomData,
        };
        ring.run_nothing()?;
        Ok(ring)
    }

    /// Runs an operation that does nothing: a sandbox may allow a ring to be made but not used.
    fn run_nothing(&mut self) -> io::Result<()> {
        let nothing = opcode::Nop::new().build().flags(Flags::SKIP_SUCCESS);
        // SAFETY: the operation points to no memory.
        unsafe { self.ring.submission().push(&nothing) }.expect("a new ring has room for one");
        self.enter()
    }

    /// Sends all of `parts` to every socket of `sends`, at most [`SENDS_MAX`] and none of them twice. Calls `answered` for each
    /// socket that did not take all, with its tag and how much it took, or why it took nothing; `Interrupted` means that its send
    /// was not tried. Nothing is in flight afterwards.
    ///
    /// # Errors
    /// When the kernel does not take the submission. The ring is of no use any more.
    pub(crate) fn submit<'a>(
        &mut self,
        sends: impl ExactSizeIterator<Item = (BorrowedFd<'a>, u64)> + Clone,
        parts: &[IoSlice<'_>],
        mut answered: impl FnMut(u64, io::Result<usize>),
    ) -> io::Result<()> {
        #[cfg(test)]
        if super::socket::short::bytes_max() < usize::MAX {
            sends.for_each(|(_, tag)| answered(tag, Err(io::ErrorKind::Interrupted.into())));
            return Ok(());
        }
        // SAFETY: msghdr is plain integers and pointers, for which zero is a value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        // IoSlice is guaranteed to have the layout of iovec; sends only read through it.
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len();
        let mut slots = self.ring.submission();
        for (stream, tag) in sends.clone() {
            let entry = entry(types::Fd(stream.as_raw_fd()), parts, &message)
                .flags(Flags::SKIP_SUCCESS)
                .user_data(tag);
            // SAFETY: the entry points to `message`, `parts` and what these borrow. The kernel reads them while it is in
            // the calls of `enter` below, and not later: sends with MSG_DONTWAIT are over when their submission
            // returns. What it did not consume stays in a ring that is not entered again.
            unsafe { slots.push(&entry) }.expect("there are slots for so many");
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
        let asked = sends.len() - unasked;
        for (_, tag) in sends.skip(asked) {
            answered(tag, Err(io::ErrorKind::Interrupted.into()));
        }
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

/// The entry of a send. A single part needs no message around it, which the kernel would have to read for each socket.
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

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    use super::*;

    /// Submits `parts` to all of `streams`. Returns the answers, with the numbers of their streams.
    fn submit(
        ring: &mut SendRing,
        streams: &[&TcpStream],
        parts: &[IoSlice<'_>],
    ) -> Vec<(u64, Result<usize, ErrorKind>)> {
        let sends: Vec<_> = streams
            .iter()
            .map(|stream| stream.as_fd())
            .zip(0..)
            .collect();
        let mut answers = Vec::new();
        ring.submit(sends.iter().copied(), parts, |tag, answer| {
            answers.push((tag, answer.map_err(|error| error.kind())));
        })
        .expect("the kernel takes the submission");
        answers.sort_by_key(|answer| answer.0);
        answers
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn read(mut stream: &TcpStream, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn only_sockets_that_do_not_take_all_are_answered_for() {
        let mut ring = SendRing::open().unwrap();
        let ((idle, idle_peer), (mut full, _full_peer), (shut, _shut_peer)) =
            (pair(), pair(), pair());
        full.set_nonblocking(true).unwrap();
        while full.write(&[0; 1 << 16]).is_ok() {}
        shut.shutdown(Shutdown::Write).unwrap();
        for parts in [&[&b"whole"[..]][..], &[&b"in "[..], b"parts"][..]] {
            let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
            let answers = submit(&mut ring, &[&full, &idle, &shut], &slices);
            let expected = [
                (0, Err(ErrorKind::WouldBlock)),
                (2, Err(ErrorKind::BrokenPipe)),
            ];
            assert_eq!(answers, expected);
            let sent = parts.concat();
            assert_eq!(read(&idle_peer, sent.len()), sent);
        }
    }

    #[test]
    fn a_short_send_is_answered_with_what_was_taken() {
        let mut ring = SendRing::open().unwrap();
        let bytes: Vec<u8> = (0..32u32 << 20).map(|at| (at % 251) as u8).collect();
        let (first, second) = bytes.split_at(1 << 20);
        for slices in [
            &[IoSlice::new(&bytes)][..],
            &[IoSlice::new(first), IoSlice::new(second)][..],
        ] {
            let (near, peer) = pair();
            let answers = submit(&mut ring, &[&near], slices);
            let [(0, Ok(size))] = answers[..] else {
                panic!("expected one short send, got {answers:?}");
            };
            assert!(size > 0 && size < bytes.len(), "{size}");
            assert_eq!(read(&peer, size), bytes[..size]);
            let nothing = submit(&mut ring, &[], slices);
            assert_eq!(nothing, [], "nothing comes later");
        }
    }

    #[test]
    fn sends_that_a_ring_did_not_try_are_answered_as_interrupted() {
        let mut ring = SendRing::open().unwrap();
        let (near, peer) = pair();
        let sends = [(near.as_fd(), 7)];
        let mut answers = Vec::new();
        // A ring obeys the thread that has opened it, and no other.
        let refused = std::thread::scope(|scope| {
            let ring = Elsewhere(&mut ring);
            let answers = &mut answers;
            scope
                .spawn(move || {
                    let Elsewhere(ring) = { ring };
                    ring.submit(sends.into_iter(), &[IoSlice::new(b"x")], |tag, answer| {
                        answers.push((tag, answer.map_err(|error| error.kind())));
                    })
                })
                .join()
                .unwrap()
        });
        assert!(refused.is_err());
        assert_eq!(answers, [(7, Err(ErrorKind::Interrupted))]);
        drop(near);
        let mut rest = Vec::new();
        (&peer).read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "it was not sent");
    }

    struct Elsewhere<'a>(&'a mut SendRing);

    // SAFETY: the ring is only borrowed for a call, which its owner waits for.
    unsafe impl Send for Elsewhere<'_> {}
}
