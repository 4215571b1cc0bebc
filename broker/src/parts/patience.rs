//! How long the broker waits for the rest of a frame, and for peers that are silent or idle.

use crate::clock::TICK_MS;
use crate::parts::context::ShardContext;
use crate::parts::partial::Partial;
use crate::parts::session::{Session, SessionId, Stage};
use crate::parts::timers::Timers;

/// How long the rest of a frame may stay away, in milliseconds; two heartbeats if that is shorter.
const FRAME_STALL_MS: u64 = 10_000;
/// A whole frame may take [`FRAME_STALL_MS`], and this long for each KiB, so that no peer keeps a frame open for ever by
/// dribbling.
const FRAME_KIB_MS: u64 = 1_000;

/// An HTTP connection that asks nothing for this long is closed, in milliseconds. Proxies keep idle connections for less (60 s),
/// so that they close theirs first.
pub(crate) const IDLE_MS: u32 = 75_000;
/// A silent stream gets a comment after this long, in milliseconds. Proxies cut silent connections: nginx after 60 s, HAProxy
/// after 50 s as Debian sets it up, others after 30 s.
pub(crate) const STREAM_MS: u32 = 25_000;
/// A WebSocket session gets a Ping after this long, in milliseconds, or at its heartbeat if that is shorter: proxies cut a
/// connection to which the broker sends nothing for 60 s, whatever the client sends.
pub(crate) const PINGED_MS: u32 = 45_000;
/// How often a stream of several topics is told where it stands, while messages come, in milliseconds: messages since then come
/// twice when the client resumes.
pub(crate) const PLACES_MS: u32 = 5_000;

/// Starts a timer for the rest of a frame that has begun. One timer for each session is enough, however many frames begin
/// meanwhile.
pub(crate) fn watch_frame(
    context: &ShardContext,
    timers: &mut Timers,
    id: SessionId,
    session: &mut Session,
) {
    if !session.watched {
        session.watched = true;
        let stall_ms = frame_stall_ms(context, session);
        timers.watch_frame(id, context.now.monotonic_ms + stall_ms);
    }
}

/// Until when the rest of a session's incomplete frame may come.
pub(crate) fn frame_due_ms(context: &ShardContext, session: &Session, partial: &Partial) -> u64 {
    let kib = partial.need as u64 / 1024;
    let fed_ms = u64::from(partial.fed_tick) * TICK_MS;
    let begun_ms = u64::from(partial.begun_tick) * TICK_MS;
    let whole_ms = FRAME_STALL_MS + kib * FRAME_KIB_MS;
    (fed_ms + frame_stall_ms(context, session)).min(begun_ms + whole_ms)
}

/// How long the rest of a frame may stay away, in milliseconds. For a hello it is half the time that this has, so that a client
/// whose hello lost bytes hears so before it gives up.
fn frame_stall_ms(context: &ShardContext, session: &Session) -> u64 {
    match session.stage {
        Stage::Open => FRAME_STALL_MS.min(2 * u64::from(session.heartbeat_ms)),
        _ => u64::from(context.shared.config.hello_timeout_ms) / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rig::{Rig, settings};

    /// Until when the rest of a frame of `need` bytes may come that began and last grew at these ticks, in milliseconds.
    fn due_ms(heartbeat_ms: u32, stage: Stage, need: usize, ticks: (u32, u32)) -> u64 {
        let mut rig = Rig::with(Config {
            heartbeat_ms,
            ..settings()
        });
        let client = rig.join();
        rig.session(&client).stage = stage;
        let mut partial = Partial::new(Vec::new(), need, ticks.0);
        partial.fed_tick = ticks.1;
        let parts = rig.parts();
        let session = parts.sessions.get(client.id).expect("it is there");
        frame_due_ms(&parts.context, session, &partial)
    }

    #[test]
    fn the_rest_of_a_frame_may_stay_away_for_a_while() {
        let (fed_ms, ticks) = (8_000 * TICK_MS, (8_000, 8_000));
        for (heartbeat_ms, stage, stall_ms) in [
            (300_000, Stage::Open, 10_000),
            (5_000, Stage::Open, 10_000),
            (4_000, Stage::Open, 8_000),
            // Before the hello: half the time for it.
            (300_000, Stage::Greeting, 5_000),
        ] {
            let due_ms = due_ms(heartbeat_ms, stage, 1 << 20, ticks);
            assert_eq!(due_ms - fed_ms, stall_ms);
        }
    }

    #[test]
    fn a_whole_frame_may_take_a_second_for_each_kib_and_some_more() {
        for (need, whole_ms) in [(100, 10_000), (1_024, 11_000), (10_300, 20_000)] {
            let due_ms = due_ms(300_000, Stage::Open, need, (8_000, 9_000));
            assert_eq!(due_ms - 8_000 * TICK_MS, whole_ms, "{need} bytes");
        }
    }

    #[test]
    fn one_timer_is_enough_for_a_session() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.begin_turn();
        let parts = rig.parts();
        let session = parts.sessions.get_mut(client.id).expect("it is there");
        for _ in 0..2 {
            watch_frame(&parts.context, &mut parts.timers, client.id, session);
            assert!(session.watched);
        }
        let now_ms = parts.now_ms();
        for (ms, count) in [(9_999, 0), (10_000 + TICK_MS, 1)] {
            parts.timers.advance(now_ms + ms);
            let stalled = std::iter::from_fn(|| parts.timers.next_stalled());
            assert_eq!(stalled.count(), count);
        }
    }
}
