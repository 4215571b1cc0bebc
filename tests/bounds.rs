//! What clients make a shard do and keep has bounds that no client can reset: a client that is stuck costs nothing while it
//! is, questions between shards count until they are answered, sessions end little by little, and nobody keeps memory who
//! has not said hello.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use oyez_protocol::header::kind;
use testkit::deadline::wait_until;
use testkit::random::Random;
use testkit::record::{control, record, stored, subscribe_to};
use testkit::{Broker, Event, GoodbyeCode, Outcome, Session, Setup, Start};

/// The socket of a session that is written to without a look at what comes back.
fn deaf(session: Session) -> TcpStream {
    let (stream, _) = session.into_parts();
    stream.set_nonblocking(true).expect("a TCP socket");
    stream
}

/// Writes `frames` again and again until the broker has read nothing for a while.
fn fill(stream: &mut TcpStream, frames: &[u8]) {
    let mut at = 0;
    let mut refused = 0;
    wait_until("the broker to read no more", || {
        loop {
            match stream.write(&frames[at..]) {
                Ok(size) => {
                    at = (at + size) % frames.len();
                    refused = 0;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the broker has closed: {error}"),
            }
        }
        refused += 1;
        refused > 50
    });
}

/// Turns of the broker for each of some questions that are put to it one after the other. With nothing else to do these
/// are the few turns that a question and its answer take; a shard that spins makes dozens meanwhile.
fn turns_per_question(broker: &Broker) -> u64 {
    const QUESTIONS: u64 = 500;
    let mut session = broker.connect();
    let turns = |session: &mut Session| session.stats()["turns"].as_u64().expect("a number");
    let before = turns(&mut session);
    for _ in 0..QUESTIONS {
        session.ping();
    }
    (turns(&mut session) - before) / QUESTIONS
}

#[test]
fn clients_that_do_not_read_their_answers_do_not_make_a_shard_spin() {
    let broker = Broker::start();
    let pings = control(kind::PING, 0, 0, &[7; 8]).repeat(4096);
    let mut stuck: Vec<TcpStream> = (0..4).map(|_| deaf(broker.connect())).collect();
    for stream in &mut stuck {
        fill(stream, &pings);
    }
    let turns = turns_per_question(&broker);
    assert!(turns < 5, "{turns} turns for each question");
}

#[test]
fn publishers_that_ignore_their_window_do_not_make_a_shard_spin() {
    let broker = Setup::new().set("memory_topics", "#").start();
    let records: Vec<u8> = (0..512)
        .flat_map(|number| record("flood", &["x"; 8], number))
        .collect();
    let mut stuck: Vec<TcpStream> = (0..4).map(|_| deaf(broker.connect())).collect();
    for stream in &mut stuck {
        fill(stream, &records);
    }
    let turns = turns_per_question(&broker);
    assert!(turns < 5, "{turns} turns for each question");
}

/// A subscription to a topic and its end.
fn pair(topic: &str) -> Vec<u8> {
    let mut unsubscribe = vec![u8::try_from(topic.len()).expect("a short name")];
    unsubscribe.extend_from_slice(topic.as_bytes());
    let mut frames = subscribe_to(topic.as_bytes());
    frames.extend(control(kind::UNSUBSCRIBE, 0, 2, &unsubscribe));
    frames
}

#[test]
fn questions_about_subscriptions_count_until_they_are_answered_also_if_these_have_ended() {
    const SESSIONS: u64 = 8;
    let broker = Setup::new().set("shards", 4).start();
    let frames: Vec<u8> = (0..4096)
        .flat_map(|number| pair(&format!("topic/{number}")))
        .collect();
    let begin = broker.memory();
    let floods: Vec<_> = (0..SESSIONS)
        .map(|_| {
            let (mut stream, _) = broker.connect().into_parts();
            let frames = frames.clone();
            std::thread::spawn(move || {
                let mut reader = stream.try_clone().expect("a TCP socket");
                let answers = std::thread::spawn(move || {
                    let mut buffer = vec![0; 64 << 10];
                    // Until both sides have closed.
                    while matches!(reader.read(&mut buffer), Ok(size) if size > 0) {}
                });
                for _ in 0..10 {
                    stream.write_all(&frames).expect("the broker takes it all");
                }
                let shut = stream.shutdown(std::net::Shutdown::Write);
                shut.expect("the broker is there");
                answers.join().expect("a reader does not panic");
            })
        })
        .collect();
    let mut most = 0;
    while floods.iter().any(|flood| !flood.is_finished()) {
        most = most.max(broker.counter("questions"));
    }
    for flood in floods {
        flood.join().expect("a flood does not panic");
    }
    assert!(most <= SESSIONS * 32, "{most} questions at once");
    wait_until("all questions to be answered", || {
        broker.counter("questions") == 0
    });
    let grown = broker.memory().saturating_sub(begin);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[test]
fn sessions_with_many_subscriptions_end_little_by_little_and_leave_nothing() {
    const SESSIONS: usize = 20;
    const TOPICS: u64 = 1000;
    let broker = Broker::start();
    let mut sessions: Vec<Session> = (0..SESSIONS).map(|_| broker.connect()).collect();
    for session in &mut sessions {
        let frames: Vec<u8> = (0..TOPICS)
            .flat_map(|number| subscribe_to(format!("many/{number}").as_bytes()))
            .collect();
        session.send(&frames);
        for _ in 0..TOPICS {
            let outcome = session.find("an answer", |event| match event {
                Event::Subscribed(answer) => Some(answer.outcome),
                _ => None,
            });
            assert_eq!(outcome, Outcome::Ok);
        }
    }
    let mut stays = broker.connect();
    stays.subscribe("many/7", Start::Latest);
    assert_eq!(
        broker.counter("subscriptions"),
        SESSIONS as u64 * TOPICS + 1
    );
    drop(sessions);
    let mut publisher = broker.connect();
    for number in 0..20u64 {
        publisher.publish("many/7", b"still here");
        assert_eq!(stays.messages("many/7", 1)[0].0, number);
    }
    wait_until("the subscriptions to be gone", || {
        broker.counter("subscriptions") == 1
    });
    // The one that asks is the third. The one that asked before may still be there.
    wait_until("the connections to be gone", || {
        broker.counter("connections") == 3
    });
}

#[test]
fn nothing_larger_than_a_hello_is_kept_of_a_connection_that_has_not_said_one() {
    let broker = Broker::start();
    let whole = stored("a/topic", &[vec![7; 100_000]], 1);
    let mut session = Session::open(broker.address());
    // A frame that may not be the first is refused as soon as its head is there.
    session.send(&whole[..8]);
    let farewell = session.farewell();
    assert_eq!(farewell.code, GoodbyeCode::Damaged);
    assert!(
        farewell.reason.contains("Oyez hello"),
        "{}",
        farewell.reason
    );
    assert_eq!(broker.counter("input_bytes"), 0);
}

/// Frames of all sizes, from many sessions at once, so that turns end in the middle of what was read.
#[test]
fn frames_that_a_turn_has_no_time_for_are_taken_in_the_next_one_whole_and_in_order() {
    const SESSIONS: u64 = 16;
    const RECORDS: u64 = 5_000;
    let broker = Setup::new().set("memory_topics", "#").start();
    let writers: Vec<_> = (0..SESSIONS)
        .map(|number| {
            let mut session = broker.connect();
            let mut stream = session.stream().try_clone().expect("a TCP socket");
            let writer = std::thread::spawn(move || {
                let mut random = Random::new(number);
                let pong = control(kind::PONG, 0, 0, &[7; 8]);
                let mut frames = Vec::new();
                for record_number in 0..RECORDS {
                    let payload = vec![1; random.below(3_000) as usize];
                    let topic = format!("flood/{number}");
                    frames.extend(stored(&topic, &[payload], record_number));
                    frames.extend(pong.repeat(random.below(400) as usize));
                    if frames.len() > 1 << 20 {
                        stream.write_all(&frames).expect("the broker takes it all");
                        frames.clear();
                    }
                }
                stream.write_all(&frames).expect("the broker takes it all");
            });
            let reader = std::thread::spawn(move || {
                let mut next = 0;
                while next < RECORDS {
                    match session.event() {
                        Event::Published(entries) => {
                            for entry in entries {
                                assert_eq!((entry.correlation, entry.outcome), (next, Outcome::Ok));
                                next += 1;
                            }
                        }
                        event => panic!("expected outcomes, got {event:?}"),
                    }
                }
            });
            [writer, reader]
        })
        .collect();
    for thread in writers.into_iter().flatten() {
        thread.join().expect("no thread panics");
    }
}
