//! What all shards see: the configuration, the owner of each log, which shards the news of a log concerns, the phase of the
//! process, and the counters of all shards. Nothing here is locked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use oyez_protocol::LogId;
use oyez_storage::{ArenaPool, DataDir};
use oyez_sys::waker::Waker;

use crate::config::Config;
use crate::dialect::rules::Rules;
use crate::listen::{Listen, Speaks};
use crate::measure::metrics::ShardMetrics;
use crate::parts::interest::Interest;
use crate::parts::phase::Phase;
use crate::parts::room::MemoryCaps;
use crate::plan::Tables;

/// The part of the broker that all shards share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// The rules of the configuration for requests over HTTP.
    pub(crate) rules: Rules,
    /// The addresses that the broker listens on, by their numbers.
    pub(crate) doors: Vec<Door>,
    pub(crate) dir: DataDir,
    pub(crate) pool: Arc<ArenaPool>,
    pub(crate) shards: usize,
    /// Random number of this run.
    pub(crate) instance: u64,
    pub(crate) metrics: Vec<ShardMetrics>,
    /// Connections that hold one of the `max_connections` places.
    pub(crate) connections: AtomicUsize,
    /// Served connections for which one shard's descriptor table has room.
    pub(crate) connections_per_shard: usize,
    /// Memory that each shard keeps for its sessions.
    pub(crate) caps: MemoryCaps,
    /// Bytes that each shard keeps of records in other forms: its part of `rendition_cache_bytes`.
    pub(crate) rendition_bytes_max: usize,
    pub(crate) tables: Tables,
    wakers: Vec<Waker>,
    phase: AtomicU8,
    /// When the broker was asked to stop, by the clock that all shards share.
    stopping_since_ms: AtomicU64,
    pub(crate) interest: Interest,
    /// Shards that hand nothing over any more; below, shards that have nothing more to acknowledge.
    pub(crate) shards_quiet: AtomicUsize,
    pub(crate) shards_drained: AtomicUsize,
}

/// An address that the broker listens on: what matters of it to its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    pub(crate) speaks: Speaks,
    /// It is the operator's: its connections may ask about the broker itself.
    pub(crate) is_operators: bool,
}

impl Door {
    fn new((listen, is_operators): (&Listen, bool)) -> Self {
        Self {
            speaks: listen.speaks,
            is_operators,
        }
    }
}

/// The arguments of [`Shared::new`].
pub(crate) struct SharedParts {
    pub(crate) config: Config,
    pub(crate) dir: DataDir,
    pub(crate) pool: Arc<ArenaPool>,
    pub(crate) shards: usize,
    pub(crate) instance: u64,
    pub(crate) connections_per_shard: usize,
    pub(crate) caps: MemoryCaps,
    pub(crate) tables: Tables,
    /// Wakes each shard; empty where no shard sleeps.
    pub(crate) wakers: Vec<Waker>,
}

impl Shared {
    pub(crate) fn new(parts: SharedParts) -> Self {
        let shards = parts.shards;
        let logs = parts.dir.logs().count();
        Self {
            rules: parts.config.rules(),
            doors: parts.config.doors().map(Door::new).collect(),
            rendition_bytes_max: parts.config.rendition_cache_bytes as usize / shards,
            config: parts.config,
            dir: parts.dir,
            pool: parts.pool,
            shards,
            instance: parts.instance,
            metrics: std::iter::repeat_with(ShardMetrics::default)
                .take(shards)
                .collect(),
            connections: AtomicUsize::new(0),
            connections_per_shard: parts.connections_per_shard,
            caps: parts.caps,
            tables: parts.tables,
            wakers: parts.wakers,
            phase: AtomicU8::new(Phase::Serving as u8),
            stopping_since_ms: AtomicU64::new(u64::MAX),
            interest: Interest::new(shards, logs),
            shards_quiet: AtomicUsize::new(0),
            shards_drained: AtomicUsize::new(0),
        }
    }

    /// Takes one of the places for connections. Returns whether one was free.
    pub(crate) fn take_place(&self) -> bool {
        let max = self.config.max_connections;
        let one_more = |taken: usize| (taken < max).then_some(taken + 1);
        let order = Ordering::Relaxed;
        self.connections
            .fetch_update(order, order, one_more)
            .is_ok()
    }

    /// Gives a place for a connection back.
    pub(crate) fn give_place_back(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// The shard that owns `log`.
    pub(crate) fn owner(&self, log: LogId) -> usize {
        usize::from(log.get()) % self.shards
    }

    /// The log that `topic` belongs to.
    pub(crate) fn log_of(&self, topic: &str) -> LogId {
        self.dir.log_of(topic, self.config.durability_of(topic))
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Stopping,
            _ => Phase::Failed,
        }
    }

    /// Begins the shutdown, unless it was begun before.
    pub(crate) fn stop(&self, now_ms: u64) {
        self.stopping_since_ms.fetch_min(now_ms, Ordering::AcqRel);
        self.enter(Phase::Stopping);
    }

    pub(crate) fn stopping_since_ms(&self) -> u64 {
        self.stopping_since_ms.load(Ordering::Acquire)
    }

    /// Moves on to `phase` and wakes every shard.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.wake_all();
    }

    pub(crate) fn wake_all(&self) {
        for waker in &self.wakers {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Rig, settings};

    #[test]
    fn the_phase_never_goes_back_and_the_first_request_to_stop_counts() {
        let mut rig = Rig::new();
        let shared = rig.parts().context.shared.clone();
        assert_eq!(shared.phase(), Phase::Serving);
        shared.stop(2_000);
        shared.stop(3_000);
        assert_eq!(
            (shared.phase(), shared.stopping_since_ms()),
            (Phase::Stopping, 2_000)
        );
        shared.enter(Phase::Failed);
        shared.stop(1_000);
        assert_eq!(shared.phase(), Phase::Failed);
    }

    #[test]
    fn logs_are_dealt_out_to_the_shards() {
        let [mut first, _second] = Rig::shards(settings());
        let shared = first.parts().context.shared.clone();
        let (log, other) = (LogId::new(1), LogId::new(2));
        assert_eq!([log, other].map(|log| shared.owner(log)), [1, 0]);
    }
}
