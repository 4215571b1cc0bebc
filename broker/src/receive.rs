//! From a socket to frames. Bytes are read into the shard's one buffer and frames are taken from it where they lie;
//! only an incomplete frame, or one that cannot be taken now, is kept with its session.

use std::io::{ErrorKind, IoSliceMut, Read};

use oyez_protocol::error::FrameError;
use oyez_protocol::limits::FRAME_HEAD_SIZE;
use oyez_protocol::{Decoded, decode};

use crate::close::Reason;
use crate::session::{Partial, Session, SessionId, Stage};
use crate::shard::Shard;

/// Reads of one session in one turn; then the others have their turn.
const READS_PER_SESSION: usize = 4;
/// Room made at once for an incomplete frame: what a peer claims is not what it gets, only what it sends.
const PARTIAL_STEP: usize = 32 << 10;
/// A peer that does not take its answers is not read any further once this many bytes wait for it.
const OUTGOING_BYTES_MAX: usize = 64 << 10;
/// Reads of a session that has had its Goodbye; who sends on regardless is cut off.
const LINGER_READS: usize = 4;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is dealt with.
    Done,
    /// It cannot be taken now: keep it, and do not read on.
    Later,
    /// The session is over.
    Over,
}

/// How a visit to a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// There may be more to read.
    More,
    /// The socket is empty; epoll will tell.
    Empty,
    /// A frame waits to be taken.
    Waiting,
    /// The session is gone, or is not read any more.
    Over,
}

impl Shard {
    /// Reads a session whose socket has something, or whose frame waits.
    pub(crate) fn receive(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        session.reading = false;
        if self.drain.is_begun() && session.stage != Stage::Lingering {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut visit = self.retake(id);
        for _ in 0..READS_PER_SESSION {
            if visit != Visit::More {
                break;
            }
            visit = self.visit(id, &mut buffer);
        }
        self.buffer = buffer;
        match visit {
            Visit::More => self.queue_read(id),
            Visit::Waiting => {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.reading = true;
                    self.paused.push(id);
                }
            }
            Visit::Empty | Visit::Over => {}
        }
    }

    /// Tries again the frames that could not be taken before.
    fn retake(&mut self, id: SessionId) -> Visit {
        let Some(session) = self.sessions.get_mut(id) else {
            return Visit::Over;
        };
        let whole = |partial: &&mut Box<Partial>| partial.bytes.len() >= partial.need;
        if session.partial.as_mut().filter(whole).is_none() {
            return Visit::More;
        }
        match session.partial.take() {
            Some(partial) => self.consume(id, &partial.bytes),
            None => Visit::More,
        }
    }

    fn visit(&mut self, id: SessionId, buffer: &mut [u8]) -> Visit {
        let now_tick = self.now_tick();
        let Some(session) = self.sessions.get_mut(id) else {
            return Visit::Over;
        };
        if session.stage == Stage::Lingering || session.stage == Stage::Closing {
            return self.discard(id, buffer);
        }
        if session
            .outgoing
            .as_ref()
            .is_some_and(|out| out.bytes.len() - out.sent > OUTGOING_BYTES_MAX)
        {
            return Visit::Waiting;
        }
        let mut partial = session.partial.take();
        let result = read(session, partial.as_deref_mut(), buffer);
        let (whole_read, count) = match result {
            Ok(Reading { size: 0, .. }) => {
                self.disconnect(id, Reason::PeerClosed);
                return Visit::Over;
            }
            Ok(reading) => (reading.filled_all, reading.in_buffer),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                session.partial = partial;
                return Visit::Empty;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                session.partial = partial;
                return Visit::More;
            }
            Err(_) => {
                self.disconnect(id, Reason::PeerReset);
                return Visit::Over;
            }
        };
        if session.stage == Stage::Open {
            session.heard_tick = now_tick;
            session.pinged = false;
        }
        // After a shutdown by the peer the end of the stream has to be read, which no event will announce again.
        let more = whole_read || session.ended;
        let visit = match partial {
            None => self.consume(id, &buffer[..count]),
            Some(partial) => self.complete(id, partial, &buffer[..count]),
        };
        match visit {
            Visit::More if !more => Visit::Empty,
            visit => visit,
        }
    }

    /// Goes on with an incomplete frame, `rest` being what was read after it.
    fn complete(&mut self, id: SessionId, mut partial: Box<Partial>, mut rest: &[u8]) -> Visit {
        let limits = self.shared.config.limits();
        while let Ok(Decoded::Need { total }) = decode(&partial.bytes, &limits) {
            partial.need = total;
            let missing = total - partial.bytes.len();
            let (taken, left) = rest.split_at(missing.min(rest.len()));
            partial.bytes.extend_from_slice(taken);
            rest = left;
            if taken.len() < missing {
                if let Some(session) = self.sessions.get_mut(id) {
                    session.partial = Some(partial);
                }
                return Visit::More;
            }
        }
        match self.consume(id, &partial.bytes) {
            Visit::More => self.consume(id, rest),
            Visit::Waiting => {
                if let Some(kept) = self.sessions.get_mut(id).and_then(|s| s.partial.as_mut()) {
                    kept.bytes.extend_from_slice(rest);
                }
                Visit::Waiting
            }
            visit => visit,
        }
    }

    /// Takes the frames in `input`; keeps what is left of it.
    fn consume(&mut self, id: SessionId, mut input: &[u8]) -> Visit {
        let limits = self.shared.config.limits();
        loop {
            let (need, visit) = match decode(input, &limits) {
                Err(error) => {
                    self.refuse_frame(id, error);
                    return Visit::Over;
                }
                Ok(Decoded::Need { total }) => (total, Visit::More),
                Ok(Decoded::Frame { frame, size }) => match self.dispatch(id, frame) {
                    Taken::Done => {
                        input = &input[size..];
                        continue;
                    }
                    Taken::Later => (FRAME_HEAD_SIZE, Visit::Waiting),
                    Taken::Over => return Visit::Over,
                },
            };
            if let Some(session) = self.sessions.get_mut(id).filter(|_| !input.is_empty()) {
                session.partial = Some(Box::new(Partial {
                    bytes: input.to_vec(),
                    need,
                }));
            }
            return visit;
        }
    }

    /// A frame that cannot be. Before the hello it means that somebody speaks another protocol.
    fn refuse_frame(&mut self, id: SessionId, error: FrameError) {
        let greeting = self
            .sessions
            .get_mut(id)
            .is_some_and(|session| session.stage == Stage::Greeting);
        let foreign = matches!(
            error,
            FrameError::Size { .. } | FrameError::UnknownKind { .. } | FrameError::TooLarge { .. }
        );
        let error = if greeting && foreign {
            FrameError::Magic
        } else {
            error
        };
        self.refuse(id, error.into(), &error.to_string());
    }

    /// Reads on a session that is over, so that its end comes through.
    fn discard(&mut self, id: SessionId, buffer: &mut [u8]) -> Visit {
        for _ in 0..LINGER_READS {
            let Some(session) = self.sessions.get_mut(id) else {
                return Visit::Over;
            };
            match session.stream.read(buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Visit::Empty,
                Err(_) => break,
            }
        }
        self.disconnect(id, Reason::Refused);
        Visit::Over
    }
}

struct Reading {
    /// Bytes read in all; 0 is the end of the stream.
    size: usize,
    /// Bytes of them in the shard's buffer.
    in_buffer: usize,
    /// As many as there was room for: there may be more.
    filled_all: bool,
}

/// Fills the incomplete frame first, then the shard's buffer, in one call.
fn read(
    session: &mut Session,
    partial: Option<&mut Partial>,
    buffer: &mut [u8],
) -> std::io::Result<Reading> {
    let Some(partial) = partial else {
        let size = session.stream.read(buffer)?;
        return Ok(Reading {
            size,
            in_buffer: size,
            filled_all: size == buffer.len(),
        });
    };
    let kept = partial.bytes.len();
    let missing = partial.need.saturating_sub(kept);
    let step = missing.min(PARTIAL_STEP);
    partial.bytes.resize(kept + step, 0);
    let spill = if step == missing { buffer.len() } else { 0 };
    let (own, room) = (&mut partial.bytes[kept..], step + spill);
    let mut parts = [IoSliceMut::new(own), IoSliceMut::new(&mut buffer[..spill])];
    let result = session.stream.read_vectored(&mut parts);
    let size = *result.as_ref().unwrap_or(&0);
    partial.bytes.truncate(kept + size.min(step));
    result.map(|size| Reading {
        size,
        in_buffer: size.saturating_sub(step),
        filled_all: size == room,
    })
}
