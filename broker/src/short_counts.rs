//! Tests a broker all of whose sends are cut short on sockets that have room: every client gets everything, in whole frames,
//! although no event ever says that a socket can take more.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use oyez_protocol::command::{Hello, Query, Question, Start, Subscribe, Subscription, VERSION};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;
use oyez_protocol::{Decoded, Frame, decode};

use crate::config::Sending;
use crate::sys::socket::short;
use crate::{Config, Server};

/// Far longer than any wait here needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a send; so few that a visit's calls do not send a whole record.
const BYTES_MAX: usize = 1000;
const LARGE: usize = 100 << 10;
/// Size of a record that is larger than what a visit sends, and small enough for the ring.
const MIDDLE: usize = 40 << 10;
/// So many topics that their list is more than a visit sends.
const TOPICS: usize = 300;

struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut peer = Self {
            stream,
            buffer: Vec::new(),
        };
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            features: 0,
            heartbeat_ms: 0,
            name: "",
            credentials: &[],
        };
        peer.say(|out| hello.encode(out));
        peer.hear(|frame| matches!(frame, Frame::Welcome(_)).then_some(()));
        peer
    }

    fn say(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        self.stream.write_all(&out).expect("the broker reads");
    }

    /// Receives frames until `pick` returns a value. Sends nothing meanwhile, as that would wake the broker.
    fn hear<T>(&mut self, mut pick: impl FnMut(&Frame<'_>) -> Option<T>) -> T {
        let mut read = vec![0; 64 << 10];
        loop {
            while let Decoded::Frame { frame, size } =
                decode(&self.buffer, &Limits::HARD).expect("frames come whole")
            {
                let picked = pick(&frame);
                self.buffer.drain(..size);
                if let Some(picked) = picked {
                    return picked;
                }
            }
            let size = self.stream.read(&mut read).expect("bytes go on to come");
            assert!(size > 0, "the broker has closed");
            self.buffer.extend_from_slice(&read[..size]);
        }
    }

    fn publish(&mut self, topic: &str, size: usize, count: usize) {
        let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
        for _ in 0..count {
            let payload = vec![b'x'; size];
            builder.push(&MessageRef::new(&payload)).expect("it fits");
            self.say(|out| builder.finish_stored(1, out));
        }
        let mut left = count;
        self.hear(|frame| {
            if let Frame::Published(published) = frame {
                left -= published.entries().count();
            }
            (left == 0).then_some(())
        });
    }

    fn subscribe(&mut self, topic: &str, start: Start) {
        let topic = Subscription::new(topic, start, None);
        self.say(|out| Subscribe::encode(1, &[topic], out));
    }

    /// Receives until there are so many records of each topic, in their order.
    fn records(&mut self, topics: &[&str], count: u64) {
        let mut next: HashMap<String, u64> = HashMap::new();
        let mut left = topics.len() as u64 * count;
        self.hear(|frame| {
            if let Frame::Record(record) = frame {
                record.check_header().expect("a whole record");
                let next = next.entry(record.topic().to_owned()).or_default();
                assert_eq!(record.offset().get(), *next, "{}", record.topic());
                *next += 1;
                left -= 1;
            }
            (left == 0).then_some(())
        });
    }
}

/// Subscribes to several topics with history at once, and reads all of it.
fn catch_up(address: SocketAddr) {
    let topics = ["large/1", "large/2", "small"];
    let mut publisher = Peer::connect(address);
    for topic in topics {
        let size = if topic == "small" { 300 } else { LARGE };
        publisher.publish(topic, size, 60);
    }
    let mut subscriber = Peer::connect(address);
    for topic in topics {
        subscriber.subscribe(topic, Start::Earliest);
    }
    subscriber.records(&topics, 60);
}

/// Publishes to many live subscribers.
fn fan_out(address: SocketAddr, size: usize) {
    let topic = &format!("live/{size}");
    let mut subscribers: Vec<Peer> = (0..12).map(|_| Peer::connect(address)).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe(topic, Start::Latest);
        subscriber.hear(|frame| matches!(frame, Frame::Subscribed(_)).then_some(()));
    }
    Peer::connect(address).publish(topic, size, 1);
    for subscriber in &mut subscribers {
        subscriber.records(&[topic], 1);
    }
}

/// Asks for an answer that is itself long.
fn list(address: SocketAddr) {
    let mut peer = Peer::connect(address);
    for topic in 0..TOPICS {
        peer.publish(&format!("many/{topic}"), 1, 1);
    }
    let question = Question::Topics { after: "" };
    peer.say(|out| Query { id: 1, question }.encode(out));
    let size = peer.hear(|frame| match frame {
        Frame::Answer(answer) => Some(answer.json.len()),
        _ => None,
    });
    assert!(size > 16 * BYTES_MAX, "{size} bytes leave in one visit");
}

#[test]
fn sends_that_are_cut_short_go_on_without_an_event() {
    let home = tempfile::tempdir().expect("a directory for temporary files");
    short::BYTES_MAX.store(BYTES_MAX, Ordering::Relaxed);
    for sending in [Sending::Loop, Sending::Auto] {
        let server = Server::start(Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
            operator: Vec::new(),
            data: home.path().join(format!("{sending:?}")),
            shards: 1,
            sending,
            heartbeat_ms: u32::MAX,
            segment_bytes: 4 << 20,
            arena_bytes: 16 << 20,
            pin: false,
            ..Config::default()
        })
        .expect("the broker starts");
        catch_up(server.address());
        fan_out(server.address(), LARGE);
        fan_out(server.address(), MIDDLE);
        list(server.address());
        server.stopper().stop();
        server.wait().expect("the broker stops in good order");
    }
    short::BYTES_MAX.store(usize::MAX, Ordering::Relaxed);
}
