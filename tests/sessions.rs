//! The life of sessions: limits, heartbeats, and a shutdown that loses nothing and informs every client.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use oyez_protocol::command::{
    Ack, Begin, Numbered, Place, Query, Question, Renew, Subscribe, Subscription, Unsubscribe,
    VERSION,
};
use oyez_protocol::event::Goodbye;
use testkit::deadline::wait_until;
use testkit::record::{hello, record};
use testkit::wire::Farewell;
use testkit::{Broker, Epoch, Event, GoodbyeCode, Offset, Outcome, Session, Setup, Start};

fn farewells(sessions: &mut [Session]) -> Vec<Farewell> {
    sessions.iter_mut().map(Session::farewell).collect()
}

#[test]
fn on_sigterm_every_session_gets_its_own_time_to_come_back() {
    // A quarter of a millisecond for each.
    const SPREAD_MS: u32 = 50;
    let mut broker = Broker::start();
    let mut sessions: Vec<Session> = (0..200).map(|_| broker.connect()).collect();
    sessions[0].subscribe("a/topic", Start::Latest);
    broker.terminate();
    let farewells = farewells(&mut sessions);
    assert_eq!(broker.wait().code(), Some(0));
    for farewell in &farewells {
        assert_eq!(farewell.code, GoodbyeCode::Draining);
        assert!(farewell.code.may_reconnect());
        let times = 1..=SPREAD_MS;
        assert!(times.contains(&farewell.retry_after_ms), "{farewell:?}");
        assert!(farewell.reason.contains("shutting down"), "{farewell:?}");
    }
    let times: BTreeSet<u32> = farewells.iter().map(|f| f.retry_after_ms).collect();
    assert!(
        times.len() > 30,
        "they would all come back at once: {times:?}"
    );
}

#[test]
fn what_was_acknowledged_before_a_shutdown_is_there_after_it_in_the_same_epoch() {
    let setup = Setup::new().set("written_topics", "metrics");
    let mut broker = setup.start();
    let mut publisher = broker.connect();
    let (mut sent, mut acknowledged) = (0u64, 0u64);
    let mut epochs = BTreeSet::new();
    // The shutdown comes while records are under way.
    while sent < 600 {
        for topic in ["metrics", "orders"] {
            publisher.send(&record(topic, &[format!("{sent}")], sent));
        }
        sent += 1;
    }
    broker.terminate();
    loop {
        match publisher.event() {
            Event::Published(entries) => {
                for entry in entries.iter().filter(|entry| entry.outcome == Outcome::Ok) {
                    acknowledged += 1;
                    epochs.insert(entry.epoch.get());
                }
            }
            Event::Goodbye(farewell) => {
                assert_eq!(farewell.code, GoodbyeCode::Draining);
                break;
            }
            event => panic!("expected outcomes or Goodbye, got {event:?}"),
        }
    }
    assert_eq!(broker.wait().code(), Some(0));
    broker.restart();
    let mut found = 0;
    for topic in ["metrics", "orders"] {
        let mut session = broker.connect();
        let answer = session.subscribe(topic, Start::Earliest);
        let messages = session.messages(topic, answer.head.get() as usize);
        for (offset, payload) in &messages {
            assert_eq!(*payload, offset.to_string().into_bytes());
        }
        found += messages.len() as u64;
        assert!(
            messages.is_empty() || epochs.contains(&answer.epoch.get()),
            "{topic} has a new epoch"
        );
    }
    // Whatever was read by the broker is acknowledged before Goodbye, and nothing else is stored.
    assert_eq!(found, acknowledged);
}

#[test]
fn everything_is_answered_however_much_shards_have_for_each_other() {
    const RECORDS: usize = 1_000;
    let topics: Vec<String> = (0..8).map(|number| format!("topic/{number}")).collect();
    let broker = Setup::new().set("shards", 2).start();
    let mut publishers: Vec<Session> = (0..16).map(|_| broker.connect()).collect();
    // Together more than a shard takes in one turn of what another has handed over.
    for publisher in &mut publishers {
        let records = (0..RECORDS).map(|number| record(&topics[number % 8], &["x"], number as u64));
        publisher.send(&records.flatten().collect::<Vec<u8>>());
    }
    for publisher in &mut publishers {
        let mut answered = BTreeSet::new();
        while answered.len() < RECORDS {
            match publisher.event() {
                Event::Published(entries) => {
                    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Ok));
                    answered.extend(entries.iter().map(|entry| entry.correlation));
                }
                event => panic!("expected outcomes, got {event:?}"),
            }
        }
    }
    let mut session = broker.connect();
    let mut head = |topic: &String| session.subscribe(topic, Start::Earliest).head.get();
    let stored: u64 = topics.iter().map(&mut head).sum();
    assert_eq!(stored, 16 * RECORDS as u64);
}

/// The ways in which a client says that it is done.
const WAYS_TO_GO: [fn(&mut Session); 2] = [say_goodbye, |session| session.shut_down()];

fn say_goodbye(session: &mut Session) {
    let goodbye = Goodbye {
        code: GoodbyeCode::Done,
        retry_after_ms: 0,
        reason: "",
    };
    let mut bytes = Vec::new();
    goodbye.encode(&mut bytes);
    session.send(&bytes);
}

#[test]
fn a_client_that_goes_is_told_every_outcome_before_its_connection_ends() {
    const RECORDS: u64 = 500;
    let broker = Setup::new().set("shards", 2).start();
    for go in WAYS_TO_GO {
        let mut session = broker.connect();
        let records =
            (1..=RECORDS).map(|number| record(&format!("topic/{}", number % 8), &["x"], number));
        session.send(&records.flatten().collect::<Vec<u8>>());
        go(&mut session);
        let mut answered = BTreeSet::new();
        let farewell = loop {
            match session.event() {
                Event::Published(entries) => {
                    assert!(entries.iter().all(|entry| entry.outcome == Outcome::Ok));
                    answered.extend(entries.iter().map(|entry| entry.correlation));
                }
                Event::Goodbye(farewell) => break farewell,
                event => panic!("expected outcomes or Goodbye, got {event:?}"),
            }
        };
        assert!(answered.into_iter().eq(1..=RECORDS));
        assert_eq!(farewell.code, GoodbyeCode::Done);
        assert_eq!(session.event(), Event::Closed);
    }
}

#[test]
fn a_client_that_goes_and_waits_for_nothing_is_told_nothing() {
    let broker = Broker::start();
    for go in WAYS_TO_GO {
        let mut session = broker.connect();
        go(&mut session);
        assert_eq!(session.event(), Event::Closed);
    }
}

#[test]
fn subscriptions_that_end_at_once_are_told_to_begin_before_they_are_told_to_end() {
    const TOPICS: u32 = 200;
    let broker = Setup::new().set("shards", 2).start();
    let mut session = broker.connect();
    let mut bytes = Vec::new();
    for id in 0..TOPICS {
        let name = &*format!("topic/{id}");
        Subscribe::encode(
            id,
            &[Subscription::new(name, Start::Latest, None)],
            &mut bytes,
        );
        let unsubscribe = Unsubscribe {
            id,
            name,
            is_filter: false,
        };
        unsubscribe.encode(&mut bytes);
    }
    session.send(&bytes);
    let (mut begun, mut ended) = (BTreeSet::new(), BTreeSet::new());
    while ended.len() < TOPICS as usize {
        match session.event() {
            Event::Subscribed(told) => {
                assert_eq!(told.outcome, Outcome::Ok);
                assert!(begun.insert(told.id));
            }
            Event::Unsubscribed(told) => {
                assert!(
                    begun.contains(&told.id),
                    "{} was not told to begin",
                    told.id
                );
                assert_eq!(told.outcome, Outcome::Ok);
                ended.insert(told.id);
            }
            event => panic!("expected answers, got {event:?}"),
        }
    }
    assert!(begun.into_iter().eq(0..TOPICS));
}

#[test]
fn a_subscriber_has_every_acknowledged_record_before_goodbye() {
    let broker = Broker::start();
    let mut subscriber = broker.connect();
    subscriber.subscribe("a/topic", Start::Latest);
    let mut publisher = broker.connect();
    let payloads: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    publisher.publish_each("a/topic", &payloads);
    broker.terminate();
    let messages = subscriber.messages("a/topic", payloads.len());
    assert_eq!(messages.len(), 200);
    assert_eq!(subscriber.farewell().code, GoodbyeCode::Draining);
}

#[test]
fn a_shutdown_does_not_wait_for_ever_for_clients_that_do_not_read() {
    let mut broker = Setup::new().set("drain_timeout_ms", 2000).start();
    let mut stuck = broker.connect();
    stuck.subscribe("a/topic", Start::Latest);
    let mut publisher = broker.connect();
    let payload = testkit::random::Random::new(3).bytes(100_000);
    publisher.publish_each("a/topic", &vec![payload; 100]);
    let begin = Instant::now();
    assert_eq!(broker.stop().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10));
    drop(stuck);
}

#[test]
fn ctrl_c_stops_in_good_order_too() {
    let mut broker = Broker::start();
    let mut session = broker.connect();
    broker.interrupt();
    assert_eq!(session.farewell().code, GoodbyeCode::Draining);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn connections_over_the_limit_are_refused_because_the_broker_is_full() {
    let broker = Setup::new().set("max_connections", 5).start();
    let mut sessions: Vec<Session> = (0..5).map(|_| broker.connect()).collect();
    // It comes from this machine and may ask, and do nothing else.
    let mut late = broker.connect();
    assert!(late.stats()["connections"].as_u64() >= Some(6));
    late.send(&record("a/topic", &[b"hello"], 1));
    let farewell = late.farewell();
    assert_eq!(farewell.code, GoodbyeCode::Full);
    assert!(farewell.code.may_reconnect() && farewell.retry_after_ms > 0);
    assert!(farewell.reason.contains("connections"), "{farewell:?}");
    // Those that are there go on, and a place that becomes free is given again.
    for session in &mut sessions {
        session.ping();
    }
    sessions.pop();
    wait_until("a free place", || {
        let mut session = broker.connect();
        session.send(&record("a/topic", &[b"hello"], 1));
        matches!(session.event(), Event::Published(_))
    });
}

#[test]
fn a_silent_session_is_pinged_and_then_closed() {
    let broker = Setup::new().set("heartbeat_ms", 600).start();
    let mut session = broker.connect();
    session.ignore_pings();
    let begin = Instant::now();
    assert!(matches!(session.event(), Event::Ping(_)));
    assert!(
        begin.elapsed() >= Duration::from_millis(400),
        "{:?}",
        begin.elapsed()
    );
    let farewell = session.farewell();
    assert_eq!(farewell.code, GoodbyeCode::Silent);
    assert!(farewell.reason.contains("two heartbeats"), "{farewell:?}");
    assert!(
        begin.elapsed() >= Duration::from_millis(1000),
        "{:?}",
        begin.elapsed()
    );
}

#[test]
fn a_session_that_answers_pings_stays() {
    let broker = Setup::new().set("heartbeat_ms", 600).start();
    let mut subscriber = broker.connect();
    subscriber.subscribe("a/topic", Start::Latest);
    // The subscriber only answers; several heartbeats pass.
    let nothing = subscriber.event_within(Duration::from_secs(3));
    assert_eq!(nothing, None);
    broker.connect().publish("a/topic", b"still there");
    assert_eq!(subscriber.delivery().payloads, [b"still there"]);
}

#[test]
fn a_client_that_reads_is_not_pinged() {
    const HEARTBEAT: Duration = Duration::from_millis(600);
    let broker = Setup::new()
        .set("heartbeat_ms", HEARTBEAT.as_millis())
        .start();
    let (mut subscriber, mut publisher) = (broker.connect(), broker.connect());
    subscriber.ignore_pings();
    subscriber.subscribe("a/topic", Start::Latest);
    let begin = Instant::now();
    while begin.elapsed() < 3 * HEARTBEAT {
        publisher.publish("a/topic", b"a record");
        let event = subscriber.event();
        assert!(matches!(event, Event::Delivery(_)), "{event:?}");
    }
    // In silence it is asked as everybody is.
    assert!(matches!(subscriber.event(), Event::Ping(_)));
}

#[test]
fn a_client_without_a_hello_in_time_is_closed() {
    let broker = Setup::new().set("hello_timeout_ms", 200).start();
    let farewell = Session::open(broker.address()).farewell();
    assert_eq!(farewell.code, GoodbyeCode::Silent);
    assert!(farewell.reason.contains("hello"), "{farewell:?}");
    // Half a hello is none.
    let mut slow = Session::open(broker.address());
    slow.send(&hello(VERSION, VERSION)[..20]);
    assert_eq!(slow.farewell().code, GoodbyeCode::Silent);
}

#[test]
fn what_a_client_says_is_acknowledged_together_with_the_answer() {
    let broker = Broker::start();
    // The end of the handshake, and the welcome. A broker that is late sends more; it cannot always be.
    wait_until("a welcome comes alone", || {
        broker.connect().segments_in() == 2
    });
}

#[test]
fn the_welcome_states_the_limits_of_the_configuration() {
    let broker = Setup::new()
        .set("record_size_max", 65_536)
        .set("raw_size_max", 100_000)
        .set("inflight_records_max", 7)
        .set("heartbeat_ms", 12_345)
        .start();
    let greeting = Session::open(broker.address()).greet();
    assert_eq!(greeting.version, VERSION);
    assert_eq!(greeting.limits.record_size_max, 65_536);
    assert_eq!(greeting.limits.raw_size_max, 100_000);
    assert_eq!(
        (greeting.inflight_records_max, greeting.heartbeat_ms),
        (7, 12_345)
    );
}

#[test]
fn a_publisher_with_more_under_way_than_allowed_is_held_back_and_loses_nothing() {
    let broker = Setup::new().set("inflight_records_max", 4).start();
    let mut publisher = broker.connect();
    let payloads: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let entries = publisher.publish_each("a/topic", &payloads);
    let offsets: Vec<u64> = entries.iter().map(|entry| entry.offset.get()).collect();
    assert_eq!(offsets, (0..500).collect::<Vec<u64>>());
}

#[test]
fn a_connection_that_breaks_is_forgotten() {
    let broker = Broker::start();
    for _ in 0..50 {
        let mut session = broker.connect();
        session.subscribe("a/topic", Start::Latest);
    }
    wait_until("the end of all sessions but the one that asks", || {
        let stats = broker.stats();
        stats["connections"] == 1 && stats["sessions"] == 1 && stats["subscriptions"] == 0
    });
}

/// What an answer says, and to which request.
fn answered(event: &Event) -> Option<(u32, Outcome)> {
    match event {
        Event::Subscribed(told) => Some((told.id, told.outcome)),
        Event::Unsubscribed(told) => Some((told.id, told.outcome)),
        Event::Answer { id, outcome, .. } => Some((*id, *outcome)),
        Event::Renewed(told) => Some((told.id, told.outcome)),
        Event::Acked(told) => Some((told.id, told.outcome)),
        _ => None,
    }
}

/// All that has a place in the protocol and that no broker does yet, with the requests 100 to 109.
fn reserved() -> Vec<u8> {
    let topic = |begin| Subscription {
        begin,
        ..Subscription::new("news", Start::Latest, None)
    };
    let plain = topic(Begin::At(Start::Latest));
    let filter = Subscription {
        name: "news/#",
        is_filter: true,
        ..plain
    };
    let subscriptions: [&[Subscription<'_>]; 6] = [
        &[plain, plain],
        &[filter],
        &[topic(Begin::Time(1_700_000_000_000))],
        &[topic(Begin::Last(10))],
        &[topic(Begin::Token(b"token"))],
        &[topic(Begin::Cursor("phone"))],
    ];
    let mut said = Vec::new();
    for (id, topics) in (100..).zip(subscriptions) {
        Subscribe::encode(id, topics, &mut said);
    }
    let question = Question::Other {
        code: 99,
        text: "why",
    };
    Query { id: 106, question }.encode(&mut said);
    Renew {
        id: 107,
        credentials: b"secret",
    }
    .encode(&mut said);
    Ack {
        id: 108,
        cursor: "phone",
        place: Place {
            name: "news",
            epoch: Epoch::new(1),
            next: Numbered::Offset(Offset::new(1)),
        },
    }
    .encode(&mut said);
    Unsubscribe {
        id: 109,
        name: "news/#",
        is_filter: true,
    }
    .encode(&mut said);
    said
}

#[test]
fn what_this_broker_cannot_do_is_answered_so_and_the_session_goes_on() {
    let broker = Setup::new().start();
    let mut session = broker.connect();
    session.send(&reserved());
    for id in 100..110 {
        let event = session.event();
        assert_eq!(
            answered(&event),
            Some((id, Outcome::NotSupported)),
            "{event:?}"
        );
    }
    let own = session.subscribe("$cursors", Start::Earliest);
    assert_eq!(own.outcome, Outcome::ReservedTopic);
    let own = session.publish("$cursors", b"mine");
    assert_eq!(own.outcome, Outcome::ReservedTopic);
    assert_eq!(
        session.subscribe("news", Start::Latest).outcome,
        Outcome::Ok
    );
    assert_eq!(session.publish("news", b"hello").outcome, Outcome::Ok);
}
