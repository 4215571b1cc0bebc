//! The log's own frames: block header, sync mark and pad, byte by byte.
//!
//! All share the first eight bytes of every frame and keep the frame checksum in bytes 8 to 12. This module only encodes
//! and decodes; `tail` decides where frames stand in a log, and `recovery` finds them again.

use oyez_protocol::checksum::{crc32c, crc32c_append, frame_is_intact, seal_frame};
use oyez_protocol::header::{FrameHead, kind};

/// Version of everything this crate writes to disk. It reads version 1 as well.
pub const FORMAT_VERSION: u32 = 2;
/// Bytes of a block: of the tail arena, and of the same range of its segment.
pub const BLOCK_BYTES: u64 = 2 << 20;
/// Bytes of a block header.
pub const BLOCK_HEADER_SIZE: usize = 64;
/// Bytes of a sync mark.
pub const SYNC_MARK_SIZE: usize = 40;
/// Bytes of a pad that are written; its size field spans the rest of the block.
pub const PAD_HEADER_SIZE: usize = 16;

/// `OYEZBLK1` as a little-endian number.
const BLOCK_MAGIC: u64 = u64::from_le_bytes(*b"OYEZBLK1");

// A record of the largest size, a header and a pad fit into one block.
const _: () = assert!(
    BLOCK_HEADER_SIZE
        + SYNC_MARK_SIZE
        + PAD_HEADER_SIZE
        + oyez_protocol::limits::RECORD_SIZE_HARD_MAX as usize
        <= BLOCK_BYTES as usize
);

/// The first position of the block that holds `position`.
pub(crate) const fn block_start(position: u64) -> u64 {
    position & !(BLOCK_BYTES - 1)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("a slice of N bytes is an array of N bytes")
}

/// Place of the checksum in the files that have one of the whole file.
const FILE_CRC: usize = 12;

/// CRC-32C of a whole file, with its checksum field as zero.
fn file_crc(bytes: &[u8]) -> u32 {
    let crc = crc32c(&bytes[..FILE_CRC]);
    let crc = crc32c_append(crc, &[0; 4]);
    crc32c_append(crc, &bytes[FILE_CRC + 4..])
}

/// Writes a file's checksum into its place.
pub(crate) fn seal_file(bytes: &mut [u8]) {
    let crc = file_crc(bytes);
    bytes[FILE_CRC..FILE_CRC + 4].copy_from_slice(&crc.to_le_bytes());
}

/// A file that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileFault {
    Damaged,
    /// Intact, and written in a version of the format that this code does not know.
    Version(u32),
}

/// The version of an intact file that begins with `magic`.
pub(crate) fn intact_version(bytes: &[u8], magic: [u8; 8]) -> Result<u32, FileFault> {
    let intact = bytes.len() >= FILE_CRC + 4
        && bytes[..8] == magic
        && u32_at(bytes, FILE_CRC) == file_crc(bytes);
    if intact {
        Ok(u32_at(bytes, 8))
    } else {
        Err(FileFault::Damaged)
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub log: u16,
    pub incarnation: u32,
    /// Chain checksum before the block's first record.
    pub chain: u32,
    /// Position of the block in units of blocks.
    pub number: u64,
    /// Sequence that the block's first record has or would have.
    pub first_sequence: u64,
    /// Timestamp of the record before it.
    pub timestamp_ms: u64,
    /// The data directory.
    pub dir_id: u64,
}

impl BlockHeader {
    /// Position of the block.
    pub(crate) fn position(&self) -> u64 {
        self.number.saturating_mul(BLOCK_BYTES)
    }

    pub(crate) fn encode(&self, out: &mut [u8]) {
        head(out, BLOCK_HEADER_SIZE, kind::BLOCK_HEADER);
        out[6..8].copy_from_slice(&1u16.to_le_bytes());
        out[12..14].copy_from_slice(&self.log.to_le_bytes());
        out[14..16].fill(0);
        out[16..24].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        out[24..28].copy_from_slice(&self.incarnation.to_le_bytes());
        out[28..32].copy_from_slice(&self.chain.to_le_bytes());
        out[32..40].copy_from_slice(&self.number.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        out[48..56].copy_from_slice(&self.timestamp_ms.to_le_bytes());
        out[56..64].copy_from_slice(&self.dir_id.to_le_bytes());
        seal_frame(&mut out[..BLOCK_HEADER_SIZE]);
    }

    /// `None` unless `bytes` begin with an intact header of this format version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = intact(bytes, BLOCK_HEADER_SIZE, kind::BLOCK_HEADER)?;
        if u64_at(bytes, 16) != BLOCK_MAGIC || u16_at(bytes, 6) != 1 {
            return None;
        }
        Some(Self {
            log: u16_at(bytes, 12),
            incarnation: u32_at(bytes, 24),
            chain: u32_at(bytes, 28),
            number: u64_at(bytes, 32),
            first_sequence: u64_at(bytes, 40),
            timestamp_ms: u64_at(bytes, 48),
            dir_id: u64_at(bytes, 56),
        })
    }
}

/// A mark that everything before a sequence and a position is durable; in a written log, in the kernel's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyncMark {
    /// CRC-32C over the header checksums of all records of the incarnation before `sequence`.
    pub chain: u32,
    /// Every record with a smaller sequence is durable.
    pub sequence: u64,
    /// Every byte before this position is durable.
    pub position: u64,
    pub incarnation: u32,
}

impl SyncMark {
    pub(crate) fn encode(&self, out: &mut [u8]) {
        head(out, SYNC_MARK_SIZE, kind::SYNC_MARK);
        out[12..16].copy_from_slice(&self.chain.to_le_bytes());
        out[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        out[24..32].copy_from_slice(&self.position.to_le_bytes());
        out[32..36].copy_from_slice(&self.incarnation.to_le_bytes());
        out[36..40].fill(0);
        seal_frame(&mut out[..SYNC_MARK_SIZE]);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = intact(bytes, SYNC_MARK_SIZE, kind::SYNC_MARK)?;
        Some(Self {
            chain: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            position: u64_at(bytes, 24),
            incarnation: u32_at(bytes, 32),
        })
    }
}

/// Writes a pad that spans `size` bytes; only its first [`PAD_HEADER_SIZE`] are touched.
pub(crate) fn encode_pad(size: usize, out: &mut [u8]) {
    head(out, size, kind::PAD);
    out[12..PAD_HEADER_SIZE].fill(0);
    seal_frame(&mut out[..PAD_HEADER_SIZE]);
}

/// Whether `bytes` begin with an intact pad.
pub(crate) fn is_pad(bytes: &[u8]) -> bool {
    bytes.len() >= PAD_HEADER_SIZE
        && bytes[4] == kind::PAD
        && frame_is_intact(&bytes[..PAD_HEADER_SIZE])
}

fn head(out: &mut [u8], size: usize, kind: u8) {
    let head = FrameHead {
        size: u32::try_from(size).expect("a frame lies within one block"),
        kind,
        flags: 0,
        aux: 0,
    };
    out[..8].copy_from_slice(&head.to_bytes());
}

fn intact(bytes: &[u8], size: usize, kind: u8) -> Option<&[u8]> {
    let bytes = bytes.get(..size)?;
    let sound = bytes[4] == kind && u32_at(bytes, 0) as usize == size && frame_is_intact(bytes);
    sound.then_some(bytes)
}
