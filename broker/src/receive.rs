//! From a socket to frames. Bytes are read into the shard's one buffer and frames are taken from it where they lie;
//! only an incomplete frame, or one that cannot be taken now, is kept with its session.

use std::io::{ErrorKind, IoSliceMut, Read};

use oyez_protocol::error::FrameError;
use oyez_protocol::event::GoodbyeCode;
use oyez_protocol::limits::FRAME_HEAD_SIZE;
use oyez_protocol::{Decoded, decode};

use crate::close::Reason;
use crate::session::{Partial, Session, SessionId, Stage};
use crate::shard::Shard;

/// Reads of one session in one turn; then the others have their turn.
const READS_PER_SESSION: usize = 4;
/// Room made at once for an incomplete frame: what a peer claims is not what it gets, only what it sends.
const PARTIAL_STEP: usize = 32 << 10;
/// Bytes of incomplete frames, and of frames that wait, that one shard keeps for all its sessions. Over it, reads are
/// small, and who has kept a large part of a frame waiting is turned away.
const PARTIAL_BYTES_BUDGET: usize = 64 << 20;
/// Bytes read at once from a session while incomplete frames are over their budget.
const TIGHT_READ_BYTES: usize = 4096;
/// Reads in one visit of a session that has had its Goodbye. How long it may go on is up to its timer.
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
                    self.paused.push_back(id);
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
        match session.partial.take() {
            Some(partial) if partial.bytes.len() >= partial.need => self.consume_kept(id, partial),
            partial => {
                session.partial = partial;
                Visit::More
            }
        }
    }

    fn visit(&mut self, id: SessionId, buffer: &mut [u8]) -> Visit {
        let over_budget = self.partial_bytes > PARTIAL_BYTES_BUDGET;
        let Some(session) = self.sessions.get_mut(id) else {
            return Visit::Over;
        };
        if matches!(session.stage, Stage::Lingering | Stage::Closing) {
            return self.discard(id, buffer);
        }
        let mut partial = session.partial.take();
        // Short of room for incomplete frames, small ones still come through.
        let buffer = if over_budget {
            &mut buffer[..TIGHT_READ_BYTES]
        } else {
            buffer
        };
        let result = read(session, partial.as_deref_mut(), buffer);
        let (filled_all, count) = match result {
            Ok(Reading { size: 0, .. }) => {
                session.partial = partial;
                self.disconnect(id, Reason::PeerClosed);
                return Visit::Over;
            }
            Ok(reading) => (reading.filled_all, reading.in_buffer),
            Err(error) => {
                session.partial = partial;
                return match error.kind() {
                    ErrorKind::WouldBlock => Visit::Empty,
                    ErrorKind::Interrupted => Visit::More,
                    _ => {
                        self.disconnect(id, Reason::PeerReset);
                        Visit::Over
                    }
                };
            }
        };
        // After a shutdown by the peer the end of the stream has to be read, which no event will announce again.
        let more = filled_all || session.ended;
        let visit = match partial {
            None => self.consume_read(id, &buffer[..count]),
            Some(partial) => self.complete(id, partial, &buffer[..count]),
        };
        if visit == Visit::More && self.partial_bytes > PARTIAL_BYTES_BUDGET {
            self.refuse_partial(id);
        }
        match visit {
            Visit::More if !more => Visit::Empty,
            visit => visit,
        }
    }

    /// Goes on with an incomplete frame, `rest` being what was read after it.
    fn complete(&mut self, id: SessionId, mut partial: Box<Partial>, mut rest: &[u8]) -> Visit {
        let limits = self.shared.config.limits();
        loop {
            let missing = partial.need.saturating_sub(partial.bytes.len());
            let (taken, left) = rest.split_at(missing.min(rest.len()));
            partial.bytes.extend_from_slice(taken);
            rest = left;
            if taken.len() < missing {
                self.keep(id, partial);
                return Visit::More;
            }
            // Only the head is looked at here, which tells the size; the whole frame is decoded once, below.
            match decode(&partial.bytes[..FRAME_HEAD_SIZE], &limits) {
                Ok(Decoded::Need { total }) if total > partial.need => partial.need = total,
                _ => break,
            }
        }
        match self.consume_kept(id, partial) {
            Visit::More => self.consume_read(id, rest),
            Visit::Waiting => {
                let kept = self.sessions.get_mut(id).and_then(|s| s.partial.take());
                if let Some(mut kept) = kept {
                    kept.bytes.extend_from_slice(rest);
                    self.keep(id, kept);
                }
                Visit::Waiting
            }
            visit => visit,
        }
    }

    /// Takes the frames in what was just read; keeps what is left of it.
    fn consume_read(&mut self, id: SessionId, input: &[u8]) -> Visit {
        let (visit, used, need) = self.consume(id, input);
        if used < input.len() && visit != Visit::Over {
            let bytes = input[used..].to_vec();
            self.keep(
                id,
                Box::new(Partial {
                    bytes,
                    need,
                    counted: 0,
                    begun_tick: self.now_tick(),
                    fed_tick: 0,
                }),
            );
        }
        visit
    }

    /// Takes the frames in what was kept. Trying in vain costs no copy.
    fn consume_kept(&mut self, id: SessionId, mut partial: Box<Partial>) -> Visit {
        self.partial_bytes -= partial.counted;
        partial.counted = 0;
        let (visit, used, need) = self.consume(id, &partial.bytes);
        self.freed |= self.partial_bytes <= PARTIAL_BYTES_BUDGET;
        if used < partial.bytes.len() && visit != Visit::Over {
            if used > 0 {
                partial.begun_tick = self.now_tick();
            }
            partial.bytes.drain(..used);
            partial.bytes.shrink_to(need.min(PARTIAL_STEP));
            partial.need = need;
            self.keep(id, partial);
        }
        visit
    }

    /// Takes frames from the front of `input`, one of which is a sign of life. Tells how many bytes they were, and how many the next frame has.
    fn consume(&mut self, id: SessionId, input: &[u8]) -> (Visit, usize, usize) {
        let (visit, used, need) = self.take_frames(id, input);
        self.storage_time.leave(&mut *self.clock);
        let now_tick = self.now_tick();
        if used > 0
            && let Some(session) = self.sessions.get_mut(id)
            && session.stage == Stage::Open
        {
            session.heard_tick = now_tick;
            session.pinged = false;
        }
        (visit, used, need)
    }

    fn take_frames(&mut self, id: SessionId, input: &[u8]) -> (Visit, usize, usize) {
        let limits = self.shared.config.limits();
        let mut used = 0;
        loop {
            match decode(&input[used..], &limits) {
                Err(error) => {
                    self.refuse_frame(id, error);
                    return (Visit::Over, used, 0);
                }
                Ok(Decoded::Need { total }) => return (Visit::More, used, total),
                Ok(Decoded::Frame { frame, size }) => match self.dispatch(id, frame) {
                    Taken::Done => used += size,
                    Taken::Later => return (Visit::Waiting, used, size),
                    Taken::Over => return (Visit::Over, used, 0),
                },
            }
        }
    }

    /// Turns away who makes a frame wait for its end while incomplete frames take all the room there is.
    fn refuse_partial(&mut self, id: SessionId) {
        let large = |session: &Session| {
            let partial = session.partial.as_ref();
            partial.is_some_and(|partial| partial.bytes.len() > TIGHT_READ_BYTES)
        };
        if self.sessions.get(id).is_some_and(large) {
            let reason = "the broker has no room for more incomplete frames";
            self.refuse(id, GoodbyeCode::Full, reason);
        }
    }

    /// Keeps input with its session until there is more of it, or its frame can be taken. Bytes of a frame that has begun
    /// are a sign of life, because there is a bound to how long it may take.
    fn keep(&mut self, id: SessionId, mut partial: Box<Partial>) {
        let now_tick = self.now_tick();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        self.partial_bytes += partial.bytes.len() - partial.counted;
        partial.counted = partial.bytes.len();
        partial.fed_tick = now_tick;
        let incomplete = partial.is_incomplete();
        session.partial = Some(partial);
        if incomplete {
            if session.stage == Stage::Open {
                session.heard_tick = now_tick;
                session.pinged = false;
            }
            if !session.watched {
                self.watch_frame(id);
            }
        }
    }

    /// A frame that cannot be. A head that cannot be, before the hello, almost always means that somebody speaks another
    /// protocol; but it may be a hello that was damaged on its way, and the code says so.
    fn refuse_frame(&mut self, id: SessionId, error: FrameError) {
        let greeting = self
            .sessions
            .get_mut(id)
            .is_some_and(|session| session.stage == Stage::Greeting);
        let foreign = matches!(
            error,
            FrameError::Size { .. } | FrameError::UnknownKind { .. } | FrameError::TooLarge { .. }
        );
        let reason = if greeting && foreign {
            FrameError::Magic
        } else {
            error
        };
        self.refuse(id, error.into(), &reason.to_string());
    }

    /// Reads on a session that is over, so that its end comes through.
    fn discard(&mut self, id: SessionId, buffer: &mut [u8]) -> Visit {
        for reads in 1..=LINGER_READS {
            let Some(session) = self.sessions.get_mut(id) else {
                return Visit::Over;
            };
            match session.stream.read(buffer) {
                Ok(0) => break,
                Ok(_) if reads == LINGER_READS => return Visit::More,
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
