//! What sessions ask and what they are told, as values. None of them knows how it looks in bytes.

use std::borrow::Cow;

use oyez_protocol::event::{GapCause, GoodbyeCode, Outcome, PublishedEntry};
use oyez_protocol::limits::Limits;
use oyez_protocol::{Epoch, Offset};

/// What a session is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    /// The session is open.
    Welcome(Welcome<'a>),
    /// What became of published records.
    Published(&'a [PublishedEntry]),
    /// Where a subscription begins, or why there is none.
    Subscribed(Subscribed),
    /// A subscription has ended.
    Unsubscribed { request: u32, outcome: Outcome },
    /// A JSON object that answers a question.
    Answer {
        request: u32,
        /// There is more to ask for, after the last name of this answer.
        more: bool,
        json: &'a str,
    },
    /// Messages of a subscription that will not come.
    Gap {
        topic: &'a str,
        cause: GapCause,
        /// First offset missing, and first that will come.
        from: Offset,
        to: Offset,
    },
    /// Asks for a sign of life.
    Ping { token: u64 },
    /// Gives one, with the token of the question.
    Pong { token: u64 },
    /// Nothing comes after this.
    Goodbye(&'a Goodbye),
}

/// What the broker grants a session, and says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome<'a> {
    /// The version that the session speaks.
    pub(crate) version: u16,
    pub(crate) heartbeat_ms: u32,
    pub(crate) limits: Limits,
    /// Published records that may wait for their outcome at once, and their bytes.
    pub(crate) inflight_records_max: u32,
    pub(crate) inflight_bytes_max: u32,
    /// Random number of this run of the broker.
    pub(crate) instance: u64,
    /// What the broker calls itself.
    pub(crate) name: &'a str,
}

/// What became of a wish to subscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscribed {
    pub(crate) request: u32,
    /// Without [`Outcome::Ok`] there is no subscription.
    pub(crate) outcome: Outcome,
    /// The offset that delivery begins with.
    pub(crate) next: Offset,
    /// The oldest offset kept, and the first that is not visible yet.
    pub(crate) earliest: Offset,
    pub(crate) head: Offset,
    pub(crate) epoch: Epoch,
    /// The epoch that was asked for is over.
    pub(crate) epoch_changed: bool,
    /// The offset that was asked for is kept no more.
    pub(crate) dropped: bool,
}

impl Subscribed {
    /// There is no subscription, and nobody has looked where it would begin.
    pub(crate) fn refused(request: u32, outcome: Outcome) -> Self {
        Self {
            request,
            outcome,
            next: Offset::default(),
            earliest: Offset::default(),
            head: Offset::default(),
            epoch: Epoch::default(),
            epoch_changed: false,
            dropped: false,
        }
    }
}

/// The last thing that a session is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Goodbye {
    pub(crate) code: GoodbyeCode,
    /// When to come back, in milliseconds; 0 leaves it to the client.
    pub(crate) retry_after_ms: u32,
    /// A sentence for people.
    pub(crate) reason: Cow<'static, str>,
}
