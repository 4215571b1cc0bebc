//! The floor: a loop that reads what comes and throws it away, on as many threads as the broker has shards. What comes
//! to its other port is sent back. No server on this machine answers sooner under the same flood.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use testkit::sockets::listen_beside;

/// How long the loop may be without a look at whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes read from a ready socket in a round.
const READ_BYTES: usize = 64 << 10;
/// The listeners' tokens; those of connections come behind.
const FLOOD: usize = 0;
const ECHO: usize = 1;
const CONNECTIONS: usize = 2;

/// Running loops.
pub(crate) struct Bare {
    /// Where a flood goes.
    pub(crate) flood: SocketAddr,
    /// Where what is sent comes back.
    pub(crate) echo: SocketAddr,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Bare {
    pub(crate) fn start(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let first = [FLOOD, ECHO].map(|_| listen_beside(any));
        let [flood, echo] =
            [FLOOD, ECHO].map(|which| first[which].local_addr().expect("a listener has one"));
        let others = (1..threads).map(|_| [flood, echo].map(listen_beside));
        let loops = std::iter::once(first).chain(others).map(|listeners| {
            let stop = Arc::clone(&stop);
            let mut bare = Loop::new(listeners);
            std::thread::spawn(move || bare.run(&stop))
        });
        Self {
            threads: loops.collect(),
            flood,
            echo,
            stop,
        }
    }

    pub(crate) fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the bare loop runs to its end");
        }
    }
}

struct Peer {
    stream: TcpStream,
    echoes: bool,
    queued: bool,
}

struct Loop {
    poll: Poll,
    listeners: [TcpListener; 2],
    /// By token; those that are gone leave their place to others.
    peers: Vec<Option<Peer>>,
    free: Vec<usize>,
    ready: VecDeque<usize>,
    buffer: Vec<u8>,
}

impl Loop {
    fn new(listeners: [std::net::TcpListener; 2]) -> Self {
        let poll = Poll::new().expect("a poll");
        let mut listeners = listeners.map(TcpListener::from_std);
        for (token, listener) in listeners.iter_mut().enumerate() {
            poll.registry()
                .register(listener, Token(token), Interest::READABLE)
                .expect("room in the poll");
        }
        Self {
            poll,
            listeners,
            peers: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
        }
    }

    fn run(&mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        while !stop.load(Ordering::Relaxed) {
            let wait = if self.ready.is_empty() {
                LOOK
            } else {
                Duration::ZERO
            };
            self.poll.poll(&mut events, Some(wait)).expect("a poll");
            for event in &events {
                match event.token().0 {
                    listener @ (FLOOD | ECHO) => self.accept(listener),
                    token => self.queue(token - CONNECTIONS),
                }
            }
            for _ in 0..self.ready.len() {
                if let Some(number) = self.ready.pop_front() {
                    self.read(number);
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) {
        while let Ok((mut stream, _)) = self.listeners[listener].accept() {
            let number = self.free.pop().unwrap_or_else(|| {
                self.peers.push(None);
                self.peers.len() - 1
            });
            let token = Token(number + CONNECTIONS);
            self.poll
                .registry()
                .register(&mut stream, token, Interest::READABLE)
                .expect("room in the poll");
            // The answer to a record must not wait for the acknowledgement of the one before.
            stream.set_nodelay(true).expect("a TCP socket");
            self.peers[number] = Some(Peer {
                stream,
                echoes: listener == ECHO,
                queued: false,
            });
        }
    }

    fn queue(&mut self, number: usize) {
        if let Some(peer) = &mut self.peers[number]
            && !std::mem::replace(&mut peer.queued, true)
        {
            self.ready.push_back(number);
        }
    }

    fn read(&mut self, number: usize) {
        let Some(peer) = &mut self.peers[number] else {
            return;
        };
        peer.queued = false;
        match peer.stream.read(&mut self.buffer) {
            Ok(size) if size > 0 => {
                if peer.echoes {
                    // An honest client leaves room in its socket.
                    let echoed = peer.stream.write_all(&self.buffer[..size]);
                    echoed.expect("an honest client reads");
                }
                self.queue(number);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            _ => {
                self.peers[number] = None;
                self.free.push(number);
            }
        }
    }
}
