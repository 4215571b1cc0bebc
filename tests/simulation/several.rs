//! What a stream of several topics says, held to the letter: of each topic message after message, or what is missing; and where
//! all of them stand, which is behind exactly what has come.
//!
//! One of the topics is the subscriber's: what comes of it is heard. A stream that goes on begins at the last place that it was
//! told, so that some of it comes again; that is left out, as a client does.

use std::sync::Arc;

use oyez_client::{Delivery, Epoch, Gap, Message, NewEpoch, Offset};
use serde_json::Value;

use super::http::base64;
use super::sse::{Block, cause};
use super::stream::Heard;

/// An epoch, and the offset of what comes next.
type Place = (u64, u64);

/// How far a stream of several topics has come.
#[derive(Clone, Debug)]
pub(super) struct Several {
    topics: Vec<Arc<str>>,
    /// Which of them is the subscriber's.
    main: usize,
    base64: bool,
    /// The last id, and where the topics stood by it.
    last: Option<(String, Vec<Place>)>,
    /// Where they stand by what has come since.
    stands: Vec<Place>,
    /// What the subscriber has had of its topic.
    had: Option<Place>,
    is_begun: bool,
    /// What was met.
    pub(super) notes: Vec<String>,
}

impl Several {
    pub(super) fn new(topics: Vec<Arc<str>>, main: usize, base64: bool) -> Self {
        Self {
            topics,
            main,
            base64,
            last: None,
            stands: Vec::new(),
            had: None,
            is_begun: false,
            notes: Vec::new(),
        }
    }

    /// Another one that goes on where this one is, or anew.
    pub(super) fn again(&self, goes_on: bool) -> Self {
        let mut other = Self::new(self.topics.clone(), self.main, self.base64);
        if goes_on {
            (other.last, other.had) = (self.last.clone(), self.had);
        }
        other
    }

    /// The parameters that name the topics.
    pub(super) fn parameters(&self) -> impl Iterator<Item = String> {
        self.topics.iter().map(|topic| format!("topic={topic}"))
    }

    /// The id that it goes on with.
    pub(super) fn last_id(&self) -> Option<&str> {
        self.last.as_ref().map(|(id, _)| &**id)
    }

    pub(super) const fn is_begun(&self) -> bool {
        self.is_begun
    }

    pub(super) fn position(&self) -> Place {
        self.had.unwrap_or_default()
    }

    /// A connection begins.
    pub(super) fn begin(&mut self) {
        self.is_begun = false;
        let last = self.last.as_ref();
        self.stands = last.map_or_else(Vec::new, |(_, places)| places.clone());
    }

    /// Takes an event; gives what the subscriber hears by it.
    ///
    /// # Errors
    /// What the broker should not have said.
    pub(super) fn take(&mut self, block: &Block) -> Result<Option<Heard>, String> {
        if let Some((id, places)) = &block.id {
            if !block.is_place() {
                return Err("an id that comes with something else".to_owned());
            }
            return self.take_place(id, places);
        }
        if !self.is_begun && self.last.is_none() {
            return Err("a stream does not begin with its place".to_owned());
        }
        let index = self.index(&block.text("topic")?)?;
        match (block.name.as_deref(), self.is_begun) {
            (Some("$gap"), _) => self.take_gap(index, block),
            (Some("$epoch"), false) => self.take_epoch(index, block),
            (Some("$reference"), true) => self.take_reference(index, block),
            (None, true) => self.take_message(index, block),
            (name, _) => Err(format!("an event {name:?}")),
        }
    }

    fn index(&self, topic: &str) -> Result<usize, String> {
        let mut topics = self.topics.iter();
        let index = topics.position(|known| **known == *topic);
        index.ok_or_else(|| format!("an event of {topic}"))
    }

    fn take_place(
        &mut self,
        id: &str,
        places: &[(String, Place)],
    ) -> Result<Option<Heard>, String> {
        let place = |topic: &Arc<str>| {
            let mut named = places.iter().filter(|(name, _)| **name == **topic);
            let place = named.next().map(|(_, place)| *place);
            place.filter(|_| named.next().is_none())
        };
        let told: Option<Vec<Place>> = self.topics.iter().map(place).collect();
        let told = told.filter(|told| told.len() == places.len());
        let told = told.ok_or_else(|| format!("a place in other topics: {places:?}"))?;
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if (self.last.is_some() || !is_first) && told != self.stands {
            let stands = &self.stands;
            return Err(format!(
                "a place at {told:?}, where it stands at {stands:?}"
            ));
        }
        self.notes.push("sse place of several".to_owned());
        let main = told[self.main];
        (self.last, self.stands) = (Some((id.to_owned(), told.clone())), told);
        if is_first && self.had.is_none() {
            self.had = Some(main);
            return Ok(Some(Heard::Begun(main)));
        }
        Ok(None)
    }

    /// Something comes of a topic, from one offset to before another. Gives the part that is new to the subscriber.
    fn step(&mut self, index: usize, from: u64, to: u64) -> Result<Option<(u64, u64)>, String> {
        let stand = &mut self.stands[index];
        if from != stand.1 || to <= from {
            let (topic, next) = (&self.topics[index], stand.1);
            return Err(format!(
                "{topic} goes on at {from} up to {to}, not at {next}"
            ));
        }
        stand.1 = to;
        let epoch = stand.0;
        if index != self.main {
            return Ok(None);
        }
        let had = self.had.filter(|had| had.0 == epoch).map_or(0, |had| had.1);
        if to <= had {
            self.notes.push("sse repeated".to_owned());
            return Ok(None);
        }
        self.had = Some((epoch, to));
        Ok(Some((from.max(had), to)))
    }

    fn take_gap(&mut self, index: usize, block: &Block) -> Result<Option<Heard>, String> {
        let (from, to) = (block.number("from")?, block.number("to")?);
        let cause = cause(block)?;
        let new = self.step(index, from, to)?;
        let topic = self.topics[index].clone();
        Ok(new.map(|(from, to)| {
            let (from, to) = (Offset::new(from), Offset::new(to));
            Heard::Delivery(Delivery::Gap(Gap {
                topic,
                from,
                to,
                cause,
            }))
        }))
    }

    fn take_epoch(&mut self, index: usize, block: &Block) -> Result<Option<Heard>, String> {
        let (epoch, from) = (block.text("epoch")?, block.number("from")?);
        let new = u64::from_str_radix(&epoch, 16).map_err(|_| "an epoch that is none")?;
        if new == self.stands[index].0 {
            return Err("an epoch that is not new".to_owned());
        }
        self.stands[index] = (new, from);
        if index != self.main {
            return Ok(None);
        }
        let old = self.had.replace((new, from)).unwrap_or_default();
        Ok(Some(Heard::Delivery(Delivery::NewEpoch(NewEpoch {
            topic: self.topics[index].clone(),
            old: Epoch::new(old.0),
            new: Epoch::new(new),
            expected: Offset::new(old.1),
            next: Offset::new(from),
        }))))
    }

    fn take_reference(&mut self, index: usize, block: &Block) -> Result<Option<Heard>, String> {
        let (from, to) = (block.number("from")?, block.number("to")?);
        let new = self.step(index, from, to)?;
        let (topic, count) = (&self.topics[index], to - from);
        if block.text("url")? != format!("/{topic}/raw?from=offset:{from}&limit={count}") {
            return Err("a reference to something else".to_owned());
        }
        Ok(new.map(|(from, to)| Heard::Reference(from, to)))
    }

    fn take_message(&mut self, index: usize, block: &Block) -> Result<Option<Heard>, String> {
        let offset = block.number("offset")?;
        block.number("timestamp_ms")?;
        let row = block.json()?;
        let payload = match (row.get("payload"), row.get("payload_base64")) {
            (Some(Value::String(text)), None) if !self.base64 => text.clone().into_bytes(),
            (None, Some(Value::String(text))) => {
                let bytes = base64(text.as_bytes(), false).ok_or("a payload that is none")?;
                if !self.base64 && std::str::from_utf8(&bytes).is_ok() {
                    return Err("a text that comes as base64".to_owned());
                }
                bytes
            }
            _ => return Err("a message without a payload".to_owned()),
        };
        let key = row.get("key").and_then(Value::as_str);
        let headers = row.get("headers").and_then(Value::as_array);
        let headers = headers.map_or(0, Vec::len);
        let message = Message {
            topic: self.topics[index].clone(),
            offset: Offset::new(offset),
            epoch: Epoch::new(self.stands[index].0),
            timestamp_ms: 0,
            key: key.map(|key| key.to_owned().into()),
            headers: vec![Default::default(); headers],
            payload: payload.into(),
        };
        let new = self.step(index, offset, offset + 1)?;
        Ok(new.map(|_| Heard::Delivery(Delivery::Message(message))))
    }
}
