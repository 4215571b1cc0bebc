//! Requests that are being answered, where answers have to know what was asked: values that a session's shard keeps from a
//! request to its answer, and does not look into.

use oyez_protocol::Offset;
use oyez_protocol::event::PublishedEntry;

use crate::dialect::command::Subscribed;
use crate::dialect::form::Form;

/// A request that has no answer yet. A session has one at a time, so that answers come in the order of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Tells the outcomes that it waits for from those that nobody waits for: what records are told apart by, without their last
    /// 16 bits, which count the records of one request.
    pub(crate) number: u64,
    /// Commands that were taken, and whether others of the same request wait to be.
    pub(crate) taken: usize,
    pub(crate) is_being_taken: bool,
    pub(crate) wants: Wants,
    /// The answer has no body, but says how long it would be.
    pub(crate) is_head: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) is_1_0: bool,
    /// The connection ends with the answer.
    pub(crate) closes: bool,
    /// The origin whose pages may read the answer.
    pub(crate) readers: Option<Box<str>>,
}

impl Exchange {
    /// One whose request is not looked at any more: the answer ends the connection.
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

/// What an answer says when all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Where a message stands in its topic.
    Place(Box<str>),
    /// Where several messages stand in theirs.
    Places(Box<PublishBatch>),
    /// What it is given.
    Whatever,
    /// Records, as long as there are some or the request says.
    Stream(Stream),
    /// Records of several topics, for ever.
    Streams(Box<Streams>),
    /// That what was asked is taken; not what becomes of it.
    Nothing,
}

/// Messages that were published together, and what has become of their records so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublishBatch {
    /// The topic of each record.
    pub(crate) topics: Vec<Box<str>>,
    /// For each message, its record and its number within it.
    pub(crate) rows: Vec<(u16, u16)>,
    /// Of each record.
    pub(crate) outcomes: Vec<Option<PublishedEntry>>,
    /// They are answered with a list.
    pub(crate) is_list: bool,
}

/// What a stream is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) form: Form,
    /// It ends with the newest message that there was when it began.
    pub(crate) ends: bool,
    /// It ends when it had so many messages.
    pub(crate) limit: Option<u64>,
}

impl Stream {
    /// Where a stream ends that begins at `next`, of a topic whose first message to come is `head`; `None` if it goes on.
    pub(crate) fn end(&self, next: Offset, head: Offset) -> Option<Offset> {
        let limit = self
            .limit
            .map(|limit| Offset::new(next.get().saturating_add(limit)));
        let head = self.ends.then_some(head);
        limit.into_iter().chain(head).min()
    }
}

/// A stream of several topics that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Streams {
    pub(crate) form: Form,
    /// Its topics.
    pub(crate) topics: Vec<Box<str>>,
    /// Where each begins, as far as that is known; or why it does not.
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
    /// The topics that are known to begin, or not to.
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
