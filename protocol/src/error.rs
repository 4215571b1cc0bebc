//! What can be wrong with bytes from outside. "More bytes are needed" is not among them.
//! Written out, so that clients compile no macros.

use std::error::Error;
use std::fmt;

/// Why a name is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// No bytes at all.
    Empty,
    /// Longer than a topic may be.
    TooLong {
        /// Its length in bytes.
        size: usize,
    },
    /// Not text.
    NotUtf8,
    /// A NUL byte inside.
    Nul,
    /// A `+` or `#` where none may be.
    Wildcard,
    /// A filter without any.
    NoWildcard,
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the topic is empty; give it 1 to 255 bytes"),
            Self::TooLong { size } => {
                write!(f, "the topic has {size} bytes; at most 255 are allowed")
            }
            Self::NotUtf8 => f.write_str("the topic is not UTF-8"),
            Self::Nul => f.write_str("the topic contains a NUL byte"),
            Self::Wildcard => f.write_str(
                "`+` and `#` are wildcards of filters and cannot stand in a topic's name",
            ),
            Self::NoWildcard => {
                f.write_str("the filter has no wildcard `+` or `#`: it is a topic's name")
            }
        }
    }
}

impl Error for TopicError {}

/// A text is not an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochError;

impl fmt::Display for EpochError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an epoch is 16 hexadecimal digits, such as 2555deaa3983cda3")
    }
}

impl Error for EpochError {}

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// Size not a multiple of 8, smaller than its parts, or not the bytes given.
    Size {
        /// The size that the record claims.
        size: u32,
    },
    /// Above the receiver's limit.
    TooLarge {
        /// The size that the record claims.
        size: u32,
        /// What the receiver takes.
        max: u32,
    },
    /// Not kind 1.
    Kind {
        /// The kind found.
        kind: u8,
    },
    /// A flag or codec that this version does not know.
    Flags {
        /// The flags found.
        flags: u8,
    },
    /// No messages, or more of them than bytes.
    Count {
        /// The count claimed.
        count: u16,
        /// The raw size claimed.
        raw_size: u32,
    },
    /// The block would inflate past the receiver's limit.
    RawSize {
        /// The raw size claimed.
        raw_size: u32,
        /// What the receiver takes.
        max: u32,
    },
    /// The block's length and the raw size contradict each other.
    Block {
        /// Bytes of the block.
        block: u32,
        /// The raw size claimed.
        raw_size: u32,
    },
    /// Reserved bytes or padding that are not zero, or padding of 8 and more.
    Reserved,
    /// The extras are malformed, or hold one that must be understood and is not.
    Extra {
        /// The type of the extra.
        kind: u8,
    },
    /// The topic breaks its rules.
    Topic(TopicError),
    /// The publisher's checksum does not match.
    BodyChecksum,
    /// The broker's checksum over the header does not match.
    HeaderChecksum,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size } => write!(
                f,
                "a record of {size} bytes cannot be: sizes are multiples of 8 and hold header, topic and block"
            ),
            Self::TooLarge { size, max } => {
                write!(f, "the record has {size} bytes; at most {max} are accepted")
            }
            Self::Kind { kind } => write!(f, "kind {kind} is not a record"),
            Self::Flags { flags } => write!(
                f,
                "record flags {flags:#04x} hold a codec or bit that is not known"
            ),
            Self::Count { count, raw_size } => write!(
                f,
                "a record of {count} messages in {raw_size} raw bytes cannot be"
            ),
            Self::RawSize { raw_size, max } => write!(
                f,
                "the block would inflate to {raw_size} bytes; at most {max} are accepted"
            ),
            Self::Block { block, raw_size } => write!(
                f,
                "a block of {block} bytes cannot hold {raw_size} raw bytes with this codec"
            ),
            Self::Reserved => f.write_str("reserved bytes or padding are not zero"),
            Self::Extra { kind } => write!(
                f,
                "extra of type {kind:#04x} is malformed, or must be understood and is not known"
            ),
            Self::Topic(error) => error.fmt(f),
            Self::BodyChecksum => {
                f.write_str("the record's checksum does not match: it was damaged on its way")
            }
            Self::HeaderChecksum => f.write_str(
                "the record header's checksum does not match: it was damaged after it was stamped",
            ),
        }
    }
}

impl Error for RecordError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Topic(error) => error.source(),
            _ => None,
        }
    }
}

impl From<TopicError> for RecordError {
    fn from(error: TopicError) -> Self {
        Self::Topic(error)
    }
}

/// Why a frame is refused. The connection cannot go on: the next frame's place is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A size that no frame has.
    Size {
        /// The size claimed.
        size: u32,
    },
    /// Above the receiver's limit.
    TooLarge {
        /// The frame's kind.
        kind: u8,
        /// The size claimed.
        size: u32,
        /// What the receiver takes.
        max: u32,
    },
    /// A kind that must be understood and is not known.
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// The control frame's checksum does not match.
    Checksum {
        /// The frame's kind.
        kind: u8,
    },
    /// The fields of a control frame contradict its size or hold values that are not allowed.
    Malformed {
        /// The frame's kind.
        kind: u8,
        /// The field that is wrong.
        what: &'static str,
    },
    /// A `Hello` without the four magic bytes.
    Magic,
    /// A topic in a control frame breaks its rules.
    Topic(TopicError),
    /// A record is malformed.
    Record(RecordError),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size } => write!(
                f,
                "a frame of {size} bytes cannot be: sizes are multiples of 8 and hold the fixed fields of the kind"
            ),
            Self::TooLarge { kind, size, max } => write!(
                f,
                "frame of kind {kind} has {size} bytes; at most {max} are accepted"
            ),
            Self::UnknownKind { kind } => write!(f, "frame kind {kind} is not known"),
            Self::Checksum { kind } => write!(
                f,
                "the checksum of a frame of kind {kind} does not match: it was damaged on its way"
            ),
            Self::Malformed { kind, what } => {
                write!(f, "a frame of kind {kind} is malformed: {what}")
            }
            Self::Magic => f.write_str("the connection does not begin with an Oyez hello"),
            Self::Topic(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl Error for FrameError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Topic(error) => error.source(),
            Self::Record(error) => error.source(),
            _ => None,
        }
    }
}

impl From<RecordError> for FrameError {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

/// Why a block cannot be turned into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// The compressed bytes are not an LZ4 block of the stated length.
    Decompress {
        /// The raw size that the record states.
        raw_size: u32,
    },
    /// A message's length runs past the block, or bytes are left after the last message.
    Messages {
        /// The count that the record states.
        count: u16,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Decompress { raw_size } => write!(
                f,
                "the block does not decompress to the {raw_size} bytes that its record states"
            ),
            Self::Messages { count } => write!(
                f,
                "the block does not hold the {count} messages that its record states"
            ),
        }
    }
}

impl Error for BlockError {}

/// Why bytes are no resume token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Too short, or too long.
    Size {
        /// Its length in bytes.
        size: usize,
    },
    /// Damaged.
    Checksum,
    /// Of a later version.
    Unknown {
        /// Its version.
        version: u8,
        /// Its kind.
        kind: u8,
    },
    /// Its checksum is right, and it makes no sense.
    Malformed,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { size } => write!(
                f,
                "a resume token has 8 to 16,384 bytes; this one has {size}"
            ),
            Self::Checksum => {
                f.write_str("the resume token is damaged: its checksum does not match")
            }
            Self::Unknown { version, kind } => write!(
                f,
                "a resume token of version {version} and kind {kind} is not known here"
            ),
            Self::Malformed => {
                f.write_str("the resume token makes no sense, although its checksum is right")
            }
        }
    }
}

impl Error for TokenError {}
