//! Every bound of the wire, named, with its unit, and checked against the others at compile time.

/// Bytes of the fixed header of a record.
pub const RECORD_HEADER_SIZE: usize = 48;
/// Bytes that every frame begins with: size, kind, flags, aux.
pub const FRAME_HEAD_SIZE: usize = 8;
/// Bytes of the fixed header of a control frame: the head, its checksum, its request id.
pub const CONTROL_HEADER_SIZE: usize = 16;
/// Every frame starts and ends on a multiple of this many bytes.
pub const FRAME_ALIGN: usize = 8;

/// Bytes of the smallest record: header, a topic of one byte, a block of one byte, padding.
pub const RECORD_SIZE_MIN: u32 = (RECORD_HEADER_SIZE + 2).next_multiple_of(FRAME_ALIGN) as u32;

/// Longest topic in bytes; its length travels in one byte.
pub const TOPIC_SIZE_MAX: usize = 255;
/// Most extras of a record in bytes; their length travels in one byte, in units of eight.
pub const EXTRAS_SIZE_MAX: usize = 255 * 8;
/// Most messages in one record; the count travels in two bytes.
pub const MESSAGES_MAX: usize = u16::MAX as usize;

/// Largest record in bytes that a broker takes unless it is configured otherwise.
pub const RECORD_SIZE_DEFAULT: u32 = 256 << 10;
/// Largest record in bytes that any broker may be configured to take.
pub const RECORD_SIZE_HARD_MAX: u32 = 1 << 20;
/// Largest decompressed block in bytes unless configured otherwise.
pub const RAW_SIZE_DEFAULT: u32 = 1 << 20;
/// Largest decompressed block in bytes that may be configured. A subscriber allocates this much at most for one record.
pub const RAW_SIZE_HARD_MAX: u32 = 8 << 20;
/// Largest control frame in bytes.
pub const CONTROL_SIZE_MAX: u32 = 64 << 10;
/// Largest text (a reason, a name) inside a control frame, in bytes.
pub const TEXT_SIZE_MAX: usize = 1024;
/// Largest credentials in a `Hello`, in bytes.
pub const CREDENTIALS_SIZE_MAX: usize = 4096;
/// Largest `Hello`, in bytes.
pub const HELLO_SIZE_MAX: usize =
    (CONTROL_HEADER_SIZE + 16 + TEXT_SIZE_MAX + CREDENTIALS_SIZE_MAX).next_multiple_of(FRAME_ALIGN);
/// Most topics of one `Subscribe` frame.
pub const SUBSCRIBE_TOPICS_MAX: usize = 32;
/// Largest resume token, in bytes.
pub const TOKEN_SIZE_MAX: usize = 16_384;
/// Longest name of a cursor, in bytes.
pub const CURSOR_SIZE_MAX: usize = 64;
/// Bytes of one entry of a `Published` frame.
pub const PUBLISHED_ENTRY_SIZE: usize = 32;
/// Most entries of one `Published` frame.
pub const PUBLISHED_ENTRIES_MAX: usize =
    (CONTROL_SIZE_MAX as usize - CONTROL_HEADER_SIZE) / PUBLISHED_ENTRY_SIZE;
/// Most JSON bytes in one `Answer` frame.
pub const ANSWER_SIZE_MAX: usize = CONTROL_SIZE_MAX as usize - CONTROL_HEADER_SIZE - 8;

const _: () = assert!(RECORD_HEADER_SIZE.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(CONTROL_HEADER_SIZE.is_multiple_of(FRAME_ALIGN));
const _: () = assert!(RECORD_SIZE_DEFAULT <= RECORD_SIZE_HARD_MAX);
const _: () = assert!(RAW_SIZE_DEFAULT <= RAW_SIZE_HARD_MAX);
// The header, the longest topic and the most extras leave room for a block in the default limit.
const _: () = assert!(
    RECORD_HEADER_SIZE + TOPIC_SIZE_MAX + EXTRAS_SIZE_MAX + 4096 < RECORD_SIZE_DEFAULT as usize
);
const _: () = assert!(
    CONTROL_HEADER_SIZE + 32 + TEXT_SIZE_MAX + CREDENTIALS_SIZE_MAX < CONTROL_SIZE_MAX as usize
);
const _: () = assert!(CONTROL_SIZE_MAX <= RECORD_SIZE_DEFAULT);
const _: () = assert!(Limits::DEFAULT.are_valid() && Limits::HARD.are_valid());

/// What one side of a connection accepts. The broker states its own in `Welcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest record in bytes, a multiple of 8.
    pub record_size_max: u32,
    /// Largest decompressed block in bytes.
    pub raw_size_max: u32,
}

impl Limits {
    /// The limits of a broker without a configuration.
    pub const DEFAULT: Self = Self {
        record_size_max: RECORD_SIZE_DEFAULT,
        raw_size_max: RAW_SIZE_DEFAULT,
    };
    /// The widest limits that the protocol knows; a client starts with these until it has its `Welcome`.
    pub const HARD: Self = Self {
        record_size_max: RECORD_SIZE_HARD_MAX,
        raw_size_max: RAW_SIZE_HARD_MAX,
    };

    /// Whether a broker may state these: nothing above [`Limits::HARD`], and a record size that records can have.
    #[must_use]
    pub const fn are_valid(&self) -> bool {
        RECORD_SIZE_MIN <= self.record_size_max
            && self.record_size_max <= RECORD_SIZE_HARD_MAX
            && self.record_size_max.is_multiple_of(FRAME_ALIGN as u32)
            && 1 <= self.raw_size_max
            && self.raw_size_max <= RAW_SIZE_HARD_MAX
    }

    /// These limits, nowhere above [`Limits::HARD`].
    #[must_use]
    pub fn capped(self) -> Self {
        Self {
            record_size_max: self.record_size_max.min(RECORD_SIZE_HARD_MAX),
            raw_size_max: self.raw_size_max.min(RAW_SIZE_HARD_MAX),
        }
    }

    /// Largest frame of any kind, in bytes.
    #[must_use]
    pub const fn frame_size_max(&self) -> u32 {
        if self.record_size_max > CONTROL_SIZE_MAX {
            self.record_size_max
        } else {
            CONTROL_SIZE_MAX
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
