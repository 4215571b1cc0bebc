//! The interface to a server under load. A target says where to connect, what to send, and what the answers mean;
//! sockets, threads, pacing and figures belong to the bench.

use std::net::SocketAddr;

use clap::ValueEnum;

/// What a subscriber sends when it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Nothing: it counts as connected when the server says that it has accepted it.
    Silence,
    /// Hello.
    Hello,
    /// Hello and a subscription.
    Subscribe,
}

/// How subscribers get what is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// The target's own protocol
    Native,
    /// Server-sent events over HTTP, as in browsers: GET /TOPIC/sse
    Sse,
    /// Frames of Oyez over WebSocket, as the browser client: subprotocol oyez.v2
    Ws,
    /// JSON over WebSocket, as in browsers without a library: GET /TOPIC/ws
    WsJson,
}

impl Via {
    /// Its name on the command line.
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

    /// Appends what a new subscriber of topic `group` sends; `from` is its place when it comes back. If nothing is
    /// appended, the subscriber counts as subscribed as soon as it is connected.
    fn join(&self, group: usize, from: Option<Place>, out: &mut Vec<u8>);

    /// Appends what a subscriber sends after [`Heard::Open`], within the session that it has asked for; the arguments
    /// are those of [`Self::join`].
    fn enter(&self, _group: usize, _from: Option<Place>, _out: &mut Vec<u8>) {}

    /// Whether the server answers a subscriber when it is subscribed.
    fn answers(&self) -> bool {
        true
    }

    /// Whether the server answers a subscriber's first bytes in one write. Then those bytes may travel with the last
    /// packet of TCP's handshake; from then on the subscriber's kernel acknowledges late what it receives.
    fn answers_at_once(&self) -> bool {
        true
    }

    /// Whether a subscriber that comes back gets what it has missed.
    fn keeps(&self) -> bool {
        true
    }

    /// Appends what a new publisher sends. If nothing is appended, the publisher counts as ready as soon as it is
    /// connected.
    fn greet(&self, out: &mut Vec<u8>);

    /// Appends what a publisher sends after [`Heard::Open`].
    fn enter_publisher(&self, _out: &mut Vec<u8>) {}

    /// Appends a publication of `payloads` to topic `group`, without what changes from one to the next.
    ///
    /// # Errors
    /// When the payloads do not fit, in words.
    fn compose(&self, group: usize, payloads: &[&[u8]], out: &mut Vec<u8>) -> Result<(), String>;

    /// Writes into a composed publication the parts that differ from one to the next.
    fn stamp(&self, publication: &mut [u8], stamp: Stamp);

    /// Appends a subscriber's answer to a ping.
    fn pong(&self, token: u64, out: &mut Vec<u8>);

    /// The same for a publisher.
    fn publisher_pong(&self, token: u64, out: &mut Vec<u8>) {
        self.pong(token, out);
    }

    /// Creates a decoder of what the server sends to subscribers; each of their threads has one.
    fn ear(&self, listening: Listening) -> Box<dyn Ear>;

    /// The same for a publisher.
    fn publisher_ear(&self) -> Box<dyn Ear> {
        self.ear(Listening::default())
    }

    /// The sum that [`Heard::Record`] must have for these payloads, if the decoder computes one.
    fn sum(&self, _payloads: &[&[u8]]) -> u32 {
        0
    }

    /// Number of connections that the server has accepted since the bench began, where a subscriber cannot tell by
    /// itself.
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

    /// A sentence about what stays in the server after publishing; `None` where nothing does.
    fn leaves(&self) -> Option<String> {
        None
    }

    /// A number that differs between two runs of the server; `None` where it has none.
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

/// How subscribers read what they are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// Whether they decode every record and count its messages, as an application would.
    pub decode: bool,
    /// Messages of each publication, for a stream that does not mark where one ends.
    pub batch: u32,
}

/// Decodes a stream of bytes from a server.
pub trait Ear: Send {
    /// Decodes the whole frames at the start of `input`, appends what they say to `heard`, and returns their size in
    /// bytes.
    ///
    /// # Errors
    /// When the server refuses something or the bytes are invalid, in words.
    fn hear(&mut self, input: &[u8], heard: &mut Vec<Heard>) -> Result<usize, String>;
}

/// The room of a server for connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most connections at once.
    pub limit: usize,
    /// Connections that it has now.
    pub taken: usize,
}

/// A subscriber's place in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the next message in its topic.
    pub next: u64,
    /// The history that the number belongs to.
    pub epoch: u64,
}

/// The parts of a publication that differ from one to the next.
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
    /// The session that was asked for is open, and nothing was sent in it yet.
    Open,
    /// The session stands, and this much may be published without an answer.
    Welcome {
        /// Publications.
        records: u32,
        /// Bytes of them.
        bytes: u32,
    },
    /// The subscription stands, and begins at this place.
    Subscribed(Place),
    /// Messages of one publication.
    Record {
        /// Number of the first within the topic.
        first: u64,
        /// Number of messages.
        messages: u32,
        /// [`Target::sum`] of the payloads, where they were read.
        sum: Option<u32>,
    },
    /// The publication with this slot is kept; without one, the oldest of its connection.
    Published {
        /// [`Stamp::slot`].
        slot: Option<u32>,
    },
    /// The server asks for a sign of life.
    Ping {
        /// Comes back in the answer.
        token: u64,
    },
}
