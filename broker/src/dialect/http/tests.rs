use oyez_protocol::limits::Limits;
use oyez_protocol::lz4;
use oyez_protocol::message::{MessageRef, Messages};
use oyez_protocol::record::{Codec, Record};

use super::*;
use crate::dialect::command::{Command, DecodeProgress};
use crate::dialect::exchange::Wants;
use crate::dialect::rules::Rules;

pub(super) fn rules() -> Rules {
    Rules {
        hosts: vec!["push.example.com".to_owned()],
        origins: vec!["https://app.example.com".to_owned()],
        limits: Limits::DEFAULT,
    }
}

/// A request in a line of words.
fn read(input: &[u8]) -> String {
    let mut scratch = Scratch::default();
    let front = decode(
        input,
        &mut DecodeProgress::default(),
        (&rules(), false),
        None,
        &mut scratch,
    );
    let Front::Request {
        commands,
        exchange,
        size,
        ..
    } = front
    else {
        let Front::Need { total, expects, .. } = front else {
            unreachable!()
        };
        let more = total - input.len();
        return format!("needs {more}{}", if expects { ", expects" } else { "" });
    };
    let told = (0..commands.len()).map(|index| match commands.get(index) {
        Command::Publish(record) => tell_record(&record),
        Command::Refuse(refusal) => format!("{}: {}", refusal.status.code, refusal.message),
        Command::Say(text) => format!("says {:?}", text.lines().next().unwrap_or_default()),
        other => panic!("{other:?}"),
    });
    let mut line = told.collect::<Vec<String>>().join("; ");
    for (is_so, word) in [
        (exchange.closes, "closes"),
        (exchange.is_head, "head"),
        (exchange.is_1_0, "1.0"),
        (exchange.wants == Wants::Nothing, "waits not"),
        (size < input.len(), "more"),
    ] {
        if is_so {
            line = format!("{line}, {word}");
        }
    }
    line
}

fn tell_record(record: &Record<'_>) -> String {
    let mut scratch = lz4::Scratch::new();
    let raw = scratch.open(record).expect("it was built here");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut line = format!("{} <-", record.topic());
    for message in Messages::new(raw, record.count()) {
        let MessageRef {
            key,
            headers,
            payload,
        } = message.expect("it was built here");
        line = format!("{line} {:?}", text(payload));
        if let Some(key) = key {
            line = format!("{line} key {:?}", text(key));
        }
        for (name, value) in headers {
            line = format!("{line} {}={:?}", text(name), text(value));
        }
    }
    line
}

/// A request with a host, and these lines of its head.
pub(super) fn request(first: &str, fields: &str, body: &str) -> Vec<u8> {
    let fields = fields.replace('\n', "\r\n");
    format!("{first} HTTP/1.1\r\nHost: localhost:7450\r\n{fields}\r\n{body}").into_bytes()
}

fn assert_reads(cases: &[(&str, &str, &str, &str)]) {
    for (first, fields, body, line) in cases {
        assert_eq!(
            read(&request(first, fields, body)),
            *line,
            "{first} {fields:?} {body:?}"
        );
    }
}

#[test]
fn a_post_or_a_put_publishes_its_body() {
    assert_reads(&[
        (
            "POST /demo",
            "Content-Length: 5\n",
            "hello",
            "demo <- \"hello\"",
        ),
        (
            "PUT /demo",
            "Content-Length: 5\n",
            "hello",
            "demo <- \"hello\"",
        ),
        ("POST /a/b", "Content-Length: 0\n", "", "a/b <- \"\""),
        ("POST /demo", "", "", "demo <- \"\""),
        ("POST /a%20b%2Fc%c3%a9", "", "", "a b/cé <- \"\""),
        ("POST /demo?ack=none", "", "", "demo <- \"\", waits not"),
        ("POST /demo?ack=durable&", "", "", "demo <- \"\""),
        ("POST http://127.0.0.1/demo", "", "", "demo <- \"\""),
        (
            "POST /demo",
            "X-Key: k 1 \nx-header-Color: red\nX-HEADER-a: \nX-Header-: no\nX-Other: no\n",
            "",
            "demo <- \"\" key \"k 1\" Color=\"red\" a=\"\"",
        ),
        (
            "POST /demo",
            "Transfer-Encoding: Chunked\n",
            "3\r\nhel\r\n0002;x=\"1\"\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\nrest",
            "demo <- \"hello\", more",
        ),
        ("POST /json", "", "", "json <- \"\""),
    ]);
}

#[test]
fn a_record_is_compressed_where_that_makes_it_smaller() {
    for (body, codec) in [
        ("a".repeat(1_000), Codec::Lz4),
        ("abcdefg".to_owned(), Codec::Stored),
    ] {
        let fields = format!("Content-Length: {}\n", body.len());
        let input = request("POST /demo", &fields, &body);
        let mut scratch = Scratch::default();
        let front = decode(
            &input,
            &mut DecodeProgress::default(),
            (&rules(), false),
            None,
            &mut scratch,
        );
        let Front::Request {
            commands, encoded, ..
        } = front
        else {
            panic!("{front:?}");
        };
        let Command::Publish(record) = commands.get(0) else {
            panic!("{commands:?}");
        };
        assert_eq!((record.codec(), encoded), (codec, Some(body.len())));
        assert!(Record::verify(record.bytes(), &Limits::DEFAULT).is_ok());
        assert_eq!(tell_record(&record), format!("demo <- {body:?}"));
    }
}

#[test]
fn requests_follow_one_another_and_say_whether_more_will() {
    assert_reads(&[
        ("GET /", "", "GET / HTTP/1.1", "says \"Oyez 0.1.0\", more"),
        (
            "HEAD /",
            "Connection: Keep-Alive\n",
            "",
            "says \"Oyez 0.1.0\", head",
        ),
        (
            "GET /",
            "Connection: x, Close\n",
            "",
            "says \"Oyez 0.1.0\", closes",
        ),
        ("OPTIONS *", "", "", "says \"\""),
        (
            "GET /",
            "Content-Length: 3\n",
            "abcd",
            "says \"Oyez 0.1.0\", more",
        ),
    ]);
    let old = |fields: &str| read(format!("GET / HTTP/1.0\r\n{fields}\r\n").as_bytes());
    assert_eq!(old(""), "says \"Oyez 0.1.0\", closes, 1.0");
    assert_eq!(
        old("Connection: keep-alive\r\n"),
        "says \"Oyez 0.1.0\", 1.0"
    );
    assert_eq!(
        old("Expect: 100-continue\r\n"),
        "says \"Oyez 0.1.0\", closes, 1.0"
    );
    assert_eq!(
        read(b"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        "says \"Oyez 0.1.0\""
    );
}

#[test]
fn a_request_that_is_cut_anywhere_is_waited_for() {
    let sized = request("POST /demo", "Content-Length: 5\n", "hello");
    let chunked = request(
        "POST /demo",
        "Transfer-Encoding: chunked\n",
        "5\r\nhello\r\n0\r\nA: b\r\n\r\n",
    );
    for whole in [sized, chunked] {
        let (mut scratch, mut progress) = (Scratch::default(), DecodeProgress::default());
        for cut in 0..whole.len() {
            let input = &whole[..cut];
            let mut fresh = DecodeProgress::default();
            for progress in [&mut progress, &mut fresh] {
                let front = decode(input, progress, (&rules(), false), None, &mut scratch);
                let Front::Need { total, .. } = front else {
                    panic!("{cut} bytes: {front:?}");
                };
                assert!(
                    (cut + 1..=whole.len()).contains(&total),
                    "{cut} bytes: {total}"
                );
            }
        }
        assert_eq!(read(&whole), "demo <- \"hello\"");
        let front = decode(&whole, &mut progress, (&rules(), false), None, &mut scratch);
        assert!(matches!(front, Front::Request { size, .. } if size == whole.len()));
    }
}

#[test]
fn a_client_that_waits_for_it_is_told_once_that_its_body_is_wanted() {
    let fields = "Content-Length: 5\nExpect: 100-Continue\n";
    let input = request("POST /demo", fields, "");
    assert_eq!(read(&input), "needs 5, expects");
    let mut progress = DecodeProgress {
        continued: true,
        ..DecodeProgress::default()
    };
    let mut scratch = Scratch::default();
    let front = decode(&input, &mut progress, (&rules(), false), None, &mut scratch);
    assert!(matches!(front, Front::Need { expects: false, .. }));
    assert_reads(&[
        ("POST /demo", fields, "hello", "demo <- \"hello\""),
        // The body of a request that is refused anyway is not asked for.
        (
            "POST /api/demo",
            fields,
            "",
            "404: paths below api, console, livez, metrics and readyz are not topics, closes",
        ),
    ]);
}

/// What two programs could read in two ways, what has no end, and what makes no sense: answered, and nothing after it is read.
#[test]
fn malformed_heads_end_the_connection() {
    let long = "a".repeat(20_000);
    let many = "A: b\r\n".repeat(65);
    let cases: &[(String, u16)] = &[
        ("GET / HTTP/1.1\nHost: localhost\n\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\nA: b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA: b\rc\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA: b\r\n c\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA : b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\n: b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA\0: b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nA: \u{1}\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), 400),
        ("GET http:/// HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET http://a@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET demo HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET /\r\nHost: localhost\r\n\r\n".into(), 400),
        ("GET / HTTP/2.0\r\nHost: localhost\r\n\r\n".into(), 505),
        ("GET / HTTP/1.2\r\nHost: localhost\r\n\r\n".into(), 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 505),
        (format!("GET /{long} HTTP/1.1\r\n"), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", &long[..9_000]), 414),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), 431),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n\r\na".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: +1\r\n\r\na".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x1\r\n\r\na".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: \r\n\r\na".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\na".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\na".into(), 413),
        (
            "POST /d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            400,
        ),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(), 501),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n".into(), 501),
        (
            "POST /d HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n".into(),
            400,
        ),
        ("POST /d HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("POST /d HTTP/1.1\r\nHost: localhost\r\nExpect: 200-ok\r\n\r\n".into(), 417),
    ];
    for (input, code) in cases {
        let line = read(input.as_bytes());
        let is_it = line.starts_with(&code.to_string()) && line.ends_with(", closes");
        assert!(is_it, "{:?} is {line}", &input[..input.len().min(80)]);
    }
}

#[test]
fn malformed_chunks_end_the_connection() {
    let long = "0".repeat(300);
    let trailers = "A: b\r\n".repeat(1_000);
    for body in [
        "\r\n".to_owned(),
        "x\r\n".to_owned(),
        "-1\r\n".to_owned(),
        "0x5\r\nhello\r\n".to_owned(),
        "5 5\r\nhello\r\n".to_owned(),
        "5\nhello\r\n".to_owned(),
        "5\rhello\r\n".to_owned(),
        "5;a\nb\r\nhello\r\n".to_owned(),
        "5\u{c};a\r\nhello\r\n".to_owned(),
        "5\r\nhelloX\r\n".to_owned(),
        "5\r\nhello\n0\r\n\r\n".to_owned(),
        "000000005\r\nhello\r\n".to_owned(),
        "ffffffffffffffffff\r\n".to_owned(),
        format!("{long}\r\n"),
        "0\r\nA: b\n\r\n".to_owned(),
        format!("0\r\n{trailers}"),
    ] {
        let line = read(&request(
            "POST /demo",
            "Transfer-Encoding: chunked\n",
            &body,
        ));
        let is_it = line.starts_with("400: ") && line.ends_with(", closes");
        assert!(is_it, "{:?} is {line}", &body[..body.len().min(40)]);
    }
    let large = "ffffff\r\n".to_owned();
    let line = read(&request(
        "POST /demo",
        "Transfer-Encoding: chunked\n",
        &large,
    ));
    assert!(line.starts_with("413: "), "{line}");
}

/// Bytes that are not payload are kept until the body is whole, too.
#[test]
fn chunks_with_little_payload_and_much_around_it_end_the_connection() {
    let max = rules().body_size_max();
    let chunk = format!("1;{}\r\na\r\n", "b".repeat(250));
    let (mut scratch, mut progress) = (Scratch::default(), DecodeProgress::default());
    let mut input = request("POST /demo", "Transfer-Encoding: chunked\n", "");
    let front = loop {
        assert!(input.len() <= 2 * max, "{} bytes are kept", input.len());
        input.extend_from_slice(chunk.repeat(100).as_bytes());
        match decode(&input, &mut progress, (&rules(), false), None, &mut scratch) {
            Front::Need { .. } => {}
            front => break format!("{front:?}"),
        }
    };
    assert!(
        front.contains("413") && front.contains("closes: true"),
        "{front}"
    );
}

#[test]
fn a_request_that_is_not_served_is_answered_with_why_and_the_connection_goes_on() {
    for (first, fields, code) in [
        ("GET /demo", "", 404),
        ("GET /favicon.ico", "", 404),
        ("DELETE /demo", "", 405),
        ("HEAD /demo/sse", "", 405),
        ("TRACE /", "", 405),
        ("BREW /pot", "", 501),
        ("POST /", "", 400),
        ("POST /api/v2/publish", "", 404),
        ("POST /metrics", "", 404),
        ("POST /demo/sse", "", 405),
        ("POST /demo/ws", "", 405),
        ("POST /a%2", "", 400),
        ("POST /a%zz", "", 400),
        ("POST /a%00b", "", 400),
        ("POST /a%ff", "", 400),
        ("POST /a+b", "", 400),
        ("POST /a%23", "", 400),
        ("POST /demo?ack=maybe", "", 400),
        ("POST /demo?akc=none", "", 400),
        ("POST /demo?ack=%", "", 400),
    ] {
        let line = read(&request(first, fields, ""));
        assert!(line.starts_with(&code.to_string()), "{first} is {line}");
        assert!(!line.contains("closes"), "{first} is {line}");
    }
}

#[test]
fn a_name_that_the_broker_was_not_told_is_refused() {
    let ask = |host: &str| read(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
    assert_eq!(ask("push.example.com"), "says \"Oyez 0.1.0\"");
    let said = "421: this broker is not asked as \"evil.example\"; put that name into `hosts`";
    assert_eq!(ask("evil.example"), said);
    assert!(ask("").starts_with("421: "));
    // The target counts where it names the host, too.
    let absolute = "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(read(absolute.as_bytes()), said);
}

#[test]
fn pages_of_other_sites_publish_nothing_unless_their_origin_is_known() {
    for (fields, is_allowed) in [
        ("", true),
        ("Origin: http://localhost:7450\n", true),
        ("Origin: https://app.example.com\n", true),
        ("Sec-Fetch-Site: same-origin\n", true),
        ("Sec-Fetch-Site: none\n", true),
        (
            "Origin: https://app.example.com\nSec-Fetch-Site: cross-site\n",
            true,
        ),
        ("Origin: http://evil.example\n", false),
        ("Origin: null\n", false),
        ("Origin: \u{ff}\n", false),
        ("Sec-Fetch-Site: cross-site\n", false),
    ] {
        let line = read(&request("POST /demo", fields, ""));
        let expected = if is_allowed { "demo <- " } else { "403: " };
        assert!(line.starts_with(expected), "{fields:?} is {line}");
        // Requests that change nothing, and whose answers pages may not read, are open.
        assert_eq!(read(&request("GET /", fields, "")), "says \"Oyez 0.1.0\"");
    }
}

/// A question about the broker, in a line of words.
fn read_inquiry(target: &str, is_operators: bool) -> String {
    let input = request(&format!("GET {target}"), "", "");
    let mut scratch = Scratch::default();
    let means = (&rules(), is_operators);
    match decode(
        &input,
        &mut DecodeProgress::default(),
        means,
        None,
        &mut scratch,
    ) {
        Front::Request {
            commands: Commands::One(Command::Refuse(refusal)),
            ..
        } => refusal.status.code.to_string(),
        Front::Request { commands, .. } => format!("{:?}", commands.get(0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn questions_about_the_broker_are_for_the_operators_address() {
    for (target, command) in [
        ("/livez", "Health { ready: false }"),
        ("/readyz", "Health { ready: true }"),
        ("/metrics", "Metrics"),
        ("/api/v1/stats", "Query { request: 0, question: Stats }"),
    ] {
        assert_eq!(read_inquiry(target, true), command);
        assert_eq!(read_inquiry(target, false), "404");
        assert_eq!(read_inquiry(&format!("{target}?a=b"), true), "400");
    }
    for target in [
        "/api",
        "/api/",
        "/api/v1",
        "/api/v2/stats",
        "/livez/",
        "/metrics/a",
    ] {
        assert_eq!(read_inquiry(target, true), "404", "{target}");
    }
}

#[test]
fn topics_are_listed_at_every_address() {
    for is_operators in [true, false] {
        let ask = |target: &str| read_inquiry(target, is_operators);
        let topics =
            |after| format!("Query {{ request: 0, question: Topics {{ after: {after:?} }} }}");
        assert_eq!(ask("/api/v1/topics"), topics(""));
        assert_eq!(ask("/api/v1/topics?after=a%20b/c"), topics("a b/c"));
        assert_eq!(ask("/api/v1/topics?after=%23"), "400");
        assert_eq!(ask("/api/v1/topics?before=a"), "400");
        let one = "Topic { request: 0, topic: \"a b/c\" }";
        assert_eq!(ask("/api/v1/topics/a%20b/c"), one);
        for bad in [
            "/api/v1/topics/",
            "/api/v1/topics/a%2",
            "/api/v1/topics/a%23",
            "/api/v1/topics/a?b=c",
        ] {
            assert_eq!(ask(bad), "400", "{bad}");
        }
    }
}

fn publish_json(body: &str) -> String {
    let fields = format!("Content-Length: {}\n", body.len());
    read(&request("POST /api/v1/publish", &fields, body))
}

#[test]
fn messages_in_json_are_published_those_of_a_topic_together() {
    let one = r#"{"topic":"a","payload":"x"}"#;
    assert_eq!(publish_json(one), "a <- \"x\"");
    let full = r#"{"topic":"a/b","payload":"","key":"k","headers":{"b":"2","a":"1"}}"#;
    assert_eq!(publish_json(full), "a/b <- \"\" key \"k\" a=\"1\" b=\"2\"");
    assert_eq!(
        publish_json(r#"{"topic":"a","payload_base64":"aGk="}"#),
        "a <- \"hi\""
    );
    let three = [
        one,
        r#"{"topic":"b","payload":"y"}"#,
        r#"{"topic":"a","payload":"z"}"#,
    ];
    let all = "a <- \"x\" \"z\"; b <- \"y\"";
    assert_eq!(publish_json(&format!("[{}]", three.join(","))), all);
    assert_eq!(publish_json(&three.join("\n")), all);
    assert_eq!(publish_json(&format!(" \n{}\r\n", three.join(" "))), all);
    let escaped = r#"{"topic":"\u00e9","payload":"a\nb"}"#;
    assert_eq!(publish_json(escaped), "\u{e9} <- \"a\\nb\"");
}

#[test]
fn messages_that_no_record_has_room_for_together_are_several_records() {
    let payload = "abc".repeat(30_000);
    let row = format!("{{\"topic\":\"a\",\"payload\":\"{payload}\"}}");
    let body = vec![row; 5].join("\n");
    let line = publish_json(&body);
    assert_eq!(line.matches("a <- ").count(), 3);
    assert_eq!(line.matches(&payload).count(), 5);
}

#[test]
fn a_malformed_batch_is_refused_as_a_whole_and_the_answer_says_which_message_is_wrong() {
    let good = r#"{"topic":"a","payload":"x"}"#;
    for (bad, why) in [
        (
            r#"{"topic":"a"}"#,
            "message 1: it has to have payload or payload_base64",
        ),
        (
            r#"{"topic":"a","payload":"","payload_base64":""}"#,
            "message 1: it has to have",
        ),
        (
            r#"{"topic":"a","payload_base64":"-"}"#,
            "message 1: payload_base64 is not base64",
        ),
        (r#"{"topic":"","payload":""}"#, "message 1: "),
        (r#"{"topic":"a+","payload":""}"#, "message 1: "),
        (
            r#"{"topic":"$a","payload":""}"#,
            "message 1: topics that begin with $",
        ),
        (
            r#"{"topic":"a","payload":"","color":"red"}"#,
            "the body is not messages in JSON: unknown field",
        ),
        (
            r#"{"topic":"a","payload":5}"#,
            "the body is not messages in JSON",
        ),
        (
            r#"{"topic":"a","payload":"""#,
            "the body is not messages in JSON",
        ),
        ("5", "the body is not messages in JSON"),
        (
            r#"{"topic":"api/x","payload":""}"#,
            "message 1: paths below api",
        ),
        (
            r#"{"topic":"a/json","payload":""}"#,
            "message 1: paths that end in json",
        ),
    ] {
        for body in [format!("{good}\n{bad}"), format!("[{good},{bad}]")] {
            let line = publish_json(&body);
            assert!(
                line.starts_with("40") && line.contains(why),
                "{body} is {line}"
            );
        }
    }
}

#[test]
fn a_batch_has_messages_and_not_too_many() {
    for nothing in ["", "[]", " \n"] {
        assert_eq!(publish_json(nothing), "400: there is no message to publish");
    }
    let large = format!(
        "{{\"topic\":\"a\",\"payload\":\"{}\"}}",
        "x".repeat(270_000)
    );
    assert!(publish_json(&large).starts_with("413: message 0: "));
    let row = |topic| format!("{{\"topic\":\"t{topic}\",\"payload\":\"\"}}");
    let many: Vec<String> = (0..1_025).map(row).collect();
    assert!(publish_json(&many.join("\n")).starts_with("400: message 1024: "));
    let rows = vec![r#"{"topic":"a","payload":""}"#; 8_193].join("\n");
    assert!(publish_json(&rows).starts_with("400: message 8192: "));
    assert_eq!(
        publish_json(&many[1..].join("\n")).matches(" <- ").count(),
        1_024
    );
}

#[test]
fn a_sentence_does_not_quote_all_of_a_body() {
    for body in [
        format!("\"{}\"", "\u{7f}".repeat(100_000)),
        format!("{{\"{}\":1}}", "a".repeat(100_000)),
        format!("[\"{}\"]", "\u{e9}".repeat(100_000)),
    ] {
        let line = publish_json(&body);
        assert!(
            line.starts_with("400: the body is not messages in JSON"),
            "{}",
            &line[..60]
        );
        assert!(line.len() < 400, "{} bytes", line.len());
    }
}
