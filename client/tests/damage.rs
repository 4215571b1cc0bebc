//! What a client does when the broker could not read what it sent, when a frame from the broker has no end, and when
//! the client itself was away for long.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oyez_client::{
    Client, ConnectError, ConnectOptions, ConnectionEvent, Delivery, GoodbyeCode, PublishError,
    Start, SubscribeError, SubscribeOptions,
};
use oyez_protocol::event::Heartbeat;
use support::{FakeBroker, FakeTime, Heard, PATIENCE, Peer, spawn, with_time};

const SENTENCE: &str = "the record's checksum does not match";

fn connect(broker: &FakeBroker, options: ConnectOptions) -> (Client, Peer) {
    let address = broker.address();
    let client = spawn(move || Client::connect_with(&address, options));
    let peer = broker.accept();
    (client.join().unwrap().unwrap(), peer)
}

#[test]
fn a_record_that_is_refused_as_damaged_three_times_in_a_row_ends_with_an_error_that_says_so() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    let call = spawn(move || client.publish_acked("a", "1"));
    for refusals in 1..=3 {
        assert_eq!(peer.record().texts(), ["1"]);
        peer.goodbye(GoodbyeCode::Damaged, 0, SENTENCE);
        if refusals < 3 {
            peer = broker.accept();
        }
    }
    let error = call.join().unwrap().unwrap_err();
    let PublishError::Disconnected(ConnectError::Damaged { times: 3, .. }) = &error else {
        panic!("{error}");
    };
    assert!(error.to_string().contains("3 times in a row"), "{error}");
    assert!(error.to_string().contains(SENTENCE), "{error}");
}

#[test]
fn a_session_outlives_any_number_of_damages_while_records_are_answered_in_between() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    for offset in 0..5 {
        client.publish("a", "1").unwrap();
        for _ in 0..2 {
            peer.record();
            peer.goodbye(GoodbyeCode::Damaged, 0, SENTENCE);
            peer = broker.accept();
        }
        let record = peer.record();
        peer.ack(record.correlation, offset);
    }
    client.drain().unwrap();
}

#[test]
fn a_subscription_that_is_refused_as_damaged_three_times_in_a_row_ends_too() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    let call = spawn(move || client.subscribe(SubscribeOptions::topic("a")));
    for refusals in 1..=3 {
        peer.subscribe();
        peer.goodbye(GoodbyeCode::Damaged, 0, SENTENCE);
        if refusals < 3 {
            peer = broker.accept();
        }
    }
    let error = call.join().unwrap().unwrap_err();
    let ended = matches!(
        error,
        SubscribeError::Disconnected(ConnectError::Damaged { times: 3, .. })
    );
    assert!(ended, "{error}");
}

#[test]
fn a_hello_that_was_damaged_is_said_again_but_not_for_ever() {
    for welcomed in [true, false] {
        let broker = FakeBroker::new();
        let address = broker.address();
        let call = spawn(move || Client::connect(&address));
        for code in [GoodbyeCode::Damaged, GoodbyeCode::Silent] {
            broker.accept_unwelcomed().goodbye(code, 0, "no hello");
        }
        let mut last = broker.accept_unwelcomed();
        if welcomed {
            last.send(|out| broker.welcome.encode(out));
        } else {
            last.goodbye(GoodbyeCode::Damaged, 0, "no hello");
        }
        let result = call.join().unwrap();
        assert_eq!(result.is_ok(), welcomed, "{result:?}");
    }
}

#[test]
fn a_frame_whose_rest_does_not_come_costs_the_connection() {
    let (mut broker, time) = (FakeBroker::new(), FakeTime::new());
    broker.welcome.heartbeat_ms = 10_000;
    let (client, mut peer) = connect(&broker, with_time(&time));
    client.publish("a", "1").unwrap();
    let record = peer.record();
    // An answer to a question would be taken for a part of the frame: so none is asked.
    let mut size_damaged = Vec::new();
    Heartbeat { token: 1 }.encode_ping(&mut size_damaged);
    size_damaged[1] ^= 1;
    peer.send(|out| out.extend_from_slice(&size_damaged));
    while peer.next_within(Duration::from_millis(1)).is_none() {
        time.advance(Duration::from_millis(500));
    }
    assert_eq!(peer.next(), Heard::End);
    assert_eq!(broker.accept().record(), record);
}

#[test]
fn a_process_that_did_not_run_pings_again_before_it_takes_the_broker_for_dead() {
    let (mut broker, time) = (FakeBroker::new(), FakeTime::new());
    broker.welcome.heartbeat_ms = 1000;
    let (client, mut peer) = connect(&broker, with_time(&time));
    client.publish("a", "1").unwrap();
    let record = peer.record();
    time.advance(Duration::from_millis(1000));
    assert!(matches!(peer.next(), Heard::Ping(_)));
    time.advance(Duration::from_secs(3600));
    assert!(matches!(peer.next(), Heard::Ping(_)));
    peer.ack(record.correlation, 0);
    client.drain().unwrap();
}

#[test]
fn a_caller_that_was_away_when_its_subscription_was_confirmed_finds_the_answer() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let restored = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&restored);
    let options = with_time(&time).on_event(move |event| {
        if matches!(event, ConnectionEvent::Restored) {
            seen.store(true, Ordering::SeqCst);
        }
    });
    let (client, mut peer) = connect(&broker, options);
    let call = spawn(move || client.subscribe(SubscribeOptions::topic("a").from(Start::Earliest)));
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    let mut subscription = call.join().unwrap().unwrap();
    drop(peer);
    let call = spawn(move || {
        while !restored.load(Ordering::SeqCst) {
            let nothing = subscription.next_timeout(Duration::from_millis(1));
            assert_eq!(nothing.unwrap(), None);
        }
        subscription
    });
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    let mut subscription = call.join().unwrap();
    time.advance(Duration::from_secs(3600));
    peer.confirm(id, 0);
    peer.deliver("a", 0, &[b"0"]);
    let call = spawn(move || subscription.next_timeout(PATIENCE));
    let delivery = call.join().unwrap().unwrap();
    assert!(
        matches!(&delivery, Some(Delivery::Message(message)) if message.payload == b"0"[..]),
        "{delivery:?}"
    );
}
