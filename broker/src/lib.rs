//! The Oyez push broker: the library behind `oyez-server`.
//!
//! # Architecture
//!
//! ```text
//!  publisher --TCP--> shard 0 --append--> tail arena --io_uring write -> fdatasync--> segment files
//!                       |  owns: poll, listener, ~1/N of the sessions, timers, two rings, some logs
//!                       |  inbox (bounded)                      ^ read-only maps, sendfile
//!  subscriber <-TCP-- shard 1 ... N-1  <--- "log L is visible up to here"
//! ```
//!
//! Three ideas carry it:
//!
//! 1. **One layout, three places.** The record that a publisher sends, the bytes in the log and the bytes that a
//!    subscriber receives are the same. The broker checks a checksum, stamps the fixed header in place and never looks
//!    at a payload; it does not even link the codec.
//! 2. **A subscriber is a cursor, not a queue.** Nothing is queued for anyone. When a socket can take bytes, an iovec
//!    chain is built from the log at the subscription's cursor. A slow subscriber only falls behind.
//! 3. **The event loop never blocks on disk.** Appends go to memory, a ring carries them to the disk behind the loop's
//!    back, and reads of what is not in memory go through a read-ahead first.
//!
//! ## Threads
//!
//! A *shard* is a thread and all it owns; there are as many as cores, or more when the descriptor limit asks for more
//! (`plan`). Each has a private descriptor table (`oyez_sys::fdtable`; where a sandbox refuses that, all share one), its own
//! listener on the same port, and the logs whose number it owns. The port is claimed by one socket alone before the others
//! join it, so that no second broker can (`sys::socket`). Nothing on the data path is locked. Shards share three kinds of
//! things (`parts::shared`, `parts::mail`): atomics that say how far a log is visible and who cares, read-only views of
//! the logs, and bounded inboxes.
//!
//! ## Rooms
//!
//! ```text
//! dialect <- sys, clock, config <- net, measure <- parts <- tell <- turn <- dispatch <- lend
//!         <- steps, hear, shutdown <- shard <- server
//! ```
//!
//! Files import from their own room and from those to the left; `tests/tidy.rs` holds that, and that no files import
//! one another in a circle. `dialect` has what sessions ask and are told, as values that everybody may use
//! (`command`), and how these look in bytes (`native`): only what lies above the parts may know that. `net` is the
//! network behind one trait, with sockets that are four bytes; no other file but those of `sys` names a socket's type.
//! `parts` own the data: `sessions` (slab, lists of those to read, to send to, to end; the room that they take),
//! `timers`, `feeds` (topics, their windows and audiences, which of them have news), `logs` (the store and the
//! readers; the only place where the store is called, and timed), `publishes` (without an outcome), `catchups`, `mail`
//! (between shards), `held`, `questions`, `awake`, `places`, `creations`, `lines`. `here` is what every step knows. `tell`
//! puts what a session is told into its outgoing bytes. `turn` has one step a file: functions over the parts that they need, or over a struct that
//! lends these and is named for what it is. Steps do not know one another, except on the way of records to sockets
//! (`flush`, `fanout`, `catchup`, `wave`). `dispatch` leads a command to its step, `hear` a message of another shard,
//! `lend` hands the parts out; `shard` is the turn, a table of the steps in their order, each with when it is due
//! again. Any step ends a session, with `sessions.refuse` or, without a word, with `sessions.end`; only `turn::end`
//! says Goodbye and closes connections. A client that is done leaves (`sessions.leave`): it is told what it still waits
//! for first.
//!
//! ## A turn
//!
//! `shard` is one loop: wait, read the clock once, accept (bounded), read and dispatch commands, take the inbox, reap the
//! ring, fire timers, follow the news, walk topics (bounded), flush sessions, look at lag if somebody asks (bounded),
//! wake others once, submit the disk's ring once.
//! A shard whose publishers wait for every single record keeps the machine's cores awake meanwhile (`awake`).
//! What a turn does has budgets in steps and bytes (`budget`), and what it keeps for its clients has caps (`room`). A step
//! that stops early keeps a list of its own, because edge-triggered events do not tell twice. A frame that cannot be taken
//! waits for an answer to its own session, or for room that sessions share, and is tried again only when that has come.
//! Sessions that say little are read before those that come or go and before those that say much; their records have a
//! lane of their own to other shards (`mail`), and topics of few are walked before those of many. When many connections
//! have ended, a thread gives back the memory that they held (`ebb`).
//!
//! ## A record's way
//!
//! `read` finds it in the shard's one buffer, `dispatch` leads it to `publish`, which puts it into the log of its topic
//! or hands it to the shard that owns that log, in a parcel with all that it has for that shard in the turn
//! (`parcel`). When the log's visible place has passed it, the publisher gets its outcome (`publish`), and every shard
//! that has a subscription in that log follows the headers of the new records (`fanout`) and notes their places in the
//! windows of the topics concerned (`feeds`). Each such topic is then walked: one `chain` is built from where the
//! records lie and sent to every subscription that stands where it begins: small ones in batches by a ring of the
//! shard's own (`wave`), others, or where io_uring is forbidden, one by one.
//!
//! Who is further behind than the window is served by a `catchup`: places from the owner of the log, bytes from the
//! segments' maps, large runs by `sendfile`. It exists only while the socket takes bytes. A socket that is full costs
//! nothing but the subscription's cursor and, if it was cut inside a record, that record's place. So a session begins one,
//! and more of them only when its socket has taken what that one had. Full is what has said so (`sending`): a send that is
//! cut short by anything else goes on, at once or in the next turn.
//!
//! ## Other dialects
//!
//! A connection tells by its first bytes what it speaks (`dialect`), where its address (`listen`) lets it. What is asked over
//! HTTP becomes the same commands as frames do, and what is told becomes a response where a request waits for one (`tell`,
//! `exchanges`): one request of a session at a time, so that answers keep their order. A record that enters there is built
//! and compressed by the dialect, once.
//!
//! Subscribers that are sent records in another form, such as server-sent events, have a feed of that form, and are served by
//! the same walks, chains, batches and catch-ups. A record is put into the form once for all of a shard (`render`), and kept while it
//! is hot (`renditions`); where a socket has stopped within it, it is made again. It is verified before, because clients cannot verify what was
//! rendered.
//!
//! A request may make a session one over WebSocket. What comes then has WebSocket taken off first (`turn::read::messages`), and
//! is read on as frames, or as commands in JSON; nothing is kept between two messages. Records for subscribers of frames
//! leave as they lie, with one header in front of each run (`dialect::run`, `chain`), in the same batches and by the same
//! `sendfile`. A cut is the run's place, its size and the bytes sent, and nothing else leaves before the rest of it. Records in
//! JSON are rendered as above. The broker pings at each heartbeat (`heartbeat`).
//!
//! ## A subscriber's way
//!
//! Where a subscription begins (`subscribe`) is known to the owner of the topic's log, and to every shard that was told
//! once and has followed the log since, for as long as the log begins where it did. So only the first subscriber of a
//! topic on a shard is asked about; whoever subscribes in the same breath as its hello gets both answers in one send
//! (`held`).
//!
//! ## What it tells of itself
//!
//! `metrics` are counters that each shard writes alone and whoever answers a query adds up; `histogram` says how long
//! turns take, how much of that is inside the store (`logs`: of appends, one in sixteen is timed), how long syncs take and
//! how long records wait for them. The publish that has waited longest is a gauge, so that a stuck disk is seen while it is
//! stuck. How far subscriptions are behind (`lag`) is
//! counted only when somebody asks: a walk over all cursors, a bounded number in each turn.
//!
//! ## Crowds
//!
//! Connections that are served have one of `max_connections` places (`places`). One that is turned away or told to go has
//! none: it lingers in a small room of its own, until it has taken its last bytes or is reset. Beside the places a few are
//! kept for the operator and for questions from this machine. A session begins only so many new topics, and so do all
//! sessions of a shard together, because a session is easily replaced by another (`creations`). Lines of log that clients
//! can cause as often as they like are told at a bounded rate, with how many more there were (`lines`).
//!
//! ## When something is wrong
//!
//! A bad frame ends its session with a `Goodbye` that says what and why (`end`), and nobody else notices; the client may
//! come back unless a checksum proves that it meant what it sent. A session that neither says nor takes anything is asked,
//! then closed (`heartbeat`). A full disk
//! refuses publishes and goes on delivering; so does one that makes no next segment, after some seconds. What the store
//! tries again is told once and counted (`pump`). A log that cannot be written stops the process: no acknowledgement may
//! follow; so does a data directory that vanishes (`watch`). SIGTERM drains (`drain`): nobody is read, everything read is
//! made durable and acknowledged, and every client is told when to come back. That is bounded, also where the disk, or a
//! shard that waits for it, does not come back (`ends`).
//!
//! What the kernel or a sandbox refuses and can be done without is done without: `sys`, `sys` of the storage crate, and
//! `oyez_sys`, which has the calls that others need as well, have the other way beside each call that has one.
//!
//! What looks at it beside its tests (models of `parts::mail` and `parts::interest`, sanitizers, Miri) is told in the
//! document of the storage crate.
//!
//! Time, chance, disk and network come in through seams (`clock`, `net`, and the storage crate's `Disk`). [`simulation`] runs
//! shards over those in memory, one turn after another, without threads; `tests/simulation` drives whole brokers that way.
//!
//! Beside the broker stands the doctor, a crate of its own: pure checks of what this host needs for so many connections, and
//! a proof that opens them. `examine` tells it what a broker would need here, and starts one for the proof.
#![deny(missing_docs)]

#[cfg(feature = "bench")]
pub mod bench;
mod clock;
pub mod config;
mod dialect;
mod dispatch;
mod dispatch_mail;
mod ends;
mod error;
mod examine;
mod lend;
mod listen;
mod measure;
mod memory_trim;
mod net;
mod networks;
mod parts;
mod plan;
mod recovered;
mod replies;
#[cfg(test)]
mod rig;
mod server;
mod shard;
#[cfg(test)]
mod short_counts;
mod shutdown;
pub mod simulation;
mod sizes;
mod steps;
mod sync;
#[expect(
    unsafe_code,
    reason = "system calls that neither std nor rustix has in a safe form: io_uring, connections by their numbers, the allocator"
)]
mod sys;
mod turn;
mod watch;

/// What fuzz targets call.
#[cfg(any(fuzzing, test))]
pub mod fuzzing {
    pub use crate::dialect::http::fuzzing::{check_chunks, check_proxy, check_requests};
    pub use crate::dialect::websocket::fuzzing::check_frames;
}

pub use config::Config;
pub use error::{ShardError, StartError};
pub use examine::examine;
pub use listen::{BadListen, Listen};
pub use networks::{BadNetwork, Network};
pub use server::{Places, Server, Stopper};
