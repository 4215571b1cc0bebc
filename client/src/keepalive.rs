//! The writing side of a socket, and a thread that gives signs of life over it.
//!
//! A subscription's caller reads in a thread of its own, so that a slow caller is a slow reader, and the broker's to wait
//! for. The keepalive's thread speaks up while the caller is busy elsewhere and cannot answer pings, or while nobody uses
//! the connection yet. The caller, the thread and whatever closes the subscription share the socket here.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use oyez_protocol::event::Heartbeat;

use crate::lock::lock;
use crate::silence::Beats;
use crate::time::{Bell, Time};

#[derive(Debug)]
struct Line {
    socket: Option<Arc<TcpStream>>,
    heartbeat: Duration,
}

/// Shared by what reads from a connection, what may close it, and the thread that keeps it alive.
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
    /// When the system gives no thread.
    pub(crate) fn start(time: Arc<dyn Time>, heartbeat: Duration) -> io::Result<Arc<Self>> {
        let keepalive = Arc::new(Self {
            line: Mutex::new(Line {
                socket: None,
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

    /// Another connection stands.
    pub(crate) fn attach(&self, socket: &Arc<TcpStream>, heartbeat: Duration) {
        let mut line = lock(&self.line);
        *line = Line {
            socket: Some(Arc::clone(socket)),
            heartbeat,
        };
        if self.is_closed() {
            shut(&mut line);
        }
    }

    /// The connection is gone.
    pub(crate) fn detach(&self) {
        shut(&mut lock(&self.line));
    }

    /// The thread ends, and the connection is left to others.
    pub(crate) fn release(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.line).socket = None;
        self.beat.ring();
    }

    /// Writes a frame. A failure is not told: the reader meets the end of the connection, which cannot go on after a part
    /// of a frame.
    pub(crate) fn send(&self, frame: &[u8]) {
        let mut line = lock(&self.line);
        let sent = line
            .socket
            .as_deref()
            .map(|mut socket| socket.write_all(frame));
        if sent.is_some_and(|sent| sent.is_err()) {
            shut(&mut line);
        }
    }

    /// The caller begins or ends to read, and to answer for itself.
    pub(crate) fn reading(&self, reading: bool) {
        self.reading.store(reading, Ordering::Relaxed);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Ends everything; `last` is the last frame.
    pub(crate) fn close(&self, last: &[u8]) {
        self.closed.store(true, Ordering::Release);
        self.send(last);
        self.detach();
        self.caller.ring();
        self.beat.ring();
    }
}

fn shut(line: &mut Line) {
    if let Some(socket) = line.socket.take() {
        // It may be closed already.
        let _closed = socket.shutdown(Shutdown::Both);
    }
}
