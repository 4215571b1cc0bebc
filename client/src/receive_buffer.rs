//! Cuts the bytes that arrive into frames. Pure: the owner of the socket fills it.

use std::io::{self, ErrorKind};

use oyez_protocol::error::FrameError;
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};

use crate::error::ConnectionError;

/// Room for one read. The buffer grows to the largest frame seen, at most to the largest that the protocol knows.
const READ_SIZE: usize = 64 << 10;

/// What was received and is not consumed yet.
#[derive(Debug, Default)]
pub(crate) struct ReceiveBuffer {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    needed: usize,
    /// Frames taken so far.
    taken: u64,
}

/// How a read ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes came.
    Bytes,
    /// No bytes came in the time given.
    Nothing,
}

/// Whether this is the error of a read that timed out, or was interrupted by a signal.
pub(crate) const fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// A frame that has begun to arrive and is not whole yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incomplete {
    /// Number of frames that came before it.
    pub(crate) number: u64,
    /// Its size in bytes, as far as it is known.
    pub(crate) size: usize,
}

impl ReceiveBuffer {
    /// Returns the room for the next bytes: never empty, and large enough for the rest of the frame that has begun.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let size = READ_SIZE.max(self.needed).max(self.end + 1);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Notes that `size` bytes were written into [`ReceiveBuffer::spare`].
    pub(crate) fn filled(&mut self, size: usize) {
        self.end = (self.end + size).min(self.buffer.len());
    }

    /// Notes the result of a read into [`ReceiveBuffer::spare`].
    ///
    /// # Errors
    /// When the connection is at its end.
    pub(crate) fn note_read(
        &mut self,
        read: io::Result<usize>,
    ) -> Result<Received, ConnectionError> {
        match read {
            Ok(0) => Err(ConnectionError::Closed),
            Ok(size) => {
                self.filled(size);
                Ok(Received::Bytes)
            }
            Err(error) if is_timeout(error.kind()) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes the next whole frame; `None` when more bytes are needed. Deliveries are checked against the widest limits
    /// of the protocol, because a log may hold records from before its broker's limits were narrowed.
    ///
    /// # Errors
    /// When the bytes cannot become a frame; the connection ends there.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        match decode(&self.buffer[self.start..self.end], &Limits::HARD)? {
            Decoded::Need { total } => {
                self.needed = total;
                Ok(None)
            }
            Decoded::Frame { frame, size } => {
                self.start += size;
                self.taken += 1;
                Ok(Some(frame))
            }
        }
    }

    /// What has arrived, as long as no whole frame was taken from it.
    pub(crate) fn before_first(&self) -> Option<&[u8]> {
        (self.taken == 0).then(|| &self.buffer[self.start..self.end])
    }

    /// The frame that has begun, when [`ReceiveBuffer::next`] has found no whole one.
    pub(crate) const fn incomplete(&self) -> Option<Incomplete> {
        if self.start == self.end {
            return None;
        }
        Some(Incomplete {
            number: self.taken,
            size: self.needed,
        })
    }

    /// Whether the front looks like a whole frame, judged by its length alone.
    pub(crate) fn holds_frame(&self) -> bool {
        let input = &self.buffer[self.start..self.end];
        match oyez_protocol::header::FrameHead::parse(input) {
            Some(Ok(head)) => input.len() >= head.size as usize,
            Some(Err(_)) => true,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::event::{Answer, Heartbeat, Outcome};
    use oyez_protocol::record::RecordBuilder;

    fn feed(buffer: &mut ReceiveBuffer, bytes: &[u8]) {
        buffer.spare()[..bytes.len()].copy_from_slice(bytes);
        buffer.filled(bytes.len());
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces_they_arrive_in() {
        let mut wire = Vec::new();
        for token in 0..20 {
            Heartbeat { token }.encode_ping(&mut wire);
        }
        for piece in [1, 7, 24, 100] {
            let (mut buffer, mut tokens) = (ReceiveBuffer::default(), Vec::new());
            for chunk in wire.chunks(piece) {
                feed(&mut buffer, chunk);
                while let Some(frame) = buffer.next().unwrap() {
                    let Frame::Ping(heartbeat) = frame else {
                        panic!("{frame:?}")
                    };
                    tokens.push(heartbeat.token);
                }
                assert!(!buffer.holds_frame());
            }
            assert_eq!(tokens, (0..20).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_frame_larger_than_a_read_finds_room() {
        let mut builder = RecordBuilder::new("a", Limits::HARD).unwrap();
        let payload = vec![7; 900_000];
        builder
            .push(&oyez_protocol::message::MessageRef::new(&payload))
            .unwrap();
        let mut wire = Vec::new();
        builder.finish_stored(1, &mut wire);
        let (mut buffer, mut rest, mut reads) = (ReceiveBuffer::default(), &wire[..], 0);
        while !rest.is_empty() {
            let spare = buffer.spare();
            let size = spare.len().min(rest.len());
            spare[..size].copy_from_slice(&rest[..size]);
            buffer.filled(size);
            rest = &rest[size..];
            reads += 1;
            if !rest.is_empty() {
                assert!(buffer.next().unwrap().is_none());
            }
        }
        assert!(reads <= 2, "room is made for the whole frame at once");
        assert!(matches!(buffer.next().unwrap(), Some(Frame::Record(_))));
    }

    #[test]
    fn a_damaged_frame_is_an_error_and_does_not_wait_for_more_bytes() {
        let (mut wire, mut buffer) = (Vec::new(), ReceiveBuffer::default());
        let answer = Answer {
            id: 1,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            more: false,
            json: "{}",
        };
        answer.encode(&mut wire);
        wire[17] ^= 1;
        feed(&mut buffer, &wire);
        assert!(buffer.holds_frame());
        assert!(buffer.next().is_err());
    }
}
