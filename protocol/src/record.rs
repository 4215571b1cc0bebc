//! The record: one layout on the wire in, in the log, and on the wire out.
//!
//! A publisher builds it ([`RecordBuilder`]), the broker checks it ([`Record::verify`]) and stamps its fixed header
//! in place ([`stamp`]), and a subscriber checks both checksums ([`Record::check_header`]). Nothing here looks into
//! the block; that is [`crate::message`], and decompressing it is `lz4`.

use crate::bytes::{
    read_u16, read_u32, read_u48, read_u64, write_u16, write_u32, write_u48, write_u64,
};
use crate::checksum::{crc32c, crc32c_append};
use crate::error::{RecordError, TopicError};
use crate::header::{FrameHead, kind};
use crate::id::{LogId, Offset, Sequence};
use crate::limits::{EXTRAS_SIZE_MAX, FRAME_ALIGN, Limits, MESSAGES_MAX, RECORD_HEADER_SIZE};
use crate::message::{MessageRef, message_size, write_message};
use crate::topic;

const BODY_CRC: usize = 8;
const RAW_SIZE: usize = 12;
const TOPIC_SIZE: usize = 16;
const EXTRAS_UNITS: usize = 17;
const PADDING: usize = 18;
const RESERVED: usize = 19;
const HEADER_CRC: usize = 20;
const OFFSET: usize = 24;
const SEQUENCE: usize = 32;
const LOG: usize = 38;
const TIMESTAMP: usize = 40;
const INCARNATION: usize = 46;

/// Bits of the flags byte that name the codec.
const CODEC_MASK: u8 = 0x0f;
/// An LZ4 block cannot grow its input by more than this factor; a greater claim is a lie.
const LZ4_RATIO_MAX: u64 = 255;

/// How a block is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is, because LZ4 would not have made it smaller.
    Stored,
    /// One raw LZ4 block.
    Lz4,
}

impl Codec {
    fn from_flags(flags: u8) -> Result<Self, RecordError> {
        match flags {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Lz4),
            _ => Err(RecordError::Flags { flags }),
        }
    }

    const fn to_flags(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Lz4 => 1,
        }
    }
}

/// A checked view of a record's bytes. Copying it copies two references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8],
    topic: &'a str,
}

impl<'a> Record<'a> {
    /// Checks structure, limits, topic, extras and the publisher's checksum of a whole record.
    ///
    /// # Errors
    /// The first rule that `bytes` break.
    pub fn verify(bytes: &'a [u8], limits: &Limits) -> Result<Self, RecordError> {
        let record = Self::structure(bytes, limits)?;
        record.check_extras()?;
        if body_crc(bytes) != read_u32(bytes, BODY_CRC) {
            return Err(RecordError::BodyChecksum);
        }
        Ok(record)
    }

    /// [`Record::verify`], and the broker's checksum over the stamped header: what a subscriber does with a delivery,
    /// and recovery with a log.
    ///
    /// # Errors
    /// The first rule that `bytes` break.
    pub fn verify_stamped(bytes: &'a [u8], limits: &Limits) -> Result<Self, RecordError> {
        let record = Self::verify(bytes, limits)?;
        record.check_header()?;
        Ok(record)
    }

    /// A view over bytes that were verified before, without computing a checksum again. `None` when even the
    /// structure is wrong.
    #[must_use]
    pub fn trusted(bytes: &'a [u8]) -> Option<Self> {
        Self::structure(bytes, &Limits::HARD).ok()
    }

    /// Checks the broker's checksum over the stamped header.
    ///
    /// # Errors
    /// [`RecordError::HeaderChecksum`].
    pub fn check_header(&self) -> Result<(), RecordError> {
        if header_crc(self.bytes) == read_u32(self.bytes, HEADER_CRC) {
            Ok(())
        } else {
            Err(RecordError::HeaderChecksum)
        }
    }

    fn structure(bytes: &'a [u8], limits: &Limits) -> Result<Self, RecordError> {
        if bytes.len() < RECORD_HEADER_SIZE {
            return Err(RecordError::Size {
                size: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            });
        }
        let size = read_u32(bytes, 0);
        check_head(bytes, size, limits)?;
        let codec = Codec::from_flags(bytes[5])?;
        let fixed = RECORD_HEADER_SIZE
            + usize::from(bytes[TOPIC_SIZE])
            + usize::from(bytes[EXTRAS_UNITS]) * FRAME_ALIGN;
        let padding = usize::from(bytes[PADDING]);
        if padding >= FRAME_ALIGN || bytes[RESERVED] != 0 {
            return Err(RecordError::Reserved);
        }
        let Some(block) = bytes.len().checked_sub(fixed + padding) else {
            return Err(RecordError::Size { size });
        };
        if bytes[bytes.len() - padding..].iter().any(|byte| *byte != 0) {
            return Err(RecordError::Reserved);
        }
        check_block(codec, block, read_u32(bytes, RAW_SIZE), limits)?;
        let end = RECORD_HEADER_SIZE + usize::from(bytes[TOPIC_SIZE]);
        let topic = topic::parse(&bytes[RECORD_HEADER_SIZE..end])?;
        Ok(Self { bytes, topic })
    }

    fn check_extras(&self) -> Result<(), RecordError> {
        let mut extras = self.extras();
        for extra in &mut extras {
            // No type of extra is defined yet, so one that must be understood cannot be.
            if extra.kind & 0x80 == 0 {
                return Err(RecordError::Extra { kind: extra.kind });
            }
        }
        match extras.malformed {
            Some(kind) => Err(RecordError::Extra { kind }),
            None => Ok(()),
        }
    }

    /// The whole record, as it is stored and sent.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn size(&self) -> u32 {
        read_u32(self.bytes, 0)
    }

    /// Messages in the block, at least one.
    #[must_use]
    pub fn count(&self) -> u16 {
        read_u16(self.bytes, 6)
    }

    /// How the block is encoded.
    #[must_use]
    pub fn codec(&self) -> Codec {
        Codec::from_flags(self.bytes[5] & CODEC_MASK)
            .expect("flags were checked when the view was made")
    }

    /// Bytes of the block when decompressed.
    #[must_use]
    pub fn raw_size(&self) -> u32 {
        read_u32(self.bytes, RAW_SIZE)
    }

    /// The topic's name.
    #[must_use]
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// The extras, in their order.
    #[must_use]
    pub fn extras(&self) -> Extras<'a> {
        let start = RECORD_HEADER_SIZE + self.topic.len();
        let end = start + usize::from(self.bytes[EXTRAS_UNITS]) * FRAME_ALIGN;
        Extras {
            rest: &self.bytes[start..end],
            malformed: None,
        }
    }

    /// The block: messages, possibly compressed.
    #[must_use]
    pub fn block(&self) -> &'a [u8] {
        let start = RECORD_HEADER_SIZE
            + self.topic.len()
            + usize::from(self.bytes[EXTRAS_UNITS]) * FRAME_ALIGN;
        &self.bytes[start..self.bytes.len() - usize::from(self.bytes[PADDING])]
    }

    /// The publisher's correlation id. Only meaningful before the record is stamped.
    #[must_use]
    pub fn correlation(&self) -> u64 {
        read_u64(self.bytes, OFFSET)
    }

    /// Topic offset of the first message. Only meaningful once the record is stamped.
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset::new(read_u64(self.bytes, OFFSET))
    }

    /// Number of the record in its log.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        Sequence::new(read_u48(self.bytes, SEQUENCE))
    }

    /// The log that holds the record.
    #[must_use]
    pub fn log(&self) -> LogId {
        LogId::new(read_u16(self.bytes, LOG))
    }

    /// When the broker took the record, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_ms(&self) -> u64 {
        read_u48(self.bytes, TIMESTAMP)
    }

    /// The incarnation of the log that wrote this copy.
    #[must_use]
    pub fn incarnation(&self) -> u16 {
        read_u16(self.bytes, INCARNATION)
    }
}

fn check_head(bytes: &[u8], size: u32, limits: &Limits) -> Result<(), RecordError> {
    if bytes[4] != kind::RECORD {
        return Err(RecordError::Kind { kind: bytes[4] });
    }
    if size > limits.record_size_max {
        return Err(RecordError::TooLarge {
            size,
            max: limits.record_size_max,
        });
    }
    if size as usize != bytes.len() || !bytes.len().is_multiple_of(FRAME_ALIGN) {
        return Err(RecordError::Size { size });
    }
    let (count, raw_size) = (read_u16(bytes, 6), read_u32(bytes, RAW_SIZE));
    if count == 0 || u32::from(count) > raw_size {
        return Err(RecordError::Count { count, raw_size });
    }
    if raw_size > limits.raw_size_max {
        return Err(RecordError::RawSize {
            raw_size,
            max: limits.raw_size_max,
        });
    }
    Ok(())
}

fn check_block(
    codec: Codec,
    block: usize,
    raw_size: u32,
    limits: &Limits,
) -> Result<(), RecordError> {
    // `block` is part of a record that passed the size limit, so it fits.
    let block = u32::try_from(block).map_err(|_| RecordError::TooLarge {
        size: u32::MAX,
        max: limits.record_size_max,
    })?;
    let plausible = match codec {
        Codec::Stored => block == raw_size,
        Codec::Lz4 => block < raw_size && u64::from(raw_size) <= u64::from(block) * LZ4_RATIO_MAX,
    };
    if plausible {
        Ok(())
    } else {
        Err(RecordError::Block { block, raw_size })
    }
}

/// The publisher's checksum: it covers no byte that the broker writes.
fn body_crc(bytes: &[u8]) -> u32 {
    let crc = crc32c(&bytes[..BODY_CRC]);
    let crc = crc32c_append(crc, &bytes[RAW_SIZE..HEADER_CRC]);
    crc32c_append(crc, &bytes[RECORD_HEADER_SIZE..])
}

/// The broker's checksum: the header with this field as zero.
fn header_crc(bytes: &[u8]) -> u32 {
    let crc = crc32c(&bytes[..HEADER_CRC]);
    let crc = crc32c_append(crc, &[0; 4]);
    crc32c_append(crc, &bytes[OFFSET..RECORD_HEADER_SIZE])
}

/// What the broker writes into a record when it takes it into a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Topic offset of the record's first message.
    pub offset: Offset,
    /// Number of the record in its log; 48 bits.
    pub sequence: Sequence,
    /// The log.
    pub log: LogId,
    /// Milliseconds since the Unix epoch; 48 bits.
    pub timestamp_ms: u64,
    /// Incarnation of the log.
    pub incarnation: u16,
}

/// Stamps a verified record in place; its body and the publisher's checksum stay as they are.
///
/// # Panics
/// If `bytes` are shorter than a record's header.
pub fn stamp(bytes: &mut [u8], stamp: &Stamp) {
    write_u64(bytes, OFFSET, stamp.offset.get());
    write_u48(bytes, SEQUENCE, stamp.sequence.get());
    write_u16(bytes, LOG, stamp.log.get());
    write_u48(bytes, TIMESTAMP, stamp.timestamp_ms);
    write_u16(bytes, INCARNATION, stamp.incarnation);
    let crc = header_crc(bytes);
    write_u32(bytes, HEADER_CRC, crc);
}

/// One typed extra of a record. A type with the high bit set may be ignored by whoever does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// The type.
    pub kind: u8,
    /// Its value.
    pub value: &'a [u8],
}

/// Iterator over the extras of a record: `type u8, length u8, value`, each padded with zeros to 8 bytes.
#[derive(Clone, Debug)]
pub struct Extras<'a> {
    rest: &'a [u8],
    malformed: Option<u8>,
}

impl<'a> Iterator for Extras<'a> {
    type Item = Extra<'a>;

    fn next(&mut self) -> Option<Extra<'a>> {
        // Extras come in whole units of eight bytes, so a type and a length are there if anything is.
        let (kind, size) = (*self.rest.first()?, usize::from(*self.rest.get(1)?));
        let padded = (2 + size).next_multiple_of(FRAME_ALIGN);
        let well_formed =
            padded <= self.rest.len() && self.rest[2 + size..padded].iter().all(|b| *b == 0);
        if !well_formed {
            self.malformed = Some(kind);
            self.rest = &[];
            return None;
        }
        let value = &self.rest[2..2 + size];
        self.rest = &self.rest[padded..];
        Some(Extra { kind, value })
    }
}

/// Why a message does not fit into the record being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The record is full: finish it and push into the next one.
    #[error("the record is full")]
    Full,
    /// No record can hold the message.
    #[error("the message takes {size} bytes; at most {max} fit into a record")]
    TooLarge {
        /// Bytes of the encoded message.
        size: usize,
        /// Bytes that the emptiest record holds.
        max: usize,
    },
}

/// Gathers messages of one topic into a record. Reusable: [`RecordBuilder::finish`] leaves it empty, with its buffer.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    topic: String,
    extras: Vec<u8>,
    raw: Vec<u8>,
    count: u16,
    limits: Limits,
}

impl RecordBuilder {
    /// An empty record of `topic` that will keep within `limits`.
    ///
    /// # Errors
    /// When the name is not a topic.
    pub fn new(topic: &str, limits: Limits) -> Result<Self, TopicError> {
        topic::parse(topic.as_bytes())?;
        Ok(Self {
            topic: topic.to_owned(),
            extras: Vec::new(),
            raw: Vec::new(),
            count: 0,
            limits,
        })
    }

    /// Appends an extra to the record.
    ///
    /// # Errors
    /// [`RecordError::Extra`] when the value is longer than 255 bytes or the extras together are too long.
    pub fn push_extra(&mut self, extra: Extra<'_>) -> Result<(), RecordError> {
        let refused = RecordError::Extra { kind: extra.kind };
        let size = u8::try_from(extra.value.len()).map_err(|_| refused)?;
        let end = self.extras.len() + (2 + extra.value.len()).next_multiple_of(FRAME_ALIGN);
        if end > EXTRAS_SIZE_MAX {
            return Err(refused);
        }
        self.extras.extend_from_slice(&[extra.kind, size]);
        self.extras.extend_from_slice(extra.value);
        self.extras.resize(end, 0);
        Ok(())
    }

    /// Appends a message.
    ///
    /// # Errors
    /// [`PushError::Full`] when it belongs into the next record, [`PushError::TooLarge`] when no record can hold it.
    pub fn push(&mut self, message: &MessageRef<'_>) -> Result<(), PushError> {
        let size = message_size(message);
        let max = self.raw_capacity();
        if size > max {
            return Err(PushError::TooLarge { size, max });
        }
        if self.raw.len() + size > max || usize::from(self.count) == MESSAGES_MAX {
            return Err(PushError::Full);
        }
        write_message(message, &mut self.raw);
        self.count += 1;
        Ok(())
    }

    /// Raw bytes that surely fit, whether they compress or not.
    #[must_use]
    pub fn raw_capacity(&self) -> usize {
        let fixed = RECORD_HEADER_SIZE + self.topic.len() + self.extras.len() + FRAME_ALIGN;
        let stored = (self.limits.record_size_max as usize).saturating_sub(fixed);
        stored.min(self.limits.raw_size_max as usize)
    }

    /// The topic that the record belongs to.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Messages pushed so far.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Whether nothing was pushed yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The raw block gathered so far.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Appends the finished record to `out` with the block as it is.
    ///
    /// # Panics
    /// If nothing was pushed.
    pub fn finish_stored(&mut self, correlation: u64, out: &mut Vec<u8>) {
        let raw = core::mem::take(&mut self.raw);
        self.finish(correlation, Codec::Stored, &raw, out);
        self.raw = raw;
        self.raw.clear();
    }

    /// Appends the finished record to `out` with `block` as its block, which must be [`RecordBuilder::raw`] encoded
    /// with `codec`. The builder is empty afterwards and can be used again.
    ///
    /// # Panics
    /// If nothing was pushed.
    pub fn finish(&mut self, correlation: u64, codec: Codec, block: &[u8], out: &mut Vec<u8>) {
        assert!(self.count > 0, "a record holds at least one message");
        let start = out.len();
        let raw_size = if codec == Codec::Stored {
            block.len()
        } else {
            self.raw.len()
        };
        let unpadded = RECORD_HEADER_SIZE + self.topic.len() + self.extras.len() + block.len();
        let size = unpadded.next_multiple_of(FRAME_ALIGN);
        let narrow = |value: usize| u32::try_from(value).expect("push keeps within the limits");
        let head = FrameHead {
            size: narrow(size),
            kind: kind::RECORD,
            flags: codec.to_flags(),
            aux: self.count,
        };
        out.resize(start + RECORD_HEADER_SIZE, 0);
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&self.extras);
        out.extend_from_slice(block);
        out.resize(start + size, 0);
        let bytes = &mut out[start..];
        bytes[..8].copy_from_slice(&head.to_bytes());
        write_u32(bytes, RAW_SIZE, narrow(raw_size));
        let byte = |value: usize| u8::try_from(value).expect("bounded by the constructors");
        bytes[TOPIC_SIZE] = byte(self.topic.len());
        bytes[EXTRAS_UNITS] = byte(self.extras.len() / FRAME_ALIGN);
        bytes[PADDING] = byte(size - unpadded);
        write_u64(bytes, OFFSET, correlation);
        let crc = body_crc(bytes);
        write_u32(bytes, BODY_CRC, crc);
        self.raw.clear();
        self.count = 0;
    }
}
