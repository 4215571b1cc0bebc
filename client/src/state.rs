//! What a session's publishers, its courier and its reader share, and the decision what to do next. Pure: time is an
//! argument, bytes to write are handed out, and the socket is only kept to be closed.

use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use oyez_protocol::Frame;
use oyez_protocol::event::Heartbeat;

use crate::error::{ConnectError, ConnectionError};
use crate::inbox::Inbox;
use crate::ledger::Ledger;
use crate::publisher::Desk;
use crate::query::{Ask, Questions, Reply};
use crate::silence::{Silence, Verdict};
use crate::terms::Terms;

/// Records handed to one write.
const BURST_RECORDS: usize = 64;

/// How the session is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Not yet.
    None,
    /// With a goodbye, now that everything is settled.
    Goodbye,
    /// At once.
    Abrupt,
}

/// What the courier does next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Write what was gathered.
    Write,
    /// Finish the batches that lingered long enough.
    FinishDue,
    /// Nothing, at most until then.
    WaitUntil(Duration),
    /// The connection is lost.
    Lost(ConnectionError),
    /// The session ends.
    End,
}

/// Everything that publishers, the courier and its reader share.
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    questions: Questions,
    urgent: Vec<u8>,
    pong: Option<Heartbeat>,
    silence: Silence,
    judged_at: Duration,
    lost: Option<ConnectionError>,
    socket: Option<Arc<TcpStream>>,
    desks: Vec<Weak<Desk>>,
    linger_at: Option<Duration>,
    pub(crate) ending: Ending,
    /// Why the session is over, when it is.
    pub(crate) over: Option<ConnectError>,
}

impl State {
    /// A session that begins at `now`, under these terms.
    pub(crate) fn new(terms: &Terms, now: Duration) -> Self {
        Self {
            ledger: Ledger::new(terms),
            questions: Questions::default(),
            urgent: Vec::new(),
            pong: None,
            silence: Silence::new(terms.heartbeat, now),
            judged_at: now,
            lost: None,
            socket: None,
            desks: Vec::new(),
            linger_at: None,
            ending: Ending::None,
            over: None,
        }
    }

    /// What to do at `now`; bytes to write are appended to `out`.
    pub(crate) fn next_step(&mut self, now: Duration, out: &mut Vec<Bytes>) -> Step {
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
            return Step::End;
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

    fn gather(&mut self, out: &mut Vec<Bytes>) {
        if let Some(heartbeat) = self.pong.take() {
            heartbeat.encode_pong(&mut self.urgent);
        }
        if !self.urgent.is_empty() {
            out.push(std::mem::take(&mut self.urgent).into());
        }
        self.ledger.send(BURST_RECORDS, out);
    }

    /// How long the silence may last. The courier judges at least once a heartbeat; if it comes much later, this process
    /// did not run, and what the broker said meanwhile may wait to be read.
    ///
    /// # Errors
    /// When the connection is dead.
    pub(crate) fn judge(&mut self, now: Duration) -> Result<Duration, ConnectionError> {
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

    /// Whether the connection was found to be lost, or is not wanted any more.
    pub(crate) const fn is_hopeless(&self) -> bool {
        self.lost.is_some() || matches!(self.ending, Ending::Abrupt)
    }

    /// Bytes arrived at `now`.
    pub(crate) const fn heard(&mut self, now: Duration) {
        self.silence.heard(now);
    }

    /// Takes in all whole frames that arrived.
    ///
    /// # Errors
    /// When one of them is the last of the connection.
    pub(crate) fn absorb(&mut self, inbox: &mut Inbox) -> Result<(), ConnectionError> {
        while let Some(frame) = inbox.next()? {
            match frame {
                Frame::Published(published) => {
                    for entry in published.entries() {
                        self.ledger.settle(&entry)?;
                    }
                }
                Frame::Answer(answer) => self.questions.answer(&answer),
                Frame::Ping(heartbeat) => self.pong = Some(heartbeat),
                Frame::Goodbye(goodbye) => return Err(ConnectionError::goodbye(&goodbye)),
                Frame::Pong(_) | Frame::Skipped { .. } => {}
                _ => {
                    return Err(ConnectionError::Unexpected {
                        what: "a frame that has no place in a publishing session",
                    });
                }
            }
        }
        self.silence.awaits(inbox.incomplete());
        Ok(())
    }

    pub(crate) fn note_loss(&mut self, error: ConnectionError) {
        self.lost.get_or_insert(error);
    }

    /// A new connection stands: open questions are asked again.
    pub(crate) fn connected(&mut self, terms: &Terms, socket: Arc<TcpStream>, now: Duration) {
        self.ledger.agree(terms);
        self.silence = Silence::new(terms.heartbeat, now);
        self.judged_at = now;
        self.socket = Some(socket);
        self.urgent.clear();
        self.questions.ask_again(&mut self.urgent);
    }

    /// The connection is gone: what was sent over it is to be sent again.
    pub(crate) fn disconnected(&mut self) {
        self.socket = None;
        self.pong = None;
        self.lost = None;
        self.urgent.clear();
        self.ledger.lost();
    }

    /// A question to the broker; the id fetches its answer.
    pub(crate) fn ask(&mut self, ask: Ask) -> u32 {
        self.questions.ask(ask, &mut self.urgent)
    }

    pub(crate) fn take_reply(&mut self, id: u32) -> Option<Reply> {
        self.questions.take(id)
    }

    /// A batch is due then. Tells whether that is sooner than what was due before.
    pub(crate) fn note_linger(&mut self, due: Duration) -> bool {
        let sooner = self.linger_at.is_none_or(|at| due < at);
        if sooner {
            self.linger_at = Some(due);
        }
        sooner
    }

    /// Nothing is known to be due.
    pub(crate) const fn forget_linger(&mut self) {
        self.linger_at = None;
    }

    /// The session ends at once.
    pub(crate) fn end_abruptly(&mut self) {
        self.ending = Ending::Abrupt;
        if let Some(socket) = &self.socket {
            // It may be closed already.
            let _closed = socket.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn register(&mut self, desk: &Arc<Desk>) {
        self.desks.push(Arc::downgrade(desk));
    }

    /// The desks of all publishers that are still there.
    pub(crate) fn desks(&mut self) -> Vec<Arc<Desk>> {
        self.desks.retain(|desk| desk.strong_count() > 0);
        self.desks.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Finished;
    use crate::ledger::Interest;
    use oyez_protocol::event::{Outcome, Published, PublishedEntry};
    use oyez_protocol::limits::Limits;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// A session on which one record may be in flight.
    fn narrow() -> State {
        let terms = Terms {
            limits: Limits::DEFAULT,
            heartbeat: HEARTBEAT,
            inflight_records_max: 1,
            inflight_bytes_max: 1 << 20,
        };
        State::new(&terms, at(0))
    }

    fn add(state: &mut State, correlation: u64) {
        let origin = state.ledger.open_origin(false);
        let finished = Finished {
            correlation,
            topic: Arc::from("a"),
            record: vec![0; 64],
            raw_size: 16,
            messages: 1,
            payload_bytes: 1,
        };
        state.ledger.add(origin, Interest::Publisher, finished);
    }

    fn receive(state: &mut State, bytes: &[u8]) -> Result<(), ConnectionError> {
        let mut inbox = Inbox::default();
        inbox.spare()[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len());
        state.absorb(&mut inbox)
    }

    fn outcome(correlation: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let entry = PublishedEntry {
            correlation,
            offset: oyez_protocol::Offset::new(0),
            epoch: oyez_protocol::Epoch::new(1),
            outcome: Outcome::Ok,
        };
        Published::encode(&[entry], &mut out);
        out
    }

    #[test]
    fn while_the_broker_lags_behind_batches_are_not_cut_short() {
        let (mut state, mut out) = (narrow(), Vec::new());
        add(&mut state, 1);
        assert!(state.note_linger(at(5)));
        assert!(matches!(state.next_step(at(1), &mut out), Step::Write));
        out.clear();
        let step = state.next_step(at(6), &mut out);
        assert!(
            matches!(step, Step::WaitUntil(until) if until == HEARTBEAT),
            "{step:?}"
        );
        receive(&mut state, &outcome(1)).unwrap();
        let step = state.next_step(at(6), &mut out);
        assert!(matches!(step, Step::FinishDue), "{step:?}");
    }

    #[test]
    fn the_sooner_of_linger_and_heartbeat_ends_the_wait() {
        let (mut state, mut out) = (narrow(), Vec::new());
        assert!(state.note_linger(at(5)));
        assert!(!state.note_linger(at(7)), "not sooner");
        let step = state.next_step(at(1), &mut out);
        assert!(
            matches!(step, Step::WaitUntil(until) if until == at(5)),
            "{step:?}"
        );
        state.forget_linger();
        assert!(state.note_linger(HEARTBEAT * 2));
        let step = state.next_step(at(1), &mut out);
        assert!(
            matches!(step, Step::WaitUntil(until) if until == HEARTBEAT),
            "{step:?}"
        );
    }

    #[test]
    fn a_session_that_says_goodbye_writes_what_it_has_before() {
        let (mut state, mut out) = (narrow(), Vec::new());
        add(&mut state, 1);
        state.ending = Ending::Goodbye;
        assert!(matches!(state.next_step(at(0), &mut out), Step::Write));
        out.clear();
        assert!(matches!(state.next_step(at(0), &mut out), Step::End));
    }

    #[test]
    fn the_outcome_of_a_strange_record_and_a_frame_out_of_place_lose_the_connection() {
        let mut state = narrow();
        assert!(receive(&mut state, &outcome(9)).is_err());
        let mut hello = Vec::new();
        oyez_protocol::command::Unsubscribe { id: 1, topic: "a" }.encode(&mut hello);
        assert!(receive(&mut state, &hello).is_err());
    }
}
