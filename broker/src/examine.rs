//! The broker as the doctor sees it: values of the configuration, the plan, and a broker that it starts for a proof.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use oyez_doctor::{Arguments, Failure, Room, Running, Setup, Spread, Wish};

use crate::config::{Config, Disk, KeepAwake, Sending};
use crate::plan::{self, Tables};
use crate::server::{Server, Stopper};

/// Examines this host for a broker with `config`, tries what is to be tried until `stop`, prints the report, and returns
/// whether so many connections are possible.
///
/// # Errors
/// When the proof has no place for its data, and when the report cannot be printed.
pub fn examine(config: &Config, arguments: &Arguments, stop: &AtomicBool) -> Result<bool, Failure> {
    oyez_doctor::run(&setup(config), &Examined(config), arguments, stop)
}

fn setup(config: &Config) -> Setup {
    Setup {
        max_connections: config.max_connections as u64,
        port: config.port().unwrap_or(0),
        data: config.data.clone(),
        disk_ring: match config.disk {
            Disk::Thread => Wish::Never,
            Disk::Auto => Wish::Allowed,
            Disk::Uring => Wish::Required,
        },
        send_ring: match config.sending {
            Sending::Loop => Wish::Never,
            Sending::Auto => Wish::Allowed,
            Sending::Ring => Wish::Required,
        },
        awake_cores: match config.keep_awake {
            KeepAwake::Never => Wish::Never,
            KeepAwake::Auto => Wish::Allowed,
            KeepAwake::Always => Wish::Required,
        },
        pin: config.pin,
        send_buffer_bytes: config.send_buffer_bytes,
        segment_bytes: config.segment_bytes,
        retention_bytes: config.retention_bytes,
        memory_log_bytes: config.memory_log_bytes,
        arena_bytes: config.arena_bytes,
    }
}

/// A broker with this configuration.
struct Examined<'a>(&'a Config);

impl oyez_doctor::Broker for Examined<'_> {
    fn spread(&self, connections: u64, room: &Room) -> Spread {
        let config = Config {
            max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
            ..self.0.clone()
        };
        let tables = match room.private_tables {
            true => Tables::Private,
            false => Tables::Shared,
        };
        let plan = plan::shards(&config, room.cores, room.descriptors, tables);
        let needed = |shards| plan::descriptors_needed(config.max_connections, shards, tables);
        Spread {
            shards: plan.shards,
            fits: plan.check(&config).is_ok() && needed(plan.shards) <= room.descriptors,
            needed: needed(plan.shards),
            needed_per_core: needed(room.cores),
            reserved: plan::reserved(plan.shards, tables),
        }
    }

    fn start(&self, connections: u64, data: &Path) -> Result<Box<dyn Running>, String> {
        let config = for_proof(self.0, connections, data);
        let server = Server::start(config).map_err(|error| error.to_string())?;
        let stopping = StopOnDrop(server.stopper());
        Ok(Box::new(Proving { server, stopping }))
    }
}

/// The configuration, but small on disk, on a free port, and with a long heartbeat.
fn for_proof(config: &Config, connections: u64, data: &Path) -> Config {
    Config {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()],
        operator: Vec::new(),
        data: data.to_owned(),
        max_connections: usize::try_from(connections).unwrap_or(usize::MAX),
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

/// The broker of a proof.
struct Proving {
    server: Server,
    stopping: StopOnDrop,
}

impl Running for Proving {
    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    fn shards(&self) -> usize {
        self.server.shard_count()
    }

    fn stop(self: Box<Self>) -> Result<(), String> {
        drop(self.stopping);
        self.server.wait().map_err(|error| error.to_string())
    }
}

struct StopOnDrop(Stopper);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
