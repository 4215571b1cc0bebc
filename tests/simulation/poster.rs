//! A publisher over HTTP: requests, one at a time or several ahead of their answers. It knows of no connection but the one
//! that it has: of what was under way when that ended, nobody knows what became of it, and nothing is sent twice.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;

use oyez_client::{ConnectionError, GoodbyeCode, Outcome};
use serde_json::Value;

use super::dice::Dice;
use super::http::{self, Answer};
use super::link::Reach;
use super::message::MessageId;
use super::plan::PostPlan;
use super::publisher::Told;

/// How long it waits before it comes back.
const RETRY_MS: u64 = 500;
/// Bytes that it reads in one go.
const READ_BYTES: usize = 64 << 10;

/// A request that is made.
#[derive(Debug)]
struct Request {
    number: u64,
    topic: String,
    /// Its answer tells where the message stands.
    waits: bool,
    bytes: Vec<u8>,
    /// Bytes of it that have left.
    sent: usize,
    /// Bytes that may leave before the broker has said that it wants the rest.
    front: Option<usize>,
}

/// A publisher.
#[derive(Debug)]
pub(super) struct Poster {
    plan: PostPlan,
    dice: Dice,
    is_connected: bool,
    /// Before this time there is no connection.
    away_until_ms: u64,
    /// In their order; those in front have left, or a part of them.
    requests: VecDeque<Request>,
    /// Nothing more can be written over the connection.
    is_mute: bool,
    /// Something was answered over the connection.
    was_answered: bool,
    input: Vec<u8>,
    made: u64,
    outcomes: BTreeMap<u64, Told>,
    /// What was met.
    pub(super) notes: Vec<String>,
}

impl Poster {
    pub(super) fn new(plan: PostPlan, number: usize, seed: u64) -> Self {
        Self {
            plan,
            dice: Dice::new(seed, "poster", number),
            is_connected: false,
            away_until_ms: 0,
            requests: VecDeque::new(),
            is_mute: false,
            was_answered: false,
            input: Vec::new(),
            made: 0,
            outcomes: BTreeMap::new(),
            notes: Vec::new(),
        }
    }

    /// Whether it takes another message.
    pub(super) fn has_room(&self) -> bool {
        self.requests.len() < 2 * self.plan.depth
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub(super) fn is_settled(&self) -> bool {
        self.requests.is_empty()
    }

    pub(super) fn outcome(&mut self, number: u64) -> Option<Told> {
        self.outcomes.remove(&number)
    }

    /// Takes a message; gives its number.
    pub(super) fn publish(&mut self, topic: &str, id: MessageId, payload: &[u8]) -> u64 {
        self.made += 1;
        let waits = !(self.plan.forgets && self.dice.one_in(4));
        let parameters = match waits {
            true if self.dice.one_in(4) => "?ack=durable",
            true => "",
            false => "?ack=none",
        };
        let method = if self.dice.one_in(4) { "PUT" } else { "POST" };
        let version = if self.plan.is_1_0 { "1.0" } else { "1.1" };
        let mut head =
            format!("{method} /{topic}{parameters} HTTP/{version}\r\nHost: localhost:7450\r\n");
        if id.number % 5 == 1 {
            head += &format!("X-Key: {}\r\n", id.number);
        }
        if id.number % 7 == 2 {
            head += &format!("X-Header-number: {}\r\n", id.number);
        }
        let expects = !self.plan.is_1_0 && self.plan.depth == 1 && self.dice.one_in(6);
        if expects {
            head += "Expect: 100-continue\r\n";
        }
        let is_chunked = self.plan.chunks && !self.plan.is_1_0 && self.dice.one_in(2);
        let body = match is_chunked {
            true => {
                head += "Transfer-Encoding: chunked\r\n\r\n";
                self.chunks(payload)
            }
            false => {
                head += &format!("Content-Length: {}\r\n\r\n", payload.len());
                payload.to_vec()
            }
        };
        let front = expects.then_some(head.len());
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&body);
        self.requests.push_back(Request {
            number: self.made,
            topic: topic.to_owned(),
            waits,
            bytes,
            sent: 0,
            front,
        });
        self.made
    }

    fn chunks(&mut self, payload: &[u8]) -> Vec<u8> {
        let (mut out, mut rest) = (Vec::new(), payload);
        while !rest.is_empty() {
            let most = rest.len() as u64;
            let some = self.dice.among(1, most);
            let (chunk, left) = rest.split_at(usize::try_from(some).expect("a part of it"));
            let extension = if self.dice.one_in(4) { ";a=b" } else { "" };
            out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
            rest = left;
        }
        out.extend_from_slice(match self.dice.one_in(4) {
            true => b"0\r\nA: b\r\n\r\n",
            false => b"0\r\n\r\n",
        });
        out
    }

    /// Does what can be done now; says when it wants to be run again if nothing arrives before.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn turn(
        &mut self,
        now_ms: u64,
        wire: &mut Reach<'_>,
        losses: &mut Vec<ConnectionError>,
    ) -> Result<Option<u64>, String> {
        if !self.is_connected {
            if self.requests.is_empty() {
                return Ok(None);
            }
            if now_ms < self.away_until_ms {
                return Ok(Some(self.away_until_ms));
            }
            if !wire.link.dial(wire.broker, wire.dice) {
                self.away_until_ms = now_ms + RETRY_MS;
                return Ok(Some(self.away_until_ms));
            }
            (self.is_connected, self.is_mute) = (true, false);
            self.was_answered = false;
            self.input.clear();
        }
        self.say(wire);
        match wire.link.read(READ_BYTES, wire.dice) {
            Ok(bytes) if bytes.is_empty() => {
                if !self.input.is_empty() {
                    let goodbye = http::goodbye(&self.input).filter(|_| !self.was_answered);
                    losses.push(goodbye.unwrap_or(ConnectionError::Unfinished));
                } else if self.is_under_way() {
                    losses.push(ConnectionError::Closed);
                }
                Ok(self.lose(now_ms, wire))
            }
            Ok(bytes) => {
                self.input.extend_from_slice(&bytes);
                match self.hear(losses)? {
                    true => Ok(self.lose(now_ms, wire)),
                    false => Ok(Some(now_ms)),
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                losses.push(error.into());
                Ok(self.lose(now_ms, wire))
            }
        }
    }

    /// Whether a request has left, or a part of one, that has no answer.
    pub(super) fn is_under_way(&self) -> bool {
        self.requests.front().is_some_and(|first| first.sent > 0)
    }

    fn say(&mut self, wire: &mut Reach<'_>) {
        let depth = if self.plan.is_1_0 { 1 } else { self.plan.depth };
        for request in self.requests.iter_mut().take(depth) {
            if self.is_mute {
                return;
            }
            let end = request.front.unwrap_or(request.bytes.len());
            if request.sent < end {
                match wire
                    .link
                    .write(&request.bytes[request.sent..end], wire.dice)
                {
                    Ok(taken) => request.sent += taken,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                    // What is on its way is answered yet.
                    Err(_) => self.is_mute = true,
                }
            }
            if request.sent < request.bytes.len() {
                return;
            }
        }
    }

    /// The connection is over: nobody knows what became of what has left.
    fn lose(&mut self, now_ms: u64, wire: &mut Reach<'_>) -> Option<u64> {
        wire.link.close();
        self.is_connected = false;
        self.input.clear();
        while self.is_under_way() {
            let request = self.requests.pop_front().expect("it is there");
            self.outcomes.insert(request.number, Told::Unknown);
        }
        self.away_until_ms = now_ms + self.dice.among(1, RETRY_MS);
        (!self.requests.is_empty()).then_some(self.away_until_ms)
    }

    /// Takes the answers that have come; says whether the last one ends the connection.
    fn hear(&mut self, losses: &mut Vec<ConnectionError>) -> Result<bool, String> {
        while let Some((answer, size)) = http::answer(&self.input)? {
            self.input.drain(..size);
            self.was_answered = true;
            self.notes.push(answer.head.class());
            if answer.head.status == 100 {
                let first = self.requests.front_mut();
                let waits = first.and_then(|first| first.front.take());
                waits.ok_or("a request is to go on that has not stopped")?;
                continue;
            }
            let request = self.requests.pop_front();
            let is_known = |request: &Request| request.sent > 0;
            let request = request.filter(is_known).ok_or("an answer to no request")?;
            let is_whole = request.sent == request.bytes.len();
            let told = told(&request, &answer, losses)?;
            if is_whole || !matches!(told, Told::Acknowledged { .. }) {
                self.outcomes.insert(request.number, told);
            } else {
                return Err("a request is answered before it has come".to_owned());
            }
            if answer.head.closes() {
                return match self.input.is_empty() {
                    true => Ok(true),
                    false => Err("something follows the last answer".to_owned()),
                };
            }
            if self.plan.is_1_0 || !is_whole {
                return Err("the connection goes on behind the last request".to_owned());
            }
        }
        Ok(false)
    }
}

/// What an answer tells of its request.
fn told(
    request: &Request,
    answer: &Answer,
    losses: &mut Vec<ConnectionError>,
) -> Result<Told, String> {
    let words = String::from_utf8_lossy(&answer.body)
        .trim_ascii_end()
        .to_owned();
    let wrong = || format!("a request is answered with {}: {words}", answer.head.status);
    let json: Value = serde_json::from_str(&words).map_err(|_| wrong())?;
    let text = |name: &str| json.get(name).and_then(Value::as_str);
    if answer.head.field("content-type") != Some("application/json") {
        return Err(wrong());
    }
    match answer.head.status {
        200 if request.waits => {
            if text("topic") != Some(&request.topic) {
                return Err(format!("{}, to one for `{}`", wrong(), request.topic));
            }
            let epoch = text("epoch").filter(|digits| digits.len() == 16);
            let epoch = epoch.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let offset = json.get("offset").and_then(Value::as_u64);
            let (epoch, offset) = epoch.zip(offset).ok_or_else(wrong)?;
            Ok(Told::Acknowledged { epoch, offset })
        }
        202 if !request.waits => Ok(Told::Unknown),
        408 => {
            losses.push(ConnectionError::Goodbye {
                code: GoodbyeCode::Silent,
                retry_after: std::time::Duration::ZERO,
                reason: words,
            });
            Ok(Told::Unknown)
        }
        // It may have been taken: it was not acknowledged in time, or the disk has failed meanwhile.
        500 | 503 if text("error").is_some() => Ok(Told::Unknown),
        507 if text("error").is_some() => Ok(Told::Refused(Outcome::DiskFull)),
        _ => Err(wrong()),
    }
}
