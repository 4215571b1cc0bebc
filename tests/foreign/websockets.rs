//! Libraries that speak WebSocket: in JSON what they publish is there, and they read it in order, whole and once, also when the broker
//! was away; and they pass frames on.

use serde_json::Value;
use testkit::deadline::PATIENCE;
use testkit::program::Program;
use testkit::record::{hello, ping, record};
use testkit::websocket::words;
use testkit::{Broker, Setup};

use crate::beside;
use crate::client::{Language, messages, steady, texts};
use testkit::tools::{PYTHON_OF_PACKAGES, Tool, are_here, command};

pub(crate) const NODE: Language = Language {
    interpreter: "node",
    file: "websocket.cjs",
    tools: &[Tool::Program("node"), Tool::Module("ws")],
};
pub(crate) const PYTHON: Language = Language {
    interpreter: PYTHON_OF_PACKAGES,
    file: "websocket.py",
    tools: &[Tool::Package("websockets")],
};
/// The code of a Close with which a broker goes that comes back.
const RESTART: u16 = 1012;

/// Publishes, reads, goes on behind a message, and comes back to a broker that was away.
fn speaks(language: Language, test: &str) {
    if !are_here(test, language.tools) {
        return;
    }
    let mut broker = steady(&Setup::new());
    let topic = format!("ws://{}/from/abroad", broker.address());
    let mut reader = language.read(&topic, "").connected();
    let mut publisher = language.publish(&topic);

    let first = messages(0..20);
    let offsets = publisher.publish(&first);
    assert_eq!(offsets, (0..20).collect::<Vec<u64>>());
    let heard = reader.messages(20);
    assert_eq!(texts(&heard), first);

    let mut resumed = language.read(&topic, &heard[6].id).connected();
    assert_eq!(resumed.messages(13), heard[7..]);

    for times in 1..=2 {
        let second = messages(20 * times..20 * times + 20);
        broker.stop();
        broker.restart();
        // Some of it is there before they are back.
        broker.connect().publish_each("from/abroad", &second[..10]);
        let from = 20 * times as u64 + 10;
        let offsets = publisher.publish(&second[10..]);
        assert_eq!(offsets, (from..from + 10).collect::<Vec<u64>>());
        for reader in [&mut reader, &mut resumed] {
            assert_eq!(texts(&reader.messages(20)), second);
            assert_eq!(reader.connections, times + 1, "it came back once");
            assert_eq!(reader.closes, vec![RESTART; times]);
        }
    }
}

#[test]
fn node_reads_and_publishes_in_json_with_ws() {
    speaks(NODE, "clients with ws");
}

#[test]
fn python_reads_and_publishes_in_json_with_websockets() {
    speaks(PYTHON, "clients with websockets");
}

/// A program that sends messages, each of which has one as its answer.
struct Frames(Program);

impl Frames {
    fn next(&mut self) -> Value {
        serde_json::from_str(&self.0.line()).expect("it prints JSON")
    }

    fn ask(&mut self, frame: &[u8]) -> Vec<String> {
        let digits: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        self.0.tell(&digits);
        let told = self.next();
        let digits = told["data"].as_str().expect("digits");
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("a digit");
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
        words(&bytes)
    }
}

/// Says hello, pings and publishes in frames, and closes.
fn passes_frames(language: Language, test: &str) {
    if !are_here(test, language.tools) {
        return;
    }
    let broker = Broker::start();
    let url = format!("ws://{}/api/v1/ws", broker.address());
    let mut program = command(language.interpreter);
    program.arg(beside(language.file)).args(["frames", &url]);
    let mut frames = Frames(Program::start(&mut program));
    let open = frames.next();
    assert_eq!(open["subprotocol"], "oyez.v2");
    assert_eq!(frames.ask(&hello(2, 2)), ["welcome"]);
    assert_eq!(frames.ask(&ping(77)), ["pong 77"]);
    for size in [1, 125, 126, 65_000, 200_000] {
        let payload = testkit::random::Random::new(3).bytes(size);
        let record = record("frames", &[&payload], 1);
        assert_eq!(frames.ask(&record), ["published [Ok]"], "{size}");
        let mut reader = broker.connect();
        reader.subscribe("frames", testkit::Start::Earliest);
        let count = usize::try_from(
            broker
                .connect()
                .subscribe("frames", testkit::Start::Latest)
                .head
                .get(),
        );
        let stored = reader.messages("frames", count.expect("a small number"));
        assert_eq!(stored.last().map(|(_, stored)| stored), Some(&payload));
    }
    // It asks for a Pong of WebSocket, and closes.
    frames.0.tell_no_more();
    assert_eq!(frames.next()["code"], 1000);
    let end = frames.0.end_within(PATIENCE).expect("it ends");
    assert!(end.success(), "{end:?}");
}

#[test]
fn node_passes_frames_with_ws() {
    passes_frames(NODE, "frames with ws");
}

#[test]
fn python_passes_frames_with_websockets() {
    passes_frames(PYTHON, "frames with websockets");
}
