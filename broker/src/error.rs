//! Errors that end the process; those that end a session are `Goodbye`s.

use std::io;
use std::path::PathBuf;

use oyez_storage::{DirError, OpenError, Poisoned};
use thiserror::Error;

use crate::config::{Config, ConfigError};
use crate::listen::{NoPort, Place};
use crate::parts::phase::Phase;

/// Why the broker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The configuration is not accepted.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// A log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The descriptor limit is used up before the first connection.
    #[error(
        "a descriptor limit of {descriptors} (RLIMIT_NOFILE) has room for no connection: each shard needs {reserved} descriptors of \
         its own; raise it to {needed} for {connections} connections (`ulimit -n {needed}`, LimitNOFILE={needed} of a systemd unit, \
         docker run --ulimit nofile={needed}), or at least above {reserved} and lower `max_connections`"
    )]
    NoDescriptors {
        /// The configured connections.
        connections: usize,
        /// Descriptors of one table.
        descriptors: usize,
        /// Descriptors that a shard needs beside its connections.
        reserved: usize,
        /// Descriptors of one table with which the connections fit into one shard on each core.
        needed: usize,
    },
    /// The connections do not fit, however many shards there are.
    #[error(
        "{connections} connections do not fit: with a descriptor limit of {descriptors} (RLIMIT_NOFILE), {shards} shards, the most \
         that can be, have room for {most}; raise it to {needed} (`ulimit -n {needed}`, LimitNOFILE={needed} of a systemd unit, \
         docker run --ulimit nofile={needed}), or lower `max_connections`"
    )]
    Descriptors {
        /// The configured connections.
        connections: usize,
        /// Descriptors of one table.
        descriptors: usize,
        /// The most shards that there can be.
        shards: usize,
        /// Connections that fit into them.
        most: usize,
        /// Descriptors of one table with which the connections fit into one shard on each core.
        needed: usize,
    },
    /// The shards share one descriptor table, and the connections do not fit into it.
    #[error(
        "{connections} connections do not fit into one descriptor table of {descriptors}, which has room for {room}, and \
         this system does not let the shards have one each: allow the system call `unshare` (a container's seccomp \
         profile), or raise RLIMIT_NOFILE to {needed} (`ulimit -n`, docker run --ulimit nofile={needed}), or lower \
         `max_connections`"
    )]
    OneTable {
        /// The configured connections.
        connections: usize,
        /// Connections that fit.
        room: usize,
        /// Descriptors of the table.
        descriptors: usize,
        /// Descriptors that it would have to hold.
        needed: usize,
    },
    /// The disk cannot be driven in the configured way.
    #[error("cannot drive the disk as configured: {0}; try `--disk thread`")]
    Disk(io::Error),
    /// The configured way to send is not available.
    #[error("cannot send as configured: io_uring: {0}; try `--sending loop`")]
    Sending(io::Error),
    /// Cores cannot be kept awake.
    #[error(
        "cannot keep the cores awake as configured: {0}; see `oyez-server doctor`, or try `--keep-awake auto`"
    )]
    Awake(io::Error),
    /// Another socket has the address.
    #[error(
        "something already listens on {address}; stop it (`{who}` names it), or choose another address \
         with {flag}"
    )]
    Taken {
        /// The address.
        address: String,
        /// The command that finds the other process.
        who: String,
        /// The flag that names another address.
        flag: &'static str,
    },
    /// The address cannot be bound.
    #[error(
        "cannot listen on {address}: {source}; {advice}, or choose another address with {flag}"
    )]
    Listen {
        /// The address.
        address: String,
        /// What may help.
        advice: &'static str,
        /// The flag that names another address.
        flag: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The arena cannot be mapped.
    #[error(
        "cannot reserve addresses for the logs' memory: {0}; lower `arena_bytes` or `memory_log_bytes`"
    )]
    Arena(io::Error),
    /// The system refuses a thread, a descriptor or another resource.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A topic is stored in a log of another durability than the configuration gives it.
    #[error(
        "topic {topic:?} is stored as {stored}, the configuration says {configured}; a stored topic cannot change its \
         durability: list it under `{stored}_topics`, or start with an empty data directory"
    )]
    Durability {
        /// The topic.
        topic: String,
        /// How it is stored.
        stored: oyez_storage::Durability,
        /// What the configuration says.
        configured: oyez_storage::Durability,
    },
    /// Another shard could not start; its own error says why.
    #[error("a shard did not start")]
    Elsewhere,
}

/// Why a serving shard cannot go on.
#[derive(Debug, Error)]
pub enum ShardError {
    /// Waiting for events failed.
    #[error("waiting for events failed: {0}")]
    Poll(io::Error),
    /// The disk does not take operations.
    #[error("submitting to the disk failed: {0}")]
    Submit(io::Error),
    /// A log failed.
    #[error(transparent)]
    Poisoned(Poisoned),
    /// A directory of the store was removed, or another one is in its place.
    #[error(
        "{path} has vanished: what is acknowledged from here on would be lost; move the data directory only while the broker is stopped"
    )]
    Vanished {
        /// The directory.
        path: PathBuf,
    },
    /// A shutdown had to end before everything was durable.
    #[error(
        "the store could not be closed within `drain_timeout_ms`: {logs} logs are open, {records} of their records are not known to be durable"
    )]
    Undrained {
        /// Logs that are not closed.
        logs: usize,
        /// Records of theirs that are not known to be durable.
        records: u64,
    },
    /// A shard does not come back from a call.
    #[error("{0} shards do not come back from the kernel")]
    Stuck(usize),
    /// The thread panicked.
    #[error("a shard panicked; this is a defect in Oyez")]
    Panicked,
    /// Another shard failed; its own error says why.
    #[error("another shard failed")]
    Elsewhere,
}

impl StartError {
    /// The error for an address that cannot be listened on.
    pub(crate) fn listen(config: &Config, no_port: NoPort) -> Self {
        let address = no_port.place.to_string();
        let flag = match config.doors().nth(no_port.door.into()) {
            Some((_, true)) => "--operator (an empty one does without)",
            _ => "--listen",
        };
        let who = match &no_port.place {
            Place::Tcp { port, .. } => format!("ss -tanp 'sport = :{port}'"),
            Place::Unix(path) => format!("ss -xlp src {}", path.display()),
        };
        let advice = match (&no_port.place, no_port.source.kind()) {
            (Place::Unix(_), _) => {
                "its directory must exist, and the broker must be allowed to write there"
            }
            (_, io::ErrorKind::PermissionDenied) => {
                "ports below 1024 ask for the capability CAP_NET_BIND_SERVICE"
            }
            _ => "it must be an address or a name of this machine",
        };
        match no_port.source.kind() {
            io::ErrorKind::AddrInUse => Self::Taken { address, who, flag },
            _ => Self::Listen {
                address,
                advice,
                flag,
                source: no_port.source,
            },
        }
    }
}

impl ShardError {
    /// The phase that the other shards are to enter.
    pub(crate) const fn phase(&self) -> Phase {
        match self {
            // The other shards give up as well, and let their sessions go in good order.
            Self::Undrained { .. } => Phase::Stopping,
            _ => Phase::Failed,
        }
    }

    /// Whether the kernel may still write to the data directory until the process ends.
    pub(crate) const fn leaves_work_behind(&self) -> bool {
        matches!(self, Self::Undrained { .. } | Self::Stuck(_))
    }
}
