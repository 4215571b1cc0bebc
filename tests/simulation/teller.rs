//! A publisher in JSON over WebSocket. As one over HTTP it knows of no connection but the one that it has: of what was under way when
//! that ended, nobody knows what became of it, and nothing is sent twice.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_client::{ConnectionError, Outcome};
use serde_json::{Value, json};

use super::channel::Channel;
use super::link::Reach;
use super::message::MessageId;
use super::publisher::Told;
use super::talker::epoch;

/// How long it waits before it comes back.
const RETRY_MS: u64 = 500;
/// Bytes that it reads in one go.
const READ_BYTES: usize = 64 << 10;

/// A message that is to be published.
#[derive(Debug)]
struct Command {
    number: u32,
    /// Its answer tells where the message stands.
    waits: bool,
    text: String,
}

/// A publisher.
#[derive(Debug)]
pub(super) struct Teller {
    is_connected: bool,
    /// Before this time there is no connection.
    away_until_ms: u64,
    /// Not said yet.
    commands: VecDeque<Command>,
    /// Said, and not answered; in their order.
    waiting: VecDeque<u32>,
    made: u32,
    outcomes: BTreeMap<u64, Told>,
}

impl Teller {
    pub(super) fn new() -> Self {
        Self {
            is_connected: false,
            away_until_ms: 0,
            commands: VecDeque::new(),
            waiting: VecDeque::new(),
            made: 0,
            outcomes: BTreeMap::new(),
        }
    }

    /// Whether it takes another message.
    pub(super) fn has_room(&self, depth: usize) -> bool {
        self.commands.len() + self.waiting.len() < 2 * depth
    }

    pub(super) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    pub(super) fn is_settled(&self) -> bool {
        self.commands.is_empty() && self.waiting.is_empty()
    }

    pub(super) fn outcome(&mut self, number: u64) -> Option<Told> {
        self.outcomes.remove(&number)
    }

    /// Takes a message; gives its number.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        id: MessageId,
        (payload, waits): (&[u8], bool),
    ) -> u64 {
        self.made += 1;
        let mut command = json!({ "command": "publish", "topic": topic });
        match std::str::from_utf8(payload) {
            Ok(text) => command["payload"] = text.into(),
            Err(_) => command["payload_base64"] = STANDARD.encode(payload).into(),
        }
        if waits {
            command["id"] = self.made.into();
        }
        if id.number % 5 == 1 {
            command["key"] = id.number.to_string().into();
        }
        if id.number % 7 == 2 {
            command["headers"] = json!({ "number": id.number.to_string() });
        }
        self.commands.push_back(Command {
            number: self.made,
            waits,
            text: command.to_string(),
        });
        self.made.into()
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
        if !self.is_connected {
            if self.is_settled() {
                return Ok(None);
            }
            if now_ms < self.away_until_ms {
                return Ok(Some(self.away_until_ms));
            }
            if !channel.dial("/api/v1/ws", reach) {
                self.away_until_ms = now_ms + RETRY_MS;
                return Ok(Some(self.away_until_ms));
            }
            self.is_connected = true;
        }
        let heard = channel.hear(READ_BYTES, reach);
        while let Some(text) = channel.texts.pop_front() {
            self.take(&text)
                .map_err(|why| format!("{why}, in {}", &text[..text.floor_char_boundary(300)]))?;
        }
        self.say(channel, reach);
        match heard {
            Ok(()) => Ok(Some(now_ms)),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(error) => {
                losses.push(match error.kind() {
                    ErrorKind::UnexpectedEof => channel.end(),
                    _ => error.into(),
                });
                channel.leave(reach);
                channel.drop_link(reach);
                Ok(self.lose(now_ms, reach))
            }
        }
    }

    fn say(&mut self, channel: &mut Channel, reach: &mut Reach<'_>) {
        while channel.is_open() && channel.has_room() && self.waiting.len() < channel.plan.depth {
            let Some(command) = self.commands.pop_front() else {
                return;
            };
            channel.say_text(&command.text, reach);
            match command.waits {
                true => self.waiting.push_back(command.number),
                false => drop(self.outcomes.insert(command.number.into(), Told::Unknown)),
            }
        }
    }

    /// The connection is over: nobody knows what became of what was said.
    fn lose(&mut self, now_ms: u64, reach: &mut Reach<'_>) -> Option<u64> {
        self.is_connected = false;
        for number in self.waiting.drain(..) {
            self.outcomes.insert(number.into(), Told::Unknown);
        }
        self.away_until_ms = now_ms + reach.dice.among(1, RETRY_MS);
        (!self.commands.is_empty()).then_some(self.away_until_ms)
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        let row: Value = serde_json::from_str(text).map_err(|_| "no JSON")?;
        let word = |name: &str| row.get(name).and_then(Value::as_str);
        let told = match word("event") {
            Some("$goodbye") => return Ok(()),
            Some("$published") => {
                let offset = row.get("offset").and_then(Value::as_u64);
                let (epoch, offset) = (epoch(&row)?, offset.ok_or("no offset")?);
                Told::Acknowledged { epoch, offset }
            }
            Some("$error") => match word("error") {
                Some("disk_full") => Told::Refused(Outcome::DiskFull),
                // It may have been taken: the disk has failed meanwhile.
                Some("log_failed" | "unavailable") => Told::Unknown,
                _ => return Err("an error".to_owned()),
            },
            _ => return Err("an event that has no place here".to_owned()),
        };
        let id = row.get("id").and_then(Value::as_u64);
        let Some(id) = id else {
            // Nobody waits for it.
            return match told {
                Told::Acknowledged { .. } => Err("an answer without an id".to_owned()),
                _ => Ok(()),
            };
        };
        let place = self
            .waiting
            .iter()
            .position(|number| u64::from(*number) == id);
        let place = place.ok_or("an answer to nothing")?;
        self.waiting.remove(place);
        self.outcomes.insert(id, told);
        Ok(())
    }
}
