//! The last words on a connection. Pure.

use oyez_protocol::event::{Goodbye, GoodbyeCode};

use crate::error::ConnectionError;

/// The goodbye of a client that is done.
pub(crate) fn done() -> Vec<u8> {
    goodbye(GoodbyeCode::Done, "")
}

/// The goodbye to send before a connection is given up because of `error`, if any.
pub(crate) fn complaint(error: &ConnectionError) -> Option<Vec<u8>> {
    let (code, reason) = error.complaint()?;
    Some(goodbye(code, &reason))
}

fn goodbye(code: GoodbyeCode, reason: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let goodbye = Goodbye {
        code,
        retry_after_ms: 0,
        reason,
    };
    goodbye.encode(&mut bytes);
    bytes
}
