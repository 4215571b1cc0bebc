//! The first eight bytes, which all frames share: what follows, and how long it is.

use crate::bytes::{read_u16, read_u32};
use crate::error::FrameError;
use crate::limits::{FRAME_ALIGN, FRAME_HEAD_SIZE};

/// The kinds of frame. A receiver skips a kind with the high bit set that it does not know; any other unknown kind
/// is refused.
pub mod kind {
    /// Messages of one topic: a publish on the way in, a delivery on the way out.
    pub const RECORD: u8 = 1;
    /// Client to broker, first frame of a connection.
    pub const HELLO: u8 = 2;
    /// Broker to client, the answer to `HELLO`.
    pub const WELCOME: u8 = 3;
    /// Client to broker: deliver a topic.
    pub const SUBSCRIBE: u8 = 4;
    /// Broker to client: where delivery begins, or why not.
    pub const SUBSCRIBED: u8 = 5;
    /// Client to broker: stop delivering a topic.
    pub const UNSUBSCRIBE: u8 = 6;
    /// Broker to client: no record of that topic follows.
    pub const UNSUBSCRIBED: u8 = 7;
    /// Broker to client: outcomes of published records.
    pub const PUBLISHED: u8 = 8;
    /// Either way: answer me.
    pub const PING: u8 = 9;
    /// Either way: the answer to `PING`.
    pub const PONG: u8 = 10;
    /// Either way: the last frame of a connection.
    pub const GOODBYE: u8 = 11;
    /// Client to broker: a question about the broker itself.
    pub const QUERY: u8 = 12;
    /// Broker to client: the answer to `QUERY`.
    pub const ANSWER: u8 = 13;
    /// Broker to client: messages of a subscription that are no longer there.
    pub const GAP: u8 = 14;
    /// Broker to client: messages of a subscription that are not to be delivered any more.
    pub const SKIP: u8 = 15;
    /// Client to broker: other credentials for this session.
    pub const RENEW: u8 = 16;
    /// Broker to client: what became of that.
    pub const RENEWED: u8 = 17;
    /// Client to broker: up to where a cursor's messages are done with.
    pub const ACK: u8 = 18;
    /// Broker to client: what became of that.
    pub const ACKED: u8 = 19;
    /// Broker to client: something that is good to know.
    pub const NOTICE: u8 = 20;
    /// Broker to client: a subscription is over, although the client has not ended it.
    pub const ENDED: u8 = 21;
    /// Broker to client: how far a filter's subscription has come.
    pub const REACHED: u8 = 22;
    /// Log mark: fills a block to its end.
    pub const PAD: u8 = 0x80;
    /// Log mark: everything up to a sequence is durable.
    pub const SYNC_MARK: u8 = 0x81;
    /// Log mark: first bytes of a block.
    pub const BLOCK_HEADER: u8 = 0x82;

    /// Whether a reader that does not know `kind` passes over it.
    #[must_use]
    pub const fn is_skippable(kind: u8) -> bool {
        kind & 0x80 != 0
    }
}

/// The first eight bytes of any frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the whole frame, this head included; a multiple of 8.
    pub size: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// Meaning depends on the kind; unknown bits are refused.
    pub flags: u8,
    /// A count or a code, depending on the kind.
    pub aux: u16,
}

impl FrameHead {
    /// Reads the head; `None` while `input` holds fewer than eight bytes.
    ///
    /// # Errors
    /// When the size cannot be that of a frame: not a multiple of 8, or smaller than the head.
    #[must_use]
    pub fn parse(input: &[u8]) -> Option<Result<Self, FrameError>> {
        if input.len() < FRAME_HEAD_SIZE {
            return None;
        }
        let head = Self {
            size: read_u32(input, 0),
            kind: input[4],
            flags: input[5],
            aux: read_u16(input, 6),
        };
        let size = head.size as usize;
        if size < FRAME_HEAD_SIZE || !size.is_multiple_of(FRAME_ALIGN) {
            return Some(Err(FrameError::Size { size: head.size }));
        }
        Some(Ok(head))
    }

    /// The eight bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; FRAME_HEAD_SIZE] {
        let mut out = [0; FRAME_HEAD_SIZE];
        out[..4].copy_from_slice(&self.size.to_le_bytes());
        out[4] = self.kind;
        out[5] = self.flags;
        out[6..].copy_from_slice(&self.aux.to_le_bytes());
        out
    }
}
