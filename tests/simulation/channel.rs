//! One connection over WebSocket, on a link: from its handshake to its Close. Who speaks over it sees frames of Oyez, or texts, as if
//! there were no WebSocket.
//!
//! What is said is cut into messages and fragments by chance, with control frames between them. What is heard is checked: answers to
//! pings come in order and with what was asked; behind a Goodbye comes a Close with its code and then nothing; a Close that is said is
//! answered with one. A connection that just ends is noted as a breach, which others judge: they know what may end it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};

use oyez_client::simulation::Wire;
use oyez_client::{ConnectionError, GoodbyeCode};

use super::dice::Dice;
use super::http;
use super::link::Reach;
use super::plan::SocketPlan;
use super::websocket::{
    BINARY, CLOSE, CONTINUATION, CONTROL_MAX, FIN, Hearing, PING, PONG, Said, TEXT, close_code,
    frame, goodbye_code, handshake,
};

/// Bytes that wait for the link, beyond which no more is taken.
const UNSAID_MAX: usize = 32 << 10;
/// How long a message may stay open of which nothing more is to be said, in milliseconds.
const OPEN_MS: u64 = 200;
/// How long the answer to a Close is waited for, in milliseconds.
const LEAVING_MS: u64 = 4_000;
/// Bytes that are read in one go by a client that leaves.
const READ_BYTES: usize = 64 << 10;
/// Of a text, or of what is said at once, the fragments are no smaller than this part.
const FRAGMENTS_MAX: usize = 32;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    /// The answer to the handshake, which has to accept this, has not come.
    Asking(&'static str),
    Open,
    /// The client does not read any more what is said, but for the end.
    Leaving,
}

/// What the broker has said of the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Ending {
    /// It has said that it goes.
    is_told: bool,
    /// Why; in JSON its Close says that.
    goodbye: Option<GoodbyeCode>,
    close: Option<u16>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) plan: SocketPlan,
    dice: Dice,
    state: State,
    /// With what the link has not taken yet.
    unsaid: Vec<u8>,
    /// What is to be said when the handshake is over.
    held: Vec<u8>,
    /// A message has begun and not ended.
    is_open: bool,
    /// When it ends, or the connection that the client leaves.
    due_ms: Option<u64>,
    /// The answer to the handshake.
    input: Vec<u8>,
    hearing: Hearing,
    plain: Vec<u8>,
    pub(super) texts: VecDeque<String>,
    /// What the pings had in them that are not answered.
    pings: VecDeque<Vec<u8>>,
    said_close: Option<u16>,
    /// The client has shut its side, which says that it is done.
    has_shut: bool,
    ending: Ending,
    /// Why the broker did not begin to speak WebSocket.
    pub(super) refusal: Option<ConnectionError>,
    /// What the broker should not have said.
    fault: Option<String>,
    /// How a connection has ended without a word.
    breach: Option<&'static str>,
    /// Nothing was there to read when a run was half here.
    waited_within: bool,
    /// By the time of the last tick.
    now_ms: u64,
    /// What was met.
    pub(super) notes: Vec<String>,
}

impl Channel {
    pub(super) fn new(plan: SocketPlan, dice: Dice) -> Self {
        Self {
            plan,
            dice,
            state: State::Down,
            unsaid: Vec::new(),
            held: Vec::new(),
            is_open: false,
            due_ms: None,
            input: Vec::new(),
            hearing: Hearing::default(),
            plain: Vec::new(),
            texts: VecDeque::new(),
            pings: VecDeque::new(),
            said_close: None,
            has_shut: false,
            ending: Ending::default(),
            refusal: None,
            fault: None,
            breach: None,
            waited_within: false,
            now_ms: 0,
            notes: Vec::new(),
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.state == State::Leaving
    }

    /// Whether the handshake is over, and the client has not left.
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether something has come that nobody has read.
    pub(super) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Pings that the broker has not answered.
    pub(super) fn unanswered(&self) -> usize {
        match self.state {
            State::Open => self.pings.len(),
            _ => 0,
        }
    }

    pub(super) fn take_fault(&mut self) -> Option<String> {
        self.fault.take()
    }

    pub(super) fn take_breach(&mut self) -> Option<&'static str> {
        self.breach.take()
    }

    /// Why the connection has ended, as far as the broker has said so.
    pub(super) fn end(&self) -> ConnectionError {
        let code = self.ending.close.and_then(goodbye_code);
        match (self.ending.goodbye.or(code), &self.refusal) {
            (Some(code), _) => ConnectionError::Goodbye {
                code,
                retry_after: std::time::Duration::ZERO,
                reason: String::new(),
            },
            (None, Some(refusal)) => refusal.clone(),
            (None, None) if self.hearing.is_between() => ConnectionError::Closed,
            (None, None) => io::Error::from(ErrorKind::UnexpectedEof).into(),
        }
    }

    /// Begins a connection with a request for `target`.
    pub(super) fn dial(&mut self, target: &str, reach: &mut Reach<'_>) -> bool {
        self.drop_link(reach);
        if !reach.link.dial(reach.broker, reach.dice) {
            return false;
        }
        let dice = self.dice.clone();
        *self = Self {
            now_ms: self.now_ms,
            notes: std::mem::take(&mut self.notes),
            fault: self.fault.take(),
            breach: self.breach.take(),
            ..Self::new(self.plan.clone(), dice)
        };
        self.hearing = Hearing::new(self.plan.is_native());
        let (request, accept) = handshake(target, self.plan.is_native(), &mut self.dice);
        (self.state, self.unsaid) = (State::Asking(accept), request);
        self.flush(reach);
        true
    }

    /// Lets the link take what is to be said, and goes on with what is due.
    pub(super) fn tick(&mut self, now_ms: u64, reach: &mut Reach<'_>) {
        self.now_ms = now_ms;
        match self.state {
            State::Leaving => {
                if !self.hear_out(reach) || self.due_ms.is_none_or(|due| due <= now_ms) {
                    if self.state == State::Leaving && self.ending.close.is_none() {
                        self.notes.push("websocket leaves unanswered".to_owned());
                    }
                    self.drop_link(reach);
                }
            }
            State::Open if self.due_ms.is_some_and(|due| due <= now_ms) => self.end_message(),
            State::Down => self.due_ms = None,
            State::Asking(_) | State::Open => {}
        }
        self.flush(reach);
    }

    /// Ticks, and says whether the client has left and waits for the answer to its Close: it does nothing else meanwhile.
    pub(super) fn is_in_the_way(&mut self, now_ms: u64, reach: &mut Reach<'_>) -> bool {
        let was_leaving = self.is_leaving();
        self.tick(now_ms, reach);
        if was_leaving && !self.is_leaving() {
            // Its client goes on at once.
            self.due_ms = Some(now_ms);
        }
        was_leaving
    }

    /// When it is to be ticked again.
    pub(super) const fn due_ms(&self) -> Option<u64> {
        self.due_ms
    }

    /// Leaves: with a Close, in answer to one of the broker's or not, or without a word.
    pub(super) fn leave(&mut self, reach: &mut Reach<'_>) {
        if self.state != State::Open {
            if self.state != State::Leaving {
                self.drop_link(reach);
            }
            return;
        }
        let is_told = self.ending.is_told || self.ending.close.is_some();
        if !is_told && !self.plan.closes {
            self.drop_link(reach);
            return;
        }
        let code = match self.ending.close {
            Some(code) => code,
            None => *self.dice.pick(&[1000, 1001, 3000, 4999]),
        };
        let mut payload = code.to_be_bytes().to_vec();
        let reason = if self.dice.one_in(2) { "" } else { "enough" };
        payload.extend_from_slice(reason.as_bytes());
        if self.dice.one_in(4) && self.ending.close.is_none() {
            payload.clear();
        }
        self.said_close = Some(if payload.is_empty() { 1000 } else { code });
        self.control(CLOSE, &payload);
        (self.state, self.due_ms) = (State::Leaving, Some(self.now_ms + LEAVING_MS));
        self.flush(reach);
        if !self.hear_out(reach) {
            self.drop_link(reach);
        }
    }

    /// Lets go of the connection.
    pub(super) fn drop_link(&mut self, reach: &mut Reach<'_>) {
        if self.state != State::Down {
            if !self.hearing.is_between() {
                let within = self.hearing.is_within_a_message();
                self.notes.push(match within {
                    true => "websocket cut inside a message".to_owned(),
                    false => "websocket cut inside a header".to_owned(),
                });
            }
            reach.link.close();
        }
        self.state = State::Down;
        self.due_ms = None;
        self.unsaid.clear();
        self.plain.clear();
    }

    // Saying.

    fn control(&mut self, opcode: u8, payload: &[u8]) {
        if self.is_open {
            let what = "websocket control between fragments";
            self.notes.push(what.to_owned());
        }
        frame(FIN | opcode, payload, &mut self.dice, &mut self.unsaid);
    }

    /// Asks the broker to answer, now and then.
    fn perhaps_ping(&mut self) {
        if !self.plan.pings || !self.dice.one_in(12) {
            return;
        }
        if self.dice.one_in(4) {
            return self.control(PONG, b"unasked");
        }
        let size = *self.dice.pick(&[0, 1, 8, 60, CONTROL_MAX]);
        let payload: Vec<u8> = (0..size).map(|_| self.dice.next() as u8).collect();
        self.control(PING, &payload);
        self.pings.push_back(payload);
    }

    fn fragment(&mut self, is_last: bool, payload: &[u8]) {
        let opcode = match (self.is_open, self.plan.is_native()) {
            (true, _) => CONTINUATION,
            (false, true) => BINARY,
            (false, false) => TEXT,
        };
        let fin = if is_last { FIN } else { 0 };
        frame(fin | opcode, payload, &mut self.dice, &mut self.unsaid);
        self.is_open = !is_last;
    }

    fn end_message(&mut self) {
        if self.is_open {
            self.fragment(true, b"");
        }
        self.due_ms = None;
    }

    /// Says frames of Oyez, which messages need not hold whole; or a text, which is one message.
    fn say(&mut self, mut bytes: &[u8]) {
        let least = (bytes.len() / FRAGMENTS_MAX).max(1) as u64;
        while !bytes.is_empty() {
            self.perhaps_ping();
            let size = self.dice.among(1, self.plan.fragment_max.max(least));
            let size = usize::try_from(size).map_or(bytes.len(), |size| size.min(bytes.len()));
            let (part, rest) = bytes.split_at(size);
            bytes = rest;
            let ends = match self.plan.is_native() {
                true => self.dice.one_in(2),
                false => rest.is_empty() && self.dice.below(4) > 0,
            };
            self.fragment(ends, part);
            if self.dice.one_in(16) && self.is_open {
                self.fragment(false, b"");
            }
        }
        self.due_ms = self.is_open.then_some(self.now_ms + OPEN_MS);
        if !self.plan.is_native() || self.dice.below(4) > 0 {
            self.perhaps_ping();
            self.end_message();
        }
    }

    /// Says a text.
    pub(super) fn say_text(&mut self, text: &str, reach: &mut Reach<'_>) {
        match self.state {
            State::Open => self.say(text.as_bytes()),
            _ => return,
        }
        self.flush(reach);
    }

    /// Whether it takes more.
    pub(super) fn has_room(&self) -> bool {
        self.unsaid.len() < UNSAID_MAX && self.held.len() < UNSAID_MAX
    }

    fn flush(&mut self, reach: &mut Reach<'_>) {
        if self.unsaid.is_empty() {
            return;
        }
        match reach.link.write(&self.unsaid, reach.dice) {
            Ok(taken) => drop(self.unsaid.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // What the broker has said is read to its end.
            Err(_) => self.unsaid.clear(),
        }
    }

    // Hearing.

    /// Reads once. Gives whether something came; the end of the connection is an error, too.
    ///
    /// # Errors
    /// When the connection is at its end, or nothing is there.
    pub(super) fn hear(&mut self, max: usize, reach: &mut Reach<'_>) -> io::Result<()> {
        if self.state == State::Down {
            return Err(ErrorKind::NotConnected.into());
        }
        self.has_shut = reach.link.is_shut();
        let bytes = match reach.link.read(max, reach.dice) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() == ErrorKind::WouldBlock {
                    self.waited_within |= self.hearing.is_within_a_message();
                } else if reach.link.was_left_cleanly {
                    self.note_end("the broker has stopped without a Close");
                }
                return Err(error);
            }
        };
        if bytes.is_empty() {
            self.note_end("the connection has ended without a Close");
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Err(why) = self.take(&bytes) {
            self.fault.get_or_insert(why);
            return Err(ErrorKind::InvalidData.into());
        }
        self.flush(reach);
        Ok(())
    }

    /// The connection is over.
    fn note_end(&mut self, how: &'static str) {
        let is_begun = matches!(self.state, State::Open | State::Leaving);
        if is_begun && self.ending.close.is_none() {
            self.breach.get_or_insert(how);
        }
    }

    /// Reads what is there for a client that leaves; false at the end of the connection.
    fn hear_out(&mut self, reach: &mut Reach<'_>) -> bool {
        loop {
            match self.hear(READ_BYTES, reach) {
                Ok(()) => {
                    self.plain.clear();
                    self.texts.clear();
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut input = bytes;
        let rest;
        if let State::Asking(accept) = self.state {
            self.input.extend_from_slice(bytes);
            match self.take_head(accept)? {
                Some(left) => rest = left,
                None => return Ok(()),
            }
            input = &rest;
        }
        if input.is_empty() {
            return Ok(());
        }
        if self.ending.close.is_some() {
            return Err("something follows a Close".to_owned());
        }
        while let Some(said) = self.hearing.next(&mut input)? {
            self.take_said(said)?;
        }
        Ok(())
    }

    /// Takes the answer to the handshake; gives what follows it.
    fn take_head(&mut self, accept: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(goodbye) = http::goodbye(&self.input) {
            self.refusal = Some(goodbye);
            if self.plan.is_native() {
                self.plain = std::mem::take(&mut self.input);
            }
            return Ok(None);
        }
        let Some((head, size)) = http::head(&self.input)? else {
            return Ok(None);
        };
        self.notes.push(head.class());
        if head.status != 101 {
            let silent = ConnectionError::Goodbye {
                code: GoodbyeCode::Silent,
                retry_after: std::time::Duration::ZERO,
                reason: "the handshake did not come in time".to_owned(),
            };
            return match head.status {
                408 => {
                    self.refusal = Some(silent);
                    Ok(None)
                }
                503 => {
                    self.refusal = Some(ConnectionError::Goodbye {
                        code: GoodbyeCode::Draining,
                        retry_after: std::time::Duration::ZERO,
                        reason: "not now".to_owned(),
                    });
                    Ok(None)
                }
                _ => Err(format!("a handshake is answered with {head:?}")),
            };
        }
        let protocol = self.plan.is_native().then_some("oyez.v2");
        let is_as_it_should = head.field("upgrade") == Some("websocket")
            && head.field("connection") == Some("Upgrade")
            && head.field("sec-websocket-accept") == Some(accept)
            && head.field("sec-websocket-protocol") == protocol
            && head.field("sec-websocket-extensions").is_none();
        if !is_as_it_should {
            return Err(format!("a handshake is answered with {head:?}"));
        }
        self.notes.push(match self.plan.is_native() {
            true => "websocket handshake for frames".to_owned(),
            false => "websocket handshake for JSON".to_owned(),
        });
        self.state = State::Open;
        let rest = self.input.split_off(size);
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            self.say(&held);
        }
        Ok(Some(rest))
    }

    fn take_said(&mut self, said: Said) -> Result<(), String> {
        let is_over = self.ending.close.is_some();
        if is_over || self.ending.is_told && !matches!(said, Said::Close(..)) {
            return Err(format!("behind a {:?} comes {said:?}", self.ending));
        }
        if self.hearing.is_between() && std::mem::take(&mut self.waited_within) {
            self.notes.push("websocket run in pieces".to_owned());
        }
        match said {
            Said::Bytes(mut bytes) => self.plain.append(&mut bytes),
            Said::Text(text) => {
                if text.starts_with(r#"{"event":"$goodbye""#) {
                    self.ending.is_told = true;
                }
                self.texts.push_back(text);
            }
            Said::Goodbye(code) => {
                (self.ending.is_told, self.ending.goodbye) = (true, Some(code));
            }
            Said::Ping(payload) => {
                self.notes.push("websocket ping".to_owned());
                if self.plan.answers {
                    self.control(PONG, &payload);
                }
            }
            Said::Pong(payload) => match self.pings.pop_front() {
                Some(asked) if asked == payload => {
                    self.notes.push("websocket pong".to_owned());
                }
                asked => return Err(format!("{asked:?} is answered with {payload:?}")),
            },
            Said::Close(code, reason) => return self.take_close(code, &reason),
        }
        Ok(())
    }

    fn take_close(&mut self, code: u16, reason: &str) -> Result<(), String> {
        let wrong = |what: String| Err(format!("a Close {code} ({reason}), {what}"));
        // The broker dismisses a client as done only when the client has said so.
        let told = goodbye_code(code).filter(|told| *told != GoodbyeCode::Done);
        let is_done = self.has_shut && code == close_code(GoodbyeCode::Done);
        match (self.ending.goodbye, self.said_close) {
            (Some(goodbye), _) if close_code(goodbye) != code => {
                return wrong(format!("behind the Goodbye {goodbye:?}"));
            }
            (Some(_), _) => self.notes.push(format!("websocket close {code}")),
            (None, _) if self.ending.is_told && is_done => {
                self.ending.goodbye = Some(GoodbyeCode::Done);
                self.notes.push("websocket close when shut".to_owned());
            }
            (None, _) if self.ending.is_told => {
                if told.is_none() || reason.is_empty() {
                    return wrong("behind a goodbye".to_owned());
                }
                self.ending.goodbye = told;
                self.notes.push(format!("websocket close {code}"));
            }
            // Frames may have said Goodbye themselves before.
            (None, Some(said)) if said == code || self.plan.is_native() && code == 1000 => {
                self.notes.push("websocket close echoed".to_owned());
            }
            (None, said) => return wrong(format!("where {said:?} was said")),
        }
        self.ending.close = Some(code);
        Ok(())
    }
}

/// A channel while its client takes a turn, as a connection without WebSocket.
pub(super) struct Wrapped<'a> {
    pub(super) channel: &'a mut Channel,
    pub(super) reach: Reach<'a>,
}

impl Wire for Wrapped<'_> {
    fn dial(&mut self) -> bool {
        self.channel.dial("/api/v1/ws", &mut self.reach)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let channel = &mut *self.channel;
        while channel.plain.is_empty() && !into.is_empty() {
            match channel.hear(into.len(), &mut self.reach) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        let size = channel.plain.len().min(into.len());
        into[..size].copy_from_slice(&channel.plain[..size]);
        channel.plain.drain(..size);
        Ok(size)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let channel = &mut *self.channel;
        if channel.state == State::Down {
            return Err(ErrorKind::NotConnected.into());
        }
        if !channel.has_room() {
            channel.flush(&mut self.reach);
            return Err(ErrorKind::WouldBlock.into());
        }
        match channel.state {
            State::Asking(_) => channel.held.extend_from_slice(bytes),
            _ => channel.say(bytes),
        }
        channel.flush(&mut self.reach);
        Ok(bytes.len())
    }

    fn close(&mut self) {
        self.channel.leave(&mut self.reach);
    }
}
