//! What a subscription's caller, its heart and whoever closes it share: the socket's writing side.
//!
//! The caller's own thread reads, so that a slow caller is a slow reader, and the broker's to wait for. The heart, a
//! thread of its own, gives signs of life while the caller is busy elsewhere and cannot answer pings. A connection
//! that nobody uses yet ([`crate::spare`]) has such a heart too.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use oyez_protocol::event::Heartbeat;

use crate::lock::lock;
use crate::time::{Bell, Time};

/// The heart beats twice per heartbeat that the broker expects.
const BEATS_PER_HEARTBEAT: u32 = 2;

#[derive(Debug)]
struct Line {
    socket: Option<Arc<TcpStream>>,
    heartbeat: Duration,
}

/// Shared by a [`Subscription`](crate::Subscription), its heart and its [`Closer`]s.
#[derive(Debug)]
pub(crate) struct Lifeline {
    line: Mutex<Line>,
    closed: AtomicBool,
    reading: AtomicBool,
    /// Ends the caller's pause before a reconnect.
    pub(crate) caller: Bell,
    heart: Bell,
}

impl Lifeline {
    /// A lifeline with its heart, which stops when it is closed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(time: Arc<dyn Time>, heartbeat: Duration) -> io::Result<Arc<Self>> {
        let lifeline = Arc::new(Self {
            line: Mutex::new(Line {
                socket: None,
                heartbeat,
            }),
            closed: AtomicBool::new(false),
            reading: AtomicBool::new(false),
            caller: Bell::new(),
            heart: Bell::new(),
        });
        let (heart, born_at) = (Arc::clone(&lifeline), time.now());
        Builder::new()
            .name("oyez-heart".to_owned())
            .spawn(move || heart.beat(&*time, born_at))?;
        Ok(lifeline)
    }

    fn beat(&self, time: &dyn Time, born_at: Duration) {
        let mut due = born_at;
        while !self.is_closed() {
            let interval = lock(&self.line).heartbeat / BEATS_PER_HEARTBEAT;
            due = (due + interval).max(time.now());
            while !self.is_closed() && time.now() < due {
                time.wait(&self.heart, due);
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

    /// The heart stops, and the connection is left to others.
    pub(crate) fn release(&self) {
        self.closed.store(true, Ordering::Release);
        lock(&self.line).socket = None;
        self.heart.ring();
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
        self.heart.ring();
    }
}

fn shut(line: &mut Line) {
    if let Some(socket) = line.socket.take() {
        // It may be closed already.
        let _closed = socket.shutdown(Shutdown::Both);
    }
}
