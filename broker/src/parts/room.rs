//! The memory of a shard that clients can fill: input whose frames are incomplete or cannot be taken yet, and answers that
//! their sockets do not take.
//!
//! Both have a cap in bytes. From half of it on, reads are small, sessions that hold much get no further answers, and sessions
//! that have stalled for a while are turned away, the longest first, so that newcomers need not pay for them. The last eighth is
//! for sessions that hold nothing, and stalled sessions go, however short they have stalled. At the cap the shard reads no
//! session until there is room. A session that the broker itself holds back, because a log or another shard has no room, has not
//! stalled.

use crate::parts::session::{Session, SessionId};

/// Bytes of input that all shards together keep for their sessions, and of answers.
const INPUT_BYTES: usize = 128 << 20;
const OUTPUT_BYTES: usize = 64 << 20;
/// Bytes that each shard may keep, however many shards there are: several of the largest frames, and many usual ones.
const INPUT_BYTES_MIN: usize = 4 << 20;
const OUTPUT_BYTES_MIN: usize = 2 << 20;
/// A session that holds more bytes than this holds much. While room is short, one read takes this much, and answers may wait up
/// to it.
pub(crate) const MUCH_BYTES: usize = 4096;
/// A peer that does not take its answers gets no more of them once this many bytes wait for it.
pub(crate) const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// How often the shard looks at the sessions that hold much while room is short, in milliseconds.
const LOOK_MS: u64 = 100;

/// Bytes of input and of answers that one shard keeps for its sessions at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemoryCaps {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

impl MemoryCaps {
    /// The caps of each of so many shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            input: (INPUT_BYTES / shards).max(INPUT_BYTES_MIN),
            output: (OUTPUT_BYTES / shards).max(OUTPUT_BYTES_MIN),
        }
    }
}

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

    /// Replaces the `counted` bytes of a holder by its `bytes` of now.
    pub(crate) const fn count(&mut self, counted: &mut usize, bytes: usize) {
        self.bytes = self.bytes - *counted + bytes;
        *counted = bytes;
    }

    /// Whether more than half of the cap is taken.
    pub(crate) const fn is_short(&self) -> bool {
        self.bytes > self.max / 2
    }

    /// Whether most of the cap is taken.
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
    /// When the shard last looked at them.
    looked_ms: u64,
    /// A session waits because no room was left.
    pub(crate) missed: bool,
}

impl Room {
    pub(crate) fn new(caps: MemoryCaps) -> Self {
        Self {
            input: Kept::new(caps.input),
            output: Kept::new(caps.output),
            holders: Vec::new(),
            looked_ms: 0,
            missed: false,
        }
    }

    pub(crate) const fn is_short(&self) -> bool {
        self.input.is_short() || self.output.is_short()
    }

    pub(crate) const fn is_scarce(&self) -> bool {
        self.input.is_scarce() || self.output.is_scarce()
    }

    /// Whether a session waits for room, and there is some.
    pub(crate) const fn has_some_again(&self) -> bool {
        self.missed && !self.is_scarce()
    }

    /// Returns whether it is time to look at the sessions that hold much; the look is then taken as done.
    pub(crate) fn is_look_due(&mut self, now_ms: u64) -> bool {
        let due = self.is_scarce() || now_ms >= self.looked_ms + LOOK_MS;
        let looks = self.is_short() && due;
        if looks {
            self.looked_ms = now_ms;
        }
        looks
    }

    /// Returns whether a session has waited for room, and there is some now; then none waits any more.
    pub(crate) const fn is_found_again(&mut self) -> bool {
        let again = self.has_some_again();
        self.missed &= !again;
        again
    }

    /// Takes the sessions that may hold much; the caller gives back those that do with [`Self::keep_holders`].
    pub(crate) fn take_holders(&mut self) -> Vec<SessionId> {
        std::mem::take(&mut self.holders)
    }

    pub(crate) fn keep_holders(&mut self, holders: Vec<SessionId>) {
        self.holders = holders;
    }

    /// Notes a session that may hold much.
    pub(crate) fn note(&mut self, id: SessionId, session: &mut Session) {
        if !session.holds_much && holds_much(session) {
            session.holds_much = true;
            self.holders.push(id);
        }
    }
}

/// Returns whether a session that was noted still holds much, and notes so in the session.
pub(crate) fn look_at_holding(session: &mut Session) -> bool {
    session.holds_much = holds_much(session);
    session.holds_much
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_bytes_are_counted_once_and_given_back() {
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
        assert_eq!(MemoryCaps::new(2).input, 64 << 20);
        assert_eq!(MemoryCaps::new(54).input, INPUT_BYTES_MIN);
        assert_eq!(MemoryCaps::new(54).output, OUTPUT_BYTES_MIN);
    }

    fn room_with(input: usize, output: usize) -> Room {
        let mut room = Room::new(MemoryCaps::new(64));
        room.input.count(&mut 0, input);
        room.output.count(&mut 0, output);
        room
    }

    #[test]
    fn room_is_short_above_a_half_scarce_in_the_last_eighth_and_full_at_the_cap() {
        let says = |bytes| {
            let mut kept = Kept::new(800);
            kept.count(&mut 0, bytes);
            (kept.is_short(), kept.is_scarce(), kept.is_full())
        };
        assert_eq!(says(400), (false, false, false));
        assert_eq!(says(401), (true, false, false));
        assert_eq!(says(700), (true, false, false));
        assert_eq!(says(701), (true, true, false));
        assert_eq!(says(799), (true, true, false));
        assert_eq!(says(800), (true, true, true));
    }

    #[test]
    fn either_kind_of_memory_makes_room_short() {
        let (input, output) = (INPUT_BYTES_MIN, OUTPUT_BYTES_MIN);
        assert!(!room_with(input / 2, output / 2).is_short());
        assert!(room_with(input / 2 + 1, 0).is_short());
        assert!(room_with(0, output / 2 + 1).is_short());
        assert!(!room_with(input * 7 / 8, output * 7 / 8).is_scarce());
        assert!(room_with(input, 0).is_scarce() && room_with(0, output).is_scarce());
    }

    #[test]
    fn while_room_is_short_holders_are_looked_at_now_and_then_and_always_while_it_is_scarce() {
        assert!(!room_with(0, 0).is_look_due(1_000));
        let mut short = room_with(INPUT_BYTES_MIN / 2 + 1, 0);
        let looks = [1_000, 1_099, 1_100, 1_150, 1_200];
        let looks = looks.map(|now_ms| short.is_look_due(now_ms));
        assert_eq!(looks, [true, false, true, false, true]);
        let mut scarce = room_with(INPUT_BYTES_MIN, 0);
        assert!(scarce.is_look_due(1_000) && scarce.is_look_due(1_000));
    }

    #[test]
    fn room_that_was_missed_is_found_again_once() {
        let mut room = room_with(INPUT_BYTES_MIN, 0);
        room.missed = true;
        assert!(!room.has_some_again() && !room.is_found_again() && room.missed);
        room.input = Kept::new(INPUT_BYTES_MIN);
        assert!(room.has_some_again() && room.is_found_again());
        assert!(!room.has_some_again() && !room.is_found_again());
    }

    #[test]
    fn a_session_that_holds_much_of_either_is_noted_once() {
        use crate::parts::partial::Partial;
        use crate::rig::Rig;
        let mut rig = Rig::new();
        let client = rig.join();
        for (input, output, much) in [
            (MUCH_BYTES, MUCH_BYTES, false),
            (MUCH_BYTES + 1, 0, true),
            (0, MUCH_BYTES + 1, true),
        ] {
            let session = rig.session(&client);
            session.holds_much = false;
            let mut partial = Box::new(Partial::new(Vec::new(), 0, 0));
            partial.counted = input;
            session.partial = Some(partial);
            session.outgoing.insert(Box::default()).counted = output;
            let mut room = Room::new(MemoryCaps::new(1));
            room.note(client.id, session);
            room.note(client.id, session);
            assert_eq!(session.holds_much, much);
            assert_eq!(room.take_holders().len(), usize::from(much));
            room.keep_holders(vec![client.id]);
            assert_eq!(room.take_holders(), [client.id]);
        }
    }
}
