//! The codes that control frames carry: how a request ended, why a connection ends, why messages are missing.

use crate::error::{FrameError, RecordError};
use crate::planted::{Bug, planted};

/// What the high byte of an outcome says: enough to act on one that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutcomeClass {
    /// It is done.
    Done,
    /// It is refused, and the same would be refused again.
    Refused,
    /// It is refused for now. The same may be done later.
    NotNow,
    /// The session may not do that. Other credentials may help.
    NotAllowed,
    /// The broker cannot do that.
    NotSupported,
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $outcome:ident = $code:literal: $sentence:literal,)+) => {
        /// How a request ended. Travels in 16 bits; the high byte is its [`OutcomeClass`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Outcome {
            $($(#[doc = $doc])+ $outcome = $code,)+
        }

        impl Outcome {
            /// All that are known.
            pub const ALL: &'static [Self] = &[$(Self::$outcome,)+];

            const fn known(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$outcome),)+
                    _ => None,
                }
            }

            /// A sentence for people.
            #[must_use]
            pub const fn explain(self) -> &'static str {
                match self {
                    $(Self::$outcome => $sentence,)+
                }
            }
        }
    };
}

outcomes! {
    /// Done.
    Ok = 0x000: "done",
    /// Refused for a reason that is not known here.
    Refused = 0x100: "the broker refuses that, for a reason that this version does not know",
    /// The name is not a topic.
    BadTopic = 0x101: "the name is not a topic",
    /// The session is subscribed to that topic already.
    AlreadySubscribed = 0x102: "this session is subscribed to that topic already",
    /// The session is not subscribed to that topic.
    NotSubscribed = 0x103: "this session is not subscribed to that topic",
    /// The session has as many subscriptions as it may.
    TooManySubscriptions = 0x104: "this session has as many subscriptions as it may",
    /// The offset lies beyond the newest visible message.
    OffsetAhead = 0x105: "the offset lies beyond the newest message",
    /// The token is damaged, or of a kind that is not known.
    BadToken = 0x106: "the resume token cannot be read",
    /// The session is subscribed to some of that by another name.
    Overlaps = 0x107: "this session is subscribed to some of these topics by another name",
    /// Refused for now, for a reason that is not known here.
    NotNow = 0x200: "the broker cannot do that at the moment, for a reason that this version does not know",
    /// The disk is full: publishing is refused until there is room, reading goes on.
    DiskFull = 0x201: "the broker's disk is full; publishing is refused until there is room",
    /// The broker is shutting down.
    Draining = 0x202: "the broker is shutting down",
    /// The topic's log cannot store the record: its disk does not do what is asked of it, for another reason than space. The
    /// broker goes on if that may pass, and is about to stop if a write or a sync has failed.
    LogFailed = 0x203: "the topic's log cannot store the record; the broker's log says why",
    /// The topic would be a new one, and its log has as many topics as it may.
    TooManyTopics = 0x204: "the topic would be a new one, and its log has as many topics as it may",
    /// More than the session's share of the time.
    TooFast = 0x205: "that was faster than this session may go",
    /// The session may not do that.
    NotAllowed = 0x300: "this session may not do that",
    /// Names that begin with `$` are the broker's own.
    ReservedTopic = 0x301: "names that begin with `$` are the broker's own",
    /// The credentials have ended.
    Expired = 0x302: "the credentials of this session have ended",
    /// The broker cannot do that.
    NotSupported = 0x400: "this broker does not support that",
}

impl Outcome {
    /// Reads the code. One that is not known becomes the plainest of its class.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match Self::known(code) {
            Some(outcome) => outcome,
            None => match code >> 8 {
                0 => Self::Ok,
                2 => Self::NotNow,
                3 => Self::NotAllowed,
                4 => Self::NotSupported,
                _ => Self::Refused,
            },
        }
    }

    /// What to make of it.
    #[must_use]
    pub const fn class(self) -> OutcomeClass {
        match self as u16 >> 8 {
            0 => OutcomeClass::Done,
            2 => OutcomeClass::NotNow,
            3 => OutcomeClass::NotAllowed,
            4 => OutcomeClass::NotSupported,
            _ => OutcomeClass::Refused,
        }
    }

    /// Whether it is done. An outcome of that class that is not known says so, too.
    #[must_use]
    pub const fn is_done(self) -> bool {
        matches!(self.class(), OutcomeClass::Done)
    }
}

/// Why a connection ends. Below 256 the client should come back, after `retry_after`; from 256 on it should not,
/// because the same would happen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum GoodbyeCode {
    /// The side that says it is done.
    Done = 0,
    /// The broker is shutting down.
    Draining = 1,
    /// The broker has as many connections as it may.
    Full = 2,
    /// Nothing was heard for too long.
    Silent = 3,
    /// What came may have been damaged on its way: a checksum does not match, or a head that no checksum vouches for
    /// yet has a kind or a size that cannot be.
    Damaged = 6,
    /// The credentials have ended: come back with new ones.
    Expired = 7,
    /// More was asked than the peer's share of the time.
    TooFast = 8,
    /// A frame is malformed, and its checksum is right.
    BadFrame = 0x100,
    /// A checksum does not match. Reserved: a broker says [`GoodbyeCode::Damaged`], after which the peer comes back.
    Checksum = 0x101,
    /// A record or a block is over the limit, and its checksum is right.
    TooLarge = 0x102,
    /// The connection did not begin with an Oyez hello.
    NotOyez = 0x103,
    /// No common version.
    Version = 0x104,
    /// A frame that may not come at this point, or not from this side.
    Unexpected = 0x105,
    /// The name is not a topic.
    BadTopic = 0x106,
    /// The hello carries credentials, and the broker cannot check them.
    Credentials = 0x107,
    /// The credentials are not right, or were revoked.
    NotAllowed = 0x108,
    /// The connection begins with a protocol that the broker does not speak at this place.
    NotSupported = 0x109,
}

impl GoodbyeCode {
    /// Reads the code; an unknown one becomes the plainest of its half.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Full,
            3 => Self::Silent,
            6 => Self::Damaged,
            7 => Self::Expired,
            8 => Self::TooFast,
            0x101 => Self::Checksum,
            0x102 => Self::TooLarge,
            0x103 => Self::NotOyez,
            0x104 => Self::Version,
            0x105 => Self::Unexpected,
            0x106 => Self::BadTopic,
            0x107 => Self::Credentials,
            0x108 => Self::NotAllowed,
            0x109 => Self::NotSupported,
            1..=0xff => Self::Draining,
            _ => Self::BadFrame,
        }
    }

    /// Whether coming back can help.
    #[must_use]
    pub const fn may_reconnect(self) -> bool {
        (self as u16) < 0x100
    }
}

impl From<FrameError> for GoodbyeCode {
    /// Final only where [`decode`](crate::decode) has found a checksum right: else the sender may have meant something
    /// else.
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Checksum { .. }
            | FrameError::Record(RecordError::BodyChecksum | RecordError::HeaderChecksum)
                if planted(Bug::DamageIsFinal) =>
            {
                Self::Checksum
            }
            FrameError::Size { .. }
            | FrameError::UnknownKind { .. }
            | FrameError::TooLarge { .. }
            | FrameError::Checksum { .. }
            | FrameError::Record(RecordError::BodyChecksum | RecordError::HeaderChecksum) => {
                Self::Damaged
            }
            FrameError::Magic => Self::NotOyez,
            FrameError::Record(RecordError::TooLarge { .. } | RecordError::RawSize { .. }) => {
                Self::TooLarge
            }
            FrameError::Topic(_) | FrameError::Record(RecordError::Topic(_)) => Self::BadTopic,
            FrameError::Malformed { .. } | FrameError::Record(_) => Self::BadFrame,
        }
    }
}

/// Why messages of a subscription cannot be delivered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum GapCause {
    /// For a reason that is not known here.
    Other = 0,
    /// Retention dropped them before this subscriber had them.
    Retention = 1,
    /// They were damaged on disk.
    Damage = 2,
    /// The client does not take records of their kind.
    Unreadable = 3,
}

impl GapCause {
    /// Reads the code; one that is not known is [`GapCause::Other`].
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Retention,
            2 => Self::Damage,
            3 => Self::Unreadable,
            _ => Self::Other,
        }
    }
}

/// Why messages are stepped over that are not to be delivered any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum SkipCause {
    /// For a reason that is not known here.
    Other = 0,
    /// Their time is over.
    Expired = 1,
    /// Newer ones have taken their place.
    Superseded = 2,
    /// Somebody has deleted them.
    Deleted = 3,
}

impl SkipCause {
    /// Reads the code; one that is not known is [`SkipCause::Other`].
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            1 => Self::Expired,
            2 => Self::Superseded,
            3 => Self::Deleted,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_that_is_not_known_counts_as_the_plainest_of_its_class() {
        let expected = [
            (0x0ff, Outcome::Ok, OutcomeClass::Done),
            (0x1ff, Outcome::Refused, OutcomeClass::Refused),
            (0x2ff, Outcome::NotNow, OutcomeClass::NotNow),
            (0x3ff, Outcome::NotAllowed, OutcomeClass::NotAllowed),
            (0x4ff, Outcome::NotSupported, OutcomeClass::NotSupported),
            (0x500, Outcome::Refused, OutcomeClass::Refused),
            (0xffff, Outcome::Refused, OutcomeClass::Refused),
        ];
        for (code, outcome, class) in expected {
            assert_eq!(Outcome::from_code(code), outcome, "{code:#x}");
            assert_eq!(outcome.class(), class, "{code:#x}");
        }
        for outcome in Outcome::ALL {
            assert_eq!(Outcome::from_code(*outcome as u16), *outcome);
            assert_eq!(outcome.is_done(), *outcome == Outcome::Ok);
        }
    }

    #[test]
    fn a_goodbye_that_is_not_known_says_whether_to_come_back() {
        for code in 0..=u16::MAX {
            assert_eq!(GoodbyeCode::from_code(code).may_reconnect(), code < 0x100);
        }
    }
}
