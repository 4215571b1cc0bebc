//! The writing side of a socket, and a thread that gives signs of life over it.
//!
//! A subscription's caller reads in its own thread, so that a slow caller is a slow reader, for which the broker waits.
//! The keepalive's thread gives signs of life while the caller is busy elsewhere and cannot answer pings, or while the
//! connection is not in use yet. The caller, the thread and the code that closes the subscription share the socket
//! here. A peer that does not read lets a write wait for long: no lock is held meanwhile.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use oyez_protocol::event::Heartbeat;

use crate::connection::{PARTING, part};
use crate::lock::lock;
use crate::silence::Beats;
use crate::time::{Bell, Time};

/// Most bytes that wait while another thread writes: many times more signs of life than a broker asks for before it
/// gives the connection up.
const QUEUE_BYTES_MAX: usize = 4 << 10;

#[derive(Debug)]
struct Line {
    sender: Option<Arc<Sender>>,
    heartbeat: Duration,
}

/// The writing side of one connection. Frames of several threads leave whole, one after the other: a thread that finds
/// no other one writing writes its own frame and those that come meanwhile.
#[derive(Debug)]
struct Sender {
    socket: Arc<TcpStream>,
    queue: Mutex<Queue>,
    /// Rung when no thread is writing any more.
    idle: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    frames: Vec<u8>,
    /// Whether a thread is writing, or no thread may write any more.
    writing: bool,
}

impl Sender {
    /// Writes a frame, or leaves it to the thread that is writing. While that thread waits for the socket, frames
    /// beyond the limit are dropped: they are signs of life, and their connection is about to end.
    ///
    /// # Errors
    /// When writing failed: the connection may have taken a part of a frame.
    fn send(&self, frame: &[u8]) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        if queue.frames.len() + frame.len() <= QUEUE_BYTES_MAX || queue.frames.is_empty() {
            queue.frames.extend_from_slice(frame);
        }
        if std::mem::replace(&mut queue.writing, true) {
            return Ok(());
        }
        let mut written = Ok(());
        while written.is_ok() && !queue.frames.is_empty() {
            let frames = std::mem::take(&mut queue.frames);
            drop(queue);
            written = (&*self.socket).write_all(&frames);
            queue = lock(&self.queue);
        }
        queue.writing = false;
        self.idle.notify_all();
        written
    }

    /// Waits a little until no thread is writing, and lets no thread write any more: the connection is left to others.
    /// Returns whether no thread was writing at the end of the wait.
    fn pass_on(&self) -> bool {
        let queue = lock(&self.queue);
        let waited = self
            .idle
            .wait_timeout_while(queue, PARTING, |queue| queue.writing);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // A thread may hold this sender that has not begun to write.
        !std::mem::replace(&mut queue.writing, true)
    }

    /// Ends the connection; sends `last` before if nothing else is being written.
    fn close(&self, last: &[u8]) {
        let busy = std::mem::replace(&mut lock(&self.queue).writing, true);
        part(&self.socket, if busy { &[] } else { last });
    }

    fn shut(&self) {
        // It may be closed already.
        let _closed = self.socket.shutdown(Shutdown::Both);
    }
}

/// What the reader of a connection, the threads that may close it, and the thread that keeps it alive share.
#[derive(Debug)]
pub(crate) struct Keepalive {
    line: Mutex<Line>,
    closed: AtomicBool,
    reading: AtomicBool,
    /// Ends the caller's pause before a reconnect.
    pub(crate) caller: Bell,
    /// Ends the thread's wait for the next sign of life.
    beat: Bell,
}

impl Keepalive {
    /// Starts the thread, which ends when this is closed or released.
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub(crate) fn start(time: Arc<dyn Time>, heartbeat: Duration) -> io::Result<Arc<Self>> {
        let keepalive = Arc::new(Self {
            line: Mutex::new(Line {
                sender: None,
                heartbeat,
            }),
            closed: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            caller: Bell::new(),
            beat: Bell::new(),
        });
        let (beating, beats) = (Arc::clone(&keepalive), Beats::new(time.now()));
        Builder::new()
            .name("oyez-keepalive".to_owned())
            .spawn(move || beating.run(&*time, beats))?;
        Ok(keepalive)
    }

    fn run(&self, time: &dyn Time, mut beats: Beats) {
        while !self.is_closed() {
            let heartbeat = lock(&self.line).heartbeat;
            let due = beats.next(heartbeat, time.now());
            while !self.is_closed() && time.now() < due {
                time.wait(&self.beat, due);
            }
            if !self.reading.load(Ordering::Relaxed) {
                let mut pong = Vec::new();
                Heartbeat { token: 0 }.encode_pong(&mut pong);
                self.send(&pong);
            }
        }
    }

    /// Adopts a new connection.
    pub(crate) fn attach(&self, socket: &Arc<TcpStream>, heartbeat: Duration) {
        let sender = Sender {
            socket: Arc::clone(socket),
            queue: Mutex::default(),
            idle: Condvar::new(),
        };
        *lock(&self.line) = Line {
            sender: Some(Arc::new(sender)),
            heartbeat,
        };
        if self.is_closed() {
            self.detach();
        }
    }

    /// Forgets the connection, and ends it.
    pub(crate) fn detach(&self) {
        if let Some(sender) = self.take_sender() {
            sender.shut();
        }
    }

    /// Ends the thread, and leaves the connection to the caller. Returns false when a frame whose writing has begun
    /// takes too long.
    pub(crate) fn release(&self) -> bool {
        self.closed.store(true, Ordering::Release);
        let sender = self.take_sender();
        self.beat.ring();
        sender.is_none_or(|sender| sender.pass_on())
    }

    /// Writes a frame. A failure is not returned: the reader meets the end of the connection, which cannot go on after
    /// a part of a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        let sender = lock(&self.line).sender.clone();
        if let Some(sender) = sender
            && sender.send(frame).is_err()
        {
            sender.shut();
        }
    }

    fn take_sender(&self) -> Option<Arc<Sender>> {
        lock(&self.line).sender.take()
    }

    /// Notes that the caller begins or ends to read; while it reads, it gives signs of life itself.
    pub(crate) fn reading(&self, reading: bool) {
        self.reading.store(reading, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends the thread and the connection; sends `last` as the last frame if it can.
    pub(crate) fn close(&self, last: &[u8]) {
        self.closed.store(true, Ordering::Release);
        if let Some(sender) = self.take_sender() {
            sender.close(last);
        }
        self.caller.ring();
        self.beat.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::mpsc::channel;
    use std::thread::{spawn, yield_now};
    use std::time::Instant;

    use crate::time::Machine;

    const PATIENCE: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_secs(3600);

    /// Both ends of a connection that takes no more bytes, because its peer does not read.
    fn stalled() -> (Arc<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        socket.set_nonblocking(true).unwrap();
        while (&socket).write(&[0; 65_536]).is_ok() {}
        while (&socket).write(&[0]).is_ok() {}
        socket.set_nonblocking(false).unwrap();
        socket.set_write_timeout(Some(NEVER)).unwrap();
        (Arc::new(socket), peer)
    }

    /// A keepalive over whose connection a thread has begun a write that does not end.
    fn caught() -> (Arc<Keepalive>, TcpStream) {
        let (socket, peer) = stalled();
        let keepalive = Keepalive::start(Arc::new(Machine::new()), NEVER).unwrap();
        keepalive.attach(&socket, NEVER);
        let sender = Arc::clone(&keepalive);
        spawn(move || sender.send(b"caught in the socket"));
        let deadline = Instant::now() + PATIENCE;
        while !is_writing(&keepalive) {
            assert!(Instant::now() < deadline, "the write should begin");
            yield_now();
        }
        (keepalive, peer)
    }

    #[track_caller]
    fn returns(what: &str, run: impl FnOnce() + Send + 'static) {
        let (done, ended) = channel();
        spawn(move || {
            run();
            done.send(())
        });
        let ended = ended.recv_timeout(PATIENCE);
        assert!(ended.is_ok(), "{what} should not wait for the write");
    }

    #[test]
    fn a_write_that_does_not_end_keeps_nobody_else_waiting() {
        type Act = fn(&Keepalive);
        let acts: [(&str, Act); 4] = [
            ("another frame", |keepalive| keepalive.send(b"another")),
            ("the end of the connection", Keepalive::detach),
            ("release", |keepalive| assert!(!keepalive.release())),
            ("close", |keepalive| keepalive.close(b"last")),
        ];
        for (what, act) in acts {
            let (keepalive, _peer) = caught();
            returns(what, move || act(&keepalive));
        }
    }

    #[test]
    fn a_goodbye_that_the_socket_does_not_take_is_not_waited_for() {
        let (socket, _peer) = stalled();
        let keepalive = Keepalive::start(Arc::new(Machine::new()), NEVER).unwrap();
        keepalive.attach(&socket, NEVER);
        returns("close", move || keepalive.close(b"last"));
    }

    #[test]
    fn frames_of_a_connection_that_takes_nothing_do_not_pile_up() {
        let (keepalive, _peer) = caught();
        for _ in 0..2 * QUEUE_BYTES_MAX {
            keepalive.send(b"pong");
        }
        assert!(queued(&keepalive) <= QUEUE_BYTES_MAX);
    }

    #[test]
    fn a_thread_that_comes_late_writes_nothing_over_a_connection_that_was_passed_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        let (mut peer, _) = listener.accept().unwrap();
        let keepalive = Keepalive::start(Arc::new(Machine::new()), NEVER).unwrap();
        keepalive.attach(&socket, NEVER);
        // What a thread holds that is about to write.
        let late = sender(&keepalive);
        assert!(keepalive.release());
        late.send(b"late").unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let mut heard = Vec::new();
        peer.read_to_end(&mut heard).unwrap();
        assert_eq!(heard, b"");
    }

    fn sender(keepalive: &Keepalive) -> Arc<Sender> {
        lock(&keepalive.line).sender.clone().unwrap()
    }

    fn is_writing(keepalive: &Keepalive) -> bool {
        lock(&sender(keepalive).queue).writing
    }

    fn queued(keepalive: &Keepalive) -> usize {
        lock(&sender(keepalive).queue).frames.len()
    }
}
