//! The server behind `--target floor`: threads with private descriptor tables, a listener each on one port, and a loop
//! of accept, poll and `sendmsg`. Records come in whole on a second port and go out as they are, or as what is made
//! of each there, once for all subscribers: the chunk of server-sent events, or messages of WebSocket.
//!
//! It says its two ports on standard output, answers `accepted` with how many subscribers it has taken in, and ends
//! when its standard input does.

mod asked;
mod publish;
mod room;
mod sync_file;
mod thread;

use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use clap::Parser;
use oyez_cli::Failure;
use oyez_cli::bench::sse::Next;
use oyez_cli::bench::websocket::{Opcode, SUBPROTOCOL};
use oyez_cli::bench::{Via, sse, websocket};
use oyez_protocol::command::VERSION;
use oyez_protocol::event::{Outcome, Subscribed, Welcome};
use oyez_protocol::limits::Limits;
use oyez_protocol::{Epoch, Offset};
use oyez_sys::waker::Waker;
use oyez_sys::{fdtable, socket};

use room::listeners;
use sync_file::SyncFile;
use thread::FloorThread;

/// The first argument of the process that serves.
pub(crate) const COMMAND: &str = "floor-server";

/// What a subscriber sends where there is more than one topic: the number of its topic.
pub(crate) const MARK_BYTES: usize = 8;

/// The history that all records belong to.
const EPOCH: u64 = 1;

/// Arguments of the server.
#[derive(Debug, Parser)]
#[command(name = COMMAND)]
pub(crate) struct Arguments {
    /// Subscribers that must find room
    #[arg(long)]
    connections: usize,
    /// Topics; with more than one, subscribers name theirs
    #[arg(long)]
    groups: usize,
    /// Read what subscribers send, and answer as a broker would
    #[arg(long)]
    answer: bool,
    /// How subscribers get what is published; over HTTP all are answered
    #[arg(long, value_enum)]
    via: Via,
    /// Where each record is written and synced before it is answered; there are no subscribers then
    #[arg(long)]
    sync_file: Option<PathBuf>,
}

/// A record on its way to all threads.
struct Publication {
    bytes: Vec<u8>,
    group: usize,
    slot: u32,
    /// Number of threads that have not sent it to their subscribers yet.
    left: AtomicUsize,
    answer: Sender<u32>,
}

/// What the threads share.
struct Floor {
    address: SocketAddr,
    groups: usize,
    via: Via,
    /// There are no subscribers: records are answered where they are read.
    echo: bool,
    sync_file: Option<SyncFile>,
    accepted: AtomicUsize,
    /// What every subscriber is told for its first words, where it says more behind them.
    opening: Vec<u8>,
    /// What every subscriber is told for its words; empty for nothing.
    answer: Vec<u8>,
    /// What waits for each thread, and its waker.
    inboxes: Vec<(Mutex<Vec<Arc<Publication>>>, Waker)>,
}

impl Publication {
    /// Notes that one more thread has sent the record; the last one answers the publisher.
    fn walked(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A publisher that has gone needs no answer.
            let _ = self.answer.send(self.slot);
        }
    }
}

impl Floor {
    fn publish(&self, publication: &Arc<Publication>) {
        for (inbox, waker) in &self.inboxes {
            inbox
                .lock()
                .expect("no thread panics with the lock")
                .push(publication.clone());
            waker.wake();
        }
    }
}

/// Serves until standard input ends.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    serve(arguments).map_err(|error| Failure::io("the floor's server", &error))
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    let threads = listeners(arguments.connections, fdtable::limit(), cores);
    let held = socket::bound((Ipv4Addr::LOCALHOST, 0).into(), socket::Sharing::Shared)?;
    let held = TcpListener::from(held);
    let wakers = (0..threads)
        .map(|_| Waker::new())
        .collect::<io::Result<Vec<_>>>()?;
    let floor = Arc::new(Floor {
        address: held.local_addr()?,
        groups: arguments.groups,
        via: arguments.via,
        echo: arguments.connections == 0,
        sync_file: arguments
            .sync_file
            .as_deref()
            .map(SyncFile::create)
            .transpose()?,
        accepted: AtomicUsize::new(0),
        opening: match arguments.via {
            Via::Ws => opened(Some(SUBPROTOCOL)),
            Via::Native | Via::Sse | Via::WsJson => Vec::new(),
        },
        answer: match (arguments.via, arguments.answer) {
            (Via::Native, false) => Vec::new(),
            (Via::Native, true) => answer().concat(),
            (Via::Sse, _) => stream(),
            (Via::Ws, _) => frames(),
            (Via::WsJson, _) => texts(),
        },
        inboxes: wakers
            .into_iter()
            .map(|waker| (Mutex::default(), waker))
            .collect(),
    });
    start(&floor)?;
    drop(held);
    let publishers = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!(
        "{} {}",
        floor.address.port(),
        publishers.local_addr()?.port()
    );
    let shared = floor.clone();
    Builder::new()
        .name("publishers".to_owned())
        .spawn(move || publish::listen(&publishers, &shared))?;
    for line in io::stdin().lock().lines() {
        if line? == "accepted" {
            println!("{}", floor.accepted.load(Ordering::Acquire));
            io::stdout().flush()?;
        }
    }
    Ok(())
}

/// Starts the threads; returns when all of them listen.
fn start(floor: &Arc<Floor>) -> io::Result<()> {
    let (ready, started) = channel();
    for number in 0..floor.inboxes.len() {
        let (floor, ready) = (floor.clone(), ready.clone());
        let builder = Builder::new().name(format!("floor-{number}"));
        builder.spawn(move || {
            let thread = FloorThread::new(floor, number);
            // The main thread waits for this, and outlives it.
            let _ = ready.send(thread.as_ref().err().map(ToString::to_string));
            if let Ok(thread) = thread {
                thread.run();
            }
        })?;
    }
    for _ in 0..floor.inboxes.len() {
        if let Some(error) = started.recv().map_err(io::Error::other)? {
            return Err(io::Error::other(error));
        }
    }
    Ok(())
}

/// A welcome and a confirmation, the same for all.
fn answer() -> [Vec<u8>; 2] {
    let (mut welcome, mut subscribed) = (Vec::new(), Vec::new());
    Welcome {
        version: VERSION,
        heartbeat_ms: u32::MAX,
        limits: Limits::DEFAULT,
        inflight_records_max: 1,
        inflight_bytes_max: Limits::DEFAULT.record_size_max,
        subscriptions_max: 1_024,
        features: 0,
        expires_ms: 0,
        instance: 0,
        name: "floor",
    }
    .encode(&mut welcome);
    Subscribed {
        id: 1,
        entry: 0,
        outcome: Outcome::Ok,
        retry_after_ms: 0,
        next: Offset::new(0),
        earliest: Offset::new(0),
        head: Offset::new(0),
        epoch: Epoch::new(EPOCH),
        log: None,
        more_logs: false,
        epoch_changed: false,
        dropped: false,
    }
    .encode(&mut subscribed);
    [welcome, subscribed]
}

/// What begins a session of WebSocket.
fn opened(subprotocol: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    websocket::answer::head(subprotocol, &mut out);
    out
}

/// A welcome and a confirmation, as messages.
fn frames() -> Vec<u8> {
    let mut out = Vec::new();
    for frame in answer() {
        websocket::answer::message(Opcode::Binary, &frame, &mut out);
    }
    out
}

/// What begins a session in JSON, and the confirmation; the name is as long as one that a bench has, the same for
/// all.
fn texts() -> Vec<u8> {
    let mut out = opened(None);
    let next = Next {
        epoch: EPOCH,
        offset: 0,
    };
    websocket::answer::subscribed("bench", next, &mut out);
    out
}

/// The head and the first chunk of a stream, the same for all.
fn stream() -> Vec<u8> {
    let mut out = Vec::new();
    sse::answer::head(&mut out);
    let next = Next {
        epoch: EPOCH,
        offset: 0,
    };
    sse::answer::begin(next, &mut out);
    out
}
