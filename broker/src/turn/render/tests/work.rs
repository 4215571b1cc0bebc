//! What rendering costs, and which sessions wait for it.

use super::*;

#[test]
fn rendering_counts_against_the_turn() {
    let mut rig = Rig::with(forgetful());
    let clients: Vec<Client> = (0..10).map(|_| stream(&mut rig, "/t/sse")).collect();
    for client in &clients {
        client.peer.stall();
    }
    for _ in 0..8 {
        rig.append("t", 200_000);
    }
    rig.turn();
    for client in &clients {
        client.peer.set_room(1 << 20);
        client.peer.resume();
    }
    let mut before = rig.metrics().renditions.get();
    let mut most = 0;
    for _ in 0..200 {
        rig.turn();
        let now = rig.metrics().renditions.get();
        most = most.max(now - before);
        before = now;
        for client in &clients {
            client.peer.read();
        }
    }
    // 200 KB take 5,000 steps: a walk's budget has room for three, a turn's flushes for one, and both finish what they begin.
    assert!((1..=6).contains(&most), "{most} of 200 KB in a turn");
    let delivered = rig.metrics().deliveries.get();
    assert_eq!(delivered, 80, "and all of them come");
}

#[test]
fn a_rendition_that_takes_more_than_a_turn_and_is_not_kept_comes_to_all_subscribers() {
    // Control characters are six times as long as JSON. A cache of this size has room for neither topic beside the other.
    let mut rig = Rig::with(Config {
        rendition_cache_bytes: 1 << 20,
        ..settings()
    });
    let topics = ["t", "u", "v"];
    let streams = topics.map(|topic| {
        let path = format!("/{topic}/json?follow=true");
        [0; 3].map(|_| stream(&mut rig, &path))
    });
    for client in streams.iter().flatten() {
        client.peer.set_room(64 << 20);
    }
    for topic in topics {
        publish_batch(&mut rig, topic, &vec!["\u{1}".repeat(1_000); 200]);
    }
    let rendered = rig.metrics().renditions.get();
    for client in streams.iter().flatten() {
        let body = payload(&client.peer.read());
        assert_eq!(body.matches("\\u0001").count(), 200_000);
    }
    assert!(rendered <= 3 * 3, "{rendered} renditions of 3 records");
}

#[test]
fn a_rendition_that_leaves_in_pieces_is_made_once() {
    let mut rig = Rig::with(forgetful());
    publish_batch(&mut rig, "t", &vec!["\u{1}".repeat(1_000); 200]);
    let client = rig.connect();
    client.peer.set_room(10_000);
    ask(&client, "/t/json");
    let mut read = 0;
    for _ in 0..1_000 {
        rig.turn();
        read += client.peer.read().len();
    }
    assert!(read > 1_200_000, "{read}");
    assert_eq!(rig.metrics().renditions.get(), 1);
}

#[test]
fn tiny_messages_that_are_many_are_rendered_a_part_at_a_time() {
    let mut rig = Rig::with(forgetful());
    publish_batch(&mut rig, "t", &vec![String::new(); 5_000]);
    let before = rig.metrics().renditions.get();
    let (_, body) = read_all(&mut rig, "/t/json");
    assert_eq!(body.lines().count(), 5_000);
    let offsets = body.lines().map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
        row["offset"].as_u64().expect("an offset")
    });
    assert!(offsets.eq(0..5_000));
    assert_eq!(rig.metrics().renditions.get() - before, 10, "512 at a time");
    let (_, body) = read_all(&mut rig, "/t/json?from=offset:700&limit=600");
    assert_eq!(body.lines().count(), 600);
}
