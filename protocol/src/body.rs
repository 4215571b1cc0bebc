//! Reading and writing the bodies of control frames, field by field.

use crate::bytes::{read_u16, read_u32, read_u64};
use crate::checksum::seal_frame;
use crate::error::FrameError;
use crate::header::FrameHead;
use crate::limits::{CONTROL_HEADER_SIZE, CONTROL_SIZE_MAX, FRAME_ALIGN};

/// The fields of one frame, taken from front to back.
pub(crate) struct Body<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Body<'a> {
    pub(crate) const fn new(kind: u8, rest: &'a [u8]) -> Self {
        Self { kind, rest }
    }

    pub(crate) const fn malformed(&self, what: &'static str) -> FrameError {
        FrameError::Malformed {
            kind: self.kind,
            what,
        }
    }

    /// What was not taken yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(
        &mut self,
        size: usize,
        what: &'static str,
    ) -> Result<&'a [u8], FrameError> {
        let (taken, left) = self
            .rest
            .split_at_checked(size)
            .ok_or_else(|| self.malformed(what))?;
        self.rest = left;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, FrameError> {
        Ok(self.bytes(1, what)?[0])
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, FrameError> {
        Ok(read_u16(self.bytes(2, what)?, 0))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, FrameError> {
        Ok(read_u32(self.bytes(4, what)?, 0))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, FrameError> {
        Ok(read_u64(self.bytes(8, what)?, 0))
    }

    pub(crate) fn text(&mut self, size: usize, what: &'static str) -> Result<&'a str, FrameError> {
        core::str::from_utf8(self.bytes(size, what)?).map_err(|_| self.malformed(what))
    }

    pub(crate) fn zeros(&mut self, size: usize) -> Result<(), FrameError> {
        if self.bytes(size, "reserved")?.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(self.malformed("reserved bytes are not zero"))
        }
    }

    /// What is left must be padding: fewer than eight zero bytes.
    pub(crate) fn end(mut self) -> Result<(), FrameError> {
        if self.rest.len() >= FRAME_ALIGN {
            return Err(self.malformed("bytes are left after the last field"));
        }
        self.zeros(self.rest.len())
    }
}

/// A control frame being appended to a buffer; [`Frame::finish`](FrameWriter::finish) pads, sizes and checksums it.
pub(crate) struct FrameWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> FrameWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, kind: u8, flags: u8, aux: u16, id: u32) -> Self {
        let start = out.len();
        let head = FrameHead {
            size: 0,
            kind,
            flags,
            aux,
        };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&id.to_le_bytes());
        debug_assert_eq!(out.len() - start, CONTROL_HEADER_SIZE);
        Self { out, start }
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        self.out.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub(crate) fn finish(self) {
        let size = (self.out.len() - self.start).next_multiple_of(FRAME_ALIGN);
        self.out.resize(self.start + size, 0);
        let frame = &mut self.out[self.start..];
        let size = u32::try_from(size)
            .ok()
            .filter(|size| *size <= CONTROL_SIZE_MAX)
            .expect("the parts of a control frame are bounded below its limit");
        frame[..4].copy_from_slice(&size.to_le_bytes());
        seal_frame(frame);
    }
}

/// The longest front of `text` that has at most `size_max` bytes and ends between characters.
pub(crate) fn cut_text(text: &str, size_max: usize) -> &str {
    &text[..text.floor_char_boundary(size_max)]
}
