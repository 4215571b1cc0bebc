//! What can be wrong with bytes from outside. "More bytes are needed" is not among them.

use thiserror::Error;

/// Why a name is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// No bytes at all.
    #[error("the topic is empty; give it 1 to 255 bytes")]
    Empty,
    /// Longer than a topic may be.
    #[error("the topic has {size} bytes; at most 255 are allowed")]
    TooLong {
        /// Its length in bytes.
        size: usize,
    },
    /// Not text.
    #[error("the topic is not UTF-8")]
    NotUtf8,
    /// A NUL byte inside.
    #[error("the topic contains a NUL byte")]
    Nul,
    /// A `+` or `#` where none may be.
    #[error("`+` and `#` are wildcards of filters and cannot stand in a topic's name")]
    Wildcard,
    /// A filter without any.
    #[error("the filter has no wildcard `+` or `#`: it is a topic's name")]
    NoWildcard,
}

/// Why a record is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Size not a multiple of 8, smaller than its parts, or not the bytes given.
    #[error(
        "a record of {size} bytes cannot be: sizes are multiples of 8 and hold header, topic and block"
    )]
    Size {
        /// The size that the record claims.
        size: u32,
    },
    /// Above the receiver's limit.
    #[error("the record has {size} bytes; at most {max} are accepted")]
    TooLarge {
        /// The size that the record claims.
        size: u32,
        /// What the receiver takes.
        max: u32,
    },
    /// Not kind 1.
    #[error("kind {kind} is not a record")]
    Kind {
        /// The kind found.
        kind: u8,
    },
    /// A flag or codec that this version does not know.
    #[error("record flags {flags:#04x} hold a codec or bit that is not known")]
    Flags {
        /// The flags found.
        flags: u8,
    },
    /// No messages, or more of them than bytes.
    #[error("a record of {count} messages in {raw_size} raw bytes cannot be")]
    Count {
        /// The count claimed.
        count: u16,
        /// The raw size claimed.
        raw_size: u32,
    },
    /// The block would inflate past the receiver's limit.
    #[error("the block would inflate to {raw_size} bytes; at most {max} are accepted")]
    RawSize {
        /// The raw size claimed.
        raw_size: u32,
        /// What the receiver takes.
        max: u32,
    },
    /// The block's length and the raw size contradict each other.
    #[error("a block of {block} bytes cannot hold {raw_size} raw bytes with this codec")]
    Block {
        /// Bytes of the block.
        block: u32,
        /// The raw size claimed.
        raw_size: u32,
    },
    /// Reserved bytes or padding that are not zero, or padding of 8 and more.
    #[error("reserved bytes or padding are not zero")]
    Reserved,
    /// The extras are malformed, or hold one that must be understood and is not.
    #[error("extra of type {kind:#04x} is malformed, or must be understood and is not known")]
    Extra {
        /// The type of the extra.
        kind: u8,
    },
    /// The topic breaks its rules.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The publisher's checksum does not match.
    #[error("the record's checksum does not match: it was damaged on its way")]
    BodyChecksum,
    /// The broker's checksum over the header does not match.
    #[error("the record header's checksum does not match: it was damaged after it was stamped")]
    HeaderChecksum,
}

/// Why a frame is refused. The connection cannot go on: the next frame's place is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// A size that no frame has.
    #[error(
        "a frame of {size} bytes cannot be: sizes are multiples of 8 and hold the fixed fields of the kind"
    )]
    Size {
        /// The size claimed.
        size: u32,
    },
    /// Above the receiver's limit.
    #[error("frame of kind {kind} has {size} bytes; at most {max} are accepted")]
    TooLarge {
        /// The frame's kind.
        kind: u8,
        /// The size claimed.
        size: u32,
        /// What the receiver takes.
        max: u32,
    },
    /// A kind that must be understood and is not known.
    #[error("frame kind {kind} is not known")]
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// The control frame's checksum does not match.
    #[error("the checksum of a frame of kind {kind} does not match: it was damaged on its way")]
    Checksum {
        /// The frame's kind.
        kind: u8,
    },
    /// The fields of a control frame contradict its size or hold values that are not allowed.
    #[error("a frame of kind {kind} is malformed: {what}")]
    Malformed {
        /// The frame's kind.
        kind: u8,
        /// The field that is wrong.
        what: &'static str,
    },
    /// A `Hello` without the four magic bytes.
    #[error("the connection does not begin with an Oyez hello")]
    Magic,
    /// A topic in a control frame breaks its rules.
    #[error(transparent)]
    Topic(TopicError),
    /// A record is malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Why a block cannot be turned into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockError {
    /// The compressed bytes are not an LZ4 block of the stated length.
    #[error("the block does not decompress to the {raw_size} bytes that its record states")]
    Decompress {
        /// The raw size that the record states.
        raw_size: u32,
    },
    /// A message's length runs past the block, or bytes are left after the last message.
    #[error("the block does not hold the {count} messages that its record states")]
    Messages {
        /// The count that the record states.
        count: u16,
    },
}

/// Why bytes are no resume token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Too short, or too long.
    #[error("a resume token has 8 to 16,384 bytes; this one has {size}")]
    Size {
        /// Its length in bytes.
        size: usize,
    },
    /// Damaged.
    #[error("the resume token is damaged: its checksum does not match")]
    Checksum,
    /// Of a later version.
    #[error("a resume token of version {version} and kind {kind} is not known here")]
    Unknown {
        /// Its version.
        version: u8,
        /// Its kind.
        kind: u8,
    },
    /// Its checksum is right, and it makes no sense.
    #[error("the resume token makes no sense, although its checksum is right")]
    Malformed,
}
