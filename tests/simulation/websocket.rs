//! WebSocket as a client speaks it, pure: what it says is masked and cut as chance will have it, what it hears is held to the
//! letter. Anything in it that is not as RFC 6455 and the broker's promises say is a failure of the broker.

use oyez_client::GoodbyeCode;
use oyez_protocol::header::{FrameHead, kind};
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, Frame, decode};

use super::dice::Dice;

pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;
pub(super) const FIN: u8 = 0x80;

/// Bytes of a control frame's payload, at most.
pub(super) const CONTROL_MAX: usize = 125;

/// Keys of handshakes, and what the broker has to make of each.
const KEYS: [(&str, &str); 5] = [
    ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ("pU3KGCUwux1tEyze1iN7Lg==", "zqqxaxL3dO8AGAC+wX/VnY6nBIQ="),
    ("2R4/ch/LGXEXRJTWSTydXA==", "3PaIs1IWng3aP0WV0gq9mgy+JN8="),
    ("NGC+MSAeaf7aoO7ouZl/XA==", "CJBio5VnL7Hz7D8FURuFfF6xCxg="),
    ("fCmZ/a/lkyU81lSvTfrXFA==", "0d9aGEc2CGtSXcryp65Um4sHvS4="),
];

/// The request of a handshake, and what the answer accepts.
pub(super) fn handshake(target: &str, is_native: bool, dice: &mut Dice) -> (Vec<u8>, &'static str) {
    let (key, accept) = *dice.pick(&KEYS);
    let connection = *dice.pick(&["Upgrade", "keep-alive, Upgrade", "upgrade"]);
    let protocol = match is_native {
        true => *dice.pick(&[
            "Sec-WebSocket-Protocol: oyez.v2\r\n",
            "Sec-WebSocket-Protocol: other, oyez.v2\r\n",
            "Sec-WebSocket-Protocol: other\r\nsec-websocket-protocol: oyez.v2\r\n",
        ]),
        false => "",
    };
    // Browsers offer to compress, which is declined without a word.
    let extensions = match dice.one_in(2) {
        true => "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
        false => "",
    };
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: localhost:7450\r\nUpgrade: websocket\r\nConnection: {connection}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{protocol}{extensions}\r\n"
    );
    (request.into_bytes(), accept)
}

/// Adds a frame with a mask.
pub(super) fn frame(first: u8, payload: &[u8], dice: &mut Dice, out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        size @ 0..=CONTROL_MAX => out.push(0x80 | size as u8),
        size @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(size as u16).to_be_bytes());
        }
        size => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(size as u64).to_be_bytes());
        }
    }
    let mask = (dice.next() as u32).to_be_bytes();
    out.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    out.extend(masked.map(|(byte, mask)| byte ^ mask));
}

/// The code of a Close for each Goodbye.
pub(super) const fn close_code(goodbye: GoodbyeCode) -> u16 {
    match goodbye {
        GoodbyeCode::Done => 1000,
        GoodbyeCode::Draining => 1012,
        GoodbyeCode::Full | GoodbyeCode::TooFast => 1013,
        other => 4000 + other as u16,
    }
}

/// The Goodbye that a Close stands for.
pub(super) const fn goodbye_code(close: u16) -> Option<GoodbyeCode> {
    match close {
        1000 => Some(GoodbyeCode::Done),
        1012 => Some(GoodbyeCode::Draining),
        1013 => Some(GoodbyeCode::Full),
        4000.. => Some(GoodbyeCode::from_code(close - 4000)),
        _ => None,
    }
}

/// Something that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Bytes of a binary message.
    Bytes(Vec<u8>),
    /// The frame of Oyez that ends here is a Goodbye.
    Goodbye(GoodbyeCode),
    /// A whole message.
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Its code and its reason.
    Close(u16, String),
}

/// Takes apart what the broker says.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// Messages are frames of Oyez, not texts.
    is_native: bool,
    /// What has come of a header.
    header: Vec<u8>,
    /// The frame whose header has come: what it is, and how many bytes of it are to come.
    frame: Option<(u8, u64)>,
    /// What has come of a text, or of a control frame.
    payload: Vec<u8>,
    frames: Frames,
}

impl Hearing {
    pub(super) fn new(is_native: bool) -> Self {
        Self {
            is_native,
            ..Self::default()
        }
    }

    /// Whether what has come ends where a frame does.
    pub(super) const fn is_between(&self) -> bool {
        self.header.is_empty() && self.frame.is_none()
    }

    /// Whether it ends inside a message.
    pub(super) fn is_within_a_message(&self) -> bool {
        self.frame
            .is_some_and(|(opcode, _)| matches!(opcode, TEXT | BINARY))
    }

    /// Takes the next thing off the front of what has come; none when all of it is used.
    ///
    /// # Errors
    /// When the broker may not say it.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Said>, String> {
        loop {
            if let Some(goodbye) = self.frames.goodbye.take() {
                return Ok(Some(Said::Goodbye(goodbye)));
            }
            let Some((opcode, left)) = self.frame else {
                let Some((byte, rest)) = input.split_first() else {
                    return Ok(None);
                };
                *input = rest;
                self.header.push(*byte);
                self.read_header()?;
                continue;
            };
            if left > 0 && input.is_empty() {
                return Ok(None);
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let (bytes, rest) = input.split_at(input.len().min(most));
            *input = rest;
            let left = left - bytes.len() as u64;
            self.frame = (left > 0).then_some((opcode, left));
            if opcode == BINARY {
                self.frames.take(bytes)?;
                if left == 0 && !self.frames.is_between() {
                    return Err("a message ends inside a frame of Oyez".to_owned());
                }
                return Ok(Some(Said::Bytes(bytes.to_vec())));
            }
            self.payload.extend_from_slice(bytes);
            if left == 0 {
                let payload = std::mem::take(&mut self.payload);
                return said(opcode, payload).map(Some);
            }
        }
    }

    fn read_header(&mut self) -> Result<(), String> {
        let (first, second) = match self.header[..] {
            [first, second, ..] => (first, second),
            _ => return Ok(()),
        };
        let wrong = |why: &str| Err(format!("{why}: {:02x?}", self.header));
        if second & 0x80 != 0 {
            return wrong("a frame of the broker has a mask");
        }
        let (size, least) = match (second, &self.header[2..]) {
            (126, [high, low]) => (u64::from(u16::from_be_bytes([*high, *low])), 126),
            (127, long) if long.len() == 8 => {
                (u64::from_be_bytes(long.try_into().expect("8")), 0x1_0000)
            }
            (126 | 127, _) => return Ok(()),
            _ => (u64::from(second), 0),
        };
        let opcode = first & 0x7f;
        let is_known = match opcode {
            TEXT => !self.is_native,
            BINARY => self.is_native && size > 0,
            CLOSE | PING | PONG => size <= CONTROL_MAX as u64,
            _ => false,
        };
        if first & FIN == 0 || !is_known || size < least {
            return wrong("a frame of the broker begins with");
        }
        self.header.clear();
        self.frame = Some((opcode, size));
        Ok(())
    }
}

fn said(opcode: u8, payload: Vec<u8>) -> Result<Said, String> {
    match opcode {
        TEXT => String::from_utf8(payload)
            .map(Said::Text)
            .map_err(|_| "a text that is none".to_owned()),
        PING => Ok(Said::Ping(payload)),
        PONG => Ok(Said::Pong(payload)),
        _ => {
            let (code, reason) = payload
                .split_first_chunk()
                .ok_or("a Close that says no code")?;
            let reason = std::str::from_utf8(reason).map_err(|_| "a reason that is no text")?;
            Ok(Said::Close(u16::from_be_bytes(*code), reason.to_owned()))
        }
    }
}

/// Where frames of Oyez begin and end in messages.
#[derive(Debug, Default)]
struct Frames {
    /// What has come of a head, or of a Goodbye.
    begun: Vec<u8>,
    /// Bytes that are to come of the frame that has begun, behind its head.
    left: usize,
    goodbye: Option<GoodbyeCode>,
}

impl Frames {
    const fn is_between(&self) -> bool {
        self.begun.is_empty() && self.left == 0
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (taken, rest) = bytes.split_at(bytes.len().min(self.left));
                (self.left, bytes) = (self.left - taken.len(), rest);
                if !self.begun.is_empty() {
                    self.begun.extend_from_slice(taken);
                }
            } else {
                self.begun.push(bytes[0]);
                bytes = &bytes[1..];
                let Some(head) = FrameHead::parse(&self.begun) else {
                    continue;
                };
                let head = head.map_err(|error| format!("a message holds no frame: {error}"))?;
                let size = usize::try_from(head.size).expect("a size of 32 bits");
                self.left = size.saturating_sub(self.begun.len());
                if head.kind != kind::GOODBYE {
                    self.begun.clear();
                }
            }
            if self.left == 0 && !self.begun.is_empty() {
                if let Ok(Decoded::Frame { frame, .. }) = decode(&self.begun, &Limits::HARD)
                    && let Frame::Goodbye(goodbye) = frame
                {
                    self.goodbye = Some(goodbye.code);
                }
                self.begun.clear();
            }
        }
        Ok(())
    }
}
