//! Server-sent events, taken apart as a browser does, but to the letter: a line that a browser would pass over is a failure.

use oyez_client::GapCause;
use oyez_protocol::command::Numbered;
use oyez_protocol::token::Token;
use serde_json::Value;

use super::http::{base64, find};

/// A place in a topic: an epoch, and the offset of what comes next.
type Place = (String, (u64, u64));

/// What stands between two empty lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Its id as it came, and what that stands for: topics, and of each an epoch, and the offset of what comes next.
    pub(super) id: Option<(String, Vec<Place>)>,
    /// The name of the event.
    pub(super) name: Option<String>,
    /// Its lines of data, joined.
    pub(super) data: Option<String>,
    pub(super) retry_ms: Option<u64>,
    pub(super) has_comment: bool,
}

impl Block {
    /// Whether it tells nothing but its id.
    pub(super) fn is_place(&self) -> bool {
        self.name.as_deref() == Some("$place") && self.data.as_deref() == Some("{}")
    }

    /// Its id, of a stream of one topic.
    pub(super) fn single_id(&self) -> Result<(String, (u64, u64)), String> {
        let (id, places) = self.id.as_ref().ok_or("an event without an id")?;
        match &places[..] {
            [(name, place)] if name.is_empty() => Ok((id.clone(), *place)),
            _ => Err(format!("an id of other topics: {places:?}")),
        }
    }

    /// The JSON object that its data is.
    pub(super) fn json(&self) -> Result<Value, String> {
        let data = self.data.as_deref().unwrap_or_default();
        serde_json::from_str(data).map_err(|_| format!("no JSON: {data:?}"))
    }

    /// A member of it, as a number or as text.
    pub(super) fn member(&self, name: &str) -> Result<Value, String> {
        let value = self.json()?.get(name).cloned();
        value.ok_or_else(|| format!("{:?} has no {name}", self.data))
    }

    /// The same, of a number.
    pub(super) fn number(&self, name: &str) -> Result<u64, String> {
        let value = self.member(name)?;
        value.as_u64().ok_or_else(|| format!("{name} is {value}"))
    }

    /// The same, of a text.
    pub(super) fn text(&self, name: &str) -> Result<String, String> {
        let value = self.member(name)?;
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| format!("{name} is {value}"))
    }
}

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    input: Vec<u8>,
    /// Bytes of it in which no block ends.
    searched: usize,
}

impl Blocks {
    /// Adds what has come, and gives the blocks that end in it.
    ///
    /// # Errors
    /// When it is no stream of events.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<Vec<Block>, String> {
        self.input.extend_from_slice(bytes);
        let (mut blocks, mut at) = (Vec::new(), 0);
        loop {
            let from = at.max(self.searched.saturating_sub(1));
            let Some(end) = find(&self.input[from..], b"\n\n") else {
                break;
            };
            blocks.push(block(&self.input[at..from + end])?);
            at = from + end + 2;
            self.searched = at;
        }
        self.input.drain(..at);
        self.searched = self.input.len();
        Ok(blocks)
    }

    /// Whether what has come ends where a block does.
    pub(super) fn is_between(&self) -> bool {
        self.input.is_empty()
    }
}

fn block(bytes: &[u8]) -> Result<Block, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "an event that is no text")?;
    let mut block = Block::default();
    for line in text.split('\n') {
        let wrong = || format!("an event has the line {line:?}");
        if line.contains('\r') {
            return Err(wrong());
        }
        if line == ":" {
            block.has_comment = true;
            continue;
        }
        let (field, value) = line.split_once(": ").ok_or_else(wrong)?;
        match field {
            "data" => match &mut block.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => block.data = Some(value.to_owned()),
            },
            "id" if block.id.is_none() => {
                let places = places(value).ok_or_else(wrong)?;
                block.id = Some((value.to_owned(), places));
            }
            "event" if block.name.is_none() => block.name = Some(value.to_owned()),
            "retry" if block.retry_ms.is_none() => {
                block.retry_ms = Some(value.parse().map_err(|_| wrong())?);
            }
            _ => return Err(wrong()),
        }
    }
    Ok(block)
}

/// The places that an id stands for.
fn places(id: &str) -> Option<Vec<Place>> {
    let bytes = base64(id.as_bytes(), true)?;
    let token = Token::decode(&bytes).ok()?;
    let places = token.places().map(|place| match place.next {
        Numbered::Offset(next) => Some((place.name.to_owned(), (place.epoch.get(), next.get()))),
        Numbered::Sequence { .. } => None,
    });
    places.collect()
}

/// Why there is a gap.
pub(super) fn cause(block: &Block) -> Result<GapCause, String> {
    match &*block.text("cause")? {
        "retention" => Ok(GapCause::Retention),
        "damage" => Ok(GapCause::Damage),
        "unreadable" => Ok(GapCause::Unreadable),
        other => Err(format!("a gap because of {other}")),
    }
}
