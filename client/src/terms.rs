//! What a broker and a client agree on when a connection begins. Pure.

use std::time::Duration;

use oyez_protocol::event::Welcome;
use oyez_protocol::limits::Limits;

/// Heartbeat for a broker that names none.
const HEARTBEAT_DEFAULT: Duration = Duration::from_secs(300);

/// What the broker stated in its welcome.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    pub(crate) heartbeat: Duration,
    pub(crate) inflight_records_max: usize,
    pub(crate) inflight_bytes_max: usize,
}

impl Terms {
    pub(crate) fn of(welcome: &Welcome<'_>) -> Self {
        let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms));
        Self {
            limits: welcome.limits,
            heartbeat: if heartbeat.is_zero() {
                HEARTBEAT_DEFAULT
            } else {
                heartbeat
            },
            inflight_records_max: welcome.inflight_records_max as usize,
            inflight_bytes_max: welcome.inflight_bytes_max as usize,
        }
    }
}

impl Default for Terms {
    /// Terms of a connection before the broker's welcome.
    fn default() -> Self {
        Self {
            limits: Limits::HARD,
            heartbeat: HEARTBEAT_DEFAULT,
            inflight_records_max: 0,
            inflight_bytes_max: 0,
        }
    }
}
