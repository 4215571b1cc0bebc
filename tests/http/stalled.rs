//! Streams whose clients stop reading cost no memory beside the cache of rendered records, and delay nobody; when they read
//! again they get everything.

use std::time::Instant;

use testkit::figures::{figure, full, size};
use testkit::http::{Connection, Events};
use testkit::random::Random;
use testkit::{Broker, Outcome, Session, Setup};

const STREAMS: usize = 200;
const MESSAGE_BYTES: usize = 64 << 10;
/// Messages that are acknowledged before the next ones are sent.
pub(crate) const CHUNK: usize = 16;
/// Bytes of the arena, and messages that fill it before there is a stream: it takes memory when it is written.
pub(crate) const ARENA_BYTES: usize = 16 << 20;
pub(crate) const FILL: usize = 2 * ARENA_BYTES / MESSAGE_BYTES;
/// After so many all streams have read some, so that what is allocated once is there.
pub(crate) const FIRST: usize = FILL + 2 * CHUNK;
/// What all stalled streams together may cost, in bytes of private memory. Measured: 1 MB over 20 MB, 3 MB over 200 MB, of which
/// they lack 2 and 20 GB.
pub(crate) const MEMORY_MAX: u64 = 8 << 20;

/// Numbered messages that compress a little, as text does.
pub(crate) struct Texts {
    fillers: Vec<String>,
    pub(crate) count: usize,
}

impl Texts {
    pub(crate) fn new(megabytes: usize) -> Self {
        let mut random = Random::new(11);
        let mut filler = || {
            let bytes = random.bytes(MESSAGE_BYTES / 2);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        };
        Self {
            fillers: (0..CHUNK).map(|_| filler()).collect(),
            count: FIRST + (megabytes << 20) / MESSAGE_BYTES / CHUNK * CHUNK,
        }
    }

    /// A message.
    pub(crate) fn text(&self, number: usize) -> String {
        format!("{number} {}", self.fillers[number % CHUNK])
    }

    pub(crate) fn publish(&self, publisher: &mut Session, from: usize, to: usize) {
        for first in (from..to).step_by(CHUNK) {
            let texts = (first..first + CHUNK).map(|number| self.text(number));
            let texts: Vec<String> = texts.collect();
            for entry in publisher.publish_each("texts", &texts) {
                assert_eq!(entry.outcome, Outcome::Ok);
            }
        }
    }

    /// Reads messages; each must be the one that was published, in its order.
    fn read(&self, stream: &mut Events, from: usize, to: usize) {
        for number in from..to {
            let event = stream.event().expect("the stream goes on");
            assert_eq!(event.name, "", "nothing is missing");
            let (first, filler) = event.data.split_once(' ').expect("a number and a text");
            assert_eq!(first, number.to_string(), "messages come in order");
            assert!(filler == self.fillers[number % CHUNK], "message {number}");
        }
    }

    /// The same for many streams at once.
    fn read_all(&self, streams: &mut [Events], from: usize, to: usize) {
        std::thread::scope(|scope| {
            for stream in streams {
                scope.spawn(move || self.read(stream, from, to));
            }
        });
    }
}

/// Private memory without the cache of rendered records, in bytes.
pub(crate) fn memory(broker: &Broker) -> u64 {
    let cached = broker.counter("rendition_bytes");
    let beside = broker.memory().checked_sub(cached);
    beside.expect("the arena is full and counted once")
}

#[test]
fn streams_that_stall_cost_no_memory_and_delay_nobody_and_get_everything_when_they_read_again() {
    let megabytes = size("OYEZ_STREAM_MB", if full() { 200 } else { 20 });
    let setup = Setup::new().set("arena_bytes", ARENA_BYTES);
    let (broker, texts) = (setup.start(), Texts::new(megabytes));
    let mut publisher = broker.connect();
    texts.publish(&mut publisher, 0, FILL);
    let mut streams: Vec<Events> = (0..STREAMS)
        .map(|_| Events::begin(Connection::open(broker.address()), "/texts/sse"))
        .collect();
    texts.publish(&mut publisher, FILL, FIRST);
    texts.read_all(&mut streams, FILL, FIRST);
    let before = memory(&broker);

    let begin = Instant::now();
    let (stalled, others) = streams.split_at_mut(STREAMS / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| texts.read_all(others, FIRST, texts.count));
        texts.publish(&mut publisher, FIRST, texts.count);
    });
    let others_s = begin.elapsed().as_secs_f64();
    let grown = memory(&broker).saturating_sub(before);
    let lag = broker.connect().lag();
    let behind = lag["max"].as_u64().expect("a number");
    let published = (texts.count - FIRST) as u64;
    assert!(behind > published / 2, "they have stalled: {lag}");

    texts.read_all(stalled, FIRST, texts.count);
    let again_s = begin.elapsed().as_secs_f64() - others_s;
    let figures = format!(
        "{grown} B more memory while {} of {STREAMS} streams stall over {megabytes} MB; the others took {others_s:.1} s, the \
         stalled {again_s:.1} s when they read again",
        STREAMS / 2
    );
    figure("stalled streams", &figures);
    assert!(grown <= MEMORY_MAX, "{figures}");
}
