//! The sessions of one shard, and the lists of those to read, to send to and to end.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use oyez_protocol::Offset;
use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::planted::{Bug, planted};
use slab::Slab;
use tracing::debug;

use crate::dialect::command::{Dialect, Goodbye};
use crate::net::{Net, Socket};
use crate::parts::admission::Admission;
use crate::parts::context::ShardContext;
use crate::parts::ending::{Closing, Dismissed, Gone, Reason, done};
use crate::parts::exchanges::Exchanges;
use crate::parts::handled::{Handled, Until};
use crate::parts::partial::Partial;
use crate::parts::room::{MUCH_BYTES, MemoryCaps, OUTPUT_BYTES_MAX, Room};
use crate::parts::session::{Admitted, Outgoing, Session, SessionId, Stage};

/// Most empty outgoing buffers that are kept for the next control frames.
const OUTGOING_KEPT: usize = 256;
/// A kept buffer is at most this large.
const OUTGOING_BYTES_KEPT: usize = 4096;

/// Sessions to read. A session is in at most one of the lists.
#[derive(Debug, Default)]
struct ToRead {
    /// Lists by [`Queue`], in the order of reading.
    lists: [VecDeque<SessionId>; 4],
    /// Sessions whose frames wait for room that sessions share: not read before there is some.
    paused: VecDeque<SessionId>,
}

/// Why a session is read, in the order of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What its frame has waited for has come.
    Resumed,
    /// It has news, and says little.
    Little,
    /// It comes or goes: how much it says is not known, or does not matter any more.
    Passing,
    /// It says much, or had more than a visit could take.
    Much,
}

/// Where a stream ends.
#[derive(Clone, Copy, Debug)]
struct StreamEnd {
    at: Offset,
    is_reached: bool,
}

/// What a stream of several topics was told last, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The sum of the offsets at which the stream stood.
    pub(crate) sum: u64,
    /// When the stream was told, or got a sign of life, in milliseconds.
    pub(crate) at_ms: u64,
}

/// The sessions of one shard.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: Slab<Session>,
    next_generation: u32,
    to_read: ToRead,
    /// Sessions with something to send.
    to_send: VecDeque<SessionId>,
    /// Sessions that are to get a Goodbye.
    dismissed: VecDeque<Dismissed>,
    /// Sessions that have ended, but whose connections and subscriptions are still there.
    gone: VecDeque<Gone>,
    /// The requests over HTTP that are being answered.
    pub(crate) exchanges: Exchanges,
    /// Addresses of clients behind proxies, as the proxies say.
    clients: HashMap<SessionId, SocketAddr>,
    /// Ends of the streams that have one.
    ends: HashMap<SessionId, StreamEnd>,
    /// What each stream of several topics was told last.
    told: HashMap<SessionId, Told>,
    /// How WebSocket sessions are closed: by their peers, or for what these have sent.
    closes: HashMap<SessionId, Closing>,
    /// The memory that sessions hold.
    pub(crate) room: Room,
    /// The places that connections hold.
    pub(crate) admission: Admission,
    #[expect(clippy::vec_box, reason = "the box is what is used again")]
    outgoing_spare: Vec<Box<Outgoing>>,
}

impl Sessions {
    /// No sessions yet, with caps on the memory that they may hold.
    pub(crate) fn new(caps: MemoryCaps) -> Self {
        Self {
            slots: Slab::new(),
            next_generation: 0,
            to_read: ToRead::default(),
            to_send: VecDeque::new(),
            dismissed: VecDeque::new(),
            gone: VecDeque::new(),
            exchanges: Exchanges::default(),
            clients: HashMap::new(),
            ends: HashMap::new(),
            told: HashMap::new(),
            closes: HashMap::new(),
            room: Room::new(caps),
            admission: Admission::default(),
            outgoing_spare: Vec::new(),
        }
    }

    /// Makes a session of a fresh connection and its door, once `watch` has made its name known to the poll.
    pub(crate) fn insert_with(
        &mut self,
        now_tick: u32,
        arrived: (Socket, u8),
        watch: impl FnOnce(SessionId) -> io::Result<()>,
    ) -> io::Result<SessionId> {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let entry = self.slots.vacant_entry();
        let key = u32::try_from(entry.key())
            .expect("connections are bounded by descriptors, far below 2^32");
        let id = SessionId::new(key, generation);
        watch(id)?;
        entry.insert(Session::new(arrived, generation, now_tick));
        Ok(id)
    }

    /// Gives a fresh connection the place that was found for it.
    pub(crate) fn take_place(&mut self, id: SessionId, place: Admitted) {
        let session = &mut self.slots[id.key() as usize];
        self.admission.take(session, place);
    }

    /// Gives a session that may only ask a place like any other. Returns whether there was one.
    pub(crate) fn move_up(&mut self, context: &ShardContext, id: SessionId) -> bool {
        let session = &mut self.slots[id.key() as usize];
        self.admission.move_up(&context.shared, session)
    }

    /// Lets a session that was to be turned away stay and ask. Returns whether it may.
    pub(crate) fn let_ask(&mut self, id: SessionId) -> bool {
        let session = &mut self.slots[id.key() as usize];
        self.admission.let_ask(session)
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.slots
            .get(id.key() as usize)
            .filter(|session| session.id(id.key()) == id)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slots
            .get_mut(id.key() as usize)
            .filter(|session| session.id(id.key()) == id || planted(Bug::BelievesStaleSessions))
    }

    /// A session that cannot have ended, since no step has run that could have ended it.
    pub(crate) fn there(&self, id: SessionId) -> &Session {
        self.get(id).expect("nothing has ended the session")
    }

    /// A session that cannot have ended, to be changed.
    pub(crate) fn there_mut(&mut self, id: SessionId) -> &mut Session {
        self.get_mut(id).expect("nothing has ended the session")
    }

    /// The session that has `key` now. For lists that are kept in step with the slab: a session keeps its slot as long as a
    /// subscription names it.
    pub(crate) fn at_mut(&mut self, key: u32) -> &mut Session {
        &mut self.slots[key as usize]
    }

    /// Whether the socket of the session that has `key` now takes nothing.
    pub(crate) fn is_blocked(&self, key: u32) -> bool {
        self.slots[key as usize].blocked
    }

    /// The full name of the session that has `key` now; for the lists of [`Self::at_mut`].
    pub(crate) fn id_at(&self, key: u32) -> SessionId {
        self.slots[key as usize].id(key)
    }

    /// The session that `token` names, of which only the bits in `mask` are left; `None` if it has ended.
    pub(crate) fn by_token(&self, token: u64, mask: u64) -> Option<SessionId> {
        let key = SessionId::from_token(token).key();
        let id = self.slots.get(key as usize)?.id(key);
        (id.token() & mask == token).then_some(id)
    }

    /// Sets where a stream of a bounded form ends, once that is known.
    pub(crate) fn set_end(&mut self, id: SessionId, at: Offset) {
        let is_reached = false;
        self.ends.insert(id, StreamEnd { at, is_reached });
    }

    /// Notes that a stream has come to its end.
    pub(crate) fn reach_end(&mut self, id: SessionId) {
        if let Some(end) = self.ends.get_mut(&id) {
            end.is_reached = true;
        }
    }

    /// Whether a stream breaks off before its end: then its client must not take what it has for everything.
    pub(crate) fn is_broken_off(&self, id: SessionId) -> bool {
        self.ends.get(&id).is_some_and(|end| !end.is_reached)
    }

    /// Where a stream ends; `None` if it goes on.
    pub(crate) fn end_of(&self, id: SessionId) -> Option<Offset> {
        let is_bounded = self.get(id)?.form.style.is_bounded();
        let end = is_bounded.then(|| self.ends.get(&id)).flatten();
        end.map(|end| end.at)
    }

    /// What a stream of several topics was told last.
    pub(crate) fn told(&self, id: SessionId) -> Option<Told> {
        self.told.get(&id).copied()
    }

    /// Notes what a stream of several topics was told.
    pub(crate) fn note_told(&mut self, id: SessionId, told: Told) {
        self.told.insert(id, told);
    }

    /// Notes how a WebSocket session is to be closed, once earlier input is handled.
    pub(crate) fn note_close(&mut self, id: SessionId, closing: Closing) {
        self.closes.insert(id, closing);
    }

    /// How a WebSocket session is to be closed, if it is.
    pub(crate) fn closing(&self, id: SessionId) -> Option<Closing> {
        self.closes.get(&id).copied()
    }

    /// Takes how a WebSocket session is to be closed, to tell its peer now.
    pub(crate) fn take_close(&mut self, id: SessionId) -> Option<Closing> {
        self.closes.remove(&id)
    }

    /// Notes that a proxy has said whose connection it is, or that it does not know.
    pub(crate) fn note_proxied(&mut self, id: SessionId, client: Option<SocketAddr>) {
        self.there_mut(id).note_proxied();
        if let Some(client) = client {
            self.clients.insert(id, client);
        }
    }

    /// The client's address: that of the peer, or the one that a proxy there names.
    pub(crate) fn peer(&self, net: &dyn Net, id: SessionId) -> Option<SocketAddr> {
        let session = self.get(id)?;
        let client = session
            .is_proxied()
            .then(|| self.clients.get(&id))
            .flatten();
        client.copied().or_else(|| net.peer(session.socket).ok())
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn ids(&self) -> Vec<SessionId> {
        let id = |(key, session): (usize, &Session)| session.id(key as u32);
        self.slots.iter().map(id).collect()
    }

    /// The most requests that any session has under way.
    pub(crate) fn requests_max(&self) -> usize {
        let requests = self.slots.iter().map(|(_, session)| session.requests());
        requests.max().map_or(0, usize::from)
    }

    /// How many sessions are leaving or were told to go, and are still there.
    pub(crate) fn count_leaving(&self) -> usize {
        let leaves = |session: &&Session| {
            let stage = session.stage();
            matches!(stage, Stage::Leaving | Stage::Closing | Stage::Lingering)
        };
        let sessions = self.slots.iter().map(|(_, session)| session);
        sessions.filter(leaves).count()
    }

    /// The sockets of sessions whose outgoing bytes are more than `bytes`.
    pub(crate) fn sockets_behind(&self, bytes: usize) -> impl Iterator<Item = Socket> {
        let sessions = self.slots.iter().map(|(_, session)| session);
        let behind = sessions.filter(move |session| session.outgoing_bytes() > bytes);
        behind.map(Session::socket)
    }

    /// What a session's next frame has to wait for, if the peer does not take its answers or there is no room for more.
    pub(crate) fn waits_for_output(&mut self, id: SessionId) -> Option<Until> {
        let unread = self.get(id)?.outgoing_bytes();
        let output = &self.room.output;
        if unread > OUTPUT_BYTES_MAX || (unread > MUCH_BYTES && output.is_short()) {
            return Some(Until::Answered);
        }
        let is_full = output.is_full();
        self.room.missed |= is_full;
        is_full.then_some(Until::Room)
    }

    // Reading.

    /// Puts a session on a list of those to read from.
    pub(crate) fn queue_read(&mut self, id: SessionId) {
        let Some(session) = self.get_mut(id).filter(|session| !session.reading) else {
            return; // It is on a list, or has ended meanwhile.
        };
        session.reading = true;
        let queue = if session.stage == Stage::Greeting || session.ended {
            Queue::Passing
        } else if session.says_much {
            Queue::Much
        } else {
            Queue::Little
        };
        self.to_read.lists[queue as usize].push_back(id);
    }

    /// Takes the next session to read from a list.
    pub(crate) fn next_to_read(&mut self, queue: Queue) -> Option<SessionId> {
        self.to_read.lists[queue as usize].pop_front()
    }

    /// How many are on a list.
    pub(crate) fn count_to_read(&self, queue: Queue) -> usize {
        self.to_read.lists[queue as usize].len()
    }

    /// Queues a session that has more to read than a visit could take.
    pub(crate) fn read_on(&mut self, id: SessionId) {
        let session = self.there_mut(id);
        session.reading = true;
        session.says_much = true;
        self.to_read.lists[Queue::Much as usize].push_back(id);
    }

    /// Lets a session's next frame wait for an answer of its own.
    pub(crate) fn await_answer(&mut self, id: SessionId) {
        let session = self.there_mut(id);
        session.reading = true;
        session.awaits_answer = true;
    }

    /// Lets a session go on whose next frame waits for an answer of its own, now that one has come, or is sent.
    pub(crate) fn resume(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(id)
            && session.awaits_answer
        {
            session.awaits_answer = false;
            self.to_read.lists[Queue::Resumed as usize].push_back(id);
        }
    }

    /// Lets a session's next frame wait for room that sessions share.
    pub(crate) fn pause(&mut self, id: SessionId) {
        let session = self.there_mut(id);
        session.reading = true;
        self.to_read.paused.push_back(id);
    }

    /// Lets each paused session try once, since there is room.
    pub(crate) fn try_paused(&mut self) {
        let resumed = &mut self.to_read.lists[Queue::Resumed as usize];
        resumed.append(&mut self.to_read.paused);
    }

    /// Whether a session waits for room.
    pub(crate) fn has_paused(&self) -> bool {
        !self.to_read.paused.is_empty()
    }

    /// Whether there is a session to read.
    pub(crate) fn has_some_to_read(&self) -> bool {
        self.to_read.lists.iter().any(|list| !list.is_empty())
    }

    /// Keeps input with its session until more of it comes, or its frame can be handled.
    pub(crate) fn keep_input(&mut self, id: SessionId, mut partial: Box<Partial>) {
        let slot = self.slots.get_mut(id.key() as usize);
        let Some(session) = slot.filter(|session| session.id(id.key()) == id) else {
            return; // It has ended.
        };
        let bytes = partial.bytes.capacity();
        self.room.input.count(&mut partial.counted, bytes);
        session.partial = Some(partial);
        self.room.note(id, session);
    }

    // Sending.

    /// Puts a session on the list of those to send to, unless its socket takes nothing.
    pub(crate) fn schedule_send(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(id)
            && !session.queued
            && !session.blocked
        {
            session.queued = true;
            self.to_send.push_back(id);
        }
    }

    /// Schedules a send to the session that has `key` now, if it has sent a part of a record and its socket is not full: no event
    /// will come for it, and walks pass it by.
    pub(crate) fn queue_tail(&mut self, key: u32) {
        let session = self.at_mut(key);
        if !session.owes_tail() || planted(Bug::ForgetsATail) {
            return;
        }
        session.queued = true;
        let id = session.id(key);
        self.to_send.push_back(id);
    }

    /// Takes the next session to send to.
    pub(crate) fn next_to_send(&mut self) -> Option<SessionId> {
        let id = self.to_send.pop_front()?;
        if let Some(session) = self.get_mut(id) {
            session.queued = false;
        }
        Some(id)
    }

    /// How many sessions are to be sent to.
    pub(crate) fn count_to_send(&self) -> usize {
        self.to_send.len()
    }

    /// Adds a reply to a session's outgoing bytes. It leaves at the end of the turn.
    pub(crate) fn control(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Handled {
        // Nothing comes after a Goodbye.
        self.add_outgoing(context, id, Stage::is_heard, encode)
    }

    /// Adds the Goodbye to the outgoing bytes of a dismissed session.
    pub(crate) fn conclude(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Handled {
        self.add_outgoing(context, id, |stage| stage == Stage::Closing, encode)
    }

    fn add_outgoing(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        may_hear: impl Fn(Stage) -> bool,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Handled {
        let slot = self.slots.get_mut(id.key() as usize);
        let session = slot.filter(|session| session.id(id.key()) == id);
        let Some(session) = session.filter(|session| may_hear(session.stage)) else {
            return Handled::Over;
        };
        let spare = &mut self.outgoing_spare;
        let outgoing = session.outgoing.get_or_insert_with(|| {
            let mut outgoing = spare.pop().unwrap_or_default();
            outgoing.moved_ms = context.now.monotonic_ms;
            outgoing
        });
        encode(&mut outgoing.bytes);
        let bytes = outgoing.bytes.capacity();
        self.room.output.count(&mut outgoing.counted, bytes);
        self.room.note(id, session);
        self.schedule_send(id);
        Handled::Done
    }

    /// Empties a session's outgoing bytes, which are sent.
    pub(crate) fn empty_outgoing(&mut self, id: SessionId) {
        let outgoing = self.there_mut(id).outgoing.take();
        let mut outgoing = outgoing.expect("it has just been sent");
        if !planted(Bug::NeverFreesOutput) {
            self.room.output.count(&mut outgoing.counted, 0);
        }
        if self.outgoing_spare.len() < OUTGOING_KEPT
            && outgoing.bytes.capacity() <= OUTGOING_BYTES_KEPT
        {
            outgoing.bytes.clear();
            outgoing.sent = 0;
            self.outgoing_spare.push(outgoing);
        }
    }

    // Ending.

    /// Lets a session leave whose peer is done. If the peer waits for answers, it gets these and then a Goodbye; if it has only
    /// outgoing bytes or a Close to get, a Goodbye at once; else the session ends for `reason` without a word.
    pub(crate) fn leave(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        (says, reason): (&'static str, Reason),
    ) {
        let is_told_how = self.closing(id).is_some();
        let slot = self.slots.get_mut(id.key() as usize);
        let Some(session) = slot.filter(|session| session.id(id.key()) == id) else {
            return; // It has ended.
        };
        let waits = session.awaits_answers() && !planted(Bug::LeavesUnanswered);
        if session.stage == Stage::Open && waits {
            context.metrics().sessions.subtract(1);
            session.stage = Stage::Leaving;
            session.heard_tick = context.tick();
            if let Some(mut partial) = session.partial.take() {
                self.room.input.count(&mut partial.counted, 0);
            }
            // The visit that follows releases the catch-ups of its subscriptions.
            self.schedule_send(id);
        } else if session.outgoing_bytes() > 0 || is_told_how {
            self.dismiss(context, id, done(says));
        } else {
            self.end(context, id, reason);
        }
    }

    /// Notes that a session's question about the broker is answered: its next frame may be handled.
    pub(crate) fn note_answered(&mut self, context: &ShardContext, id: SessionId) {
        if let Some(session) = self.get_mut(id) {
            session.note_answered();
        }
        self.resume(id);
        self.finish_leaving(context, id);
    }

    /// Dismisses a leaving session that waits for no more answers.
    pub(crate) fn finish_leaving(&mut self, context: &ShardContext, id: SessionId) {
        let session = self.get(id);
        let is_done =
            |session: &Session| session.stage == Stage::Leaving && !session.awaits_answers();
        if session.is_some_and(is_done) {
            self.dismiss(context, id, done("everything is answered"));
        }
    }

    /// Ends a session with a Goodbye that says why. A record that is sent in part leaves first.
    pub(crate) fn refuse(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        code: GoodbyeCode,
        reason: impl Into<Cow<'static, str>>,
    ) {
        self.refuse_for(context, id, code, 0, reason);
    }

    /// Ends a session with a Goodbye that says why, and after which time the peer should come back.
    pub(crate) fn refuse_for(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        code: GoodbyeCode,
        retry_after_ms: u32,
        reason: impl Into<Cow<'static, str>>,
    ) {
        context.metrics().sessions_refused.add(1);
        let goodbye = Goodbye {
            code,
            retry_after_ms,
            reason: reason.into(),
        };
        self.begin_end(context, id, goodbye, true);
    }

    /// Ends a session, without its fault, with a Goodbye. Its outgoing bytes leave first; its subscriptions end with the
    /// connection.
    pub(crate) fn dismiss(&mut self, context: &ShardContext, id: SessionId, goodbye: Goodbye) {
        self.begin_end(context, id, goodbye, false);
    }

    /// Lets a session get nothing more but its Goodbye, which the step that ends sessions adds.
    fn begin_end(
        &mut self,
        context: &ShardContext,
        id: SessionId,
        goodbye: Goodbye,
        is_refused: bool,
    ) {
        let slot = self.slots.get_mut(id.key() as usize);
        let session = slot.filter(|session| session.id(id.key()) == id);
        let Some(session) = session.filter(|session| session.stage.is_heard()) else {
            return; // It has ended, or is ending.
        };
        if session.stage == Stage::Open {
            context.metrics().sessions.subtract(1);
        }
        self.admission.give_back(context, session);
        self.admission.note_leaving(id);
        session.stage = Stage::Closing;
        if let Some(mut partial) = session.partial.take() {
            self.room.input.count(&mut partial.counted, 0);
        }
        session.heard_tick = context.tick();
        self.dismissed.push_back(Dismissed {
            id,
            goodbye,
            is_refused,
        });
    }

    /// Takes the next session that is to get a Goodbye.
    pub(crate) fn next_dismissed(&mut self) -> Option<Dismissed> {
        self.dismissed.pop_front()
    }

    /// Lets a session whose Goodbye is sent, and whose side the broker has shut, linger until the peer shuts its own.
    pub(crate) fn linger(&mut self, id: SessionId) {
        self.there_mut(id).stage = Stage::Lingering;
        self.queue_read(id);
    }

    /// Takes the session that was told to go first and is still there, if too many are. A session whose last bytes have not been
    /// offered to its socket is spared until they have.
    pub(crate) fn next_to_cut_off(&mut self, context: &ShardContext) -> Option<SessionId> {
        let slots = &self.slots;
        let leaving = |id: SessionId| {
            let session = slots.get(id.key() as usize);
            let session = session.filter(|session| session.id(id.key()) == id);
            session.filter(|session| matches!(session.stage, Stage::Closing | Stage::Lingering))
        };
        let is_leaving = |id: SessionId| leaving(id).is_some();
        if self.admission.has_many_gone() {
            self.admission.keep_leaving(is_leaving);
        }
        if !self
            .admission
            .are_too_many_leaving(&context.shared, slots.len())
        {
            return None;
        }
        let is_offered = |id| {
            leaving(id).is_some_and(|session| session.stage == Stage::Lingering || session.blocked)
        };
        self.admission.next_told_to_go(is_leaving, is_offered)
    }

    /// Ends a session that has had its Goodbye: closes its connection in order if the peer has taken everything, and resets it if not,
    /// because the kernel would go on to offer the rest for minutes.
    pub(crate) fn end_after_goodbye(
        &mut self,
        context: &ShardContext,
        net: &dyn Net,
        id: SessionId,
    ) {
        let session = self.there(id);
        let backlog = net.backlog(session.socket());
        let reason = match session.is_blocked() || backlog.is_ok_and(|backlog| backlog.bytes > 0) {
            true => Reason::Untaken,
            false => Reason::Refused,
        };
        self.end(context, id, reason);
    }

    /// Ends a session without a word. Nothing reaches it any more; the step that ends sessions removes its subscriptions, over
    /// several turns if there are many, and its connection.
    pub(crate) fn end(&mut self, context: &ShardContext, id: SessionId, reason: Reason) {
        let slot = self.slots.get_mut(id.key() as usize);
        let session = slot
            .filter(|session| session.id(id.key()) == id || planted(Bug::BelievesStaleSessions));
        let Some(session) = session.filter(|session| session.stage != Stage::Gone) else {
            return; // It has ended before, perhaps for another reason.
        };
        self.admission.give_back(context, session);
        let stage = std::mem::replace(&mut session.stage, Stage::Gone);
        let (is_request, is_proxied) = (session.dialect == Dialect::Http, session.is_proxied());
        let is_in_messages = session.dialect.is_in_messages();
        let style = session.form.style;
        let (partial, outgoing) = (session.partial.take(), session.outgoing.take());
        session.tail = None;
        // The kernel may hold megabytes of unread bytes, and frees them when the socket is closed.
        let is_full = session.says_much || session.blocked || reason.leaves_much();
        if is_request {
            self.exchanges.take_if(id, |_| true);
        }
        if style.is_bounded() {
            self.ends.remove(&id);
        }
        if style.is_of_several() {
            self.told.remove(&id);
        }
        if is_proxied {
            self.clients.remove(&id);
        }
        if is_in_messages {
            self.closes.remove(&id);
        }
        let id = self.rename(id);
        if let Some(mut partial) = partial {
            self.room.input.count(&mut partial.counted, 0);
        }
        if let Some(mut outgoing) = outgoing {
            self.room.output.count(&mut outgoing.counted, 0);
        }
        self.gone.push_back(Gone {
            id,
            is_full,
            is_reset: reason.leaves_much() || reason == Reason::Stopping,
        });
        context.metrics().connections.subtract(1);
        if stage == Stage::Open {
            context.metrics().sessions.subtract(1);
        }
        if matches!(stage, Stage::Closing | Stage::Lingering) {
            self.admission.note_left();
        }
        debug!(session = id.key(), ?reason, "connection closed");
    }

    /// Gives a session another name, so that no event or answer reaches it any more. Its slot stays taken as long as its
    /// subscriptions name it.
    fn rename(&mut self, id: SessionId) -> SessionId {
        let generation = self.next_generation;
        self.next_generation = generation.wrapping_add(1);
        let session = &mut self.slots[id.key() as usize];
        session.rename(generation);
        session.id(id.key())
    }

    /// The session that ended first among those whose connections are not closed.
    pub(crate) fn first_gone(&self) -> Gone {
        *self.gone.front().expect("some have ended")
    }

    /// How many sessions have ended and are not closed.
    pub(crate) fn count_gone(&self) -> usize {
        self.gone.len()
    }

    /// Moves the session that ended first behind all others that have ended.
    pub(crate) fn put_first_gone_last(&mut self) {
        self.gone.extend(self.gone.front().copied());
        self.gone.pop_front();
    }

    /// Forgets the session that ended first, all of whose subscriptions have ended. Returns its socket, to be closed.
    pub(crate) fn forget_first_gone(&mut self) -> Socket {
        let gone = self.gone.pop_front().expect("some have ended");
        self.admission.note_closed();
        self.slots.remove(gone.id.key() as usize).socket
    }

    /// Whether there are sessions to close, or to send a Goodbye.
    pub(crate) fn has_some_to_end(&self) -> bool {
        !(self.gone.is_empty() && self.dismissed.is_empty())
    }
}

#[cfg(test)]
mod tests;
