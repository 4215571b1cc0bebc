//! Where a record's fields lie, and what its two checksums cover: shared by what builds a record and by what reads it.

use crate::bytes::{read_u32, write_u32, write_u64};
use crate::checksum::{crc32c, crc32c_append};
use crate::error::RecordError;
use crate::header::FrameHead;
use crate::limits::RECORD_HEADER_SIZE;

const BODY_CRC: usize = 8;
pub(crate) const RAW_SIZE: usize = 12;
pub(crate) const TOPIC_SIZE: usize = 16;
pub(crate) const EXTRAS_UNITS: usize = 17;
pub(crate) const PADDING: usize = 18;
pub(crate) const RESERVED: usize = 19;
pub(crate) const HEADER_CRC: usize = 20;
pub(crate) const OFFSET: usize = 24;
pub(crate) const SEQUENCE: usize = 32;
pub(crate) const LOG: usize = 38;
pub(crate) const TIMESTAMP: usize = 40;
pub(crate) const INCARNATION: usize = 46;

/// How a block is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As it is, because LZ4 would not have made it smaller.
    Stored,
    /// One raw LZ4 block.
    Lz4,
}

impl Codec {
    pub(crate) fn from_flags(flags: u8) -> Result<Self, RecordError> {
        match flags {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Lz4),
            _ => Err(RecordError::Flags { flags }),
        }
    }

    pub(crate) const fn to_flags(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Lz4 => 1,
        }
    }
}

/// What a publisher writes into the fixed header.
pub(crate) struct HeaderFields {
    pub(crate) head: FrameHead,
    pub(crate) raw_size: u32,
    pub(crate) topic_size: u8,
    pub(crate) extras_units: u8,
    pub(crate) padding: u8,
    pub(crate) correlation: u64,
}

/// Writes the publisher's part of the header, and the checksum over it and the body behind it. What the broker will
/// write is zero.
pub(crate) fn write_header(bytes: &mut [u8], fields: &HeaderFields) {
    bytes[..BODY_CRC].copy_from_slice(&fields.head.to_bytes());
    write_u32(bytes, RAW_SIZE, fields.raw_size);
    bytes[TOPIC_SIZE] = fields.topic_size;
    bytes[EXTRAS_UNITS] = fields.extras_units;
    bytes[PADDING] = fields.padding;
    bytes[RESERVED..RECORD_HEADER_SIZE].fill(0);
    write_u64(bytes, OFFSET, fields.correlation);
    let crc = body_crc(bytes);
    write_u32(bytes, BODY_CRC, crc);
}

/// Whether the publisher's checksum is right, in a record of which at least the header is there.
pub(crate) fn body_is_intact(bytes: &[u8]) -> bool {
    body_crc(bytes) == read_u32(bytes, BODY_CRC)
}

/// The publisher's checksum: it covers no byte that the broker writes.
fn body_crc(bytes: &[u8]) -> u32 {
    // Both covered parts of the header in one call: a call costs more than eight bytes do.
    let mut header = [0; 16];
    header[..8].copy_from_slice(&bytes[..BODY_CRC]);
    header[8..].copy_from_slice(&bytes[RAW_SIZE..HEADER_CRC]);
    crc32c_append(crc32c(&header), &bytes[RECORD_HEADER_SIZE..])
}

/// The broker's checksum: the header with this field as zero.
pub(crate) fn header_crc(bytes: &[u8]) -> u32 {
    let mut header = [0; RECORD_HEADER_SIZE];
    header.copy_from_slice(&bytes[..RECORD_HEADER_SIZE]);
    write_u32(&mut header, HEADER_CRC, 0);
    crc32c(&header)
}
