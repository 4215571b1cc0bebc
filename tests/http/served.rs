//! Requests that are answered, whatever the answer is, and behind which the connection goes on or does not, as HTTP says.

use testkit::Start;
use testkit::http::{Connection, End, Events, ask, get, post};
use testkit::{Broker, Outcome};

use crate::{Bystander, assert_is_empty, broker};

/// Asks on one connection, then asks on it again: the second answer comes.
fn goes_on_behind(broker: &Broker, request: &str, status: u16) {
    let mut connection = Connection::open(broker.address());
    connection.send(request.to_owned() + &get("/"));
    let answer = connection.answer();
    assert_eq!(answer.status, status, "{request:?}: {answer:?}");
    assert!(!answer.closes(), "{request:?}: {answer:?}");
    let next = connection.answer();
    assert!(next.body.starts_with("Oyez "), "{request:?}: {next:?}");
    connection.shut();
    assert_eq!(connection.end(), (Vec::new(), End::Closed));
}

#[test]
fn what_is_refused_for_what_it_asks_leaves_the_connection_open() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let large = "x".repeat(300_000);
    for (method, target, body, status) in [
        ("GET", "/demo", "", 404),
        ("GET", "/demo", "a body that nobody wants", 404),
        ("GET", "/favicon.ico", "", 404),
        ("GET", "*", "", 404),
        ("DELETE", "/demo", "", 405),
        ("PATCH", "/demo", "a body", 405),
        ("TRACE", "/", "", 405),
        ("BREW", "/pot", "", 501),
        ("POST", "/", "", 400),
        ("POST", "/api/v2/publish", "a body", 404),
        ("POST", "/metrics", "", 404),
        ("POST", "/demo/sse", "", 405),
        ("POST", "/demo/ws", "", 405),
        ("POST", "/a%2", "", 400),
        ("POST", "/a%zz", "", 400),
        ("POST", "/a%00", "", 400),
        ("POST", "/a%0d%0ab", "", 200),
        ("POST", "/a/+", "", 400),
        ("POST", "/$SYS/x", "", 403),
        ("POST", "/demo?ack=maybe", "", 400),
        ("POST", "/demo?limit=1", "", 400),
        ("POST", "/demo?ack=none", "taken", 202),
        ("POST", "/demo?ack=durable", "placed", 200),
        ("PUT", "/demo#part", "not placed", 400),
        ("POST", "*", "not placed", 400),
        ("POST", "/demo", large.as_str(), 413),
        ("GET", "/demo/sse?from=now", "", 400),
        ("GET", "/demo/sse?from=offset:99", "", 409),
        ("GET", "/demo/sse?last_event_id=nonsense", "", 400),
        ("GET", "/$SYS/sse", "", 403),
    ] {
        let length = format!("Content-Length: {}\r\n", body.len());
        let request = ask(method, target, &length, body);
        goes_on_behind(&broker, &request, status);
        bystander.goes_on(&broker);
    }
}

#[test]
fn an_answer_to_a_head_or_to_options_has_no_body_and_others_follow_it() {
    let broker = broker();
    let mut connection = Connection::open(broker.address());
    for target in ["/", "/nothing"] {
        let whole = connection.ask(get(target));
        connection.send(ask("HEAD", target, "", "") + &get("/"));
        let head = connection.answer_to_head();
        assert_eq!(head.status, whole.status);
        assert_eq!(head.field("content-length"), whole.field("content-length"));
        assert!(connection.answer().body.starts_with("Oyez "));
    }
    // The head alone is no stream. Topics may be called as their forms are.
    for (target, status) in [
        ("/demo/sse", 405),
        ("/api/v1/sse?topic=demo", 405),
        ("/api/v1/topics/demo/json", 404),
    ] {
        connection.send(ask("HEAD", target, "", ""));
        assert_eq!(connection.answer_to_head().status, status, "{target}");
    }
    for target in ["*", "/", "/demo"] {
        let options = connection.ask(ask("OPTIONS", target, "", ""));
        assert_eq!((options.status, &*options.body), (204, ""));
        assert_eq!(
            options.field("allow"),
            Some("GET, HEAD, POST, PUT, OPTIONS")
        );
        assert_eq!(options.field("content-length"), None);
    }
}

#[test]
fn the_first_version_is_answered_once_unless_it_asks_for_more() {
    let broker = broker();
    let old = |fields: &str| format!("POST /demo HTTP/1.0\r\n{fields}Content-Length: 2\r\n\r\nhi");
    let behind = get("/");
    for (fields, connection_is) in [
        ("", "close"),
        ("Connection: close\r\n", "close"),
        ("Connection: keep-alive, close\r\n", "close"),
        ("Expect: 100-continue\r\n", "close"),
        ("Connection: Keep-Alive\r\n", "keep-alive"),
    ] {
        let mut connection = Connection::open(broker.address());
        connection.send(old(fields) + &behind);
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{fields:?}");
        assert_eq!(
            answer.field("connection"),
            Some(connection_is),
            "{fields:?}"
        );
        if connection_is == "keep-alive" {
            assert!(connection.answer().body.starts_with("Oyez "));
            connection.shut();
        }
        assert_eq!(connection.end(), (Vec::new(), End::Closed), "{fields:?}");
    }
}

#[test]
fn a_client_that_asks_for_the_end_gets_it_behind_its_answer_and_no_other() {
    let broker = broker();
    for fields in [
        "Connection: close\r\n",
        "Connection: x,CLOSE\r\nContent-Length: 0\r\n",
    ] {
        let mut connection = Connection::open(broker.address());
        let last = ask("POST", "/demo", fields, "");
        connection.send(last + &post("/smuggled", "x"));
        let answer = connection.answer();
        assert!(answer.status == 200 && answer.closes(), "{answer:?}");
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
    }
    assert_is_empty(&broker, "/smuggled");
}

#[test]
fn a_target_may_name_its_host_and_then_that_one_counts() {
    let broker = broker();
    for (target, host, status) in [
        ("http://localhost/demo", "localhost", 200),
        ("HTTP://127.0.0.1:7450/demo", "evil.example", 200),
        ("https://[::1]/demo", "localhost", 200),
        ("http://evil.example/demo", "localhost", 421),
        ("//evil.example/demo", "localhost", 200), // A path whose first part is empty.
    ] {
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
        goes_on_behind(&broker, &request, status);
    }
}

#[test]
fn a_body_that_is_asked_for_first_is_published_and_one_that_is_refused_is_not_asked_for() {
    let broker = broker();
    let expects = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    let mut connection = Connection::open(broker.address());
    for offset in 0..2 {
        connection.send(ask("POST", "/demo", expects, ""));
        assert_eq!(connection.answer().status, 100);
        let answer = connection.ask("hello");
        assert_eq!((answer.status, answer.offset()), (200, Some(offset)));
    }
    // A client that sends the body at once is not asked for it.
    let answer = connection.ask(ask("POST", "/demo", expects, "hello"));
    assert_eq!((answer.status, answer.offset()), (200, Some(2)));
    let large = "Expect: 100-continue\r\nContent-Length: 99999999\r\n";
    let foreign = format!("{expects}Origin: http://evil.example\r\n");
    for (target, fields, status) in [
        ("/api/refused", expects, 404),
        ("/refused/sse", expects, 405),
        ("/refused", large, 413),
        ("/refused", &*foreign, 403),
        (
            "/refused",
            "Expect: 102-processing\r\nContent-Length: 5\r\n",
            417,
        ),
    ] {
        let mut connection = Connection::open(broker.address());
        let answer = connection.ask(ask("POST", target, fields, ""));
        assert_eq!(answer.status, status, "{target} {fields:?}");
        // Whether the body comes cannot be known: nothing more is read.
        assert!(answer.closes(), "{answer:?}");
        connection.send(post("/refused", "x"));
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
    }
    assert_is_empty(&broker, "/refused");
}

#[test]
fn garbage_behind_a_request_for_a_stream_is_not_read_and_the_stream_goes_on() {
    let broker = broker();
    let mut publisher = broker.connect();
    // Topics of every shard: where a stream begins is known at once, or only when another shard has answered.
    for number in 0..16 {
        let topic = format!("streams/{number}");
        let mut connection = Connection::open(broker.address());
        let garbage = [
            "garbage\r\n\r\n\0",
            &*post("/smuggled", "x"),
            &"G".repeat(100_000),
        ];
        connection.send(get(&format!("/{topic}/sse")) + garbage[number % 3]);
        let mut stream = Events::begun(connection);
        for text in ["first", "two\nlines"] {
            assert_eq!(
                publisher.publish(&topic, text.as_bytes()).outcome,
                Outcome::Ok
            );
            assert_eq!(stream.event().expect("an event").data, text);
        }
    }
    assert_is_empty(&broker, "/smuggled");
    // All of them are gone, although their last bytes were not read.
    let mut asking = broker.connect();
    testkit::deadline::wait_until("the streams to be gone", || {
        asking.stats()["subscriptions"] == 0
    });
    let answer = asking.subscribe("streams/0", Start::Latest);
    assert_eq!(answer.next.get(), 2);
}
