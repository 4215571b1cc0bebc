//! Opens connections, holds them, and lets them go.
//!
//! Threads with private descriptor tables open the connections, each thread from a loopback address of its own, and wait for
//! every welcome. All connections stay open until the last one is there; then the threads check once more that they are alive,
//! and reset them, so that nothing lingers. The first error ends the attempt, and so does a deadline.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use oyez_protocol::command::{Hello, VERSION};
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};
use oyez_sys::socket::Dial;
use oyez_sys::{fdtable, signals};

use super::figures::grouped;
use super::{Obstacle, Proof};

/// Most connections of one thread, and so from one source address: `connect` slows down once half of the ports are taken.
const CONNECTIONS_PER_SOURCE: u64 = 8_000;
/// Descriptors of a thread beside its connections.
const DESCRIPTORS_SPARE: usize = 64;
/// Connections of all threads together that may wait to be welcomed; half of the smallest usual backlog.
const WAITING_MAX: u64 = 2_048;
/// Connections that one thread has waiting at most.
const BATCH_MAX: u64 = 64;
/// Longest wait for one connection or one welcome.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest proof: this, plus the time that the connections take at [`CONNECTIONS_PER_SECOND_MIN`].
const DEADLINE: Duration = Duration::from_secs(30);
const CONNECTIONS_PER_SECOND_MIN: u64 = 2_000;
/// With fewer connections, the memory of each is not measurable beside what else happens on the host.
const MEASURED_MIN: u64 = 10_000;
/// Bytes into which a welcome, or a goodbye with its text, fits.
const FRAME_BYTES: usize = 1024;

/// What all threads share.
pub(crate) struct Attempt<'a> {
    address: SocketAddr,
    asked: u64,
    hello: Vec<u8>,
    deadline: Instant,
    stop: &'a AtomicBool,
    /// A thread has met an obstacle.
    ended: AtomicBool,
    obstacle: Mutex<Option<Obstacle>>,
}

/// The connections of one thread.
#[derive(Clone, Copy)]
struct Lot {
    source: Ipv4Addr,
    count: u64,
    batch: u64,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(address: SocketAddr, asked: u64, stop: &'a AtomicBool) -> Self {
        let mut hello = Vec::new();
        Hello {
            version_min: VERSION,
            version_max: VERSION,
            features: 0,
            heartbeat_ms: 0,
            name: "oyez-server doctor",
            credentials: &[],
        }
        .encode(&mut hello);
        let time = DEADLINE + Duration::from_secs(asked / CONNECTIONS_PER_SECOND_MIN);
        Self {
            address,
            asked,
            hello,
            deadline: Instant::now() + time,
            stop,
            ended: AtomicBool::new(false),
            obstacle: Mutex::new(None),
        }
    }

    /// Cuts the connections into lots of one source address and one descriptor table.
    fn lots(&self) -> Vec<Lot> {
        let room = fdtable::limit().saturating_sub(DESCRIPTORS_SPARE).max(1) as u64;
        let each = room.min(CONNECTIONS_PER_SOURCE);
        let lots = self.asked.div_ceil(each);
        let first = u32::from(Ipv4Addr::new(127, 1, 0, 1));
        (0..lots)
            .map(|number| Lot {
                source: Ipv4Addr::from(first + u32::try_from(number).unwrap_or(0)),
                count: each.min(self.asked - number * each),
                batch: (WAITING_MAX / lots).clamp(1, BATCH_MAX),
            })
            .collect()
    }

    pub(crate) fn run(&self) -> Proof {
        let begun = Instant::now();
        let before = Memory::now();
        let (opened_in, opened) = channel();
        std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for lot in self.lots() {
                let opened_in = opened_in.clone();
                let (release_in, release) = channel();
                let thread = std::thread::Builder::new()
                    .name("doctor".to_owned())
                    .spawn_scoped(scope, move || self.hold(lot, &opened_in, &release));
                match thread {
                    Ok(thread) => threads.push((thread, release_in)),
                    Err(error) => {
                        let limit = "the limit of threads (ulimit -u, TasksMax= of the unit)";
                        self.meet(Obstacle::new(format!("start a thread: {error}"), limit));
                        break;
                    }
                }
            }
            drop(opened_in);
            let reached: u64 = opened.iter().take(threads.len()).sum();
            let seconds = begun.elapsed().as_secs_f64();
            let (kernel, user) = Memory::now().each_since(&before, reached);
            let (threads, releases): (Vec<_>, Vec<_>) = threads.into_iter().unzip();
            drop(releases);
            let alive = threads.into_iter().map(|thread| thread.join().unwrap_or(0));
            let alive = alive.sum();
            Proof {
                asked: self.asked,
                reached,
                alive,
                shards: 0,
                seconds,
                kernel_bytes_per_connection: kernel,
                user_bytes_per_connection: user,
                obstacle: self.verdict(alive),
            }
        })
    }

    /// The obstacle that stopped the attempt; also one if all connections were opened and some were lost.
    fn verdict(&self, alive: u64) -> Option<Obstacle> {
        let met = self.obstacle.lock().ok().and_then(|met| met.clone());
        met.or_else(|| {
            let lost = self.asked - alive;
            let what = format!(
                "{} connections were lost after their welcome",
                grouped(lost)
            );
            (lost > 0).then(|| Obstacle::new(what, "the broker's and the kernel's log"))
        })
    }

    /// The life of one thread: opens its lot, holds it until released, counts what is alive, resets it.
    fn hold(&self, lot: Lot, opened: &Sender<u64>, release: &Receiver<()>) -> u64 {
        let mut streams = Vec::new();
        // Without private tables, the lots share one with the broker, and reach its limit sooner.
        let alone = match fdtable::probe() {
            Ok(()) => signals::block().and_then(|()| fdtable::unshare(&[])),
            Err(_) => signals::block(),
        };
        let outcome = match alone {
            Ok(()) => self.open(lot, &mut streams),
            Err(error) => Err(Obstacle::of("get a private descriptor table", &error)),
        };
        if let Err(obstacle) = outcome {
            self.meet(obstacle);
        }
        // The counting thread waits for all threads.
        let _ = opened.send(streams.len() as u64);
        // The closed channel is the release.
        let _ = release.recv();
        streams.iter().filter(|stream| is_alive(stream)).count() as u64
    }

    fn open(&self, lot: Lot, streams: &mut Vec<TcpStream>) -> Result<(), Obstacle> {
        while (streams.len() as u64) < lot.count {
            if self.ended.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.stop.load(Ordering::Relaxed) {
                return Err(Obstacle::new("interrupted", "none"));
            }
            if Instant::now() > self.deadline {
                let what = format!("fewer than {CONNECTIONS_PER_SECOND_MIN} connections a second");
                return Err(Obstacle::new(
                    what,
                    "processors that are too slow, or too few",
                ));
            }
            let batch = lot.batch.min(lot.count - streams.len() as u64);
            let mut waiting = Vec::new();
            for _ in 0..batch {
                waiting.push(self.connect(lot.source)?);
            }
            for stream in waiting {
                await_welcome(&stream)?;
                streams.push(stream);
            }
        }
        Ok(())
    }

    fn connect(&self, source: Ipv4Addr) -> Result<TcpStream, Obstacle> {
        let dial = Dial {
            from: Some(source.into()),
            ..Dial::to(self.address)
        };
        let mut stream = dial
            .connect(PATIENCE)
            .map_err(|error| Obstacle::of("connect", &error))?;
        stream
            .write_all(&self.hello)
            .map_err(|error| Obstacle::of("send a hello", &error))?;
        Ok(stream)
    }

    /// Keeps the first obstacle, and ends the attempt for all threads.
    fn meet(&self, obstacle: Obstacle) {
        if let Ok(mut met) = self.obstacle.lock() {
            met.get_or_insert(obstacle);
        }
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// Reads up to the broker's first frame.
fn await_welcome(mut stream: &TcpStream) -> Result<(), Obstacle> {
    let mut bytes = [0; FRAME_BYTES];
    let mut filled = 0;
    loop {
        let count = stream
            .read(&mut bytes[filled..])
            .map_err(|error| Obstacle::of("wait for a welcome", &error))?;
        filled += count;
        match decode(&bytes[..filled], &Limits::HARD) {
            Ok(Decoded::Frame {
                frame: Frame::Welcome(_),
                ..
            }) => return Ok(()),
            Ok(Decoded::Frame {
                frame: Frame::Goodbye(goodbye),
                ..
            }) => {
                let what = format!("the broker refused a connection: {}", goodbye.reason);
                return Err(Obstacle::new(
                    what,
                    "max_connections, or the descriptor limit of a shard",
                ));
            }
            Ok(Decoded::Need { .. }) if count > 0 && filled < bytes.len() => {}
            _ => {
                let what = "the broker closed a connection without a word";
                return Err(Obstacle::new(what, "the descriptor limit of a shard"));
            }
        }
    }
}

/// Whether a connection is alive. The broker sends nothing after the welcome, so a living connection has nothing to read.
fn is_alive(stream: &TcpStream) -> bool {
    let peeked = stream
        .set_nonblocking(true)
        .and_then(|()| stream.peek(&mut [0]));
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Memory in use on the host, in KiB.
struct Memory {
    slab_kib: Option<u64>,
    anonymous_kib: Option<u64>,
}

impl Memory {
    fn now() -> Self {
        Self {
            slab_kib: kib("/proc/meminfo", "Slab:"),
            anonymous_kib: kib("/proc/self/status", "RssAnon:"),
        }
    }

    /// Bytes that each of `connections` connections has taken since `before`: in the kernel, and in this process.
    fn each_since(&self, before: &Self, connections: u64) -> (Option<u64>, Option<u64>) {
        let each = |after: Option<u64>, before: Option<u64>| {
            let grown = after?.saturating_sub(before?) << 10;
            (connections >= MEASURED_MIN).then(|| grown / connections)
        };
        (
            each(self.slab_kib, before.slab_kib),
            each(self.anonymous_kib, before.anonymous_kib),
        )
    }
}

fn kib(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(asked: u64, stop: &AtomicBool) -> Attempt<'_> {
        Attempt::new(SocketAddr::from(([127, 0, 0, 1], 1)), asked, stop)
    }

    #[test]
    fn every_lot_has_an_address_of_its_own_and_lots_cover_all_connections() {
        let stop = AtomicBool::new(false);
        let lots = attempt(20_001, &stop).lots();
        assert_eq!(lots.iter().map(|lot| lot.count).sum::<u64>(), 20_001);
        assert!(lots.iter().all(|lot| lot.count <= CONNECTIONS_PER_SOURCE));
        let mut sources: Vec<Ipv4Addr> = lots.iter().map(|lot| lot.source).collect();
        sources.dedup();
        assert_eq!(sources.len(), lots.len());
    }

    #[test]
    fn a_failed_connect_is_reported_with_a_limit() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let stop = AtomicBool::new(false);
        let proof = Attempt::new(address, 3, &stop).run();
        assert_eq!((proof.reached, proof.alive), (0, 0));
        let obstacle = proof.obstacle.unwrap();
        assert!(obstacle.what.contains("refused"), "{obstacle:?}");
        assert!(obstacle.limit.contains("broker"), "{obstacle:?}");
    }
}
