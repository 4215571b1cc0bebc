//! The codes that control frames carry: how a request ended, why a connection ends, why messages are missing.

use crate::error::{FrameError, RecordError};
use crate::planted::{Bug, planted};

/// How a request ended. Travels in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum Outcome {
    /// Done.
    Ok = 0,
    /// The name is not a topic.
    BadTopic = 1,
    /// The session is subscribed to that topic already.
    AlreadySubscribed = 2,
    /// The session is not subscribed to that topic.
    NotSubscribed = 3,
    /// The session has as many subscriptions as it may.
    TooManySubscriptions = 4,
    /// The offset lies beyond the newest visible message.
    OffsetAhead = 5,
    /// The disk is full: publishing is refused until there is room, reading goes on.
    DiskFull = 6,
    /// The broker is shutting down.
    Draining = 7,
    /// The topic's log cannot store the record: its disk does not do what is asked of it, for another reason than
    /// space. The broker goes on if that may pass, and is about to stop if a write or a sync has failed.
    LogFailed = 8,
    /// The topic would be a new one, and its log has as many topics as it may.
    TooManyTopics = 9,
}

impl Outcome {
    /// Reads the code; an unknown one is `None`.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Ok,
            1 => Self::BadTopic,
            2 => Self::AlreadySubscribed,
            3 => Self::NotSubscribed,
            4 => Self::TooManySubscriptions,
            5 => Self::OffsetAhead,
            6 => Self::DiskFull,
            7 => Self::Draining,
            8 => Self::LogFailed,
            9 => Self::TooManyTopics,
            _ => return None,
        })
    }

    /// A sentence for people.
    #[must_use]
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::BadTopic => "the name is not a topic",
            Self::AlreadySubscribed => "this session is subscribed to that topic already",
            Self::NotSubscribed => "this session is not subscribed to that topic",
            Self::TooManySubscriptions => "this session has as many subscriptions as it may",
            Self::OffsetAhead => "the offset lies beyond the newest message",
            Self::DiskFull => {
                "the broker's disk is full; publishing is refused until there is room"
            }
            Self::Draining => "the broker is shutting down",
            Self::LogFailed => "the topic's log cannot store the record; the broker's log says why",
            Self::TooManyTopics => {
                "the topic would be a new one, and its log has as many topics as it may"
            }
        }
    }
}

/// Why a connection ends. Below 256 the client should come back, after `retry_after`; from 256 on it should not,
/// because the same would happen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
#[non_exhaustive]
pub enum GoodbyeCode {
    /// Whoever says it is done.
    Done = 0,
    /// The broker is shutting down.
    Draining = 1,
    /// The broker has as many connections as it may.
    Full = 2,
    /// Nothing was heard for too long.
    Silent = 3,
    /// Retention dropped a record while it was being sent.
    Dropped = 4,
    /// The log failed.
    LogFailed = 5,
    /// What came may have been damaged on its way: a checksum does not match, or a head that no checksum vouches for
    /// yet has a kind or a size that cannot be.
    Damaged = 6,
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
}

impl GoodbyeCode {
    /// Reads the code; an unknown one becomes the plainest of its half.
    #[must_use]
    pub const fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Full,
            3 => Self::Silent,
            4 => Self::Dropped,
            5 => Self::LogFailed,
            6 => Self::Damaged,
            0x101 => Self::Checksum,
            0x102 => Self::TooLarge,
            0x103 => Self::NotOyez,
            0x104 => Self::Version,
            0x105 => Self::Unexpected,
            0x106 => Self::BadTopic,
            0x107 => Self::Credentials,
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
    /// Retention dropped them before this subscriber had them.
    Retention = 0,
    /// They were damaged on disk.
    Damage = 1,
}

impl GapCause {
    /// Reads the code; an unknown one is `None`.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            0 => Some(Self::Retention),
            1 => Some(Self::Damage),
            _ => None,
        }
    }
}
