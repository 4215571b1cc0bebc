//! Decides what the first bytes on a connection mean: the broker's answer to a hello, whether to say the hello again,
//! and whether a connection that was not read for a while can still be used. Pure.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use oyez_protocol::Frame;
use oyez_protocol::command::VERSION;
use oyez_protocol::error::FrameError;
use oyez_protocol::event::GoodbyeCode;

use crate::error::{ConnectionError, Stranger};
use crate::receive_buffer::ReceiveBuffer;
use crate::terms::Terms;

/// Most times that a hello is said to one address.
const HELLOS_MAX: u32 = 3;

/// Counts the hellos that were said to one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hellos(u32);

impl Default for Hellos {
    fn default() -> Self {
        Self(1)
    }
}

impl Hellos {
    /// Whether to say the hello again over a new connection, after the last one ended with `error`.
    pub(crate) fn say_again(&mut self, error: &ConnectionError) -> bool {
        let again = self.0 < HELLOS_MAX && is_unread(error);
        self.0 += u32::from(again);
        again
    }
}

/// Whether the broker could not read the hello: it was damaged on its way, or did not arrive whole.
const fn is_unread(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::Goodbye {
            code: GoodbyeCode::Damaged | GoodbyeCode::Silent,
            ..
        }
    )
}

/// Waiting for the answer to a hello.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Awaiting {
    late: bool,
}

impl Awaiting {
    /// Takes in what has arrived, with `left` until the deadline. Returns the terms when the welcome is among it. A
    /// client that did not run at its deadline still looks once at what has arrived.
    ///
    /// # Errors
    /// When something else has arrived, or nothing in time.
    pub(crate) fn welcome(
        &mut self,
        received: &mut ReceiveBuffer,
        left: Duration,
    ) -> Result<Option<Terms>, ConnectionError> {
        if let Some(terms) = welcome(received)? {
            return Ok(Some(terms));
        }
        if self.late {
            return Err(Error::new(ErrorKind::TimedOut, "no welcome in time").into());
        }
        self.late = left.is_zero();
        Ok(None)
    }
}

/// Returns the terms of a broker whose welcome has arrived; `None` when more has to come.
///
/// # Errors
/// When something else has arrived.
fn welcome(received: &mut ReceiveBuffer) -> Result<Option<Terms>, ConnectionError> {
    while let Some(frame) = received.next()? {
        match frame {
            Frame::Welcome(welcome) if welcome.version == VERSION => {
                return Ok(Some(Terms::of(&welcome)));
            }
            Frame::Goodbye(goodbye) => return Err(ConnectionError::goodbye(&goodbye)),
            Frame::Skipped { .. } => {}
            _ => {
                return Err(ConnectionError::Unexpected {
                    what: "something other than a welcome of this protocol version",
                });
            }
        }
    }
    Ok(None)
}

/// First bytes of the alert with which a TLS server answers what it does not understand, in any version.
const TLS_ALERT: [u8; 2] = [21, 3];

/// Guesses what answers in place of a broker, from the error that ended the handshake and from `heard`, the bytes that
/// came, no whole frame among them. `None` if it may be a broker.
pub(crate) fn stranger(
    heard: &[u8],
    error: &ConnectionError,
    patience: Duration,
) -> Option<Stranger> {
    let ended = match error {
        // A broker's frame that was damaged on its way still comes from a broker.
        ConnectionError::Frame(FrameError::Checksum { .. }) => return None,
        ConnectionError::Frame(_) => Stranger::Other,
        ConnectionError::Closed => Stranger::Closed,
        ConnectionError::Io(error) => match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Stranger::Closed,
            ErrorKind::TimedOut => Stranger::Silent(patience),
            _ => return None,
        },
        _ => return None,
    };
    let recognised = recognise(heard);
    // A part of a welcome may have come.
    let is_begun = !heard.is_empty() && matches!(ended, Stranger::Closed | Stranger::Silent(_));
    recognised.or((!is_begun).then_some(ended))
}

/// Returns what begins its answer with these bytes.
fn recognise(heard: &[u8]) -> Option<Stranger> {
    // Some servers answer an invalid request with a page without a head, as in HTTP 0.9.
    let http = [
        &b"HTTP/"[..],
        b"<!DOCTYPE",
        b"<!doctype",
        b"<html",
        b"<HTML",
    ];
    if http.iter().any(|answer| heard.starts_with(answer)) {
        return Some(Stranger::Http);
    }
    if heard.starts_with(&TLS_ALERT) {
        return Some(Stranger::Tls);
    }
    let redis = [&b"-ERR "[..], b"-NOAUTH ", b"-DENIED ", b"-MISCONF "];
    let is_redis = redis.iter().any(|answer| heard.starts_with(answer));
    is_redis.then_some(Stranger::Redis)
}

/// Takes in what has arrived over a connection that is not in use yet. Returns whether it was nothing but signs of
/// life.
///
/// # Errors
/// When it cannot become a frame.
pub(crate) fn is_unused(received: &mut ReceiveBuffer) -> Result<bool, FrameError> {
    while let Some(frame) = received.next()? {
        let alive = matches!(
            frame,
            Frame::Ping(_) | Frame::Pong(_) | Frame::Notice(_) | Frame::Skipped { .. }
        );
        if !alive {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::event::{Goodbye, Heartbeat, Welcome};
    use oyez_protocol::limits::Limits;

    fn greeting(version: u16, heartbeat_ms: u32) -> Vec<u8> {
        let mut out = Vec::new();
        Welcome {
            version,
            heartbeat_ms,
            limits: Limits::DEFAULT,
            inflight_records_max: 64,
            inflight_bytes_max: 4 << 20,
            subscriptions_max: 1_024,
            features: 0,
            expires_ms: 0,
            instance: 1,
            name: "broker",
        }
        .encode(&mut out);
        out
    }

    fn arrived(bytes: &[u8]) -> ReceiveBuffer {
        let mut received = ReceiveBuffer::default();
        received.spare()[..bytes.len()].copy_from_slice(bytes);
        received.filled(bytes.len());
        received
    }

    fn goodbye(code: GoodbyeCode) -> ConnectionError {
        let mut out = Vec::new();
        Goodbye {
            code,
            retry_after_ms: 700,
            reason: "so",
        }
        .encode(&mut out);
        welcome(&mut arrived(&out)).unwrap_err()
    }

    #[test]
    fn the_rest_of_half_a_welcome_is_awaited_and_a_whole_one_states_the_terms() {
        let whole = greeting(VERSION, 9_000);
        assert!(welcome(&mut arrived(&whole[..20])).unwrap().is_none());
        let terms = welcome(&mut arrived(&whole)).unwrap().unwrap();
        assert_eq!(terms.heartbeat, Duration::from_secs(9));
        assert_eq!(terms.inflight_records_max, 64);
        let terms = welcome(&mut arrived(&greeting(VERSION, 0)));
        assert!(!terms.unwrap().unwrap().heartbeat.is_zero());
    }

    #[test]
    fn a_welcome_of_another_version_and_any_other_frame_are_no_welcome() {
        let mut ping = Vec::new();
        Heartbeat { token: 1 }.encode_ping(&mut ping);
        for bytes in [greeting(VERSION + 1, 1), ping] {
            let error = welcome(&mut arrived(&bytes)).unwrap_err();
            assert!(
                matches!(error, ConnectionError::Unexpected { .. }),
                "{error}"
            );
        }
        let mut damaged = greeting(VERSION, 1);
        damaged[17] ^= 1;
        let error = welcome(&mut arrived(&damaged)).unwrap_err();
        assert!(matches!(error, ConnectionError::Frame(_)), "{error}");
    }

    #[test]
    fn a_server_that_is_no_broker_is_recognised_by_its_answer_or_its_silence() {
        let patience = Duration::from_secs(9);
        let silent = ConnectionError::from(Error::new(ErrorKind::TimedOut, "late"));
        let reset = ConnectionError::from(Error::from(ErrorKind::ConnectionReset));
        let closed = ConnectionError::Closed;
        let size = ConnectionError::Frame(FrameError::Size { size: 5 });
        let damage = ConnectionError::Frame(FrameError::Checksum { kind: 9 });
        for (heard, error, expected) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n"[..],
                &size,
                Some(Stranger::Http),
            ),
            (b"HTTP/1", &silent, Some(Stranger::Http)),
            (b"<!DOCTYPE HTML>", &size, Some(Stranger::Http)),
            (b"-ERR unknown", &size, Some(Stranger::Redis)),
            (b"\x15\x03\x01\0\x02\x02\x46", &closed, Some(Stranger::Tls)),
            (b"SSH-2.0-x\r\n", &size, Some(Stranger::Other)),
            (b"", &closed, Some(Stranger::Closed)),
            (b"", &reset, Some(Stranger::Closed)),
            (b"", &silent, Some(Stranger::Silent(patience))),
            (b"\x48\0\0\0", &silent, None),
            (b"\x48\0\0\0", &damage, None),
        ] {
            let seen = stranger(heard, error, patience);
            assert_eq!(seen, expected, "{heard:?} {error}");
        }
        assert_eq!(stranger(b"", &goodbye(GoodbyeCode::Full), patience), None);
    }

    #[test]
    fn a_hello_that_did_not_arrive_whole_is_said_three_times_and_a_refusal_once() {
        let mut hellos = Hellos::default();
        assert!(hellos.say_again(&goodbye(GoodbyeCode::Damaged)));
        assert!(hellos.say_again(&goodbye(GoodbyeCode::Silent)));
        assert!(!hellos.say_again(&goodbye(GoodbyeCode::Damaged)));
        for code in [
            GoodbyeCode::Full,
            GoodbyeCode::Draining,
            GoodbyeCode::Version,
        ] {
            assert!(!Hellos::default().say_again(&goodbye(code)), "{code:?}");
        }
        assert!(!Hellos::default().say_again(&ConnectionError::Closed));
    }

    #[test]
    fn a_connection_is_unused_until_more_than_signs_of_life_came() {
        let mut bytes = Vec::new();
        assert!(is_unused(&mut arrived(&bytes)).unwrap());
        Heartbeat { token: 1 }.encode_ping(&mut bytes);
        Heartbeat { token: 2 }.encode_pong(&mut bytes);
        assert!(is_unused(&mut arrived(&bytes)).unwrap());
        bytes.extend(greeting(VERSION, 1));
        assert!(!is_unused(&mut arrived(&bytes)).unwrap());
    }
}
