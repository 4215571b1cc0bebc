//! What every step knows.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::clock::Now;
use crate::clock::TICK_MS;
use crate::measure::metrics::ShardMetrics;
use crate::parts::log_limits::{LogEvent, LogLimits};
use crate::parts::shared::Shared;

/// Which shard this is, what all shards share, and the number and the time of the turn.
pub(crate) struct ShardContext {
    pub(crate) id: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) now: Now,
    /// Turns so far.
    pub(crate) turns: usize,
    /// Bounds the lines of log that clients can cause.
    pub(crate) lines: LogLimits,
}

impl ShardContext {
    pub(crate) fn metrics(&self) -> &ShardMetrics {
        &self.shared.metrics[self.id]
    }

    /// Whether a line of log that `peer` has caused may be written now.
    pub(crate) fn may_log(&self, line: LogEvent, peer: Option<SocketAddr>) -> bool {
        self.lines.may_tell(line, peer, self.now.monotonic_ms)
    }

    /// The time in ticks of the timer wheels.
    pub(crate) fn tick(&self) -> u32 {
        u32::try_from(self.now.monotonic_ms / TICK_MS).unwrap_or(u32::MAX)
    }
}
