//! The proof: starts a broker, and opens as many real connections to it as asked for.
//!
//! The broker keeps its data in a temporary directory that is removed afterwards; `attempt` opens the connections.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use super::Failure;
use super::attempt::Attempt;
use crate::Broker;

/// How far the proof came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Proof {
    /// Connections asked for.
    pub(crate) asked: u64,
    /// Connections that were open at once, each welcomed by the broker.
    pub(crate) reached: u64,
    /// Connections that were still alive when the last one was open.
    pub(crate) alive: u64,
    /// Shards of the broker.
    pub(crate) shards: usize,
    /// Time from the first connection to the last, in seconds.
    pub(crate) seconds: f64,
    /// Kernel memory of a connection, both of its ends together; unknown for few connections.
    pub(crate) kernel_bytes_per_connection: Option<u64>,
    /// Anonymous memory of a connection in the broker; unknown for few connections.
    pub(crate) user_bytes_per_connection: Option<u64>,
    /// What stopped the proof, if it did not complete.
    pub(crate) obstacle: Option<Obstacle>,
}

impl Proof {
    /// Whether all connections were open at once.
    #[must_use]
    pub(crate) const fn complete(&self) -> bool {
        self.alive >= self.asked
    }
}

/// What stopped the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Obstacle {
    /// The step that failed, and the error.
    pub(crate) what: String,
    /// The limit that causes this error.
    pub(crate) limit: String,
}

impl Obstacle {
    pub(crate) fn new(what: impl Into<String>, limit: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            limit: limit.into(),
        }
    }

    pub(crate) fn of(step: &str, error: &io::Error) -> Self {
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

/// Starts a broker and opens so many connections to it.
///
/// # Errors
/// When there is no place for the broker's data.
pub(crate) fn prove(broker: &dyn Broker, asked: u64, stop: &AtomicBool) -> Result<Proof, Failure> {
    let directory = Directory::create()?;
    let running = match broker.start(asked, &directory.0.join("data")) {
        Ok(running) => running,
        Err(error) => {
            let limit = "what the error names";
            let obstacle = Obstacle::new(format!("the broker does not start: {error}"), limit);
            return Ok(Proof::without_broker(asked, obstacle));
        }
    };
    let mut proof = Attempt::new(running.address(), asked, stop).run();
    proof.shards = running.shards();
    if let Err(error) = running.stop() {
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

/// A directory that is removed when this is dropped.
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
        // Files that cannot be removed are left for the system to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
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
