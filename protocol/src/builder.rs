//! Building a record: messages in, the bytes of a record out. For publishers; `record` is the counterpart.

use std::error::Error;
use std::fmt;

use crate::error::{RecordError, TopicError};
use crate::extras::Extra;
use crate::header::{FrameHead, kind};
use crate::limits::{EXTRAS_SIZE_MAX, FRAME_ALIGN, Limits, MESSAGES_MAX, RECORD_HEADER_SIZE};
use crate::message::{MessageRef, message_size, write_message};
use crate::record::layout::{Codec, HeaderFields, write_header};
use crate::topic;

/// Why a message does not fit into the record being built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// The record is full: finish it and push into the next one.
    Full,
    /// No record can hold the message.
    TooLarge {
        /// Bytes of the encoded message.
        size: usize,
        /// Bytes that the emptiest record holds.
        max: usize,
    },
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("the record is full"),
            Self::TooLarge { size, max } => write!(
                f,
                "the message takes {size} bytes; at most {max} fit into a record"
            ),
        }
    }
}

impl Error for PushError {}

/// Gathers messages of one topic into a record. Reusable: [`RecordBuilder::finish`] takes the messages out and leaves
/// topic, extras and buffer for the next record.
#[derive(Clone, Debug)]
pub struct RecordBuilder {
    topic: String,
    extras: Vec<u8>,
    raw: Vec<u8>,
    count: u16,
    limits: Limits,
}

impl RecordBuilder {
    /// An empty record of `topic` that will keep within `limits`, and within [`Limits::HARD`].
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
            limits: limits.capped(),
        })
    }

    /// Appends an extra to this record and those after it. Best done before the first message.
    ///
    /// # Errors
    /// [`RecordError::Extra`] when every receiver would refuse the type, when the value is longer than 255 bytes, when
    /// the extras together are too long, or when the messages pushed so far leave no room for it.
    pub fn push_extra(&mut self, extra: Extra<'_>) -> Result<(), RecordError> {
        let refused = RecordError::Extra { kind: extra.kind };
        let size = u8::try_from(extra.value.len()).map_err(|_| refused)?;
        let end = self.extras.len() + extra.padded_size();
        let fits = end <= EXTRAS_SIZE_MAX && self.raw.len() <= self.capacity_with(end);
        if !extra.is_ignorable() || !fits {
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
        self.capacity_with(self.extras.len())
    }

    /// A record with as many raw bytes, stored as they are, has just the largest size that the limits allow: padding
    /// fills up to a multiple of eight, and the largest size is one.
    fn capacity_with(&self, extras_size: usize) -> usize {
        let record_size_max = self.limits.record_size_max as usize & !(FRAME_ALIGN - 1);
        let fixed = RECORD_HEADER_SIZE + self.topic.len() + extras_size;
        let stored = record_size_max.saturating_sub(fixed);
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
        self.write(correlation, Codec::Stored, &self.raw, out);
        self.clear();
    }

    /// Appends the finished record to `out` with `block` as its block, which must be [`RecordBuilder::raw`] encoded
    /// with `codec`, and smaller than that if the codec is not [`Codec::Stored`].
    ///
    /// # Panics
    /// If nothing was pushed, or `block` has a size that the codec's blocks do not have.
    pub fn finish(&mut self, correlation: u64, codec: Codec, block: &[u8], out: &mut Vec<u8>) {
        self.write(correlation, codec, block, out);
        self.clear();
    }

    fn clear(&mut self) {
        self.raw.clear();
        self.count = 0;
    }

    fn write(&self, correlation: u64, codec: Codec, block: &[u8], out: &mut Vec<u8>) {
        assert!(self.count > 0, "a record holds at least one message");
        let block_fits = match codec {
            Codec::Stored => block.len() == self.raw.len(),
            Codec::Lz4 => block.len() < self.raw.len(),
        };
        assert!(
            block_fits,
            "the block is the raw block, stored or made smaller"
        );
        let start = out.len();
        let unpadded = RECORD_HEADER_SIZE + self.topic.len() + self.extras.len() + block.len();
        let size = unpadded.next_multiple_of(FRAME_ALIGN);
        let narrow = |value: usize| u32::try_from(value).expect("push keeps within the limits");
        let byte = |value: usize| u8::try_from(value).expect("topic and extras are bounded");
        out.reserve(size);
        out.resize(start + RECORD_HEADER_SIZE, 0);
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&self.extras);
        out.extend_from_slice(block);
        out.resize(start + size, 0);
        let fields = HeaderFields {
            head: FrameHead {
                size: narrow(size),
                kind: kind::RECORD,
                flags: codec.to_flags(),
                aux: self.count,
            },
            raw_size: narrow(self.raw.len()),
            topic_size: byte(self.topic.len()),
            extras_units: byte(self.extras.len() / FRAME_ALIGN),
            padding: byte(size - unpadded),
            correlation,
        };
        write_header(&mut out[start..], &fields);
    }
}
