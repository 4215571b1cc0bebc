//! Signals: those that stop the broker, those that it only logs, and the meaning of a second one.

use std::time::{Duration, Instant};

use testkit::deadline::wait_until;
use testkit::random::Random;
use testkit::{Broker, GoodbyeCode, Outcome, Session, Setup, Signal, Start};

/// A broker whose shutdown takes as long as it may, because of a client that does not read.
fn slow_to_stop(drain_ms: u32) -> (Broker, Session) {
    let broker = Setup::new().set("drain_timeout_ms", drain_ms).start();
    let mut stuck = broker.connect();
    stuck.subscribe("a/topic", Start::Latest);
    let payload = Random::new(3).bytes(100_000);
    broker
        .connect()
        .publish_each("a/topic", &vec![payload; 100]);
    (broker, stuck)
}

fn await_line(broker: &Broker, words: &str) {
    wait_until(words, || broker.log().contains(words));
}

#[test]
fn signals_without_a_meaning_are_logged_once_each_and_end_no_session() {
    let mut broker = Broker::start();
    let mut session = broker.connect();
    for (signal, name) in [
        (Signal::HangUp, "SIGHUP"),
        (Signal::User1, "SIGUSR1"),
        (Signal::User2, "SIGUSR2"),
    ] {
        broker.signal(signal);
        wait_until("a line about the signal", || {
            // A broker that such a signal ends is found by the session.
            session.ping();
            broker.log().lines().any(|line| line.contains(name))
        });
        let lines = broker.log();
        assert_eq!(
            lines.lines().filter(|line| line.contains(name)).count(),
            1,
            "{lines}"
        );
    }
    assert_eq!(
        session.publish("a/topic", b"still there").outcome,
        Outcome::Ok
    );
    broker.terminate();
    assert_eq!(session.farewell().code, GoodbyeCode::Draining);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_sigterm_that_comes_twice_at_once_is_one_request() {
    let (mut broker, stuck) = slow_to_stop(3000);
    broker.terminate();
    await_line(&broker, "shutting down");
    broker.terminate();
    await_line(&broker, "again");
    assert_eq!(broker.wait().code(), Some(0), "{}", broker.log());
    assert!(broker.log().contains("stopped"));
    drop(stuck);
}

#[test]
fn a_second_signal_that_comes_later_ends_the_broker_at_once() {
    // Far longer than the test may take.
    let (mut broker, stuck) = slow_to_stop(600_000);
    broker.terminate();
    await_line(&broker, "shutting down");
    let begin = Instant::now();
    wait_until("the end", || {
        broker.interrupt();
        broker.log().contains("asked to stop again,")
    });
    assert!(
        begin.elapsed() > Duration::from_millis(900),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(broker.wait().code(), Some(1));
    assert!(
        broker.log().contains("asked to stop again"),
        "{}",
        broker.log()
    );
    drop(stuck);
}
