//! What a publishing session does next, decided from what was published, what was heard, what was lost, and the time.
//! Pure: time and chance are arguments, and bytes to write are handed out.

use std::time::Duration;

use bytes::Bytes;
use oyez_protocol::Frame;
use oyez_protocol::event::Heartbeat;

use crate::backoff::{Backoff, Damages, ReconnectPolicy, Retry};
use crate::batch::Finished;
use crate::error::{ConnectError, ConnectionError, PublishError, QueryError};
use crate::ledger::{Interest, Ledger, OriginId};
use crate::query::{Ask, Questions, Reply};
use crate::receive_buffer::ReceiveBuffer;
use crate::silence::{Silence, Verdict};
use crate::terms::Terms;

/// Most records handed to one write.
const BURST_RECORDS: usize = 64;

/// How the session is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// It goes on.
    None,
    /// It ends with a goodbye, now that everything is settled.
    Goodbye,
    /// It ends at once, without a goodbye.
    Abrupt,
}

/// What the writer does next over a connection.
#[derive(Debug)]
pub(crate) enum Step {
    /// Write what was gathered.
    Write,
    /// Finish the batches that lingered long enough.
    FinishDue,
    /// Wait, at most until then.
    WaitUntil(Duration),
    /// Leave the connection, which is lost.
    Lost(ConnectionError),
    /// Say goodbye; the session ends.
    Goodbye,
    /// End the session at once.
    End,
}

/// The connection that stands, as far as decisions need it.
#[derive(Clone, Copy, Debug)]
struct Link {
    began_at: Duration,
    /// Number of records that had been answered when it began.
    answered: u64,
}

/// The state that publishers, the writer and the reader share.
pub(crate) struct SessionState {
    pub(crate) ledger: Ledger,
    questions: Questions,
    urgent: Vec<u8>,
    pong: Option<Heartbeat>,
    silence: Silence,
    judged_at: Duration,
    /// Why the connection is lost: the first reason that was noticed.
    lost: Option<ConnectionError>,
    link: Option<Link>,
    retry_at: Duration,
    backoff: Backoff,
    damages: Damages,
    linger_at: Option<Duration>,
    ending: Ending,
    /// Why the session is over; `None` while it goes on.
    over: Option<ConnectError>,
}

impl SessionState {
    /// Creates a session that begins at `now` under these terms. [`SessionState::connected`] gives it its connection.
    pub(crate) fn new(terms: &Terms, policy: ReconnectPolicy, now: Duration) -> Self {
        Self {
            ledger: Ledger::new(terms),
            questions: Questions::default(),
            urgent: Vec::new(),
            pong: None,
            silence: Silence::new(terms.heartbeat, now),
            judged_at: now,
            lost: None,
            link: None,
            retry_at: now,
            backoff: Backoff::new(policy),
            damages: Damages::default(),
            linger_at: None,
            ending: Ending::None,
            over: None,
        }
    }

    /// Returns what to do at `now` over the connection. Bytes to write replace the content of `out`.
    pub(crate) fn next_step(&mut self, now: Duration, out: &mut Vec<Bytes>) -> Step {
        out.clear();
        if self.ending == Ending::Abrupt {
            return Step::End;
        }
        if let Some(error) = self.lost.take() {
            return Step::Lost(error);
        }
        let mut until = match self.judge(now) {
            Ok(left) => now + left,
            Err(error) => return Step::Lost(error),
        };
        self.gather(out);
        if !out.is_empty() {
            return Step::Write;
        }
        if self.ending == Ending::Goodbye {
            return Step::Goodbye;
        }
        // While the broker lags behind there is no use in cutting batches short: they grow instead.
        if let Some(due) = self.linger_at.filter(|_| self.ledger.has_room()) {
            if due <= now {
                return Step::FinishDue;
            }
            until = until.min(due);
        }
        Step::WaitUntil(until)
    }

    /// Returns what to do at `now` without a connection.
    pub(crate) fn next_retry(&self, now: Duration) -> Retry {
        if self.ending != Ending::None {
            return Retry::End;
        }
        if now < self.retry_at {
            return Retry::PauseUntil(self.retry_at);
        }
        Retry::Dial
    }

    fn gather(&mut self, out: &mut Vec<Bytes>) {
        if let Some(heartbeat) = self.pong.take() {
            heartbeat.encode_pong(&mut self.urgent);
        }
        if !self.urgent.is_empty() {
            out.push(std::mem::take(&mut self.urgent).into());
        }
        self.ledger.send(BURST_RECORDS, out);
    }

    /// Judges the silence, and returns how long it may last. The writer calls this at least once a heartbeat; if it
    /// comes much later, this process did not run, and what the broker sent meanwhile may wait to be read.
    ///
    /// # Errors
    /// When the connection is dead.
    fn judge(&mut self, now: Duration) -> Result<Duration, ConnectionError> {
        let passed = now.saturating_sub(std::mem::replace(&mut self.judged_at, now));
        self.silence.passed(passed, now);
        match self.silence.judge(now) {
            Verdict::Wait(left) => Ok(left),
            Verdict::Ask => {
                let token = now.as_nanos() as u64;
                Heartbeat { token }.encode_ping(&mut self.urgent);
                Ok(Duration::ZERO)
            }
            Verdict::Dead(silence) => Err(ConnectionError::Silent { silence }),
            Verdict::Unfinished => Err(ConnectionError::Unfinished),
        }
    }

    /// Notes that a write has waited for a whole heartbeat. The broker may take its time, as long as bytes come from
    /// it.
    ///
    /// # Errors
    /// When the connection is lost or dead.
    pub(crate) fn write_stalled(&mut self, now: Duration) -> Result<(), ConnectionError> {
        if self.lost.is_some() || self.ending == Ending::Abrupt {
            return Err(ConnectionError::Closed);
        }
        self.judge(now).map(drop)
    }

    /// Notes that bytes arrived at `now`.
    pub(crate) const fn heard(&mut self, now: Duration) {
        self.silence.heard(now);
    }

    /// Takes in all whole frames that arrived. Returns false when one of them ends the connection.
    pub(crate) fn take_in(&mut self, received: &mut ReceiveBuffer) -> bool {
        let taken = self.take_frames(received);
        taken.map_err(|error| self.note_loss(error)).is_ok()
    }

    fn take_frames(&mut self, received: &mut ReceiveBuffer) -> Result<(), ConnectionError> {
        while let Some(frame) = received.next()? {
            match frame {
                Frame::Published(published) => {
                    for entry in published.entries() {
                        self.ledger.settle(&entry)?;
                    }
                }
                Frame::Answer(answer) => self.questions.answer(&answer),
                Frame::Ping(heartbeat) => self.pong = Some(heartbeat),
                Frame::Goodbye(goodbye) => return Err(ConnectionError::goodbye(&goodbye)),
                Frame::Pong(_) | Frame::Notice(_) | Frame::Skipped { .. } => {}
                _ => {
                    return Err(ConnectionError::Unexpected {
                        what: "a frame that has no place in a publishing session",
                    });
                }
            }
        }
        self.silence.awaits(received.incomplete());
        Ok(())
    }

    /// Notes that the connection is lost. Of several reasons the first is kept.
    pub(crate) fn note_loss(&mut self, error: ConnectionError) {
        self.lost.get_or_insert(error);
    }

    /// Notes that a new connection stands, and asks open questions again over it.
    pub(crate) fn connected(&mut self, terms: &Terms, now: Duration) {
        self.ledger.agree(terms);
        self.silence = Silence::new(terms.heartbeat, now);
        self.judged_at = now;
        self.link = Some(Link {
            began_at: now,
            answered: self.ledger.answered(),
        });
        self.urgent.clear();
        self.questions.ask_again(&mut self.urgent);
    }

    /// Notes that the connection is lost or an attempt to connect has failed. Returns the delay before the next
    /// attempt. What was sent and not answered is sent again over the next connection. `random_below` draws a number.
    ///
    /// # Errors
    /// When the reconnect policy gives up, or sending the same again would end the same way.
    pub(crate) fn lost(
        &mut self,
        error: &ConnectionError,
        now: Duration,
        random_below: impl FnOnce(u64) -> u64,
    ) -> Result<Duration, ConnectError> {
        if let Some(link) = self.disconnect() {
            self.backoff.stood(now.saturating_sub(link.began_at));
            if self.ledger.answered() > link.answered || self.ledger.is_empty() {
                self.damages.progress();
            } else {
                self.damages.lost(error)?;
            }
        }
        let delay = self.backoff.lost(error, now, random_below)?;
        self.retry_at = now + delay;
        Ok(delay)
    }

    /// Forgets the connection, and returns what it was, if it stood.
    fn disconnect(&mut self) -> Option<Link> {
        self.pong = None;
        self.lost = None;
        self.urgent.clear();
        self.ledger.lost();
        self.link.take()
    }

    /// Takes records to be sent. If the session is over, they fail.
    pub(crate) fn submit(&mut self, origin: OriginId, interest: Interest, done: Vec<Finished>) {
        for finished in done {
            self.ledger.add(origin, interest, finished);
        }
        if let Some(error) = &self.over {
            self.ledger.fail(error);
        }
    }

    /// Whether a publisher must be admitted before it goes on.
    pub(crate) fn wants_attention(&self) -> bool {
        self.over.is_some() || !self.ledger.has_room() || self.ledger.has_failures()
    }

    /// Returns whether a publisher may hand over another message, or why it may not; `None` while it has to wait.
    pub(crate) fn admit(&mut self, origin: OriginId) -> Option<Result<(), PublishError>> {
        if let Some(failure) = self.ledger.take_failure(origin) {
            return Some(Err(failure));
        }
        if let Some(error) = &self.over {
            return Some(Err(error.clone().into()));
        }
        self.ledger.has_room().then_some(Ok(()))
    }

    /// Returns how everything that a publisher has handed over ended; `None` while some of it is not settled.
    pub(crate) fn flushed(&mut self, origin: OriginId) -> Option<Result<(), PublishError>> {
        if !self.ledger.is_settled(origin) {
            return None;
        }
        Some(self.ledger.take_failure(origin).map_or(Ok(()), Err))
    }

    /// Asks the broker a question. The id that it returns fetches the answer.
    pub(crate) fn ask(&mut self, ask: Ask) -> u32 {
        self.questions.ask(ask, &mut self.urgent)
    }

    /// Forgets a question whose caller waits no longer.
    pub(crate) fn forget(&mut self, id: u32) {
        self.questions.forget(id);
    }

    /// Takes the answer to a question, or why there will be none; `None` while it is awaited.
    pub(crate) fn answered(&mut self, id: u32) -> Option<Result<Reply, QueryError>> {
        if let Some(reply) = self.questions.take(id) {
            return Some(Ok(reply));
        }
        self.over.clone().map(|error| Err(error.into()))
    }

    /// Notes that a batch is due at `due`. Returns whether that is sooner than all that was due before.
    pub(crate) fn note_linger(&mut self, due: Duration) -> bool {
        let sooner = self.linger_at.is_none_or(|at| due < at);
        if sooner {
            self.linger_at = Some(due);
        }
        sooner
    }

    /// Forgets when the next batch is due.
    pub(crate) const fn forget_linger(&mut self) {
        self.linger_at = None;
    }

    /// Returns `Some` once a goodbye leaves nothing behind: everything is settled, or the session is over.
    pub(crate) fn may_part(&self) -> Option<()> {
        (self.ledger.is_empty() || self.over.is_some()).then_some(())
    }

    /// Lets the session end with a goodbye.
    pub(crate) const fn part(&mut self) {
        self.ending = Ending::Goodbye;
    }

    /// Returns how a session ended that was to end with a goodbye; `None` before its end. A failure that its publisher
    /// has not received yet comes first.
    pub(crate) fn parted(&mut self) -> Option<Result<(), PublishError>> {
        let over = self.over.clone()?;
        Some(match (self.ledger.take_any_failure(), over) {
            (Some(failure), _) => Err(failure),
            (None, ConnectError::Closed) => Ok(()),
            (None, error) => Err(error.into()),
        })
    }

    /// Returns why the session is over; `None` while it goes on.
    pub(crate) const fn over(&self) -> Option<&ConnectError> {
        self.over.as_ref()
    }

    /// Ends the session at once.
    pub(crate) const fn end_abruptly(&mut self) {
        self.ending = Ending::Abrupt;
    }

    /// Marks the session as over: nothing will be sent or settled any more. Of several reasons the first is kept.
    pub(crate) fn end(&mut self, error: &ConnectError) {
        let _link = self.disconnect();
        self.ledger.fail(error);
        self.over.get_or_insert_with(|| error.clone());
    }
}

#[cfg(test)]
mod tests;
