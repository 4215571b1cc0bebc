use std::path::PathBuf;

use oyez_protocol::Position;

use super::*;
use crate::parts::logs::Logs;
use crate::rig::{Client, Rig, record};

const TOPIC: &str = "synced/t";
const LARGE: usize = 250 << 10;
/// So many large records that earlier ones are not in memory any more.
const COLD: usize = 18;
const COOLING_MS: u64 = 20_000;

/// Publishes to topics in this order, all in one turn, so that the records lie together.
fn publish(rig: &mut Rig, records: &[(&str, usize)]) {
    let publisher = rig.join();
    for (topic, size) in records {
        publisher.publish(topic, *size);
    }
    rig.settle();
}

fn places(rig: &mut Rig, topic: &str) -> Vec<Place> {
    let (mut places, log) = (Vec::new(), rig.parts().context.shared.log_of(topic));
    rig.parts()
        .logs
        .places(log, topic, Offset::new(0), 1_000, &mut places);
    places
}

/// Builds a chain of as many of these records as it takes.
fn build(rig: &mut Rig, topic: &str, places: &[Place]) -> Result<Chain, Broken> {
    build_in(Form::NATIVE, rig, topic, places)
}

/// Builds a chain of as many of these records as it takes, in a form.
fn build_in(form: Form, rig: &mut Rig, topic: &str, places: &[Place]) -> Result<Chain, Broken> {
    let (mut chain, log) = (Chain::default(), rig.parts().context.shared.log_of(topic));
    let built = rig
        .parts()
        .logs
        .build(&mut chain, (log, form), topic, places.iter().copied());
    built.map(|()| chain)
}

fn built(rig: &mut Rig, topic: &str, places: &[Place]) -> Chain {
    build(rig, topic, places).ok().expect("it is at hand")
}

#[test]
fn records_that_lie_together_are_one_part_and_others_are_parts_of_their_own() {
    let mut rig = Rig::new();
    publish(&mut rig, &[("t", 10), ("t", 20), ("u", 10), ("t", 30)]);
    let places = places(&mut rig, "t");
    let chain = built(&mut rig, "t", &places);
    let sizes = [10, 20, 30].map(|size| record("t", size).len());
    let parts: Vec<usize> = chain.parts.iter().map(Bytes::len).collect();
    assert_eq!(parts, [sizes[0] + sizes[1], sizes[2]]);
    assert_eq!(chain.bytes, sizes.iter().sum::<usize>());
    assert_eq!((chain.records(), chain.messages), (3, 3));
    assert_eq!(
        (chain.first(), chain.next()),
        (Some(Offset::new(0)), Some(Offset::new(3)))
    );
    assert_eq!(chain.head(), Some(places[0]));
    let mut slices = [IoSlice::new(&[]); PARTS_MAX];
    let filled: Vec<usize> = chain
        .fill(&mut slices)
        .iter()
        .map(|part| part.len())
        .collect();
    assert_eq!(filled, parts);
}

#[test]
fn an_empty_chain_has_nothing() {
    let mut rig = Rig::new();
    publish(&mut rig, &[("t", 10)]);
    let places = places(&mut rig, "t");
    let mut chain = built(&mut rig, "t", &places);
    chain.clear();
    assert!(chain.parts.is_empty() && chain.places.is_empty() && !chain.has_mapped);
    assert_eq!((chain.bytes, chain.messages, chain.records()), (0, 0, 0));
    assert_eq!(
        (chain.first(), chain.next(), chain.head()),
        (None, None, None)
    );
    assert_eq!(built(&mut rig, "t", &[]).records(), 0);
}

#[test]
fn a_chain_ends_with_the_record_that_makes_it_long_enough() {
    let mut rig = Rig::new();
    publish(&mut rig, &[("t", 100 << 10); 5]);
    let places_of_t = places(&mut rig, "t");
    assert_eq!(built(&mut rig, "t", &places_of_t).records(), 3);
    // As many where the records do not lie together.
    let mixed: Vec<_> = [("v", 100 << 10), ("w", 10)].repeat(5);
    publish(&mut rig, &mixed);
    let places_of_v = places(&mut rig, "v");
    let chain = built(&mut rig, "v", &places_of_v);
    assert_eq!((chain.records(), chain.parts.len()), (3, 3));
}

#[test]
fn a_part_lies_in_one_block() {
    let mut rig = Rig::new();
    publish(&mut rig, &[("t", 60 << 10); 50]);
    let places = places(&mut rig, "t");
    let block = |place: &Place| place.position.get() / BLOCK_BYTES;
    let last = places
        .windows(2)
        .position(|two| block(&two[0]) < block(&two[1]));
    let last = last.expect("they fill more than a block");
    assert_eq!(built(&mut rig, "t", &places[last - 1..]).parts.len(), 2);
    assert_eq!(built(&mut rig, "t", &places[last + 1..]).parts.len(), 1);
}

#[test]
fn a_large_first_part_is_kept_alone() {
    let mut rig = Rig::new();
    publish(
        &mut rig,
        &[("t", 1_000), ("t", 1_000), ("u", 10), ("t", 1_000)],
    );
    let places = places(&mut rig, "t");
    let mut chain = built(&mut rig, "t", &places);
    let part = 2 * record("t", 1_000).len();
    assert_eq!(chain.keep_large_first(part + 1), None);
    assert_eq!(chain.records(), 3);
    assert_eq!(chain.keep_large_first(part), Some(part as u32));
    assert_eq!((chain.records(), chain.messages), (2, 2));
    assert_eq!((chain.parts.len(), chain.bytes), (1, part));
    assert_eq!(Chain::default().keep_large_first(0), None);
}

/// A chain of records of these sizes, with so many messages each.
fn init(records: &[(u32, u64)]) -> Chain {
    let mut chain = Chain {
        log: LogId::new(3),
        ..Chain::default()
    };
    let (mut offset, mut position) = (7, 1_000);
    for (size, messages) in records {
        chain.places.push(Place {
            first: Offset::new(offset),
            next: Offset::new(offset + messages),
            position: Position::new(position),
            size: *size,
        });
        (offset, position) = (offset + messages, position + u64::from(*size));
        chain.bytes += *size as usize;
    }
    chain
}

#[test]
fn a_cut_counts_what_is_out_and_what_will_be_with_the_tail() {
    let chain = init(&[(10, 1), (20, 5), (30, 2)]);
    let cut = |sent: usize| {
        let cut = chain.cut(sent);
        let tail = cut
            .tail
            .map(|tail| (tail.position().get(), tail.size(), tail.sent));
        (cut.cursor.get(), tail, cut.records, cut.messages)
    };
    assert_eq!(cut(0), (7, None, 0, 0));
    assert_eq!(cut(1), (8, Some((1_000, 10, 1)), 1, 1));
    assert_eq!(cut(9), (8, Some((1_000, 10, 9)), 1, 1));
    assert_eq!(cut(10), (8, None, 1, 1));
    assert_eq!(cut(11), (13, Some((1_010, 20, 1)), 2, 6));
    assert_eq!(cut(30), (13, None, 2, 6));
    assert_eq!(cut(59), (15, Some((1_030, 30, 29)), 3, 8));
    assert_eq!(cut(60), (15, None, 3, 8));
    assert_eq!(
        chain.cut(11).tail.map(|tail| tail.log()),
        Some(LogId::new(3))
    );
}

/// Records of these sizes that lie together, in a block that was read from the disk.
fn on_disk(sizes: &[usize]) -> (Rig, Vec<Place>) {
    let mut rig = Rig::new();
    let records: Vec<_> = sizes.iter().map(|size| (TOPIC, *size)).collect();
    publish(&mut rig, &records);
    rig.publish("synced/rest", LARGE, COLD);
    rig.pass(COOLING_MS);
    rig.settle();
    let places = places(&mut rig, TOPIC);
    let Err(Broken::Cold(cold)) = build(&mut rig, TOPIC, &places) else {
        panic!("it is not in memory");
    };
    rig.parts().logs.populate(cold, u64::MAX >> 1);
    rig.settle();
    (rig, places)
}

/// The file with the first record, and where that begins in it.
fn file_of(rig: &Rig, place: Place) -> (PathBuf, usize) {
    let mut files: Vec<PathBuf> = rig.disk.files().into_iter().map(|(path, _)| path).collect();
    files.sort();
    let holds = |path: &PathBuf| {
        let content = rig.disk.content(path)?;
        let name = TOPIC.as_bytes();
        let at = content.windows(name.len()).position(|part| part == name)?;
        (content.len() > 1 << 20).then_some(at)
    };
    let path = files.into_iter().find(|path| holds(path).is_some());
    (path.expect("it is there"), place.position.get() as usize)
}

#[test]
fn a_damaged_record_ends_the_chain_before_it() {
    let (mut rig, places) = on_disk(&[1_000, 1_000, 1_000]);
    let (path, _) = file_of(&rig, places[0]);
    rig.disk
        .damage(&path, places[1].position.get() as usize + 500);
    rig.pass(COOLING_MS);
    rig.settle();
    let Err(Broken::Cold(cold)) = build(&mut rig, TOPIC, &places) else {
        panic!("it is looked at again");
    };
    rig.parts().logs.populate(cold, u64::MAX >> 1);
    rig.settle();
    assert_eq!(built(&mut rig, TOPIC, &places).records(), 1);
    assert!(matches!(
        build(&mut rig, TOPIC, &places[1..]),
        Err(Broken::Damaged)
    ));
    assert_eq!(built(&mut rig, TOPIC, &places[2..]).records(), 1);
}

/// Sends a chain from the disk whose bytes are missing from `missing_from` on. Returns the corrected outcome, and whether the
/// session is blocked.
fn look_again(missing_from: Option<usize>, sent: Sent) -> (Sent, bool) {
    let sizes = [1_000, 100_000];
    let (mut rig, places) = on_disk(&sizes);
    let client: Client = rig.join();
    let chain = built(&mut rig, TOPIC, &places);
    assert_eq!((chain.records(), chain.has_mapped), (2, true));
    if let Some(from) = missing_from {
        let (path, begin) = file_of(&rig, places[0]);
        // Missing bytes read as zeroes.
        let missing = begin + from..begin + chain.bytes;
        rig.disk.zero(&path, missing.clone());
        let missing = missing.start as u64..missing.end as u64;
        rig.disk.fail_reads(&path, missing);
    }
    let parts = rig.parts();
    let session = parts.sessions.get_mut(client.id).expect("a session");
    session.blocked = true;
    let logs: &mut Logs = &mut parts.logs;
    let sent = chain.look_again(session, logs.reader(chain.log), sent);
    (sent, session.blocked)
}

#[test]
fn outcomes_stay_as_they_are_where_no_bytes_are_missing() {
    for sent in [Sent::Bytes(0), Sent::Bytes(10), Sent::Gone] {
        assert_eq!(look_again(None, sent), (sent, true));
    }
    assert_eq!(look_again(None, Sent::Unreadable), (Sent::Gone, true));
}

#[test]
fn a_session_does_not_wait_for_its_socket_where_bytes_are_missing() {
    let first = record(TOPIC, 1_000).len();
    assert_eq!(
        look_again(Some(0), Sent::Unreadable),
        (Sent::Bytes(0), false)
    );
    assert_eq!(
        look_again(Some(first), Sent::Bytes(first)),
        (Sent::Bytes(first), false)
    );
    assert_eq!(
        look_again(Some(first + 8_192), Sent::Bytes(first + 8_000)),
        (Sent::Gone, false)
    );
    assert_eq!(look_again(Some(0), Sent::Bytes(0)), (Sent::Bytes(0), true));
}

#[test]
fn a_session_waits_for_its_full_socket_also_where_another_record_of_the_block_is_damaged() {
    let (mut rig, places) = on_disk(&[1_000, 100_000, 1_000]);
    let (path, _) = file_of(&rig, places[0]);
    rig.disk
        .damage(&path, places[2].position.get() as usize + 500);
    rig.pass(COOLING_MS);
    rig.settle();
    let Err(Broken::Cold(cold)) = build(&mut rig, TOPIC, &places) else {
        panic!("it is looked at again");
    };
    rig.parts().logs.populate(cold, u64::MAX >> 1);
    rig.settle();
    let client = rig.join();
    let chain = built(&mut rig, TOPIC, &places[..2]);
    assert_eq!(chain.records(), 2);
    let parts = rig.parts();
    let session = parts.sessions.get_mut(client.id).expect("a session");
    let first = record(TOPIC, 1_000).len();
    for sent in [100, first, first + 50_000].map(Sent::Bytes) {
        session.blocked = true;
        let seen = chain.look_again(session, parts.logs.reader(chain.log), sent);
        assert_eq!((seen, session.blocked), (sent, true));
    }
}

#[test]
fn bytes_that_are_sent_already_may_be_missing() {
    let (mut rig, places) = on_disk(&[1_000, 100_000]);
    let client = rig.join();
    let chain = built(&mut rig, TOPIC, &places);
    let (path, begin) = file_of(&rig, places[0]);
    let first = record(TOPIC, 1_000).len();
    rig.disk.zero(&path, begin..begin + first);
    rig.disk
        .fail_reads(&path, begin as u64..(begin + first) as u64);
    let parts = rig.parts();
    let session = parts.sessions.get_mut(client.id).expect("a session");
    let mut look = |sent| {
        session.blocked = true;
        let reader = parts.logs.reader(chain.log);
        let seen = chain.look_again(session, reader, Sent::Bytes(sent));
        (seen, session.blocked)
    };
    assert_eq!(look(first - 1), (Sent::Gone, false));
    assert_eq!(look(first), (Sent::Bytes(first), true));
    assert_eq!(look(first + 1), (Sent::Bytes(first + 1), true));
}
