//! Clients that shut their side early: an answer that is due still comes, and then the end.

use testkit::Broker;
use testkit::deadline::wait_until;
use testkit::http::{Connection, End, Events, ask, get, post};

use crate::{Bystander, assert_is_empty, broker};

/// A broker whose topics are on disk, so that answers take a while, but for those of bystanders.
fn broker_with_disk() -> Broker {
    testkit::Setup::new()
        .set("memory_topics", "bystanders,m/#")
        .start()
}

#[test]
fn a_client_that_shuts_its_side_before_a_whole_request_hears_nothing_but_the_end() {
    let broker = broker();
    let mut bystander = Bystander::new(&broker);
    let chunked = ask("POST", "/cut", "Transfer-Encoding: chunked\r\n", "");
    for bytes in [
        String::new(),
        "GE".to_owned(),
        "GET / HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
        post("/cut", "hello").replace("hello", "hell"),
        ask("POST", "/cut", "Content-Length: 5\r\n", ""),
        format!("{chunked}5\r\nhel"),
        format!("{chunked}5\r\nhello\r\n"),
        format!("{chunked}5\r\nhello\r\n0\r\nX: y\r\n"),
    ] {
        let mut connection = Connection::open(broker.address());
        connection.send(&bytes);
        connection.shut();
        assert_eq!(connection.end(), (Vec::new(), End::Closed), "{bytes:?}");
        bystander.goes_on(&broker);
    }
    assert_is_empty(&broker, "/cut");
}

#[test]
fn a_client_that_shuts_its_side_behind_its_requests_gets_all_answers() {
    let broker = broker_with_disk();
    let mut bystander = Bystander::new(&broker);
    for count in [1, 2, 7, 300] {
        for topic in ["d", "m/d"] {
            let topic = format!("/{topic}/{count}");
            let mut connection = Connection::open(broker.address());
            let both = post(&topic, "x") + &get("/");
            connection.send(both.repeat(count as usize));
            connection.shut();
            for number in 0..count {
                assert_eq!(connection.answer().offset(), Some(number));
                assert!(connection.answer().body.starts_with("Oyez "));
            }
            assert_eq!(connection.end(), (Vec::new(), End::Closed));
        }
        bystander.goes_on(&broker);
    }
}

#[test]
fn a_request_that_is_cut_takes_none_of_the_answers_before_it() {
    let broker = broker_with_disk();
    let rests = [
        "GET / HT",
        "POST /cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhell",
    ];
    for rest in rests {
        for topic in ["/d/cut", "/m/cut"] {
            let mut connection = Connection::open(broker.address());
            connection.send(post(topic, "x") + &get("/") + rest);
            connection.shut();
            assert_eq!(connection.answer().status, 200);
            assert!(connection.answer().body.starts_with("Oyez "));
            assert_eq!(connection.end(), (Vec::new(), End::Closed), "{rest:?}");
        }
    }
    assert_is_empty(&broker, "/cut");
}

#[test]
fn a_refusal_comes_to_a_client_that_has_shut_its_side() {
    let broker = broker();
    for (request, status) in [
        (ask("POST", "/cut", "Content-Length: +5\r\n", "hello"), 400),
        (ask("POST", "/api/cut", "Content-Length: 5\r\n", "hel"), 404),
        (ask("DELETE", "/cut", "", ""), 405),
    ] {
        let mut connection = Connection::open(broker.address());
        connection.send(request);
        connection.shut();
        assert_eq!(connection.answer().status, status);
        assert_eq!(connection.end(), (Vec::new(), End::Closed));
    }
}

/// A stream whose client has shut its side ends: a page that was closed looks no different. What was due before it comes.
#[test]
fn a_stream_ends_when_its_client_shuts_its_side() {
    let broker = broker();
    let mut asking = broker.connect();
    for number in 0..8 {
        let mut connection = Connection::open(broker.address());
        connection.send(get(&format!("/streams/{number}/sse")));
        let connection = Events::begun(connection).into_connection();
        connection.shut();
        wait_until("the stream to be gone", || {
            asking.stats()["subscriptions"] == 0
        });
    }
    for number in 0..8 {
        let mut connection = Connection::open(broker.address());
        let stream = get(&format!("/streams/{number}/sse"));
        connection.send(post("/m/before", "x") + &get("/") + &stream);
        connection.shut();
        assert_eq!(connection.answer().offset(), Some(number));
        assert!(connection.answer().body.starts_with("Oyez "));
        // The stream may have begun before it ends.
        let (_, end) = connection.end();
        assert_eq!(end, End::Closed);
    }
    wait_until("the streams to be gone", || {
        asking.stats()["subscriptions"] == 0
    });
}
