//! Requests over HTTP, and what they are answered with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use testkit::deadline::PATIENCE;

use crate::frames::{frame, texts};

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Lines of the head, without the first and `Connection`.
    pub(crate) fields: Vec<u8>,
    pub(crate) connection: &'static str,
    pub(crate) version: &'static str,
    pub(crate) body: Vec<u8>,
    /// What is sent when the connection has become a WebSocket.
    pub(crate) says: Vec<u8>,
    /// A stream is read until this has come; what has an end, to its end.
    pub(crate) until: &'static str,
}

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in small letters, and values.
    pub(crate) fields: Vec<(String, String)>,
    /// Without chunks. Of a WebSocket, its text messages, a line for each.
    pub(crate) body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_uppercase(),
            target: target.to_owned(),
            fields: b"Host: localhost\r\n".to_vec(),
            connection: "close",
            version: "HTTP/1.1",
            body: Vec::new(),
            says: Vec::new(),
            until: "\n\n",
        }
    }

    /// With one more line in its head.
    pub(crate) fn field(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.extend_from_slice(name.as_bytes());
        self.fields.extend_from_slice(b": ");
        self.fields.extend_from_slice(value);
        self.fields.extend_from_slice(b"\r\n");
        self
    }

    /// With a body, whose length is told.
    pub(crate) fn body(self, body: &[u8]) -> Self {
        let size = body.len().to_string();
        let mut ask = self.field("Content-Length", size.as_bytes());
        ask.body = body.to_vec();
        ask
    }

    /// Asks for a WebSocket, with the key of RFC 6455, 1.3.
    pub(crate) fn handshake(mut self) -> Self {
        self.connection = "Upgrade";
        self.field("Upgrade", b"websocket")
            .field("Sec-WebSocket-Version", b"13")
            .field("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ==")
            .until("")
    }

    /// Says something when the connection has become a WebSocket.
    pub(crate) fn say(mut self, text: &str) -> Self {
        self.says.extend(frame(text));
        self
    }

    pub(crate) const fn until(mut self, text: &'static str) -> Self {
        self.until = text;
        self
    }

    /// Sends it; the answer is for [`read`](Self::read).
    pub(crate) fn send(&self, address: SocketAddr) -> TcpStream {
        let mut request = self.head();
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(&self.body);
        connect(address, &request)
    }

    /// Sends its head without the end.
    pub(crate) fn begin(&self, address: SocketAddr) -> TcpStream {
        connect(address, &self.head())
    }

    /// Sends it on a connection that has had an answer.
    pub(crate) fn send_on(&self, stream: &mut TcpStream) {
        let request = [&self.head(), &b"\r\n"[..], &self.body].concat();
        stream.write_all(&request).expect("the connection stays");
    }

    /// The lines of its head, without the empty one behind them.
    fn head(&self) -> Vec<u8> {
        let first = format!("{} {} {}\r\n", self.method, self.target, self.version);
        let mut head = first.into_bytes();
        head.extend_from_slice(&self.fields);
        let connection = format!("Connection: {}\r\n", self.connection);
        head.extend_from_slice(connection.as_bytes());
        head
    }

    /// Reads the answer: all of it, or of a stream what is asked for.
    pub(crate) fn read(&self, stream: &mut TcpStream) -> Answer {
        let (mut input, mut piece) = (Vec::new(), [0; 16 << 10]);
        let mut says = &self.says[..];
        loop {
            let size = stream.read(&mut piece).unwrap_or_else(|error| {
                panic!("{} {}: {error}", self.method, self.target);
            });
            input.extend_from_slice(&piece[..size]);
            let answer = parse(&input);
            if answer.as_ref().is_some_and(Answer::is_websocket) {
                // Nothing may be sent before.
                stream.write_all(std::mem::take(&mut says)).unwrap();
            }
            let is_enough = |answer: &Answer| match answer.is_stream() {
                true => contains(&answer.body, self.until.as_bytes()),
                // The connection goes on after it.
                false => self.connection != "close" && answer.is_whole(),
            };
            match answer {
                Some(answer) if size == 0 || is_enough(&answer) => return answer,
                _ => assert!(size > 0, "{} {}: no answer", self.method, self.target),
            }
        }
    }

    pub(crate) fn answer(&self, address: SocketAddr) -> Answer {
        self.read(&mut self.send(address))
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(own, _)| own == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// Whether it may go on for ever.
    fn is_stream(&self) -> bool {
        self.field("x-accel-buffering").is_some() || self.is_websocket()
    }

    fn is_websocket(&self) -> bool {
        self.status == 101
    }

    /// Whether so much of the body has come as was announced.
    fn is_whole(&self) -> bool {
        let size = self.field("content-length");
        size.is_some_and(|size| size == self.body.len().to_string())
    }
}

fn connect(address: SocketAddr, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // What is refused by its head may be closed before all of it is written.
    let _ = stream.write_all(request);
    stream
}

fn contains(bytes: &[u8], sought: &[u8]) -> bool {
    sought.is_empty() || bytes.windows(sought.len()).any(|window| window == sought)
}

/// The answer that has come so far; `None` if its head is not whole.
fn parse(input: &[u8]) -> Option<Answer> {
    let end = input.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&input[..end]).unwrap();
    let mut lines = head.split("\r\n");
    let first = lines.next()?;
    let status = first.split(' ').nth(1)?.parse().unwrap();
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    };
    let mut answer = Answer {
        status,
        fields: lines.map(field).collect(),
        body: input[end + 4..].to_vec(),
    };
    if status == 100 {
        return parse(&answer.body);
    }
    if answer.field("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body);
    }
    if answer.is_websocket() {
        answer.body = texts(&answer.body);
    }
    Some(answer)
}

/// The chunks that are whole.
fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let digits = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(digits, 16).unwrap();
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else {
            break;
        };
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..).unwrap_or_default();
    }
    body
}
