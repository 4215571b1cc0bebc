//! A session: a client's connection and what the shard remembers about it. Everything that an idle subscriber does not need is
//! behind a pointer that is null while it is idle.

use oyez_protocol::planted::{Bug, planted};

use crate::clock::TICK_MS;
use crate::config::DOORS_MAX;
use crate::dialect::command::Dialect;
use crate::dialect::form::Form;
use crate::net::{Backlog, Socket};
use crate::parts::lane::Lane;
use crate::parts::partial::Partial;
#[cfg(test)]
use crate::parts::subscription::SubscriptionRef;
use crate::parts::subscription::{Subscription, Subscriptions};
use crate::parts::tail::RecordTail;

/// Names a session within its shard. The generation keeps events and answers for a session that is gone from reaching the session
/// that got its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionId {
    key: u32,
    generation: u32,
}

impl SessionId {
    pub(crate) const fn new(key: u32, generation: u32) -> Self {
        Self { key, generation }
    }

    pub(crate) const fn key(self) -> u32 {
        self.key
    }

    /// The name as a number, for the poll and others that give it back.
    pub(crate) const fn token(self) -> u64 {
        (self.generation as u64) << 32 | self.key as u64
    }

    pub(crate) const fn from_token(token: u64) -> Self {
        Self {
            key: token as u32,
            generation: (token >> 32) as u32,
        }
    }
}

/// The stages of a session's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Connected; no hello yet.
    Greeting,
    /// Welcomed.
    Open,
    /// The client is done. It still gets the answers that it waits for; nothing else is read or delivered.
    Leaving,
    /// Its Goodbye is in the outgoing bytes, or will be in this turn; nothing is read or delivered any more.
    Closing,
    /// Everything is sent and the broker's side is shut. Input is thrown away until the peer shuts its side, so that no reset
    /// destroys the last frame.
    Lingering,
    /// The connection is gone; its subscriptions are being taken out of their topics' lists.
    Gone,
}

impl Stage {
    /// Whether a session may still get replies.
    pub(crate) const fn is_heard(self) -> bool {
        matches!(self, Self::Greeting | Self::Open | Self::Leaving)
    }
}

/// Control frames on their way out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
    /// Bytes of memory that the shard counts for it.
    pub(crate) counted: usize,
    /// When the first of the bytes came, or the socket last took some, in milliseconds.
    pub(crate) moved_ms: u64,
}

/// The session holds no place: there was none for it, or it has given its own back.
const PLACELESS: u8 = 1 << 7;
/// A proxy has said whose connection it is.
const PROXIED: u8 = 1 << 6;
/// The session's place is one of those reserved beside `max_connections`.
const RESERVED: u8 = 1 << 5;
const _: () = assert!(DOORS_MAX <= RESERVED as usize);

/// The kind of place that a connection holds: see [`crate::parts::admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// One of the places that `max_connections` counts.
    Own,
    /// One of the places reserved for the operator and for questions from this machine.
    Reserved,
    /// No place: the connection is turned away, or was told to go.
    None,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(in crate::parts) socket: Socket,
    generation: u32,
    /// When the peer last gave a sign of life, in ticks of the timer wheel; before the hello, when the connection came.
    pub(in crate::parts) heard_tick: u32,
    /// After this much silence the peer is asked for a sign of life, in milliseconds.
    pub(in crate::parts) heartbeat_ms: u32,
    /// Bytes that the peer had acknowledged at the last look, without their upper half: only the growth since then counts.
    pub(in crate::parts) taken: u32,
    pub(in crate::parts) stage: Stage,
    /// The dialect that it speaks.
    pub(in crate::parts) dialect: Dialect,
    /// The form in which it is sent records.
    pub(in crate::parts) form: Form,
    /// Its door, which is the number of the address that it connected to, with the flags [`PLACELESS`], [`PROXIED`] and
    /// [`RESERVED`].
    entry: u8,
    /// The socket takes nothing until epoll says that it does.
    pub(in crate::parts) blocked: bool,
    /// In the list of sessions that have something to send.
    pub(in crate::parts) queued: bool,
    /// In one of the lists of sessions to read, or waiting to be put there.
    pub(in crate::parts) reading: bool,
    /// At its last visit it had more to read than a session that says little.
    pub(in crate::parts) says_much: bool,
    /// Its records go to other shards in the lane of those that say much.
    pub(in crate::parts) in_lane_of_much: bool,
    /// Its next frame waits until an answer to an earlier one has come, or is sent.
    pub(in crate::parts) awaits_answer: bool,
    /// In the list of sessions that hold much of the shard's memory.
    pub(in crate::parts) holds_much: bool,
    /// Requests that other shards, or several turns, are needed for.
    pub(in crate::parts) requests: u8,
    /// The peer has shut its side.
    pub(in crate::parts) ended: bool,
    /// Waits for a catch-up to become free.
    pub(in crate::parts) waiting: bool,
    /// The rest of its half-sent record is being read ahead.
    pub(in crate::parts) warming: bool,
    /// Its outgoing bytes wait for an answer of another shard: see [`crate::parts::held`].
    pub(in crate::parts) held: bool,
    /// Was asked for a sign of life and has given none since.
    pub(in crate::parts) pinged: bool,
    /// A timer runs for the rest of the frame that has begun.
    pub(in crate::parts) watched: bool,
    /// Published records that wait for their outcome, and their bytes.
    pub(in crate::parts) inflight_records: u32,
    pub(in crate::parts) inflight_bytes: u32,
    pub(in crate::parts) partial: Option<Box<Partial>>,
    pub(in crate::parts) outgoing: Option<Box<Outgoing>>,
    pub(in crate::parts) tail: Option<RecordTail>,
    pub(in crate::parts) subscriptions: Subscriptions,
}

// What an idle subscriber costs, with its subscription and its timer: of DESIGN's 128 bytes. Streams cost the same.
const _: () = assert!(size_of::<Session>() <= 96);
const _: () =
    assert!(size_of::<Session>() + size_of::<Subscription>() + size_of::<SessionId>() <= 128);

impl Session {
    /// A fresh connection.
    pub(crate) fn new((socket, door): (Socket, u8), generation: u32, now_tick: u32) -> Self {
        Self {
            socket,
            entry: door,
            generation,
            heard_tick: now_tick,
            stage: Stage::Greeting,
            dialect: Dialect::Unknown,
            form: Form::NATIVE,
            blocked: false,
            queued: false,
            reading: false,
            says_much: false,
            in_lane_of_much: false,
            awaits_answer: false,
            holds_much: false,
            requests: 0,
            ended: false,
            waiting: false,
            warming: false,
            held: false,
            pinged: false,
            watched: false,
            heartbeat_ms: 0,
            taken: 0,
            inflight_records: 0,
            inflight_bytes: 0,
            partial: None,
            outgoing: None,
            tail: None,
            subscriptions: Subscriptions::None,
        }
    }

    /// Gives the session another name; the shard does nothing with its socket any more.
    pub(crate) const fn rename(&mut self, generation: u32) {
        self.generation = generation;
        self.blocked = true;
    }

    pub(crate) const fn socket(&self) -> Socket {
        self.socket
    }

    pub(crate) const fn stage(&self) -> Stage {
        self.stage
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Notes that a proxy has said whose connection it is.
    pub(crate) const fn note_proxied(&mut self) {
        self.entry |= PROXIED;
    }

    pub(crate) const fn is_proxied(&self) -> bool {
        self.entry & PROXIED != 0
    }

    pub(crate) const fn door(&self) -> u8 {
        self.entry & !(PLACELESS | PROXIED | RESERVED)
    }

    pub(crate) const fn form(&self) -> Form {
        self.form
    }

    /// Turns the session into a stream: it is sent records in another form, and reads no more requests.
    pub(crate) const fn stream(&mut self, form: Form, heartbeat_ms: u32) {
        self.form = form;
        self.heartbeat_ms = heartbeat_ms;
    }

    /// Whether the session is such a stream.
    pub(crate) const fn is_stream(&self) -> bool {
        matches!(self.dialect, Dialect::Http) && !self.form.is_native()
    }

    /// Turns the session into one that speaks `dialect` in WebSocket messages, and is sent records in them. For its hello, if it
    /// needs one, it has as long as a fresh connection. Returns whether it was welcomed before.
    pub(crate) fn upgrade(&mut self, dialect: Dialect, now_tick: u32) -> bool {
        self.dialect = dialect;
        self.form = match dialect {
            Dialect::Json => Form::OBJECTS,
            _ => Form::RUNS,
        };
        self.heard_tick = now_tick;
        std::mem::replace(&mut self.stage, Stage::Greeting) == Stage::Open
    }

    pub(crate) const fn place(&self) -> Admitted {
        match self.entry & (PLACELESS | RESERVED) {
            0 => Admitted::Own,
            RESERVED => Admitted::Reserved,
            _ => Admitted::None,
        }
    }

    /// Sets the place that it holds. [`crate::parts::admission`] counts the places.
    pub(in crate::parts) const fn set_place(&mut self, place: Admitted) {
        self.entry &= !(PLACELESS | RESERVED);
        self.entry |= match place {
            Admitted::Own => 0,
            Admitted::Reserved => RESERVED,
            Admitted::None => PLACELESS,
        };
    }

    /// Sets the dialect, which the first bytes have shown.
    pub(crate) const fn speak(&mut self, dialect: Dialect) {
        self.dialect = dialect;
    }

    pub(crate) fn is_open(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Notes that the session was welcomed.
    pub(crate) const fn open(&mut self, heartbeat_ms: u32) {
        self.stage = Stage::Open;
        self.heartbeat_ms = heartbeat_ms;
    }

    pub(crate) const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    // Signs of life.

    /// After this much silence the peer is asked for a sign of life, in milliseconds.
    pub(crate) const fn heartbeat_ms(&self) -> u32 {
        self.heartbeat_ms
    }

    /// When the peer last gave a sign of life, in milliseconds.
    pub(crate) fn heard_ms(&self) -> u64 {
        u64::from(self.heard_tick) * TICK_MS
    }

    /// Notes a sign of life of the peer.
    pub(crate) const fn note_life(&mut self, tick: u32) {
        self.heard_tick = tick;
        self.pinged = false;
    }

    /// Notes that the peer is asked for a sign of life. Returns whether it was asked before and has given none since.
    pub(crate) const fn note_asked(&mut self) -> bool {
        std::mem::replace(&mut self.pinged, true)
    }

    // Input.

    /// Notes that a visit begins.
    pub(crate) const fn begin_visit(&mut self) {
        self.reading = false;
        self.awaits_answer = false;
    }

    /// Whether the session is to be read, or would be if nothing held it back.
    pub(crate) const fn is_to_read(&self) -> bool {
        self.reading
    }

    /// Notes, when a visit has read everything, whether that was more than a session that says little has.
    pub(crate) const fn note_much(&mut self, much: bool) {
        self.says_much = much;
    }

    /// Input that is not a whole frame, or whose frame waits.
    pub(crate) fn input(&self) -> Option<&Partial> {
        self.partial.as_deref()
    }

    pub(crate) const fn take_input(&mut self) -> Option<Box<Partial>> {
        self.partial.take()
    }

    /// Gives back input that was taken, unchanged.
    pub(crate) fn put_input_back(&mut self, partial: Option<Box<Partial>>) {
        self.partial = partial;
    }

    /// Notes that the peer has shut its side. What it sent before can still be read.
    pub(crate) const fn note_end(&mut self) {
        self.ended = true;
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Notes whether a timer runs for the rest of a frame. Returns whether one did before.
    pub(crate) const fn set_watched(&mut self, watched: bool) -> bool {
        std::mem::replace(&mut self.watched, watched)
    }

    // Output.

    /// Whether the socket takes nothing until epoll says otherwise.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Notes that a visit to the socket has ended, and whether because it is full.
    pub(crate) const fn set_blocked(&mut self, is_full: bool) {
        self.blocked = is_full;
    }

    /// Notes that the socket takes bytes. Returns whether it did not before.
    pub(crate) const fn unblock(&mut self) -> bool {
        std::mem::replace(&mut self.blocked, false)
    }

    /// The record of which a part is sent.
    pub(crate) const fn tail(&self) -> Option<RecordTail> {
        self.tail
    }

    pub(crate) const fn set_tail(&mut self, tail: Option<RecordTail>) {
        self.tail = tail;
    }

    /// Notes that the rest of a half-sent record is being read ahead. Returns whether it was not before.
    pub(crate) const fn begin_warming(&mut self) -> bool {
        !std::mem::replace(&mut self.warming, true)
    }

    pub(crate) const fn end_warming(&mut self) {
        self.warming = false;
    }

    /// Whether its outgoing bytes wait for an answer of another shard. A Goodbye does not wait.
    pub(crate) fn is_held(&self) -> bool {
        self.held && self.stage == Stage::Open
    }

    /// Lets its outgoing bytes leave. Returns whether they were held.
    pub(crate) const fn release(&mut self) -> bool {
        std::mem::replace(&mut self.held, false)
    }

    /// Control frames that wait for the socket.
    pub(crate) fn control(&self) -> Option<&[u8]> {
        let outgoing = self.outgoing.as_ref()?;
        Some(&outgoing.bytes[outgoing.sent..])
    }

    /// Notes that the socket has taken `size` bytes of the control frames, but not all.
    pub(crate) fn note_control_sent(&mut self, size: usize, now_ms: u64) {
        let outgoing = self.outgoing.as_mut();
        let moves = size > 0 || planted(Bug::RetryIsProgress);
        let Some(outgoing) = outgoing.filter(|_| moves) else {
            return; // Nothing has changed.
        };
        outgoing.sent += size;
        outgoing.moved_ms = now_ms;
        if outgoing.sent * 2 >= outgoing.bytes.len() {
            outgoing.bytes.drain(..outgoing.sent);
            outgoing.sent = 0;
        }
    }

    // Memory.

    /// Since when the peer has made no progress where it is the peer's turn, in milliseconds; `None` if it has not stalled.
    pub(crate) fn stalled_since_ms(&self) -> Option<u64> {
        let unread = self.outgoing.as_ref().filter(|_| self.blocked);
        let refuses_answers = self.awaits_answer && unread.is_some();
        let input = self.partial.as_ref();
        let input = input.filter(|partial| partial.is_incomplete() || refuses_answers);
        let input_ms = input.map(|partial| u64::from(partial.grown_tick) * TICK_MS);
        let output_ms = unread.map(|outgoing| outgoing.moved_ms);
        [input_ms, output_ms].into_iter().flatten().min()
    }

    // Requests and publishes under way.

    /// Requests that other shards, or several turns, are needed for.
    pub(crate) const fn requests(&self) -> u8 {
        self.requests
    }

    /// Notes that one more such request is under way.
    pub(crate) const fn note_request(&mut self) {
        self.requests += 1;
    }

    /// Notes that one of these requests was answered. Returns how many are left.
    pub(crate) const fn note_answered(&mut self) -> u8 {
        self.requests -= 1;
        self.requests
    }

    /// Whether the publish window has room for a record of so many bytes; a record always fits alone.
    pub(crate) const fn may_publish(&self, bytes: u32, records_max: u32, bytes_max: u32) -> bool {
        let total = self.inflight_bytes.saturating_add(bytes);
        self.inflight_records < records_max && (self.inflight_records == 0 || total <= bytes_max)
    }

    /// The lane that the next record takes to another shard. A session in the lane of much stays there while records are under
    /// way.
    pub(crate) const fn lane(&mut self) -> Lane {
        self.in_lane_of_much &= self.inflight_records > 0;
        self.in_lane_of_much |= self.says_much;
        match self.in_lane_of_much {
            true => Lane::Much,
            false => Lane::Little,
        }
    }

    /// Notes that a record is under way.
    pub(crate) const fn note_publish(&mut self, bytes: u32) {
        self.inflight_records += 1;
        self.inflight_bytes = self.inflight_bytes.saturating_add(bytes);
    }

    /// Notes that so many records have their outcomes.
    pub(crate) const fn note_outcomes(&mut self, records: u32, bytes: u32) {
        self.inflight_records = self.inflight_records.saturating_sub(records);
        self.inflight_bytes = self.inflight_bytes.saturating_sub(bytes);
    }

    /// Bytes of control frames that wait for the socket.
    pub(crate) fn outgoing_bytes(&self) -> usize {
        let outgoing = self.outgoing.as_ref();
        outgoing.map_or(0, |outgoing| outgoing.bytes.len() - outgoing.sent)
    }

    /// How much of its publish window the session has used.
    pub(crate) fn window(&self, records_max: u32, bytes_max: u32) -> Window {
        let used = |of: u32| {
            self.inflight_records >= records_max / of || self.inflight_bytes >= bytes_max / of
        };
        match (used(1), used(2)) {
            (true, _) if self.inflight_records > 0 => Window::Full,
            (_, true) => Window::Half,
            _ => Window::Open,
        }
    }

    /// Whether a request or a record of the session has no answer yet.
    pub(crate) const fn awaits_answers(&self) -> bool {
        self.inflight_records > 0 || self.requests > 0
    }

    /// Whether records wait for their outcomes.
    pub(crate) const fn has_publishes(&self) -> bool {
        self.inflight_records > 0
    }

    /// The session's full name; `key` is its own.
    pub(crate) const fn id(&self, key: u32) -> SessionId {
        SessionId::new(key, self.generation)
    }

    /// Whether a part of a record is sent and the socket may take the rest, but neither an event nor a list will bring the shard
    /// to it.
    pub(crate) fn owes_tail(&self) -> bool {
        self.tail.is_some() && !self.blocked && !self.queued
    }

    /// Whether a whole record may be sent: nothing else is sent in part.
    pub(crate) fn is_clear(&self) -> bool {
        let is_whole = self.tail.is_none() || planted(Bug::OvertakesATail);
        !self.blocked && is_whole && self.outgoing.is_none() && self.stage == Stage::Open
    }
}

/// How much a publisher may still send before outcomes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Open,
    /// At most half is left.
    Half,
    Full,
}

/// Bytes of a Ping. Its acknowledgement alone says nothing about the peer's process.
const PING_BYTES: u32 = 24;

/// How a peer takes what it is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taking {
    /// How long ago the peer last acknowledged something, if it has taken more than the Ping since the last look.
    pub(crate) ago_ms: Option<u64>,
    /// There are bytes that the peer has not acknowledged.
    pub(crate) has_more: bool,
}

impl Session {
    /// How far the peer has come since the last look, by what waits in its socket now. This spares Pings, which would cost more
    /// than the records with a million subscribers of busy topics.
    pub(crate) fn look_at_taken(&mut self, backlog: Backlog) -> Taking {
        let before = std::mem::replace(&mut self.taken, backlog.acknowledged as u32);
        let asked = if self.pinged { PING_BYTES } else { 0 };
        Taking {
            ago_ms: (self.taken.wrapping_sub(before) > asked).then_some(backlog.answered_ms),
            has_more: backlog.bytes > 0,
        }
    }
}

/// Fields that only tests look at.
#[cfg(test)]
pub(crate) struct Seen {
    pub(crate) heard_tick: u32,
    pub(crate) pinged: bool,
    pub(crate) watched: bool,
    pub(crate) says_much: bool,
    pub(crate) awaits_answer: bool,
    pub(crate) taken: u32,
}

/// Lets tests look at a session, and bring about states that take many steps otherwise.
#[cfg(test)]
impl Session {
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            heard_tick: self.heard_tick,
            pinged: self.pinged,
            watched: self.watched,
            says_much: self.says_much,
            awaits_answer: self.awaits_answer,
            taken: self.taken,
        }
    }

    pub(crate) fn input_mut(&mut self) -> Option<&mut Partial> {
        self.partial.as_deref_mut()
    }

    pub(crate) fn set_pinged(&mut self, pinged: bool) {
        self.pinged = pinged;
    }

    pub(crate) fn set_inflight_records(&mut self, records: u32) {
        self.inflight_records = records;
    }

    pub(crate) fn set_awaits_answer(&mut self, awaits: bool) {
        self.awaits_answer = awaits;
    }

    pub(crate) fn set_stage(&mut self, stage: Stage) {
        self.stage = stage;
    }

    pub(crate) fn hold(&mut self) {
        self.held = true;
    }

    pub(crate) fn put_outgoing(&mut self, bytes: Vec<u8>) {
        self.outgoing = Some(Box::new(Outgoing {
            bytes,
            ..Outgoing::default()
        }));
    }

    pub(crate) fn outgoing(&self) -> Option<&Outgoing> {
        self.outgoing.as_deref()
    }

    /// Records that wait for their outcome, and their bytes.
    pub(crate) fn inflight(&self) -> (u32, u32) {
        (self.inflight_records, self.inflight_bytes)
    }

    pub(crate) fn put_subscription(&mut self, place: SubscriptionRef) {
        self.subscriptions.insert(place);
    }

    pub(crate) fn forget_subscriptions(&mut self) {
        self.subscriptions = Subscriptions::None;
    }

    pub(crate) fn is_warming(&self) -> bool {
        self.warming
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::{LogId, Position};

    use super::*;
    use crate::rig::Rig;

    /// Calls `check` with a session that was welcomed.
    fn with_session(check: impl FnOnce(&mut Session)) {
        let mut rig = Rig::new();
        let client = rig.join();
        check(rig.session(&client));
    }

    fn tail() -> Option<RecordTail> {
        RecordTail::new(LogId::new(1), Position::new(1), 1, 0)
    }

    #[test]
    fn a_name_comes_back_from_its_token() {
        for (key, generation) in [(0, 0), (7, 9), (u32::MAX, 1), (1, u32::MAX)] {
            let id = SessionId::new(key, generation);
            assert_eq!(SessionId::from_token(id.token()), id);
            assert_eq!(id.key(), key);
        }
    }

    #[test]
    fn a_window_is_full_by_records_or_bytes_but_not_without_a_record_under_way() {
        with_session(|session| {
            for (records, bytes, window) in [
                (0, 0, Window::Open),
                (4, 499, Window::Open),
                (5, 0, Window::Half),
                (1, 500, Window::Half),
                (9, 999, Window::Half),
                (10, 0, Window::Full),
                (1, 1_000, Window::Full),
                (0, 1_000, Window::Half),
            ] {
                (session.inflight_records, session.inflight_bytes) = (records, bytes);
                let used = session.window(10, 1_000);
                assert_eq!(used, window, "{records} records, {bytes} bytes");
            }
        });
    }

    #[test]
    fn a_record_may_be_sent_when_nothing_else_is_sent_in_part() {
        with_session(|session| {
            assert!(session.is_clear() && !session.owes_tail());
            session.tail = tail();
            assert!(!session.is_clear() && session.owes_tail());
            session.queued = true;
            assert!(!session.owes_tail());
            (session.queued, session.blocked) = (false, true);
            assert!(!session.owes_tail());
            session.tail = None;
            assert!(!session.is_clear());
            (session.blocked, session.outgoing) = (false, Some(Box::default()));
            assert!(!session.is_clear());
            (session.outgoing, session.stage) = (None, Stage::Closing);
            assert!(!session.is_clear());
        });
    }

    #[test]
    fn outgoing_bytes_that_are_sent_do_not_wait() {
        with_session(|session| {
            assert_eq!(session.outgoing_bytes(), 0);
            let outgoing = session.outgoing.insert(Box::default());
            (outgoing.bytes, outgoing.sent) = (vec![0; 10], 4);
            assert_eq!(session.outgoing_bytes(), 6);
        });
    }

    #[test]
    fn a_session_with_another_name_takes_nothing() {
        with_session(|session| {
            session.rename(900);
            assert_eq!(session.id(3), SessionId::new(3, 900));
            assert!(session.blocked);
        });
    }

    #[test]
    fn what_a_peer_has_taken_counts_from_the_last_look_on() {
        with_session(|session| {
            let mut look = |pinged, acknowledged, bytes| {
                session.pinged = pinged;
                let taking = session.look_at_taken(Backlog {
                    bytes,
                    stuck_ms: 0,
                    acknowledged,
                    answered_ms: 5,
                });
                (taking.ago_ms, taking.has_more)
            };
            assert_eq!(look(false, 1, 1), (Some(5), true));
            assert_eq!(look(false, 1, 0), (None, false));
            assert_eq!(look(true, 25, 0), (None, false), "the question");
            assert_eq!(look(true, 50, 0), (Some(5), false));
            // Only the lower half is kept.
            let high = u64::from(u32::MAX);
            assert_eq!(look(false, high, 0), (Some(5), false));
            assert_eq!(look(false, high + 2, 0), (Some(5), false));
        });
    }
}
