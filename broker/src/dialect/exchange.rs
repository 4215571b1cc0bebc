//! Requests that are being answered, where the answer depends on the request: values that a session's shard keeps from a
//! request to its answer, and does not look into.

use oyez_protocol::Offset;
use oyez_protocol::event::PublishedEntry;

use crate::dialect::command::Subscribed;
use crate::dialect::form::Form;

/// A request that has no answer yet. A session has one at a time, so that answers come in the order of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// The correlations of the request's records, without the last 16 bits, which number its records. It does not wait for
    /// outcomes with another one.
    pub(crate) number: u64,
    /// Commands that were taken, and whether others of the same request are still to be taken.
    pub(crate) taken: usize,
    pub(crate) is_being_taken: bool,
    pub(crate) wants: Wants,
    /// The answer has no body, but says how long that would be.
    pub(crate) is_head: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) is_1_0: bool,
    /// The connection ends with the answer.
    pub(crate) closes: bool,
    /// The origin whose pages may read the answer.
    pub(crate) readers: Option<Box<str>>,
}

impl Exchange {
    /// An exchange without a known request: its answer ends the connection.
    pub(crate) const LAST: Self = Self {
        number: 0,
        taken: 0,
        is_being_taken: false,
        wants: Wants::Whatever,
        is_head: false,
        is_1_0: false,
        closes: true,
        readers: None,
    };
}

/// What an answer holds when the request succeeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Where a message stands in its topic.
    Place(Box<str>),
    /// Where several messages stand in theirs.
    Places(Box<PublishBatch>),
    /// Whatever the reply says.
    Whatever,
    /// Records, without an end or up to the one that the request sets.
    Stream(Stream),
    /// Records of several topics, without an end.
    Streams(Box<Streams>),
    /// Only that the request is taken, not its outcome.
    Nothing,
}

/// Messages that were published together, and the outcomes of their records so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishBatch {
    /// The topic of each record.
    pub(crate) topics: Vec<Box<str>>,
    /// For each message, the record that holds it and its number within that.
    pub(crate) rows: Vec<(u16, u16)>,
    /// The outcome of each record.
    pub(crate) outcomes: Vec<Option<PublishedEntry>>,
    /// The answer is a list.
    pub(crate) is_list: bool,
}

/// How a stream is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) form: Form,
    /// It ends with the newest message that there was when it began.
    pub(crate) ends: bool,
    /// It ends when it has had this many messages.
    pub(crate) limit: Option<u64>,
}

impl Stream {
    /// Where a stream ends that begins at `next`, of a topic whose first message to come is `head`; `None` if it has no end.
    pub(crate) fn end(&self, next: Offset, head: Offset) -> Option<Offset> {
        let limit = self
            .limit
            .map(|limit| Offset::new(next.get().saturating_add(limit)));
        let head = self.ends.then_some(head);
        limit.into_iter().chain(head).min()
    }
}

/// A stream of several topics that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) form: Form,
    /// Its topics.
    pub(crate) topics: Vec<Box<str>>,
    /// Where each topic begins, as far as that is known, or why it does not.
    pub(crate) begun: Vec<Option<Subscribed>>,
}

impl Wants {
    /// The form of the stream that is wanted.
    pub(crate) fn form(&self) -> Option<Form> {
        match self {
            Self::Stream(stream) => Some(stream.form),
            Self::Streams(streams) => Some(streams.form),
            _ => None,
        }
    }
}

impl Streams {
    /// The topics whose beginning, or refusal, is known.
    pub(crate) fn begun(&self) -> impl Iterator<Item = (&str, &Subscribed)> {
        let topics = self.topics.iter().zip(&self.begun);
        topics.filter_map(|(topic, begun)| Some((&**topic, begun.as_ref()?)))
    }

    /// The first topic that does not begin.
    pub(crate) fn refused(&self) -> Option<(&str, &Subscribed)> {
        let mut begun = self.begun();
        begun.find(|(_, subscribed)| !subscribed.outcome.is_done())
    }
}
