//! A client over WebSocket (RFC 6455) that says what it likes: any bytes are sent, and what comes back is read strictly.

use std::io;
use std::net::SocketAddr;

use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};
use serde_json::Value;

use crate::http::{Answer, Connection, End};
use crate::record;

/// First bytes of frames that are whole messages, or control frames.
pub const TEXT: u8 = 0x81;
/// The same with binary.
pub const BINARY: u8 = 0x82;
/// The end.
pub const CLOSE: u8 = 0x88;
/// Asks for a Pong.
pub const PING: u8 = 0x89;
/// Answers a Ping.
pub const PONG: u8 = 0x8a;
/// The bit that a frame is the last of its message.
pub const FIN: u8 = 0x80;
/// Where any topics may be asked for.
pub const PATH: &str = "/api/v1/ws";
/// The subprotocol of frames, as a line of a head.
pub const FRAMES: &str = "Sec-WebSocket-Protocol: oyez.v2\r\n";
/// The key of all handshakes here, and what proves that it was read.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The lines of a handshake's head.
#[must_use]
pub fn handshake_fields() -> String {
    format!(
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
    )
}

/// A request to become a WebSocket, with more lines in its head.
#[must_use]
pub fn handshake(target: &str, more: &str) -> String {
    crate::http::ask("GET", target, &(handshake_fields() + more), "")
}

/// A frame as a client sends it.
#[must_use]
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let size = payload.len();
    let sizes = match size {
        0..=125 => vec![size as u8],
        126..=0xffff => [&[126][..], &(size as u16).to_be_bytes()].concat(),
        _ => [&[127][..], &(size as u64).to_be_bytes()].concat(),
    };
    sized(first, &sizes, payload)
}

/// A frame with a size that may be wrong, or written as none is.
#[must_use]
pub fn sized(first: u8, sizes: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    frame.extend_from_slice(sizes);
    frame[1] |= 0x80;
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// What the broker has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A text.
    Text(String),
    /// Bytes, as a message.
    Binary(Vec<u8>),
    /// It asks for a Pong.
    Ping(Vec<u8>),
    /// It answers.
    Pong(Vec<u8>),
    /// It closes, with a code and a reason.
    Close(u16, String),
}

impl Message {
    fn read(first: u8, payload: Vec<u8>) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text is UTF-8");
        match first {
            TEXT => Self::Text(text(payload)),
            BINARY => Self::Binary(payload),
            PING => Self::Ping(payload),
            PONG => Self::Pong(payload),
            CLOSE => {
                let (code, reason) = payload.split_first_chunk().expect("a Close has a code");
                Self::Close(u16::from_be_bytes(*code), text(reason.to_vec()))
            }
            _ => panic!("a frame begins with {first:#x}: {payload:?}"),
        }
    }
}

/// A connection that has become a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    connection: Connection,
}

impl WebSocket {
    /// Becomes one in JSON, at a path.
    ///
    /// # Panics
    /// When the broker does not let it.
    #[must_use]
    pub fn json(address: SocketAddr, target: &str) -> Self {
        Self::open(address, target, "")
    }

    /// Becomes one in JSON that is subscribed to the latest of a topic.
    ///
    /// # Panics
    /// When the broker does not let it.
    #[must_use]
    pub fn subscriber(address: SocketAddr, topic: &str) -> Self {
        let mut socket = Self::json(address, &format!("/{topic}/ws"));
        let event = socket.event();
        assert_eq!(event["event"], "$subscribed", "{event}");
        socket
    }

    /// Becomes one that speaks frames, and is welcome.
    ///
    /// # Panics
    /// When the broker does not let it.
    #[must_use]
    pub fn native(address: SocketAddr) -> Self {
        let mut socket = Self::open(address, PATH, FRAMES);
        socket.say(BINARY, &record::hello(2, 2));
        assert_eq!(socket.line(), "welcome");
        socket
    }

    /// Becomes one, with more lines in the head of its request.
    ///
    /// # Panics
    /// When the broker does not let it.
    #[must_use]
    pub fn open(address: SocketAddr, target: &str, fields: &str) -> Self {
        let mut connection = Connection::open(address);
        connection.send(handshake(target, fields));
        Self::opened(connection)
    }

    /// Becomes one, as was asked.
    ///
    /// # Panics
    /// When the broker does not let it.
    #[must_use]
    pub fn opened(mut connection: Connection) -> Self {
        let answer: Answer = connection.head().expect("an answer");
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.field("upgrade"), Some("websocket"));
        assert_eq!(answer.field("connection"), Some("Upgrade"));
        assert_eq!(answer.field("sec-websocket-accept"), Some(ACCEPT));
        assert_eq!(answer.field("sec-websocket-extensions"), None);
        Self { connection }
    }

    /// The connection, for what has no words here.
    pub const fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.send(bytes);
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.connection.try_send(bytes)
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn say(&mut self, first: u8, payload: &[u8]) {
        self.send(frame(first, payload));
    }

    /// Sends a command in JSON.
    ///
    /// # Panics
    /// When the connection is broken.
    pub fn command(&mut self, command: &Value) {
        self.say(TEXT, command.to_string().as_bytes());
    }

    /// What comes next.
    ///
    /// # Errors
    /// How the connection ended before it.
    ///
    /// # Panics
    /// When nothing comes, or no frame that a broker may send.
    pub fn message(&mut self) -> Result<Message, End> {
        let [first, size] = self.connection.bytes(2)?[..] else {
            panic!("two bytes were asked for");
        };
        let size = match size {
            126 => {
                let size = self.connection.bytes(2)?;
                usize::from(u16::from_be_bytes(size.try_into().expect("2 bytes")))
            }
            127 => {
                let size = self.connection.bytes(8)?;
                u64::from_be_bytes(size.try_into().expect("8 bytes")) as usize
            }
            size => usize::from(size),
        };
        Ok(Message::read(first, self.connection.bytes(size)?))
    }

    /// The next text, as JSON; Pings are answered meanwhile.
    ///
    /// # Panics
    /// When something else comes.
    pub fn event(&mut self) -> Value {
        match self.answering().expect("the session goes on") {
            Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
            other => panic!("no text: {other:?}"),
        }
    }

    /// The next message, in one word for a frame of Oyez; Pings are answered meanwhile.
    ///
    /// # Panics
    /// When something else comes, or several frames in a message.
    pub fn line(&mut self) -> String {
        match self.answering().expect("the session goes on") {
            Message::Binary(bytes) => words(&bytes).join(", "),
            other => panic!("no frames: {other:?}"),
        }
    }

    /// The next message that is no Ping; those are answered.
    ///
    /// # Errors
    /// How the connection ended before it.
    pub fn answering(&mut self) -> Result<Message, End> {
        loop {
            match self.message()? {
                Message::Ping(payload) => self.say(PONG, &payload),
                message => return Ok(message),
            }
        }
    }

    /// Reads until the connection ends. Gives the code of the Close that it ends with, what came before in words, and how it ended.
    ///
    /// # Panics
    /// When something comes behind a Close.
    pub fn end(&mut self) -> (Option<u16>, Vec<String>, End) {
        let (mut heard, mut code) = (Vec::new(), None);
        loop {
            let message = match self.message() {
                Ok(message) => message,
                Err(end) => return (code, heard, end),
            };
            assert_eq!(code, None, "{message:?} behind a Close");
            match message {
                Message::Text(text) => heard.push(text),
                Message::Binary(bytes) => heard.extend(words(&bytes)),
                Message::Ping(_) => heard.push("ping".to_owned()),
                Message::Pong(_) => heard.push("pong".to_owned()),
                Message::Close(said, _) => code = Some(said),
            }
        }
    }
}

/// Frames of Oyez, a word or two each.
///
/// # Panics
/// When they are none.
#[must_use]
pub fn words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while !bytes.is_empty() {
        match decode(bytes, &Limits::HARD) {
            Ok(Decoded::Frame { frame, size }) => {
                words.push(word(&frame));
                bytes = &bytes[size..];
            }
            other => panic!("no whole frame: {other:?}"),
        }
    }
    words
}

fn word(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Welcome(_) => "welcome".to_owned(),
        Frame::Pong(pong) => format!("pong {}", pong.token),
        Frame::Record(record) => format!("{} {}", record.topic(), record.offset().get()),
        Frame::Subscribed(answer) => format!("subscribed {:?}", answer.outcome),
        Frame::Unsubscribed(answer) => format!("unsubscribed {:?}", answer.outcome),
        Frame::Published(published) => {
            let outcomes = published.entries().map(|entry| entry.outcome);
            format!("published {:?}", outcomes.collect::<Vec<_>>())
        }
        Frame::Goodbye(goodbye) => format!("goodbye {:?}: {}", goodbye.code, goodbye.reason),
        other => format!("{other:?}"),
    }
}
