//! The block codec: raw LZ4 blocks, with the block as it is where LZ4 does not shrink it.
//!
//! For publishers and subscribers. A broker passes blocks on as they are; it needs this where it publishes for others.

use crate::error::BlockError;
use crate::record::{Codec, Record, RecordBuilder};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

/// Buffers of a compressor or a decompressor, reused from record to record.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    buffer: Vec<u8>,
}

impl Scratch {
    /// Empty; grows with the first record.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new() }
    }

    /// Finishes the record that `builder` gathered: compressed if that makes it smaller, else as it is. Appends it to
    /// `out`, and returns the codec that it has.
    ///
    /// # Panics
    /// If nothing was pushed into `builder`.
    pub fn finish(
        &mut self,
        builder: &mut RecordBuilder,
        correlation: u64,
        out: &mut Vec<u8>,
    ) -> Codec {
        let raw = builder.raw();
        let buffer = self.room(get_maximum_output_size(raw.len()));
        let size =
            compress_into(raw, buffer).expect("the output has the size that LZ4 needs at worst");
        if size < raw.len() {
            builder.finish(correlation, Codec::Lz4, &self.buffer[..size], out);
            Codec::Lz4
        } else {
            builder.finish_stored(correlation, out);
            Codec::Stored
        }
    }

    /// The raw block of `record`: borrowed from the record when it is stored as it is, else decompressed here. At most
    /// the record's `raw_size` bytes are allocated, which its verification has capped.
    ///
    /// # Errors
    /// [`BlockError::Decompress`] when the block is not LZ4 of exactly that length.
    pub fn open<'a>(&'a mut self, record: &Record<'a>) -> Result<&'a [u8], BlockError> {
        match record.codec() {
            Codec::Stored => Ok(record.block()),
            Codec::Lz4 => {
                let raw_size = record.raw_size();
                let buffer = self.room(raw_size as usize);
                match decompress_into(record.block(), buffer) {
                    Ok(size) if size == raw_size as usize => Ok(buffer),
                    _ => Err(BlockError::Decompress { raw_size }),
                }
            }
        }
    }

    /// Exactly `size` bytes of the buffer. It grows no further than it must, and bytes that are there already are not
    /// cleared again.
    fn room(&mut self, size: usize) -> &mut [u8] {
        let missing = size.saturating_sub(self.buffer.len());
        self.buffer.reserve_exact(missing);
        self.buffer.resize(self.buffer.len() + missing, 0);
        &mut self.buffer[..size]
    }
}
