//! Takes the framing of WebSocket off what clients send: returns the bytes of their messages, and what control frames ask.
//!
//! Only the header of a frame and a control frame, which is short, are gathered. So a message takes no memory here, whatever
//! its frames are, and a session between two messages needs no state at all.

use oyez_protocol::planted::{Bug, planted};

use crate::dialect::run::{FIN, Opcode, SHORT_MAX, SIZE_16, SIZE_64};
use crate::dialect::websocket::close::{self, CloseFault, fault};
use crate::dialect::websocket::utf8::Utf8;

/// Bits that only extensions give a meaning, and none is agreed on.
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const MASK_SIZE: usize = 4;
/// Bytes of the longest header: two, a size of 64 bits, a mask.
const HEADER_SIZE_MAX: usize = 14;

/// Which messages are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) text: bool,
    pub(crate) binary: bool,
    /// Most bytes of a message.
    pub(crate) size_max: u64,
}

/// The front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Nothing more: all of the input is used.
    Nothing,
    /// Bytes of a message, perhaps none. They follow what was in the output.
    Message {
        from: usize,
        is_text: bool,
        /// The message ends with them.
        ends: bool,
    },
    /// A Ping, whose payload [`Unframing::control`] has.
    Ping,
    /// A Pong, asked for or not.
    Pong,
    /// The peer closes, with this code. Bytes behind it are ignored.
    Close(u16),
}

/// How far a session's input has come.
#[derive(Debug, Default)]
pub(crate) struct Unframing {
    /// The header that has begun to come.
    header: [u8; HEADER_SIZE_MAX],
    header_size: usize,
    /// The frame of which a part has come; `None` between two frames.
    frame: Option<FrameBegun>,
    /// The message of which a part has come.
    message: Option<MessageBegun>,
    /// The payload of a control frame.
    control: Vec<u8>,
}

/// A frame whose header has come.
#[derive(Clone, Copy, Debug)]
struct FrameBegun {
    opcode: Opcode,
    is_last: bool,
    /// Bytes of its payload that have not come.
    left: u64,
    /// The mask, turned so that it begins with the byte for the next one of the payload.
    mask: [u8; MASK_SIZE],
}

#[derive(Debug)]
struct MessageBegun {
    is_text: bool,
    size: u64,
    /// Whether the text that has come ends within a character.
    text: Utf8,
}

impl Unframing {
    /// Whether nothing has begun that has not ended.
    pub(crate) const fn is_at_rest(&self) -> bool {
        self.header_size == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// The payload of the control frame that has come.
    pub(crate) fn control(&self) -> &[u8] {
        &self.control
    }

    /// Takes the next piece off the front of `input`. Bytes of messages are added to `out`.
    ///
    /// # Errors
    /// When no continuation of the input is valid, or the message is not accepted. The session ends there.
    pub(crate) fn next(
        &mut self,
        input: &mut &[u8],
        accepts: Accepts,
        out: &mut Vec<u8>,
    ) -> Result<Piece, CloseFault> {
        let mut frame = match self.frame.take() {
            Some(frame) => frame,
            None => match self.take_header(input)? {
                Some(frame) => {
                    self.begin(&frame, accepts)?;
                    frame
                }
                None => return Ok(Piece::Nothing),
            },
        };
        if input.is_empty() && frame.left > 0 {
            self.frame = Some(frame);
            return Ok(Piece::Nothing);
        }
        let size = usize::try_from(frame.left).map_or(input.len(), |left| left.min(input.len()));
        let (bytes, rest) = input.split_at(size);
        *input = rest;
        frame.left -= size as u64;
        let is_whole = frame.left == 0;
        if frame.opcode.is_control() {
            unmask(bytes, frame.mask, &mut self.control);
            frame.mask.rotate_left(size % MASK_SIZE);
            if !is_whole {
                self.frame = Some(frame);
                return Ok(Piece::Nothing);
            }
            return self.end_control(frame.opcode);
        }
        let from = out.len();
        let is_lost = frame.opcode == Opcode::Continuation && planted(Bug::LosesAFragment);
        if !is_lost {
            unmask(bytes, frame.mask, out);
        }
        if !planted(Bug::MaskBeginsAnew) {
            frame.mask.rotate_left(size % MASK_SIZE);
        }
        let ends = is_whole && frame.is_last;
        self.frame = (!is_whole).then_some(frame);
        self.note_message(&out[from..], (from, ends))
    }

    /// Takes the header at the front of the input; `None` if it has not come whole.
    fn take_header(&mut self, input: &mut &[u8]) -> Result<Option<FrameBegun>, CloseFault> {
        loop {
            let need = header_size(&self.header[..self.header_size]);
            if self.header_size == need {
                break;
            }
            let Some((byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.header[self.header_size] = *byte;
            self.header_size += 1;
        }
        let header = &self.header[..self.header_size];
        self.header_size = 0;
        read_header(header).map(Some)
    }

    /// Begins a frame.
    fn begin(&mut self, frame: &FrameBegun, accepts: Accepts) -> Result<(), CloseFault> {
        if frame.opcode.is_control() {
            self.control.clear();
            return Ok(());
        }
        let is_text = match (frame.opcode, &self.message) {
            (Opcode::Continuation, None) => {
                return Err(fault(
                    close::PROTOCOL,
                    "a frame continues a message, and none has begun",
                ));
            }
            (Opcode::Continuation, Some(message)) => message.is_text,
            (_, Some(_)) => {
                return Err(fault(
                    close::PROTOCOL,
                    "a message begins before the last one has ended",
                ));
            }
            (opcode, None) => opcode == Opcode::Text,
        };
        if !(if is_text {
            accepts.text
        } else {
            accepts.binary
        }) {
            let why = match is_text {
                true => "frames of Oyez come in binary messages",
                false => "without a subprotocol messages are text; frames of Oyez want `oyez.v2`",
            };
            return Err(fault(close::UNSUPPORTED, why));
        }
        let message = self.message.get_or_insert(MessageBegun {
            is_text,
            size: 0,
            text: Utf8::default(),
        });
        message.size = message.size.saturating_add(frame.left);
        if message.size > accepts.size_max {
            return Err(fault(
                close::TOO_LARGE,
                "the message is longer than any that this broker takes",
            ));
        }
        Ok(())
    }

    /// Notes that bytes of a message have come.
    fn note_message(
        &mut self,
        bytes: &[u8],
        (from, ends): (usize, bool),
    ) -> Result<Piece, CloseFault> {
        let message = self.message.as_mut().expect("its first frame has begun it");
        let is_text = message.is_text;
        if is_text && !(message.text.go_on(bytes) && (!ends || message.text.is_whole())) {
            return Err(fault(
                close::NO_TEXT,
                "a text message holds bytes that are not UTF-8",
            ));
        }
        if ends {
            self.message = None;
        }
        Ok(Piece::Message {
            from,
            is_text,
            ends,
        })
    }

    fn end_control(&mut self, opcode: Opcode) -> Result<Piece, CloseFault> {
        match opcode {
            Opcode::Ping => Ok(Piece::Ping),
            Opcode::Close => close::read(&self.control).map(Piece::Close),
            _ => Ok(Piece::Pong),
        }
    }
}

/// Bytes of the header that begins with these, as far as they show.
const fn header_size(begun: &[u8]) -> usize {
    if begun.len() < 2 {
        return 2;
    }
    let size = match begun[1] & !MASKED {
        SIZE_16 => 4,
        SIZE_64 => 10,
        _ => 2,
    };
    match begun[1] & MASKED {
        0 => size,
        _ => size + MASK_SIZE,
    }
}

/// Reads a whole header.
fn read_header(header: &[u8]) -> Result<FrameBegun, CloseFault> {
    let (first, second) = (header[0], header[1]);
    if first & RESERVED != 0 {
        return Err(fault(
            close::PROTOCOL,
            "a frame has bits of an extension, and none was agreed on",
        ));
    }
    let opcode = match first & OPCODE {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => {
            return Err(fault(close::PROTOCOL, "a frame is of an unknown kind"));
        }
    };
    if second & MASKED == 0 {
        return Err(fault(
            close::PROTOCOL,
            "clients have to mask their frames, and a frame is not masked",
        ));
    }
    let (size, mask) = header[2..].split_at(header.len() - 2 - MASK_SIZE);
    let left = match *size {
        [] => u64::from(second & !MASKED),
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        _ => u64::from_be_bytes(size.try_into().expect("a size has 0, 2 or 8 bytes")),
    };
    let is_short = match size.len() {
        0 => true,
        2 => left > SHORT_MAX as u64,
        _ => left > u64::from(u16::MAX) && left <= i64::MAX as u64,
    };
    if !is_short {
        return Err(fault(
            close::PROTOCOL,
            "a frame's size is not written in as few bytes as it takes",
        ));
    }
    let is_last = first & FIN != 0;
    if opcode.is_control() && (!is_last || left > SHORT_MAX as u64) {
        return Err(fault(
            close::PROTOCOL,
            "a control frame is longer than 125 bytes, or in parts",
        ));
    }
    Ok(FrameBegun {
        opcode,
        is_last,
        left,
        mask: mask.try_into().expect("a mask has 4 bytes"),
    })
}

/// Adds `bytes` to `out` without their mask.
fn unmask(bytes: &[u8], mask: [u8; MASK_SIZE], out: &mut Vec<u8>) {
    if planted(Bug::LeavesTheMask) {
        return out.extend_from_slice(bytes);
    }
    let begin = out.len();
    out.extend_from_slice(bytes);
    let word = u32::from_ne_bytes(mask);
    let mut words = out[begin..].chunks_exact_mut(MASK_SIZE);
    for bytes in &mut words {
        let masked = u32::from_ne_bytes(bytes.try_into().expect("a chunk has 4 bytes"));
        bytes.copy_from_slice(&(masked ^ word).to_ne_bytes());
    }
    for (byte, mask) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
