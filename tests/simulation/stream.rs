//! A subscriber that is a browser: an event stream over HTTP, which comes back with the last id that it has.
//!
//! It is strict where a browser is not. A stream that goes on begins where it was asked to, or says why not; each message has
//! an id; an id is what the event says. A cut inside an event drops that event, as in a browser.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use oyez_client::{
    ConnectionError, Delivery, Epoch, Gap, GapCause, GoodbyeCode, Message, NewEpoch, Offset,
    Outcome,
};

use super::http::{self, Chunks, Head, base64};
use super::link::Reach;
use super::plan::{Begin, StreamPlan};
use super::several::Several;
use super::sse::{Block, Blocks, cause};
use super::text;

/// How long it waits before it comes back, unless it was told otherwise.
const RETRY_MS: u64 = 1_000;

/// Something that a subscriber has heard.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    Delivery(Delivery),
    /// A stream has begun here that was not asked to go on somewhere.
    Begun((u64, u64)),
    /// Messages that are too large for a stream, from the first to before the last.
    Reference(u64, u64),
}

/// How far a connection has come.
#[derive(Debug)]
enum State {
    /// There is none before this time.
    Away {
        until_ms: u64,
    },
    /// The response has not begun, or not come whole if it is no stream.
    Asking,
    Streaming,
}

/// An event stream.
#[derive(Debug)]
pub(super) struct Stream {
    plan: StreamPlan,
    topic: Arc<str>,
    begin: Begin,
    read_max: usize,
    state: State,
    /// It is of several topics.
    several: Option<Several>,
    /// The last id that it has, and what that stands for.
    last: Option<(String, (u64, u64))>,
    /// The stream has said where it begins.
    is_begun: bool,
    /// It has said that it ends.
    is_ending: bool,
    unsaid: Vec<u8>,
    /// The head of the response, or all of one that is no stream.
    input: Vec<u8>,
    chunks: Chunks,
    blocks: Blocks,
    retry_ms: u64,
    heard: VecDeque<Heard>,
    /// The broker has refused what is asked for.
    pub(super) refused: Option<String>,
    /// What was met.
    notes: Vec<String>,
}

impl Stream {
    pub(super) fn new(
        plan: StreamPlan,
        topic: &str,
        several: Option<Several>,
        (begin, read_max): (Begin, usize),
    ) -> Self {
        Self {
            plan,
            topic: topic.into(),
            several,
            begin,
            read_max,
            state: State::Away { until_ms: 0 },
            last: None,
            is_begun: false,
            is_ending: false,
            unsaid: Vec::new(),
            input: Vec::new(),
            chunks: Chunks::default(),
            blocks: Blocks::default(),
            retry_ms: RETRY_MS,
            heard: VecDeque::new(),
            refused: None,
            notes: Vec::new(),
        }
    }

    /// Another one that goes on where this one is, or from the beginning.
    pub(super) fn again(&self, goes_on: bool) -> Self {
        let begin = Begin::Earliest;
        let last = self.last.clone().filter(|_| goes_on);
        let several = self.several.as_ref();
        let several = several.map(|several| several.again(goes_on));
        let means = (begin, self.read_max);
        Self {
            last,
            ..Self::new(self.plan.clone(), &self.topic, several, means)
        }
    }

    pub(super) const fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming)
    }

    /// Whether the stream has said where it begins.
    pub(super) fn is_confirmed(&self) -> bool {
        let several = self.several.as_ref();
        let is_begun = several.map_or(self.is_begun, Several::is_begun);
        self.is_streaming() && is_begun
    }

    /// The epoch, and the offset of what comes next.
    pub(super) fn position(&self) -> (u64, u64) {
        match &self.several {
            Some(several) => several.position(),
            None => self.last.as_ref().map_or((0, 0), |last| last.1),
        }
    }

    /// The id that it goes on with.
    fn last_id(&self) -> Option<&str> {
        match &self.several {
            Some(several) => several.last_id(),
            None => self.last.as_ref().map(|(id, _)| &**id),
        }
    }

    /// What was met since this was asked last.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        let mut notes = std::mem::take(&mut self.notes);
        if let Some(several) = &mut self.several {
            notes.append(&mut several.notes);
        }
        notes
    }

    pub(super) fn next_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
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
        if self.refused.is_some() {
            return Ok(None);
        }
        if let State::Away { until_ms } = self.state {
            if now_ms < until_ms {
                return Ok(Some(until_ms));
            }
            if !wire.link.dial(wire.broker, wire.dice) {
                return Ok(Some(self.go_away(now_ms)));
            }
            self.state = State::Asking;
            self.unsaid = self.request();
            if let Some(several) = &mut self.several {
                several.begin();
            }
        }
        self.say(wire);
        match wire.link.read(self.read_max, wire.dice) {
            Ok(bytes) if bytes.is_empty() => {
                losses.push(self.end());
                wire.link.close();
                Ok(Some(self.go_away(now_ms)))
            }
            Ok(bytes) => {
                let lost = self.hear(&bytes)?;
                if let Some(lost) = lost {
                    losses.push(lost);
                    wire.link.close();
                    return Ok(Some(self.go_away(now_ms)));
                }
                Ok(Some(now_ms))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => {
                losses.push(error.into());
                self.note_cut();
                wire.link.close();
                Ok(Some(self.go_away(now_ms)))
            }
        }
    }

    fn request(&self) -> Vec<u8> {
        let StreamPlan {
            is_1_0,
            base64,
            by_parameter,
            ..
        } = self.plan;
        let (mut target, mut parameters) = match &self.several {
            Some(several) => ("/api/v1/sse".to_owned(), several.parameters().collect()),
            None => (format!("/{}/sse", self.topic), Vec::new()),
        };
        match self.last_id() {
            Some(id) if by_parameter => parameters.push(format!("last_event_id={id}")),
            Some(_) => {}
            None => parameters.push(match self.begin {
                Begin::Latest => "from=latest".to_owned(),
                Begin::Earliest => "from=earliest".to_owned(),
            }),
        }
        if base64 {
            parameters.push("encoding=base64".to_owned());
        }
        if !parameters.is_empty() {
            target += &format!("?{}", parameters.join("&"));
        }
        let version = if is_1_0 { "1.0" } else { "1.1" };
        let mut request = format!("GET {target} HTTP/{version}\r\nHost: localhost:7450\r\n");
        if let Some(id) = self.last_id().filter(|_| !by_parameter) {
            request += &format!("Last-Event-ID: {id}\r\n");
        }
        request += "Accept: text/event-stream\r\n\r\n";
        request.into_bytes()
    }

    fn say(&mut self, wire: &mut Reach<'_>) {
        if self.unsaid.is_empty() {
            return;
        }
        match wire.link.write(&self.unsaid, wire.dice) {
            Ok(taken) => drop(self.unsaid.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // It is read to its end.
            Err(_) => self.unsaid.clear(),
        }
    }

    fn go_away(&mut self, now_ms: u64) -> u64 {
        let until_ms = now_ms + self.retry_ms;
        self.state = State::Away { until_ms };
        (self.is_begun, self.is_ending) = (false, false);
        self.unsaid.clear();
        self.input.clear();
        (self.chunks, self.blocks) = (Chunks::default(), Blocks::default());
        until_ms
    }

    /// The connection has come to its end.
    fn end(&mut self) -> ConnectionError {
        self.note_cut();
        let is_told = match self.plan.is_1_0 {
            true => self.is_ending && self.blocks.is_between(),
            false => self.chunks.is_over,
        };
        let is_cut = !(self.blocks.is_between() && self.chunks.is_between());
        match self.is_streaming() {
            true if is_told => ended(),
            true if is_cut => std::io::Error::from(ErrorKind::UnexpectedEof).into(),
            true => ConnectionError::Closed,
            false => http::goodbye(&self.input).unwrap_or(ConnectionError::Closed),
        }
    }

    fn note_cut(&mut self) {
        if !self.blocks.is_between() {
            self.notes.push("sse cut inside an event".to_owned());
        } else if !self.chunks.is_between() {
            self.notes.push("sse cut inside a chunk".to_owned());
        }
    }

    /// Takes what has come; says why there is no more, if that is so.
    fn hear(&mut self, bytes: &[u8]) -> Result<Option<ConnectionError>, String> {
        if self.is_streaming() {
            self.take_events(bytes)?;
            return Ok(None);
        }
        self.input.extend_from_slice(bytes);
        let Some((head, size)) = http::head(&self.input)? else {
            return Ok(None);
        };
        if head.status != 200 {
            return self.hear_why_not();
        }
        self.notes.push(head.class());
        self.check_head(&head)?;
        let kind = if self.several.is_some() {
            " of several"
        } else {
            ""
        };
        self.notes.push(match self.last_id() {
            Some(_) => format!("sse resumed{kind}"),
            None => format!("sse begun{kind}"),
        });
        self.state = State::Streaming;
        let rest = self.input.split_off(size);
        self.take_events(&rest)?;
        Ok(None)
    }

    fn hear_why_not(&mut self) -> Result<Option<ConnectionError>, String> {
        let Some((answer, _)) = http::answer(&self.input)? else {
            return Ok(None);
        };
        self.notes.push(answer.head.class());
        let words = String::from_utf8_lossy(&answer.body)
            .trim_ascii_end()
            .to_owned();
        match answer.head.status {
            409 => {
                self.refused = Some(words);
                Ok(Some(ended()))
            }
            408 => Ok(Some(ConnectionError::Goodbye {
                code: GoodbyeCode::Silent,
                retry_after: std::time::Duration::ZERO,
                reason: words,
            })),
            503 => Ok(Some(ended())),
            status => Err(format!("a stream is answered with {status}: {words}")),
        }
    }

    fn check_head(&self, head: &Head) -> Result<(), String> {
        let is_as_it_should = head.field("content-type") == Some("text/event-stream")
            && head.field("cache-control") == Some("no-cache, no-transform")
            && head.field("x-accel-buffering") == Some("no")
            && head.field("date").is_some()
            && head.field("content-length").is_none()
            && match self.plan.is_1_0 {
                true => head.closes() && head.field("transfer-encoding").is_none(),
                false => head.field("transfer-encoding") == Some("chunked"),
            };
        match is_as_it_should {
            true => Ok(()),
            false => Err(format!("a stream begins with {head:?}")),
        }
    }

    fn take_events(&mut self, bytes: &[u8]) -> Result<(), String> {
        let blocks = match self.plan.is_1_0 {
            true => self.blocks.take(bytes)?,
            false => {
                let content = self.chunks.take(bytes)?;
                self.blocks.take(&content)?
            }
        };
        for block in blocks {
            self.take_block(&block)
                .map_err(|why| format!("{why}, in {}", short(&block)))?;
        }
        // Chunks hold whole events.
        let halves = self.chunks.is_between() && !self.blocks.is_between();
        match !self.plan.is_1_0 && halves {
            true => Err("a chunk ends inside an event".to_owned()),
            false => Ok(()),
        }
    }

    fn take_block(&mut self, block: &Block) -> Result<(), String> {
        if std::mem::take(&mut self.is_ending) {
            return Err("something follows the end of a stream".to_owned());
        }
        if !self.is_begun {
            return self.begin_with(block);
        }
        let is_bare = block.name.is_none() && block.data.is_none() && block.id.is_none();
        match (block.has_comment, block.retry_ms) {
            (true, None) if is_bare => {
                self.notes.push("sse heartbeat".to_owned());
                return Ok(());
            }
            (false, Some(ms)) if is_bare => {
                (self.retry_ms, self.is_ending) = (ms, true);
                self.notes.push("sse told to come back".to_owned());
                return Ok(());
            }
            (false, None) => {}
            _ => return Err("an event of more than one kind".to_owned()),
        }
        if let Some(several) = &mut self.several {
            self.heard.extend(several.take(block)?);
            return Ok(());
        }
        let last = block.single_id()?;
        let heard = self.read_event(block, last.1)?;
        self.heard.push_back(heard);
        self.last = Some(last);
        Ok(())
    }

    /// The first block says where a stream begins; one that goes on elsewhere than it was asked to says why.
    fn begin_with(&mut self, block: &Block) -> Result<(), String> {
        self.retry_ms = block
            .retry_ms
            .ok_or("a stream that does not say when to come back")?;
        if let Some(several) = &mut self.several {
            self.is_begun = true;
            self.heard.extend(several.take(block)?);
            return Ok(());
        }
        let last = block.single_id()?;
        let place = last.1;
        let asked = self.last.replace(last).map(|last| last.1);
        self.is_begun = true;
        let heard = match (block.name.as_deref(), asked) {
            (Some("$place"), None) if block.is_place() => Heard::Begun(place),
            (Some("$place"), Some(asked)) if block.is_place() && asked == place => return Ok(()),
            (Some("$gap"), Some(asked)) if asked.0 == place.0 => {
                let gap = self.read_gap(block, place.1)?;
                if gap.cause != GapCause::Retention {
                    return Err(format!("a stream begins with {gap}"));
                }
                Heard::Delivery(Delivery::Gap(gap))
            }
            (Some("$epoch"), Some(asked)) if asked.0 != place.0 => {
                let (new, from) = (block.text("epoch")?, block.number("from")?);
                if new != format!("{:016x}", place.0) || from != place.1 {
                    return Err("an epoch that is not that of its id".to_owned());
                }
                self.notes.push("sse new epoch".to_owned());
                Heard::Delivery(Delivery::NewEpoch(NewEpoch {
                    topic: self.topic.clone(),
                    old: Epoch::new(asked.0),
                    new: Epoch::new(place.0),
                    expected: Offset::new(asked.1),
                    next: Offset::new(place.1),
                }))
            }
            _ => return Err(format!("a stream begins at {place:?}, asked for {asked:?}")),
        };
        self.heard.push_back(heard);
        Ok(())
    }

    fn read_gap(&mut self, block: &Block, next: u64) -> Result<Gap, String> {
        let (from, to) = (block.number("from")?, block.number("to")?);
        if to != next {
            return Err(format!("a gap up to {to} with the id of {next}"));
        }
        let cause = cause(block)?;
        self.notes.push(format!("sse gap {cause:?}"));
        Ok(Gap {
            topic: self.topic.clone(),
            from: Offset::new(from),
            to: Offset::new(to),
            cause,
        })
    }

    fn read_event(&mut self, block: &Block, (epoch, next): (u64, u64)) -> Result<Heard, String> {
        let data = block.data.as_deref().ok_or("an event without data")?;
        let payload = match block.name.as_deref() {
            Some("$gap") => {
                let gap = self.read_gap(block, next)?;
                return Ok(Heard::Delivery(Delivery::Gap(gap)));
            }
            Some("$reference") => return self.read_reference(block, next),
            None if self.plan.base64 => base64(data.as_bytes(), false),
            None => text::restored(data).map(String::into_bytes),
            Some("$binary") if !self.plan.base64 => {
                let bytes = base64(data.as_bytes(), false);
                bytes.filter(|bytes| std::str::from_utf8(bytes).is_err())
            }
            Some(name) => return Err(format!("an event {name}")),
        };
        let offset = next.checked_sub(1).ok_or("a message before the first")?;
        let payload = payload.ok_or_else(|| format!("message {offset} is none"))?;
        Ok(Heard::Delivery(Delivery::Message(Message {
            topic: self.topic.clone(),
            offset: Offset::new(offset),
            epoch: Epoch::new(epoch),
            timestamp_ms: 0,
            key: None,
            headers: Vec::new(),
            payload: payload.into(),
        })))
    }

    fn read_reference(&mut self, block: &Block, next: u64) -> Result<Heard, String> {
        let (from, to) = (block.number("from")?, block.number("to")?);
        let count = to.checked_sub(from).filter(|count| *count > 0);
        let count = count.ok_or("a reference to nothing")?;
        let url = format!("/{}/raw?from=offset:{from}&limit={count}", self.topic);
        if to != next || block.text("url")? != url {
            return Err("a reference to something else".to_owned());
        }
        self.notes.push("sse reference".to_owned());
        Ok(Heard::Reference(from, to))
    }
}

/// The broker has ended what it had to say.
const fn ended() -> ConnectionError {
    ConnectionError::NotNow {
        outcome: Outcome::Draining,
        retry_after: std::time::Duration::ZERO,
    }
}

fn short(block: &Block) -> String {
    let mut text = format!("{block:?}");
    if text.len() > 300 {
        let end = (0..=300).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text += " ...";
    }
    text
}
