//! Messages inside a raw block.
//!
//! ```text
//! message := varint(payload_size << 2 | has_headers << 1 | has_key)
//!            [has_key:     varint(key_size) key]
//!            [has_headers: varint(count) count x (varint(size) name varint(size) value)]
//!            payload
//! ```
//! A varint is little-endian base 128 (LEB128) in its shortest form, at most `u32::MAX` (five bytes). `has_headers`
//! promises at least one header. So messages have exactly one encoding.

use crate::error::BlockError;

/// Most bytes of a varint.
const VARINT_SIZE_MAX: usize = 5;

/// One message, borrowed from where it lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// What the publisher calls the thing that the message is about.
    pub key: Option<&'a [u8]>,
    /// Name and value pairs, in the publisher's order.
    pub headers: Headers<'a>,
    /// The content.
    pub payload: &'a [u8],
}

impl<'a> MessageRef<'a> {
    /// A message without key and headers.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self {
            key: None,
            headers: Headers {
                count: 0,
                bytes: &[],
            },
            payload,
        }
    }
}

/// The headers of a message: an iterator over `(name, value)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    count: u32,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// Reads headers that [`write_headers`] wrote.
    #[must_use]
    pub fn parse(encoded: &'a [u8]) -> Option<Self> {
        let mut rest = encoded;
        let headers = take_headers(&mut rest)?;
        rest.is_empty().then_some(headers)
    }

    /// How many are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether none is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        Some((take_sized(&mut self.bytes)?, take_sized(&mut self.bytes)?))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl ExactSizeIterator for Headers<'_> {}
impl core::iter::FusedIterator for Headers<'_> {}

/// Encodes `(name, value)` pairs for [`Headers::parse`].
pub fn write_headers(pairs: &[(&[u8], &[u8])], out: &mut Vec<u8>) {
    write_varint(pairs.len() as u64, out);
    for (name, value) in pairs {
        write_sized(name, out);
        write_sized(value, out);
    }
}

/// Iterator over the messages of a raw block. After an error it ends.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
    left: u16,
    count: u16,
    failed: bool,
}

impl<'a> Messages<'a> {
    /// The `count` messages of `raw`, a decompressed block.
    #[must_use]
    pub const fn new(raw: &'a [u8], count: u16) -> Self {
        Self {
            rest: raw,
            left: count,
            count,
            failed: false,
        }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<MessageRef<'a>, BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || (self.left == 0 && self.rest.is_empty()) {
            return None;
        }
        let message = if self.left == 0 {
            None // Bytes are left after the last message.
        } else {
            self.left -= 1;
            take_message(&mut self.rest)
        };
        self.failed = message.is_none();
        Some(message.ok_or(BlockError::Messages { count: self.count }))
    }
}

impl core::iter::FusedIterator for Messages<'_> {}

/// Bytes that [`write_message`] appends.
#[must_use]
pub fn message_size(message: &MessageRef<'_>) -> usize {
    let mut size = varint_size(first_varint(message)) + message.payload.len();
    if let Some(key) = message.key {
        size += sized_size(key);
    }
    if !message.headers.is_empty() {
        size += varint_size(u64::from(message.headers.count)) + message.headers.bytes.len();
    }
    size
}

/// Appends a message to a raw block.
pub fn write_message(message: &MessageRef<'_>, out: &mut Vec<u8>) {
    write_varint(first_varint(message), out);
    if let Some(key) = message.key {
        write_sized(key, out);
    }
    if !message.headers.is_empty() {
        write_varint(u64::from(message.headers.count), out);
        out.extend_from_slice(message.headers.bytes);
    }
    out.extend_from_slice(message.payload);
}

fn first_varint(message: &MessageRef<'_>) -> u64 {
    (message.payload.len() as u64) << 2
        | u64::from(!message.headers.is_empty()) << 1
        | u64::from(message.key.is_some())
}

fn take_message<'a>(rest: &mut &'a [u8]) -> Option<MessageRef<'a>> {
    let first = take_varint(rest)?;
    let key = if first & 1 != 0 {
        Some(take_sized(rest)?)
    } else {
        None
    };
    let headers = if first & 2 != 0 {
        take_headers(rest).filter(|headers| !headers.is_empty())?
    } else {
        Headers::default()
    };
    let payload = take_bytes(rest, first >> 2)?;
    Some(MessageRef {
        key,
        headers,
        payload,
    })
}

fn take_headers<'a>(rest: &mut &'a [u8]) -> Option<Headers<'a>> {
    let count = take_varint(rest)?;
    let start = *rest;
    for _ in 0..count {
        take_sized(rest)?;
        take_sized(rest)?;
    }
    Some(Headers {
        count,
        bytes: &start[..start.len() - rest.len()],
    })
}

fn take_sized<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let size = take_varint(rest)?;
    take_bytes(rest, size)
}

fn take_bytes<'a>(rest: &mut &'a [u8], size: u32) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(size as usize)?;
    *rest = left;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().take(VARINT_SIZE_MAX).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let shortest = index == 0 || *byte != 0;
            *rest = &rest[index + 1..];
            return u32::try_from(value).ok().filter(|_| shortest);
        }
    }
    None
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_size(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn write_sized(bytes: &[u8], out: &mut Vec<u8>) {
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn sized_size(bytes: &[u8]) -> usize {
    varint_size(bytes.len() as u64) + bytes.len()
}
