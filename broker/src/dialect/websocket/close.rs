//! Closing: codes, and what a Close says.
//!
//! | code | meaning |
//! |---|---|
//! | 1000 | done; in answer to a Close, the code of that |
//! | 1002 | the frames are not those of RFC 6455 |
//! | 1003 | a text message under `oyez.v2`, or a binary one without |
//! | 1007 | a text message that is not UTF-8 |
//! | 1009 | a message that is too long |
//! | 1012 | the broker stops or restarts: come back, when `Goodbye` or `$goodbye` says |
//! | 1013 | the broker has as many connections as it may, or no time: come back later |
//! | 4000 and up | 4000 and the code of the [`Goodbye`](oyez_protocol::event::GoodbyeCode) that came before it |

use oyez_protocol::event::GoodbyeCode;

use crate::dialect::run::{Opcode, SHORT_MAX, in_frame};

pub(crate) const DONE: u16 = 1000;
pub(crate) const PROTOCOL: u16 = 1002;
pub(crate) const UNSUPPORTED: u16 = 1003;
pub(crate) const NO_TEXT: u16 = 1007;
pub(crate) const TOO_LARGE: u16 = 1009;
const RESTART: u16 = 1012;
const LATER: u16 = 1013;
/// Codes from here on are an application's.
const OWN: u16 = 4000;

/// Bytes of the code in a Close.
const CODE_SIZE: usize = 2;

/// Why a session is closed, for what its peer has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseFault {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
}

pub(crate) const fn fault(code: u16, reason: &'static str) -> CloseFault {
    CloseFault { code, reason }
}

/// The code for a Goodbye.
pub(crate) const fn code_of(goodbye: GoodbyeCode) -> u16 {
    match goodbye {
        GoodbyeCode::Done => DONE,
        GoodbyeCode::Draining => RESTART,
        GoodbyeCode::Full | GoodbyeCode::TooFast => LATER,
        other => OWN + other as u16,
    }
}

/// Reads a Close that has come. Returns the code to close with.
///
/// # Errors
/// When it has a code that may not be sent, or a reason that is not text.
pub(crate) fn read(payload: &[u8]) -> Result<u16, CloseFault> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(DONE),
            _ => Err(fault(PROTOCOL, "a Close holds half a code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(fault(PROTOCOL, "a Close has a code that may not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(code),
        Err(_) => Err(fault(NO_TEXT, "the reason of a Close is not UTF-8")),
    }
}

/// Adds a Close.
pub(crate) fn write(code: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason[..reason.floor_char_boundary(SHORT_MAX - CODE_SIZE)];
    in_frame(Opcode::Close, out, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(reason.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_says_a_code_that_may_be_said() {
        let close = |code: u16, reason: &[u8]| read(&[&code.to_be_bytes(), reason].concat());
        for code in [1000, 1001, 1003, 1007, 1011, 1012, 3000, 4999] {
            assert_eq!(close(code, b"why"), Ok(code));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, u16::MAX] {
            assert_eq!(close(code, b"").map_err(|fault| fault.code), Err(PROTOCOL));
        }
        assert_eq!(read(b""), Ok(DONE));
        assert_eq!(read(&[3]).map_err(|fault| fault.code), Err(PROTOCOL));
        let no_text = close(1000, b"\xff").map_err(|fault| fault.code);
        assert_eq!(no_text, Err(NO_TEXT));
    }

    #[test]
    fn a_reason_is_cut_where_a_control_frame_ends() {
        let mut out = Vec::new();
        write(1002, &"é".repeat(100), &mut out);
        assert_eq!(out[..2], [0x88, 2 + 122]);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert_eq!(read(&out[2..]), Ok(1002));
    }

    #[test]
    fn each_goodbye_has_a_code() {
        assert_eq!(code_of(GoodbyeCode::Done), 1000);
        assert_eq!(code_of(GoodbyeCode::Draining), 1012);
        assert_eq!(code_of(GoodbyeCode::Full), 1013);
        assert_eq!(code_of(GoodbyeCode::Silent), 4003);
        assert_eq!(code_of(GoodbyeCode::NotSupported), 4265);
    }
}
