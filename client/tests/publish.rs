//! Publishing against a broker that does what the test says.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use oyez_client::{
    Client, ConnectError, ConnectOptions, NewMessage, Offset, Outcome, PublishError,
    PublisherOptions, ReconnectPolicy, TopicsPage,
};
use support::{EPOCH, FakeBroker, FakeTime, Heard, PATIENCE, Peer, spawn, with_time};

/// A client and the broker's side of its first connection.
fn connect(broker: &FakeBroker, options: ConnectOptions) -> (Client, Peer) {
    let address = broker.address();
    let client = spawn(move || Client::connect_with(&address, options));
    let peer = broker.accept();
    (client.join().unwrap().unwrap(), peer)
}

fn by_messages(batch_messages: usize) -> PublisherOptions {
    PublisherOptions {
        batch_messages,
        linger: Duration::from_secs(3600),
        keep_acks: true,
        ..PublisherOptions::default()
    }
}

#[test]
fn a_message_travels_with_key_and_headers_and_its_ack_comes_back() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let call = spawn(move || {
        let message = NewMessage::new("21.5")
            .key("sensor-7")
            .header("unit", "celsius")
            .header("unit", "");
        client.publish_acked("readings", message)
    });
    let record = peer.record();
    assert_eq!(record.topic, "readings");
    assert_eq!(record.texts(), ["21.5"]);
    assert_eq!(record.keys, [Some(b"sensor-7".to_vec())]);
    let headers = [("unit", "celsius"), ("unit", "")].map(|(n, v)| (n.into(), v.into()));
    assert_eq!(record.headers, [headers]);
    peer.ack(record.correlation, 41);
    let ack = call.join().unwrap().unwrap();
    assert_eq!(
        (&*ack.topic, ack.offset, ack.epoch),
        ("readings", Offset::new(41), EPOCH)
    );
}

#[test]
fn acks_may_come_in_any_order_and_many_in_one_frame() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let publisher = client.publisher(by_messages(2)).unwrap();
    for topic in ["a", "b", "c"] {
        publisher.push(topic, "1").unwrap();
        publisher.push(topic, "2").unwrap();
    }
    let ids: Vec<u64> = (0..3).map(|_| peer.record().correlation).collect();
    let flush = spawn(move || (publisher.flush(), publisher.take_acks(), publisher.totals()));
    peer.ack(ids[2], 30);
    peer.publish_outcomes(&[(ids[1], 20, Outcome::Ok), (ids[0], 10, Outcome::Ok)]);
    let (flushed, acks, totals) = flush.join().unwrap();
    flushed.unwrap();
    let acks: Vec<_> = acks
        .iter()
        .map(|a| (&*a.topic, a.offset.get(), a.messages))
        .collect();
    assert_eq!(acks, [("c", 30, 2), ("b", 20, 2), ("a", 10, 2)]);
    assert_eq!(
        (totals.records, totals.messages, totals.payload_bytes),
        (3, 6, 6)
    );
}

#[test]
fn a_flush_returns_only_when_everything_is_acknowledged() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let publisher = client.publisher(by_messages(10)).unwrap();
    publisher.push("a", "1").unwrap();
    publisher.push("b", "1").unwrap();
    let flush = spawn(move || publisher.flush());
    let (first, second) = (peer.record(), peer.record());
    peer.ack(first.correlation, 0);
    assert!(!flush.is_finished());
    peer.ack(second.correlation, 0);
    flush.join().unwrap().unwrap();
}

#[test]
fn a_batch_lingers_as_long_as_the_clock_says_and_no_longer() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    let publisher = client
        .publisher(PublisherOptions {
            linger: Duration::from_millis(20),
            ..PublisherOptions::default()
        })
        .unwrap();
    publisher.push("a", "1").unwrap();
    time.advance(Duration::from_millis(19));
    publisher.push("a", "2").unwrap();
    // What is published by itself overtakes the batch: it was not sent before its time.
    client.publish("fence", "").unwrap();
    assert_eq!(peer.record().topic, "fence");
    time.advance(Duration::from_millis(1));
    assert_eq!(peer.record().texts(), ["1", "2"]);
}

#[test]
fn no_more_is_in_flight_than_the_broker_allows() {
    let mut broker = FakeBroker::new();
    broker.welcome.inflight_records_max = 2;
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let publish = spawn(move || {
        for number in 0..5 {
            client.publish("a", &number.to_string()).unwrap();
        }
        client.drain()
    });
    let (first, second) = (peer.record(), peer.record());
    // A broker that heard from a client, and nothing but a pong, knows that no third record was sent before it.
    peer.send(|out| oyez_protocol::event::Heartbeat { token: 9 }.encode_ping(out));
    assert_eq!(peer.next(), Heard::Pong(9));
    assert!(!publish.is_finished());
    peer.ack(second.correlation, 1);
    let third = peer.record();
    assert_eq!(third.texts(), ["2"]);
    for record in [first, third] {
        peer.ack(record.correlation, 0);
        let next = peer.record();
        peer.ack(next.correlation, 0);
    }
    assert_eq!(peer.next(), Heard::Goodbye(oyez_client::GoodbyeCode::Done));
    publish.join().unwrap().unwrap();
}

#[test]
fn what_was_not_acknowledged_is_sent_again_after_a_loss_in_its_order() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    for payload in ["1", "2", "3"] {
        client.publish("a", payload).unwrap();
    }
    let records = [peer.record(), peer.record(), peer.record()];
    peer.ack(records[1].correlation, 1);
    drop(peer);
    let mut peer = broker.accept();
    let again = [peer.record(), peer.record()];
    assert_eq!(again[0], records[0]);
    assert_eq!(again[1], records[2]);
    let drain = spawn(move || client.drain());
    for record in again {
        peer.ack(record.correlation, 5);
    }
    drain.join().unwrap().unwrap();
    assert_eq!(time.pauses_ms(), [100], "full jitter at its upper end");
}

#[test]
fn a_record_that_a_draining_broker_refused_is_sent_to_the_next_one() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    let call = spawn(move || client.publish_acked("a", "kept"));
    let record = peer.record();
    peer.publish_outcomes(&[(record.correlation, 0, Outcome::Draining)]);
    peer.goodbye(oyez_client::GoodbyeCode::Draining, 700, "restarting");
    let mut peer = broker.accept();
    let again = peer.record();
    assert_eq!(again.bytes, record.bytes);
    peer.ack(again.correlation, 3);
    assert_eq!(call.join().unwrap().unwrap().offset.get(), 3);
    assert_eq!(time.pauses_ms(), [700], "just what the broker asked for");
}

#[test]
fn a_refusal_is_returned_by_the_next_call_and_publishing_goes_on() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let publisher = client.publisher(by_messages(1)).unwrap();
    publisher.push("a", "1").unwrap();
    let record = peer.record();
    peer.publish_outcomes(&[(record.correlation, 0, Outcome::DiskFull)]);
    let error = publisher.flush().unwrap_err();
    assert!(
        error.to_string().contains("publishing to `a` was refused"),
        "{error}"
    );
    assert!(error.to_string().contains("disk is full"), "{error}");
    publisher.push("a", "2").unwrap();
    let record = peer.record();
    peer.ack(record.correlation, 0);
    publisher.flush().unwrap();
}

#[test]
fn a_goodbye_for_good_ends_publishing_with_code_and_reason() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let call = spawn(move || (client.publish_acked("a", "1"), client));
    peer.record();
    peer.goodbye(
        oyez_client::GoodbyeCode::TooLarge,
        0,
        "too many records in flight",
    );
    let (result, client) = call.join().unwrap();
    let error = result.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(error.contains("TooLarge"), "{error}");
    assert!(error.contains("too many records in flight"), "{error}");
    assert!(client.publish("a", "2").is_err(), "the end is told again");
}

#[test]
fn giving_up_by_the_policy_is_an_error_that_says_so() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let policy = ReconnectPolicy::default().attempts_max(Some(3));
    let (client, mut peer) = connect(&broker, with_time(&time).reconnect(policy));
    let call = spawn(move || client.publish_acked("a", "1"));
    peer.record();
    drop(peer);
    for _ in 0..3 {
        drop(broker.accept_unwelcomed());
    }
    match call.join().unwrap().unwrap_err() {
        PublishError::Disconnected(ConnectError::GaveUp { attempts: 3, .. }) => {}
        other => panic!("{other}"),
    }
    assert_eq!(time.pauses_ms(), [100, 200, 400]);
}

#[test]
fn a_silent_broker_is_pinged_and_then_given_up() {
    let (mut broker, time) = (FakeBroker::new(), FakeTime::new());
    broker.welcome.heartbeat_ms = 1000;
    let (client, mut peer) = connect(&broker, with_time(&time));
    client.publish("a", "1").unwrap();
    let record = peer.record();
    time.advance(Duration::from_millis(1000));
    assert!(matches!(peer.next(), Heard::Ping(_)));
    time.advance(Duration::from_millis(1000));
    assert_eq!(peer.next(), Heard::End);
    let mut peer = broker.accept();
    assert_eq!(peer.record(), record);
}

#[test]
fn invalid_topics_and_too_large_messages_are_refused_before_anything_is_sent() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    assert!(matches!(
        client.publish("", "x"),
        Err(PublishError::Topic(_))
    ));
    assert!(matches!(
        client.publish("a/#", "x"),
        Err(PublishError::Topic(_))
    ));
    let giant = vec![0; 300 << 10];
    match client.publish_acked("a", &giant).unwrap_err() {
        PublishError::TooLarge { size, max } => assert!(size > max),
        other => panic!("{other}"),
    }
    client.publish("a", "ok").unwrap();
    assert_eq!(peer.record().texts(), ["ok"]);
}

#[test]
fn a_drain_sends_open_batches_of_every_publisher_and_says_goodbye() {
    let broker = FakeBroker::new();
    let (client, mut peer) = connect(&broker, ConnectOptions::new());
    let one = client.publisher(by_messages(100)).unwrap();
    let other = client.publisher(by_messages(100)).unwrap();
    one.push("a", "1").unwrap();
    other.push("b", "2").unwrap();
    let drain = spawn(move || client.drain());
    for _ in 0..2 {
        let record = peer.record();
        peer.ack(record.correlation, 0);
    }
    assert_eq!(peer.next(), Heard::Goodbye(oyez_client::GoodbyeCode::Done));
    drain.join().unwrap().unwrap();
    let error = one.push("a", "3").unwrap_err();
    assert!(
        matches!(error, PublishError::Disconnected(ConnectError::Closed)),
        "{error}"
    );
}

#[test]
fn stats_and_topics_are_asked_for_page_by_page_and_again_after_a_loss() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    let call = spawn(move || {
        let stats = client.stats().unwrap();
        (
            stats,
            ["", "a"].map(|after| client.topics_after(after).unwrap()),
        )
    });
    assert!(matches!(peer.next(), Heard::Stats { .. }));
    drop(peer);
    let mut peer = broker.accept();
    let Heard::Stats { id } = peer.next() else {
        panic!("the question should be asked again")
    };
    peer.answer(id, false, r#"{"connections":3}"#);
    for (after, more) in [("", true), ("a", false)] {
        match peer.next() {
            Heard::Topics { id, after: asked } => {
                assert_eq!(asked, after);
                peer.answer(id, more, &format!(r#"{{"topics":[],"after":"{after}"}}"#));
            }
            other => panic!("{other:?}"),
        }
    }
    let (stats, pages) = call.join().unwrap();
    assert_eq!(stats, r#"{"connections":3}"#);
    let page = |after: &str, more| TopicsPage {
        json: format!(r#"{{"topics":[],"after":"{after}"}}"#),
        more,
    };
    assert_eq!(pages, [page("", true), page("a", false)]);
}

#[test]
fn a_hook_that_panics_ends_the_session_and_all_waits() {
    let broker = FakeBroker::new();
    let options = ConnectOptions::new().on_event(|_| panic!("of the hook"));
    let (client, mut peer) = connect(&broker, options);
    let call = spawn(move || (client.publish_acked("a", "1"), client.drain()));
    peer.record();
    drop(peer);
    let (acked, drained) = call.join().unwrap();
    assert!(
        matches!(acked, Err(PublishError::Disconnected(ConnectError::Closed))),
        "{acked:?}"
    );
    drained.unwrap();
}

#[test]
fn the_limits_of_the_latest_connection_apply() {
    let (mut broker, time) = (FakeBroker::new(), FakeTime::new());
    let (client, mut peer) = connect(&broker, with_time(&time));
    let publisher = client
        .publisher(PublisherOptions {
            compress: false,
            ..by_messages(1)
        })
        .unwrap();
    let large = vec![b'x'; 100 << 10];
    publisher.push("a", "1").unwrap();
    publisher.push("a", &large).unwrap();
    publisher.push("a", "2").unwrap();
    let records = [peer.record(), peer.record(), peer.record()];
    broker.welcome.limits.record_size_max = 64 << 10;
    drop(peer);
    let mut peer = broker.accept();
    for sent in [&records[0], &records[2]] {
        assert_eq!(peer.record(), *sent, "the large one fails alone");
        peer.ack(sent.correlation, 0);
    }
    for _ in 0..2 {
        let refused = publisher.flush().and_then(|()| publisher.push("a", &large));
        match refused.unwrap_err() {
            PublishError::TooLarge { size, max } => assert!(size > max),
            other => panic!("{other}"),
        }
    }
    broker.welcome.limits.record_size_max = 1 << 20;
    drop(peer);
    let mut peer = broker.accept();
    publisher.push("fence", "").unwrap();
    peer.record();
    publisher.push("a", &vec![b'x'; 500 << 10]).unwrap();
    assert_eq!(peer.record().payloads[0].len(), 500 << 10);
}

#[test]
fn a_client_that_does_nothing_keeps_its_first_connection() {
    let (mut broker, time) = (FakeBroker::new(), FakeTime::new());
    broker.welcome.heartbeat_ms = 1000;
    let (client, mut peer) = connect(&broker, with_time(&time));
    for token in 0..6 {
        peer.send(|out| oyez_protocol::event::Heartbeat { token }.encode_ping(out));
        time.advance(Duration::from_millis(500));
        assert_eq!(peer.next(), Heard::Pong(0));
    }
    client.publish("a", "1").unwrap();
    assert_eq!(peer.record().texts(), ["1"]);
}

#[test]
fn a_first_connection_that_ended_unused_is_replaced() {
    let broker = FakeBroker::new();
    let options = ConnectOptions::new().reconnect(ReconnectPolicy::never());
    let (client, mut peer) = connect(&broker, options);
    peer.goodbye(oyez_client::GoodbyeCode::Draining, 0, "restarting");
    drop(peer);
    let publish = spawn(move || client.publish_acked("a", "1"));
    let mut peer = broker.accept();
    let record = peer.record();
    peer.ack(record.correlation, 0);
    publish.join().unwrap().unwrap();
}

/// A client that waits for an answer only briefly.
const BRIEF: Duration = Duration::from_millis(50);

/// A policy that reconnects so late that no test meets it.
fn late() -> ReconnectPolicy {
    let months = Duration::from_secs(10_000_000);
    ReconnectPolicy::default()
        .base(months)
        .cap(months)
        .give_up_after(None)
}

#[test]
fn an_acknowledgement_that_does_not_come_ends_as_an_unknown_outcome() {
    let broker = FakeBroker::new();
    let options = ConnectOptions::new().answer_timeout(Some(BRIEF));
    let (client, mut peer) = connect(&broker, options);
    let call = spawn(move || (client.publish_acked("a", "1"), client));
    peer.record();
    let (result, client) = call.join().unwrap();
    let error = result.unwrap_err();
    assert!(
        matches!(error, PublishError::Unacknowledged { waited: BRIEF }),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.contains("may or may not be stored"), "{text}");
    assert!(text.contains("outcome unknown"), "{text}");
    client.close();
}

#[test]
fn a_message_that_no_connection_took_in_time_is_known_not_to_be_stored() {
    let broker = FakeBroker::new();
    let options = ConnectOptions::new()
        .answer_timeout(Some(BRIEF))
        .reconnect(late());
    let (lost, losses) = channel();
    let options = options.on_event(move |_| lost.send(()).unwrap());
    let (client, mut peer) = connect(&broker, options);
    let call = spawn(move || (client.publish_acked("a", "1"), client));
    peer.record();
    let client = call.join().unwrap().1;
    drop(peer);
    losses.recv_timeout(PATIENCE).unwrap();
    let call = spawn(move || client.publish_acked("a", "2"));
    let error = call.join().unwrap().unwrap_err();
    assert!(matches!(error, PublishError::NotSent { .. }), "{error}");
    assert!(error.to_string().contains("is not stored"), "{error}");
}

#[test]
fn a_message_whose_caller_gave_up_is_not_sent_again() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let options = with_time(&time).answer_timeout(Some(BRIEF));
    let (client, mut peer) = connect(&broker, options);
    let call = spawn(move || (client.publish_acked("a", "given up"), client));
    peer.record();
    let (result, client) = call.join().unwrap();
    assert!(result.is_err());
    drop(peer);
    let mut peer = broker.accept();
    client.publish("a", "next").unwrap();
    assert_eq!(peer.record().texts(), ["next"]);
}

#[test]
fn everything_that_waits_ends_in_time_and_when_the_client_is_closed() {
    type Wait = fn(&Client) -> String;
    let waits: [(&str, Wait); 4] = [
        ("acknowledgement", |client| {
            client.publish_acked("a", "1").unwrap_err().to_string()
        }),
        ("flush", |client| {
            let publisher = client.publisher(by_messages(1)).unwrap();
            publisher.push("a", "1").unwrap();
            publisher.flush().unwrap_err().to_string()
        }),
        ("answer", |client| client.stats().unwrap_err().to_string()),
        ("drain", |client| {
            client.publish("a", "1").unwrap();
            client.drain().unwrap_err().to_string()
        }),
    ];
    for (what, wait) in waits {
        let broker = FakeBroker::new();
        let options = ConnectOptions::new().answer_timeout(Some(BRIEF));
        let (client, _peer) = connect(&broker, options);
        let told = spawn(move || wait(&client)).join().unwrap();
        assert!(told.contains("within 0.05 s"), "{what}: {told}");

        let options = ConnectOptions::new().answer_timeout(None);
        let (client, mut peer) = connect(&broker, options);
        let client = Arc::new(client);
        let waiting = Arc::clone(&client);
        let call = spawn(move || wait(&waiting));
        assert!(!matches!(peer.next(), Heard::End), "{what}");
        client.close();
        let told = call.join().unwrap();
        assert!(told.contains("this client is closed"), "{what}: {told}");
    }
}

#[test]
fn a_publisher_that_finds_no_room_in_time_says_that_nothing_was_sent() {
    let mut broker = FakeBroker::new();
    broker.welcome.inflight_records_max = 1;
    let options = ConnectOptions::new().answer_timeout(Some(BRIEF));
    let (client, mut peer) = connect(&broker, options);
    let publisher = client.publisher(by_messages(1)).unwrap();
    publisher.push("a", "1").unwrap();
    peer.record();
    let call = spawn(move || publisher.push("a", "2"));
    let error = call.join().unwrap().unwrap_err();
    assert!(matches!(error, PublishError::NotSent { .. }), "{error}");
}

#[test]
fn a_client_that_cannot_come_back_can_be_closed() {
    let broker = FakeBroker::new();
    let (lost, losses) = channel();
    let options = ConnectOptions::new()
        .answer_timeout(None)
        .reconnect(late())
        .on_event(move |_| lost.send(()).unwrap());
    let (client, mut peer) = connect(&broker, options);
    let client = Arc::new(client);
    let waiting = Arc::clone(&client);
    let call = spawn(move || waiting.publish_acked("a", "1"));
    peer.record();
    drop(peer);
    losses.recv_timeout(PATIENCE).unwrap();
    client.close();
    let error = call.join().unwrap().unwrap_err();
    assert!(
        matches!(error, PublishError::Disconnected(ConnectError::Closed)),
        "{error}"
    );
    assert!(client.publish("a", "2").is_err(), "it stays closed");
}

#[test]
fn a_client_that_waits_for_a_welcome_can_be_closed() {
    let (broker, time) = (FakeBroker::new(), FakeTime::new());
    let options = with_time(&time)
        .answer_timeout(None)
        .connect_timeout(Duration::from_secs(3600));
    let (client, mut peer) = connect(&broker, options);
    let client = Arc::new(client);
    let waiting = Arc::clone(&client);
    let call = spawn(move || waiting.publish_acked("a", "1"));
    peer.record();
    drop(peer);
    let _silent = broker.accept_unwelcomed();
    client.close();
    let error = call.join().unwrap().unwrap_err();
    assert!(
        matches!(error, PublishError::Disconnected(ConnectError::Closed)),
        "{error}"
    );
}
