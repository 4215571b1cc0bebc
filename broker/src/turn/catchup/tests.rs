use std::path::PathBuf;

use oyez_protocol::command::Start;
use oyez_protocol::limits::RECORD_HEADER_SIZE;
use oyez_storage::{Fault, OpKind, Place};

use super::*;
use crate::net::memory::End;
use crate::parts::catchups::Catchup;
use crate::rig::{Client, Rig, lines, record, settings, settle};

const TOPIC: &str = "synced/t";
/// Records of this size fill a block soon.
const LARGE: usize = 250 << 10;
/// So many records that the first ones are not in memory.
const COLD: usize = 18;
/// Longer than what was written or read last counts as being in memory.
const COOLING_MS: u64 = 20_000;

fn numbered(topic: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{topic} {number}")).collect()
}

/// A rig with this many records in a topic, and a client that is about to get all of them from the log.
fn with_history(topic: &str, size: usize, count: usize) -> (Rig, Client) {
    let mut rig = Rig::new();
    rig.publish(topic, size, count);
    let client = rig.join();
    client.peer.set_room(64 << 20);
    begin(&mut rig, &client, topic);
    (rig, client)
}

/// Lets a client subscribe from the beginning, up to where its catch-up has its places.
fn begin(rig: &mut Rig, client: &Client, topic: &str) {
    client.subscribe(topic, Start::Earliest);
    rig.begin_turn();
    rig.parts().read();
    rig.parts().flushing().run();
    assert_eq!(client.hear(), ["subscribed Ok at 0"]);
}

/// The only catch-up there is.
fn catchup(rig: &mut Rig) -> &mut Catchup {
    rig.parts().catchups.begun_mut(0)
}

fn has_catchup(rig: &mut Rig) -> bool {
    rig.parts().catchups.get(0).is_some()
}

fn delivery(rig: &mut Rig, client: &Client, topic: &str) -> Delivery {
    let place = rig.place(client, topic);
    let found = rig.parts().feeds.subscription(place);
    found.delivery()
}

/// A rig with a client that is about to get a log whose first records are not in memory.
fn with_cold_history() -> (Rig, Client) {
    let mut rig = Rig::new();
    rig.publish(TOPIC, LARGE, COLD);
    rig.pass(COOLING_MS);
    rig.settle();
    let client = rig.join();
    client.peer.set_room(64 << 20);
    begin(&mut rig, &client, TOPIC);
    (rig, client)
}

fn go_on(rig: &mut Rig) -> SendProgress {
    rig.parts().serving().go_on(0)
}

/// Lets the disk do what it was asked for, and the shard take its answers.
fn let_the_disk_work(rig: &mut Rig) {
    rig.parts().submit().expect("the disk works");
    rig.parts().pump().expect("the store works");
}

#[test]
fn places_come_in_batches_from_an_own_log_until_everything_is_out() {
    let (mut rig, client) = with_history("t", 10, PLACES_MAX + 20);
    assert_eq!(catchup(&mut rig).left().len(), PLACES_MAX);
    assert_eq!(rig.take_to_send(), [client.id]);
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(client.hear(), numbered("t", 0..PLACES_MAX));
    assert_eq!(catchup(&mut rig).left(), []);
    assert_eq!(go_on(&mut rig), SendProgress::Done, "it asks for more");
    assert_eq!(catchup(&mut rig).left().len(), 20);
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(client.hear(), numbered("t", PLACES_MAX..PLACES_MAX + 20));
    assert!(matches!(
        delivery(&mut rig, &client, "t"),
        Delivery::CatchingUp(0)
    ));
    assert_eq!(go_on(&mut rig), SendProgress::Done);
    assert!(!has_catchup(&mut rig), "nothing is left");
    assert_eq!(delivery(&mut rig, &client, "t"), Delivery::Live);
    assert_eq!(rig.metrics().catchups.get(), 1);
    assert_eq!(rig.metrics().gaps.get(), 0);
}

/// A rig of two shards, with records in a topic whose log the second one owns.
fn across_shards(count: usize) -> ([Rig; 2], String, Client) {
    let [mut first, mut second] = Rig::shards(settings());
    let shared = first.parts().context.shared.clone();
    let mut topics = (0..).map(|number| format!("t/{number}"));
    let topic = topics.find(|topic| shared.owner(shared.log_of(topic)) == 1);
    let topic = topic.expect("there are enough topics");
    second.publish(&topic, 10, count);
    let client = first.join();
    client.subscribe(&topic, Start::Earliest);
    settle(&mut [&mut first, &mut second]);
    ([first, second], topic, client)
}

/// Lets a question come to the second shard, and its answer back.
fn exchange(first: &mut Rig, second: &mut Rig) {
    first.parts().submit().expect("the disk works");
    second.parts().hear();
    second.parts().submit().expect("the disk works");
    first.parts().hear();
}

#[test]
fn places_in_the_log_of_another_shard_are_asked_for_and_waited_for() {
    let ([mut first, mut second], topic, client) = across_shards(3);
    let heard = [
        vec!["subscribed Ok at 0".to_owned()],
        numbered(&topic, 0..3),
    ];
    assert_eq!(client.hear(), heard.concat());
    let place = first.place(&client, &topic);
    let back = first.parts().feeds.subscription_mut(place);
    back.cursor = Offset::new(1);
    assert_eq!(
        first.parts().serving().begin(client.id, place),
        SendProgress::Done
    );
    assert_eq!(catchup(&mut first).waits, Waits::Places);
    assert_eq!(go_on(&mut first), SendProgress::Done);
    assert_eq!(client.hear(), [""; 0], "it waits");
    assert_eq!(first.take_to_send(), []);
    exchange(&mut first, &mut second);
    assert_eq!(catchup(&mut first).waits, Waits::Nothing);
    assert_eq!(first.take_to_send(), [client.id]);
    assert_eq!(go_on(&mut first), SendProgress::More);
    assert_eq!(client.hear(), numbered(&topic, 1..3));
}

#[test]
fn an_answer_for_a_session_that_has_ended_is_dropped() {
    for is_reset in [false, true] {
        let ([mut first, mut second], topic, client) = across_shards(3);
        client.hear();
        let place = first.place(&client, &topic);
        first.parts().serving().begin(client.id, place);
        if is_reset {
            client.peer.reset();
        } else {
            client.unsubscribe(&topic);
        }
        first.begin_turn();
        first.parts().read();
        exchange(&mut first, &mut second);
        settle(&mut [&mut first, &mut second]);
        let heard: &[&str] = if is_reset { &[] } else { &["unsubscribed Ok"] };
        assert_eq!(client.hear(), heard);
        assert!(!has_catchup(&mut first));
    }
}

/// An answer of the log's owner.
fn answer(rig: &mut Rig, places: &[Place], earliest: u64, head: u64) -> ResolveAnswer {
    ResolveAnswer {
        catchup: rig.parts().catchups.token(0),
        places: places.to_vec(),
        earliest: Offset::new(earliest),
        head: Offset::new(head),
    }
}

#[test]
fn what_is_missing_before_the_first_place_is_told_with_its_cause() {
    // The cursor is at 0, and the places begin at 2, or there are none.
    let answers = [
        (true, 2, 4, "gap Retention 0 to 2"),
        (true, 0, 4, "gap Damage 0 to 2"),
        (false, 4, 4, "gap Retention 0 to 4"),
        (false, 0, 4, "gap Damage 0 to 4"),
    ];
    for (has_places, earliest, head, told) in answers {
        let (mut rig, client) = with_history("t", 10, 4);
        let places = catchup(&mut rig).places[2..].to_vec();
        let places = if has_places { places } else { Vec::new() };
        let answer = answer(&mut rig, &places, earliest, head);
        rig.take_to_send();
        rig.parts().serving().resolved(answer);
        assert_eq!(rig.take_to_send(), [client.id]);
        assert_eq!(has_catchup(&mut rig), has_places);
        assert_eq!(rig.cursor(&client, "t"), if has_places { 2 } else { 4 });
        assert_eq!(rig.metrics().gaps.get(), 1);
        rig.parts().sessions.schedule_send(client.id);
        rig.settle();
        let rest = if has_places {
            numbered("t", 2..4)
        } else {
            vec![]
        };
        assert_eq!(client.hear(), [vec![told.to_owned()], rest].concat());
    }
}

#[test]
fn the_cursor_of_a_session_that_is_to_end_does_not_pass_a_gap_that_it_is_not_told_of() {
    // Streams of several topics are told where they stand when they end.
    for has_places in [true, false] {
        let (mut rig, client) = with_history("t", 10, 4);
        let places = catchup(&mut rig).places[2..].to_vec();
        let places = if has_places { places } else { Vec::new() };
        let answer = answer(&mut rig, &places, 0, 4);
        rig.refuse(&client, "enough");
        rig.parts().serving().resolved(answer);
        assert_eq!(rig.cursor(&client, "t"), 0);
        assert_eq!(rig.metrics().gaps.get(), 0);
        rig.settle();
        assert_eq!(client.hear(), ["goodbye Unexpected: enough"]);
    }
}

/// A reader of payloads, which cannot be told of a gap, up to where its catch-up has its places.
fn reader_of(rig: &mut Rig, topic: &str) -> Client {
    let client = rig.connect();
    client.peer.set_room(64 << 20);
    let request =
        format!("GET /{topic}/raw?from=earliest&follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.peer.write(request.as_bytes());
    rig.begin_turn();
    rig.parts().read();
    rig.parts().flushing().run();
    let begun = client.peer.read();
    assert!(begun.starts_with(b"HTTP/1.1 200 OK\r\n"));
    client
}

#[test]
fn a_session_that_cannot_be_told_of_a_gap_is_ended() {
    for has_places in [true, false] {
        let mut rig = Rig::new();
        rig.publish("t", 10, 4);
        let client = reader_of(&mut rig, "t");
        let places = catchup(&mut rig).places[2..].to_vec();
        let places = if has_places { places } else { Vec::new() };
        let answer = answer(&mut rig, &places, 2, 4);
        rig.parts().serving().resolved(answer);
        rig.settle();
        assert_eq!(client.peer.how_it_ended(), End::Aborted);
        assert!(client.peer.read().is_empty());
    }
    let mut rig = Rig::new();
    rig.publish("t", 10, 4);
    let client = reader_of(&mut rig, "t");
    catchup(&mut rig).places.remove(0);
    rig.settle();
    assert_eq!(client.peer.how_it_ended(), End::Aborted);
}

#[test]
fn a_session_that_cannot_be_told_that_a_range_cannot_be_read_is_ended() {
    let mut rig = Rig::new();
    rig.publish(TOPIC, LARGE, COLD);
    rig.pass(COOLING_MS);
    rig.settle();
    let client = reader_of(&mut rig, TOPIC);
    rig.disk
        .fail_next(OpKind::Populate, Fault::Error(libc::EIO));
    go_on(&mut rig);
    let_the_disk_work(&mut rig);
    rig.settle();
    assert_eq!(client.peer.how_it_ended(), End::Aborted);
}

#[test]
fn without_places_a_cursor_at_the_end_is_where_it_should_be() {
    let (mut rig, client) = with_history("t", 10, 4);
    let place = rig.place(&client, "t");
    let at_end = rig.parts().feeds.subscription_mut(place);
    at_end.cursor = Offset::new(4);
    for head in [4, 3] {
        let answer = answer(&mut rig, &[], 0, head);
        rig.parts().serving().resolved(answer);
        assert_eq!(rig.cursor(&client, "t"), 4);
        assert_eq!(rig.metrics().gaps.get(), 0);
        assert!(!has_catchup(&mut rig));
        rig.parts().catchups.begin(client.id, place.topic);
    }
}

#[test]
fn places_for_a_full_socket_are_not_kept() {
    let (mut rig, client) = with_history("t", 10, 4);
    let places = catchup(&mut rig).places.clone();
    rig.session(&client).set_blocked(true);
    let answer = answer(&mut rig, &places, 0, 4);
    rig.parts().serving().resolved(answer);
    assert!(!has_catchup(&mut rig));
    assert_eq!(delivery(&mut rig, &client, "t"), Delivery::Live);
}

#[test]
fn a_hole_between_places_is_told_when_it_is_come_to() {
    let (mut rig, client) = with_history("t", 10, 4);
    catchup(&mut rig).places.remove(2);
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(client.hear(), numbered("t", 0..2));
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(rig.cursor(&client, "t"), 3);
    rig.settle();
    assert_eq!(client.hear(), ["gap Damage 2 to 3", "t 3"]);
}

#[test]
fn a_window_that_reaches_back_to_the_cursor_takes_over_when_a_batch_is_out() {
    let (mut rig, client) = with_history("t", 10, 4);
    let places = catchup(&mut rig).places.clone();
    catchup(&mut rig).places.truncate(2);
    let place = rig.place(&client, "t");
    let topic = rig.parts().feeds.subscribed_mut(place.topic);
    for place in places {
        topic.push(place, 100);
    }
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert!(has_catchup(&mut rig), "not before the places are out");
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert!(!has_catchup(&mut rig));
    assert_eq!(delivery(&mut rig, &client, "t"), Delivery::Live);
    rig.settle();
    assert_eq!(client.hear(), numbered("t", 0..4));
}

#[test]
fn a_full_socket_makes_it_a_bare_cursor_again() {
    let (mut rig, client) = with_history("t", 100, 4);
    let whole = record("t", 100).len();
    client.peer.set_room(whole + 5);
    assert_eq!(go_on(&mut rig), SendProgress::Blocked);
    assert!(!has_catchup(&mut rig));
    assert_eq!(delivery(&mut rig, &client, "t"), Delivery::Live);
    assert_eq!((rig.cursor(&client, "t"), rig.tail(&client)), (2, Some(5)));
    let mut heard = client.peer.read();
    client.peer.set_room(1 << 20);
    rig.settle();
    heard.extend(client.peer.read());
    assert_eq!(lines(&heard), numbered("t", 0..4));
    assert_eq!(rig.metrics().catchups.get(), 2);
}

#[test]
fn a_catch_up_whose_connection_is_reset_reports_that() {
    let (mut rig, client) = with_history("t", 100, 4);
    client.peer.reset();
    assert_eq!(go_on(&mut rig), SendProgress::Gone);
}

#[test]
fn one_more_than_there_may_be_waits_as_a_bare_cursor() {
    let (mut rig, client) = with_history("t", 10, 1);
    rig.settle();
    let place = rig.place(&client, "t");
    let another = SessionId::new(77, 7);
    let others = std::iter::from_fn(|| rig.parts().catchups.begin(another, 77));
    let others: Vec<u32> = others.collect();
    assert_eq!(
        rig.parts().serving().begin(client.id, place),
        SendProgress::Done
    );
    assert!(rig.session(&client).is_waiting());
    assert_eq!(delivery(&mut rig, &client, "t"), Delivery::Live);
    assert_eq!(rig.metrics().catchups.get(), 1);
    assert!(!rig.parts().catchups.can_start());
    rig.parts().catchups.end(others[0]);
    assert!(rig.parts().catchups.can_start());
}

#[test]
fn records_that_are_dropped_after_their_places_were_told_are_a_gap() {
    let mut rig = Rig::with(crate::Config {
        memory_log_bytes: 4 << 20,
        ..settings()
    });
    rig.publish("t", LARGE, 2);
    let client = rig.join();
    begin(&mut rig, &client, "t");
    rig.take_to_send();
    rig.publish("t", LARGE, 24);
    assert_eq!(catchup(&mut rig).left()[0].first, Offset::new(0));
    assert_eq!(go_on(&mut rig), SendProgress::Done, "it asks again");
    let first = catchup(&mut rig).left()[0].first;
    assert!(first > Offset::new(0));
    assert_eq!(rig.cursor(&client, "t"), first.get());
    client.peer.set_room(64 << 20);
    rig.settle();
    let heard = client.hear();
    assert_eq!(heard[0], format!("gap Retention 0 to {}", first.get()));
    assert_eq!(heard[1..], numbered("t", first.get() as usize..26));
}

#[test]
fn cold_bytes_are_read_ahead_while_the_shard_goes_on() {
    let (mut rig, client) = with_cold_history();
    rig.disk.hold(OpKind::Populate);
    assert_eq!(go_on(&mut rig), SendProgress::Done);
    assert_eq!(catchup(&mut rig).waits, Waits::Bytes);
    let_the_disk_work(&mut rig);
    rig.take_to_send();
    assert_eq!(go_on(&mut rig), SendProgress::Done, "it waits for the disk");
    assert_eq!(client.hear(), [""; 0]);
    rig.disk.lift(OpKind::Populate);
    let_the_disk_work(&mut rig);
    assert_eq!(catchup(&mut rig).waits, Waits::Nothing);
    assert_eq!(rig.take_to_send(), [client.id]);
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(client.hear(), numbered(TOPIC, 0..1));
    rig.parts().sessions.schedule_send(client.id);
    rig.settle();
    assert_eq!(client.hear(), numbered(TOPIC, 1..COLD));
}

#[test]
fn what_cannot_be_read_ahead_is_a_gap_of_one_record() {
    let (mut rig, client) = with_cold_history();
    rig.disk
        .fail_next(OpKind::Populate, Fault::Error(libc::EIO));
    go_on(&mut rig);
    let_the_disk_work(&mut rig);
    assert_eq!(rig.cursor(&client, TOPIC), 1);
    assert_eq!(catchup(&mut rig).left()[0].first, Offset::new(1));
    rig.settle();
    let expected = [
        vec!["gap Damage 0 to 1".to_owned()],
        numbered(TOPIC, 1..COLD),
    ];
    assert_eq!(client.hear(), expected.concat());
}

#[test]
fn a_socket_that_is_full_when_cold_bytes_come_has_no_use_for_them() {
    let (mut rig, client) = with_cold_history();
    go_on(&mut rig);
    rig.session(&client).set_blocked(true);
    let_the_disk_work(&mut rig);
    assert!(!has_catchup(&mut rig));
    assert_eq!(delivery(&mut rig, &client, TOPIC), Delivery::Live);
}

#[test]
fn cold_bytes_for_a_session_that_has_ended_are_dropped() {
    let (mut rig, client) = with_cold_history();
    rig.disk.hold(OpKind::Populate);
    go_on(&mut rig);
    client.unsubscribe(TOPIC);
    rig.settle();
    rig.disk.lift(OpKind::Populate);
    rig.settle();
    assert_eq!(client.hear(), ["unsubscribed Ok"]);
}

/// The segment with the first records, and the bytes of one of them in it.
fn first_segment(rig: &mut Rig) -> (PathBuf, usize) {
    let files = rig.disk.files().into_iter().map(|(path, _)| path);
    let mut found: Vec<(PathBuf, usize)> = files
        .filter_map(|path| {
            let content = rig.disk.content(&path)?;
            let name = TOPIC.as_bytes();
            let at = content.windows(name.len()).position(|part| part == name)?;
            (content.len() > 1 << 20).then_some((path, at))
        })
        .collect();
    found.sort();
    found.swap_remove(0)
}

#[test]
fn a_damaged_record_is_a_gap_and_those_around_it_come() {
    let (mut rig, client) = with_cold_history();
    let (path, at) = first_segment(&mut rig);
    let record = record(TOPIC, LARGE).len();
    rig.disk.damage(&path, at + record + 100);
    rig.settle();
    let heard = client.hear();
    assert_eq!(
        heard[..3],
        ["synced/t 0", "gap Damage 1 to 2", "synced/t 2"]
    );
    assert_eq!(heard[3..], numbered(TOPIC, 3..COLD));
    assert_eq!(rig.metrics().gaps.get(), 1);
}

#[test]
fn a_stream_that_is_cut_beside_a_damaged_record_goes_on_there() {
    let (mut rig, _) = with_cold_history();
    let (path, at) = first_segment(&mut rig);
    let record = record(TOPIC, LARGE).len();
    rig.disk.damage(&path, at + record + 100);
    let client = rig.connect();
    client.peer.set_room(1_000);
    let request = format!("GET /{TOPIC}/sse?from=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.peer.write(request.as_bytes());
    rig.settle();
    let mut heard = client.peer.read();
    assert!(!heard.is_empty());
    client.peer.set_room(64 << 20);
    rig.settle();
    heard.extend(client.peer.read());
    let text = String::from_utf8(heard).expect("text");
    let events = text.matches("\ndata: ").count();
    assert_eq!(events, 1 + COLD, "where it begins, and each, or its gap");
    assert_eq!(text.matches("event: $gap").count(), 1);
}

/// A subscriber whose first records have been read ahead.
fn with_warm_history() -> (Rig, Client) {
    let (mut rig, client) = with_cold_history();
    go_on(&mut rig);
    let_the_disk_work(&mut rig);
    rig.take_to_send();
    (rig, client)
}

#[test]
fn a_whole_record_in_the_place_of_another_one_is_a_gap() {
    let (mut rig, client) = with_cold_history();
    let (path, _) = first_segment(&mut rig);
    let content = rig.disk.content(&path).expect("it is there");
    let (name, size) = (TOPIC.as_bytes(), record(TOPIC, LARGE).len());
    let names = content.windows(name.len()).enumerate();
    let names = names.filter(|(_, part)| *part == name);
    let records: Vec<usize> = names
        .map(|(at, _)| (at - RECORD_HEADER_SIZE) / 8 * 8)
        .collect();
    for (number, place) in [(3, 1), (5, 4)] {
        let astray = &content[records[number]..records[number] + size];
        rig.disk.overlay(&path, records[place], astray);
    }
    rig.settle();
    let heard = client.hear();
    assert_eq!(
        heard[..6],
        [
            "synced/t 0",
            "gap Damage 1 to 2",
            "synced/t 2",
            "synced/t 3",
            "gap Damage 4 to 5",
            "synced/t 5"
        ]
    );
    assert_eq!(heard[6..], numbered(TOPIC, 6..COLD));
}

#[test]
fn large_runs_leave_from_their_file() {
    let (mut rig, client) = with_warm_history();
    let whole = record(TOPIC, LARGE).len() as u64;
    let before = {
        let metrics = rig.metrics();
        [
            &metrics.sends,
            &metrics.deliveries,
            &metrics.messages_out,
            &metrics.bytes_out,
        ]
        .map(|counter| counter.get())
    };
    let calls = rig.net.calls();
    assert_eq!(go_on(&mut rig), SendProgress::More);
    let after = rig.net.calls();
    assert_eq!(
        (after.files - calls.files, after.sends - calls.sends),
        (1, 0)
    );
    let metrics = rig.metrics();
    let after = [
        &metrics.sends,
        &metrics.deliveries,
        &metrics.messages_out,
        &metrics.bytes_out,
    ]
    .map(|counter| counter.get());
    let added = std::iter::zip(after, before).map(|(after, before)| after - before);
    assert_eq!(added.collect::<Vec<_>>(), [1, 1, 1, whole]);
    assert_eq!(client.hear(), numbered(TOPIC, 0..1));
    assert_eq!(catchup(&mut rig).left()[0].first, Offset::new(1));
    rig.parts().sessions.schedule_send(client.id);
    rig.settle();
    assert_eq!(client.hear(), numbered(TOPIC, 1..COLD));
}

#[test]
fn a_file_leaves_as_far_as_the_socket_takes_it() {
    let (mut rig, client) = with_warm_history();
    client.peer.set_room(10);
    assert_eq!(go_on(&mut rig), SendProgress::Blocked);
    assert_eq!(
        (rig.cursor(&client, TOPIC), rig.tail(&client)),
        (1, Some(10))
    );
    assert!(rig.session(&client).is_blocked() && !has_catchup(&mut rig));
    let mut heard = client.peer.read();
    client.peer.set_room(64 << 20);
    rig.settle();
    heard.extend(client.peer.read());
    assert_eq!(lines(&heard), numbered(TOPIC, 0..COLD));
}

#[test]
fn a_file_goes_on_from_where_a_visit_has_ended() {
    let (mut rig, client) = with_warm_history();
    client.peer.dribble(1 << 10);
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(
        (rig.cursor(&client, TOPIC), rig.tail(&client)),
        (1, Some(16 << 10))
    );
    assert!(!rig.session(&client).is_blocked() && has_catchup(&mut rig));
}

#[test]
fn a_reset_while_a_file_is_sent_is_told() {
    let (mut rig, client) = with_warm_history();
    client.peer.reset();
    assert_eq!(go_on(&mut rig), SendProgress::Gone);
}

#[test]
fn a_file_that_was_cut_is_not_sent_from_again() {
    let (mut rig, client) = with_warm_history();
    rig.net.end_next_file();
    assert_eq!(go_on(&mut rig), SendProgress::More);
    let before = rig.net.calls().files;
    assert_eq!(rig.cursor(&client, TOPIC), 0, "nothing has left");
    assert_eq!(go_on(&mut rig), SendProgress::More);
    assert_eq!(rig.net.calls().files, before);
    assert_eq!(client.hear(), numbered(TOPIC, 0..1), "the map has it");
}

#[test]
fn small_runs_leave_from_the_map() {
    let mut rig = Rig::new();
    rig.publish(TOPIC, 1_000, 3);
    rig.publish("synced/rest", LARGE, COLD);
    let logs = [TOPIC, "synced/rest"].map(|topic| rig.parts().context.shared.log_of(topic));
    assert_eq!(logs[0], logs[1], "one pushes the other out of memory");
    rig.pass(COOLING_MS);
    rig.settle();
    let client = rig.join();
    begin(&mut rig, &client, TOPIC);
    rig.settle();
    assert_eq!(client.hear(), numbered(TOPIC, 0..3));
    assert_eq!(rig.net.calls().files, 0);
    assert!(rig.disk.held() == 0 && rig.metrics().catchups.get() == 1);
}

/// A subscriber that has got a part of its first record, whose rest is not in memory.
fn with_cold_tail() -> (Rig, Client, Vec<u8>) {
    let (mut rig, client) = with_cold_history();
    rig.take_to_send();
    go_on(&mut rig);
    let_the_disk_work(&mut rig);
    client.peer.set_room(1_000);
    assert_eq!(go_on(&mut rig), SendProgress::Blocked);
    rig.pass(COOLING_MS);
    rig.settle();
    let heard = client.peer.read();
    assert_eq!(heard.len(), 1_000);
    client.peer.set_room(64 << 20);
    rig.begin_turn();
    (rig, client, heard)
}

#[test]
fn the_rest_of_a_cold_record_is_read_ahead_once() {
    let (mut rig, client, mut heard) = with_cold_tail();
    rig.disk.hold(OpKind::Populate);
    for _ in 0..2 {
        rig.parts().sessions.schedule_send(client.id);
        rig.parts().flushing().run();
        assert!(rig.session(&client).is_warming());
        rig.parts().submit().expect("the disk works");
    }
    assert_eq!(rig.disk.held(), 1);
    assert_eq!(client.peer.read(), b"", "nothing comes between");
    rig.disk.lift(OpKind::Populate);
    rig.parts().pump().expect("the store works");
    assert!(!rig.session(&client).is_warming());
    rig.settle();
    heard.extend(client.peer.read());
    assert_eq!(lines(&heard), numbered(TOPIC, 0..COLD));
    assert_eq!(rig.metrics().gaps.get(), 0);
}

#[test]
fn a_session_with_a_part_of_a_record_that_cannot_be_read_is_ended() {
    let (mut rig, client, _) = with_cold_tail();
    rig.disk.fail(OpKind::Populate, Fault::Error(libc::EIO));
    rig.parts().flushing().run();
    let_the_disk_work(&mut rig);
    assert!(rig.parts().sessions.get(client.id).is_none());
    rig.settle();
    assert!(client.peer.is_closed());
}

#[test]
fn the_rest_of_a_record_for_a_session_that_has_ended_is_dropped() {
    let (mut rig, client, _) = with_cold_tail();
    rig.disk.hold(OpKind::Populate);
    rig.parts().flushing().run();
    rig.parts().submit().expect("the disk works");
    client.peer.reset();
    rig.settle();
    let next = rig.join();
    assert_eq!(next.id.key(), client.id.key(), "its place was given away");
    rig.session(&next).begin_warming();
    rig.disk.lift(OpKind::Populate);
    let_the_disk_work(&mut rig);
    assert!(rig.session(&next).is_warming());
    assert_eq!(rig.take_to_send(), []);
}
