//! Shards without threads, for tests of single steps: the parts over the network and the disk in memory, a clock that a test
//! sets, and clients that send and receive frames.
//!
//! A test brings a rig to where its step matters by whole [`Rig::turn`]s, calls that step alone with the parts that it needs, and
//! looks at the parts, or at what clients hear.
#![allow(dead_code, reason = "the tests of each step use a part of it")]

use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::command::{
    Hello, Numbered, Query, Question, Start, Subscribe, Subscription, Unsubscribe, VERSION,
};
use oyez_protocol::event::{
    Gap, Goodbye, GoodbyeCode, Heartbeat, Outcome, PublishedEntry, Subscribed, Unsubscribed,
    Welcome,
};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{Record, RecordBuilder};
use oyez_protocol::{Decoded, Frame, decode};
use oyez_storage::{
    ArenaOptions, ArenaPool, BLOCK_BYTES, DataDir, DirOptions, Durability, LogOptions, MemoryDisk,
    Store,
};

use crate::clock::{Clock, Now};
use crate::config::Config;
use crate::error::ShardError;
use crate::lend::Parts;
use crate::measure::metrics::ShardMetrics;
use crate::net::memory::{MemoryNet, Peer};
use crate::parts::due::Due;
use crate::parts::ending::Reason;
use crate::parts::session::{Session, SessionId};
use crate::parts::shared::Shared;
use crate::parts::subscription::SubscriptionRef;
use crate::shard::Shard;
use crate::simulation::{self, Narrow, SetClock, Setup};
use crate::turn::fanout::take_news;

/// The time at which a rig begins.
const BEGIN_MS: u64 = 1_000_000;
const SEGMENT_BYTES: u64 = 4 << 20;
/// Topics that a log may have: several pages of a list of them.
pub(crate) const TOPICS_MAX: usize = 2_000;
/// Turns in a row without work after which a rig is settled. A shard sees what a disk has finished in the turn after that.
const IDLE_TURNS: usize = 4;
/// Turns after which the work of a few clients must be done.
const TURNS_MAX: usize = 200;

/// One shard of a rig.
pub(crate) struct Rig {
    shard: Shard,
    pub(crate) net: MemoryNet,
    pub(crate) disk: MemoryDisk,
    clock: SetClock,
}

/// Settings for tests: topics are kept in memory, but for those below `synced/`, and begin without a bound.
pub(crate) fn settings() -> Config {
    Config {
        default_durability: Durability::Memory,
        synced_topics: vec!["synced/#".to_owned()],
        topic_creation_rate: 0,
        ..Config::default()
    }
}

impl Rig {
    /// A broker of one shard.
    pub(crate) fn new() -> Self {
        Self::with(settings())
    }

    pub(crate) fn with(config: Config) -> Self {
        let [rig] = Self::shards(config);
        rig
    }

    /// A broker of several shards. Log `n` belongs to shard `n % N`.
    pub(crate) fn shards<const N: usize>(config: Config) -> [Self; N] {
        let logs = u16::try_from(N).expect("a few shards");
        let options = DirOptions {
            logs_per_durability: logs,
            entropy: [7; 16],
            restored: false,
        };
        let dir = DataDir::imagined(&options).expect("a few logs");
        let arena = ArenaOptions {
            blocks_max: 16 * dir.logs().count(),
            blocks_ready: 4,
        };
        let pool = ArenaPool::without_thread(&arena).expect("memory for an arena");
        let clock = SetClock::new(BEGIN_MS);
        let disks = [(); N].map(|()| MemoryDisk::new());
        let setup = Setup {
            config,
            dir,
            disks: disks.to_vec(),
            clock: clock.clone(),
            connections_per_shard: 1_000,
            instance: 7,
            narrow: Narrow::default(),
        };
        let shared = Arc::new(simulation::share(setup, pool));
        let stores: Vec<Store> = (0..N)
            .map(|id| open_store(&shared, id, &disks[id], clock.clone().now()))
            .collect();
        let shards = simulation::make(&shared, stores, &clock);
        let rigs = shards.into_iter().zip(disks);
        let rigs: Vec<Self> = rigs
            .map(|((shard, net), disk)| Self {
                shard,
                net,
                disk,
                clock: clock.clone(),
            })
            .collect();
        rigs.try_into().ok().expect("one for each shard")
    }

    pub(crate) fn parts(&mut self) -> &mut Parts {
        &mut self.shard.parts
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Lets time pass, for all shards.
    pub(crate) fn pass(&self, ms: u64) {
        self.clock.pass(ms);
    }

    /// Takes the events that have come, and the time, so that a step can be called.
    pub(crate) fn begin_turn(&mut self) {
        self.parts().context.shared.pool.touch_next();
        self.shard.begin_turn(Due::Now).expect("the net works");
    }

    /// Runs one turn. Returns when the next one is due.
    pub(crate) fn turn(&mut self) -> Due {
        self.begin_turn();
        self.shard.turn().expect("the store works")
    }

    /// Runs turns until nothing is left to be done at once.
    pub(crate) fn settle(&mut self) {
        settle(&mut [self]);
    }

    /// Connects a client that says nothing yet.
    pub(crate) fn connect(&mut self) -> Client {
        let peer = self.net.connect();
        let before = self.shard.parts.sessions.ids();
        self.settle();
        let ids = self.shard.parts.sessions.ids();
        let id = ids.into_iter().find(|id| !before.contains(id));
        Client {
            peer,
            id: id.expect("it was accepted"),
        }
    }

    /// Connects a client that is welcomed.
    pub(crate) fn join(&mut self) -> Client {
        let client = self.connect();
        client.hello();
        self.settle();
        assert_eq!(client.hear(), ["welcome"]);
        client
    }

    /// Connects a client that is welcomed and subscribes to a topic, and takes the answers to that.
    pub(crate) fn subscriber(&mut self, topic: &str) -> Client {
        let client = self.join();
        client.subscribe(topic, Start::Latest);
        self.settle();
        assert_eq!(client.hear().len(), 1);
        client
    }

    /// Publishes `count` messages of `size` bytes each, in a record each, to `topic`, and waits until they are acknowledged.
    pub(crate) fn publish(&mut self, topic: &str, size: usize, count: usize) {
        let publisher = self.join();
        for _ in 0..count {
            publisher.publish(topic, size);
            self.settle();
        }
        assert_eq!(publisher.hear().len(), count);
        publisher.peer.shutdown();
        self.settle();
    }

    /// So many subscribers of a topic, in the order of its list.
    pub(crate) fn subscribers(&mut self, topic: &str, count: usize) -> Vec<Client> {
        (0..count).map(|_| self.subscriber(topic)).collect()
    }

    /// Takes records that were published since and follows them, but sends none yet: the walk is the next step.
    pub(crate) fn follow(&mut self) {
        self.begin_turn();
        loop {
            self.parts().read();
            self.parts().pump().expect("the store works");
            self.parts().deliver_acks();
            let parts = self.parts();
            take_news(&mut parts.feeds, &mut parts.logs);
            if !parts.sessions.has_some_to_read() {
                return;
            }
        }
    }

    /// Where a client's subscription to a topic lies.
    pub(crate) fn place(&mut self, client: &Client, topic: &str) -> SubscriptionRef {
        let form = self.session(client).form();
        let number = self.parts().feeds.find(topic, form).expect("a known topic");
        let session = self.parts().sessions.get(client.id).expect("a session");
        session
            .subscriptions()
            .find(number)
            .expect("a subscription")
    }

    /// The offset of the next message that a client gets of a topic.
    pub(crate) fn cursor(&mut self, client: &Client, topic: &str) -> u64 {
        let place = self.place(client, topic);
        self.parts().feeds.cursor(place).get()
    }

    pub(crate) fn session(&mut self, client: &Client) -> &mut Session {
        let sessions = &mut self.parts().sessions;
        sessions.get_mut(client.id).expect("it is there")
    }

    /// Bytes that a client's socket has taken of a half-sent record.
    pub(crate) fn tail(&mut self, client: &Client) -> Option<u32> {
        self.session(client).tail().map(|tail| tail.sent)
    }

    /// Takes the sessions to send to off their list.
    pub(crate) fn take_to_send(&mut self) -> Vec<SessionId> {
        let sessions = &mut self.parts().sessions;
        std::iter::from_fn(|| sessions.next_to_send()).collect()
    }

    pub(crate) fn metrics(&mut self) -> &ShardMetrics {
        self.parts().context.metrics()
    }

    /// How long the shard waits until something is due.
    pub(crate) fn wait(&mut self, due: Due) -> Option<Duration> {
        self.shard.begin_turn(due).expect("the net works");
        self.net.last_wait()
    }

    /// The address of a client, as the network says it.
    pub(crate) fn net_peer(&mut self, client: &Client) -> std::net::SocketAddr {
        let socket = self.session(client).socket();
        self.parts().net.peer(socket).expect("it is connected")
    }

    /// Runs one turn, which may fail.
    pub(crate) fn try_turn(&mut self) -> Result<Due, ShardError> {
        self.begin_turn();
        self.shard.turn()
    }

    /// Ends a shard whose shutdown is over.
    pub(crate) fn close(self) -> Result<(), ShardError> {
        self.shard.parts.close()
    }

    /// Puts a record of a topic into an own memory log, where it is visible from now on. No publisher waits for its outcome.
    pub(crate) fn append(&mut self, topic: &str, size: usize) {
        let (bytes, wall_ms) = (record(topic, size), self.now_ms());
        let record = Record::trusted(&bytes).expect("a record");
        let log = self.shard.parts.context.shared.log_of(topic);
        let appended = self.shard.parts.logs.append(log, &record, wall_ms);
        appended.expect("there is room for it");
    }

    /// Topics whose logs belong to shard `owner`. Their names begin with `prefix`.
    pub(crate) fn topics_of(&self, owner: usize, prefix: &str) -> impl Iterator<Item = String> {
        let (shared, prefix) = (self.shard.parts.context.shared.clone(), prefix.to_owned());
        let names = (0..).map(move |number| format!("{prefix}{number}"));
        names.filter(move |name| shared.owner(shared.log_of(name)) == owner)
    }

    /// The first of [`Self::topics_of`].
    pub(crate) fn topic_of(&self, owner: usize, prefix: &str) -> String {
        let first = self.topics_of(owner, prefix).next();
        first.expect("names without end")
    }

    /// Ends a client's session without a word, as a step would.
    pub(crate) fn end(&mut self, client: &Client, reason: Reason) {
        let parts = &mut self.shard.parts;
        parts.sessions.end(&parts.context, client.id, reason);
    }

    /// Ends a client's session with a Goodbye, as a step would.
    pub(crate) fn refuse(&mut self, client: &Client, reason: &'static str) {
        let parts = &mut self.shard.parts;
        let code = GoodbyeCode::Unexpected;
        parts
            .sessions
            .refuse(&parts.context, client.id, code, reason);
    }

    /// When the first timer fires, in milliseconds from now.
    pub(crate) fn next_timer_ms(&self) -> Option<u64> {
        match self.shard.parts.timers.due(self.now_ms()) {
            Due::At(due_ms) => Some(due_ms - self.now_ms()),
            Due::Now => Some(0),
            Due::Idle => None,
        }
    }
}

/// Runs turns of all these shards until no work is due at once, and the disks have finished nothing more.
pub(crate) fn settle(rigs: &mut [&mut Rig]) {
    let mut idle = 0;
    for _ in 0..TURNS_MAX {
        let dues: Vec<Due> = rigs.iter_mut().map(|rig| rig.turn()).collect();
        let woken = rigs.iter().any(|rig| !rig.net.woken().is_empty());
        let is_idle = !woken && dues.iter().all(|due| *due != Due::Now);
        idle = if is_idle { idle + 1 } else { 0 };
        if idle == IDLE_TURNS {
            return;
        }
    }
    panic!("there is still something to be done after {TURNS_MAX} turns");
}

fn open_store(shared: &Shared, id: usize, disk: &MemoryDisk, now: Now) -> Store {
    let own = simulation::own_logs(shared, id);
    let options = LogOptions {
        segment_bytes: SEGMENT_BYTES,
        hot_blocks: 1,
        memory_blocks: (shared.config.memory_log_bytes / BLOCK_BYTES).max(2) as usize,
        topics_max: TOPICS_MAX,
        limits: shared.config.limits(),
        ..LogOptions::default()
    };
    let (disk, pool) = (Box::new(disk.clone()), shared.pool.clone());
    let opened = Store::open(&shared.dir, &own, disk, pool, &options, now.into());
    opened.expect("an empty store opens").0
}

/// A client that speaks in frames.
pub(crate) struct Client {
    pub(crate) peer: Peer,
    /// Its session.
    pub(crate) id: SessionId,
}

impl Client {
    pub(crate) fn say(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        self.peer.write(&bytes);
    }

    pub(crate) fn hello(&self) {
        self.say_hello(&HELLO);
    }

    pub(crate) fn say_hello(&self, hello: &Hello<'_>) {
        self.say(|out| hello.encode(out));
    }

    pub(crate) fn pong(&self, token: u64) {
        self.say(|out| Heartbeat { token }.encode_pong(out));
    }

    /// Says that it is done.
    pub(crate) fn say_goodbye(&self) {
        self.peer.write(&goodbye_bytes());
    }

    /// Sends a frame that only a broker sends.
    pub(crate) fn say_as_a_broker(&self) {
        let (id, outcome) = (1, Outcome::Ok);
        self.say(|out| Unsubscribed { id, outcome }.encode(out));
    }

    pub(crate) fn ping(&self, token: u64) {
        self.say(|out| Heartbeat { token }.encode_ping(out));
    }

    pub(crate) fn subscribe(&self, topic: &str, start: Start) {
        self.peer.write(&subscribe_bytes(topic, start));
    }

    pub(crate) fn unsubscribe(&self, topic: &str) {
        let unsubscribe = Unsubscribe {
            id: 1,
            name: topic,
            is_filter: false,
        };
        self.say(|out| unsubscribe.encode(out));
    }

    pub(crate) fn ask(&self, question: Question<'_>) {
        self.say(|out| Query { id: 1, question }.encode(out));
    }

    /// Publishes a message of `size` bytes.
    pub(crate) fn publish(&self, topic: &str, size: usize) {
        self.peer.write(&record(topic, size));
    }

    /// The frames that it got since it last listened, a line each.
    pub(crate) fn hear(&self) -> Vec<String> {
        lines(&self.peer.read())
    }

    /// The correlations and outcomes that it got since it last listened, frame by frame.
    pub(crate) fn hear_outcomes(&self) -> Vec<Vec<(u64, Outcome)>> {
        let outcome = |entry: PublishedEntry| (entry.correlation, entry.outcome);
        self.hear_frames(|frame| match frame {
            Frame::Published(published) => Some(published.entries().map(outcome).collect()),
            _ => None,
        })
    }

    /// How long it was told to wait with each of its refused records, in milliseconds.
    pub(crate) fn hear_waits(&self) -> Vec<u32> {
        let waits = self.hear_frames(|frame| match frame {
            Frame::Published(published) => {
                let refused = published.entries().filter(|entry| !entry.outcome.is_done());
                Some(
                    refused
                        .map(|entry| entry.retry_after_ms)
                        .collect::<Vec<u32>>(),
                )
            }
            _ => None,
        });
        waits.concat()
    }

    /// The answers about subscriptions that it got since it last listened.
    pub(crate) fn hear_subscribed(&self) -> Vec<Subscribed> {
        self.hear_frames(|frame| match frame {
            Frame::Subscribed(subscribed) => Some(*subscribed),
            _ => None,
        })
    }

    /// The answers to questions that it got since it last listened, each with whether there is more to ask for.
    pub(crate) fn hear_answers(&self) -> Vec<(String, bool)> {
        self.hear_frames(|frame| match frame {
            Frame::Answer(answer) => Some((answer.json.to_owned(), answer.more)),
            _ => None,
        })
    }

    /// What `pick` returns for the whole frames that have arrived.
    fn hear_frames<T>(&self, pick: impl Fn(&Frame<'_>) -> Option<T>) -> Vec<T> {
        let (bytes, mut picked) = (self.peer.read(), Vec::new());
        let mut left = &bytes[..];
        while let Decoded::Frame { frame, size } = decode(left, &Limits::HARD).expect("frames") {
            picked.extend(pick(&frame));
            left = &left[size..];
        }
        picked
    }
}

/// A hello without wishes.
pub(crate) const HELLO: Hello<'static> = Hello {
    version_min: VERSION,
    version_max: VERSION,
    features: 0,
    heartbeat_ms: 0,
    name: "",
    credentials: &[],
};

/// The bytes of a hello without wishes.
pub(crate) fn hello_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    HELLO.encode(&mut bytes);
    bytes
}

/// The bytes of a Goodbye.
pub(crate) fn goodbye_bytes() -> Vec<u8> {
    let (mut bytes, code) = (Vec::new(), GoodbyeCode::Done);
    Goodbye {
        code,
        retry_after_ms: 0,
        reason: "",
    }
    .encode(&mut bytes);
    bytes
}

/// The bytes of a wish to subscribe.
pub(crate) fn subscribe_bytes(topic: &str, start: Start) -> Vec<u8> {
    let mut bytes = Vec::new();
    Subscribe::encode(1, &[Subscription::new(topic, start, None)], &mut bytes);
    bytes
}

/// The bytes of pings.
pub(crate) fn ping_bytes(tokens: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in tokens {
        Heartbeat { token }.encode_ping(&mut bytes);
    }
    bytes
}

/// The welcome that these bytes are.
pub(crate) fn welcome(bytes: &[u8]) -> Welcome<'_> {
    match decode(bytes, &Limits::HARD) {
        Ok(Decoded::Frame {
            frame: Frame::Welcome(welcome),
            ..
        }) => welcome,
        other => panic!("{other:?} is no welcome"),
    }
}

/// The bytes of a record with one message of `size` bytes.
pub(crate) fn record(topic: &str, size: usize) -> Vec<u8> {
    let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
    let payload = vec![b'x'; size];
    builder.push(&MessageRef::new(&payload)).expect("it fits");
    let mut bytes = Vec::new();
    builder.finish_stored(1, &mut bytes);
    bytes
}

/// Whole frames, a line each.
pub(crate) fn lines(mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    while !bytes.is_empty() {
        let decoded = decode(bytes, &Limits::HARD).expect("whole frames");
        let Decoded::Frame { frame, size } = decoded else {
            lines.push(format!("{} bytes of a frame", bytes.len()));
            break;
        };
        lines.push(line(&frame));
        bytes = &bytes[size..];
    }
    lines
}

fn line(frame: &Frame<'_>) -> String {
    match frame {
        Frame::Welcome(_) => "welcome".to_owned(),
        Frame::Record(record) => format!("{} {}", record.topic(), record.offset().get()),
        Frame::Subscribed(told) => format!("subscribed {:?} at {}", told.outcome, told.next.get()),
        Frame::Unsubscribed(told) => format!("unsubscribed {:?}", told.outcome),
        Frame::Published(published) => {
            let entry =
                |entry: PublishedEntry| format!("{:?} {}", entry.outcome, entry.offset.get());
            let entries: Vec<String> = published.entries().map(entry).collect();
            format!("published {}", entries.join(", "))
        }
        Frame::Answer(answer) => format!("answer {}", answer.json),
        Frame::Gap(Gap { cause, hole }) => match hole.from {
            Numbered::Offset(from) => format!("gap {cause:?} {from} to {}", hole.to),
            from => panic!("{from:?}"),
        },
        Frame::Ping(_) => "ping".to_owned(),
        Frame::Pong(pong) => format!("pong {}", pong.token),
        Frame::Goodbye(goodbye) => format!("goodbye {:?}: {}", goodbye.code, goodbye.reason),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_to_its_subscriber_and_its_outcome_to_its_publisher() {
        let mut rig = Rig::new();
        let subscriber = rig.subscriber("a/b");
        rig.publish("a/b", 10, 3);
        assert_eq!(subscriber.hear(), ["a/b 0", "a/b 1", "a/b 2"]);
    }

    #[test]
    fn a_record_passes_from_shard_to_shard() {
        let [mut first, mut second] = Rig::shards(settings());
        let (mut near, mut far) = (first.join(), second.join());
        for client in [&mut near, &mut far] {
            client.subscribe("a/b", Start::Latest);
        }
        settle(&mut [&mut first, &mut second]);
        for client in [&near, &far] {
            assert_eq!(client.hear(), ["subscribed Ok at 0"]);
            client.publish("a/b", 10);
        }
        settle(&mut [&mut first, &mut second]);
        for client in [&near, &far] {
            let mut heard = client.hear();
            heard.sort();
            assert_eq!(heard[..2], ["a/b 0", "a/b 1"]);
            assert!(heard[2].starts_with("published Ok"), "{heard:?}");
        }
    }

    #[test]
    fn synced_topics_are_acknowledged_when_the_disk_has_them() {
        let mut rig = Rig::new();
        let subscriber = rig.subscriber("synced/a");
        rig.publish("synced/a", 10, 1);
        assert_eq!(subscriber.hear(), ["synced/a 0"]);
    }
}
