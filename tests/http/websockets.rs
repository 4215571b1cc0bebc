//! WebSocket as hostile and careless peers speak it: each exchange ends with the code, the status or the answer that it has to,
//! an honest pair goes on beside it, and in the end the broker has not grown.

mod commands;
mod floods;
mod frames;
mod handshakes;
mod patience;
mod stalled;

use serde_json::json;
use testkit::http::End;
use testkit::process::status_bytes;
use testkit::record::subscribe_to;
use testkit::websocket::{BINARY, PATH, TEXT, WebSocket};
use testkit::{Broker, Setup};

/// Bytes by which the broker may have grown at the end. Measured: below 1 MB.
const GROWTH_MAX: u64 = 8 << 20;

/// The language of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Frames,
    Json,
}

impl Spoken {
    const BOTH: [Self; 2] = [Self::Frames, Self::Json];

    /// A session that is open.
    fn open(self, broker: &Broker) -> WebSocket {
        match self {
            Self::Frames => WebSocket::native(broker.address()),
            Self::Json => WebSocket::json(broker.address(), PATH),
        }
    }

    /// The first byte of a message, and that of one of the other kind.
    const fn kinds(self) -> (u8, u8) {
        match self {
            Self::Frames => (BINARY, TEXT),
            Self::Json => (TEXT, BINARY),
        }
    }
}

/// A broker, and two honest clients that are served whatever others do.
struct Site {
    broker: Broker,
    frames: WebSocket,
    json: WebSocket,
    published: u64,
    before: u64,
}

impl Site {
    fn new() -> Self {
        Self::with(Setup::new())
    }

    fn with(setup: Setup) -> Self {
        let broker = setup.set("memory_topics", "#").start();
        let mut frames = WebSocket::native(broker.address());
        frames.say(BINARY, &subscribe_to(b"pairs"));
        assert_eq!(frames.line(), "subscribed Ok");
        let mut site = Self {
            frames,
            json: WebSocket::subscriber(broker.address(), "pairs"),
            broker,
            published: 0,
            before: 0,
        };
        // Everything that is allocated once is allocated then.
        for _ in 0..20 {
            site.goes_on();
        }
        site.before = site.memory();
        site
    }

    fn memory(&self) -> u64 {
        status_bytes(self.broker.pid(), "RssAnon")
    }

    /// The next message of the pair goes through as if nothing had happened.
    fn goes_on(&mut self) {
        let (id, payload) = (self.published + 1, format!("message {}", self.published));
        let publish =
            json!({ "command": "publish", "topic": "pairs", "payload": payload, "id": id });
        self.json.command(&publish);
        let mut heard = [self.json.event(), self.json.event()];
        heard.sort_by_key(|event| event["event"].is_null());
        assert_eq!(heard[0]["event"], "$published", "{heard:?}");
        assert_eq!(heard[0]["id"], id);
        assert_eq!(heard[1]["payload"], *payload);
        assert_eq!(self.frames.line(), format!("pairs {}", self.published));
        self.published += 1;
    }

    /// All is over, and the broker has not grown.
    fn has_not_grown(mut self) {
        self.goes_on();
        let grown = self.memory().saturating_sub(self.before);
        assert!(grown <= GROWTH_MAX, "{grown} B more memory");
    }
}

/// Says something in a session that is open. It ends with a Close of this code, and with no reset. Gives what was heard before.
fn closes(site: &mut Site, spoken: Spoken, (what, says, code): (&str, &[u8], u16)) -> Vec<String> {
    let mut socket = spoken.open(&site.broker);
    socket.send(says);
    let (said, heard, end) = socket.end();
    let told = format!("{what}, {spoken:?}: {heard:?}");
    assert_eq!((said, end), (Some(code), End::Closed), "{told}");
    site.goes_on();
    heard
}
