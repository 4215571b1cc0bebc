//! Subscribing against a broker that does what the test says.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

mod support;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use oyez_client::time::{Bell, Machine, Time};
use oyez_client::{
    Client, ConnectError, ConnectOptions, ConnectionError, Delivery, Epoch, GapCause, GoodbyeCode,
    Offset, Outcome, ReconnectPolicy, SkipCause, Start, SubscribeError, SubscribeOptions,
    Subscription,
};
use oyez_protocol::event::{Ended, Heartbeat, Subscribed};
use oyez_protocol::limits::Limits;
use oyez_protocol::message::{Headers, MessageRef, write_headers};
use oyez_protocol::record::{Codec, RecordBuilder};
use support::{
    EPOCH, FakeBroker, FakeTime, Heard, PATIENCE, Peer, confirmation, delivery, delivery_of, spawn,
    stamp_at, with_time,
};

/// A subscription to `a` that the broker confirmed at `next`.
fn subscribe(broker: &FakeBroker, options: ConnectOptions, next: u64) -> (Subscription, Peer) {
    let address = broker.address();
    let call = spawn(move || {
        let client = Client::connect_with(&address, options).unwrap();
        client.subscribe(SubscribeOptions::topic("a")).unwrap()
    });
    let mut peer = broker.accept();
    let (id, start, epoch) = peer.subscribe();
    assert_eq!((start, epoch), (Start::Latest, None));
    peer.confirm(id, next);
    (call.join().unwrap(), peer)
}

/// The next delivery, which must come.
fn next(subscription: &mut Subscription) -> Delivery {
    subscription
        .next_timeout(PATIENCE)
        .unwrap()
        .expect("a delivery should come")
}

fn next_message(subscription: &mut Subscription) -> (u64, Vec<u8>) {
    match next(subscription) {
        Delivery::Message(message) => (message.offset.get(), message.payload.to_vec()),
        other => panic!("a message was expected, and {other:?} came"),
    }
}

/// Accepts the client again, checks where it resumes, and confirms.
fn resume(broker: &FakeBroker, at: u64) -> Peer {
    let mut peer = broker.accept();
    let (id, start, epoch) = peer.subscribe();
    assert_eq!(
        (start, epoch),
        (Start::Offset(Offset::new(at)), Some(EPOCH))
    );
    peer.confirm(id, at);
    peer
}

#[test]
fn messages_come_in_order_with_all_that_belongs_to_them() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 5);
    let mut encoded = Vec::new();
    write_headers(&[(b"unit", b"celsius"), (b"unit", b"")], &mut encoded);
    let rich = MessageRef {
        key: Some(b"k"),
        headers: Headers::parse(&encoded).unwrap(),
        payload: b"21.5",
    };
    let record = delivery_of("a", 5, &[rich, MessageRef::new(b"")]);
    peer.send(|out| out.extend_from_slice(&record));
    let Delivery::Message(message) = next(&mut subscription) else {
        panic!("a message should come")
    };
    assert_eq!(
        (&*message.topic, message.offset.get(), message.epoch),
        ("a", 5, EPOCH)
    );
    assert_eq!(message.timestamp_ms, 1_700_000_000_000);
    assert_eq!(message.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(
        message.headers,
        [
            ("unit".into(), "celsius".into()),
            ("unit".into(), "".into())
        ]
    );
    assert_eq!(message.payload, "21.5");
    assert_eq!(next_message(&mut subscription), (6, vec![]));
    assert_eq!(subscription.position().get(), 7);
}

#[test]
fn the_longest_times_have_no_end() {
    let broker = FakeBroker::new();
    let options = ConnectOptions::new().connect_timeout(Duration::MAX);
    let (mut subscription, mut peer) = subscribe(&broker, options, 0);
    let call = spawn(move || subscription.next_timeout(Duration::MAX));
    peer.deliver("a", 0, &[b"0"]);
    let delivery = call.join().unwrap().unwrap();
    assert!(
        matches!(delivery, Some(Delivery::Message(_))),
        "{delivery:?}"
    );
}

#[test]
fn a_broker_that_talks_without_end_does_not_keep_the_caller() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 5);
    let repeat = delivery("a", 0, &[b"0"]);
    let talk = spawn(move || while peer.stream.write_all(&repeat).is_ok() {});
    let call = spawn(move || subscription.next_timeout(Duration::from_millis(50)));
    assert!(call.join().unwrap().unwrap().is_none());
    talk.join().unwrap();
}

#[test]
fn a_loss_is_resumed_at_the_cursor_with_the_epoch() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (mut subscription, mut peer) = subscribe(&broker, with_time(&time), 5);
    peer.deliver("a", 5, &[b"5", b"6"]);
    assert_eq!(next_message(&mut subscription).0, 5);
    assert_eq!(next_message(&mut subscription).0, 6);
    drop(peer);
    let call = spawn(move || (next_message(&mut subscription), subscription));
    let mut peer = resume(&broker, 7);
    peer.deliver("a", 7, &[b"7"]);
    assert_eq!(call.join().unwrap().0, (7, b"7".to_vec()));
    assert_eq!(time.pauses_ms(), [100]);
}

#[test]
fn a_record_cut_off_by_a_loss_is_delivered_once_and_whole() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (mut subscription, mut peer) = subscribe(&broker, with_time(&time), 0);
    let record = delivery("a", 0, &[b"0", b"1"]);
    peer.send(|out| out.extend_from_slice(&record[..record.len() - 8]));
    drop(peer);
    let call = spawn(move || {
        [
            next_message(&mut subscription),
            next_message(&mut subscription),
        ]
    });
    let mut peer = resume(&broker, 0);
    peer.send(|out| out.extend_from_slice(&record));
    assert_eq!(call.join().unwrap().map(|(offset, _)| offset), [0, 1]);
}

#[test]
fn repeats_are_dropped_and_a_record_is_trimmed_to_what_is_new() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 2);
    peer.deliver("a", 0, &[b"0", b"1", b"2", b"3"]);
    peer.deliver("a", 0, &[b"0", b"1", b"2", b"3"]);
    peer.deliver("a", 3, &[b"3", b"4"]);
    for offset in 2..5 {
        let expected = (offset, offset.to_string().into_bytes());
        assert_eq!(next_message(&mut subscription), expected);
    }
    assert!(!subscription.has_more_at_hand());
}

#[test]
fn a_gap_is_delivered_between_the_messages_around_it() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    peer.deliver("a", 0, &[b"0"]);
    peer.gap("a", 1, 10);
    peer.deliver("a", 10, &[b"10"]);
    assert_eq!(next_message(&mut subscription).0, 0);
    let Delivery::Gap(gap) = next(&mut subscription) else {
        panic!("a gap should come")
    };
    assert_eq!(
        (gap.from.get(), gap.to.get(), gap.cause),
        (1, 10, GapCause::Retention)
    );
    assert!(
        gap.to_string().starts_with("9 messages of `a` are missing"),
        "{gap}"
    );
    assert_eq!(next_message(&mut subscription).0, 10);
}

#[test]
fn messages_that_are_stepped_over_are_delivered_as_a_skip_and_not_as_a_gap() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    peer.deliver("a", 0, &[b"0"]);
    peer.skip("a", 1, 10);
    peer.deliver("a", 10, &[b"10"]);
    assert_eq!(next_message(&mut subscription).0, 0);
    let Delivery::Skip(skip) = next(&mut subscription) else {
        panic!("a skip should come")
    };
    assert_eq!(
        (skip.from.get(), skip.to.get(), skip.cause),
        (1, 10, SkipCause::Deleted)
    );
    let told = skip.to_string();
    assert!(
        told.ends_with("offsets 1 up to 10: they were deleted"),
        "{told}"
    );
    assert_eq!(next_message(&mut subscription).0, 10);
}

#[test]
fn a_new_epoch_is_delivered_before_what_follows_it() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (mut subscription, peer) = subscribe(&broker, with_time(&time), 50);
    drop(peer);
    let call = spawn(move || (next(&mut subscription), next_message(&mut subscription)));
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    let changed = Subscribed {
        epoch: Epoch::new(8),
        epoch_changed: true,
        ..confirmation(id, 3)
    };
    peer.send(|out| changed.encode(out));
    peer.deliver("a", 3, &[b"3"]);
    let (told, message) = call.join().unwrap();
    let Delivery::NewEpoch(change) = told else {
        panic!("{told:?}")
    };
    assert_eq!((change.old, change.new), (EPOCH, Epoch::new(8)));
    assert_eq!((change.expected.get(), change.next.get()), (50, 3));
    assert_eq!(message.0, 3);
}

#[test]
fn a_damaged_delivery_is_never_delivered_but_asked_for_again() {
    for damaged_byte in [4, 26, 50] {
        let (broker, time) = (FakeBroker::new(), FakeTime::new());
        let (mut subscription, mut peer) = subscribe(&broker, with_time(&time), 0);
        let good = delivery("a", 1, &[b"second"]);
        let mut bad = good.clone();
        bad[damaged_byte] ^= 2;
        peer.deliver("a", 0, &[b"first"]);
        peer.send(|out| out.extend_from_slice(&bad));
        let call = spawn(move || {
            [
                next_message(&mut subscription),
                next_message(&mut subscription),
            ]
        });
        assert_eq!(peer.next(), Heard::Goodbye(GoodbyeCode::Damaged));
        let mut peer = resume(&broker, 1);
        peer.send(|out| out.extend_from_slice(&good));
        let payloads = call.join().unwrap().map(|(_, payload)| payload);
        assert_eq!(payloads, [b"first".to_vec(), b"second".to_vec()]);
    }
}

#[test]
fn a_block_that_its_publisher_wrote_wrong_is_a_gap_and_delivery_goes_on() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    let mut builder = RecordBuilder::new("a", Limits::DEFAULT).unwrap();
    builder.push(&MessageRef::new(b"good")).unwrap();
    builder.push(&MessageRef::new(b"bad")).unwrap();
    let mut raw = builder.raw().to_vec();
    raw[5] = 0xff;
    let mut record = Vec::new();
    builder.finish(0, Codec::Stored, &raw, &mut record);
    stamp_at(&mut record, 0);
    peer.send(|out| out.extend_from_slice(&record));
    peer.deliver("a", 2, &[b"next"]);
    let Delivery::Gap(gap) = next(&mut subscription) else {
        panic!("not even the good half of a bad block should come")
    };
    assert_eq!(
        (gap.from.get(), gap.to.get(), gap.cause),
        (0, 2, GapCause::Unreadable)
    );
    assert_eq!(next_message(&mut subscription), (2, b"next".to_vec()));
}

#[test]
fn a_goodbye_for_good_is_an_error_that_names_code_and_reason() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    peer.goodbye(GoodbyeCode::BadFrame, 0, "byte 17 is wrong");
    let error = subscription.next().unwrap().unwrap_err();
    let refused = matches!(&error, SubscribeError::Disconnected(e) if e.is_refusal());
    assert!(refused, "{error}");
    assert!(error.to_string().contains("BadFrame, code 256"), "{error}");
    assert!(error.to_string().contains("byte 17 is wrong"), "{error}");
    assert!(subscription.next().is_none(), "it is over");
}

#[test]
fn a_goodbye_for_now_is_obeyed() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (mut subscription, mut peer) = subscribe(&broker, with_time(&time), 4);
    peer.goodbye(GoodbyeCode::Draining, 2500, "restarting");
    let call = spawn(move || next_message(&mut subscription));
    resume(&broker, 4).deliver("a", 4, &[b"4"]);
    assert_eq!(call.join().unwrap().0, 4);
    assert_eq!(time.pauses_ms(), [2500]);
}

#[test]
fn a_refused_subscription_says_what_and_why() {
    let broker = FakeBroker::new();
    let address = broker.address();
    let call = spawn(move || {
        let from = Start::Offset(Offset::new(99));
        Client::connect(&address)
            .unwrap()
            .subscribe(SubscribeOptions::topic("a").from(from))
    });
    let mut peer = broker.accept();
    let (id, start, epoch) = peer.subscribe();
    assert_eq!((start, epoch), (Start::Offset(Offset::new(99)), None));
    let refused = Subscribed {
        outcome: Outcome::OffsetAhead,
        ..confirmation(id, 0)
    };
    peer.send(|out| refused.encode(out));
    let error = call.join().unwrap().unwrap_err();
    assert!(
        error.to_string().contains("subscribing to `a` was refused"),
        "{error}"
    );
}

#[test]
fn what_arrived_is_more_at_hand_only_if_it_can_be_delivered() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    assert!(!subscription.has_more_at_hand());
    let mut wire = delivery("a", 0, &[b"0", b"1"]);
    Heartbeat { token: 3 }.encode_ping(&mut wire);
    wire.extend(delivery("a", 0, &[b"0", b"1"]));
    peer.send(|out| out.extend(wire));
    assert_eq!(next_message(&mut subscription).0, 0);
    assert!(subscription.has_more_at_hand());
    assert_eq!(next_message(&mut subscription).0, 1);
    assert!(
        !subscription.has_more_at_hand(),
        "a ping and a repeat are nothing to deliver"
    );
    assert_eq!(peer.next(), Heard::Pong(3));
}

#[test]
fn a_timeout_leaves_the_subscription_as_it_was() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    let nothing = subscription.next_timeout(Duration::from_millis(1)).unwrap();
    assert_eq!(nothing, None);
    assert!(!subscription.is_over());
    peer.deliver("a", 0, &[b"0"]);
    assert_eq!(next_message(&mut subscription).0, 0);
}

#[test]
fn a_ping_is_answered_and_a_silent_broker_is_pinged_and_left() {
    let mut broker = FakeBroker::new();
    broker.welcome.heartbeat_ms = 40;
    let losses = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&losses);
    let options = ConnectOptions::new().on_event(move |event| {
        if let oyez_client::ConnectionEvent::Lost { error, .. } = event {
            assert!(matches!(error, ConnectionError::Silent { .. }), "{error}");
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (mut subscription, mut peer) = subscribe(&broker, options, 0);
    peer.send(|out| Heartbeat { token: 5 }.encode_ping(out));
    let call = spawn(move || next_message(&mut subscription));
    let mut heard = Vec::new();
    while heard.last() != Some(&Heard::End) {
        heard.push(peer.next());
    }
    assert!(heard.contains(&Heard::Pong(5)), "{heard:?}");
    assert!(heard.contains(&Heard::Ping(1)), "{heard:?}");
    resume(&broker, 0).deliver("a", 0, &[b"0"]);
    assert_eq!(call.join().unwrap().0, 0);
    assert!(losses.load(Ordering::SeqCst) >= 1);
}

#[test]
fn a_caller_that_is_busy_elsewhere_still_gives_signs_of_life() {
    let (mut broker, time) = (FakeBroker::new(), FakeTime::new());
    broker.welcome.heartbeat_ms = 1000;
    let (_idle, mut peer) = subscribe(&broker, with_time(&time), 0);
    for _ in 0..3 {
        time.advance(Duration::from_millis(500));
        assert_eq!(peer.next(), Heard::Pong(0));
    }
}

#[test]
fn closing_says_goodbye_and_ends_a_wait_in_another_thread() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    let closer = subscription.closer();
    let call = spawn(move || subscription.next().is_none());
    closer.close();
    assert_eq!(peer.next(), Heard::Goodbye(GoodbyeCode::Done));
    assert_eq!(peer.next(), Heard::End);
    assert!(call.join().unwrap());
}

/// The machine's clock, which reports when a pause begins.
struct TellingPauses(Machine, Sender<()>);

impl Time for TellingPauses {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn wait(&self, bell: &Bell, until: Duration) {
        self.0.wait(bell, until);
    }

    fn pause(&self, bell: &Bell, until: Duration) {
        self.1.send(()).unwrap();
        self.0.pause(bell, until);
    }

    fn random_below(&self, bound: u64) -> u64 {
        self.0.random_below(bound)
    }
}

#[test]
fn closing_ends_a_pause_before_a_reconnect() {
    let broker = FakeBroker::new();
    let (pauses, paused) = channel();
    let time = TellingPauses(Machine::new(), pauses);
    let patient = ReconnectPolicy::default().give_up_after(None);
    let options = ConnectOptions::new().time(Arc::new(time));
    let (mut subscription, mut peer) = subscribe(&broker, options.reconnect(patient), 0);
    let closer = subscription.closer();
    let call = spawn(move || subscription.next().is_none());
    peer.goodbye(GoodbyeCode::Full, 3_600_000, "come back in an hour");
    paused.recv_timeout(PATIENCE).unwrap();
    closer.close();
    assert!(call.join().unwrap());
}

#[test]
fn each_subscription_has_a_connection_of_its_own_and_the_first_one_is_not_wasted() {
    let broker = FakeBroker::new();
    let address = broker.address();
    let call = spawn(move || {
        let client = Client::connect(&address).unwrap();
        let one = client.subscribe(SubscribeOptions::topic("a")).unwrap();
        let two = client.subscribe(SubscribeOptions::topic("a")).unwrap();
        (one, two)
    });
    for _ in 0..2 {
        let mut peer = broker.accept();
        let (id, ..) = peer.subscribe();
        peer.confirm(id, 0);
        std::mem::forget(peer);
    }
    call.join().unwrap();
}

#[test]
fn who_is_not_welcome_hears_why() {
    let broker = FakeBroker::new();
    let address = broker.address();
    let options = ConnectOptions::new().name("me").credentials("secret");
    let call = spawn(move || Client::connect_with(&address, options));
    let mut peer = broker.accept_unwelcomed();
    peer.goodbye(GoodbyeCode::Version, 0, "versions 2 to 3 are spoken here");
    let error = call.join().unwrap().unwrap_err();
    assert!(matches!(error, ConnectError::Refused(_)), "{error}");
    assert!(error.to_string().contains("versions 2 to 3"), "{error}");
}

/// The frame with which a broker ends a subscription to `a`.
fn ended(outcome: Outcome, retry_after_ms: u32) -> Vec<u8> {
    let mut out = Vec::new();
    Ended {
        name: "a",
        is_filter: false,
        outcome,
        retry_after_ms,
    }
    .encode(&mut out);
    out
}

#[test]
fn a_subscription_that_the_broker_ends_is_over_and_says_why() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 0);
    peer.send(|out| out.extend(ended(Outcome::NotAllowed, 0)));
    let error = subscription.next().expect("an error").unwrap_err();
    assert!(
        error.to_string().ends_with("this session may not do that"),
        "{error}"
    );
    assert!(subscription.next().is_none());
}

#[test]
fn a_subscription_that_is_ended_for_now_comes_back_where_it_was() {
    let broker = FakeBroker::new();
    let (mut subscription, mut peer) = subscribe(&broker, ConnectOptions::new(), 7);
    peer.send(|out| out.extend(ended(Outcome::TooFast, 20)));
    let call = spawn(move || next_message(&mut subscription));
    let mut again = broker.accept();
    let (id, start, _) = again.subscribe();
    assert_eq!(start, Start::Offset(Offset::new(7)));
    again.send(|out| confirmation(id, 7).encode(out));
    again.deliver("a", 7, &[b"7"]);
    assert_eq!(call.join().unwrap().0, 7);
}

#[test]
fn a_subscription_that_is_not_confirmed_ends_in_time_and_when_the_client_is_closed() {
    let broker = FakeBroker::new();
    let brief = Duration::from_millis(50);
    let options = ConnectOptions::new().answer_timeout(Some(brief));
    let address = broker.address();
    let call = spawn(move || {
        let client = Client::connect_with(&address, options).unwrap();
        client.subscribe(SubscribeOptions::topic("a")).map(drop)
    });
    let mut peer = broker.accept();
    peer.subscribe();
    let error = call.join().unwrap().unwrap_err();
    assert!(matches!(error, SubscribeError::TimedOut { .. }), "{error}");

    let options = ConnectOptions::new().answer_timeout(None);
    let address = broker.address();
    let connect = spawn(move || Arc::new(Client::connect_with(&address, options).unwrap()));
    let mut peer = broker.accept();
    let client = connect.join().unwrap();
    let waiting = Arc::clone(&client);
    let call = spawn(move || waiting.subscribe(SubscribeOptions::topic("a")).map(drop));
    peer.subscribe();
    client.close();
    let error = call.join().unwrap().unwrap_err();
    assert!(
        matches!(error, SubscribeError::Disconnected(ConnectError::Closed)),
        "{error}"
    );
}

#[test]
fn a_subscription_comes_back_however_long_it_takes_and_ends_with_its_client() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let address = broker.address();
    let options = with_time(&time);
    let call = spawn(move || {
        let client = Client::connect_with(&address, options).unwrap();
        let subscription = client.subscribe(SubscribeOptions::topic("a")).unwrap();
        (client, subscription)
    });
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 5);
    let (client, mut subscription) = call.join().unwrap();
    let call = spawn(move || (next_message(&mut subscription).0, subscription));
    let passed = || time.pauses.lock().unwrap().iter().sum::<Duration>();
    while passed() < Duration::from_secs(600) {
        drop(peer);
        peer = broker.accept_unwelcomed();
    }
    peer.send(|out| broker.welcome.encode(out));
    peer.subscribe();
    peer.confirm(2, 5);
    peer.deliver("a", 5, &[b"5"]);
    let (offset, mut subscription) = call.join().unwrap();
    assert_eq!(offset, 5);
    client.close();
    let call = spawn(move || subscription.next().is_none());
    assert!(call.join().unwrap(), "it ends with its client");
}
