//! What pages may do that a browser on this machine shows: those of the broker itself, those of origins that it was told, and
//! those of any other site.

use testkit::http::{Connection, Events, ask, get};
use testkit::{Broker, Setup};

use crate::assert_is_empty;

const KNOWN: &str = "https://app.example.com";

fn broker() -> Broker {
    Setup::new()
        .set("memory_topics", "#")
        .set("hosts", "push.example.com,.example.org")
        .set("origins", KNOWN)
        .start()
}

#[test]
fn a_host_name_that_is_not_configured_is_refused_and_named() {
    let broker = broker();
    let mut connection = Connection::open(broker.address());
    for (host, status) in [
        ("localhost", 200),
        ("LOCALHOST.:7450", 200),
        ("127.0.0.1", 200),
        ("203.0.113.9:80", 200),
        ("[::1]:7450", 200),
        ("push.example.com", 200),
        ("Push.Example.Com:443", 200),
        ("a.b.example.org", 200),
        ("example.org", 421),
        ("evil.example", 421),
        ("evil.example:7450", 421),
        ("push.example.com.evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ] {
        let answer = connection.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, status, "{host:?}: {answer:?}");
        if status == 421 {
            assert!(
                answer.body.contains("put that name into `hosts`"),
                "{answer:?}"
            );
        }
    }
}

/// What a browser says of a page, whether the page may publish and read streams, and whether it may read answers.
const PAGES: &[(&str, bool, bool)] = &[
    ("", true, false),
    ("Origin: http://localhost\r\n", true, false),
    ("Origin: https://app.example.com\r\n", true, true),
    (
        "Origin: https://app.example.com\r\nSec-Fetch-Site: cross-site\r\n",
        true,
        true,
    ),
    ("Sec-Fetch-Site: same-origin\r\n", true, false),
    ("Sec-Fetch-Site: same-site\r\n", false, false),
    ("Sec-Fetch-Site: none\r\n", true, false),
    ("Sec-Fetch-Site: cross-site\r\n", false, false),
    ("Origin: http://evil.example\r\n", false, false),
    (
        "Origin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n",
        false,
        false,
    ),
    (
        "Origin: https://app.example.com.evil.example\r\n",
        false,
        false,
    ),
    ("Origin: http://app.example.com\r\n", false, false),
    ("Origin: https://localhost\r\n", true, false),
    ("Origin: http://localhost:3000\r\n", false, false),
    ("Origin: null\r\n", false, false),
    ("Origin: \r\n", false, false),
    ("Origin: file://\r\n", false, false),
    (
        "Origin: https://app.example.com, http://evil.example\r\n",
        false,
        false,
    ),
];

#[test]
fn pages_of_other_sites_publish_nothing_and_read_nothing_unless_their_origin_is_known() {
    let broker = broker();
    let mut connection = Connection::open(broker.address());
    for (page, may_ask, may_read) in PAGES {
        let topic = if *may_ask { "/demo" } else { "/refused" };
        let fields = format!("{page}Content-Length: 1\r\n");
        let mut answers = vec![connection.ask(ask("POST", topic, &fields, "x"))];
        let request = ask("GET", &format!("{topic}/sse"), page, "");
        if *may_ask {
            let mut streaming = Connection::open(broker.address());
            streaming.send(request);
            let _stream = Events::begun(streaming);
        } else {
            answers.push(connection.ask(request));
        }
        for answer in &answers {
            let expected = if *may_ask { 200 } else { 403 };
            assert_eq!(answer.status, expected, "{page:?}: {answer:?}");
        }
        // What changes nothing is open to all; whether its answer may be read is the browser's to hold.
        answers.push(connection.ask(ask("GET", "/", page, "")));
        answers.push(connection.ask(ask("OPTIONS", topic, page, "")));
        assert_eq!(answers[answers.len() - 2].status, 200, "{page:?}");
        for answer in &answers {
            let readers = answer.field("access-control-allow-origin");
            assert_eq!(readers, may_read.then_some(KNOWN), "{page:?}: {answer:?}");
            assert_eq!(answer.field("vary"), may_read.then_some("Origin"));
        }
    }
    assert_is_empty(&broker, "/refused");
}

#[test]
fn a_preflight_of_a_known_origin_learns_what_it_may_ask_and_others_learn_nothing() {
    let broker = broker();
    let mut connection = Connection::open(broker.address());
    for (origin, is_known) in [
        (KNOWN, true),
        ("http://evil.example", false),
        ("null", false),
    ] {
        let fields = format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-key\r\n"
        );
        let answer = connection.ask(ask("OPTIONS", "/demo", &fields, ""));
        assert_eq!(answer.status, 204, "{answer:?}");
        let told = |name: &str| answer.field(&format!("access-control-{name}"));
        let expected = |value| is_known.then_some(value);
        assert_eq!(told("allow-origin"), expected(KNOWN));
        assert_eq!(
            told("allow-methods"),
            expected("GET, HEAD, POST, PUT, OPTIONS")
        );
        assert_eq!(told("allow-headers"), expected("*, Authorization"));
        assert_eq!(told("max-age"), expected("600"));
        assert_eq!(told("allow-credentials"), None);
    }
    // A host that is none of the broker's says nothing about itself.
    let foreign =
        format!("OPTIONS /demo HTTP/1.1\r\nHost: evil.example\r\nOrigin: {KNOWN}\r\n\r\n");
    assert_eq!(connection.ask(foreign).status, 421);
    assert_eq!(connection.ask(get("/")).status, 200);
}
