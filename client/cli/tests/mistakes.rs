//! What `oyez` makes of odd payloads, long lines and names that play tricks.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod shell;

use std::thread;

use oyez_client::{Epoch, Offset, Start};
use shell::{errors, finish, oyez, run, succeeded};
use support::memory::MemoryBroker;
use support::{FakeBroker, Heard};

/// What is published by these arguments, with keys and headers.
fn published(arguments: &[&str]) -> support::HeardRecord {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), arguments).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let record = peer.record();
    peer.ack(record.correlation, 0);
    succeeded(&output.join().unwrap());
    record
}

#[test]
fn a_message_may_begin_with_a_hyphen() {
    for (arguments, payload) in [
        (&["pub", "t", "-5.3"][..], "-5.3"),
        (&["pub", "t", "-1e9"], "-1e9"),
        (&["pub", "t", "-- no"], "-- no"),
        (&["pub", "t", "--", "-l"], "-l"),
        (&["pub", "--", "t", "-5"], "-5"),
        (&["pub", "t", "--key", "k", "-x"], "-x"),
    ] {
        assert_eq!(published(arguments).texts(), [payload], "{arguments:?}");
    }
}

#[test]
fn a_key_and_a_header_may_begin_with_a_hyphen_and_options_stay_options() {
    let record = published(&["pub", "t", "--key", "-x", "--header", "-h=-v", "m", "-v"]);
    assert_eq!(record.texts(), ["m"]);
    assert_eq!(record.keys, [Some(b"-x".to_vec())]);
    assert_eq!(record.headers[0], [(b"-h".to_vec(), b"-v".to_vec())]);
    let output = run(1, &["sub", "t", "--from", "offset:-5"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(errors(&output).contains("offset:N"), "{}", errors(&output));
}

#[test]
fn an_epoch_is_given_in_the_form_in_which_it_was_printed() {
    let broker = FakeBroker::new();
    let arguments = [
        "sub",
        "t",
        "--from",
        "offset:3",
        "--epoch",
        "0000000000000007",
        "--count",
        "1",
        "-o",
        "json",
    ];
    let child = oyez(broker.port(), &arguments).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let (id, start, epoch) = peer.subscribe();
    assert_eq!(start, Start::Offset(Offset::new(3)));
    assert_eq!(epoch, Some(Epoch::new(7)));
    peer.confirm(id, 3);
    peer.deliver("t", 3, &[b"x"]);
    let output = output.join().unwrap();
    let row: serde_json::Value = serde_json::from_slice(succeeded(&output)).unwrap();
    assert_eq!(row["epoch"], "0000000000000007");
    let alone = run(1, &["sub", "t", "--epoch", "07"], b"");
    assert_eq!(alone.status.code(), Some(2), "{}", errors(&alone));
}

#[test]
fn a_line_that_is_too_long_is_named_by_its_number_and_can_be_skipped() {
    for size in [300 << 10, 2 << 20] {
        let mut input = b"1\n2\n".to_vec();
        input.resize(input.len() + size, b'x');
        input.extend_from_slice(b"\n4\n");
        let port = MemoryBroker::start().address.port();
        let output = run(port, &["pub", "-l", "t"], &input);
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("line 3 of standard input"), "{text}");
        assert!(text.contains("at most"), "{text}");
        assert!(text.contains("--skip-long"), "{text}");
        assert!(text.contains("2 messages were acknowledged"), "{text}");

        let port = MemoryBroker::start().address.port();
        let arguments = ["pub", "-l", "t", "--skip-long", "-o", "json"];
        let output = run(port, &arguments, &input);
        let summary: serde_json::Value = serde_json::from_slice(succeeded(&output)).unwrap();
        assert_eq!(summary["messages"], 3);
        assert_eq!(summary["skipped"], 1);
        let text = errors(&output);
        assert!(text.contains("line 3 of standard input"), "{text}");
        assert!(text.contains("1 line was skipped"), "{text}");
        let arguments = ["sub", "t", "--from", "earliest", "--count", "3"];
        assert_eq!(succeeded(&run(port, &arguments, b"")), b"1\n2\n4\n");
    }
}

#[test]
fn names_cannot_turn_the_text_around_or_hide_in_it() {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), &["topics"]).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let Heard::Topics { id, .. } = peer.next() else {
        panic!("topics should be asked for");
    };
    let name = "a\u{202e}b\u{200b}c\u{feff}\u{2028}";
    let topics = format!(
        r#"{{"topics":[{{"name":"{name}","durability":"synced","earliest":0,"next":2,"records":1,"bytes":96,"epoch":"07"}}]}}"#
    );
    peer.answer(id, false, &topics);
    let output = output.join().unwrap();
    let text = String::from_utf8(succeeded(&output).to_vec()).unwrap();
    let shown = r"a\u{202e}b\u{200b}c\u{feff}\u{2028}";
    assert!(text.contains(shown), "{text}");
}
