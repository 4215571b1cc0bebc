//! Clients over WebSocket that stop reading, as [`crate::stalled`] and [`crate::thousands`] have streams: they cost no memory and delay
//! nobody, and when they read again they get everything. Every byte of every client is compared.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use serde_json::Value;
use testkit::figures::{figure, full, size};
use testkit::record::{record, subscribe_to};
use testkit::sockets::{limit_receive_buffer, raise_descriptor_limit};
use testkit::websocket::{BINARY, PING, PONG, TEXT, WebSocket, frame};
use testkit::{Broker, Setup};

use super::Spoken;
use crate::stalled::{ARENA_BYTES, CHUNK, FILL, FIRST, MEMORY_MAX, Texts, memory};

/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 256 << 10;
/// What the kernel takes in for each client, so that 10,000 of them do not use up all that it has for TCP: then it throws away what
/// comes, and connections stand still for minutes.
const RECEIVE_BUFFER_BYTES: u32 = 64 << 10;
/// Longest header of the broker's frames.
const HEADER_BYTES_MAX: usize = 10;
/// What the broker adds to the header of a record.
const STAMPED: Range<usize> = 20..48;
/// Digits of a time in milliseconds.
const TIME_DIGITS: usize = 13;

/// A message as it is sent, of which some bytes are known when somebody has them.
struct Expected {
    bytes: Vec<u8>,
    unknown: Range<usize>,
}

impl Expected {
    fn of(spoken: Spoken, number: usize, text: &str) -> Self {
        match spoken {
            Spoken::Frames => Self {
                bytes: record("texts", &[text], 0),
                unknown: STAMPED,
            },
            Spoken::Json => {
                let begin = format!("{{\"topic\":\"texts\",\"offset\":{number},\"timestamp_ms\":");
                let time = "0".repeat(TIME_DIGITS);
                Self {
                    unknown: begin.len()..begin.len() + TIME_DIGITS,
                    bytes: format!("{begin}{time},\"payload\":\"{text}\"}}").into_bytes(),
                }
            }
        }
    }

    /// Compares a part of it from byte `at` on. What nobody has had before is taken from it.
    fn compare(&mut self, at: usize, part: &[u8]) -> bool {
        let end = at + part.len();
        let known = self.unknown.start.clamp(at, end);
        let learned = self.unknown.end.clamp(known, end);
        if learned > known {
            self.bytes[known..learned].copy_from_slice(&part[known - at..learned - at]);
            self.unknown.start = learned;
        }
        self.bytes[at..end] == *part
    }

    /// Checks that the observations are consistent.
    fn check(&self, spoken: Spoken, number: usize) {
        assert!(self.unknown.is_empty(), "nobody has had message {number}");
        let offset = match spoken {
            Spoken::Frames => {
                let record = Record::verify_stamped(&self.bytes, &Limits::DEFAULT);
                record.expect("a record").offset().get()
            }
            Spoken::Json => {
                let row: Value = serde_json::from_slice(&self.bytes).expect("JSON");
                row["offset"].as_u64().expect("a number")
            }
        };
        assert_eq!(offset, number as u64);
    }
}

/// A client, and how far it has read.
struct Client {
    socket: TcpStream,
    spoken: Spoken,
    /// The received part of a frame's header.
    header: Vec<u8>,
    /// The first byte of the frame that has begun, and bytes of it that are to come.
    first: u8,
    left: usize,
    /// Messages that have come whole, and bytes of the next one.
    messages: usize,
    at: usize,
}

impl Client {
    fn begin(address: SocketAddr, spoken: Spoken) -> Self {
        let mut socket = match spoken {
            Spoken::Json => WebSocket::subscriber(address, "texts"),
            Spoken::Frames => WebSocket::native(address),
        };
        if spoken == Spoken::Frames {
            socket.say(BINARY, &subscribe_to(b"texts"));
            assert_eq!(socket.line(), "subscribed Ok");
        }
        let stream = socket.connection().stream().try_clone();
        let stream = stream.expect("a descriptor");
        stream.set_nonblocking(true).expect("a socket");
        limit_receive_buffer(&stream, RECEIVE_BUFFER_BYTES);
        Self {
            socket: TcpStream::from_std(stream),
            spoken,
            header: Vec::new(),
            first: 0,
            left: 0,
            messages: 0,
            at: 0,
        }
    }

    /// Reads what is there.
    fn read(&mut self, buffer: &mut [u8], expected: &mut [Expected]) {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => panic!("a client ends behind {} messages", self.messages),
                Ok(size) => self.take(&buffer[..size], expected),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a client ends behind {}: {error}", self.messages),
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], expected: &mut [Expected]) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.header.push(bytes[0]);
                bytes = &bytes[1..];
                self.begin_frame(expected);
                continue;
            }
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            self.left -= part.len();
            bytes = rest;
            if self.first != PING {
                self.compare(part, expected);
                // A frame ends with a message.
                assert!(self.left > 0 || self.at == 0, "{}", self.messages);
            }
        }
    }

    /// A frame begins if its header is whole.
    fn begin_frame(&mut self, expected: &[Expected]) {
        let whole = match self.header.get(1) {
            None => return,
            Some(126) => 4,
            Some(127) => HEADER_BYTES_MAX,
            Some(_) => 2,
        };
        if self.header.len() < whole {
            return;
        }
        let sizes = if whole == 2 {
            &self.header[1..]
        } else {
            &self.header[2..]
        };
        let size = sizes
            .iter()
            .fold(0, |size, byte| size << 8 | usize::from(*byte));
        (self.first, self.left) = (self.header[0], size);
        self.header.clear();
        match (self.first, self.spoken) {
            (PING, _) => {
                assert_eq!(size, 0);
                let said = self.socket.write(&frame(PONG, b""));
                said.expect("there is room for a Pong");
            }
            (BINARY, Spoken::Frames) => {}
            // Each has a frame of its own.
            (TEXT, Spoken::Json) => assert_eq!(size, expected[self.messages].bytes.len()),
            (first, _) => panic!("a frame begins with {first:#x}"),
        }
    }

    fn compare(&mut self, mut content: &[u8], expected: &mut [Expected]) {
        while !content.is_empty() {
            let message = &mut expected[self.messages];
            let size = message.bytes.len() - self.at;
            let (part, rest) = content.split_at(size.min(content.len()));
            assert!(message.compare(self.at, part), "message {}", self.messages);
            self.at += part.len();
            if part.len() == size {
                (self.messages, self.at) = (self.messages + 1, 0);
            }
            content = rest;
        }
    }
}

/// Reads clients until all have so many messages.
fn read_all(clients: &mut [Client], messages: usize, expected: &mut [Expected]) {
    let mut poll = Poll::new().expect("a poll");
    let mut events = mio::Events::with_capacity(1_024);
    let mut buffer = vec![0; READ_BYTES];
    for (number, client) in clients.iter_mut().enumerate() {
        let registry = poll.registry();
        let registered = registry.register(&mut client.socket, Token(number), Interest::READABLE);
        registered.expect("a socket");
    }
    let mut left = clients.len();
    for client in &mut *clients {
        client.read(&mut buffer, expected);
        left -= usize::from(client.messages >= messages);
    }
    while left > 0 {
        poll.poll(&mut events, None).expect("a poll");
        for event in &events {
            let client = &mut clients[event.token().0];
            let before = client.messages;
            client.read(&mut buffer, expected);
            left -= usize::from(before < messages && client.messages >= messages);
        }
    }
    for client in clients {
        let registry = poll.registry();
        registry.deregister(&mut client.socket).expect("a socket");
    }
}

/// Half of so many clients stall while so much is published.
fn half_stalls(name: &str, spoken: Spoken, (count, megabytes): (usize, usize)) {
    raise_descriptor_limit();
    let setup = Setup::new().set("arena_bytes", ARENA_BYTES);
    let broker = setup.set("max_connections", count + 100).start();
    let texts = Texts::new(megabytes);
    texts.publish(&mut broker.connect(), 0, FILL);
    let clients = (0..count).map(|_| Client::begin(broker.address(), spoken));
    let mut clients: Vec<Client> = clients.collect();
    let expected =
        (FILL..texts.count).map(|number| Expected::of(spoken, number, &texts.text(number)));
    let mut expected: Vec<Expected> = expected.collect();
    let mut publish_while = |broker: &Broker, numbers: Range<usize>, clients: &mut [Client]| {
        std::thread::scope(|scope| {
            let (texts, to) = (&texts, numbers.end);
            scope.spawn(move || texts.publish(&mut broker.connect(), numbers.start, to));
            read_all(clients, to - FILL, &mut expected);
        });
    };
    publish_while(&broker, FILL..FIRST, &mut clients);
    let before = memory(&broker);

    let begin = Instant::now();
    let (stalled, others) = clients.split_at_mut(count / 2);
    publish_while(&broker, FIRST..texts.count, others);
    let others_s = begin.elapsed().as_secs_f64();
    let grown = memory(&broker).saturating_sub(before);
    let behind = broker.connect().lag()["max"].as_u64();
    assert!(behind > Some(CHUNK as u64), "they have stalled: {behind:?}");
    read_all(stalled, texts.count - FILL, &mut expected);
    let again_s = begin.elapsed().as_secs_f64() - others_s;
    for (number, message) in (FILL..).zip(&expected) {
        message.check(spoken, number);
    }
    let figures = format!(
        "{grown} B more memory while {} of {count} stall over {megabytes} MB; the others took {others_s:.1} s, the \
         stalled {again_s:.1} s when they read again",
        count / 2
    );
    figure(&format!("{name}, {spoken:?}"), &figures);
    assert!(grown <= MEMORY_MAX, "{figures}");
}

#[test]
fn clients_over_websocket_that_stall_cost_no_memory_delay_no_other_and_get_everything() {
    let megabytes = size("OYEZ_STREAM_MB", if full() { 200 } else { 20 });
    for spoken in Spoken::BOTH {
        half_stalls("stalled WebSockets", spoken, (200, megabytes));
    }
}

#[test]
fn thousands_of_clients_over_websocket_of_which_half_stall_cost_no_memory_and_get_everything() {
    let count = size("OYEZ_STREAMS", if full() { 10_000 } else { 400 });
    let megabytes = size("OYEZ_STREAM_MB", if full() { 10 } else { 4 });
    for spoken in Spoken::BOTH {
        half_stalls(
            "thousands of stalled WebSockets",
            spoken,
            (count, megabytes),
        );
    }
}
