//! Requests that are being answered, where answers have to know what was asked: values that a session's shard keeps from a
//! request to its answer, and does not look into.

use crate::dialect::form::Events;
use crate::dialect::status::Status;

/// A request that has no answer yet. A session has one at a time, so that answers come in the order of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Tells the outcome that it waits for from those that nobody waits for.
    pub(crate) number: u64,
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

/// What an answer says when all is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Where a message stands in its topic.
    Place(Box<str>),
    /// What it is given.
    Whatever,
    /// Records as they come, as server-sent events.
    Stream(Events),
    /// That what was asked is taken; not what becomes of it.
    Nothing,
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) status: Status,
    /// A sentence for people.
    pub(crate) message: &'a str,
    /// When to try again, in milliseconds; 0 says nothing.
    pub(crate) retry_after_ms: u32,
}
