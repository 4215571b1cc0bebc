//! The record: one layout on the wire in, in the log, and on the wire out.
//!
//! A publisher builds it ([`RecordBuilder`]), the broker checks it ([`Record::verify`]) and stamps its fixed header
//! in place ([`stamp`]), and a subscriber checks both checksums ([`Record::check_header`]). Nothing here looks into
//! the block; that is [`crate::message`], and decompressing it is `lz4`.

pub(crate) mod layout;

use crate::bytes::{
    read_u16, read_u32, read_u48, read_u64, write_u16, write_u32, write_u48, write_u64,
};
use crate::error::RecordError;
use crate::header::kind;
use crate::id::{LogId, Offset, Sequence};
use crate::limits::{FRAME_ALIGN, Limits, RECORD_HEADER_SIZE};
use crate::planted::{Bug, planted};
use crate::topic;

use self::layout::{
    EXTRAS_UNITS, HEADER_CRC, INCARNATION, LOG, OFFSET, PADDING, RAW_SIZE, RESERVED, SEQUENCE,
    TIMESTAMP, TOPIC_SIZE, header_crc,
};

pub use self::layout::Codec;
pub(crate) use self::layout::body_is_intact;
pub use crate::builder::{PushError, RecordBuilder};
pub use crate::extras::{Extra, Extras};

/// An LZ4 block cannot grow its input by more than this factor; a greater claim is a lie.
const LZ4_RATIO_MAX: usize = 255;

/// A checked view of a record's bytes. Copying it copies two references and a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    bytes: &'a [u8],
    topic: &'a str,
    codec: Codec,
}

impl<'a> Record<'a> {
    /// Checks structure, limits, topic, extras and the publisher's checksum of a whole record.
    ///
    /// # Errors
    /// The first rule that `bytes` break.
    pub fn verify(bytes: &'a [u8], limits: &Limits) -> Result<Self, RecordError> {
        let record = Self::structure(bytes, limits)?;
        record.extras().check()?;
        if body_is_intact(bytes) || planted(Bug::IgnoresTheBody) {
            Ok(record)
        } else {
            Err(RecordError::BodyChecksum)
        }
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
        let Some(header) = bytes.first_chunk::<RECORD_HEADER_SIZE>() else {
            let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            return Err(RecordError::Size { size });
        };
        let size = check_head(header, bytes.len(), limits)?;
        let codec = Codec::from_flags(header[5])?;
        let padding = usize::from(header[PADDING]);
        if padding >= FRAME_ALIGN || header[RESERVED] != 0 {
            return Err(RecordError::Reserved);
        }
        let topic_end = RECORD_HEADER_SIZE + usize::from(header[TOPIC_SIZE]);
        let block_start = topic_end + usize::from(header[EXTRAS_UNITS]) * FRAME_ALIGN;
        let Some(block) = bytes.len().checked_sub(block_start + padding) else {
            return Err(RecordError::Size { size });
        };
        check_block(codec, block, read_u32(header, RAW_SIZE))?;
        if bytes[bytes.len() - padding..].iter().any(|byte| *byte != 0) {
            return Err(RecordError::Reserved);
        }
        let topic = topic::parse(&bytes[RECORD_HEADER_SIZE..topic_end])?;
        Ok(Self {
            bytes,
            topic,
            codec,
        })
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
    pub const fn codec(&self) -> Codec {
        self.codec
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
        Extras::new(&self.bytes[self.topic_end()..self.block_start()])
    }

    /// The block: messages, possibly compressed.
    #[must_use]
    pub fn block(&self) -> &'a [u8] {
        &self.bytes[self.block_start()..self.bytes.len() - usize::from(self.bytes[PADDING])]
    }

    const fn topic_end(&self) -> usize {
        RECORD_HEADER_SIZE + self.topic.len()
    }

    fn block_start(&self) -> usize {
        self.topic_end() + usize::from(self.bytes[EXTRAS_UNITS]) * FRAME_ALIGN
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

/// Checks what the header says of itself, and gives the record's size.
fn check_head(
    header: &[u8; RECORD_HEADER_SIZE],
    given: usize,
    limits: &Limits,
) -> Result<u32, RecordError> {
    let size = read_u32(header, 0);
    if header[4] != kind::RECORD {
        return Err(RecordError::Kind { kind: header[4] });
    }
    if size > limits.record_size_max {
        let max = limits.record_size_max;
        return Err(RecordError::TooLarge { size, max });
    }
    if size as usize != given || !given.is_multiple_of(FRAME_ALIGN) {
        return Err(RecordError::Size { size });
    }
    let (count, raw_size) = (read_u16(header, 6), read_u32(header, RAW_SIZE));
    if count == 0 || u32::from(count) > raw_size {
        return Err(RecordError::Count { count, raw_size });
    }
    if raw_size > limits.raw_size_max {
        let max = limits.raw_size_max;
        return Err(RecordError::RawSize { raw_size, max });
    }
    Ok(size)
}

/// Checks that a block of `block` bytes can hold `raw_size` bytes.
fn check_block(codec: Codec, block: usize, raw_size: u32) -> Result<(), RecordError> {
    let raw = raw_size as usize;
    let plausible = match codec {
        Codec::Stored => block == raw,
        Codec::Lz4 => block < raw && raw <= block.saturating_mul(LZ4_RATIO_MAX),
    };
    if plausible {
        return Ok(());
    }
    // The block is part of a record whose size travels in 32 bits.
    let block = u32::try_from(block).unwrap_or(u32::MAX);
    Err(RecordError::Block { block, raw_size })
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
