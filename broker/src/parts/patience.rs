//! How long the rest of a frame that has begun is waited for.

use crate::clock::TICK_MS;
use crate::parts::here::Here;
use crate::parts::session::{Partial, Session, SessionId, Stage};
use crate::parts::timers::Timers;

/// The rest of a frame may stay away for so long, or for two heartbeats if that is shorter, in milliseconds.
const FRAME_STALL_MS: u64 = 10_000;
/// A whole frame may take that long and a second for each KiB, so that no peer keeps a frame open for ever by dribbling.
const FRAME_KIB_MS: u64 = 1_000;

/// Waits for the rest of a frame that has begun. One timer for each session is enough, however many frames begin
/// meanwhile.
pub(crate) fn watch_frame(here: &Here, timers: &mut Timers, id: SessionId, session: &mut Session) {
    if !session.watched {
        session.watched = true;
        let stall_ms = frame_stall_ms(here, session);
        timers.watch_frame(id, here.now.monotonic_ms + stall_ms);
    }
}

/// Until when the rest of a session's incomplete frame may come.
pub(crate) fn frame_due_ms(here: &Here, session: &Session, partial: &Partial) -> u64 {
    let kib = partial.need as u64 / 1024;
    let fed_ms = u64::from(partial.fed_tick) * TICK_MS;
    let begun_ms = u64::from(partial.begun_tick) * TICK_MS;
    let whole_ms = FRAME_STALL_MS + kib * FRAME_KIB_MS;
    (fed_ms + frame_stall_ms(here, session)).min(begun_ms + whole_ms)
}

/// How long the rest of a frame may stay away. A client whose hello lost bytes should hear so before it loses patience.
fn frame_stall_ms(here: &Here, session: &Session) -> u64 {
    match session.stage {
        Stage::Open => FRAME_STALL_MS.min(2 * u64::from(session.heartbeat_ms)),
        _ => u64::from(here.shared.config.hello_timeout_ms) / 2,
    }
}
