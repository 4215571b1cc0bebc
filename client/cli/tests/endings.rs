//! How `oyez` ends when its reader leaves, when a signal comes, and when the broker stays away.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod shell;

use std::io::{Read, Write};
use std::process::Child;
use std::thread;

use oyez_client::GoodbyeCode;
use shell::{errors, finish, oyez, signal};
use support::{FakeBroker, Heard, Peer};

/// `oyez sub` that the broker has confirmed.
fn subscribed(broker: &FakeBroker, arguments: &[&str]) -> (Child, Peer) {
    let arguments = [&["sub", "t"], arguments].concat();
    let child = oyez(broker.port(), &arguments).spawn().unwrap();
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    (child, peer)
}

#[test]
fn a_quiet_subscription_ends_when_its_reader_leaves() {
    let broker = FakeBroker::new();
    let (mut child, mut peer) = subscribed(&broker, &[]);
    peer.deliver("t", 0, &[b"1"]);
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 2]).unwrap();
    drop(stdout);
    assert_eq!(peer.next(), Heard::Goodbye(GoodbyeCode::Done));
    let output = finish(child, b"");
    assert_eq!(
        (output.status.code(), errors(&output).as_str()),
        (Some(0), "")
    );
}

#[test]
fn top_ends_when_its_reader_leaves_however_long_its_interval_is() {
    let broker = FakeBroker::new();
    let arguments = ["top", "--interval", "1h"];
    let mut child = oyez(broker.port(), &arguments).spawn().unwrap();
    drop(child.stdout.take());
    let mut peer = broker.accept();
    let Heard::Stats { id } = peer.next() else {
        panic!("counters should be asked for");
    };
    peer.answer(id, false, "{}");
    let Heard::Lag { id } = peer.next() else {
        panic!("lag should be asked for");
    };
    peer.answer(id, false, "{}");
    assert_eq!(finish(child, b"").status.code(), Some(0));
}

/// `oyez pub -l` that was given three lines and has sent two of them.
fn publishing(broker: &FakeBroker) -> (Child, Peer, u64) {
    let arguments = ["pub", "-l", "t", "--batch", "2", "--linger", "1h"];
    let mut child = oyez(broker.port(), &arguments).spawn().unwrap();
    let mut peer = broker.accept();
    let stdin = child.stdin.as_mut().unwrap();
    stdin.write_all(b"1\n2\n3\nunfini").unwrap();
    let record = peer.record();
    assert_eq!(record.texts(), ["1", "2"]);
    (child, peer, record.correlation)
}

#[test]
fn an_interrupted_publisher_sends_what_it_has_read_and_says_how_much() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let broker = FakeBroker::new();
        let (child, mut peer, first) = publishing(&broker);
        signal(&child, name);
        let rest = peer.record();
        assert_eq!(rest.texts(), ["3"]);
        peer.ack(first, 0);
        peer.ack(rest.correlation, 2);
        let output = child.wait_with_output().unwrap();
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("all 3 messages that were read are"), "{text}");
        assert!(text.contains("6 bytes of an unfinished line"), "{text}");
    }
}

#[test]
fn an_interrupted_publisher_does_not_wait_for_ever_and_says_what_is_not_known() {
    let broker = FakeBroker::new();
    let (child, mut peer, first) = publishing(&broker);
    peer.ack(first, 0);
    signal(&child, "INT");
    assert_eq!(peer.record().texts(), ["3"]);
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(
        text.contains("2 of 3 messages that were read are published and acknowledged"),
        "{text}"
    );
    assert!(text.contains("1 may or may not be stored"), "{text}");
}

#[test]
fn a_subscription_gives_up_when_it_is_told_to_and_says_meanwhile_what_it_waits_for() {
    let broker = FakeBroker::new();
    let (child, peer) = subscribed(&broker, &["--give-up", "1s"]);
    let output = thread::spawn(move || finish(child, b""));
    let port = broker.port();
    drop((peer, broker));
    let output = output.join().unwrap();
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(3), "{port}: {text}");
    assert!(text.contains("trying again in"), "{text}");
    assert!(text.contains("did not come back"), "{text}");
    let waits = text.matches("trying again in").count();
    assert_eq!(waits, 1, "it says so at a bounded rate: {text}");
}

#[test]
fn a_server_that_stays_silent_is_no_broker_after_the_connect_timeout() {
    for arguments in [&["sub", "t"][..], &["pub", "t", "m"]] {
        let broker = FakeBroker::new();
        let arguments = [arguments, &["--connect-timeout", "50ms"]].concat();
        let output = finish(oyez(broker.port(), &arguments).spawn().unwrap(), b"");
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(
            text.contains("answers, but it is not an Oyez broker"),
            "{text}"
        );
        assert!(text.contains("it said nothing for 0.05 s"), "{text}");
    }
}

#[test]
fn a_publisher_gives_up_when_nothing_is_acknowledged_for_too_long() {
    let broker = FakeBroker::new();
    let arguments = ["pub", "t", "m", "--give-up", "100ms"];
    let child = oyez(broker.port(), &arguments).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    peer.record();
    let output = output.join().unwrap();
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(text.contains("may or may not be stored"), "{text}");
}
