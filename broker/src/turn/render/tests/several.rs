//! Streams of several topics.

use super::*;
use crate::parts::patience::{PLACES_MS, STREAM_MS};
use crate::replies::places::places;

const BOTH: &str = "/api/v1/sse?topic=t&topic=u";

/// The topic and the payload of each message that has come, and the names of other events; without the places.
fn told(text: &str) -> Vec<String> {
    let told = |event: &String| match serde_json::from_str::<serde_json::Value>(event) {
        Ok(row) => {
            let part = |name: &str| row[name].as_str().expect("text").to_owned();
            format!("{} {}", part("topic"), part("payload"))
        }
        Err(_) => event.split(' ').next().expect("a name").to_owned(),
    };
    events(text).iter().map(told).collect()
}

fn hear_told(client: &Client) -> Vec<String> {
    told(&payload(&client.peer.read()))
}

/// A stream that goes on behind an id, and what it begins with.
fn resume(rig: &mut Rig, id: &str) -> (Client, Vec<String>) {
    let client = rig.connect();
    ask(&client, &format!("{BOTH}&last_event_id={id}"));
    rig.settle();
    let text = String::from_utf8(client.peer.read()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let told = told(&payload(body.as_bytes()));
    (client, told)
}

/// Lets this much time pass, in steps, and returns what a client gets.
fn hear_for(rig: &mut Rig, client: &Client, ms: u32) -> String {
    let mut text = String::new();
    for _ in 0..ms.div_ceil(1_000) {
        rig.pass(1_000);
        rig.settle();
        text += &payload(&client.peer.read());
    }
    text
}

#[test]
fn each_message_says_of_which_topic_it_is_and_is_rendered_once() {
    let mut rig = Rig::new();
    let publisher = rig.connect();
    let clients = [0; 3].map(|_| stream(&mut rig, BOTH));
    let single = stream(&mut rig, "/t/sse");
    let before = rig.metrics().renditions.get();
    for (topic, body) in [("t", "one"), ("u", "two"), ("v", "none"), ("t", "three")] {
        publish(&mut rig, &publisher, topic, body);
    }
    for client in &clients {
        assert_eq!(hear_told(client), ["t one", "u two", "t three"]);
    }
    assert_eq!(hear(&single), ["one", "three"]);
    assert_eq!(rig.metrics().renditions.get() - before, 3 + 2);
}

#[test]
fn a_stream_is_told_where_it_stands_and_goes_on_there() {
    let mut rig = Rig::new();
    let publisher = rig.connect();
    let client = stream(&mut rig, BOTH);
    publish(&mut rig, &publisher, "t", "one");
    publish(&mut rig, &publisher, "u", "two");
    let first = hear_for(&mut rig, &client, STREAM_MS + PLACES_MS);
    assert_eq!(told(&first), ["t one", "u two"]);
    assert!(first.ends_with("event: $place\ndata: {}\n\n"), "{first}");
    publish(&mut rig, &publisher, "u", "three");
    let (next, told) = resume(&mut rig, &last_id(&first));
    assert_eq!(told, ["u three"]);
    publish(&mut rig, &publisher, "t", "four");
    assert_eq!(hear_told(&next), ["t four"]);
    assert_eq!(hear_told(&client), ["u three", "t four"]);
}

#[test]
fn a_place_is_told_while_messages_come_and_otherwise_there_is_a_sign_of_life_now_and_then() {
    let mut rig = Rig::new();
    let client = stream(&mut rig, BOTH);
    let begun = hear_for(&mut rig, &client, STREAM_MS);
    assert!(!begun.contains("$place"), "nothing has come: {begun}");
    let mut places = 0;
    for number in 0..60 {
        let publisher = rig.connect();
        publish(&mut rig, &publisher, "t", &format!("{number}"));
        places += hear_for(&mut rig, &client, 1_000).matches("$place").count();
    }
    let expected = 60_000 / PLACES_MS as usize;
    assert!((expected - 2..=expected).contains(&places), "{places}");
    let quiet = hear_for(&mut rig, &client, PLACES_MS + 1_000);
    assert!(quiet.matches("$place").count() <= 1, "{quiet}");
    let quiet = hear_for(&mut rig, &client, 10 * STREAM_MS);
    assert!(!quiet.contains("$place"), "{quiet}");
    let beats = quiet.matches(":\n\n").count();
    assert!((8..=10).contains(&beats), "{beats} in {quiet:?}");
}

#[test]
fn a_place_is_behind_what_is_half_out_and_comes_after_it() {
    for room in (1..400).step_by(7) {
        let mut rig = Rig::with(forgetful());
        let publisher = rig.connect();
        let client = stream(&mut rig, BOTH);
        client.peer.set_room(room);
        for (topic, body) in [("t", "one"), ("u", "two"), ("t", "three"), ("u", "four")] {
            publish(&mut rig, &publisher, topic, body);
        }
        let mut got = client.peer.read();
        rig.refuse(&client, "enough");
        client.peer.set_room(1 << 20);
        rig.settle();
        got.extend(client.peer.read());
        let whole = got.strip_suffix(b"0\r\n\r\n").expect("the last chunk");
        let text = payload(whole);
        let mut heard = told(&text);
        let (_, after) = resume(&mut rig, &last_id(&text));
        heard.extend(after);
        for (topic, bodies) in [("t ", ["t one", "t three"]), ("u ", ["u two", "u four"])] {
            let of_topic = heard.iter().filter(|told| told.starts_with(topic));
            assert!(of_topic.eq(bodies), "{heard:?} with room for {room} bytes");
        }
    }
}

#[test]
fn a_stream_of_several_topics_that_takes_a_byte_at_a_time_gets_everything() {
    let mut rig = Rig::with(forgetful());
    let publisher = rig.connect();
    let (whole, slow) = (stream(&mut rig, BOTH), stream(&mut rig, BOTH));
    slow.peer.dribble(1);
    for (topic, body) in [("t", "one"), ("u", "two"), ("u", "three"), ("t", "four")] {
        publish(&mut rig, &publisher, topic, body);
    }
    let expected = whole.peer.read();
    let mut got = Vec::new();
    for _ in 0..4 * expected.len() {
        rig.turn();
        got.extend(slow.peer.read());
    }
    let text = payload(&got);
    let mut heard = told(&text);
    heard.sort();
    assert_eq!(heard, ["t four", "t one", "u three", "u two"]);
}

#[test]
fn topics_of_several_shards_are_one_stream_which_begins_when_all_of_them_are_known() {
    let [mut first, mut second] = Rig::shards(settings());
    let (near, far) = (first.topic_of(0, "near"), first.topic_of(1, "far"));
    let client = first.connect();
    ask(
        &client,
        &format!("/api/v1/sse?topic={near}&topic={far}&from=earliest"),
    );
    let publisher = first.connect();
    first.settle();
    publish(&mut first, &publisher, &near, "one");
    first.settle();
    assert!(
        client.peer.read().is_empty(),
        "the other shard was not asked yet"
    );
    assert_eq!(
        first
            .parts()
            .sessions
            .there(client.id)
            .subscriptions()
            .len(),
        2
    );
    settle(&mut [&mut first, &mut second]);
    let text = String::from_utf8(client.peer.read()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(told(&payload(body.as_bytes())), [format!("{near} one")]);
    let request =
        format!("POST /{far} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\ntwo");
    publisher.peer.write(request.as_bytes());
    settle(&mut [&mut first, &mut second]);
    assert_eq!(hear_told(&client), [format!("{far} two")]);
}

#[test]
fn more_topics_of_another_shard_than_may_be_asked_for_at_once_are_one_stream() {
    let [mut first, mut second] = Rig::shards(settings());
    let topics: Vec<String> = first.topics_of(1, "far").take(100).collect();
    let client = first.connect();
    let parameters: Vec<String> = topics
        .iter()
        .map(|topic| format!("topic={topic}"))
        .collect();
    ask(&client, &format!("/api/v1/sse?{}", parameters.join("&")));
    settle(&mut [&mut first, &mut second]);
    assert!(client.peer.read().starts_with(b"HTTP/1.1 200 OK\r\n"));
    let parts = first.parts();
    let session = parts.sessions.there(client.id);
    assert_eq!(places(session, &parts.feeds, &parts.logs).len(), 100);
    let publisher = second.connect();
    for topic in &topics {
        publish(&mut second, &publisher, topic, "one");
    }
    settle(&mut [&mut first, &mut second]);
    assert_eq!(hear_told(&client).len(), 100);
}

#[test]
fn a_topic_that_cannot_begin_ends_the_request_and_says_which_it_is() {
    let mut rig = Rig::new();
    let publisher = rig.connect();
    let client = stream(&mut rig, BOTH);
    publish(&mut rig, &publisher, "u", "one");
    let text = hear_for(&mut rig, &client, STREAM_MS + PLACES_MS);
    let id = last_id(&text);
    // The history of `u` is as long as that; this id says that it is longer.
    let mut token = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, id)
        .expect("base64");
    let size = token.len();
    token[size - 4 - 10] += 1;
    let checksum = oyez_protocol::checksum::crc32c(&token[..size - 4]);
    token[size - 4..].copy_from_slice(&checksum.to_le_bytes());
    let id = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, token);
    for (path, status, why) in [
        (format!("{BOTH}&last_event_id={id}"), "409 ", "u: "),
        (
            "/api/v1/sse?topic=t&topic=$own".to_owned(),
            "403 ",
            "$own: ",
        ),
    ] {
        let client = rig.connect();
        ask(&client, &path);
        rig.settle();
        let text = String::from_utf8(client.peer.read()).expect("text");
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
        assert!(text.contains(&format!("\"message\":\"{why}")), "{text}");
        assert!(text.contains("Connection: close\r\n"), "{text}");
        assert!(text.ends_with("}\n"), "nothing follows: {text}");
        assert_ne!(client.peer.how_it_ended(), End::Open);
    }
}

#[test]
fn a_client_that_takes_less_than_comes_is_told_where_it_stands_too() {
    let mut rig = Rig::with(forgetful());
    let client = stream(&mut rig, BOTH);
    let publisher = rig.connect();
    for number in 0..50 {
        publish(&mut rig, &publisher, "t", &format!("{number}"));
        publish(&mut rig, &publisher, "u", &format!("{number}"));
    }
    let mut bytes = client.peer.read();
    client.peer.set_room(40);
    for number in 50..100 {
        let publisher = rig.connect();
        publish(&mut rig, &publisher, "t", &format!("{number}"));
    }
    for _ in 0..60 {
        rig.pass(1_000);
        rig.settle();
        bytes.extend(client.peer.read());
    }
    client.peer.set_room(1 << 20);
    rig.settle();
    bytes.extend(client.peer.read());
    let text = payload(&bytes);
    let places = text.matches("$place").count();
    assert!(places >= 5, "{places}");
    assert_eq!(told(&text).len(), 150);
    // What comes before a place is what the place says.
    for (at, _) in text.match_indices("event: $place") {
        let (_, again) = resume(&mut rig, &last_id(&text[..at]));
        assert_eq!(told(&text[..at]).len() + again.len(), 150);
    }
}

#[test]
fn all_streams_of_many_that_end_at_once_are_told_where_they_stand() {
    let mut rig = Rig::new();
    let topics: Vec<String> = (0..100).map(|number| format!("topic={number}")).collect();
    let path = format!("/api/v1/sse?{}", topics.join("&"));
    let clients: Vec<Client> = (0..60).map(|_| stream(&mut rig, &path)).collect();
    for client in &clients {
        rig.refuse(client, "enough");
    }
    rig.settle();
    for client in &clients {
        let bytes = client.peer.read();
        let whole = bytes.strip_suffix(b"0\r\n\r\n").expect("the last chunk");
        assert!(payload(whole).contains("event: $place\n"));
        assert_ne!(client.peer.how_it_ended(), End::Open);
    }
}
