//! WebSocket (RFC 6455): takes the framing off what clients send, and puts it around replies.
//!
//! Under the subprotocol `oyez.v2` a binary message is one or more whole frames of `oyez_protocol`. The broker's are a run
//! of records as they lie in the log behind one header ([`crate::dialect::run`]), or a control frame. Without a subprotocol messages
//! are text in JSON ([`json`]).
//!
//! Input is taken as a stream: messages of frames are put one behind the other, and it does not matter where they begin; messages
//! of text become lines. `permessage-deflate` is declined, as records are compressed. Pings and Closes are answered here; a session
//! whose peer closes is ended when all that came before was taken.

mod close;
#[cfg(any(fuzzing, test))]
pub(crate) mod fuzzing;
mod json;
pub(crate) mod unframe;
mod utf8;

use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::planted::{Bug, planted};

pub(crate) use self::close::CloseFault;
pub(crate) use self::json::{ALONE, decode, write_subscribe};
use self::unframe::{Accepts, Piece, Unframing};
use crate::dialect::command::{Dialect, Goodbye, Reply};
use crate::dialect::native;
use crate::dialect::run::{Opcode, in_frame};

/// The name of the subprotocol for frames.
pub(crate) const SUBPROTOCOL: &str = "oyez.v2";

/// Memory for input without its framing, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) plain: Vec<u8>,
    pub(crate) answers: Vec<u8>,
    /// The state of a session that begins at rest, and is at rest again behind what was read.
    pub(crate) state: Option<Box<Unframing>>,
}

/// What input has brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Frames of WebSocket, or parts of them.
    pub(crate) pieces: usize,
    /// The peer closes, or is closed, with this code; nothing that came behind counts.
    pub(crate) closes: Option<u16>,
    /// Why the peer is closed.
    pub(crate) fault: Option<CloseFault>,
}

/// Takes the framing off `input`. Adds what is for the dialect within to `out`, and WebSocket's own answers to `answers`.
///
/// `text_max` is the longest text in bytes.
pub(crate) fn hear(
    state: &mut Unframing,
    mut input: &[u8],
    (dialect, text_max): (Dialect, usize),
    (out, answers): (&mut Vec<u8>, &mut Vec<u8>),
) -> Heard {
    let is_text = dialect == Dialect::Json;
    let accepts = Accepts {
        text: is_text,
        binary: !is_text,
        // Binary messages have bounds of their own, those of frames.
        size_max: if is_text { text_max as u64 } else { u64::MAX },
    };
    let mut heard = Heard::default();
    loop {
        heard.pieces += 1;
        let before = out.len();
        match state.next(&mut input, accepts, out) {
            Ok(Piece::Nothing) => return heard,
            Ok(Piece::Message { from, ends, .. }) => {
                if is_text {
                    if !planted(Bug::LinesEndCommands) {
                        end_line(&mut out[from..]);
                    }
                    out.extend(ends.then_some(b'\n'));
                }
            }
            Ok(Piece::Ping) => in_frame(Opcode::Pong, answers, |out| {
                out.extend_from_slice(state.control());
            }),
            Ok(Piece::Pong) => {}
            Ok(Piece::Close(code)) => {
                heard.closes = Some(code);
                return heard;
            }
            Err(fault) => {
                // Bytes that are not text do not become part of a line either.
                out.truncate(before);
                heard.closes = Some(fault.code);
                heard.fault = Some(fault);
                return heard;
            }
        }
    }
}

/// Ends a line, which ends with the message and nowhere else. To JSON a carriage return is like a line feed: a blank between words,
/// and wrong within them.
fn end_line(text: &mut [u8]) {
    for byte in text {
        if *byte == b'\n' {
            *byte = b'\r';
        }
    }
}

/// Adds a reply.
pub(crate) fn encode(dialect: Dialect, reply: &Reply<'_>, out: &mut Vec<u8>) {
    match (dialect, reply) {
        (Dialect::Json, _) => json::encode(reply, out),
        // Browsers answer a Ping, also where no script runs.
        (_, Reply::Ping { .. }) => in_frame(Opcode::Ping, out, |_| ()),
        _ => in_frame(Opcode::Binary, out, |out| native::encode(reply, out)),
    }
}

/// Adds the end of a session: why it ends, unless the peer has closed it itself, and a Close.
pub(crate) fn conclude(
    dialect: Dialect,
    (goodbye, closes): (&Goodbye, Option<u16>),
    out: &mut Vec<u8>,
) {
    let reply = Reply::Goodbye(goodbye);
    let code = closes.unwrap_or_else(|| {
        encode(dialect, &reply, out);
        close::code_of(goodbye.code)
    });
    // A client that has closed the session itself knows why.
    let reason = match goodbye.code {
        GoodbyeCode::Done => "",
        _ => &*goodbye.reason,
    };
    if !planted(Bug::ClosesUnechoed) {
        close::write(code, reason, out);
    }
}

#[cfg(test)]
mod tests;
