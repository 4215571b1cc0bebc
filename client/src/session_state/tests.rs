//! The session driven without threads, sockets or sleeps.

use super::*;
use oyez_protocol::event::{Goodbye, GoodbyeCode, Outcome, Published, PublishedEntry};
use oyez_protocol::limits::Limits;
use oyez_protocol::{Decoded, decode};
use std::sync::Arc;

const HEARTBEAT: Duration = Duration::from_secs(10);

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn terms(records: usize) -> Terms {
    Terms {
        limits: Limits::DEFAULT,
        heartbeat: HEARTBEAT,
        inflight_records_max: records,
        inflight_bytes_max: 1 << 20,
    }
}

/// A session with one publisher, a connection that stands since 0, and so many records in flight at most.
struct Driven {
    state: SessionState,
    origin: OriginId,
    terms: Terms,
}

impl Driven {
    fn new(records: usize) -> Self {
        Self::with(records, ReconnectPolicy::default())
    }

    fn with(records: usize, policy: ReconnectPolicy) -> Self {
        let terms = terms(records);
        let mut state = SessionState::new(&terms, policy, at(0));
        let origin = state.ledger.open_origin(false);
        state.connected(&terms, at(0));
        Self {
            state,
            origin,
            terms,
        }
    }

    fn publish(&mut self, correlations: impl IntoIterator<Item = u8>) {
        let done = correlations.into_iter().map(|correlation| Finished {
            correlation: correlation.into(),
            topic: Arc::from("a"),
            record: vec![correlation; 64],
            raw_size: 16,
            messages: 1,
            payload_bytes: 1,
        });
        let done = done.collect();
        self.state.submit(self.origin, Interest::Publisher, done);
    }

    fn step(&mut self, now: Duration) -> Step {
        self.state.next_step(now, &mut Vec::new())
    }

    /// The bytes of the next write.
    fn written(&mut self, now: Duration) -> Vec<Bytes> {
        let mut out = Vec::new();
        let step = self.state.next_step(now, &mut out);
        assert!(matches!(step, Step::Write), "{step:?}");
        out
    }

    /// The records of the next write, by their correlation.
    fn sent(&mut self, now: Duration) -> Vec<u8> {
        self.written(now).iter().map(|record| record[0]).collect()
    }

    /// Whether the connection goes on behind these bytes.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        let mut received = ReceiveBuffer::default();
        received.spare()[..bytes.len()].copy_from_slice(bytes);
        received.filled(bytes.len());
        self.state.take_in(&mut received)
    }

    fn acknowledge(&mut self, correlation: u64) {
        assert!(self.receive(&outcome(correlation, Outcome::Ok)));
    }

    /// Loses the connection as the writer does; the longest delay is drawn.
    fn lose(&mut self, now: Duration) -> Result<Duration, ConnectError> {
        let Step::Lost(error) = self.step(now) else {
            panic!("the connection stands")
        };
        self.state.lost(&error, now, |bound| bound - 1)
    }

    fn reconnect(&mut self, now: Duration) {
        assert_eq!(self.state.next_retry(now), Retry::Dial);
        self.state.connected(&self.terms, now);
    }
}

fn outcome(correlation: u64, outcome: Outcome) -> Vec<u8> {
    let mut out = Vec::new();
    let entry = PublishedEntry {
        correlation,
        offset: oyez_protocol::Offset::new(0),
        epoch: oyez_protocol::Epoch::new(1),
        outcome,
        retry_after_ms: 0,
    };
    Published::encode(&[entry], &mut out);
    out
}

fn goodbye(code: GoodbyeCode, retry_after_ms: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Goodbye {
        code,
        retry_after_ms,
        reason: "so",
    }
    .encode(&mut out);
    out
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    match decode(bytes, &Limits::HARD).unwrap() {
        Decoded::Frame { frame, .. } => frame,
        Decoded::Need { .. } => panic!("no whole frame"),
    }
}

#[test]
fn while_the_broker_lags_behind_batches_are_not_cut_short() {
    let mut session = Driven::new(1);
    session.publish([1]);
    assert!(session.state.note_linger(at(5)));
    assert_eq!(session.sent(at(1)), [1]);
    let step = session.step(at(6));
    assert!(
        matches!(step, Step::WaitUntil(until) if until == HEARTBEAT),
        "{step:?}"
    );
    session.acknowledge(1);
    let step = session.step(at(6));
    assert!(matches!(step, Step::FinishDue), "{step:?}");
}

#[test]
fn the_sooner_of_linger_and_heartbeat_ends_the_wait() {
    let mut session = Driven::new(1);
    assert!(session.state.note_linger(at(5)));
    assert!(!session.state.note_linger(at(7)), "not sooner");
    let step = session.step(at(1));
    assert!(
        matches!(step, Step::WaitUntil(until) if until == at(5)),
        "{step:?}"
    );
    session.state.forget_linger();
    assert!(session.state.note_linger(HEARTBEAT * 2));
    let step = session.step(at(1));
    assert!(
        matches!(step, Step::WaitUntil(until) if until == HEARTBEAT),
        "{step:?}"
    );
}

#[test]
fn what_was_not_acknowledged_is_sent_again_first_and_in_order() {
    let mut session = Driven::new(3);
    session.publish(1..=5);
    assert_eq!(session.sent(at(1)), [1, 2, 3]);
    session.acknowledge(2);
    assert_eq!(session.sent(at(2)), [4]);
    session.state.note_loss(ConnectionError::Closed);
    let delay = session.lose(at(3)).unwrap();
    session.publish([6]);
    session.reconnect(at(3) + delay);
    assert_eq!(session.sent(at(500)), [1, 3, 4]);
    for correlation in [1, 3, 4] {
        session.acknowledge(correlation);
    }
    assert_eq!(session.sent(at(501)), [5, 6]);
}

#[test]
fn what_is_published_without_a_connection_waits_for_one_and_leaves_in_order() {
    let mut session = Driven::new(2);
    session.state.note_loss(ConnectionError::Closed);
    let delay = session.lose(at(50)).unwrap();
    let retry_at = at(50) + delay;
    for correlation in 1..=2 {
        assert!(matches!(session.state.admit(session.origin), Some(Ok(()))));
        session.publish([correlation]);
    }
    assert!(session.state.admit(session.origin).is_none(), "it waits");
    assert!(session.state.wants_attention());
    assert!(session.state.flushed(session.origin).is_none());
    let pause = Retry::PauseUntil(retry_at);
    assert_eq!(session.state.next_retry(at(51)), pause);
    session.reconnect(retry_at);
    assert_eq!(session.sent(retry_at), [1, 2]);
    session.acknowledge(1);
    session.acknowledge(2);
    assert!(matches!(
        session.state.flushed(session.origin),
        Some(Ok(()))
    ));
    assert!(matches!(session.state.admit(session.origin), Some(Ok(()))));
}

#[test]
fn an_attempt_that_fails_is_repeated_later_until_the_patience_is_over() {
    let mut session = Driven::with(1, ReconnectPolicy::default().attempts_max(Some(3)));
    session.state.note_loss(ConnectionError::Closed);
    let mut delays = vec![session.lose(at(0)).unwrap()];
    for _ in 0..2 {
        let failed = ConnectionError::Closed;
        delays.push(
            session
                .state
                .lost(&failed, at(0), |bound| bound - 1)
                .unwrap(),
        );
    }
    assert_eq!(delays, [at(100), at(200), at(400)]);
    let error = session.state.lost(&ConnectionError::Closed, at(0), |_| 0);
    assert!(matches!(error, Err(ConnectError::GaveUp { .. })));
}

#[test]
fn a_connection_that_stood_for_a_second_begins_the_backoff_anew() {
    let mut session = Driven::new(1);
    for _ in 0..2 {
        session.state.note_loss(ConnectionError::Closed);
        let now = session.state.retry_at + Duration::from_secs(1);
        let delay = session.lose(now).unwrap();
        assert_eq!(delay, at(100));
        session.reconnect(now + delay);
    }
    session.state.note_loss(ConnectionError::Closed);
    let now = session.state.retry_at;
    assert_eq!(session.lose(now).unwrap(), at(200));
}

#[test]
fn the_code_of_a_goodbye_decides_whether_and_when_the_session_comes_back() {
    use GoodbyeCode as Code;
    let passing = [
        (Code::Done, 0, 100),
        (Code::Draining, 700, 700),
        (Code::Full, 5_000, 5_100),
        (Code::Silent, 0, 100),
        (Code::Damaged, 0, 100),
    ];
    for (code, retry_after_ms, delay_ms) in passing {
        let mut session = Driven::new(1);
        session.publish([1]);
        assert_eq!(session.sent(at(0)), [1]);
        assert!(!session.receive(&goodbye(code, retry_after_ms)), "{code:?}");
        let delay = session.lose(at(1)).unwrap();
        assert_eq!(delay, at(delay_ms), "{code:?}");
        session.reconnect(at(1) + delay);
        assert_eq!(session.sent(at(1) + delay), [1], "{code:?}");
    }
    let final_ones = [
        Code::BadFrame,
        Code::Checksum,
        Code::TooLarge,
        Code::NotOyez,
        Code::Version,
        Code::Unexpected,
        Code::BadTopic,
        Code::Credentials,
    ];
    for code in final_ones {
        let mut session = Driven::new(1);
        assert!(!session.receive(&goodbye(code, 0)), "{code:?}");
        let lost = session.lose(at(1));
        assert!(matches!(lost, Err(ConnectError::Refused(_))), "{code:?}");
    }
}

#[test]
fn what_the_broker_could_not_read_three_times_in_a_row_is_not_sent_a_fourth_time() {
    let mut session = Driven::new(2);
    session.publish([1, 2]);
    let mut now = at(0);
    let mut refuse = |session: &mut Driven, acknowledged: Option<u64>| {
        assert!(!session.sent(now).is_empty());
        if let Some(correlation) = acknowledged {
            session.acknowledge(correlation);
        }
        assert!(!session.receive(&goodbye(GoodbyeCode::Damaged, 0)));
        let delay = session.lose(now)?;
        now += delay;
        session.reconnect(now);
        Ok::<(), ConnectError>(())
    };
    refuse(&mut session, None).unwrap();
    refuse(&mut session, None).unwrap();
    refuse(&mut session, Some(1)).unwrap();
    refuse(&mut session, None).unwrap();
    refuse(&mut session, None).unwrap();
    let error = refuse(&mut session, None).unwrap_err();
    assert!(
        matches!(error, ConnectError::Damaged { times: 3, .. }),
        "{error}"
    );
}

#[test]
fn an_answer_that_was_damaged_on_its_way_costs_the_connection_and_no_record() {
    let mut session = Driven::new(1);
    session.publish([1]);
    assert_eq!(session.sent(at(0)), [1]);
    let mut damaged = outcome(1, Outcome::Ok);
    damaged[4] ^= 0x40; // The kind of the frame.
    assert!(!session.receive(&damaged));
    let Step::Lost(error) = session.step(at(1)) else {
        panic!("the connection stands")
    };
    assert!(matches!(error, ConnectionError::Frame(_)), "{error}");
    let delay = session.state.lost(&error, at(1), |_| 0).unwrap();
    session.reconnect(at(1) + delay);
    assert_eq!(session.sent(at(200)), [1]);
}

#[test]
fn silence_is_asked_about_after_a_heartbeat_and_is_a_loss_after_two() {
    let mut session = Driven::new(1);
    let ping = session.written(HEARTBEAT);
    assert!(matches!(frame(&ping[0]), Frame::Ping(_)));
    session.state.heard(HEARTBEAT + at(1));
    let step = session.step(HEARTBEAT + at(1));
    assert!(
        matches!(step, Step::WaitUntil(until) if until == HEARTBEAT * 2 + at(1)),
        "{step:?}"
    );
    session.written(HEARTBEAT * 2 + at(1));
    let step = session.step(HEARTBEAT * 3 + at(1));
    let Step::Lost(ConnectionError::Silent { silence }) = step else {
        panic!("{step:?}")
    };
    assert_eq!(silence, HEARTBEAT * 2);
}

#[test]
fn a_ping_is_answered_before_records_leave() {
    let mut session = Driven::new(1);
    let mut ping = Vec::new();
    Heartbeat { token: 7 }.encode_ping(&mut ping);
    assert!(session.receive(&ping));
    session.publish([1]);
    let written = session.written(at(1));
    assert!(matches!(frame(&written[0]), Frame::Pong(heartbeat) if heartbeat.token == 7));
    assert_eq!(written[1][0], 1);
}

#[test]
fn a_write_may_stall_as_long_as_the_broker_is_heard() {
    let mut session = Driven::new(1);
    session.state.write_stalled(HEARTBEAT).unwrap();
    session.state.heard(HEARTBEAT * 2 - at(1));
    session.state.write_stalled(HEARTBEAT * 2).unwrap();
    session.state.write_stalled(HEARTBEAT * 3).unwrap();
    let error = session.state.write_stalled(HEARTBEAT * 4).unwrap_err();
    assert!(matches!(error, ConnectionError::Silent { .. }), "{error}");
}

#[test]
fn a_goodbye_that_was_read_holds_although_a_write_fails_after_it() {
    let mut session = Driven::new(1);
    assert!(!session.receive(&goodbye(GoodbyeCode::Draining, 700)));
    let stalled = session.state.write_stalled(at(1)).unwrap_err();
    session.state.note_loss(stalled);
    assert!(session.lose(at(1)).unwrap() >= at(700));
}

#[test]
fn an_open_question_is_asked_again_over_the_next_connection() {
    let mut session = Driven::new(1);
    let id = session.state.ask(Ask::Stats);
    let asked = |written: &[Bytes]| match frame(&written[0]) {
        Frame::Query(query) => query.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked(&session.written(at(0))), id);
    session.state.note_loss(ConnectionError::Closed);
    let delay = session.lose(at(1)).unwrap();
    assert!(session.state.answered(id).is_none());
    session.reconnect(at(1) + delay);
    assert_eq!(asked(&session.written(at(200))), id);
}

#[test]
fn a_session_that_says_goodbye_writes_and_settles_what_it_has_before() {
    let mut session = Driven::new(1);
    session.publish([1]);
    assert!(session.state.may_part().is_none());
    assert_eq!(session.sent(at(0)), [1]);
    session.acknowledge(1);
    assert!(session.state.may_part().is_some());
    session.publish([2]);
    session.state.part();
    assert_eq!(session.sent(at(0)), [2]);
    assert!(matches!(session.step(at(0)), Step::Goodbye));
    session.state.end(&ConnectError::Closed);
    let parted = session.state.parted().unwrap();
    let lost = PublishError::Disconnected(ConnectError::Closed);
    assert_eq!(parted.unwrap_err().to_string(), lost.to_string());
}

#[test]
fn an_abrupt_end_comes_before_everything_else() {
    let mut session = Driven::new(1);
    session.publish([1]);
    session.state.note_loss(ConnectionError::Closed);
    session.state.end_abruptly();
    assert!(matches!(session.step(at(0)), Step::End));
    assert!(session.state.write_stalled(at(0)).is_err());
    assert_eq!(session.state.next_retry(at(0)), Retry::End);
}

#[test]
fn a_refused_record_is_told_with_the_next_message_and_once() {
    let mut session = Driven::new(2);
    session.publish([1]);
    assert_eq!(session.sent(at(0)), [1]);
    assert!(session.receive(&outcome(1, Outcome::DiskFull)));
    assert!(session.state.wants_attention());
    let admitted = session.state.admit(session.origin);
    assert!(matches!(admitted, Some(Err(PublishError::Refused { .. }))));
    assert!(matches!(session.state.admit(session.origin), Some(Ok(()))));
    assert!(!session.state.wants_attention());
}

#[test]
fn when_the_session_is_over_publishers_are_told_and_nothing_is_taken() {
    let mut session = Driven::new(1);
    session.publish([1]);
    session.state.end(&ConnectError::Closed);
    for _ in 0..2 {
        let admitted = session.state.admit(session.origin);
        assert!(matches!(admitted, Some(Err(PublishError::Disconnected(_)))));
    }
    session.publish([2]);
    let flushed = session.state.flushed(session.origin);
    assert!(matches!(flushed, Some(Err(PublishError::Disconnected(_)))));
    let id = session.state.ask(Ask::Stats);
    assert!(matches!(session.state.answered(id), Some(Err(_))));
}

#[test]
fn the_outcome_of_a_strange_record_and_a_frame_out_of_place_lose_the_connection() {
    let mut session = Driven::new(1);
    assert!(!session.receive(&outcome(9, Outcome::Ok)));
    let mut session = Driven::new(1);
    let mut strange = Vec::new();
    oyez_protocol::command::Unsubscribe {
        id: 1,
        name: "a",
        is_filter: false,
    }
    .encode(&mut strange);
    assert!(!session.receive(&strange));
    assert!(matches!(session.step(at(0)), Step::Lost(_)));
}
