//! Clients over WebSocket that close, say Goodbye or shut their side while something has no answer yet.

use oyez_storage::OpKind;

use super::*;
use crate::rig::{goodbye_bytes, settle};

const PUBLISH: &[u8] = br#"{"command":"publish","id":7,"topic":"synced/a","payload":"hello"}"#;
const PUBLISHED: &str = r#"{"event":"$published","id":7,"offset":0,"#;

fn close(socket: &Socket) {
    socket.say(CLOSE, b"\x03\xe8");
}

fn shut_down(socket: &Socket) {
    socket.client.peer.shutdown();
}

fn say_goodbye(socket: &Socket) {
    socket.say(BINARY, &goodbye_bytes());
}

/// What a client gets that has published `record` as `first`, and goes before the disk has synced that.
fn told(mut socket: Socket, rig: &mut Rig, record: (u8, &[u8]), go: fn(&Socket)) -> Vec<String> {
    rig.disk.hold(OpKind::Sync);
    socket.say(record.0, record.1);
    go(&socket);
    rig.settle();
    assert!(socket.hear().is_empty());
    assert_eq!(socket.client.peer.how_it_ended(), End::Open);
    rig.disk.lift(OpKind::Sync);
    rig.settle();
    let told = socket.hear();
    assert_ne!(socket.client.peer.how_it_ended(), End::Open);
    told
}

#[test]
fn a_client_of_frames_that_goes_is_told_every_outcome_before_the_close() {
    for go in [close, shut_down, say_goodbye] {
        let mut rig = Rig::new();
        let socket = Socket::join(&mut rig);
        let bytes = record("synced/a", 10);
        let told = told(socket, &mut rig, (BINARY, &bytes), go);
        assert_eq!(told[0], "published Ok 0", "{told:?}");
        let last = told.last().expect("a close");
        assert!(last.starts_with("close 1000: "), "{told:?}");
    }
}

#[test]
fn a_client_of_json_that_goes_is_told_every_outcome_before_the_close() {
    for go in [close, shut_down] {
        let mut rig = Rig::new();
        let socket = Socket::open(&mut rig, "/api/v1/ws", "");
        let told = told(socket, &mut rig, (TEXT, PUBLISH), go);
        assert!(told[0].starts_with(PUBLISHED), "{told:?}");
        let last = told.last().expect("a close");
        assert!(last.starts_with("close 1000: "), "{told:?}");
    }
}

#[test]
fn in_json_a_topic_is_told_to_begin_before_it_is_told_to_end() {
    let [mut first, mut second] = Rig::shards(settings());
    let mut socket = Socket::open(&mut first, "/api/v1/ws", "");
    let topic = first.topic_of(1, "a/");
    for command in ["subscribe", "unsubscribe"] {
        let text = format!(r#"{{"command":"{command}","topic":"{topic}"}}"#);
        socket.say(TEXT, text.as_bytes());
    }
    settle(&mut [&mut first, &mut second]);
    let told = socket.hear();
    let events: Vec<&str> = told
        .iter()
        .filter_map(|told| told.split('"').nth(3))
        .collect();
    assert_eq!(events, ["$subscribed", "$unsubscribed"], "{told:?}");
    assert_eq!(first.metrics().subscriptions.get(), 0);
}
