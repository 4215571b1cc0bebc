//! The proof: a broker of its own, and as many real connections to it as asked for.
//!
//! The broker keeps its data in a temporary directory that goes with it; `attempt` opens the connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::Failure;
use super::attempt::Attempt;
use crate::config::Config;
use crate::server::{Server, Stopper};

/// How far it came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// Connections asked for.
    pub asked: u64,
    /// Connections that were open at once, each welcomed by the broker.
    pub reached: u64,
    /// Connections that were still alive when the last one was open.
    pub alive: u64,
    /// Shards of the broker.
    pub shards: usize,
    /// Time from the first to the last one.
    pub seconds: f64,
    /// Kernel memory of a connection, both of its ends together; unknown for few connections.
    pub kernel_bytes_per_connection: Option<u64>,
    /// Anonymous memory of a connection in the broker; unknown for few connections.
    pub user_bytes_per_connection: Option<u64>,
    /// What stopped it.
    pub obstacle: Option<Obstacle>,
}

impl Proof {
    /// Whether all connections were open at once.
    #[must_use]
    pub const fn complete(&self) -> bool {
        self.alive >= self.asked
    }
}

/// What stopped the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obstacle {
    /// What was tried, and the error.
    pub what: String,
    /// The limit that gives this error.
    pub limit: String,
}

impl Obstacle {
    pub(super) fn new(what: impl Into<String>, limit: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            limit: limit.into(),
        }
    }

    pub(super) fn of(step: &str, error: &io::Error) -> Self {
        let limit = match error.raw_os_error() {
            Some(libc::EMFILE) => "the descriptor limit (RLIMIT_NOFILE, LimitNOFILE= of the unit)",
            Some(libc::ENFILE) => "fs.file-max",
            Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => "net.ipv4.ip_local_port_range",
            Some(libc::ENOBUFS | libc::ENOMEM) => {
                "memory, of the host or of the group, and net.ipv4.tcp_mem"
            }
            Some(libc::ETIMEDOUT | libc::EINPROGRESS | libc::EAGAIN) => {
                "net.core.somaxconn, net.netfilter.nf_conntrack_max, or processors that are too slow"
            }
            Some(libc::ECONNRESET | libc::ECONNREFUSED | libc::EPIPE) => {
                "net.core.somaxconn with net.ipv4.tcp_abort_on_overflow, or a broker that has stopped"
            }
            Some(libc::EPERM | libc::EACCES) => {
                "a firewall, or a container's filter of system calls"
            }
            _ => "none that is known for this error",
        };
        Self::new(format!("{step}: {error}"), limit)
    }
}

/// Opens so many connections to a broker of its own.
///
/// # Errors
/// When there is no place for the broker's data.
pub(super) fn prove(config: &Config, asked: u64, stop: &AtomicBool) -> Result<Proof, Failure> {
    let directory = Directory::create()?;
    let server = match Server::start(broker_config(config, asked, &directory.0)) {
        Ok(server) => server,
        Err(error) => {
            let limit = "what the error names";
            let obstacle = Obstacle::new(format!("the broker does not start: {error}"), limit);
            return Ok(Proof::without_broker(asked, obstacle));
        }
    };
    let stopping = StopOnDrop(server.stopper());
    let mut proof = Attempt::new(server.address(), asked, stop).run();
    proof.shards = server.shard_count();
    drop(stopping);
    if let Err(error) = server.wait() {
        proof.obstacle = Some(Obstacle::new(
            format!("the broker stopped: {error}"),
            "what the error names",
        ));
    }
    Ok(proof)
}

impl Proof {
    const fn without_broker(asked: u64, obstacle: Obstacle) -> Self {
        Self {
            asked,
            reached: 0,
            alive: 0,
            shards: 0,
            seconds: 0.0,
            kernel_bytes_per_connection: None,
            user_bytes_per_connection: None,
            obstacle: Some(obstacle),
        }
    }
}

/// As configured, but small on disk, on a free port, and in no hurry to find its clients silent.
fn broker_config(config: &Config, asked: u64, directory: &Path) -> Config {
    Config {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()],
        operator: Vec::new(),
        data: directory.join("data"),
        max_connections: usize::try_from(asked).unwrap_or(usize::MAX),
        heartbeat_ms: 3_600_000,
        hello_timeout_ms: 60_000,
        segment_bytes: 4 << 20,
        retention_bytes: 8 << 20,
        memory_log_bytes: 4 << 20,
        arena_bytes: 8 << 20,
        drain_timeout_ms: 10_000,
        ..config.clone()
    }
}

/// A directory that goes with its guard.
struct Directory(PathBuf);

impl Directory {
    fn create() -> Result<Self, Failure> {
        let parent = std::env::temp_dir();
        let path = parent.join(format!("oyez-doctor-{}", std::process::id()));
        std::fs::create_dir(&path).map_err(|source| Failure::Directory {
            directory: parent.display().to_string(),
            source,
        })?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_their_limits() {
        for (errno, limit) in [
            (libc::EMFILE, "RLIMIT_NOFILE"),
            (libc::ENFILE, "fs.file-max"),
            (libc::EADDRNOTAVAIL, "ip_local_port_range"),
            (libc::ENOMEM, "tcp_mem"),
            (libc::EINPROGRESS, "somaxconn"),
            (libc::EPERM, "firewall"),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            let obstacle = Obstacle::of("connect", &error);
            assert!(obstacle.limit.contains(limit), "{obstacle:?}");
        }
    }
}
