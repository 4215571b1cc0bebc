//! The subscription driven without threads, sockets or sleeps.

use super::*;
use crate::delivery::{Gap, GapCause};
use crate::error::SubscribeError;
use oyez_protocol::command::{Begin, Start};
use oyez_protocol::event::{Goodbye, GoodbyeCode, Outcome, Subscribed};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{RecordBuilder, Stamp, stamp};
use oyez_protocol::{Decoded, Epoch, Frame, LogId, Offset, Sequence, decode};
use std::sync::Arc;

const HEARTBEAT: Duration = Duration::from_secs(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

const fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A subscription to `a` with what arrives for it.
struct Driven {
    state: SubscriptionState,
    received: ReceiveBuffer,
}

impl Driven {
    fn new(start: Start) -> Self {
        let cursor = Cursor::new(Arc::from("a"), start, None);
        let policy = ReconnectPolicy::default();
        Self {
            state: SubscriptionState::new(cursor, policy, ANSWER_WITHIN),
            received: ReceiveBuffer::default(),
        }
    }

    /// A subscription that the broker has confirmed at 0, with delivery from offset 40 on.
    fn confirmed() -> Self {
        let mut driven = Self::new(Start::Latest);
        let (id, ..) = driven.connect(at(0));
        driven.take(&confirmation(id, 40)).unwrap();
        driven
    }

    /// Connects; what the request says.
    fn connect(&mut self, now: Duration) -> (u32, Start, Option<Epoch>) {
        let mut out = Vec::new();
        self.received = ReceiveBuffer::default();
        self.state.connected(HEARTBEAT, now, &mut out);
        match decode(&out, &Limits::HARD).unwrap() {
            Decoded::Frame {
                frame: Frame::Subscribe(subscribe),
                ..
            } => {
                let asked = subscribe.topics().next().expect("there is one");
                let Begin::At(start) = asked.begin else {
                    panic!("{asked:?}");
                };
                (subscribe.id, start, asked.epoch)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Takes in all whole frames of these bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<(), IntakeError> {
        self.received.spare()[..bytes.len()].copy_from_slice(bytes);
        self.received.filled(bytes.len());
        while self.state.take_in(&mut self.received)? != FrameKind::NoFrame {}
        Ok(())
    }

    /// Takes in bytes behind which the connection ends.
    fn fail(&mut self, bytes: &[u8]) -> ConnectionError {
        match self.take(bytes) {
            Err(IntakeError::Connection(error)) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Loses the connection; the longest delay is drawn.
    fn lose(&mut self, error: &ConnectionError, now: Duration) -> Result<Duration, ConnectError> {
        self.state.lost(error, now, |bound| bound - 1)
    }

    fn deliveries(&mut self) -> Vec<Delivery> {
        std::iter::from_fn(|| self.state.next_delivery()).collect()
    }

    /// The offsets of the messages that are to be delivered.
    fn offsets(&mut self) -> Vec<u64> {
        let messages = self.deliveries().into_iter();
        messages
            .filter_map(Delivery::into_message)
            .map(|message| message.offset.get())
            .collect()
    }
}

fn answer(id: u32, next: u64, outcome: Outcome, dropped: bool) -> Vec<u8> {
    let mut out = Vec::new();
    Subscribed {
        id,
        entry: 0,
        outcome,
        retry_after_ms: 0,
        next: Offset::new(next),
        earliest: Offset::new(0),
        head: Offset::new(1000),
        epoch: Epoch::new(7),
        log: None,
        more_logs: false,
        epoch_changed: false,
        dropped,
    }
    .encode(&mut out);
    out
}

fn confirmation(id: u32, next: u64) -> Vec<u8> {
    answer(id, next, Outcome::Ok, false)
}

/// A record with one message for each offset.
fn record(offsets: std::ops::Range<u64>) -> Vec<u8> {
    let mut builder = RecordBuilder::new("a", Limits::DEFAULT).unwrap();
    for offset in offsets.clone() {
        builder
            .push(&MessageRef::new(&offset.to_le_bytes()))
            .unwrap();
    }
    let mut out = Vec::new();
    builder.finish_stored(0, &mut out);
    let place = Stamp {
        offset: Offset::new(offsets.start),
        sequence: Sequence::new(1),
        log: LogId::new(0),
        timestamp_ms: 1,
        incarnation: 1,
    };
    stamp(&mut out, &place);
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

#[test]
fn after_a_loss_delivery_goes_on_at_the_cursor_and_nothing_comes_twice() {
    let mut driven = Driven::confirmed();
    driven.take(&record(40..43)).unwrap();
    assert_eq!(driven.offsets(), [40, 41, 42]);
    let delay = driven.lose(&ConnectionError::Closed, at(50)).unwrap();
    let pause = Retry::PauseUntil(at(50) + delay);
    assert_eq!(driven.state.next_retry(at(50), None), pause);
    assert_eq!(driven.state.next_retry(at(50) + delay, None), Retry::Dial);
    let (id, start, epoch) = driven.connect(at(50) + delay);
    assert_eq!(start, Start::Offset(Offset::new(43)));
    assert_eq!(epoch, Some(Epoch::new(7)));
    assert!(!driven.state.is_confirmed());
    driven.take(&confirmation(id, 43)).unwrap();
    driven.take(&record(42..45)).unwrap();
    assert_eq!(driven.offsets(), [43, 44]);
}

#[test]
fn what_had_arrived_before_a_loss_is_still_delivered() {
    let mut driven = Driven::confirmed();
    driven.take(&record(40..42)).unwrap();
    driven.lose(&ConnectionError::Closed, at(1)).unwrap();
    assert!(driven.state.is_ready());
    assert_eq!(driven.offsets(), [40, 41]);
}

#[test]
fn what_was_dropped_meanwhile_is_told_as_a_gap() {
    let mut driven = Driven::confirmed();
    driven.lose(&ConnectionError::Closed, at(1)).unwrap();
    let (id, ..) = driven.connect(at(200));
    driven.take(&answer(id, 60, Outcome::Ok, true)).unwrap();
    let expected = Gap {
        topic: Arc::from("a"),
        from: Offset::new(40),
        to: Offset::new(60),
        cause: GapCause::Retention,
    };
    assert_eq!(driven.deliveries(), [Delivery::Gap(expected)]);
}

#[test]
fn a_record_that_was_damaged_on_its_way_is_asked_for_again_and_delivered_once() {
    let whole = record(40..43);
    for byte in [9, 30, whole.len() - 10] {
        let mut driven = Driven::confirmed();
        let mut damaged = whole.clone();
        damaged[byte] ^= 1;
        let error = driven.fail(&damaged);
        let (code, _) = error.complaint().unwrap();
        assert_eq!(code, GoodbyeCode::Damaged, "byte {byte}");
        let delay = driven.lose(&error, at(1)).unwrap();
        let (id, start, _) = driven.connect(at(1) + delay);
        assert_eq!(start, Start::Offset(Offset::new(40)), "byte {byte}");
        driven.take(&confirmation(id, 40)).unwrap();
        driven.take(&whole).unwrap();
        assert_eq!(driven.offsets(), [40, 41, 42], "byte {byte}");
    }
}

#[test]
fn a_request_that_is_refused_as_damaged_three_times_in_a_row_is_not_made_again() {
    let mut driven = Driven::new(Start::Earliest);
    let mut refuse = |confirmed: bool| {
        let (id, ..) = driven.connect(at(0));
        if confirmed {
            driven.take(&confirmation(id, 0)).unwrap();
        }
        let error = driven.fail(&goodbye(GoodbyeCode::Damaged, 0));
        driven.lose(&error, at(0))
    };
    refuse(false).unwrap();
    refuse(false).unwrap();
    refuse(true).unwrap();
    refuse(false).unwrap();
    let error = refuse(false).unwrap_err();
    assert!(
        matches!(error, ConnectError::Damaged { times: 3, .. }),
        "{error}"
    );
    assert!(driven.state.is_over());
    assert_eq!(driven.state.next_retry(at(0), None), Retry::End);
}

#[test]
fn the_code_of_a_goodbye_decides_whether_and_when_the_subscription_comes_back() {
    use GoodbyeCode as Code;
    for (code, retry_after_ms, delay_ms) in [
        (Code::Draining, 700, 700),
        (Code::Silent, 0, 100),
        (Code::TooFast, 700, 800),
    ] {
        let mut driven = Driven::confirmed();
        let error = driven.fail(&goodbye(code, retry_after_ms));
        let delay = driven.lose(&error, at(1)).unwrap();
        assert_eq!(delay, at(delay_ms), "{code:?}");
        assert!(!driven.state.is_over());
    }
    for code in [Code::Version, Code::BadTopic, Code::Credentials] {
        let mut driven = Driven::confirmed();
        let error = driven.fail(&goodbye(code, 0));
        let lost = driven.lose(&error, at(1));
        assert!(matches!(lost, Err(ConnectError::Refused(_))), "{code:?}");
        assert!(driven.state.is_over());
    }
}

#[test]
fn only_a_delivery_or_a_sign_of_life_begins_the_backoff_anew() {
    let mut driven = Driven::new(Start::Earliest);
    let mut delays = Vec::new();
    for bytes in [Vec::new(), Vec::new(), record(0..1), Vec::new()] {
        let (id, ..) = driven.connect(at(0));
        let next = driven.state.cursor().next().map_or(0, Offset::get);
        driven.take(&confirmation(id, next)).unwrap();
        driven.take(&bytes).unwrap();
        delays.push(driven.lose(&ConnectionError::Closed, at(0)).unwrap());
    }
    assert_eq!(delays, [at(100), at(200), at(100), at(200)]);
}

#[test]
fn a_pause_is_no_longer_than_the_caller_waits() {
    let mut driven = Driven::confirmed();
    let delay = driven.lose(&ConnectionError::Closed, at(0)).unwrap();
    assert_eq!(delay, at(100));
    let pause = |left| driven.state.next_retry(at(10), left);
    assert_eq!(pause(Some(at(20))), Retry::PauseUntil(at(30)));
    assert_eq!(pause(Some(at(500))), Retry::PauseUntil(at(100)));
    assert_eq!(pause(Some(Duration::MAX)), Retry::PauseUntil(at(100)));
    assert_eq!(pause(None), Retry::PauseUntil(at(100)));
}

#[test]
fn silence_is_asked_about_after_a_heartbeat_and_is_a_loss_after_two() {
    let mut driven = Driven::confirmed();
    assert_eq!(driven.state.patience(None, at(0)), HEARTBEAT);
    let asked = driven.state.heard_nothing(at(0), HEARTBEAT - at(1));
    assert_eq!(asked.unwrap(), None);
    let asked = driven.state.heard_nothing(at(0), HEARTBEAT).unwrap();
    assert!(asked.is_some());
    driven.state.heard(HEARTBEAT + at(5));
    let now = HEARTBEAT * 2 + at(5);
    let asked = driven.state.heard_nothing(HEARTBEAT, now).unwrap();
    assert!(asked.is_some(), "an answer begins the silence anew");
    let error = driven
        .state
        .heard_nothing(now, now + HEARTBEAT)
        .unwrap_err();
    assert!(matches!(error, ConnectionError::Silent { .. }), "{error}");
}

#[test]
fn an_answer_that_does_not_come_in_time_is_a_loss_and_what_arrived_late_is_read_before() {
    let mut driven = Driven::new(Start::Latest);
    let (id, ..) = driven.connect(at(0));
    assert_eq!(driven.state.patience(None, at(1000)), at(2000));
    let asked = driven.state.heard_nothing(at(1000), ANSWER_WITHIN);
    assert_eq!(asked.unwrap(), None, "one more look is due");
    let late = ANSWER_WITHIN + at(5000);
    assert_eq!(driven.state.patience(None, late), Duration::ZERO);
    assert!(driven.state.heard_nothing(late, late).is_err());
    driven.take(&confirmation(id, 40)).unwrap();
    assert!(driven.state.heard_nothing(late, late).unwrap().is_none());
}

#[test]
fn the_rest_of_a_frame_that_stays_away_is_a_loss() {
    let mut driven = Driven::confirmed();
    driven.take(&record(40..43)[..20]).unwrap();
    let patience = driven.state.patience(driven.received.incomplete(), at(0));
    assert_eq!(patience, HEARTBEAT * 2, "no ping in between");
    let error = driven.state.heard_nothing(at(0), patience).unwrap_err();
    assert!(matches!(error, ConnectionError::Unfinished), "{error}");
}

#[test]
fn a_refusal_ends_the_subscription() {
    let mut driven = Driven::new(Start::Latest);
    let (id, ..) = driven.connect(at(0));
    let refusal = answer(id, 0, Outcome::OffsetAhead, false);
    let refused = driven.take(&refusal);
    assert!(
        matches!(
            refused,
            Err(IntakeError::Refused(SubscribeError::Refused { .. }))
        ),
        "{refused:?}"
    );
    assert!(driven.state.is_over());
}

#[test]
fn nothing_is_delivered_before_the_request_is_answered() {
    let mut driven = Driven::new(Start::Earliest);
    driven.connect(at(0));
    let error = driven.fail(&record(0..1));
    assert!(
        matches!(error, ConnectionError::Unexpected { .. }),
        "{error}"
    );
    assert!(!driven.state.is_ready());
}
