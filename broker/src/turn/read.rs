//! From a socket to commands. Bytes are read into the shard's one buffer and commands are taken from it where they lie;
//! the session keeps only a command that is incomplete, or that cannot be taken now.

use std::io::{Error, ErrorKind, IoSliceMut};

use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::planted::{Bug, planted};

use crate::dialect::command::{Command, DecodeProgress, Decoded, Dialect, Reply};
use crate::dialect::exchange::{Exchange, Wants};
use crate::dialect::form::Form;
use crate::dialect::http::{self, Commands, Front};
use crate::dialect::native::{COMMAND_SIZE_MIN, FrameFault, HEAD_SIZE, check_hello, decode};
use crate::dialect::proxy::{self, Header};
use crate::dialect::refused;
use crate::dialect::sniff::{SNIFF_SIZE, sniff};
use crate::dialect::websocket;
use crate::net::Net;
use crate::parts::budget::{
    Budget, ENCODED_BYTES, END_STEPS, FRAME_STEPS, READ_STEPS, REQUEST_STEPS, ReadBudget,
};
use crate::parts::command_handler::CommandHandler;
use crate::parts::context::ShardContext;
use crate::parts::ending::{ANSWERS_MS, FULL, Reason, done, full};
use crate::parts::handled::{Handled, Until};
use crate::parts::partial::Partial;
use crate::parts::patience::{IDLE_MS, STREAM_MS, watch_frame};
use crate::parts::room::MUCH_BYTES;
use crate::parts::session::{Admitted, Session, SessionId, Stage, Window};
use crate::parts::sessions::{Queue, Sessions};
use crate::parts::timers::Timers;
use crate::replies::{ask_for_rest, tell};

/// Room made at once for an incomplete frame: a peer gets room for what it sends, not for what it claims.
const PARTIAL_STEP: usize = 32 << 10;
/// Most bytes read at once, and of a publisher that has used half of its window: those that cannot be taken have to be
/// kept.
pub(crate) const BUFFER_BYTES: usize = Budget::MUCH.bytes();
const HALF_READ_BYTES: usize = BUFFER_BYTES / 2;

/// Why a session ends whose dialect is not allowed at its address.
const ELSEWHERE: &str =
    "this address of the broker does not serve this dialect; another address may";

/// How a visit to a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// There may be more to read.
    More,
    /// The socket is empty; epoll reports when it no longer is.
    Empty,
    /// There are frames left that the turn's budget did not suffice for.
    Unfinished,
    /// A frame waits to be taken.
    Waiting(Until),
    /// The session has ended, or is not read any more.
    Over,
}

/// What became of the front of a session's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A command of this many bytes was taken.
    Went(usize),
    /// No more is taken; the next command has this many bytes.
    Stop(Visit, usize),
    /// A command of this many bytes was taken, and it was all of the input.
    Last(usize, Visit),
}

/// The step that reads sessions, with the parts that it needs.
pub(crate) struct Reading<'a, T> {
    pub(crate) context: &'a ShardContext,
    pub(crate) net: &'a mut dyn Net,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) timers: &'a mut Timers,
    pub(crate) budget: ReadBudget,
    /// Bytes are read into it, and frames taken from it.
    pub(crate) buffer: &'a mut Vec<u8>,
    /// Where requests become commands.
    pub(crate) scratch: &'a mut http::Scratch,
    /// Where the framing of WebSocket is taken off.
    pub(crate) messages: &'a mut websocket::Scratch,
    /// The broker is shutting down: only sessions that are over are read.
    pub(crate) draining: bool,
    /// Takes the commands.
    pub(crate) handler: T,
}

impl<T: CommandHandler> Reading<'_, T> {
    /// Reads sessions, each as far as one visit may go: first those whose frames have waited, then those that send little,
    /// those that come or go, and the others, so that floods do not hold up a session that sends little. A quarter of the
    /// turn's budget is kept for each list. A request that has waited may use all of it in vain: in every other turn sessions
    /// that have waited come last.
    pub(crate) fn run(&mut self) {
        self.budget
            .begin_turn(match planted(Bug::NoBudgetInReading) {
                true => Budget::READING.times(1_000),
                false => Budget::READING,
            });
        let mut queues = [
            (Queue::Resumed, Budget::MUCH),
            (Queue::Little, Budget::LITTLE),
            (Queue::Passing, Budget::LITTLE),
            (Queue::Much, Budget::MUCH),
        ];
        if !self.context.turns.is_multiple_of(2) {
            queues.rotate_left(1);
        }
        for (left, (queue, visit)) in (0..queues.len()).rev().zip(queues) {
            self.read_queue(queue, visit, Budget::READING.quarter().times(left));
        }
    }

    /// Visits the sessions that are in a list now, each as far as `visit` goes, until only `left` remains of the turn's budget.
    fn read_queue(&mut self, queue: Queue, visit: Budget, left: Budget) {
        for _ in 0..self.sessions.count_to_read(queue) {
            if !self.budget.is_above(left) {
                return;
            }
            if let Some(session) = self.sessions.next_to_read(queue) {
                self.budget.begin_visit(visit);
                self.receive(session);
            }
        }
    }

    /// Reads a session whose socket has bytes, or whose frame waits.
    fn receive(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return; // It has ended since.
        };
        session.begin_visit();
        if self.draining && session.stage() != Stage::Lingering {
            return;
        }
        let mut buffer = std::mem::take(self.buffer);
        let mut visit = self.retake(id);
        while visit == Visit::More && !self.budget.is_spent() {
            // Frames that the budget does not suffice for would have to be kept.
            let small_frames = self.budget.steps() / FRAME_STEPS * COMMAND_SIZE_MIN;
            let size_max = small_frames.clamp(MUCH_BYTES, BUFFER_BYTES);
            visit = self.visit(id, &mut buffer, size_max.min(self.budget.read_bytes()));
        }
        *self.buffer = buffer;
        match visit {
            Visit::Unfinished if planted(Bug::ForgetsTheUnfinished) => {}
            Visit::More | Visit::Unfinished => self.sessions.read_on(id),
            Visit::Waiting(Until::Room) => self.sessions.pause(id),
            Visit::Waiting(Until::Answered) => self.sessions.await_answer(id),
            Visit::Empty => {
                self.sessions.there_mut(id).note_much(self.budget.is_much());
            }
            Visit::Over => {
                self.budget.spend(END_STEPS, 0);
                self.watch_leaving(id);
            }
        }
    }

    /// Bounds how long a session that is about to go may wait for its answers.
    fn watch_leaving(&mut self, id: SessionId) {
        let session = self.sessions.get(id);
        if session.is_some_and(|session| session.stage() == Stage::Leaving) {
            let due_ms = self.context.now.monotonic_ms + ANSWERS_MS;
            self.timers.watch_silence(id, due_ms);
        }
    }

    /// Tries again the frames that could not be taken before.
    fn retake(&mut self, id: SessionId) -> Visit {
        let session = self.sessions.there_mut(id);
        match session.take_input() {
            Some(partial) if !partial.is_incomplete() => {
                let size = partial.bytes.len();
                self.consume_kept(id, partial, size)
            }
            partial => {
                session.put_input_back(partial);
                Visit::More
            }
        }
    }

    /// Reads up to `size_max` bytes, or the rest of an incomplete frame, and takes the frames in them.
    fn visit(&mut self, id: SessionId, buffer: &mut [u8], size_max: usize) -> Visit {
        let session = self.sessions.there(id);
        let (stage, is_in_messages) = (session.stage(), session.dialect().is_in_messages());
        if matches!(stage, Stage::Leaving | Stage::Lingering | Stage::Closing) {
            return self.discard(id, buffer);
        }
        if is_in_messages && let Some(visit) = self.before_messages(id) {
            return visit;
        }
        let input = &self.sessions.room.input;
        let (is_full, is_scarce, is_short) = (input.is_full(), input.is_scarce(), input.is_short());
        let session = self.sessions.there_mut(id);
        if is_full || (is_scarce && session.input().is_some()) {
            self.sessions.room.missed = true;
            return Visit::Waiting(Until::Room);
        }
        let config = &self.context.shared.config;
        let window = session.window(config.inflight_records_max, config.inflight_bytes_max);
        let size = match (is_short, window) {
            // The next bytes are most likely a record, which could not be taken.
            (_, Window::Full) => return Visit::Waiting(Until::Answered),
            (true, _) => MUCH_BYTES,
            (false, Window::Half) => size_max.min(HALF_READ_BYTES),
            (false, Window::Open) => size_max,
        };
        self.budget.spend(READ_STEPS, 0);
        let mut partial = session.take_input();
        let buffer = &mut buffer[..size];
        // Bytes of messages are not a frame or a line before their framing is taken off.
        let begun = partial.as_deref_mut().filter(|_| !is_in_messages);
        let result = read(self.net, session, begun, buffer);
        let (filled_all, count) = match result {
            Ok(Input { size: 0, .. }) => {
                session.put_input_back(partial);
                return self.take_end(id);
            }
            Ok(reading) => {
                self.budget.spend(0, reading.size);
                (reading.filled_all, reading.in_buffer)
            }
            Err(error) => {
                session.put_input_back(partial);
                return self.take_error(id, &error);
            }
        };
        // After a shutdown by the peer the end of the stream has to be read: no other event will announce it.
        let more = filled_all || (session.has_ended() && !planted(Bug::MissesTheEnd));
        let visit = match partial {
            partial if is_in_messages => self.take_messages(id, partial, &buffer[..count]),
            None => self.consume_read(id, &buffer[..count]),
            Some(partial) => self.complete(id, partial, &buffer[..count]),
        };
        match visit {
            Visit::More if !more => Visit::Empty,
            visit => visit,
        }
    }

    /// Handles a read that brought nothing.
    fn take_error(&mut self, id: SessionId, error: &Error) -> Visit {
        match error.kind() {
            ErrorKind::WouldBlock if !planted(Bug::SpuriousIsTheEnd) => Visit::Empty,
            ErrorKind::Interrupted => Visit::More,
            _ => {
                self.sessions.end(self.context, id, Reason::PeerReset);
                Visit::Over
            }
        }
    }

    /// Handles the end of the peer's side. A session that waits for answers gets them, also a stream that has an end; another
    /// stream ends behind what was due before.
    fn take_end(&mut self, id: SessionId) -> Visit {
        if self.sessions.there(id).dialect() != Dialect::Http {
            let why = ("the client has shut its side", Reason::PeerClosed);
            self.sessions.leave(self.context, id, why);
            return Visit::Over;
        }
        if let Some(exchange) = self.sessions.exchanges.get_mut(id) {
            exchange.closes = true;
            return Visit::Waiting(Until::Answered);
        }
        if self.sessions.end_of(id).is_some() {
            return Visit::Empty;
        }
        if self.sessions.there(id).outgoing_bytes() > 0 {
            let goodbye = done("the client has shut its side");
            self.sessions.dismiss(self.context, id, goodbye);
            return Visit::Over;
        }
        self.sessions.end(self.context, id, Reason::PeerClosed);
        Visit::Over
    }

    /// Goes on with an incomplete command; `rest` was read after it.
    fn complete(&mut self, id: SessionId, mut partial: Box<Partial>, rest: &[u8]) -> Visit {
        let dialect = self.sessions.there(id).dialect();
        if matches!(dialect, Dialect::Native | Dialect::WebSocket) {
            return self.complete_frame(id, partial, rest);
        }
        // A request's head does not say how long the request is, and its end may be in what has come.
        partial.bytes.extend_from_slice(rest);
        if partial.is_incomplete() {
            self.keep(id, partial);
            return Visit::More;
        }
        self.consume_kept(id, partial, rest.len())
    }

    fn complete_frame(
        &mut self,
        id: SessionId,
        mut partial: Box<Partial>,
        mut rest: &[u8],
    ) -> Visit {
        let limits = self.context.shared.config.limits();
        loop {
            let missing = partial.need.saturating_sub(partial.bytes.len());
            let (taken, left) = rest.split_at(missing.min(rest.len()));
            partial.bytes.extend_from_slice(taken);
            rest = left;
            if taken.len() < missing {
                self.keep(id, partial);
                return Visit::More;
            }
            // Only the head is looked at here, which has the size; the whole frame is decoded once, below.
            match decode(&partial.bytes[..HEAD_SIZE], &limits) {
                Ok(Decoded::Need { total }) if total > partial.need => partial.need = total,
                _ => break,
            }
        }
        let size = partial.bytes.len();
        let visit = self.consume_kept(id, partial, size);
        // A frame that was kept again, because room or the turn's budget did not suffice, comes before the rest.
        let kept = self.sessions.get_mut(id).and_then(Session::take_input);
        match kept {
            Some(mut kept) => {
                kept.bytes.extend_from_slice(rest);
                self.keep(id, kept);
                visit
            }
            None if visit == Visit::Over => visit,
            None => self.consume_read(id, rest),
        }
    }

    /// Takes the frames in what was just read; keeps what is left of it.
    fn consume_read(&mut self, id: SessionId, input: &[u8]) -> Visit {
        let mut progress = DecodeProgress::default();
        let (visit, used, need) = self.consume(id, input, &mut progress);
        if used < input.len() && visit != Visit::Over {
            let bytes = input[used..].to_vec();
            let mut partial = Partial::new(bytes, need, self.context.tick());
            partial.progress = progress;
            self.keep(id, Box::new(partial));
        }
        visit
    }

    /// Takes the frames in what was kept, whose last `new` bytes have just come. A try in vain copies nothing, but checks what is
    /// new of the first frame, and the head of a request again.
    fn consume_kept(&mut self, id: SessionId, mut partial: Box<Partial>, new: usize) -> Visit {
        if !planted(Bug::NeverFreesInput) {
            self.sessions.room.input.count(&mut partial.counted, 0);
        }
        let mut progress = partial.progress;
        let (visit, used, need) = self.consume(id, &partial.bytes, &mut progress);
        let checked = used.max(need.min(new + progress.searched as usize));
        self.budget.spend(READ_STEPS, checked);
        let is_within = partial.framing.is_some() && used == partial.bytes.len();
        if is_within && visit != Visit::Over {
            self.keep_within(id, partial);
        } else if used < partial.bytes.len() && visit != Visit::Over {
            if used > 0 {
                partial.begun_tick = self.context.tick();
                partial.bytes.drain(..used);
                partial.bytes.shrink_to(need.min(PARTIAL_STEP));
            }
            partial.need = need;
            partial.progress = progress;
            self.keep(id, partial);
        }
        visit
    }

    /// Takes frames from the front of `input`. A frame is a sign of life, but not on a stream, whose client has nothing to send.
    /// Returns how many bytes the frames were, and how many the next one has.
    fn consume(
        &mut self,
        id: SessionId,
        input: &[u8],
        progress: &mut DecodeProgress,
    ) -> (Visit, usize, usize) {
        let (visit, used, need) = self.take_commands(id, input, progress);
        let now_tick = self.context.tick();
        if used > 0
            && let Some(session) = self.sessions.get_mut(id)
            && session.stage() == Stage::Open
            && !session.is_stream()
        {
            session.note_life(now_tick);
        }
        (visit, used, need)
    }

    fn take_commands(
        &mut self,
        id: SessionId,
        input: &[u8],
        progress: &mut DecodeProgress,
    ) -> (Visit, usize, usize) {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let dialect = self.sessions.there(id).dialect();
            if self.budget.is_out_of_steps() && !rest.is_empty() {
                // A line may be shorter than any frame.
                let need = if dialect == Dialect::Json {
                    1
                } else {
                    HEAD_SIZE
                };
                return (Visit::Unfinished, used, need);
            }
            let step = match dialect {
                Dialect::Native | Dialect::WebSocket => self.take_frame(id, rest),
                Dialect::Http => self.take_request(id, rest, progress),
                Dialect::Json => self.take_line(id, rest, progress),
                Dialect::Unknown => self.listen(id, rest),
                // The session was refused when its dialect was recognized.
                Dialect::Tls | Dialect::Mqtt | Dialect::Proxy => Step::Stop(Visit::Over, 0),
            };
            match step {
                Step::Went(size) => used += size,
                Step::Stop(visit, need) => return (visit, used, need),
                Step::Last(size, visit) => return (visit, used + size, 0),
            }
        }
    }

    /// Finds out which dialect a session speaks.
    fn listen(&mut self, id: SessionId, input: &[u8]) -> Step {
        let dialect = match sniff(input) {
            None => return Step::Stop(Visit::More, SNIFF_SIZE),
            Some(Dialect::Proxy) => match self.take_proxy(id, input) {
                Some(step) => return step,
                None => Dialect::Proxy,
            },
            Some(dialect) => dialect,
        };
        let session = self.sessions.there_mut(id);
        session.speak(dialect);
        let door = session.door();
        if session.place() == Admitted::None && !self.may_ask(id, dialect) {
            self.sessions.dismiss(self.context, id, full(FULL));
            return Step::Stop(Visit::Over, 0);
        }
        let speaks = self.context.shared.doors[usize::from(door)].speaks;
        let elsewhere = (!speaks.allows(dialect)).then_some(ELSEWHERE);
        if let Some(reason) = refused::reason(dialect).or(elsewhere) {
            let code = GoodbyeCode::NotSupported;
            self.sessions.refuse(self.context, id, code, reason);
            return Step::Stop(Visit::Over, 0);
        }
        Step::Went(0)
    }

    /// Lets a program on this machine ask about a broker that is full, unless it has come to the operator's address, which has
    /// places of its own. Returns whether it may.
    fn may_ask(&mut self, id: SessionId, dialect: Dialect) -> bool {
        let session = self.sessions.there(id);
        let door = self.context.shared.doors[usize::from(session.door())];
        let peer = self.net.peer(session.socket());
        let is_local = peer.is_ok_and(|peer| peer.ip().to_canonical().is_loopback());
        let is_direct = is_local && !session.is_proxied() && !door.is_operators;
        is_direct && dialect == Dialect::Native && self.sessions.let_ask(id)
    }

    /// Takes the header in which a proxy names the client of the connection. Returns `None` if it is none, or not from a proxy
    /// that may send one.
    fn take_proxy(&mut self, id: SessionId, input: &[u8]) -> Option<Step> {
        let session = self.sessions.there(id);
        let peer = self.net.peer(session.socket()).ok();
        let mut networks = self.context.shared.config.proxy_from.iter();
        if session.is_proxied() || !networks.any(|network| network.has(peer)) {
            return None;
        }
        match proxy::read(input).ok()? {
            Header::Need(total) => Some(Step::Stop(Visit::More, total)),
            Header::Whole { size, client } => {
                self.sessions.note_proxied(id, client);
                Some(Step::Went(size))
            }
        }
    }

    /// Takes a frame.
    fn take_frame(&mut self, id: SessionId, input: &[u8]) -> Step {
        self.budget.spend(FRAME_STEPS, 0);
        match decode(input, &self.context.shared.config.limits()) {
            Err(fault) => {
                self.refuse(id, fault);
                Step::Stop(Visit::Over, 0)
            }
            Ok(Decoded::Need { total }) => {
                if let Err(fault) = check_hello(input, total)
                    && self.is_greeting(id)
                {
                    self.refuse(id, fault);
                    return Step::Stop(Visit::Over, 0);
                }
                Step::Stop(Visit::More, total)
            }
            Ok(Decoded::Command { command, size }) => match self.take(id, command) {
                Handled::Done => Step::Went(size),
                Handled::Later(until) => Step::Stop(Visit::Waiting(until), size),
                Handled::Over => Step::Stop(Visit::Over, 0),
            },
        }
    }

    /// Takes a request over HTTP, when the one before it has its answer.
    fn take_request(&mut self, id: SessionId, input: &[u8], progress: &mut DecodeProgress) -> Step {
        if input.is_empty() {
            return Step::Stop(Visit::More, 1);
        }
        if !self.sessions.there(id).stage().is_heard() {
            return Step::Stop(Visit::Over, 0); // The answer before was the last.
        }
        let exchanges = &self.sessions.exchanges;
        let waits = exchanges.has(id) && !planted(Bug::AnswersTooEarly);
        if waits && exchanges.partly_taken(id).is_none() {
            return Step::Stop(Visit::Waiting(Until::Answered), 1);
        }
        if self.sessions.there(id).is_stream() && !waits {
            return Step::Went(input.len()); // Its answer has no end: nothing more can be asked.
        }
        let mut scratch = std::mem::take(self.scratch);
        let step = self.take_request_in(&mut scratch, id, input, progress);
        *self.scratch = scratch;
        step
    }

    fn take_request_in(
        &mut self,
        scratch: &mut http::Scratch,
        id: SessionId,
        input: &[u8],
        progress: &mut DecodeProgress,
    ) -> Step {
        self.budget.spend(REQUEST_STEPS, 0);
        let shared = &self.context.shared;
        let door = usize::from(self.sessions.there(id).door());
        let means = (&shared.rules, shared.doors[door].is_operators);
        let resumed = self.sessions.exchanges.partly_taken(id);
        let (commands, exchange, size) =
            match http::decode(input, progress, means, resumed, scratch) {
                Front::Need {
                    total,
                    has_head,
                    expects,
                } => {
                    progress.continued |= expects;
                    return self.wait_for_rest(id, (has_head, expects), total);
                }
                Front::Request {
                    commands,
                    exchange,
                    size,
                    encoded,
                } => {
                    let records = match commands {
                        Commands::Publish(_, places) => places.len(),
                        _ => 0,
                    };
                    self.pay_for_encoding(records, encoded);
                    (commands, exchange, size)
                }
                Front::Upgrade {
                    upgrade,
                    says,
                    size,
                } => {
                    *progress = DecodeProgress::default();
                    return self.upgrade(id, &upgrade, says, size);
                }
            };
        if resumed.is_none() {
            self.begin_exchange(id, exchange);
        }
        match self.take_all(id, commands) {
            Handled::Done => {
                *progress = DecodeProgress::default();
                self.context.metrics().requests.add(1);
                Step::Went(size)
            }
            Handled::Later(until) => {
                self.put_exchange_back(id);
                Step::Stop(Visit::Waiting(until), size)
            }
            Handled::Over => Step::Stop(Visit::Over, 0),
        }
    }

    /// Notes that a request waits for its answer.
    fn begin_exchange(&mut self, id: SessionId, exchange: Exchange) {
        self.let_in(id);
        if let Some(form) = exchange.wants.form() {
            self.sessions.there_mut(id).stream(form, STREAM_MS);
        }
        self.sessions.exchanges.begin(id, exchange);
    }

    /// Forgets a request of which nothing was taken: it is decoded again when it may be.
    fn put_exchange_back(&mut self, id: SessionId) {
        if self.sessions.exchanges.partly_taken(id).is_none() {
            self.sessions.exchanges.take_if(id, |_| true);
            self.sessions.there_mut(id).stream(Form::NATIVE, IDLE_MS);
        }
    }

    /// Charges the budget for `bytes` that were compressed, or left as they were because that makes them no smaller, for this many
    /// records.
    fn pay_for_encoding(&mut self, records: usize, bytes: Option<usize>) {
        if let Some(bytes) = bytes {
            self.budget.spend(bytes / ENCODED_BYTES, 0);
            self.context.metrics().codec_encodes.add(records as u64);
        }
    }

    /// Waits for the rest of a request.
    fn wait_for_rest(
        &mut self,
        id: SessionId,
        (has_head, expects): (bool, bool),
        total: usize,
    ) -> Step {
        // The time for a hello does not bound how long a body may take.
        if has_head {
            self.let_in(id);
        }
        if expects {
            ask_for_rest(self.context, self.sessions, id);
        } else {
            // A kernel that gathers small sends keeps the rest until the first one is acknowledged.
            self.net.acknowledge(self.sessions.there(id).socket());
        }
        Step::Stop(Visit::More, total)
    }

    /// Takes the commands of a request, from where it was left.
    fn take_all(&mut self, id: SessionId, commands: Commands<'_>) -> Handled {
        let exchanges = &mut self.sessions.exchanges;
        let exchange = exchanges.get_mut(id).expect("it was begun");
        let (is_answered_at_once, first) = (exchange.wants == Wants::Nothing, exchange.taken);
        for index in first..commands.len() {
            // Before it is taken, because its answer may come at once.
            if let Some(exchange) = self.sessions.exchanges.get_mut(id) {
                exchange.is_being_taken = index + 1 < commands.len();
            }
            self.budget.spend(FRAME_STEPS, 0);
            let handled = self.take(id, commands.get(index));
            if handled != Handled::Done {
                if let Some(exchange) = self.sessions.exchanges.get_mut(id) {
                    exchange.is_being_taken = true;
                }
                return handled;
            }
            if let Some(exchange) = self.sessions.exchanges.get_mut(id) {
                exchange.taken += 1;
            }
        }
        match is_answered_at_once {
            true => tell(self.context, self.sessions, id, &Reply::Taken),
            false => Handled::Done,
        }
    }

    /// Opens a session over HTTP with the head of its first request.
    fn let_in(&mut self, id: SessionId) {
        if self.is_greeting(id) {
            self.sessions.there_mut(id).open(IDLE_MS);
            self.context.metrics().sessions.add(1);
        }
    }

    /// Whether a session has not said hello.
    fn is_greeting(&self, id: SessionId) -> bool {
        self.sessions.there(id).stage() == Stage::Greeting
    }

    /// Keeps input with its session until there is more of it, or its frame can be taken. Bytes of a frame that has begun
    /// are a sign of life, because there is a bound to how long it may take.
    fn keep(&mut self, id: SessionId, mut partial: Box<Partial>) {
        let now_tick = self.context.tick();
        let session = self.sessions.there_mut(id);
        partial.note_growth(now_tick);
        let incomplete = partial.is_incomplete();
        if incomplete {
            if session.stage() == Stage::Open {
                session.note_life(now_tick);
            }
            watch_frame(self.context, self.timers, id, session);
        }
        self.sessions.keep_input(id, partial);
    }

    /// Ends a session that sends bytes that are not a command.
    fn refuse(&mut self, id: SessionId, fault: FrameFault) {
        let (code, reason) = fault.refusal(self.is_greeting(id));
        self.sessions.refuse(self.context, id, code, reason);
    }

    /// Reads on a session that is over, so that its end comes through. Its timer bounds how long that goes on. A peer that has shut
    /// its side may still get its Goodbye.
    fn discard(&mut self, id: SessionId, buffer: &mut [u8]) -> Visit {
        let session = self.sessions.there(id);
        let stage = session.stage();
        let into = &mut [IoSliceMut::new(buffer)];
        let result = self.net.read(session.socket(), into);
        self.budget
            .spend(READ_STEPS, *result.as_ref().unwrap_or(&0));
        match result {
            Ok(size) if size > 0 => Visit::More,
            Err(error) if error.kind() == ErrorKind::Interrupted => Visit::More,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Visit::Empty,
            Ok(_) if matches!(stage, Stage::Leaving | Stage::Closing) => Visit::Empty,
            Ok(_) | Err(_) => {
                self.sessions.end(self.context, id, Reason::Refused);
                Visit::Over
            }
        }
    }

    fn take(&mut self, id: SessionId, command: Command<'_>) -> Handled {
        let (sessions, budget) = (&mut *self.sessions, &mut self.budget);
        self.handler.handle(sessions, budget, id, command)
    }
}

struct Input {
    /// Bytes read in all; 0 is the end of the stream.
    size: usize,
    /// Bytes of them in the shard's buffer.
    in_buffer: usize,
    /// There was room for no more: there may be more to read.
    filled_all: bool,
}

/// Fills the incomplete frame first, then the shard's buffer, in one call.
fn read(
    net: &mut dyn Net,
    session: &Session,
    partial: Option<&mut Partial>,
    buffer: &mut [u8],
) -> std::io::Result<Input> {
    let Some(partial) = partial else {
        let size = net.read(session.socket(), &mut [IoSliceMut::new(buffer)])?;
        return Ok(Input {
            size,
            in_buffer: size,
            filled_all: size == buffer.len(),
        });
    };
    let kept = partial.bytes.len();
    let missing = partial.need.saturating_sub(kept);
    let step = missing.min(PARTIAL_STEP);
    partial.bytes.resize(kept + step, 0);
    let spill = if step == missing { buffer.len() } else { 0 };
    let (own, room) = (&mut partial.bytes[kept..], step + spill);
    let mut parts = [IoSliceMut::new(own), IoSliceMut::new(&mut buffer[..spill])];
    let result = net.read(session.socket(), &mut parts);
    let size = *result.as_ref().unwrap_or(&0);
    partial.bytes.truncate(kept + size.min(step));
    result.map(|size| Input {
        size,
        in_buffer: size.saturating_sub(step),
        filled_all: size == room,
    })
}

mod messages;
#[cfg(test)]
mod tests;
