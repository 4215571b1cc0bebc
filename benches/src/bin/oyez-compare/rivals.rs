//! The targets of this program, and which options belong to which of them.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use oyez_cli::bench::{Plan, Target, Targets};
use oyez_cli::{Failure, GlobalOptions};

use crate::floor::FloorTarget;
use crate::peer::Peer;

/// Arguments about the target.
#[derive(Debug, Args)]
pub(crate) struct RivalOptions {
    /// Server to put under load: `oyez`, the broker (--server); `floor`, a bare accept-epoll-sendmsg server that this
    /// program starts itself; or another server, as redis://HOST:PORT, nats://HOST:PORT, mqtt://HOST:PORT,
    /// nats+ws://HOST:PORT (the same protocol over WebSocket) or ws://HOST:PORT (which passes each message on to all
    /// others)
    #[arg(long, global = true, value_name = "TARGET", default_value = "oyez")]
    target: TargetName,

    /// With --target floor: the server reads what each subscriber sends, and answers as many bytes as a broker would;
    /// over HTTP it always does
    #[arg(long, global = true)]
    answer: bool,

    /// With publish --target floor: the server writes each record to this file and syncs it before it answers; first it
    /// fills the file with 64 MiB of zeros
    #[arg(long, global = true, value_name = "FILE")]
    sync_file: Option<PathBuf>,

    /// With publish and redis:// or nats://: append to what the server keeps on disk, and wait for its acknowledgement
    #[arg(long, global = true)]
    durable: bool,
}

/// A target of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TargetName {
    /// The broker at --server.
    Oyez,
    /// A bare kernel loop.
    Floor,
    /// A server of another protocol.
    Peer(Peer),
}

impl FromStr for TargetName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oyez" => Ok(Self::Oyez),
            "floor" => Ok(Self::Floor),
            _ => text.parse().map(Self::Peer),
        }
    }
}

/// The targets of this program.
#[derive(Debug)]
pub(crate) struct Rivals {
    pub(crate) global: GlobalOptions,
    pub(crate) rivals: RivalOptions,
}

impl Targets for Rivals {
    fn find(&self, plan: Plan) -> Result<Arc<dyn Target>, Failure> {
        self.rivals.check(&plan)?;
        match self.rivals.target {
            TargetName::Oyez => self.global.find(plan),
            TargetName::Floor => Ok(Arc::new(FloorTarget::new(
                plan,
                self.rivals.answer,
                self.rivals.sync_file.as_deref(),
            )?)),
            TargetName::Peer(peer) => peer.target(plan, self.rivals.durable),
        }
    }
}

impl RivalOptions {
    /// Refuses options that the target or the bench has no use for.
    fn check(&self, plan: &Plan) -> Result<(), Failure> {
        let is_floor = self.target == TargetName::Floor;
        let publishes_only = plan.connections == 0;
        let wrong = if self.sync_file.is_some() && !(is_floor && publishes_only) {
            "--sync-file goes with publish --target floor"
        } else if self.answer && !is_floor {
            "--answer goes with --target floor"
        } else if self.durable && !(matches!(self.target, TargetName::Peer(_)) && publishes_only) {
            "--durable goes with publish and redis:// or nats://; the broker's configuration decides for its topics, --sync-file for the floor"
        } else {
            return Ok(());
        };
        Err(Failure::Usage(wrong.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_or_an_address_with_its_protocol() {
        assert_eq!("oyez".parse(), Ok(TargetName::Oyez));
        assert_eq!("floor".parse(), Ok(TargetName::Floor));
        for text in [
            "redis://127.0.0.1:6379",
            "nats://127.0.0.1:1",
            "mqtt://[::1]:2",
            "nats+ws://127.0.0.1:1",
            "ws://127.0.0.1:1",
        ] {
            assert!(matches!(text.parse(), Ok(TargetName::Peer(_))), "{text}");
        }
        for text in [
            "",
            "redis",
            "redis://",
            "redis://127.0.0.1",
            "http://127.0.0.1:80",
        ] {
            assert!(text.parse::<TargetName>().is_err(), "{text}");
        }
    }
}
