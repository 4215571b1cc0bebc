//! Requests over HTTP and their answers, as clients see them.

use oyez_storage::OpKind;

use crate::config::Config;
use crate::net::memory::End;
use crate::parts::ending::Reason;
use crate::rig::{Client, Rig, settings, settle};

/// A request without a body, and one that publishes.
const ROOT: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn publish(topic: &str, fields: &str, body: &str) -> String {
    let size = body.len();
    format!(
        "POST /{topic} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {size}\r\n\r\n{body}"
    )
}

fn say(client: &Client, request: &str) {
    client.peer.write(request.as_bytes());
}

/// The responses that have come since the client last looked: the status of each, and the beginning of its body.
fn hear(client: &Client) -> Vec<String> {
    let text = String::from_utf8(client.peer.read()).expect("text");
    let (mut rest, mut heard) = (&text[..], Vec::new());
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let status = head.split(' ').nth(1).expect("a status");
        let length = |line: &str| line.strip_prefix("Content-Length: ")?.parse().ok();
        let size: usize = head.lines().find_map(length).unwrap_or(0);
        let (body, after) = after.split_at(size);
        let body = body.lines().next().unwrap_or_default();
        let place = body.split(",\"epoch\"").next().unwrap_or_default();
        heard.push(format!("{status} {place}").trim_end().to_owned());
        rest = after;
    }
    assert_eq!(rest, "", "whole responses");
    heard
}

#[test]
fn a_message_published_over_http_comes_to_subscribers_and_its_place_to_the_publisher() {
    let mut rig = Rig::new();
    let (subscriber, client) = (rig.subscriber("demo"), rig.connect());
    say(&client, &publish("demo", "", "hello"));
    rig.settle();
    assert_eq!(subscriber.hear(), ["demo 0"]);
    assert_eq!(hear(&client), ["200 {\"topic\":\"demo\",\"offset\":0"]);
    let metrics = rig.metrics();
    let counted = (metrics.requests.get(), metrics.codec_encodes.get());
    assert_eq!((counted, metrics.sessions.get()), ((1, 1), 2));
}

#[test]
fn the_native_path_calls_no_codec() {
    let mut rig = Rig::new();
    let _subscriber = rig.subscriber("demo");
    rig.publish("demo", 1_000, 10);
    let metrics = rig.metrics();
    assert_eq!(
        (metrics.records_in.get(), metrics.codec_encodes.get()),
        (10, 0)
    );
}

#[test]
fn answers_come_in_the_order_of_requests() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let mut all = String::new();
    for number in 0..3 {
        all += &publish("synced/a", "", &format!("message {number}"));
        all += ROOT;
        all += &publish("a", "", "");
    }
    say(&client, &all);
    rig.settle();
    let placed = |topic: &str, offset| format!("200 {{\"topic\":\"{topic}\",\"offset\":{offset}");
    let expected: Vec<String> = (0..3)
        .flat_map(|number| {
            let root = format!("200 Oyez {}", env!("CARGO_PKG_VERSION"));
            [placed("synced/a", number), root, placed("a", number)]
        })
        .collect();
    assert_eq!(hear(&client), expected);
}

#[test]
fn a_request_may_come_in_pieces_and_many_may_come_at_once() {
    let mut rig = Rig::new();
    let (slow, fast) = (rig.connect(), rig.connect());
    for byte in publish("a", "", "hello").bytes() {
        slow.peer.write(&[byte]);
        rig.settle();
    }
    assert_eq!(hear(&slow), ["200 {\"topic\":\"a\",\"offset\":0"]);
    let mut heard = 0;
    fast.peer.write(ROOT.repeat(2_000).as_bytes());
    while heard < 2_000 {
        rig.turn();
        heard += hear(&fast).len();
    }
    assert_eq!(heard, 2_000);
}

#[test]
fn a_request_that_does_not_wait_for_the_outcome_is_answered_when_the_message_is_taken() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let [first, second] = ["first", "second"].map(|body| publish("synced/a?ack=none", "", body));
    say(
        &client,
        &(first + &second + &publish("synced/a", "", "third")),
    );
    rig.begin_turn();
    rig.parts().read();
    rig.parts().flushing().run();
    assert_eq!(hear(&client), ["202 {}", "202 {}"]);
    rig.settle();
    assert_eq!(hear(&client), ["200 {\"topic\":\"synced/a\",\"offset\":2"]);
}

#[test]
fn a_client_that_waits_for_it_is_told_that_its_body_is_wanted() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let request = publish("a", "Expect: 100-continue\r\n", "hello");
    let (head, body) = request.split_at(request.len() - 5);
    say(&client, head);
    rig.settle();
    assert_eq!(hear(&client), ["100"]);
    say(&client, body);
    rig.settle();
    assert_eq!(hear(&client), ["200 {\"topic\":\"a\",\"offset\":0"]);
}

#[test]
fn a_client_that_shuts_its_side_gets_the_answer_that_it_waits_for() {
    let mut rig = Rig::new();
    let (waits, asks_nothing) = (rig.connect(), rig.connect());
    say(&waits, &publish("synced/a", "", "hello"));
    say(&asks_nothing, ROOT);
    for client in [&waits, &asks_nothing] {
        client.peer.shutdown();
    }
    rig.settle();
    assert_eq!(hear(&waits), ["200 {\"topic\":\"synced/a\",\"offset\":0"]);
    assert_eq!(hear(&asks_nothing).len(), 1);
    for client in [&waits, &asks_nothing] {
        assert_eq!(client.peer.how_it_ended(), End::Closed);
    }
    assert_eq!(rig.parts().sessions.len(), 0);
}

#[test]
fn a_client_that_shuts_its_side_gets_the_answers_of_all_its_requests() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.disk.hold(OpKind::Sync);
    say(&client, &publish("synced/a", "", "hello").repeat(3));
    client.peer.shutdown();
    rig.settle();
    assert!(hear(&client).is_empty());
    rig.disk.lift(OpKind::Sync);
    rig.settle();
    let told = [0, 1, 2].map(|offset| format!("200 {{\"topic\":\"synced/a\",\"offset\":{offset}"));
    assert_eq!(hear(&client), told);
    assert_eq!(client.peer.how_it_ended(), End::Closed);
}

/// A stream has no end of its own, and ends with the client's side.
#[test]
fn answers_due_before_a_stream_come_to_a_client_that_shuts_its_side() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let stream = "GET /a/sse HTTP/1.1\r\nHost: localhost\r\n\r\n";
    say(&client, &(publish("a", "", "hello") + ROOT + stream));
    client.peer.shutdown();
    rig.settle();
    let text = String::from_utf8(client.peer.read()).expect("text");
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 3, "{text}");
    assert!(text.ends_with("0\r\n\r\n"), "{text}");
    assert_eq!(client.peer.how_it_ended(), End::Closed);
    assert_eq!(rig.metrics().subscriptions.get(), 0);
}

#[test]
fn a_connection_ends_with_its_last_answer() {
    let mut rig = Rig::new();
    let (done, bad) = (rig.connect(), rig.connect());
    say(&done, &(publish("a", "Connection: close\r\n", "") + ROOT));
    say(&bad, &("GET / HTTP/1.1\n\n".to_owned() + ROOT));
    rig.settle();
    assert_eq!(hear(&done), ["200 {\"topic\":\"a\",\"offset\":0"]);
    assert!(hear(&bad)[0].starts_with("400 {\"error\":\"bad_request\""));
    for client in [&done, &bad] {
        assert_eq!(client.peer.how_it_ended(), End::Shut);
        client.peer.close();
    }
    rig.settle();
    assert_eq!(rig.parts().sessions.len(), 0);
    // A malformed request opens no session.
    assert_eq!(rig.metrics().sessions.get(), 0);
}

#[test]
fn a_head_or_a_body_that_does_not_come_in_time_is_answered_with_408() {
    let mut rig = Rig::new();
    let (head, body, later) = (rig.connect(), rig.connect(), rig.connect());
    say(&head, "GET / HTTP/1.1\r\nHo");
    say(
        &body,
        "POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel",
    );
    say(&later, &(ROOT.to_owned() + "GET"));
    rig.settle();
    assert_eq!(hear(&later).len(), 1);
    for _ in 0..12 {
        rig.pass(1_000);
        rig.settle();
    }
    for client in [&head, &body, &later] {
        let heard = hear(client);
        assert!(
            heard[0].starts_with("408 {\"error\":\"timeout\""),
            "{heard:?}"
        );
        assert_ne!(client.peer.how_it_ended(), End::Open);
    }
}

#[test]
fn a_client_that_sends_a_request_in_pieces_is_told_at_once_that_the_first_is_here() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let request = publish("a", "", "hello");
    for (rest, told) in [("", 0), ("lo", 1), ("hello", 2)] {
        let (first, rest) = request.split_at(request.len() - rest.len());
        say(&client, first);
        rig.settle();
        assert_eq!(client.peer.acknowledgements(), told, "without {rest:?}");
        say(&client, rest);
        rig.settle();
        assert_eq!(hear(&client).len(), 1, "the answer tells of the rest");
        assert_eq!(client.peer.acknowledgements(), told);
    }
    let expects = publish("a", "Expect: 100-continue\r\n", "hello");
    say(&client, &expects[..expects.len() - 5]);
    rig.settle();
    assert_eq!(hear(&client), ["100"]);
    assert_eq!(client.peer.acknowledgements(), 2, "it was answered");
}

#[test]
fn a_client_that_asks_for_nothing_is_closed_without_a_word() {
    let mut rig = Rig::new();
    let client = rig.connect();
    say(&client, ROOT);
    rig.settle();
    assert_eq!(hear(&client).len(), 1);
    client.peer.set_answered_ms(100_000);
    for _ in 0..70 {
        rig.pass(1_000);
        rig.settle();
    }
    assert!(
        !client.peer.is_closed(),
        "proxies keep connections for a minute"
    );
    for _ in 0..10 {
        rig.pass(1_000);
        rig.settle();
    }
    assert_eq!(client.peer.how_it_ended(), End::Closed);
    assert!(client.peer.read().is_empty());
}

#[test]
fn a_client_whose_answer_takes_long_is_not_idle() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.disk.allow(Some(0));
    say(&client, &publish("synced/a", "", "hello"));
    rig.settle();
    for _ in 0..200 {
        rig.pass(1_000);
        rig.settle();
    }
    assert!(!client.peer.is_closed() && client.peer.read().is_empty());
    rig.disk.allow(None);
    rig.settle();
    assert_eq!(hear(&client), ["200 {\"topic\":\"synced/a\",\"offset\":0"]);
}

#[test]
fn a_request_whose_log_has_no_room_is_taken_when_there_is_some() {
    let mut rig = Rig::new();
    let client = rig.connect();
    // Nothing of a shard's answers may be kept any more.
    let output = &mut rig.parts().sessions.room.output;
    let bytes = output.max() - output.bytes();
    let mut counted = 0;
    output.count(&mut counted, bytes);
    say(
        &client,
        &(publish("a", "", "first") + &publish("a", "", "second")),
    );
    rig.turn();
    rig.turn();
    assert!(client.peer.read().is_empty());
    rig.parts().sessions.room.output.count(&mut counted, 0);
    rig.settle();
    let placed = |offset| format!("200 {{\"topic\":\"a\",\"offset\":{offset}");
    assert_eq!(hear(&client), [placed(0), placed(1)]);
}

#[test]
fn an_address_that_is_for_one_dialect_turns_others_away() {
    let listen = |text: &str| text.parse().expect("an address");
    let mut rig = Rig::with(Config {
        listen: vec![listen(":1=native"), listen("unix:/a=http")],
        operator: Vec::new(),
        open: true,
        ..settings()
    });
    let native = rig.join();
    native.ping(1);
    let http = rig.net.connect();
    http.write(ROOT.as_bytes());
    let there = rig.net.connect_at(1);
    there.write(ROOT.as_bytes());
    let astray = rig.net.connect_at(1);
    astray.write(&crate::rig::ping_bytes([1]));
    rig.settle();
    assert_eq!(native.hear(), ["pong 1"]);
    let text = |peer: &crate::net::memory::Peer| String::from_utf8(peer.read()).expect("text");
    let refused = text(&http);
    assert!(refused.starts_with("HTTP/1.1 421 "), "{refused}");
    assert!(text(&there).starts_with("HTTP/1.1 200 "));
    let goodbye = crate::rig::lines(&astray.read());
    assert!(
        goodbye[0].starts_with("goodbye NotSupported: this address"),
        "{goodbye:?}"
    );
}

#[test]
fn a_session_that_ends_leaves_no_request_behind() {
    let mut rig = Rig::new();
    let client = rig.connect();
    rig.disk.allow(Some(0));
    say(&client, &publish("synced/a", "", "hello"));
    rig.settle();
    assert!(rig.parts().sessions.exchanges.has(client.id));
    rig.end(&client, Reason::PeerReset);
    assert!(!rig.parts().sessions.exchanges.has(client.id));
    rig.disk.allow(None);
    rig.settle();
    assert_eq!(rig.parts().sessions.len(), 0);
}

#[test]
fn a_broker_that_has_as_many_connections_as_it_may_says_so_to_a_request() {
    let mut rig = Rig::with(Config {
        max_connections: 1,
        ..settings()
    });
    let (_first, second) = (rig.join(), rig.net.connect());
    second.write(ROOT.as_bytes());
    rig.settle();
    let text = String::from_utf8(second.read()).expect("text");
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(text.contains("Retry-After: 5\r\n"), "{text}");
    // Programs that watch over the broker are answered all the same.
    assert!(ask_operator(&mut rig, "/livez").starts_with("HTTP/1.1 200 "));
    let ready = ask_operator(&mut rig, "/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 503 ") && ready.contains("as many as may be"),
        "{ready}"
    );
}

/// Asks at the operator's address.
fn ask_operator(rig: &mut Rig, path: &str) -> String {
    let peer = rig.net.connect_at(1);
    peer.write(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    rig.settle();
    let text = String::from_utf8(peer.read()).expect("text");
    peer.close();
    rig.settle();
    text
}

#[test]
fn the_operator_is_told_how_the_broker_is() {
    let mut rig = Rig::new();
    rig.pass(1_000);
    rig.settle();
    assert!(ask_operator(&mut rig, "/livez").contains("\r\n\r\n{\"live\":true}\n"));
    let ready = ask_operator(&mut rig, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(
        ready.ends_with("{\"ready\":true,\"open\":false,\"reasons\":[]}\n"),
        "{ready}"
    );
    let stats = ask_operator(&mut rig, "/api/v1/stats");
    let json = stats.split_once("\r\n\r\n").expect("a body").1;
    let stats: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(stats["requests"], 2, "this one is not over");
    let metrics = ask_operator(&mut rig, "/metrics");
    assert!(metrics.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(
        metrics.contains("\noyez_requests_total{shard=\"0\"} 3\n"),
        "{metrics}"
    );
}

#[test]
fn a_broker_whose_publishes_wait_is_not_ready_and_lives() {
    let mut rig = Rig::new();
    rig.disk.allow(Some(0));
    let client = rig.connect();
    say(&client, &publish("synced/a", "", "hello"));
    rig.settle();
    rig.pass(6_000);
    rig.settle();
    let ready = ask_operator(&mut rig, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains("a publish has waited for 6"), "{ready}");
    assert!(ask_operator(&mut rig, "/livez").starts_with("HTTP/1.1 200 "));
}

#[test]
fn the_time_to_the_last_subscriber_is_counted_once_for_each_walk() {
    let mut rig = Rig::new();
    let _subscribers = rig.subscribers("t", 3);
    let publisher = rig.join();
    publisher.publish("t", 10);
    rig.begin_turn();
    rig.parts().read();
    rig.pass(5);
    rig.settle();
    assert_eq!(rig.metrics().delivery_us.counted(), (1, 5_000));
}

#[test]
fn topics_are_listed_over_http() {
    let mut rig = Rig::new();
    rig.pass(1_000);
    rig.publish("a", 10, 2);
    rig.publish("b", 10, 1);
    let client = rig.connect();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    say(
        &client,
        &(ask("/api/v1/topics") + &ask("/api/v1/topics?after=a")),
    );
    rig.settle();
    let text = String::from_utf8(client.peer.read()).expect("text");
    assert_eq!(text.matches("\"name\":\"a\"").count(), 1, "{text}");
    assert_eq!(text.matches("\"name\":\"b\"").count(), 2, "{text}");
}

#[test]
fn a_proxy_names_the_client_of_a_connection_once_and_only_from_where_it_may() {
    let proxies = |network: &str| Config {
        proxy_from: vec![network.parse().expect("a network")],
        ..settings()
    };
    let header = "PROXY TCP4 192.0.2.7 192.0.2.2 40000 443\r\n";
    let mut rig = Rig::with(proxies("0.0.0.0/0"));
    let (http, native, cut, twice) = (rig.connect(), rig.connect(), rig.connect(), rig.connect());
    say(&http, &(header.to_owned() + ROOT));
    say(&native, header);
    native.hello();
    for byte in header.bytes().chain(ROOT.bytes()) {
        cut.peer.write(&[byte]);
        rig.settle();
    }
    say(&twice, &(header.to_owned() + header + ROOT));
    rig.settle();
    assert_eq!(hear(&http).len(), 1);
    assert_eq!(native.hear(), ["welcome"]);
    assert_eq!(hear(&cut).len(), 1);
    assert!(twice.peer.read().is_empty() && twice.peer.how_it_ended() == End::Shut);
    let parts = rig.parts();
    let peer = parts
        .sessions
        .peer(&*parts.net, http.id)
        .expect("it is known");
    assert_eq!(peer.to_string(), "192.0.2.7:40000");
    for config in [settings(), proxies("192.0.2.0/24")] {
        let mut rig = Rig::with(config);
        let client = rig.connect();
        say(&client, &(header.to_owned() + ROOT));
        rig.settle();
        assert!(client.peer.read().is_empty());
        assert_eq!(client.peer.how_it_ended(), End::Shut);
    }
}

#[test]
fn a_batch_is_answered_when_all_its_records_have_their_outcomes() {
    let mut rig = Rig::with(Config {
        inflight_records_max: 2,
        ..settings()
    });
    let (subscriber, client) = (rig.subscriber("synced/3"), rig.connect());
    let rows =
        (0..8).map(|number| format!("{{\"topic\":\"synced/{}\",\"payload\":\"\"}}", number % 4));
    let body = rows.collect::<Vec<String>>().join("\n");
    say(&client, &(publish("api/v1/publish", "", &body) + ROOT));
    rig.settle();
    let heard = hear(&client);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(
        heard[0].starts_with("200 [{\"topic\":\"synced/0\",\"offset\":0"),
        "{heard:?}"
    );
    assert_eq!(
        subscriber.hear(),
        ["synced/3 0"],
        "two messages in one record"
    );
    say(&client, &publish("api/v1/publish?ack=none", "", &body));
    say(&client, ROOT);
    rig.settle();
    let heard = hear(&client);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[0], "202 {}");
    assert_eq!(subscriber.hear(), ["synced/3 2"]);
    assert_eq!(rig.metrics().records_in.get(), 8);
}

#[test]
fn a_topic_is_described_by_its_owner_and_by_all_shards_with_subscribers() {
    let [mut first, mut second] = Rig::shards(settings());
    first.pass(1_000);
    let topic = first.topic_of(1, "t/");
    let (near, far) = (first.join(), second.join());
    for client in [&near, &far] {
        client.subscribe(&topic, oyez_protocol::command::Start::Latest);
    }
    settle(&mut [&mut first, &mut second]);
    let client = first.connect();
    say(
        &client,
        &format!("GET /{topic}/sse HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    );
    let asker = first.connect();
    let ask = |first: &mut Rig, second: &mut Rig| {
        say(
            &asker,
            &format!("GET /api/v1/topics/{topic} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        );
        settle(&mut [first, second]);
        let text = String::from_utf8(asker.peer.read()).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).expect("a status").to_owned();
        (
            status,
            serde_json::from_str::<serde_json::Value>(body).expect("JSON"),
        )
    };
    let (status, told) = ask(&mut first, &mut second);
    assert_eq!(status, "404");
    assert!(
        told["message"]
            .as_str()
            .expect("a text")
            .contains("3 subscribers"),
        "{told}"
    );
    near.publish(&topic, 10);
    near.publish(&topic, 10);
    settle(&mut [&mut first, &mut second]);
    let (status, told) = ask(&mut first, &mut second);
    assert_eq!(status, "200");
    assert_eq!(
        (&told["next"], &told["subscribers"]),
        (&2.into(), &3.into()),
        "{told}"
    );
}

#[test]
fn a_body_may_take_longer_than_a_greeting() {
    let mut rig = Rig::new();
    let client = rig.connect();
    let size = 20_000;
    let request = publish("a", "", &"x".repeat(size));
    let (head, body) = request.split_at(request.len() - size);
    say(&client, head);
    // In 15 s, where a hello may take 10.
    for piece in body.as_bytes().chunks(size / 30) {
        rig.pass(500);
        rig.settle();
        assert!(client.peer.read().is_empty());
        client.peer.write(piece);
    }
    rig.settle();
    assert_eq!(hear(&client), ["200 {\"topic\":\"a\",\"offset\":0"]);
}

#[test]
fn nothing_is_answered_behind_the_last_answer() {
    let mut rig = Rig::new();
    rig.pass(1_000);
    rig.settle();
    let client = rig.net.connect_at(1);
    let last = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.write((last.to_owned() + ROOT).as_bytes());
    rig.settle();
    let text = String::from_utf8(client.read()).expect("text");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
}

#[test]
fn pages_of_other_sites_are_told_nothing_of_the_broker_itself() {
    let mut rig = Rig::with(Config {
        origins: vec!["*".to_owned()],
        ..settings()
    });
    rig.pass(1_000);
    rig.settle();
    let client = rig.net.connect_at(1);
    let ask = |origin: &str| {
        format!("GET /livez HTTP/1.1\r\nHost: localhost:7451\r\nOrigin: {origin}\r\n\r\n")
    };
    client.write((ask("https://app.example.com") + &ask("http://localhost:7451")).as_bytes());
    rig.settle();
    let text = String::from_utf8(client.read()).expect("text");
    assert!(
        text.starts_with("HTTP/1.1 403 ") && text.contains("HTTP/1.1 200 "),
        "{text}"
    );
    assert!(!text.contains("Access-Control"), "{text}");
}
