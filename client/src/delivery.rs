//! What a subscription delivers.

use std::fmt;
use std::sync::Arc;

use oyez_protocol::event;
use oyez_protocol::{Epoch, Offset};

use crate::message::Message;

/// A message, or what takes the place of messages, in the topic's order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// Messages that will not come.
    Gap(Gap),
    /// Messages that are stepped over: they expired, were replaced or were deleted.
    Skip(Skip),
    /// The topic's history changed: what was delivered before may no longer be in it.
    NewEpoch(NewEpoch),
}

#[cfg(test)]
impl Delivery {
    /// The message, if it is one.
    pub(crate) fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Gap(_) | Self::Skip(_) | Self::NewEpoch(_) => None,
        }
    }
}

/// Messages of a subscription that will not come; delivery goes on after them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The topic.
    pub topic: Arc<str>,
    /// First offset missing.
    pub from: Offset,
    /// First offset after the gap.
    pub to: Offset,
    /// Why.
    pub cause: GapCause,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages of `{}` are missing, offsets {} up to {}: {}",
            self.to.get().saturating_sub(self.from.get()),
            self.topic,
            self.from,
            self.to,
            self.cause
        )
    }
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapCause {
    /// Retention dropped them before they were delivered.
    Retention,
    /// They were damaged on the broker's disk.
    Damage,
    /// They came, but their publisher wrote a block that does not hold the messages that its record states.
    Unreadable,
    /// The broker went on after them without saying why.
    Unexplained,
}

impl From<event::GapCause> for GapCause {
    fn from(cause: event::GapCause) -> Self {
        match cause {
            event::GapCause::Retention => Self::Retention,
            event::GapCause::Damage => Self::Damage,
            _ => Self::Unexplained,
        }
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retention => "the broker dropped them before they were delivered",
            Self::Damage => "they were damaged on the broker's disk",
            Self::Unreadable => "their publisher wrote a block that cannot be read",
            Self::Unexplained => "the broker went on without saying why",
        })
    }
}

/// Messages that are stepped over, because they expired, were replaced or were deleted. Nothing is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The topic.
    pub topic: Arc<str>,
    /// First offset that is stepped over.
    pub from: Offset,
    /// First offset after them.
    pub to: Offset,
    /// Why.
    pub cause: SkipCause,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} messages of `{}` are stepped over, offsets {} up to {}: {}",
            self.to.get().saturating_sub(self.from.get()),
            self.topic,
            self.from,
            self.to,
            self.cause
        )
    }
}

/// Why messages are stepped over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SkipCause {
    /// Their time is over.
    Expired,
    /// Newer ones have taken their place.
    Superseded,
    /// They were deleted.
    Deleted,
    /// The broker gave a reason that this version does not know.
    Other,
}

impl From<event::SkipCause> for SkipCause {
    fn from(cause: event::SkipCause) -> Self {
        match cause {
            event::SkipCause::Expired => Self::Expired,
            event::SkipCause::Superseded => Self::Superseded,
            event::SkipCause::Deleted => Self::Deleted,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for SkipCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "their time is over",
            Self::Superseded => "newer ones have taken their place",
            Self::Deleted => "they were deleted",
            Self::Other => "the broker gave a reason that this version does not know",
        })
    }
}

/// The topic began a new epoch while the subscription was away: visible history was, or may have been, lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEpoch {
    /// The topic.
    pub topic: Arc<str>,
    /// The epoch that the subscription knew.
    pub old: Epoch,
    /// The topic's new epoch.
    pub new: Epoch,
    /// Offset in the old epoch that would have come next.
    pub expected: Offset,
    /// Offset in the new epoch that comes next.
    pub next: Offset,
}

impl fmt::Display for NewEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the history of `{}` changed (epoch {} became {}): offset {} was expected, {} comes next",
            self.topic, self.old, self.new, self.expected, self.next
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_told_as_the_sixteen_digits_that_requests_take() {
        let change = NewEpoch {
            topic: Arc::from("a"),
            old: Epoch::new(10),
            new: Epoch::new(0x2555_deaa_3983_cda3),
            expected: Offset::new(50),
            next: Offset::new(3),
        };
        let text = change.to_string();
        assert!(
            text.contains("(epoch 000000000000000a became 2555deaa3983cda3)"),
            "{text}"
        );
    }
}
