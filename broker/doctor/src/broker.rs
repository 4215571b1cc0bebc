//! The broker as the doctor sees it: values of its configuration, how it spreads connections, and a running one for a proof.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Settings of the broker that the checks need.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Most connections at once.
    pub max_connections: u64,
    /// The first TCP port that it listens on; 0 where there is none, or the kernel chooses.
    pub port: u16,
    /// The data directory.
    pub data: PathBuf,
    /// io_uring for the disk.
    pub disk_ring: Wish,
    /// io_uring for sending to many.
    pub send_ring: Wish,
    /// Cores that do not sleep while publishers wait for every record.
    pub awake_cores: Wish,
    /// Whether each shard stays on one core.
    pub pin: bool,
    /// Send buffer of a connection in bytes; 0 leaves it to the kernel.
    pub send_buffer_bytes: u32,
    /// Bytes of a segment of a log.
    pub segment_bytes: u64,
    /// Bytes that each log on disk keeps; 0 keeps everything.
    pub retention_bytes: u64,
    /// Bytes that each log in memory takes.
    pub memory_log_bytes: u64,
    /// Bytes of the tail arena: records that are written and not on disk yet.
    pub arena_bytes: u64,
}

/// How much the configuration wants something that the kernel may refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It is not used.
    Never,
    /// It is used where it is available.
    Allowed,
    /// The broker does not start without it.
    Required,
}

/// What bounds the connections of the broker's shards: cores and descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Cores that the broker may run on.
    pub cores: usize,
    /// Descriptors that one table may hold.
    pub descriptors: usize,
    /// Whether each thread can have a table of its own.
    pub private_tables: bool,
}

/// How connections are spread over shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Shards that the broker would run; where no number of them has room for the connections, the most that there can be.
    pub shards: usize,
    /// Whether the broker would start.
    pub fits: bool,
    /// Descriptors that each table must hold with so many shards.
    pub needed: usize,
    /// Descriptors that each table must hold with one shard per core.
    pub needed_per_core: usize,
    /// Descriptors of a table that are not connections.
    pub reserved: usize,
}

/// What the doctor needs of the broker.
pub trait Broker {
    /// How it would spread so many connections.
    fn spread(&self, connections: u64, room: &Room) -> Spread;

    /// Starts a broker on loopback that takes so many connections, sends no heartbeats meanwhile, and keeps little in `data`.
    ///
    /// # Errors
    /// Why it does not start.
    fn start(&self, connections: u64, data: &Path) -> Result<Box<dyn Running>, String>;
}

/// A broker that was started for a proof.
pub trait Running {
    /// Where it listens.
    fn address(&self) -> SocketAddr;

    /// How many shards it runs.
    fn shards(&self) -> usize;

    /// Stops it, and waits until it is gone.
    ///
    /// # Errors
    /// Why it had stopped by itself, or does not stop.
    fn stop(self: Box<Self>) -> Result<(), String>;
}
