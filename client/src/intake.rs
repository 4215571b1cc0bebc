//! Turns a subscription's frames into deliveries. Pure: bytes come from a [`ReceiveBuffer`].
//!
//! A record is delivered whole or not at all: both checksums are verified, then its block is decompressed once and
//! every message is a slice of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use oyez_protocol::command::Subscribe;
use oyez_protocol::error::{BlockError, FrameError};
use oyez_protocol::event::{Heartbeat, Outcome, OutcomeClass, Subscribed};
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::Messages;
use oyez_protocol::record::Record;
use oyez_protocol::{Frame, Offset};

use crate::cursor::Cursor;
use crate::delivery::Delivery;
use crate::error::{ConnectionError, SubscribeError};
use crate::message::Message;
use crate::receive_buffer::ReceiveBuffer;

/// Turns the frames of one subscription into deliveries.
#[derive(Debug)]
pub(crate) struct Intake {
    cursor: Cursor,
    request: Option<u32>,
    scratch: Scratch,
    /// Deliveries that wait for the caller, in order.
    pub(crate) ready: VecDeque<Delivery>,
}

/// What kind of frame [`Intake::take_next`] has taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// None: no whole frame has arrived yet.
    NoFrame,
    /// A frame that does not prove the connection good.
    Formality,
    /// A delivery or a sign of life.
    Progress,
    /// A ping, which wants an answer.
    Ping(Heartbeat),
}

/// Why a frame was not taken in, by what ends.
#[derive(Debug)]
pub(crate) enum IntakeError {
    /// The connection ends; the subscription may reconnect.
    Connection(ConnectionError),
    /// The subscription ends.
    Refused(SubscribeError),
}

impl<E: Into<ConnectionError>> From<E> for IntakeError {
    fn from(error: E) -> Self {
        Self::Connection(error.into())
    }
}

impl Intake {
    pub(crate) const fn new(cursor: Cursor) -> Self {
        Self {
            cursor,
            request: None,
            scratch: Scratch::new(),
            ready: VecDeque::new(),
        }
    }

    pub(crate) const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// Appends the request for what comes next to `out`. No delivery is accepted before its answer has come.
    pub(crate) fn request(&mut self, id: u32, out: &mut Vec<u8>) {
        Subscribe::encode(id, &[self.cursor.request()], out);
        self.request = Some(id);
    }

    /// Whether the last request was answered.
    pub(crate) const fn is_confirmed(&self) -> bool {
        self.request.is_none()
    }

    /// Takes in the next frame.
    ///
    /// # Errors
    /// When the frame is damaged, has no place here, or is a goodbye or a refusal.
    pub(crate) fn take_next(
        &mut self,
        received: &mut ReceiveBuffer,
    ) -> Result<FrameKind, IntakeError> {
        let Some(frame) = received.next()? else {
            return Ok(FrameKind::NoFrame);
        };
        match frame {
            Frame::Record(record) if self.expects(record.topic()) => self.take_record(&record)?,
            Frame::Gap(gap) if self.expects(gap.hole.name) => {
                self.ready
                    .extend(self.cursor.gap(&gap)?.into_iter().flatten());
            }
            Frame::Skip(skip) if self.expects(skip.hole.name) => {
                self.ready
                    .extend(self.cursor.skip(&skip)?.into_iter().flatten());
            }
            Frame::Subscribed(answer) if self.request == Some(answer.id) => {
                let is_of_topic =
                    answer.log.is_none() && matches!(answer.entry, 0 | Subscribed::ALL);
                if !is_of_topic || answer.outcome.is_done() && answer.entry != 0 {
                    let what = "an answer to another request for topics";
                    return Err(ConnectionError::Unexpected { what }.into());
                }
                put_off(answer.outcome, answer.retry_after_ms)?;
                self.request = None;
                let told = self
                    .cursor
                    .subscribed(&answer)
                    .map_err(IntakeError::Refused)?;
                self.ready.extend(told);
                return Ok(FrameKind::Formality);
            }
            Frame::Ended(ended) if !ended.is_filter && self.expects(ended.name) => {
                put_off(ended.outcome, ended.retry_after_ms)?;
                return Err(IntakeError::Refused(self.cursor.refused(ended.outcome)));
            }
            Frame::Skipped { .. } | Frame::Notice(_) => return Ok(FrameKind::Formality),
            Frame::Ping(heartbeat) => return Ok(FrameKind::Ping(heartbeat)),
            Frame::Pong(_) => {}
            Frame::Goodbye(goodbye) => return Err(ConnectionError::goodbye(&goodbye).into()),
            _ => {
                let what = "a frame that has no place in this subscription";
                return Err(ConnectionError::Unexpected { what }.into());
            }
        }
        Ok(FrameKind::Progress)
    }

    fn expects(&self, topic: &str) -> bool {
        self.is_confirmed() && topic == &**self.cursor.topic()
    }

    fn take_record(&mut self, record: &Record<'_>) -> Result<(), FrameError> {
        record.check_header()?;
        let Some(fresh) = self.cursor.record(record.offset(), record.count()) else {
            return Ok(());
        };
        self.ready.extend(fresh.gap.map(Delivery::Gap));
        let before = self.ready.len();
        if self.open(record, fresh.skip).is_err() {
            // Asking again would bring the same bytes: its checksum is right, its publisher is wrong.
            self.ready.truncate(before);
            let gap = self.cursor.unreadable(record.offset(), fresh.skip);
            self.ready.push_back(Delivery::Gap(gap));
        }
        Ok(())
    }

    fn open(&mut self, record: &Record<'_>, skip: usize) -> Result<(), BlockError> {
        let block = Bytes::copy_from_slice(self.scratch.open(record)?);
        let slice = |part: &[u8]| block.slice_ref(part);
        let first = record.offset();
        let messages = Messages::new(&block, record.count());
        for (offset, message) in (first.get()..).zip(messages) {
            let message = message?;
            if offset - first.get() < skip as u64 {
                continue;
            }
            self.ready.push_back(Delivery::Message(Message {
                topic: Arc::clone(self.cursor.topic()),
                offset: Offset::new(offset),
                epoch: self.cursor.epoch(),
                timestamp_ms: record.timestamp_ms(),
                key: message.key.map(slice),
                headers: message
                    .headers
                    .map(|(name, value)| (slice(name), slice(value)))
                    .collect(),
                payload: slice(message.payload),
            }));
        }
        Ok(())
    }
}

/// Turns an outcome that may change into the loss of the connection: the subscription asks again over another one.
fn put_off(outcome: Outcome, retry_after_ms: u32) -> Result<(), ConnectionError> {
    if outcome.class() != OutcomeClass::NotNow {
        return Ok(());
    }
    Err(ConnectionError::NotNow {
        outcome,
        retry_after: Duration::from_millis(retry_after_ms.into()),
    })
}
