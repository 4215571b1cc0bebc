//! The publisher.

use super::*;
use crate::batch::PublisherOptions;
use crate::error::{ConnectError, PublishError};
use crate::simulation::{Publisher, Ticket};
use oyez_protocol::event::{Outcome, Published, PublishedEntry};
use oyez_protocol::{Epoch, Offset};

struct Rig {
    publisher: Publisher,
    wire: Fake,
}

impl Rig {
    fn new(options: ConnectOptions) -> Self {
        let batches = PublisherOptions {
            batch_messages: 3,
            ..PublisherOptions::default()
        };
        Self {
            publisher: Publisher::new(options, batches, at(0)).unwrap(),
            wire: Fake::default(),
        }
    }

    fn connected() -> Self {
        let mut rig = Self::new(options());
        rig.connect(at(0));
        assert!(rig.wire.heard().is_empty());
        rig
    }

    fn turn(&mut self, now: Duration) -> Option<Duration> {
        self.publisher.turn(now, &mut self.wire, &mut longest)
    }

    fn connect(&mut self, now: Duration) {
        self.turn(now);
        assert_eq!(self.wire.heard(), ["hello of test"]);
        self.wire.welcomes();
        self.turn(now);
        assert!(self.publisher.is_connected());
    }

    fn publish(&mut self, topic: &str) -> Ticket {
        let taken = self.publisher.publish(topic, "x", at(0)).unwrap();
        taken.expect("there is room")
    }

    /// Answers a record that was heard.
    fn answers(&mut self, correlation: u64, offset: u64, outcome: Outcome) {
        let entry = PublishedEntry {
            correlation,
            offset: Offset::new(offset),
            epoch: Epoch::new(1),
            outcome,
            retry_after_ms: 0,
        };
        self.wire.says(|out| Published::encode(&[entry], out));
    }

    /// The offset of a message that is acknowledged.
    fn offset(&mut self, ticket: Ticket) -> Option<u64> {
        let outcome = self.publisher.outcome(ticket)?;
        Some(outcome.unwrap().offset.get())
    }
}

#[test]
fn a_message_is_sent_at_once_and_its_outcome_told_once() {
    let mut rig = Rig::connected();
    let ticket = rig.publish("a");
    assert_eq!(rig.turn(at(1)), Some(HEARTBEAT));
    assert_eq!(rig.wire.heard(), ["1 of a"]);
    assert!(!rig.publisher.is_settled());
    assert!(rig.publisher.outcome(ticket).is_none());
    rig.answers(rig.wire.correlations[0], 70, Outcome::Ok);
    rig.turn(at(2));
    assert!(rig.publisher.is_settled());
    assert_eq!(rig.offset(ticket), Some(70));
    assert_eq!(rig.offset(ticket), None);
}

#[test]
fn no_more_is_taken_than_the_broker_allows_and_nothing_before_its_welcome() {
    let mut rig = Rig::new(options());
    assert!(rig.publisher.publish("a", "x", at(0)).unwrap().is_none());
    rig.connect(at(0));
    assert!(rig.publisher.publish("", "x", at(0)).is_err(), "no topic");
    let first = rig.publish("a");
    rig.publish("a");
    assert!(rig.publisher.publish("a", "x", at(0)).unwrap().is_none());
    rig.turn(at(0));
    rig.wire.heard();
    rig.answers(rig.wire.correlations[0], 0, Outcome::DiskFull);
    rig.turn(at(0));
    rig.publish("a");
    let outcome = rig.publisher.outcome(first);
    assert!(
        matches!(outcome, Some(Err(PublishError::Refused { .. }))),
        "{outcome:?}"
    );
}

#[test]
fn batches_gather_and_each_of_their_messages_has_its_offset() {
    let mut rig = Rig::connected();
    let mut tickets = Vec::new();
    for topic in ["a", "b", "a", "a"] {
        let taken = rig.publisher.push(topic, "x", at(0)).unwrap();
        tickets.push(taken.unwrap());
    }
    let alone = rig.publish("b");
    let due = rig.turn(at(0)).unwrap();
    assert_eq!(rig.wire.heard(), ["3 of a", "1 of b"]);
    let [batch, single] = rig.wire.correlations[..] else {
        panic!("two records")
    };
    assert!(due > at(0));
    rig.answers(batch, 100, Outcome::Ok);
    rig.answers(single, 200, Outcome::Ok);
    // The broker lagged behind: now the other batch may go.
    let lingers = Duration::from_millis(5);
    rig.turn(lingers);
    assert_eq!(rig.wire.heard(), ["1 of b"]);
    rig.answers(rig.wire.correlations[0], 201, Outcome::Ok);
    rig.turn(lingers);
    assert!(rig.publisher.is_settled());
    let mut offsets = Vec::new();
    for ticket in tickets.into_iter().chain([alone]) {
        offsets.push(rig.offset(ticket).unwrap());
    }
    assert_eq!(offsets, [100, 201, 101, 102, 200]);
}

#[test]
fn what_lingers_goes_as_it_is_due_and_then_by_name() {
    for _ in 0..8 {
        let mut rig = Rig::connected();
        for (topic, second) in [("d", 0), ("c", 0), ("b", 1), ("a", 1)] {
            let taken = rig.publisher.push(topic, "x", at(second)).unwrap();
            taken.expect("there is room");
        }
        rig.publisher.finish();
        rig.turn(at(1));
        assert_eq!(rig.wire.heard(), ["1 of c", "1 of d"]);
        for correlation in rig.wire.correlations.clone() {
            rig.answers(correlation, 0, Outcome::Ok);
        }
        rig.turn(at(1));
        assert_eq!(rig.wire.heard(), ["1 of a", "1 of b"]);
    }
}

#[test]
fn short_writes_are_carried_on() {
    let mut rig = Rig::connected();
    rig.wire.write_max = 7;
    rig.wire.room = 10;
    let ticket = rig.publish("a");
    assert_eq!(rig.turn(at(1)), Some(at(1) + HEARTBEAT));
    assert_eq!(rig.wire.written.len(), 10);
    rig.wire.room = 20;
    rig.turn(at(2));
    assert_eq!(rig.wire.written.len(), 30);
    rig.wire.room = usize::MAX;
    rig.turn(at(3));
    assert_eq!(rig.wire.heard(), ["1 of a"]);
    rig.answers(rig.wire.correlations[0], 3, Outcome::Ok);
    rig.turn(at(3));
    assert_eq!(rig.offset(ticket), Some(3));
}

#[test]
fn a_broker_that_takes_nothing_and_says_nothing_is_given_up() {
    let mut rig = Rig::connected();
    rig.wire.room = 0;
    rig.publish("a");
    let (mut now, mut turns) = (at(1), 0);
    while rig.publisher.is_connected() {
        now = rig.turn(now).unwrap();
        turns += 1;
        assert!(turns < 10);
    }
    assert!(rig.wire.closed);
    assert!((at(20)..at(40)).contains(&now), "{now:?}");
}

#[test]
fn after_a_loss_what_was_not_answered_is_sent_again() {
    let mut rig = Rig::connected();
    let (first, second) = (rig.publish("a"), rig.publish("b"));
    rig.turn(at(1));
    assert_eq!(rig.wire.heard(), ["1 of a", "1 of b"]);
    rig.answers(rig.wire.correlations[0], 5, Outcome::Ok);
    rig.wire.ended = true;
    let again = rig.turn(at(2)).unwrap();
    assert!(rig.wire.closed && again > at(2));
    assert_eq!(rig.offset(first), Some(5));
    rig.connect(again);
    assert_eq!(rig.wire.heard(), ["1 of b"]);
    rig.answers(rig.wire.correlations[0], 6, Outcome::Ok);
    rig.turn(again);
    assert_eq!(rig.offset(second), Some(6));
}

#[test]
fn a_ping_is_answered_and_a_silent_broker_asked_and_given_up() {
    let mut rig = Rig::connected();
    rig.wire.pings(4);
    let ask = rig.turn(at(1)).unwrap();
    assert_eq!(rig.wire.heard(), ["pong 4"]);
    let end = rig.turn(ask).unwrap();
    assert_eq!(rig.wire.heard(), ["ping"]);
    assert_eq!(end, at(1) + HEARTBEAT * 2);
    rig.turn(end);
    assert!(rig.wire.closed && !rig.publisher.is_over());
}

#[test]
fn when_patience_ends_everything_fails() {
    let policy = crate::ReconnectPolicy::never();
    let mut rig = Rig::new(options().reconnect(policy));
    rig.connect(at(0));
    let sent = rig.publish("a");
    let gathers = rig.publisher.push("b", "x", at(0)).unwrap().unwrap();
    rig.wire.ended = true;
    assert_eq!(rig.turn(at(1)), None);
    assert!(matches!(
        rig.publisher.error(),
        Some(ConnectError::GaveUp { .. })
    ));
    for ticket in [sent, gathers] {
        let outcome = rig.publisher.outcome(ticket);
        assert!(
            matches!(outcome, Some(Err(PublishError::Disconnected(_)))),
            "{outcome:?}"
        );
    }
    assert!(rig.publisher.is_settled());
    assert!(rig.publisher.publish("a", "x", at(1)).is_err());
}

#[test]
fn a_parting_publisher_settles_everything_and_says_goodbye() {
    let mut rig = Rig::connected();
    let ticket = rig.publisher.push("a", "x", at(0)).unwrap().unwrap();
    rig.publisher.part();
    assert!(rig.publisher.publish("a", "x", at(0)).unwrap().is_none());
    rig.turn(at(1));
    assert_eq!(rig.wire.heard(), ["1 of a"]);
    assert!(!rig.publisher.is_over());
    rig.answers(rig.wire.correlations[0], 1, Outcome::Ok);
    assert_eq!(rig.turn(at(2)), None);
    assert_eq!(rig.wire.heard(), ["goodbye Done"]);
    assert!(rig.wire.closed && rig.publisher.is_over());
    assert!(rig.publisher.error().is_none());
    assert_eq!(rig.offset(ticket), Some(1));
}

#[test]
fn an_abrupt_end_says_nothing_and_fails_what_was_not_settled() {
    let mut rig = Rig::connected();
    let ticket = rig.publish("a");
    rig.publisher.end_abruptly(&mut rig.wire);
    assert!(rig.wire.closed && rig.wire.heard().is_empty());
    let outcome = rig.publisher.outcome(ticket);
    assert!(
        matches!(outcome, Some(Err(PublishError::Disconnected(_)))),
        "{outcome:?}"
    );
    assert_eq!(rig.turn(at(1)), None);
}
