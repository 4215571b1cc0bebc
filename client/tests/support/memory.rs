//! The smallest broker that keeps records, for tests that publish and subscribe.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use oyez_client::{Offset, Start};

use super::{FakeBroker, Heard, Peer, confirmation, stamp_at};

/// Records by topic, each with the offset after it.
type Topics = Arc<Mutex<HashMap<String, Vec<(u64, Vec<u8>)>>>>;

/// Keeps every record; delivers what is there when a subscription begins, and nothing after.
pub(crate) struct MemoryBroker {
    pub(crate) address: SocketAddr,
}

impl MemoryBroker {
    pub(crate) fn start() -> Self {
        let broker = FakeBroker::new();
        let (address, topics) = (broker.address, Topics::default());
        thread::spawn(move || {
            while let Ok(stream) = broker.accepted.recv() {
                let (mut peer, topics) = (Peer::new(stream), Arc::clone(&topics));
                let welcome = broker.welcome;
                thread::spawn(move || {
                    assert!(matches!(peer.next(), Heard::Hello { .. }));
                    peer.send(|out| welcome.encode(out));
                    serve(&mut peer, &topics);
                });
            }
        });
        Self { address }
    }
}

fn serve(peer: &mut Peer, topics: &Topics) {
    loop {
        match peer.next() {
            Heard::Record(mut record) => {
                let mut topics = topics.lock().unwrap();
                let records = topics.entry(record.topic).or_default();
                let offset = records.last().map_or(0, |(end, _)| *end);
                stamp_at(&mut record.bytes, offset);
                records.push((offset + record.payloads.len() as u64, record.bytes));
                peer.ack(record.correlation, offset);
            }
            Heard::Subscribe {
                id, topic, start, ..
            } => {
                let records = topics
                    .lock()
                    .unwrap()
                    .get(&topic)
                    .cloned()
                    .unwrap_or_default();
                let from = match start {
                    Start::Offset(offset) => offset,
                    Start::Earliest => Offset::new(0),
                    Start::Latest => Offset::new(records.last().map_or(0, |(end, _)| *end)),
                };
                peer.send(|out| confirmation(id, from.get()).encode(out));
                for (_, bytes) in records.iter().filter(|(end, _)| *end > from.get()) {
                    peer.send(|out| out.extend_from_slice(bytes));
                }
            }
            Heard::Goodbye(_) | Heard::End => return,
            _ => {}
        }
    }
}
