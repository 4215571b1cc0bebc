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
//!    subscriber receives are the same. The broker verifies a checksum, stamps the fixed header in place and never looks
//!    at a payload. Only `dialect` knows the codec, for what enters over HTTP or as JSON.
//! 2. **A subscriber is a cursor, not a queue.** The broker keeps nothing to be sent to anyone. When a socket can take
//!    bytes, the shard builds an iovec chain from the log at the subscription's cursor. A slow subscriber only falls
//!    behind.
//! 3. **The event loop never blocks on disk.** Appends go to memory. A ring carries them to the disk beside the loop, and
//!    reads of data that is not in memory go through a read-ahead first.
//!
//! ## Where to find what
//!
//! | to see | read |
//! |---|---|
//! | the loop | `shard`: the turn, a table of its steps; `steps` says what each of them gets of the parts |
//! | where a record goes | `turn::read` -> `dispatch` -> `turn::publish` -> `parts::logs`, through `parts::parcel` if another shard owns the log; then `turn::fanout` -> `parts::feeds` -> `turn::wave` |
//! | where its publisher is answered | `turn::pump` sees that it is durable, `turn::publish` -> `replies` |
//! | how a subscriber catches up | `turn::flush` -> `turn::catchup` |
//! | what a session is | `parts::session`; all of them, and the lists of those with work: `parts::sessions` |
//! | who owns a session's subscriptions | a `parts::subscription` is a cursor, and lies in the audience of its topic (`parts::audience`, in a `Topic` of `parts::feed`). Its session (`parts::session`) knows only the places of its subscriptions. `parts::membership` begins and ends them, and keeps both in step |
//! | where a dialect is added | a variant of `Dialect` and the values in `dialect::command`; a file of its own in `dialect` that decodes to `Command` and encodes `Reply`; `dialect::sniff` recognises it, `listen` says where it is spoken, `turn::read` calls the decoder, `replies` the encoder, `turn::accept` tells in it that there is no room. For records in a form of its own also `dialect::form`, `dialect::render` and `turn::render` |
//! | how shards talk | `parts::mail`; `dispatch_mail` leads each message to its step |
//! | how sessions end, and the broker | `turn::end` closes them, for a reason of `parts::ending`. `stop` takes the signal, `turn::drain` decides what is next, `shutdown` does it, `ends` waits for all shards |
//! | how it is configured and started | [`config`], `cli`, `plan`, `server` |
//!
//! A name that two rooms have is a step in `turn` and its data in `parts` (`lag`, `room`), or a step and its bytes in `dialect`
//! (`render`).
//!
//! ## Threads
//!
//! A *shard* is a thread and all that it owns. The broker has as many shards as cores, or more when the descriptor limit asks for
//! more (`plan`). Each has a private descriptor table (where a sandbox refuses that, all share one), its own listener on the same
//! port, and the logs whose number it owns. One socket claims the port alone before the others join it, so that no second broker
//! can. The data path has no locks. Shards share three kinds of things (`parts::shared`, `parts::mail`): atomics that say how far
//! a log is visible and which shards care, read-only views of the logs, and bounded inboxes.
//!
//! ## Rooms
//!
//! ```text
//! dialect <- sys, clock, config <- net, measure <- parts <- replies <- turn <- dispatch <- lend
//!         <- steps, dispatch_mail, shutdown <- shard <- server
//! ```
//!
//! A file imports from its own room and from those to the left. `tests/tidy.rs` checks that, and that no files import one another
//! in a circle.
//!
//! - `dialect` holds the requests and replies of sessions, as values that every room may use (`command`), and how these look
//!   in bytes (`native`, `http`, `websocket`, `sse`). Only rooms above the parts may know the bytes.
//! - `net` is the network behind one trait, with sockets of four bytes. Only `net` and `sys` name a socket's type.
//! - `parts` own the data: `sessions` (slab; lists of those to read, to send to and to end; the memory that they take), `timers`,
//!   `feeds` (topics with their windows and audiences, and which of them have news), `logs` (the store and its readers; the only
//!   place that calls the store and times it), `publishes` (without an outcome yet), `catchups`, `mail` (between shards), `held`
//!   (replies that leave together with a later one), `questions` (about the broker), `awake`, `admission` (connection slots),
//!   `topic_rate` (a bound on new topics), `log_limits` (a bound on log lines). `context` is what every step knows.
//! - `replies` puts the replies to a session into its outgoing bytes.
//! - `turn` has one step a file. A step is a function over the parts that it needs, or over a struct that lends these and is named
//!   for the work. Steps do not know one another, except on the way of records to sockets (`flush`, `fanout`, `catchup`, `wave`).
//! - `dispatch` leads a command to its step, `dispatch_mail` a message of another shard, and `lend` hands out the parts. `shard` is
//!   the turn: a table of the steps in their order, each with the time when it is due again.
//!
//! Any step may end a session, with a Goodbye by `sessions.refuse`, or without a word by `sessions.end`. Only `turn::end` says
//! Goodbye and closes connections. A client that is done leaves (`sessions.leave`): the shard first sends it the answers that
//! it still waits for.
//!
//! ## A turn
//!
//! `shard` is one loop: wait, read the clock once, accept (bounded), read and dispatch commands, take the inbox, reap the ring,
//! fire timers, follow the news, walk topics (bounded), flush sessions, measure lag if a client asks (bounded), wake other shards
//! once, submit to the disk's ring once. While publishers wait for every single record, the shard keeps the machine's cores awake
//! (`awake`).
//!
//! `parts::budget` bounds what a turn does in steps and bytes, and `parts::room` what the shard keeps for its clients. A step that
//! stops early keeps a list of its own, because edge-triggered events come only once. A command that cannot be handled yet
//! waits for an answer to its own session, or for room that sessions share; the shard tries it again only when that has come.
//! Sessions that say little are read before those that come or go, and before those that say much; their records have a lane of
//! their own to other shards (`mail`). Topics of few subscribers are walked before those of many. When many connections have
//! ended, a thread gives their memory back to the kernel (`memory_trim`).
//!
//! ## A record's way
//!
//! `read` finds the record in the shard's one buffer. `dispatch` leads it to `publish`, which appends it to the log of its topic,
//! or hands it to the shard that owns that log, in a parcel with all that this shard gets in the turn (`parcel`). When the log's
//! visible place has passed the record, the publisher gets its outcome (`publish`). Every shard with a subscription in that log
//! follows the headers of the new records (`fanout`) and notes their places in the windows of their topics (`feeds`). Then it
//! walks each of these topics: it builds one `chain` from where the records lie, and sends that to every subscription that stands
//! where the chain begins. Small chains leave in batches by a ring of the shard's own (`wave`); others, or all where io_uring is
//! forbidden, leave one by one.
//!
//! A `catchup` serves a subscriber that is further behind than the window: places come from the owner of the log, bytes from the
//! segments' maps, large runs by `sendfile`. It exists only while the socket takes bytes. A full socket costs nothing but the
//! subscription's cursor and, if it was cut inside a record, that record's place. So a session begins one catch-up, and more
//! only when its socket has taken all that this one had. A socket is full only when it has said so
//! (`sending`): a send that is cut short by anything else goes on, at once or in the next turn.
//!
//! ## Other dialects
//!
//! The first bytes of a connection show its dialect (`dialect::sniff`), where its address (`listen`) allows a choice. Requests
//! over HTTP become the same commands as frames do, and a reply becomes a response where a request waits for one (`replies`,
//! `exchanges`). A session has one request at a time, so that answers keep their order. The dialect builds and compresses a record
//! that enters there, once.
//!
//! Subscribers that are sent records in another form, such as server-sent events, have a feed of that form, and the same walks,
//! chains, batches and catch-ups serve them. A shard renders a record once for all of them (`render`) and keeps the rendition
//! while it is hot (`renditions`); where a socket has stopped within one, the shard renders it again. It verifies the record
//! before, because clients cannot verify a rendition.
//!
//! A request may turn a session into one over WebSocket. `turn::read::messages` takes WebSocket off what then comes, and the rest
//! is read as frames, or as commands in JSON; the session keeps nothing between two messages. Records for subscribers of frames
//! leave as they lie, with one header in front of each run (`dialect::run`, `chain`), in the same batches and by the same
//! `sendfile`. A cut is the run's place, its size and the bytes sent; nothing else leaves before the rest of it. Records in JSON
//! are rendered as above. The broker pings at each heartbeat (`heartbeat`).
//!
//! ## A subscriber's way
//!
//! The owner of the topic's log knows where a subscription begins (`subscribe`), and so does every shard that was told once and
//! has followed the log since, for as long as the log begins where it did. So a shard asks only for its first subscriber of a
//! topic. A client that says hello and subscribes at once gets both answers in one send (`held`).
//!
//! ## Measures
//!
//! Each shard writes its own counters (`metrics`), and the shard that answers a query adds them up. `histogram` records how long
//! turns take, how much of that the store takes (`logs`; of appends, one in sixteen is timed), how long syncs take and how long
//! records wait for them. A gauge shows how long the oldest publish has waited, so that a stuck disk shows while it is stuck. The
//! broker counts how far subscriptions are behind (`lag`) only when a client asks: a walk over all cursors, a bounded number in
//! each turn.
//!
//! ## Crowds
//!
//! Each connection that the broker serves takes one of `max_connections` slots (`admission`). A connection that is turned away
//! or told to go takes none: it lingers in a small allowance of its own until it has taken its last bytes, or is reset. Beside
//! the slots a few are reserved for the operator and for questions from this machine. A session may begin only so many new
//! topics, and so may all sessions of a shard together, because a client can replace a session by another (`topic_rate`). Log
//! lines that clients can cause at will appear at a bounded rate, with the number of those left out (`log_limits`).
//!
//! ## When something is wrong
//!
//! A bad frame ends its session with a `Goodbye` that says what and why (`end`), and nobody else notices. The client may come back,
//! unless a checksum proves that it meant what it sent. `heartbeat` asks a session that neither says nor takes anything, and closes
//! it if it stays silent. A full disk refuses publishes, and delivery goes on; so it does when the disk makes no next segment for
//! some seconds. `pump` logs and counts what the storage crate tries again. A log that cannot be written stops the process, for no
//! acknowledgement may follow; so does a data directory that vanishes (`watch`). SIGTERM drains (`drain`): the broker reads nobody,
//! makes durable and acknowledges all that it has read, and tells every client when to come back. That is bounded, also where the
//! disk, or a shard that waits for it, does not come back (`ends`).
//!
//! The broker does without what the kernel or a sandbox refuses, where it can: `sys`, `sys` of the storage crate, and the crate
//! `oyez-sys`, which has the calls that other programs need as well, have the other way beside each call that has one.
//!
//! The document of the storage crate describes what looks at the code beside its tests (models of `parts::mail` and
//! `parts::interest`, sanitizers, Miri).
//!
//! Time, chance, disk and network come in through seams (`clock`, `net`, and the storage crate's `Disk`). [`simulation`] runs
//! shards over those in memory, one turn after another, without threads; `tests/simulation` drives whole brokers that way.
//!
//! Beside the broker stands the crate `oyez-doctor`: pure checks of what this host needs for so many connections, and a proof that
//! opens them. `examine` says what a broker would need here, and starts one for the proof.
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
