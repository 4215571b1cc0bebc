//! The command line `oyez`, as a shell runs it.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod shell;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use oyez_client::{GoodbyeCode, Outcome};
use oyez_protocol::event::Subscribed;
use oyez_protocol::message::{Headers, MessageRef, write_headers};
use shell::{errors, finish, oyez, run, succeeded};
use support::memory::MemoryBroker;
use support::{FakeBroker, Heard, confirmation, delivery_of};

#[test]
fn lines_come_back_exact_to_the_byte_whatever_they_are() {
    let port = MemoryBroker::start().address.port();
    let cases: [(&str, &[u8], &[u8]); 5] = [
        ("plain", b"a\nb\n", b"a\nb\n"),
        ("no-newline-at-the-end", b"a\nb", b"a\nb\n"),
        ("empty-lines", b"\n\na\n\n", b"\n\na\n\n"),
        ("crlf", b"a\r\n\r\nb\r", b"a\r\n\r\nb\r\n"),
        ("not-utf-8", b"\xff\xfe\0\n\xc3\n", b"\xff\xfe\0\n\xc3\n"),
    ];
    for (topic, input, expected) in cases {
        let published = run(port, &["pub", "-l", topic, "--batch", "2"], input);
        assert_eq!(
            succeeded(&published),
            b"",
            "{topic}: nothing on standard output"
        );
        let count = expected.iter().filter(|byte| **byte == b'\n').count();
        let arguments = [
            "sub",
            topic,
            "--from",
            "earliest",
            "--count",
            &count.to_string(),
        ];
        assert_eq!(succeeded(&run(port, &arguments, b"")), expected, "{topic}");
    }
}

#[test]
fn many_lines_come_back_in_order_from_the_beginning_and_from_the_middle() {
    let port = MemoryBroker::start().address.port();
    let lines: Vec<String> = (0..5000)
        .map(|n| format!("{{\"line\":{n},\"text\":\"oyez\"}}\n"))
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), lines.concat()).unwrap();
    let path = file.path().to_str().unwrap();
    let published = run(port, &["pub", "-l", "t", "--file", path, "-o", "json"], b"");
    let summary: serde_json::Value = serde_json::from_slice(succeeded(&published)).unwrap();
    assert_eq!(summary["messages"], 5000);
    assert_eq!(
        (&summary["offset_first"], &summary["offset_last"]),
        (&0.into(), &4999.into())
    );
    assert!(summary["ratio"].as_f64().unwrap() < 0.5, "{summary}");
    for (from, first) in [
        ("earliest", 0),
        ("offset:1234", 1234),
        ("offset:4999", 4999),
    ] {
        let count = (5000 - first).to_string();
        let received = run(port, &["sub", "t", "--from", from, "--count", &count], b"");
        assert!(
            succeeded(&received) == lines[first..].concat().as_bytes(),
            "{from}"
        );
    }
}

#[test]
fn a_message_is_an_argument_or_all_of_standard_input() {
    let broker = FakeBroker::new();
    for (arguments, input, payload) in [
        (&["pub", "t", "two words"][..], "", "two words"),
        (&["pub", "t"], "a\nb\n", "a\nb\n"),
        (&["pub", "t", "-"], "x", "x"),
        (&["pub", "t", ""], "x", ""),
    ] {
        let child = oyez(broker.port(), arguments).spawn().unwrap();
        let input = input.to_owned();
        let output = thread::spawn(move || finish(child, input.as_bytes()));
        let mut peer = broker.accept();
        let record = peer.record();
        assert_eq!(record.texts(), [payload]);
        peer.ack(record.correlation, 0);
        assert_eq!(peer.next(), Heard::Goodbye(GoodbyeCode::Done));
        succeeded(&output.join().unwrap());
    }
}

#[test]
fn key_headers_and_compression_follow_the_arguments() {
    let broker = FakeBroker::new();
    let arguments = [
        "pub",
        "t",
        "-l",
        "--key",
        "k",
        "--header",
        "a=1=2",
        "--header",
        "b=",
        "--no-compress",
    ];
    let child = oyez(broker.port(), &arguments).spawn().unwrap();
    let output = thread::spawn(move || finish(child, &[b'x'; 300]));
    let mut peer = broker.accept();
    let record = peer.record();
    assert_eq!(record.keys, [Some(b"k".to_vec())]);
    let headers = [("a", "1=2"), ("b", "")].map(|(n, v)| (n.into(), v.into()));
    assert_eq!(record.headers, [headers]);
    assert_eq!(record.bytes[5], 0, "stored");
    peer.ack(record.correlation, 0);
    succeeded(&output.join().unwrap());
}

#[test]
fn json_shows_all_of_a_message_and_bytes_as_base64() {
    let broker = FakeBroker::new();
    let arguments = ["sub", "t", "--count", "2", "-o", "json", "-v"];
    let child = oyez(broker.port(), &arguments).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 7);
    let mut encoded = Vec::new();
    write_headers(&[(b"h", b"v")], &mut encoded);
    let rich = MessageRef {
        key: Some(b"k"),
        headers: Headers::parse(&encoded).unwrap(),
        payload: "größe".as_bytes(),
    };
    let record = delivery_of("t", 7, &[rich, MessageRef::new(&[0xff, 0xfe])]);
    peer.send(|out| out.extend_from_slice(&record));
    let output = output.join().unwrap();
    let lines = String::from_utf8(succeeded(&output).to_vec()).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(
        lines,
        [
            r#"{"topic":"t","offset":7,"epoch":"0000000000000007","timestamp_ms":1700000000000,"key":"k","headers":[{"name":"h","value":"v"}],"payload":"größe"}"#,
            r#"{"topic":"t","offset":8,"epoch":"0000000000000007","timestamp_ms":1700000000000,"payload_base64":"//4="}"#,
        ]
    );
    assert_eq!(errors(&output), "subscribed to t at offset 7\n");
}

#[test]
fn a_message_is_printed_at_once_when_no_more_is_at_hand() {
    let broker = FakeBroker::new();
    let mut child = oyez(broker.port(), &["sub", "t"]).spawn().unwrap();
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    peer.deliver("t", 0, &[b"at once"]);
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "at once\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_signal_ends_a_subscription_quietly() {
    for signal in ["INT", "TERM"] {
        let broker = FakeBroker::new();
        let mut child = oyez(broker.port(), &["sub", "t"]).spawn().unwrap();
        let mut peer = broker.accept();
        let (id, ..) = peer.subscribe();
        peer.confirm(id, 0);
        peer.deliver("t", 0, &[b"1"]);
        let mut first = [0; 2];
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut first).unwrap();
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
        assert_eq!(peer.next(), Heard::Goodbye(GoodbyeCode::Done));
        let output = finish(child, b"");
        assert_eq!(
            (output.status.code(), errors(&output).as_str()),
            (Some(0), "")
        );
    }
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let broker = FakeBroker::new();
    let mut child = oyez(broker.port(), &["sub", "t"]).spawn().unwrap();
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    drop(child.stdout.take());
    peer.deliver("t", 0, &[b"nobody reads this"]);
    let output = finish(child, b"");
    assert_eq!(
        (output.status.code(), errors(&output).as_str()),
        (Some(0), "")
    );
}

#[test]
fn a_gap_is_printed_on_standard_error_and_not_among_the_messages() {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), &["sub", "t", "--count", "1"])
        .spawn()
        .unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    peer.gap("t", 0, 5);
    peer.deliver("t", 5, &[b"5"]);
    let output = output.join().unwrap();
    assert_eq!(succeeded(&output), b"5\n");
    assert!(
        errors(&output).contains("5 messages of `t` are missing"),
        "{}",
        errors(&output)
    );
}

#[test]
fn usage_errors_exit_with_2_before_anything_is_sent() {
    let port = MemoryBroker::start().address.port();
    for arguments in [
        &["pub"][..],
        &["pub", "t", "m", "-l"],
        &["pub", "t", "m", "--file", "f"],
        &["pub", "t", "m", "--batch", "0"],
        &["pub", "t", "m", "--header", "novalue"],
        &["pub", "a/#", "m"],
        &["pub", "", "m"],
        &["sub", "t", "--from", "sometime"],
        &["sub", "t", "--timeout", "5"],
        &["sub", "t", "--count", "0"],
        &["sub", "+"],
        &["--server", "http://x", "topics"],
        &["shout"],
    ] {
        let output = run(port, arguments, b"");
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            errors(&output)
        );
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn an_invalid_topic_is_a_usage_error_without_a_broker() {
    for arguments in [&["pub", "a/#", "m"][..], &["pub", "", "m"], &["sub", "+"]] {
        let output = run(1, arguments, b"");
        let text = errors(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains("topic") && text.contains("--help"), "{text}");
    }
}

#[test]
fn failures_exit_with_1_and_say_which_file_or_what_size() {
    let port = MemoryBroker::start().address.port();
    let missing = run(port, &["pub", "t", "--file", "/does/not/exist"], b"");
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        errors(&missing).contains("/does/not/exist"),
        "{}",
        errors(&missing)
    );
    for size in [300 << 10, 2 << 20] {
        let output = run(port, &["pub", "t"], &vec![b'x'; size]);
        assert_eq!(output.status.code(), Some(1));
        assert!(errors(&output).contains("at most") || errors(&output).contains("with -l"));
    }
}

#[test]
fn lines_before_one_that_cannot_be_read_are_published() {
    let port = MemoryBroker::start().address.port();
    let mut input = b"1\n2\n".to_vec();
    input.resize((1 << 20) + 100, b'x');
    let published = run(port, &["pub", "-l", "t", "--linger", "1h"], &input);
    assert_eq!(published.status.code(), Some(1));
    let text = errors(&published);
    assert!(text.contains("2 messages were acknowledged"), "{text}");
    assert!(text.contains("more than 1048576 bytes"), "{text}");
    let received = run(
        port,
        &["sub", "t", "--from", "earliest", "--count", "2"],
        b"",
    );
    assert_eq!(succeeded(&received), b"1\n2\n");
}

#[test]
fn a_command_that_cannot_connect_exits_with_3_and_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for arguments in [
        &["sub", "t"][..],
        &["pub", "t", "m"],
        &["stats"],
        &["topics"],
    ] {
        let output = run(port, arguments, b"");
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let text = errors(&output);
        assert!(
            text.contains(&port.to_string()) && text.contains("oyez-server"),
            "{text}"
        );
    }
}

#[test]
fn an_error_about_a_server_that_is_no_broker_does_not_advise_to_start_one() {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), &["sub", "t"]).spawn().unwrap();
    drop(broker.accept_unwelcomed());
    let output = finish(child, b"");
    let text = errors(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(!text.contains("oyez-server"), "{text}");
}

#[test]
fn who_is_refused_exits_with_4_and_says_why() {
    let broker = FakeBroker::new();
    let spawn = |arguments: &[&str]| {
        let child = oyez(broker.port(), arguments).spawn().unwrap();
        thread::spawn(move || finish(child, b""))
    };
    let unwelcome = spawn(&["sub", "t"]);
    let mut peer = broker.accept_unwelcomed();
    peer.goodbye(GoodbyeCode::Full, 1000, "10 of 10 connections are taken");
    let ahead = unwelcome.join().unwrap();
    assert_eq!(ahead.status.code(), Some(4), "{}", errors(&ahead));
    assert!(errors(&ahead).contains("10 of 10"));

    let ahead = spawn(&["sub", "t", "--from", "offset:99"]);
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    let refused = Subscribed {
        outcome: Outcome::OffsetAhead,
        ..confirmation(id, 0)
    };
    peer.send(|out| refused.encode(out));
    assert_eq!(ahead.join().unwrap().status.code(), Some(4));

    let full = spawn(&["pub", "t", "m"]);
    let mut peer = broker.accept();
    let record = peer.record();
    peer.publish_outcomes(&[(record.correlation, 0, Outcome::DiskFull)]);
    let full = full.join().unwrap();
    assert_eq!(full.status.code(), Some(4));
    assert!(errors(&full).contains("disk is full"), "{}", errors(&full));
}

#[test]
fn silence_before_the_count_is_reached_exits_with_5() {
    let broker = FakeBroker::new();
    let arguments = ["sub", "t", "--count", "2", "--timeout", "100ms"];
    let child = oyez(broker.port(), &arguments).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    peer.deliver("t", 0, &[b"only one"]);
    let output = output.join().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(output.stdout, b"only one\n", "what came is printed");
    assert!(errors(&output).contains("--timeout"), "{}", errors(&output));
}

#[test]
fn stats_and_topics_are_tables_for_people_and_json_for_programs() {
    let broker = FakeBroker::new();
    let ask = |arguments: &[&str], json: &str| {
        let child = oyez(broker.port(), arguments).spawn().unwrap();
        let output = thread::spawn(move || finish(child, b""));
        let mut peer = broker.accept();
        match peer.next() {
            Heard::Stats { id } | Heard::Topics { id, .. } => peer.answer(id, false, json),
            other => panic!("{other:?}"),
        }
        String::from_utf8(succeeded(&output.join().unwrap()).to_vec()).unwrap()
    };
    let stats = r#"{"connections":12345,"disk":"uring"}"#;
    assert_eq!(
        ask(&["stats"], stats),
        "connections  12,345\ndisk          uring\n"
    );
    assert_eq!(ask(&["stats", "-o", "json"], stats), format!("{stats}\n"));
    let topics = r#"{"topics":[{"name":"a/b","durability":"synced","earliest":0,"next":2,"records":1,"bytes":1096,"epoch":"07"}]}"#;
    assert_eq!(
        ask(&["topics"], topics),
        "TOPIC  DURABILITY  EARLIEST  NEXT  RECORDS  BYTES  EPOCH\n\
         a/b    synced             0     2        1  1,096  07\n"
    );
    assert_eq!(
        ask(&["topics", "-o", "json"], topics),
        format!("{topics}\n")
    );
}

#[test]
fn topics_are_asked_for_page_by_page() {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), &["topics", "-o", "json"])
        .spawn()
        .unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let topic = |name: &str| {
        format!(
            r#"{{"name":"{name}","durability":"synced","earliest":0,"next":2,"records":1,"bytes":96,"epoch":"07"}}"#
        )
    };
    for (after, more, name) in [("", true, "a"), ("a", false, "b")] {
        match peer.next() {
            Heard::Topics { id, after: asked } => {
                assert_eq!(asked, after);
                peer.answer(id, more, &format!(r#"{{"topics":[{}]}}"#, topic(name)));
            }
            other => panic!("{other:?}"),
        }
    }
    let all = format!("{{\"topics\":[{},{}]}}\n", topic("a"), topic("b"));
    assert_eq!(succeeded(&output.join().unwrap()), all.as_bytes());
}

#[test]
fn a_page_of_topics_that_comes_again_ends_the_listing() {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), &["topics"]).spawn().unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let page = r#"{"topics":[{"name":"a","durability":"synced","earliest":0,"next":2,"records":1,"bytes":96,"epoch":"07"}]}"#;
    for _ in 0..2 {
        match peer.next() {
            Heard::Topics { id, .. } => peer.answer(id, true, page),
            other => panic!("{other:?}"),
        }
    }
    let output = output.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = errors(&output);
    assert!(
        said.contains("after `a`") && said.contains("same version"),
        "{said}"
    );
}

#[test]
fn the_server_is_named_by_flag_before_environment() {
    let port = MemoryBroker::start().address.port();
    let server = format!("oyez://127.0.0.1:{port}");
    let output = run(1, &["--server", &server, "pub", "t", "m", "-v"], b"");
    succeeded(&output);
    assert!(
        errors(&output).starts_with("published 1 messages to t"),
        "{}",
        errors(&output)
    );
}

#[test]
fn help_teaches_with_examples() {
    for command in ["pub", "sub", "stats", "topics"] {
        let output = run(1, &[command, "--help"], b"");
        let text = String::from_utf8(succeeded(&output).to_vec()).unwrap();
        assert!(
            text.contains("Examples:") && text.contains("OYEZ_SERVER"),
            "{text}"
        );
    }
    assert!(
        String::from_utf8(run(1, &["--version"], b"").stdout)
            .unwrap()
            .starts_with("oyez ")
    );
}

#[test]
fn a_lost_connection_is_reported_and_the_subscription_goes_on() {
    let broker = FakeBroker::new();
    let child = oyez(broker.port(), &["sub", "t", "--count", "2"])
        .spawn()
        .unwrap();
    let output = thread::spawn(move || finish(child, b""));
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 0);
    peer.deliver("t", 0, &[b"0"]);
    drop(peer);
    let mut peer = broker.accept();
    let (id, ..) = peer.subscribe();
    peer.confirm(id, 1);
    peer.deliver("t", 1, &[b"1"]);
    let output = output.join().unwrap();
    assert_eq!(succeeded(&output), b"0\n1\n");
    assert!(
        errors(&output).contains("trying again in"),
        "{}",
        errors(&output)
    );
    assert!(peer.next_within(Duration::from_secs(10)).is_some());
}
