//! A server that sends every message back: the dialect over the network of the kernel, with nothing of a broker between them.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use oyez_protocol::limits::Limits;
use oyez_sys::waker::Waker;

use super::super::close;
use super::super::unframe::{Accepts, Piece, Unframing};
use crate::dialect::command::DecodeProgress;
use crate::dialect::http::{self, Front};
use crate::dialect::rules::Rules;
use crate::dialect::run::{Opcode, in_frame};
use crate::listen::Listen;
use crate::net::kernel::KernelNet;
use crate::net::port::{At, Port, Ports};
use crate::net::{Arrival, Event, Net, Socket};
use crate::plan::Tables;

/// Messages as long as anything that a broker unpacks.
pub(super) const ACCEPTS: Accepts = Accepts {
    text: true,
    binary: true,
    size_max: Limits::HARD.raw_size_max as u64,
};
const READ_BYTES: usize = 64 << 10;
const SEND_BUFFER_BYTES: u32 = 256 << 10;

/// A running server, which ends when this is dropped.
pub(super) struct Echo {
    pub(super) address: SocketAddr,
    ends: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts a server at a port that is free.
    pub(super) fn start() -> Self {
        let listen: Listen = "127.0.0.1:0".parse().expect("an address");
        let mut ports = Ports::reserve(std::iter::once(&listen)).expect("a free port");
        ports.claim(SEND_BUFFER_BYTES).expect("it was free");
        let Some((At::Tcp(address), _)) = ports.places().next() else {
            panic!("the address is one of TCP");
        };
        let address = *address;
        let ends = Arc::new(AtomicBool::new(false));
        let waker = Waker::new().expect("a descriptor");
        let is_over = Arc::clone(&ends);
        let serve = move || Server::new(&ports, waker).serve(&is_over);
        Self {
            address,
            ends,
            waker,
            thread: Some(std::thread::spawn(serve)),
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Release);
        self.waker.wake();
        let ended = self.thread.take().map(JoinHandle::join);
        // A test that fails anyway says why itself.
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

struct Server {
    net: KernelNet,
    rules: Rules,
    scratch: http::Scratch,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    buffer: Vec<u8>,
}

impl Server {
    fn new(ports: &Ports, waker: Waker) -> Self {
        let how = (Tables::Shared, SEND_BUFFER_BYTES);
        let port = |spot| Port::of_spot(spot, true, how).expect("a descriptor");
        let listeners = ports.spots().iter().map(port).collect();
        Self {
            net: KernelNet::new(0, listeners, None, vec![waker], None).expect("a poll"),
            rules: super::rules(),
            scratch: http::Scratch::default(),
            connections: BTreeMap::new(),
            next: 0,
            buffer: vec![0; READ_BYTES],
        }
    }

    fn serve(&mut self, is_over: &AtomicBool) {
        let mut events = Vec::new();
        while !is_over.load(Ordering::Acquire) {
            self.net.poll(None, &mut events).expect("the kernel waits");
            for event in events.drain(..) {
                match event {
                    Event::Arrivals => self.accept(),
                    Event::Socket(token, _) => self.go_on(token),
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Some(arrival) = self.net.accept() {
            let Arrival::Connection(socket, _) = arrival else {
                continue;
            };
            self.next += 1;
            let watched = self.net.watch(socket, self.next);
            watched.expect("the kernel watches a socket");
            self.connections.insert(self.next, Connection::new(socket));
        }
    }

    /// Reads the bytes that have come on a connection, and sends those that wait.
    fn go_on(&mut self, token: u64) {
        let Some(mut connection) = self.connections.remove(&token) else {
            return;
        };
        let is_open = self.read(&mut connection) && connection.flush(&mut self.net);
        match is_open {
            true => drop(self.connections.insert(token, connection)),
            false => self.net.close(connection.socket),
        }
    }

    /// Returns whether the peer has not shut its side.
    fn read(&mut self, connection: &mut Connection) -> bool {
        loop {
            let mut into = [IoSliceMut::new(&mut self.buffer)];
            match self.net.read(connection.socket, &mut into) {
                Ok(0) => return false,
                Ok(size) => {
                    let input = &self.buffer[..size];
                    match connection.is_upgraded {
                        true => connection.hear(input),
                        false => connection.greet(input, &self.rules, &mut self.scratch),
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }
}

struct Connection {
    socket: Socket,
    is_upgraded: bool,
    /// The bytes that have come of the request to become a WebSocket.
    request: Vec<u8>,
    state: Unframing,
    /// The bytes that have come of a message.
    message: Vec<u8>,
    out: Vec<u8>,
    /// Bytes of it that are sent.
    sent: usize,
    /// A Close was sent: nothing more is read.
    is_closed: bool,
}

impl Connection {
    fn new(socket: Socket) -> Self {
        Self {
            socket,
            is_upgraded: false,
            request: Vec::new(),
            state: Unframing::default(),
            message: Vec::new(),
            out: Vec::new(),
            sent: 0,
            is_closed: false,
        }
    }

    /// Answers the request, when it has come whole.
    fn greet(&mut self, input: &[u8], rules: &Rules, scratch: &mut http::Scratch) {
        self.request.extend_from_slice(input);
        let mut progress = DecodeProgress::default();
        let rules = (rules, false);
        match http::decode(&self.request, &mut progress, rules, None, scratch) {
            Front::Need { .. } => {}
            Front::Upgrade { upgrade, .. } => {
                http::switch(&upgrade, &mut self.out);
                self.is_upgraded = true;
            }
            Front::Request { .. } => panic!("a client that asks for something else"),
        }
    }

    fn hear(&mut self, mut input: &[u8]) {
        while !self.is_closed {
            match self.state.next(&mut input, ACCEPTS, &mut self.message) {
                Ok(Piece::Nothing) => return,
                Ok(Piece::Message { ends: false, .. } | Piece::Pong) => {}
                Ok(Piece::Message { is_text, .. }) => {
                    let opcode = match is_text {
                        true => Opcode::Text,
                        false => Opcode::Binary,
                    };
                    in_frame(opcode, &mut self.out, |out| out.append(&mut self.message));
                }
                Ok(Piece::Ping) => in_frame(Opcode::Pong, &mut self.out, |out| {
                    out.extend_from_slice(self.state.control());
                }),
                Ok(Piece::Close(code)) => self.close(code, ""),
                Err(fault) => self.close(fault.code, fault.reason),
            }
        }
    }

    fn close(&mut self, code: u16, reason: &str) {
        close::write(code, reason, &mut self.out);
        self.is_closed = true;
    }

    /// Sends what the socket takes. Returns whether the connection goes on.
    fn flush(&mut self, net: &mut KernelNet) -> bool {
        while self.sent < self.out.len() {
            match net.send(self.socket, &[IoSlice::new(&self.out[self.sent..])]) {
                Ok(size) => self.sent += size,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        self.out.clear();
        self.sent = 0;
        // What still comes is read until the peer shuts its side, so that no reset destroys the Close.
        !self.is_closed || net.shutdown(self.socket).is_ok()
    }
}
