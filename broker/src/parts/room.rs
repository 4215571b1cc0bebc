//! The memory of a shard that clients can fill: input whose frames are incomplete or cannot be taken yet, and answers that
//! their sockets do not take.
//!
//! Both have a cap in bytes. From half of it on, reads are small, sessions that hold much get no further answers, and those
//! that have stalled for a while are turned away, the longest first, so that newcomers need not pay for them. The last
//! eighth is for sessions that hold nothing, and sessions that have stalled go, for however short a time. At the cap nobody is
//! read until there is room. A session that the broker itself holds back, because a log or another shard has no room, has not
//! stalled.

use oyez_protocol::event::GoodbyeCode;

use crate::parts::sessions::{Session, SessionId};
use crate::parts::timers::TICK_MS;
use crate::shard::Shard;
use crate::turn::accept::FULL_RETRY_MS;

/// Bytes of input that all shards together keep for their sessions, and of answers.
const INPUT_BYTES: usize = 128 << 20;
const OUTPUT_BYTES: usize = 64 << 20;
/// Each shard may keep so much, however many there are: several of the largest frames, and many usual ones.
const INPUT_BYTES_MIN: usize = 4 << 20;
const OUTPUT_BYTES_MIN: usize = 2 << 20;
/// A session that holds more than this holds much. So much is read at once, and answered, while room is short.
pub(crate) const MUCH_BYTES: usize = 4096;
/// While room is short, a session that makes no progress for so long has to go.
const STALLED_MS: u64 = 1_000;
/// How often the sessions that hold much are looked at while room is short.
const LOOK_MS: u64 = 100;
/// Sessions turned away in one turn: 2 ms, with the memory of a large record each.
const TURNED_AWAY_MAX: usize = 32;

/// Memory of one kind.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: usize,
    max: usize,
}

impl Kept {
    const fn new(max: usize) -> Self {
        Self { bytes: 0, max }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// Counts what was `counted` before with what it is now.
    pub(crate) const fn count(&mut self, counted: &mut usize, bytes: usize) {
        self.bytes = self.bytes - *counted + bytes;
        *counted = bytes;
    }

    /// Whether more than half is taken.
    pub(crate) const fn is_short(&self) -> bool {
        self.bytes > self.max / 2
    }

    /// Whether most of it is taken.
    pub(crate) const fn is_scarce(&self) -> bool {
        self.bytes > self.max - self.max / 8
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.bytes >= self.max
    }
}

/// What the sessions of a shard hold of its memory.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) input: Kept,
    pub(crate) output: Kept,
    /// Sessions that hold much of either, in no order.
    holders: Vec<SessionId>,
    /// When they were last looked at.
    looked_ms: u64,
    /// Somebody waits because nothing was left.
    pub(crate) missed: bool,
}

impl Room {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            input: Kept::new((INPUT_BYTES / shards).max(INPUT_BYTES_MIN)),
            output: Kept::new((OUTPUT_BYTES / shards).max(OUTPUT_BYTES_MIN)),
            holders: Vec::new(),
            looked_ms: 0,
            missed: false,
        }
    }

    const fn is_short(&self) -> bool {
        self.input.is_short() || self.output.is_short()
    }

    const fn is_scarce(&self) -> bool {
        self.input.is_scarce() || self.output.is_scarce()
    }

    /// Whether somebody waits for room, and there is some.
    pub(crate) const fn has_some_again(&self) -> bool {
        self.missed && !self.is_scarce()
    }

    /// Notes a session that may hold much.
    pub(crate) fn note(&mut self, id: SessionId, session: &mut Session) {
        if !session.holds_much && holds_much(session) {
            session.holds_much = true;
            self.holders.push(id);
        }
    }
}

fn holds_much(session: &Session) -> bool {
    let input = session
        .partial
        .as_ref()
        .map_or(0, |partial| partial.counted);
    let output = session
        .outgoing
        .as_ref()
        .map_or(0, |outgoing| outgoing.counted);
    input.max(output) > MUCH_BYTES
}

/// Since when a session that holds much has made no progress that is its own to make.
fn stalled_since_ms(session: &Session) -> Option<u64> {
    let unread = session.outgoing.as_ref().filter(|_| session.blocked);
    let refuses_answers = session.awaits_answer && unread.is_some();
    let input = session.partial.as_ref();
    let input = input.filter(|partial| partial.is_incomplete() || refuses_answers);
    let input_ms = input.map(|partial| u64::from(partial.grown_tick) * TICK_MS);
    let output_ms = unread.map(|outgoing| outgoing.moved_ms);
    [input_ms, output_ms].into_iter().flatten().min()
}

impl Shard {
    /// Turns away the sessions that have stalled longest, while memory is short of room. Looks at no more sessions than
    /// there can be with [`MUCH_BYTES`] each below the caps.
    pub(crate) fn make_room(&mut self) {
        let now_ms = self.now.monotonic_ms;
        let due = self.room.is_scarce() || now_ms >= self.room.looked_ms + LOOK_MS;
        if self.room.is_short() && due {
            self.room.looked_ms = now_ms;
            self.turn_away_stalled();
        }
        if self.room.has_some_again() {
            self.room.missed = false;
            self.freed = true;
        }
    }

    fn turn_away_stalled(&mut self) {
        let mut stalled = Vec::new();
        let sessions = &mut self.sessions;
        self.room.holders.retain(|id| {
            let Some(session) = sessions.get_mut(*id) else {
                return false;
            };
            session.holds_much = holds_much(session);
            if session.holds_much
                && let Some(since_ms) = stalled_since_ms(session)
            {
                stalled.push((since_ms, *id));
            }
            session.holds_much
        });
        stalled.sort_unstable();
        for (since_ms, id) in stalled.into_iter().take(TURNED_AWAY_MAX) {
            let long = self.now.monotonic_ms.saturating_sub(since_ms) >= STALLED_MS;
            if !(self.room.is_scarce() || (self.room.is_short() && long)) {
                return;
            }
            self.metrics().sessions_evicted.add(1);
            let reason = "the broker is short of room and this session makes no progress";
            self.turn_away_session(id, reason);
        }
    }

    /// Ends a session for want of room, at once: a Goodbye that it does not read would only hold more.
    fn turn_away_session(&mut self, id: SessionId, reason: &str) {
        let blocked = self.sessions.get(id).is_some_and(|session| session.blocked);
        if blocked {
            self.disconnect(id, crate::turn::end::Reason::Stalled);
        } else {
            self.refuse_for(id, GoodbyeCode::Full, FULL_RETRY_MS, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_counted_once_and_given_back() {
        let mut kept = Kept::new(1_000);
        let (mut first, mut second) = (0, 0);
        kept.count(&mut first, 400);
        kept.count(&mut second, 200);
        assert!(kept.is_short() && !kept.is_full());
        kept.count(&mut first, 900);
        assert!(kept.is_full());
        kept.count(&mut first, 0);
        kept.count(&mut second, 0);
        assert_eq!((kept.bytes(), first, second), (0, 0, 0));
    }

    #[test]
    fn many_shards_share_the_room_and_each_has_enough_for_large_frames() {
        assert_eq!(Room::new(2).input.max(), 64 << 20);
        assert_eq!(Room::new(54).input.max(), INPUT_BYTES_MIN);
        assert_eq!(Room::new(54).output.max(), OUTPUT_BYTES_MIN);
    }
}
