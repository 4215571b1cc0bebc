//! One connection in memory, as both ends see it: bytes each way, what has changed since the last poll, and faults.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read};

use crate::net::{Backlog, Event, Readiness};

/// Most bytes on their way to a peer, unless a test says otherwise.
const ROOM_BYTES: usize = 256 << 10;

/// How the broker's side has ended a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Not at all.
    #[default]
    Open,
    /// The peer sees the end of the stream once it has read everything.
    Shut,
    /// The peer sees the end of the stream, and the broker does not read what the peer writes.
    Closed,
    /// The peer sees a reset, and what it has not read is lost.
    Aborted,
}

/// How the peer's side has ended a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Far {
    #[default]
    Open,
    Shut,
    Reset,
}

/// Faults and limits that a test has set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) room: usize,
    pub(super) send_max: usize,
    pub(super) read_max: usize,
    pub(super) stalled: bool,
    /// Calls still to be interrupted.
    pub(super) interrupts: usize,
    /// The error of the next send.
    pub(super) errno: Option<i32>,
    pub(super) answered_ms: u64,
    pub(super) stuck_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) settings: Settings,
    pub(super) end: End,
    pub(super) far: Far,
    /// The door that it came by.
    pub(super) door: u8,
    /// The error of the next call after the peer's reset; the kernel reports it once.
    error: Option<ErrorKind>,
    /// Bytes that the peer has written and the broker has not read.
    input: VecDeque<u8>,
    /// Bytes that the broker has sent and the peer has not read.
    output: VecDeque<u8>,
    acknowledged: u64,
    /// How often the broker acknowledged the peer's bytes at once.
    pub(super) acknowledgements: usize,
    /// When the peer last read something, or connected.
    taken_at_ms: u64,
    /// The peer has closed its socket: bytes that are sent from now on are answered with a reset.
    abandoned: bool,
    token: Option<u64>,
    /// A send found it full, so it owes an edge when there is room.
    full: bool,
    edges: Readiness,
    /// Readiness to report although nothing has changed.
    nudges: Readiness,
    /// It is in the list of the next poll.
    queued: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            room: ROOM_BYTES,
            send_max: usize::MAX,
            read_max: usize::MAX,
            stalled: false,
            interrupts: 0,
            errno: None,
            answered_ms: 0,
            stuck_ms: 0,
        }
    }
}

/// Takes bytes from the front of a queue that has so many.
fn take_front(queue: &mut VecDeque<u8>, into: &mut [u8]) {
    queue.read_exact(into).expect("there are so many");
}

impl Connection {
    pub(super) fn new(now_ms: u64, door: u8) -> Self {
        Self {
            door,
            taken_at_ms: now_ms,
            ..Self::default()
        }
    }

    /// All bytes that the broker's side has sent.
    pub(super) fn taken(&self) -> u64 {
        self.acknowledged + self.output.len() as u64
    }

    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.end, End::Closed | End::Aborted)
    }

    fn free(&self) -> usize {
        let room = self.settings.room.saturating_sub(self.output.len());
        if self.settings.stalled { 0 } else { room }
    }

    /// The readiness that calls would find now. A call that would only find an error or an end counts, too.
    fn state(&self) -> Readiness {
        let over = self.far != Far::Open;
        Readiness {
            readable: over || !self.input.is_empty(),
            writable: self.far == Far::Reset || self.end == End::Shut || self.free() > 0,
            over,
        }
    }

    /// Returns whether the connection is to be added to the list of the next poll.
    pub(super) fn begins_to_have_news(&mut self) -> bool {
        let nothing = Readiness::default();
        let has_news = self.edges != nothing || self.nudges != nothing;
        let begins = self.token.is_some() && has_news && !self.queued;
        self.queued |= begins;
        begins
    }

    /// The event with all that has changed since the last one and is still so; or, with `all`, with everything that is so.
    pub(super) fn tell(&mut self, all: bool) -> Option<Event> {
        self.queued = false;
        let state = self.state();
        let edges = std::mem::take(&mut self.edges);
        let nudges = std::mem::take(&mut self.nudges);
        // It has filled up again meanwhile: the edge is still owed.
        self.full |= edges.writable && !state.writable;
        let told = Readiness {
            readable: nudges.readable || state.readable && (all || edges.readable),
            writable: nudges.writable || state.writable && (all || edges.writable),
            over: nudges.over || state.over && (all || edges.over),
        };
        let token = self.token.filter(|_| !self.is_closed())?;
        (told != Readiness::default()).then_some(Event::Socket(token, told))
    }

    pub(super) fn watch(&mut self, token: u64) {
        assert!(self.token.is_none(), "a socket is watched once");
        self.token = Some(token);
        self.edges = self.state();
        self.full = !self.edges.writable;
    }

    pub(super) fn read(&mut self, into: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.be_interrupted()?;
        if self.input.is_empty() {
            return match (self.far, self.error.take()) {
                (Far::Open, _) => Err(ErrorKind::WouldBlock.into()),
                (_, Some(error)) => Err(error.into()),
                (_, None) => Ok(0),
            };
        }
        let room = into.iter().map(|part| part.len()).sum();
        let size = self.input.len().min(self.settings.read_max).min(room);
        // A short count means that there is no more; bytes that are held back arrive right after it.
        self.edges.readable |= size < self.input.len().min(room);
        let mut left = size;
        for part in into {
            let taken = left.min(part.len());
            take_front(&mut self.input, &mut part[..taken]);
            left -= taken;
        }
        Ok(size)
    }

    pub(super) fn send(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.be_interrupted()?;
        if let Some(errno) = self.settings.errno.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        if self.far == Far::Reset || self.end == End::Shut {
            return Err(self.error.take().unwrap_or(ErrorKind::BrokenPipe).into());
        }
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let taken = total.min(self.free()).min(self.settings.send_max);
        if total > 0 && taken == 0 {
            self.full = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        if self.abandoned {
            self.abandoned = false;
            self.reset_by_peer();
            return Ok(taken);
        }
        let mut left = taken;
        for part in parts {
            let part = &part[..left.min(part.len())];
            self.output.extend(part);
            left -= part.len();
        }
        Ok(taken)
    }

    fn be_interrupted(&mut self) -> io::Result<()> {
        if self.settings.interrupts > 0 {
            self.settings.interrupts -= 1;
            return Err(ErrorKind::Interrupted.into());
        }
        Ok(())
    }

    pub(super) fn backlog(&self, now_ms: u64) -> Backlog {
        Backlog {
            bytes: self.output.len() as u64,
            stuck_ms: self.settings.stuck_ms,
            acknowledged: self.acknowledged,
            answered_ms: self.settings.answered_ms + now_ms.saturating_sub(self.taken_at_ms),
        }
    }

    /// # Errors
    /// After the peer's reset.
    pub(super) fn check_connected(&self) -> io::Result<()> {
        if self.far == Far::Reset {
            return Err(ErrorKind::NotConnected.into());
        }
        Ok(())
    }

    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        self.check_connected()?;
        self.end = End::Shut;
        Ok(())
    }

    /// Closes the broker's side. Unread input makes that a reset, as with the kernel.
    pub(super) fn close(&mut self) {
        if self.input.is_empty() {
            self.end = End::Closed;
        } else {
            self.abort();
        }
    }

    pub(super) fn abort(&mut self) {
        self.end = End::Aborted;
        self.input.clear();
        self.output.clear();
    }

    /// Bytes that the peer has not read.
    pub(super) fn waiting(&self) -> usize {
        self.output.len()
    }

    /// Bytes that the broker has not read.
    pub(super) fn unread(&self) -> usize {
        self.input.len()
    }

    /// Takes bytes that the peer writes; bytes after the close are lost.
    pub(super) fn arrive(&mut self, bytes: &[u8]) {
        assert_eq!(self.far, Far::Open, "the peer's side is open");
        if !self.is_closed() {
            self.input.extend(bytes);
            self.edges.readable |= !bytes.is_empty();
        }
    }

    /// Lets the peer read.
    pub(super) fn leave(&mut self, max: usize, now_ms: u64) -> Vec<u8> {
        let size = self.output.len().min(max);
        if size > 0 {
            self.taken_at_ms = now_ms;
        }
        self.acknowledged += size as u64;
        let mut bytes = vec![0; size];
        take_front(&mut self.output, &mut bytes);
        self.look_for_room();
        bytes
    }

    pub(super) fn set(&mut self, set: impl FnOnce(&mut Settings)) {
        set(&mut self.settings);
        self.look_for_room();
    }

    /// The edge that a full socket owes comes as soon as there is room.
    fn look_for_room(&mut self) {
        let has_room = self.full && self.free() > 0;
        self.edges.writable |= has_room;
        self.full &= !has_room;
    }

    pub(super) fn shut_by_peer(&mut self) {
        assert_eq!(self.far, Far::Open, "the peer's side is open");
        self.far = Far::Shut;
        self.edges.readable = true;
        self.edges.over = true;
    }

    /// The peer closes its socket. Bytes that it has not read make that a reset, as with the kernel.
    pub(super) fn close_by_peer(&mut self) {
        if self.far == Far::Reset {
            return;
        }
        if !self.output.is_empty() {
            self.reset_by_peer();
            return;
        }
        if self.far == Far::Open {
            self.shut_by_peer();
        }
        self.abandoned = true;
    }

    /// The peer resets. Bytes that it has written can still be read; bytes that it has not read are lost.
    pub(super) fn reset_by_peer(&mut self) {
        assert_ne!(self.far, Far::Reset, "a connection is reset once");
        self.error = (self.far == Far::Open).then_some(ErrorKind::ConnectionReset);
        self.far = Far::Reset;
        self.output.clear();
        self.full = false;
        self.edges = self.state();
    }

    pub(super) fn nudge(&mut self, told: Readiness) {
        self.nudges.readable |= told.readable;
        self.nudges.writable |= told.writable;
        self.nudges.over |= told.over;
    }
}
