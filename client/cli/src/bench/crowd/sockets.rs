//! A thread's connections as a structure of arrays: 21 bytes each, and a buffer only for a connection with half a
//! frame.

use std::collections::HashMap;
use std::net::TcpStream;

/// Buffers of former halves that are kept for the next ones.
const SPARE_MAX: usize = 256;

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The handshake is under way.
    Connecting,
    /// It has sent its first bytes and waits for the answer.
    Joining,
    Subscribed,
}

/// All connections of one thread, by their place in it.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) streams: Vec<Option<TcpStream>>,
    pub(crate) states: Vec<State>,
    /// Number of the next message that is due.
    pub(crate) next: Vec<u64>,
    /// Publications received.
    pub(crate) received: Vec<u32>,
    /// When the connection was begun, in microseconds; wraps after an hour, longer than any connect takes.
    pub(crate) begun_us: Vec<u32>,
}

impl Sockets {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            streams: (0..count).map(|_| None).collect(),
            states: vec![State::Connecting; count],
            next: vec![0; count],
            received: vec![0; count],
            begun_us: vec![0; count],
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.streams.len()
    }
}

/// Bytes of frames that are not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Halves {
    held: HashMap<usize, Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Halves {
    /// Puts what connection `place` has waiting into `out`, and holds it no longer. False if there is nothing.
    pub(crate) fn take(&mut self, place: usize, out: &mut Vec<u8>) -> bool {
        if self.held.is_empty() {
            return false;
        }
        let Some(mut half) = self.held.remove(&place) else {
            return false;
        };
        out.clear();
        out.append(&mut half);
        if self.spare.len() < SPARE_MAX {
            self.spare.push(half);
        }
        true
    }

    /// Holds a copy of `bytes`, if there are any.
    pub(crate) fn hold(&mut self, place: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let mut half = self.spare.pop().unwrap_or_default();
        half.extend_from_slice(bytes);
        self.held.insert(place, half);
    }

    pub(crate) fn forget(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_is_held_only_while_it_is_one() {
        let (mut halves, mut out) = (Halves::default(), Vec::new());
        halves.hold(3, b"");
        assert!(!halves.take(3, &mut out));
        halves.hold(3, b"abc");
        halves.hold(4, b"d");
        assert!(halves.take(3, &mut out) && !halves.take(5, &mut Vec::new()));
        assert_eq!(out, b"abc");
        assert!(!halves.take(3, &mut out));
        assert!(halves.take(4, &mut out));
        assert_eq!(out, b"d");
        assert_eq!(halves.spare.len(), 2);
    }

    #[test]
    fn a_connection_costs_a_few_bytes() {
        let each = size_of::<Option<TcpStream>>() + size_of::<State>() + 8 + 4 + 4;
        assert!(each <= 21, "{each}");
    }
}
