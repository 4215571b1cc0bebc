//! The bytes of floods: frames, many of them in one piece.

use std::sync::Arc;

use oyez_protocol::command::{
    Query, Question, Start, Subscribe, Subscription, Unsubscribe, VERSION,
};
use oyez_protocol::event::Heartbeat;
use testkit::random::Random;
use testkit::record::{self, stored};

/// Heartbeats in one piece: 48 KB.
const HEARTBEATS: u64 = 2048;

pub(crate) fn hello() -> Vec<u8> {
    record::hello(VERSION, VERSION)
}

pub(crate) fn pings() -> Arc<[u8]> {
    heartbeats(|beat, out| beat.encode_ping(out))
}

pub(crate) fn pongs() -> Arc<[u8]> {
    heartbeats(|beat, out| beat.encode_pong(out))
}

fn heartbeats(encode: fn(Heartbeat, &mut Vec<u8>)) -> Arc<[u8]> {
    let mut out = Vec::new();
    for token in 0..HEARTBEATS {
        encode(Heartbeat { token }, &mut out);
    }
    out.into()
}

pub(crate) fn subscribe(out: &mut Vec<u8>, id: u32, topic: &str, start: Start) {
    Subscribe::encode(id, &[Subscription::new(topic, start, None)], out);
}

pub(crate) fn unsubscribe(out: &mut Vec<u8>, id: u32, topic: &str) {
    Unsubscribe {
        id,
        name: topic,
        is_filter: false,
    }
    .encode(out);
}

/// Hello, then subscriptions to the latest of `count` topics.
pub(crate) fn subscriber(count: usize, topic: impl Fn(usize) -> String) -> Vec<u8> {
    let mut out = hello();
    for number in 0..count {
        subscribe(&mut out, number as u32 + 1, &topic(number), Start::Latest);
    }
    out
}

/// All questions that there are, some times over.
pub(crate) fn questions(times: u32) -> Arc<[u8]> {
    let mut out = Vec::new();
    for round in 0..times {
        let all = [
            Question::Stats,
            Question::Topics { after: "" },
            Question::Lag,
        ];
        for (place, question) in (1..).zip(all) {
            let id = 3 * round + place;
            Query { id, question }.encode(&mut out);
        }
    }
    out.into()
}

/// Records of one message each, one for each topic.
pub(crate) fn records(bytes: usize, topics: impl Iterator<Item = String>) -> Arc<[u8]> {
    let payload = Random::new(bytes as u64).bytes(bytes);
    let mut out = Vec::new();
    for (correlation, topic) in (1..).zip(topics) {
        out.extend_from_slice(&stored(&topic, &[&payload], correlation));
    }
    out.into()
}

/// The head of a frame, whatever follows it.
pub(crate) fn head(size: u32, kind: u8) -> Vec<u8> {
    let mut head = size.to_le_bytes().to_vec();
    head.extend_from_slice(&[kind, 0, 0, 0]);
    head
}
