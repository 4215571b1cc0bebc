//! Publishing several messages at once, as JSON: an object, a list of them, or one after the other. The messages of one topic
//! share a record, as far as it has room.
//!
//! ```json
//! {"topic": "a/b", "payload": "text", "key": "k", "headers": {"color": "red"}}
//! {"topic": "a/b", "payload_base64": "//4="}
//! ```

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use oyez_protocol::message::{Headers, MessageRef, write_headers};
use oyez_protocol::record::{PushError, RecordBuilder};
use oyez_protocol::topic;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::dialect::exchange::{PublishBatch, Wants};
use crate::dialect::http::asked::{Refused, Scratch, check_first, check_last, refused};
use crate::dialect::rules::Rules;
use crate::dialect::status;
use crate::dialect::text::{Pairs, Text};

/// Most records of one request, and most messages, each of which has its place in the answer.
const RECORDS_MAX: usize = 1_024;
const ROWS_MAX: usize = 8_192;

/// A message to publish.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row<'a> {
    #[serde(borrow)]
    pub(crate) topic: Text<'a>,
    #[serde(borrow)]
    pub(crate) payload: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) payload_base64: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) key: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) headers: Pairs<'a>,
}

/// Records that are being built, one at a time for each topic.
#[derive(Default)]
struct Building {
    builders: Vec<RecordBuilder>,
    /// The index of each topic's builder.
    by_topic: HashMap<Box<str>, usize>,
    /// The record of each message, and its number within it.
    rows: Vec<(u16, u16)>,
    /// The numbers of the records that the builders build.
    numbers: Vec<u16>,
    /// The topic of each record.
    topics: Vec<Box<str>>,
    /// Finished records by their numbers: where each begins and ends in the scratch memory.
    places: Vec<(usize, usize)>,
}

/// Builds records from the body in the scratch memory. Returns what the answer is to hold.
pub(super) fn build(
    (waits, rules): (bool, &Rules),
    number: u64,
    scratch: &mut Scratch,
) -> Result<Wants, Refused> {
    let body = std::mem::take(&mut scratch.body);
    let built = build_from(&body, (number, rules), scratch);
    scratch.body = body;
    let (building, is_list) = built?;
    scratch.places.clone_from(&building.places);
    let outcomes = vec![None; building.places.len()];
    Ok(match waits {
        true => Wants::Places(Box::new(PublishBatch {
            topics: building.topics,
            rows: building.rows,
            outcomes,
            is_list,
        })),
        false => Wants::Nothing,
    })
}

/// Builds a record from one message, in the scratch memory.
pub(crate) fn build_one(
    row: &Row<'_>,
    (number, rules): (u64, &Rules),
    scratch: &mut Scratch,
) -> Result<(), Refused> {
    let mut building = Building::default();
    scratch.record.clear();
    if let Err(refused) = building.add(row, (number, rules), scratch) {
        // It is the only message: it has no number.
        if let Some(why) = scratch.message.strip_prefix(FIRST) {
            scratch.message = why.to_owned();
        }
        return Err(refused);
    }
    building.finish(0, number, scratch);
    Ok(())
}

fn build_from(
    body: &[u8],
    (number, rules): (u64, &Rules),
    scratch: &mut Scratch,
) -> Result<(Building, bool), Refused> {
    let mut building = Building::default();
    scratch.record.clear();
    let is_list = body.trim_ascii_start().starts_with(b"[");
    if is_list {
        let mut rows = serde_json::Deserializer::from_slice(body);
        let mut refused = None;
        let list = List {
            add: |row: &Row<'_>| building.add(row, (number, rules), scratch),
            refused: &mut refused,
        };
        let read = rows.deserialize_seq(list).and_then(|()| rows.end());
        if let Some(refused) = refused {
            return Err(refused);
        }
        read.map_err(|error| bad(&error, scratch))?;
    } else {
        let rows = serde_json::Deserializer::from_slice(body).into_iter::<Row<'_>>();
        for row in rows {
            let row = row.map_err(|error| bad(&error, scratch))?;
            building.add(&row, (number, rules), scratch)?;
        }
    }
    if building.rows.is_empty() {
        return Err(refused(
            status::BAD_REQUEST,
            "there is no message to publish",
        ));
    }
    for index in 0..building.builders.len() {
        building.finish(index, number, scratch);
    }
    let is_list = is_list || building.rows.len() > 1;
    Ok((building, is_list))
}

/// Takes a list message by message: together the messages may take many times as much memory as their text.
struct List<'r, F> {
    add: F,
    /// Why a message was refused; the rest of the list is not read then.
    refused: &'r mut Option<Refused>,
}

impl<'de, F: FnMut(&Row<'de>) -> Result<(), Refused>> Visitor<'de> for List<'_, F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element()? {
            if let Err(refused) = (self.add)(&row) {
                *self.refused = Some(refused);
                return Err(A::Error::custom("a message was refused"));
            }
        }
        Ok(())
    }
}

fn bad(error: &serde_json::Error, scratch: &mut Scratch) -> Refused {
    scratch.say(format_args!("the body is not messages in JSON: {error}"));
    Refused {
        status: status::BAD_REQUEST,
        message: None,
    }
}

impl Building {
    /// Adds a message to the record of its topic.
    fn add(
        &mut self,
        row: &Row<'_>,
        (number, rules): (u64, &Rules),
        scratch: &mut Scratch,
    ) -> Result<(), Refused> {
        let at = self.rows.len();
        let index = self.builder_of(&row.topic, rules, (at, scratch))?;
        let decoded;
        let payload = match (&row.payload, &row.payload_base64) {
            (Some(text), None) => text.as_bytes(),
            (None, Some(text)) => {
                decoded = STANDARD.decode(text.as_bytes());
                match &decoded {
                    Ok(bytes) => bytes,
                    Err(_) => return Err(wrong(at, "payload_base64 is not base64", scratch)),
                }
            }
            _ => {
                return Err(wrong(
                    at,
                    "it has to have payload or payload_base64",
                    scratch,
                ));
            }
        };
        let pairs = row.headers.0.iter();
        let pairs: Vec<(&[u8], &[u8])> = pairs
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        scratch.headers.clear();
        if !pairs.is_empty() {
            write_headers(&pairs, &mut scratch.headers);
        }
        let headers = std::mem::take(&mut scratch.headers);
        let message = MessageRef {
            key: row.key.as_ref().map(|key| key.as_bytes()),
            headers: Headers::parse(&headers).unwrap_or_default(),
            payload,
        };
        let pushed = match self.builders[index].push(&message) {
            Err(PushError::Full) => {
                self.finish(index, number, scratch);
                self.begin(index, (at, scratch))?;
                self.builders[index].push(&message)
            }
            pushed => pushed,
        };
        if let Err(error) = pushed {
            let why = error.to_string();
            return Err(Refused {
                status: status::TOO_LARGE,
                ..wrong(at, &why, scratch)
            });
        }
        let nth = self.builders[index].count() - 1;
        self.rows.push((self.numbers[index], nth));
        scratch.headers = headers;
        Ok(())
    }

    /// Returns the index of the builder of a topic's record.
    fn builder_of(
        &mut self,
        topic: &str,
        rules: &Rules,
        (at, scratch): (usize, &mut Scratch),
    ) -> Result<usize, Refused> {
        if self.rows.len() == ROWS_MAX {
            let why = "a request has at most 8,192 messages: publish less at once";
            return Err(wrong(at, why, scratch));
        }
        if let Some(index) = self.by_topic.get(topic) {
            return Ok(*index);
        }
        if topic::is_reserved(topic) {
            return Err(Refused {
                status: status::FORBIDDEN,
                ..wrong(at, "topics that begin with $ are the broker's own", scratch)
            });
        }
        let builder = RecordBuilder::new(topic, rules.limits)
            .map_err(|error| wrong(at, &error.to_string(), scratch))?;
        // A message that could not be read under its own path is not published.
        let checked = check_first(topic).and_then(|()| check_last(topic));
        if let Err(Refused {
            message: Some(why), ..
        }) = checked
        {
            return Err(wrong(at, why, scratch));
        }
        self.builders.push(builder);
        self.numbers.push(0);
        let index = self.builders.len() - 1;
        self.by_topic.insert(topic.into(), index);
        self.begin(index, (at, scratch))?;
        Ok(index)
    }

    /// Begins another record of a topic.
    fn begin(&mut self, index: usize, (at, scratch): (usize, &mut Scratch)) -> Result<(), Refused> {
        let record = self.places.len();
        if record == RECORDS_MAX {
            return Err(wrong(
                at,
                "it would take more than 1,024 records: publish less at once",
                scratch,
            ));
        }
        self.numbers[index] = u16::try_from(record).expect("there are few records");
        self.places.push((0, 0));
        self.topics.push(self.builders[index].topic().into());
        Ok(())
    }

    /// Finishes the record of a topic.
    fn finish(&mut self, index: usize, number: u64, scratch: &mut Scratch) {
        let record = self.numbers[index];
        let begin = scratch.record.len();
        let correlation = number << 16 | u64::from(record);
        let builder = &mut self.builders[index];
        scratch
            .codec
            .finish(builder, correlation, &mut scratch.record);
        self.places[usize::from(record)] = (begin, scratch.record.len());
    }
}

/// How a sentence about the first message of a request begins.
const FIRST: &str = "message 0: ";

/// Refuses a request for one of its messages, counted from 0.
fn wrong(at: usize, why: &str, scratch: &mut Scratch) -> Refused {
    scratch.say(format_args!("message {at}: {why}"));
    Refused {
        status: status::BAD_REQUEST,
        message: None,
    }
}
