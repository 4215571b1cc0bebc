//! What makes a flood: the broker it runs against, the clients, and what honest clients try beside it.

use std::time::Duration;

use testkit::figures::full;
use testkit::{Broker, Setup};

use crate::script::Kind;

/// Shards of the broker, and threads of the bare loop.
pub(crate) const SHARDS: usize = 2;
/// Clients of each kind, of a whole run and of a sample.
const CLIENTS: usize = 400;
const CLIENTS_SAMPLED: usize = 40;
/// How long the traffic lasts, of a whole run and of a sample.
const TIME: Duration = Duration::from_secs(10);
const TIME_SAMPLED: Duration = Duration::from_secs(2);
/// Bytes that each log keeps, in memory or on disk, unless a flood says otherwise.
const LOG_BYTES: u64 = 8 << 20;

pub(crate) struct Flood {
    pub(crate) name: &'static str,
    pub(crate) setup: Setup,
    /// Prepares the flood: what is published before it begins, for example.
    pub(crate) prepare: fn(&Broker),
    pub(crate) kinds: fn() -> Vec<Kind>,
    /// After each time so long, all connections are reset in one go.
    pub(crate) round: Option<Duration>,
    /// What was asked goes on being answered when the traffic has ended, at a pace: turns say nothing then.
    pub(crate) pends: bool,
    /// What honest clients do while it lasts; gives what went wrong.
    pub(crate) beside: fn(&Broker) -> Vec<String>,
}

impl Flood {
    pub(crate) fn new(name: &'static str, kinds: fn() -> Vec<Kind>) -> Self {
        Self {
            name,
            setup: setup(),
            prepare: |_| (),
            kinds,
            round: None,
            pends: false,
            beside: |_| Vec::new(),
        }
    }
}

/// `honest` and `memory` topics are kept in memory, those of `written` are written without a sync. No thread is bound to
/// a core, neither the broker's nor those of the bare loop: the flood comes from the same cores.
fn setup() -> Setup {
    Setup::new()
        .set("shards", SHARDS)
        .set("pin", false)
        .set("topic_creation_rate", 0)
        .set("memory_topics", "honest/#,memory/#")
        .set("written_topics", "written/#")
        .set("memory_log_bytes", LOG_BYTES)
        .set("retention_bytes", 4 * LOG_BYTES)
}

/// Clients of a kind.
pub(crate) fn clients() -> usize {
    if full() { CLIENTS } else { CLIENTS_SAMPLED }
}

/// How long the traffic lasts.
pub(crate) fn time() -> Duration {
    if full() { TIME } else { TIME_SAMPLED }
}
