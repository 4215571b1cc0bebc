//! The same with thousands of streams: half of them stall, the others are not harmed, and in the end everybody has everything.
//! Every byte of every stream is compared.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mio::{Interest, Poll, Token};
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::{Epoch, Offset, token};
use testkit::figures::{figure, full, size};
use testkit::http::get;
use testkit::sockets::raise_descriptor_limit;
use testkit::{Broker, Setup, Start};

use super::stalled::{ARENA_BYTES, CHUNK, FILL, FIRST, MEMORY_MAX, Texts, memory};

/// Bytes that are read from a socket at once.
const READ_BYTES: usize = 256 << 10;
/// The line in front of a chunk, and what follows it.
const LINE_BYTES: usize = 10;
const END_BYTES: usize = 2;
/// A chunk of so many bytes is a comment.
const COMMENT_BYTES: usize = 3;
/// The end of the first bytes of a stream.
const BEGUN: &[u8] = b"event: $place\ndata: {}\n\n\r\n";

/// The events of messages, as streams send them.
struct Expected(Vec<Vec<u8>>);

impl Expected {
    fn new(texts: &Texts, epoch: Epoch) -> Self {
        let event = |number: usize| {
            let place = Place {
                name: "",
                epoch,
                next: Numbered::Offset(Offset::new(number as u64 + 1)),
            };
            let mut id = Vec::new();
            token::Token::encode(&[place], &mut id);
            let id = URL_SAFE_NO_PAD.encode(id);
            format!("id: {id}\ndata: {}\n\n", texts.text(number)).into_bytes()
        };
        Self((FILL..texts.count).map(event).collect())
    }
}

/// A stream, and how far it was read.
struct Stream {
    socket: mio::net::TcpStream,
    /// The line of the chunk that has begun, as far as it has come.
    line: Vec<u8>,
    /// Bytes of the chunk that are to come, with its end.
    left: usize,
    is_comment: bool,
    /// Messages that have come whole, and bytes of the next one.
    messages: usize,
    at: usize,
}

impl Stream {
    fn begin(address: SocketAddr) -> Self {
        let mut socket = std::net::TcpStream::connect(address).expect("a connection");
        let request = get("/texts/sse");
        socket.write_all(request.as_bytes()).expect("room for it");
        let (mut begun, mut bytes) = (Vec::new(), [0; 1_024]);
        while !begun.ends_with(BEGUN) {
            let size = socket.read(&mut bytes).expect("an answer");
            assert!(size > 0, "{}", String::from_utf8_lossy(&begun));
            begun.extend_from_slice(&bytes[..size]);
        }
        socket.set_nonblocking(true).expect("a socket");
        Self {
            socket: mio::net::TcpStream::from_std(socket),
            line: Vec::new(),
            left: 0,
            is_comment: false,
            messages: 0,
            at: 0,
        }
    }

    /// Reads what is there.
    fn read(&mut self, buffer: &mut [u8], expected: &Expected) {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => panic!("a stream ends behind {} messages", self.messages),
                Ok(size) => self.take(&buffer[..size], expected),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("a stream ends behind {}: {error}", self.messages),
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], expected: &Expected) {
        while !bytes.is_empty() {
            if self.left == 0 {
                let size = (LINE_BYTES - self.line.len()).min(bytes.len());
                self.line.extend_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                if self.line.len() == LINE_BYTES {
                    let digits = std::str::from_utf8(&self.line[..8]).expect("digits");
                    let size = usize::from_str_radix(digits, 16).expect("a size");
                    self.is_comment = size == COMMENT_BYTES;
                    self.left = size + END_BYTES;
                    self.line.clear();
                }
                continue;
            }
            let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
            let content = part.len().min(self.left.saturating_sub(END_BYTES));
            if !self.is_comment {
                self.compare(&part[..content], expected);
            }
            self.left -= part.len();
            bytes = rest;
        }
    }

    fn compare(&mut self, mut content: &[u8], expected: &Expected) {
        while !content.is_empty() {
            let event = &expected.0[self.messages][self.at..];
            let (part, rest) = content.split_at(event.len().min(content.len()));
            assert!(event.starts_with(part), "message {}", self.messages + FILL);
            self.at += part.len();
            if part.len() == event.len() {
                (self.messages, self.at) = (self.messages + 1, 0);
            }
            content = rest;
        }
    }
}

/// Reads streams until all have so many messages.
fn read_all(streams: &mut [Stream], messages: usize, expected: &Expected) {
    let mut poll = Poll::new().expect("a poll");
    let mut events = mio::Events::with_capacity(1_024);
    let mut buffer = vec![0; READ_BYTES];
    for (number, stream) in streams.iter_mut().enumerate() {
        let registry = poll.registry();
        let registered = registry.register(&mut stream.socket, Token(number), Interest::READABLE);
        registered.expect("a socket");
    }
    let mut left = streams.len();
    for stream in &mut *streams {
        stream.read(&mut buffer, expected);
        left -= usize::from(stream.messages >= messages);
    }
    while left > 0 {
        poll.poll(&mut events, None).expect("a poll");
        for event in &events {
            let stream = &mut streams[event.token().0];
            let before = stream.messages;
            stream.read(&mut buffer, expected);
            left -= usize::from(before < messages && stream.messages >= messages);
        }
    }
    for stream in streams {
        let registry = poll.registry();
        registry.deregister(&mut stream.socket).expect("a socket");
    }
}

/// Publishes messages while streams are read that get them all.
fn publish_while(
    broker: &Broker,
    texts: &Texts,
    (from, to): (usize, usize),
    (streams, expected): (&mut [Stream], &Expected),
) {
    std::thread::scope(|scope| {
        scope.spawn(|| texts.publish(&mut broker.connect(), from, to));
        read_all(streams, to - FILL, expected);
    });
}

#[test]
fn thousands_of_streams_of_which_half_stall_cost_no_memory_and_get_everything() {
    raise_descriptor_limit();
    let count = size("OYEZ_STREAMS", if full() { 10_000 } else { 400 });
    let megabytes = size("OYEZ_STREAM_MB", if full() { 10 } else { 4 });
    let setup = Setup::new().set("arena_bytes", ARENA_BYTES);
    let broker = setup.set("max_connections", count + 100).start();
    let texts = Texts::new(megabytes);
    texts.publish(&mut broker.connect(), 0, FILL);
    let epoch = broker.connect().subscribe("texts", Start::Latest).epoch;
    let begun = (0..count).map(|_| Stream::begin(broker.address()));
    let (mut streams, expected) = (begun.collect::<Vec<_>>(), Expected::new(&texts, epoch));
    let means = (&mut *streams, &expected);
    publish_while(&broker, &texts, (FILL, FIRST), means);
    let before = memory(&broker);

    let begin = Instant::now();
    let (stalled, others) = streams.split_at_mut(count / 2);
    publish_while(&broker, &texts, (FIRST, texts.count), (others, &expected));
    let others_s = begin.elapsed().as_secs_f64();
    let grown = memory(&broker).saturating_sub(before);
    let behind = broker.connect().lag()["max"].as_u64();
    assert!(behind > Some(CHUNK as u64), "they have stalled: {behind:?}");
    read_all(stalled, texts.count - FILL, &expected);
    let again_s = begin.elapsed().as_secs_f64() - others_s;
    let figures = format!(
        "{grown} B more memory while {} of {count} streams stall over {megabytes} MB; the others took {others_s:.1} s, the \
         stalled {again_s:.1} s when they read again",
        count / 2
    );
    figure("thousands of stalled streams", &figures);
    assert!(grown <= MEMORY_MAX, "{figures}");
}
