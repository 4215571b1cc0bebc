//! The subscriber.

use super::*;
use crate::delivery::Delivery;
use crate::error::{ConnectError, SubscribeError};
use crate::options::SubscribeOptions;
use crate::simulation::Subscriber;
use oyez_protocol::event::{Outcome, Subscribed};
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{RecordBuilder, Stamp, stamp};
use oyez_protocol::{Epoch, LogId, Offset, Sequence};

struct Rig {
    subscriber: Subscriber,
    wire: Fake,
}

impl Rig {
    fn new(options: ConnectOptions) -> Self {
        let what = SubscribeOptions::topic("a");
        Self {
            subscriber: Subscriber::new(what, options, at(0)).unwrap(),
            wire: Fake::default(),
        }
    }

    /// Welcomed and confirmed at 0, with delivery from offset 40 on.
    fn confirmed() -> Self {
        let mut rig = Self::new(options());
        rig.connect(at(0));
        rig.confirm(1, 40);
        rig.turn(at(0));
        assert!(rig.subscriber.is_confirmed());
        rig
    }

    fn turn(&mut self, now: Duration) -> Option<Duration> {
        self.subscriber.turn(now, &mut self.wire, &mut longest)
    }

    /// Dials and is welcomed; what is asked for then.
    fn connect(&mut self, now: Duration) -> Vec<String> {
        self.turn(now);
        assert_eq!(self.wire.heard(), ["hello of test"]);
        self.wire.welcomes();
        self.turn(now);
        assert!(self.subscriber.is_connected() && !self.subscriber.is_confirmed());
        self.wire.heard()
    }

    fn confirm(&mut self, id: u32, next: u64) {
        self.answer(id, next, Outcome::Ok);
    }

    fn answer(&mut self, id: u32, next: u64, outcome: Outcome) {
        self.wire.says(|out| {
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
                dropped: false,
            }
            .encode(out);
        });
    }

    /// Sends a record with one message for each offset.
    fn deliver(&mut self, offsets: std::ops::Range<u64>) {
        let mut builder = RecordBuilder::new("a", Limits::DEFAULT).unwrap();
        for offset in offsets.clone() {
            let payload = offset.to_le_bytes();
            builder.push(&MessageRef::new(&payload)).unwrap();
        }
        let place = Stamp {
            offset: Offset::new(offsets.start),
            sequence: Sequence::new(1),
            log: LogId::new(0),
            timestamp_ms: 1,
            incarnation: 1,
        };
        let mut record = Vec::new();
        builder.finish_stored(0, &mut record);
        stamp(&mut record, &place);
        self.wire.incoming.extend(record);
    }

    fn offsets(&mut self) -> Vec<u64> {
        let deliveries = std::iter::from_fn(|| self.subscriber.next_delivery());
        let messages = deliveries.filter_map(Delivery::into_message);
        messages.map(|message| message.offset.get()).collect()
    }

    fn over(&self) -> &ConnectError {
        assert!(self.subscriber.is_over());
        match self.subscriber.error() {
            Some(SubscribeError::Disconnected(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_subscription_is_asked_for_confirmed_and_delivered() {
    let mut rig = Rig::new(options());
    assert_eq!(rig.connect(at(0)), ["a from the end"]);
    rig.confirm(1, 40);
    rig.deliver(40..43);
    assert_eq!(rig.turn(at(1)), Some(at(1) + HEARTBEAT));
    assert_eq!(rig.offsets(), [40, 41, 42]);
    assert_eq!(rig.subscriber.position().get(), 43);
    assert_eq!(rig.subscriber.epoch().get(), 7);
}

#[test]
fn after_a_loss_the_subscription_resumes_where_it_was() {
    let mut rig = Rig::confirmed();
    rig.deliver(40..42);
    rig.wire.ended = true;
    let again = rig.turn(at(5)).unwrap();
    assert!(rig.wire.closed && !rig.subscriber.is_connected());
    assert!(again > at(5) && rig.wire.dials == 1);
    assert_eq!(rig.turn(at(5)), Some(again), "not before its time");
    assert_eq!(rig.connect(again), ["a from 42"]);
    rig.confirm(2, 42);
    rig.deliver(41..44);
    rig.turn(again);
    assert_eq!(rig.offsets(), [40, 41, 42, 43]);
}

#[test]
fn a_ping_is_answered_and_a_turn_reads_no_more_than_it_may() {
    let mut rig = Rig::confirmed();
    rig.wire.pings(9);
    rig.turn(at(1));
    assert_eq!(rig.wire.heard(), ["pong 9"]);
    rig.deliver(40..60);
    let size = rig.wire.incoming.len();
    rig.subscriber.read_max(10);
    assert_eq!(rig.turn(at(2)), Some(at(2)));
    assert_eq!(rig.wire.incoming.len(), size - 10);
    assert!(rig.offsets().is_empty());
    while !rig.wire.incoming.is_empty() {
        rig.turn(at(2));
    }
    assert_eq!(rig.offsets().len(), 20);
}

#[test]
fn a_silent_broker_is_asked_and_then_given_up() {
    let mut rig = Rig::confirmed();
    let ask = rig.turn(at(0)).unwrap();
    assert_eq!(ask, HEARTBEAT);
    let end = rig.turn(ask).unwrap();
    assert_eq!(rig.wire.heard(), ["ping"]);
    assert_eq!(end, HEARTBEAT * 2);
    rig.turn(end);
    assert!(rig.wire.closed && !rig.subscriber.is_connected());
}

#[test]
fn a_reader_that_was_stuck_finds_what_arrived_and_does_not_blame_the_broker() {
    let mut rig = Rig::confirmed();
    rig.deliver(40..41);
    rig.turn(at(500));
    assert!(rig.subscriber.is_connected());
    assert_eq!(rig.offsets(), [40]);
    rig.turn(at(1000));
    assert_eq!(rig.wire.heard(), ["ping"], "it asks first");
}

#[test]
fn a_stuck_reader_gives_signs_of_life_twice_a_heartbeat() {
    let mut rig = Rig::new(options());
    assert_eq!(rig.subscriber.beat(at(0), &mut rig.wire), None);
    rig.connect(at(0));
    assert_eq!(rig.subscriber.beat(at(0), &mut rig.wire), Some(at(5)));
    assert!(rig.wire.heard().is_empty());
    assert_eq!(rig.subscriber.beat(at(5), &mut rig.wire), Some(at(10)));
    assert_eq!(rig.wire.heard(), ["pong 0"]);
    rig.confirm(1, 40);
    rig.turn(at(12));
    assert!(rig.wire.heard().is_empty(), "a turn answers for itself");
    assert_eq!(rig.subscriber.beat(at(12), &mut rig.wire), Some(at(15)));
    assert!(rig.wire.heard().is_empty());
}

#[test]
fn a_goodbye_with_a_time_to_come_back_is_heeded() {
    let mut rig = Rig::confirmed();
    rig.wire.says_goodbye(GoodbyeCode::Draining, 7_000);
    let again = rig.turn(at(1)).unwrap();
    assert!(again >= at(8), "{again:?}");
    assert_eq!(rig.connect(again), ["a from 40"]);
}

#[test]
fn a_damaged_hello_is_said_three_times_within_one_attempt() {
    let mut rig = Rig::new(options());
    rig.turn(at(0));
    for dials in 2..=3 {
        rig.wire.says_goodbye(GoodbyeCode::Damaged, 0);
        assert_eq!(rig.turn(at(1)), Some(at(10)), "the same deadline");
        assert_eq!(rig.wire.dials, dials);
        assert_eq!(rig.wire.heard(), ["hello of test"]);
    }
    rig.wire.says_goodbye(GoodbyeCode::Damaged, 0);
    assert!(rig.turn(at(1)).unwrap() > at(1));
    assert_eq!(rig.wire.dials, 3);
}

#[test]
fn a_welcome_that_does_not_come_in_time_is_a_failed_attempt() {
    let mut rig = Rig::new(options());
    let late = rig.turn(at(0)).unwrap();
    assert_eq!(late, at(10));
    assert!(rig.turn(late).unwrap() > late);
    assert!(rig.wire.closed);
    let mut rig = Rig::new(options());
    rig.turn(at(0));
    rig.wire.welcomes();
    rig.turn(at(100));
    assert!(rig.subscriber.is_connected(), "it was there in time");
}

#[test]
fn patience_ends_and_with_it_the_subscription() {
    let policy = crate::ReconnectPolicy::default().attempts_max(Some(2));
    let mut rig = Rig::new(options().reconnect(policy));
    rig.wire.refuses = true;
    let (mut now, mut turns) = (at(0), 0);
    while let Some(next) = rig.turn(now) {
        (now, turns) = (next, turns + 1);
        assert!(turns < 10);
    }
    assert!(matches!(
        rig.over(),
        ConnectError::GaveUp { attempts: 2, .. }
    ));
    assert_eq!(rig.wire.dials, 3);
    assert_eq!(rig.turn(at(1000)), None);
}

#[test]
fn a_refused_subscription_is_over_and_says_why() {
    let mut rig = Rig::new(options());
    rig.connect(at(0));
    rig.answer(1, 0, Outcome::OffsetAhead);
    assert_eq!(rig.turn(at(0)), None);
    assert!(rig.wire.closed && rig.subscriber.is_over());
    let error = rig.subscriber.error();
    assert!(
        matches!(error, Some(SubscribeError::Refused { .. })),
        "{error:?}"
    );
    assert_eq!(rig.wire.heard(), ["goodbye Done"]);
}

#[test]
fn a_stuck_reader_whose_signs_of_life_are_not_taken_is_cut_off() {
    let mut rig = Rig::confirmed();
    rig.wire.room = 0;
    for seconds in [5, 10, 15] {
        rig.subscriber.beat(at(seconds), &mut rig.wire);
        assert_eq!(rig.wire.closed, seconds == 15);
    }
    assert!(rig.turn(at(16)).unwrap() > at(16));
    assert!(!rig.subscriber.is_connected());
}

#[test]
fn damage_is_complained_of_and_nothing_of_it_delivered() {
    let mut rig = Rig::confirmed();
    rig.deliver(40..41);
    *rig.wire.incoming.back_mut().unwrap() ^= 1;
    rig.turn(at(1));
    assert_eq!(rig.wire.heard(), ["goodbye Damaged"]);
    assert!(rig.wire.closed);
    assert!(rig.offsets().is_empty());
}

#[test]
fn a_closed_subscriber_says_goodbye_and_has_no_error() {
    let mut rig = Rig::confirmed();
    rig.subscriber.close(at(1), &mut rig.wire);
    assert_eq!(rig.wire.heard(), ["goodbye Done"]);
    assert!(rig.wire.closed && rig.subscriber.is_over());
    assert!(rig.subscriber.error().is_none());
    assert_eq!(rig.turn(at(2)), None);
}
