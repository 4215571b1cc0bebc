//! What is put under load. A target says where to connect, what to say there, and what the answers mean; sockets,
//! threads, pacing and figures are the bench's.

use std::net::SocketAddr;

use clap::ValueEnum;

/// What a subscriber says when it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Nothing: it is there when the server says that it has accepted it.
    Silence,
    /// Hello.
    Hello,
    /// Hello, and what it subscribes to.
    Subscribe,
}

/// How subscribers get what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// As the target's own clients do
    Native,
    /// As browsers do, over HTTP: server-sent events of GET /TOPIC/sse
    Sse,
    /// As a library in a browser does, over WebSocket: frames of Oyez under the subprotocol oyez.v2
    Ws,
    /// As browsers do without a library, over WebSocket: JSON of GET /TOPIC/ws
    WsJson,
}

impl Via {
    /// As it is told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Sse => "sse",
            Self::Ws => "ws",
            Self::WsJson => "ws-json",
        }
    }
}

/// A server of some protocol.
pub trait Target: Send + Sync {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Where subscribers connect.
    fn address(&self) -> SocketAddr;

    /// Where publishers connect.
    fn publish_address(&self) -> SocketAddr {
        self.address()
    }

    /// Appends what a new subscriber of topic `group` says; `from` is where it had come to, when it comes back. A target
    /// that is told nothing takes it for subscribed as soon as it is connected.
    fn join(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>);

    /// Appends what a subscriber says within the session that it has asked for, behind [`Heard::Open`]; the arguments are
    /// those of [`Self::join`].
    fn enter(&self, _group: usize, _from: Option<Place>, _out: &mut Vec<u8>) {}

    /// Whether a subscriber that has said something is told when it is subscribed.
    fn answers(&self) -> bool {
        true
    }

    /// Whether a server answers what a subscriber says first in one write. Then those words may carry the last packet of
    /// TCP's handshake; the subscriber acknowledges late what it is sent from there on.
    fn answers_at_once(&self) -> bool {
        true
    }

    /// Whether a subscriber that comes back gets what it has missed.
    fn keeps(&self) -> bool {
        true
    }

    /// Appends what a new publisher says. A target that is told nothing takes it for ready as soon as it is connected.
    fn greet(&self, out: &mut Vec<u8>);

    /// Appends what a publisher says behind [`Heard::Open`].
    fn enter_publisher(&self, _out: &mut Vec<u8>) {}

    /// Appends a publication of `payloads` to topic `group`, without what changes from one to the next.
    ///
    /// # Errors
    /// When the payloads do not fit, in words.
    fn compose(&self, group: usize, payloads: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String>;

    /// Writes into a composed publication what makes it this one.
    fn stamp(&self, publication: &mut [u8], stamp: Stamp);

    /// Appends a subscriber's answer to a sign of life.
    fn pong(&self, token: u64, out: &mut Vec<u8>);

    /// The same for a publisher.
    fn publisher_pong(&self, token: u64, out: &mut Vec<u8>) {
        self.pong(token, out);
    }

    /// Something that understands what the server says to subscribers; one for each thread of them.
    fn ear(&self, listening: Listening) -> Box<dyn Ear>;

    /// The same for a publisher.
    fn publisher_ear(&self) -> Box<dyn Ear> {
        self.ear(Listening::default())
    }

    /// What [`Heard::Record`] says of a publication's payloads, if its ears say something.
    fn sum(&self, _payloads: &[&[u8]]) -> u32 {
        0
    }

    /// Connections that the server has taken in since the bench began, where a subscriber cannot tell by itself.
    ///
    /// # Errors
    /// When the server does not answer, in words.
    fn accepted(&self) -> Result<Option<usize>, String> {
        Ok(None)
    }

    /// How many connections the server takes, where it says so.
    ///
    /// # Errors
    /// When the server does not answer, in words.
    fn room(&self) -> Result<Option<Room>, String> {
        Ok(None)
    }

    /// What stays in the server when something was published, as a sentence; none where nothing does.
    fn leaves(&self) -> Option<String> {
        None
    }

    /// A number that every run of the server has for itself; none where it has none.
    ///
    /// # Errors
    /// When the server does not answer, in words.
    fn run(&self) -> Result<Option<u64>, String> {
        Ok(None)
    }

    /// The server's anonymous memory in bytes, where it can be known.
    ///
    /// # Errors
    /// When the server does not answer, in words.
    fn memory(&self) -> Result<Option<u64>, String>;
}

/// How subscribers listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// They open every record and count its messages, as an application would.
    pub decode: bool,
    /// Messages of each publication, for a stream that does not tell where one ends.
    pub batch: u32,
}

/// Understands a stream of bytes from a server.
pub trait Ear: Send {
    /// Takes the whole frames at the start of `input`, appends what they say, and tells how many bytes they were.
    ///
    /// # Errors
    /// When the server refuses something or the bytes mean nothing, in words.
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String>;
}

/// Connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// How many there may be at once.
    pub limit: usize,
    /// How many there are.
    pub taken: usize,
}

/// Where a subscriber has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the next message in its topic.
    pub next: u64,
    /// The history that the number belongs to.
    pub epoch: u64,
}

/// What makes a publication this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Comes back in [`Heard::Published`].
    pub slot: u32,
    /// Number of its first message in its topic, of those of this run.
    pub first: u64,
    /// Number of the topic.
    pub group: usize,
}

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The session that was asked for is open, and nothing was said in it yet.
    Open,
    /// The session stands, and so much may be published without an answer.
    Welcome {
        /// Publications.
        records: u32,
        /// Bytes of them.
        bytes: u32,
    },
    /// The subscription stands, and this comes first.
    Subscribed(Place),
    /// Messages of one publication.
    Record {
        /// Number of the first within the topic.
        first: u64,
        /// How many they are.
        messages: u32,
        /// [`Target::sum`] of the payloads, where they were read.
        sum: Option<u32>,
    },
    /// The publication with this slot is kept; without one, the oldest of its connection.
    Published {
        /// [`Stamp::slot`].
        slot: Option<u32>,
    },
    /// A sign of life is asked for.
    Ping {
        /// Comes back in the answer.
        token: u64,
    },
}
