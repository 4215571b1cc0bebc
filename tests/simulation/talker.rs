//! A subscriber in JSON over WebSocket, as a page without a library: it subscribes by the path or with a command, comes back where it
//! was by offset and epoch, and is strict about everything that it is told.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;

use oyez_client::{ConnectionError, Delivery, Epoch, Gap, GapCause, Message, NewEpoch, Offset};
use serde_json::{Value, json};

use super::channel::Channel;
use super::http::base64;
use super::link::Reach;
use super::message::read;
use super::plan::{Begin, Speaks};
use super::stream::Heard;

/// How long it waits before it comes back, unless it was told otherwise.
const RETRY_MS: u64 = 700;
/// How long a connection that has nothing to say waits before it may ask something, in milliseconds.
const ASK_MS: u64 = 900;

/// An epoch, and the offset of what comes next.
type Place = (u64, u64);

/// What the broker has to say next because of what it has just said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// A gap up to here.
    Gap(u64),
    /// That the epoch is another one.
    Epoch(Place),
}

/// Another topic that comes over the same connection, from its beginning each time: only that nothing of it is left out is looked at.
#[derive(Clone, Debug)]
struct Beside {
    topic: Arc<str>,
    next: Option<u64>,
}

/// A subscriber.
#[derive(Debug)]
pub(super) struct Talker {
    topic: Arc<str>,
    beside: Vec<Beside>,
    begin: Begin,
    read_max: usize,
    /// Before this time there is no connection.
    away_until_ms: Option<u64>,
    /// The command was said, or the path has said it.
    has_asked: bool,
    has_asked_beside: bool,
    /// The number of the last command.
    asked: u32,
    /// Commands to answer that were not answered.
    pings: VecDeque<u32>,
    /// The command to end the subscription that was not answered.
    unsubscribes: Option<u32>,
    is_begun: bool,
    owed: Option<Owed>,
    place: Option<Place>,
    retry_ms: u64,
    heard: VecDeque<Heard>,
    /// The broker has refused what is asked for.
    pub(super) refused: Option<String>,
    pub(super) notes: Vec<String>,
}

impl Talker {
    pub(super) fn new(
        topic: &str,
        beside: Vec<Arc<str>>,
        (begin, read_max): (Begin, usize),
    ) -> Self {
        let beside = beside.into_iter();
        Self {
            topic: topic.into(),
            beside: beside.map(|topic| Beside { topic, next: None }).collect(),
            begin,
            read_max,
            away_until_ms: Some(0),
            has_asked: false,
            has_asked_beside: false,
            asked: 0,
            pings: VecDeque::new(),
            unsubscribes: None,
            is_begun: false,
            owed: None,
            place: None,
            retry_ms: RETRY_MS,
            heard: VecDeque::new(),
            refused: None,
            notes: Vec::new(),
        }
    }

    /// Another one that goes on where this one is, or from the beginning.
    pub(super) fn again(&self, goes_on: bool) -> Self {
        Self {
            place: self.place.filter(|_| goes_on),
            ..Self::new(
                &self.topic,
                self.beside
                    .iter()
                    .map(|other| other.topic.clone())
                    .collect(),
                (Begin::Earliest, self.read_max),
            )
        }
    }

    pub(super) const fn is_begun(&self) -> bool {
        self.is_begun && self.owed.is_none()
    }

    pub(super) fn position(&self) -> Place {
        self.place.unwrap_or_default()
    }

    pub(super) fn next_heard(&mut self) -> Option<Heard> {
        self.heard.pop_front()
    }

    /// Commands that were not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.pings.len() + usize::from(self.unsubscribes.is_some())
    }

    /// Does what can be done now; says when it wants to be run again if nothing arrives before.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn turn(
        &mut self,
        now_ms: u64,
        (channel, reach): (&mut Channel, &mut Reach<'_>),
        losses: &mut Vec<ConnectionError>,
    ) -> Result<Option<u64>, String> {
        if self.refused.is_some() {
            return Ok(None);
        }
        if let Some(until_ms) = self.away_until_ms {
            if now_ms < until_ms {
                return Ok(Some(until_ms));
            }
            if !channel.dial(&self.target(channel.plan.speaks), reach) {
                return Ok(Some(self.go_away(now_ms)));
            }
            self.away_until_ms = None;
        }
        let heard = channel.hear(self.read_max, reach);
        self.say(channel, reach);
        while let Some(text) = channel.texts.pop_front() {
            self.take(&text)
                .map_err(|why| format!("{why}, in {}", short(&text)))?;
        }
        match heard {
            Ok(()) => Ok(Some(now_ms)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Ok(channel.plan.pings.then_some(now_ms + ASK_MS))
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(error) => {
                losses.push(match error.kind() {
                    ErrorKind::UnexpectedEof => channel.end(),
                    _ => error.into(),
                });
                channel.leave(reach);
                channel.drop_link(reach);
                Ok(Some(self.go_away(now_ms)))
            }
        }
    }

    fn go_away(&mut self, now_ms: u64) -> u64 {
        let until_ms = now_ms + self.retry_ms;
        self.away_until_ms = Some(until_ms);
        (self.has_asked, self.is_begun, self.owed) = (false, false, None);
        self.pings.clear();
        (self.unsubscribes, self.has_asked_beside) = (None, false);
        for other in &mut self.beside {
            other.next = None;
        }
        until_ms
    }

    fn start(&self) -> (String, Option<String>) {
        match (self.place, self.begin) {
            (Some((epoch, next)), _) => (format!("offset:{next}"), Some(format!("{epoch:016x}"))),
            (None, Begin::Latest) => ("latest".to_owned(), None),
            (None, Begin::Earliest) => ("earliest".to_owned(), None),
        }
    }

    fn target(&mut self, speaks: Speaks) -> String {
        if speaks != Speaks::Path {
            return "/api/v1/ws".to_owned();
        }
        self.has_asked = true;
        let (from, epoch) = self.start();
        let epoch = epoch.map_or_else(String::new, |epoch| format!("&epoch={epoch}"));
        format!("/{}/ws?from={from}{epoch}", self.topic)
    }

    fn say(&mut self, channel: &mut Channel, reach: &mut Reach<'_>) {
        if !channel.is_open() {
            return;
        }
        if !std::mem::replace(&mut self.has_asked_beside, true) {
            for other in &self.beside {
                let topic = &*other.topic;
                let command = json!({ "command": "subscribe", "topic": topic, "from": "earliest" });
                channel.say_text(&command.to_string(), reach);
            }
        }
        if !self.has_asked {
            self.has_asked = true;
            self.asked += 1;
            let (from, epoch) = self.start();
            let (id, topic) = (self.asked, &*self.topic);
            let mut command =
                json!({ "command": "subscribe", "id": id, "topic": topic, "from": from });
            if let Some(epoch) = epoch {
                command["epoch"] = epoch.into();
            }
            channel.say_text(&command.to_string(), reach);
            if reach.dice.one_in(10) {
                self.unsubscribe(channel, reach);
            }
        } else if channel.plan.pings && self.pings.is_empty() && reach.dice.one_in(8) {
            self.asked += 1;
            self.pings.push_back(self.asked);
            let command = format!("{{\"command\":\r\n\"ping\", \"id\": {}}}", self.asked);
            channel.say_text(&command, reach);
        } else if self.is_begun && self.unsubscribes.is_none() && reach.dice.one_in(100) {
            self.unsubscribe(channel, reach);
        }
    }

    /// Ends the subscription, which may not have begun.
    fn unsubscribe(&mut self, channel: &mut Channel, reach: &mut Reach<'_>) {
        self.asked += 1;
        self.unsubscribes = Some(self.asked);
        let (id, topic) = (self.asked, &*self.topic);
        let command = json!({ "command": "unsubscribe", "topic": topic, "id": id });
        channel.say_text(&command.to_string(), reach);
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        if self.refused.is_some() {
            return Ok(()); // Nothing that comes now is about a subscription.
        }
        let row: Value = serde_json::from_str(text).map_err(|_| "no JSON")?;
        let number = |name: &str| {
            let value = row.get(name).and_then(Value::as_u64);
            value.ok_or_else(|| format!("{name} is missing"))
        };
        let event = row.get("event").and_then(Value::as_str);
        if self.owed.is_some() && !matches!(event, Some("$gap" | "$epoch")) {
            return Err(format!("{:?} was to come", self.owed));
        }
        let topic = row.get("topic").and_then(Value::as_str);
        if let Some(other) = self
            .beside
            .iter_mut()
            .find(|other| Some(&*other.topic) == topic)
        {
            return other.take(&row, event);
        }
        match event {
            None => self.take_message(&row),
            Some("$subscribed") => {
                if row.get("topic").and_then(Value::as_str) != Some(&*self.topic) || self.is_begun {
                    return Err("it is subscribed to something else".to_owned());
                }
                let (next, head) = (number("next")?, number("head")?);
                if next < number("earliest")? || next > head {
                    return Err("it begins where there is nothing".to_owned());
                }
                self.begin_at((epoch(&row)?, next));
                Ok(())
            }
            Some("$unsubscribed") => self.take_end(&row),
            Some("$gap") => self.take_gap(&row, (number("from")?, number("to")?)),
            Some("$epoch") => self.take_epoch((epoch(&row)?, number("from")?)),
            Some("$pong") => {
                let asked = self.pings.pop_front().map(u64::from);
                match row.get("id").and_then(Value::as_u64) == asked && asked.is_some() {
                    true => Ok(()),
                    false => Err(format!("{asked:?} was asked")),
                }
            }
            Some("$error") => {
                if self.is_begun || row.get("error").and_then(Value::as_str) != Some("offset_ahead")
                {
                    return Err("an error".to_owned());
                }
                self.refused = Some(text.to_owned());
                Ok(())
            }
            Some("$goodbye") => {
                let ms = row.get("retry_after_ms").and_then(Value::as_u64);
                self.retry_ms = ms.unwrap_or(RETRY_MS).max(1);
                Ok(())
            }
            Some(_) => Err("an event that has no place here".to_owned()),
        }
    }

    /// One that goes on elsewhere than it was asked to says why, next.
    fn begin_at(&mut self, (epoch, next): Place) {
        self.is_begun = true;
        match self.place {
            None => {
                self.notes.push("websocket begun".to_owned());
                self.place = Some((epoch, next));
                self.heard.push_back(Heard::Begun((epoch, next)));
            }
            Some((known, _)) if known != epoch => self.owed = Some(Owed::Epoch((epoch, next))),
            Some((_, asked)) => {
                self.notes.push("websocket resumed".to_owned());
                self.owed = (next != asked).then_some(Owed::Gap(next));
            }
        }
    }

    /// The subscription has ended, and begins anew.
    fn take_end(&mut self, row: &Value) -> Result<(), String> {
        let id = row.get("id").and_then(Value::as_u64);
        let asked = self.unsubscribes.take().map(u64::from);
        if !self.is_begun {
            return Err("it ends before it has begun".to_owned());
        }
        (self.is_begun, self.has_asked) = (false, false);
        self.notes.push("websocket unsubscribed".to_owned());
        match id == asked && asked.is_some() {
            true => Ok(()),
            false => Err("nobody has asked for that".to_owned()),
        }
    }

    fn take_epoch(&mut self, new: Place) -> Result<(), String> {
        if self.owed.take() != Some(Owed::Epoch(new)) {
            return Err("an epoch that nobody waits for".to_owned());
        }
        let old = self.place.replace(new).unwrap_or_default();
        self.notes.push("websocket new epoch".to_owned());
        let change = NewEpoch {
            topic: self.topic.clone(),
            old: Epoch::new(old.0),
            new: Epoch::new(new.0),
            expected: Offset::new(old.1),
            next: Offset::new(new.1),
        };
        self.heard
            .push_back(Heard::Delivery(Delivery::NewEpoch(change)));
        Ok(())
    }

    fn take_gap(&mut self, row: &Value, (from, to): (u64, u64)) -> Result<(), String> {
        let cause = match row.get("cause").and_then(Value::as_str) {
            Some("retention") => GapCause::Retention,
            Some("damage") => GapCause::Damage,
            Some("unreadable") => GapCause::Unreadable,
            _ => return Err("a gap because of nothing".to_owned()),
        };
        let is_right = match self.owed.take() {
            None => true,
            Some(Owed::Gap(until)) => until == to && cause == GapCause::Retention,
            Some(Owed::Epoch(_)) => false,
        };
        let place = self.place.as_mut().filter(|_| self.is_begun && is_right);
        let place = place.filter(|place| place.1 == from && to > from);
        place.ok_or("a gap that is not where it is")?.1 = to;
        self.notes.push(format!("websocket gap {cause:?}"));
        self.heard.push_back(Heard::Delivery(Delivery::Gap(Gap {
            topic: self.topic.clone(),
            from: Offset::new(from),
            to: Offset::new(to),
            cause,
        })));
        Ok(())
    }

    fn take_message(&mut self, row: &Value) -> Result<(), String> {
        let text = |name: &str| row.get(name).and_then(Value::as_str);
        let payload = payload(row)?;
        let place = self.place.as_mut().filter(|_| self.is_begun);
        let place = place.ok_or("a message before it has begun")?;
        let offset = row.get("offset").and_then(Value::as_u64);
        let offset = offset.filter(|_| text("topic") == Some(&*self.topic));
        let offset = offset.ok_or("a message of somewhere else")?;
        let headers = row.get("headers").and_then(Value::as_array);
        self.heard
            .push_back(Heard::Delivery(Delivery::Message(Message {
                topic: self.topic.clone(),
                offset: Offset::new(offset),
                epoch: Epoch::new(place.0),
                timestamp_ms: 0,
                key: text("key").map(|key| key.to_owned().into()),
                headers: vec![Default::default(); headers.map_or(0, Vec::len)],
                payload: payload.into(),
            })));
        place.1 = offset + 1;
        Ok(())
    }
}

impl Beside {
    fn take(&mut self, row: &Value, event: Option<&str>) -> Result<(), String> {
        let number = |name: &str| row.get(name).and_then(Value::as_u64);
        let (from, to) = match event {
            Some("$subscribed") => {
                let was_begun = self.next.is_some();
                self.next = number("next");
                return match was_begun {
                    true => Err("it is subscribed to twice".to_owned()),
                    false => Ok(()),
                };
            }
            Some("$gap") => (number("from"), number("to")),
            None => {
                read(&payload(row)?).ok_or("a message that nobody published")?;
                (number("offset"), number("offset").map(|offset| offset + 1))
            }
            Some(_) => return Err("an event that has no place here".to_owned()),
        };
        let next = std::mem::replace(&mut self.next, to);
        match next.is_some() && next == from {
            true => Ok(()),
            false => Err(format!("{next:?} was to come")),
        }
    }
}

fn payload(row: &Value) -> Result<Vec<u8>, &'static str> {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    match (text("payload"), text("payload_base64")) {
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (None, Some(text)) => base64(text.as_bytes(), false)
            .filter(|bytes| std::str::from_utf8(bytes).is_err())
            .ok_or("a payload that is none"),
        _ => Err("a message without a payload"),
    }
}

/// The epoch that an event tells.
pub(super) fn epoch(row: &Value) -> Result<u64, String> {
    let digits = row.get("epoch").and_then(Value::as_str);
    let digits = digits.filter(|digits| digits.len() == 16);
    let epoch = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    epoch.ok_or_else(|| "no epoch".to_owned())
}

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(300)]
}
