use oyez_protocol::Position;
use oyez_protocol::limits::Limits;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::RecordBuilder;
use oyez_storage::{Fault, OpKind, StartAt};

use super::*;
use crate::config::Config;
use crate::parts::due::Due;
use crate::rig::{Client, Rig, TOPICS_MAX, settings, settle};

/// Errors of the kernel.
const EIO: i32 = 5;
const EACCES: i32 = 13;
/// Prefixes of topics that are kept in memory, and of those that wait for a disk.
const QUICK: &str = "quick/";
const SYNCED: &str = "synced/";

/// A record whose correlation is `number`.
fn record(topic: &str, size: usize, number: u64) -> Vec<u8> {
    let mut builder = RecordBuilder::new(topic, Limits::HARD).expect("a topic");
    builder
        .push(&MessageRef::new(&vec![b'x'; size]))
        .expect("it fits");
    let mut bytes = Vec::new();
    builder.finish_stored(number, &mut bytes);
    bytes
}

/// Publishes with this step alone.
fn publish(rig: &mut Rig, client: &Client, bytes: &[u8]) -> Handled {
    let record = Record::trusted(bytes).expect("a record");
    rig.parts().publishing().publish(client.id, record)
}

/// Hands records over to shard 1 as if a session of shard 0 had published them; their correlations are their numbers.
fn hand_over(rig: &mut Rig, lane: Lane, (topic, size): (&str, usize), count: u64) {
    let log = rig.parts().context.shared.log_of(topic);
    for number in 0..count {
        let bytes = record(topic, size, number);
        let origin = Origin {
            shard: 0,
            session: SessionId::new(0, 0),
            correlation: number,
            size: bytes.len() as u32,
            lane,
            may_begin: true,
        };
        assert!(
            rig.parts()
                .outbox
                .hand_over(1, Handed { origin, log }, &bytes)
        );
    }
    rig.parts().submit().expect("a disk in memory");
}

/// A turn's outcomes for publishers of this shard, before they are delivered.
fn told(rig: &mut Rig) -> Vec<(u64, Outcome)> {
    let (acks, entries) = rig.parts().publishes.take_told();
    let told = acks
        .iter()
        .map(|ack| (ack.entry.correlation, ack.entry.outcome));
    let told = told.collect();
    rig.parts().publishes.keep_told(acks, entries);
    told
}

/// Records and bytes of a session that wait for their outcome.
fn inflight(rig: &mut Rig, client: &Client) -> (u32, u32) {
    let session = rig.parts().sessions.get(client.id).expect("it is there");
    session.inflight()
}

/// Messages of a topic that an own log shows.
fn visible(rig: &mut Rig, topic: &str) -> u64 {
    let log = rig.parts().context.shared.log_of(topic);
    let located = rig
        .parts()
        .logs
        .locate(log, topic, StartAt::Latest, Position::default());
    located.head.get()
}

/// Two shards, a client of the first, and a topic of the second.
fn two(prefix: &str) -> (Rig, Rig, Client, String) {
    let [mut first, second] = Rig::shards(wide());
    let (client, topic) = (first.join(), first.topic_of(1, prefix));
    (first, second, client, topic)
}

/// Settings with a window that no test fills by chance.
fn wide() -> Config {
    Config {
        inflight_records_max: 100_000,
        inflight_bytes_max: 64 << 20,
        ..settings()
    }
}

/// A shard whose log has refused a record because it has no segment for it: the disk makes none.
fn short_of_segments() -> (Rig, Client) {
    let mut rig = Rig::new();
    rig.disk.hold(OpKind::Prepare);
    let client = rig.join();
    let handled = publish(&mut rig, &client, &record("synced/a", 10, 1));
    assert_eq!(handled, Handled::Later(Until::Room));
    assert_eq!(inflight(&mut rig, &client), (0, 0));
    (rig, client)
}

#[test]
fn a_record_counts_in_its_session_until_its_outcome_is_delivered() {
    let mut rig = Rig::new();
    let (client, bytes) = (rig.join(), record("a", 10, 7));
    let size = bytes.len() as u32;
    for number in 1..=2 {
        assert_eq!(publish(&mut rig, &client, &bytes), Handled::Done);
        assert_eq!(inflight(&mut rig, &client), (number, number * size));
    }
    rig.pass(3);
    rig.settle();
    assert_eq!(client.hear_outcomes(), [[(7, Outcome::Ok); 2]]);
    assert_eq!(inflight(&mut rig, &client), (0, 0));
    let metrics = rig.parts().context.metrics();
    assert_eq!(
        (metrics.records_in.get(), metrics.messages_in.get()),
        (2, 2)
    );
    assert_eq!(metrics.bytes_in_wire.get(), u64::from(2 * size));
    let raw = Record::trusted(&bytes).expect("a record").raw_size();
    assert_eq!(metrics.bytes_in_raw.get(), u64::from(2 * raw));
    assert_eq!(metrics.visible_us.counted(), (2, 6_000));
}

#[test]
fn a_publisher_with_as_many_records_under_way_as_it_may_waits_for_an_answer() {
    let config = Config {
        inflight_records_max: 2,
        ..settings()
    };
    let mut rig = Rig::with(config);
    let (client, bytes) = (rig.join(), record("a", 10, 1));
    let mut handled = || publish(&mut rig, &client, &bytes);
    assert_eq!([handled(), handled()], [Handled::Done; 2]);
    assert_eq!(handled(), Handled::Later(Until::Answered));
    assert_eq!(inflight(&mut rig, &client).0, 2);
    rig.settle();
    assert_eq!(publish(&mut rig, &client, &bytes), Handled::Done);
}

#[test]
fn a_record_waits_for_an_answer_when_those_under_way_leave_no_bytes_for_it_but_one_is_always_taken()
{
    let size = record("a", 10, 1).len();
    let config = Config {
        inflight_bytes_max: 2 * size as u32,
        ..settings()
    };
    let mut rig = Rig::with(config);
    let (client, other) = (rig.join(), rig.join());
    let mut handled = |client, size| publish(&mut rig, client, &record("a", size, 1));
    assert_eq!(
        [handled(&client, 10), handled(&client, 10)],
        [Handled::Done; 2]
    );
    assert_eq!(handled(&client, 10), Handled::Later(Until::Answered));
    assert_eq!(handled(&other, 3 * size), Handled::Done);
    assert_eq!(handled(&other, 10), Handled::Later(Until::Answered));
}

#[test]
fn a_publisher_that_waits_for_an_answer_goes_on_when_it_comes() {
    let config = Config {
        inflight_records_max: 1,
        ..settings()
    };
    let mut rig = Rig::with(config);
    let client = rig.join();
    client
        .peer
        .write(&[record("a", 10, 1), record("a", 10, 2)].concat());
    rig.settle();
    assert_eq!(
        client.hear_outcomes(),
        [[(1, Outcome::Ok)], [(2, Outcome::Ok)]]
    );
}

#[test]
fn each_publisher_gets_one_frame_with_its_outcomes_in_their_order() {
    let mut rig = Rig::new();
    let (one, two) = (rig.join(), rig.join());
    for (client, number) in [(&two, 5), (&one, 1), (&two, 4), (&one, 2), (&two, 6)] {
        publish(&mut rig, client, &record("a", 10, number));
    }
    rig.settle();
    assert_eq!(one.hear_outcomes(), [[(1, Outcome::Ok), (2, Outcome::Ok)]]);
    assert_eq!(
        two.hear_outcomes(),
        [[(5, Outcome::Ok), (4, Outcome::Ok), (6, Outcome::Ok)]]
    );
}

#[test]
fn outcomes_of_sessions_that_are_gone_are_dropped() {
    let mut rig = Rig::new();
    let (gone, there) = (rig.join(), rig.join());
    for client in [&gone, &there] {
        publish(&mut rig, client, &record("a", 10, 1));
    }
    rig.parts()
        .sessions
        .get_mut(gone.id)
        .expect("it is there")
        .note_outcomes(1, u32::MAX);
    gone.peer.reset();
    rig.settle();
    assert_eq!(there.hear_outcomes(), [[(1, Outcome::Ok)]]);
    assert!(gone.peer.is_closed());
}

#[test]
fn a_synced_record_has_no_outcome_before_the_disk_has_it() {
    let mut rig = Rig::new();
    rig.publish("synced/a", 10, 1);
    let client = rig.join();
    rig.disk.hold(OpKind::Sync);
    publish(&mut rig, &client, &record("synced/a", 10, 1));
    let since_us = rig.parts().context.now.monotonic_us;
    rig.pass(20);
    rig.settle();
    assert!(client.hear_outcomes().is_empty());
    assert_eq!(rig.parts().publishes.waiting_since_us(), Some(since_us));
    rig.disk.lift(OpKind::Sync);
    rig.settle();
    assert_eq!(client.hear_outcomes(), [[(1, Outcome::Ok)]]);
}

#[test]
fn a_log_that_is_short_of_room_holds_its_publishers_back_and_is_known_to_be_waited_for() {
    let (mut rig, client) = short_of_segments();
    let since_us = rig.parts().context.now.monotonic_us;
    assert_eq!(rig.parts().publishes.waiting_since_us(), Some(since_us));
    assert!(told(&mut rig).is_empty());
    rig.settle();
    rig.disk.lift(OpKind::Prepare);
    rig.parts().freed.take();
    rig.settle();
    assert_eq!(rig.parts().publishes.waiting_since_us(), None);
    assert_eq!(
        publish(&mut rig, &client, &record("synced/a", 10, 1)),
        Handled::Done
    );
}

#[test]
fn a_name_that_is_the_brokers_own_is_not_published_to() {
    let mut rig = Rig::new();
    let client = rig.join();
    let bytes = record("$cursors", 10, 2);
    assert_eq!(publish(&mut rig, &client, &bytes), Handled::Done);
    rig.settle();
    assert_eq!(client.hear_outcomes(), [[(2, Outcome::ReservedTopic)]]);
    assert_eq!(inflight(&mut rig, &client), (0, 0));
    assert_eq!(visible(&mut rig, "$cursors"), 0);
}

#[test]
fn a_full_disk_is_an_outcome_and_no_publisher_waits_for_its_log() {
    let mut rig = Rig::new();
    rig.disk.set_capacity(Some(0));
    let client = rig.join();
    let log = rig.parts().context.shared.log_of("synced/a");
    rig.parts().publishes.refused(log, 5);
    assert_eq!(
        publish(&mut rig, &client, &record("synced/a", 10, 2)),
        Handled::Done
    );
    assert_eq!(told(&mut rig), [(2, Outcome::DiskFull)]);
    assert_eq!(rig.parts().publishes.waiting_since_us(), None);
    assert_eq!(rig.parts().context.metrics().publishes_refused.get(), 1);
    // The log goes on when space is freed.
    rig.disk.set_capacity(None);
    rig.pass(1_000);
    rig.settle();
    assert_eq!(
        publish(&mut rig, &client, &record("synced/a", 10, 3)),
        Handled::Done
    );
    rig.settle();
    assert_eq!(client.hear_outcomes(), [[(3, Outcome::Ok)]]);
}

#[test]
fn a_refusal_may_come_before_the_outcomes_of_records_that_were_sent_earlier() {
    let mut rig = Rig::with(Config {
        inflight_records_max: u32::MAX,
        inflight_bytes_max: u32::MAX,
        ..settings()
    });
    let client = rig.join();
    rig.disk.hold(OpKind::Sync);
    client.peer.write(&record("synced/a", 10, 1));
    rig.settle();
    rig.disk.set_capacity(Some(0));
    // Records that fit into the segments that are there are taken.
    let mut last = 1;
    while client.peer.waiting() == 0 {
        assert!(last < 100, "the disk is full");
        last += 1;
        client.peer.write(&record("synced/a", 200_000, last));
        rig.settle();
        rig.pass(200);
        rig.settle();
    }
    assert_eq!(client.hear_outcomes(), [[(last, Outcome::DiskFull)]]);
    rig.disk.lift(OpKind::Sync);
    rig.settle();
    let outcomes = client.hear_outcomes().concat();
    let expected = (1..last).map(|number| (number, Outcome::Ok));
    assert_eq!(outcomes, expected.collect::<Vec<_>>());
}

#[test]
fn a_publisher_that_waits_for_a_segment_is_refused_when_none_can_be_made() {
    let mut rig = Rig::new();
    rig.disk.fail(OpKind::Prepare, Fault::Error(EACCES));
    let client = rig.join();
    client.peer.write(&record("synced/a", 10, 1));
    rig.settle();
    assert!(client.hear_outcomes().is_empty());
    for _ in 0..25 {
        rig.pass(200);
        rig.settle();
    }
    assert_eq!(client.hear_outcomes(), [[(1, Outcome::LogFailed)]]);
    assert_eq!(rig.parts().publishes.waiting_since_us(), None);
    assert_eq!(inflight(&mut rig, &client), (0, 0));
}

#[test]
fn a_shutdown_that_has_no_time_left_refuses_what_a_log_does_not_take_at_once() {
    let (mut rig, client) = short_of_segments();
    for (topic, number) in [("synced/a", 2), ("a", 3)] {
        let bytes = record(topic, 10, number);
        let mut publishing = rig.parts().publishing();
        publishing.refuses = true;
        let handled = publishing.publish(client.id, Record::trusted(&bytes).expect("a record"));
        assert_eq!(handled, Handled::Done);
    }
    rig.settle();
    assert_eq!(
        client.hear_outcomes(),
        [[(2, Outcome::Draining), (3, Outcome::Ok)]]
    );
}

#[test]
fn a_store_that_closes_refuses_records() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.parts().logs.begin_drain();
    assert_eq!(
        publish(&mut rig, &client, &record("a", 10, 1)),
        Handled::Done
    );
    assert_eq!(told(&mut rig), [(1, Outcome::Draining)]);
}

#[test]
fn a_log_that_has_failed_refuses_records() {
    let mut rig = Rig::new();
    rig.publish("synced/a", 10, 1);
    let client = rig.join();
    rig.disk.fail(OpKind::Write, Fault::Error(EIO));
    publish(&mut rig, &client, &record("synced/a", 10, 1));
    let failed = (0..8).any(|_| {
        let parts = rig.parts();
        parts.submit().expect("a disk in memory");
        parts.pump().is_err()
    });
    assert!(failed);
    publish(&mut rig, &client, &record("synced/a", 10, 2));
    publish(&mut rig, &client, &record("a", 10, 3));
    assert_eq!(
        told(&mut rig),
        [(2, Outcome::LogFailed)],
        "the first has none"
    );
}

#[test]
fn a_record_that_is_too_large_for_the_store_has_an_outcome() {
    let config = Config {
        record_size_max: 4 << 10,
        ..settings()
    };
    let mut rig = Rig::with(config);
    let client = rig.join();
    publish(&mut rig, &client, &record("a", 5_000, 1));
    assert_eq!(told(&mut rig), [(1, Outcome::LogFailed)]);
}

#[test]
fn a_log_with_as_many_topics_as_it_may_have_refuses_another_and_takes_those_it_has() {
    let mut rig = Rig::with(wide());
    let client = rig.join();
    for number in 0..=TOPICS_MAX {
        publish(
            &mut rig,
            &client,
            &record(&format!("a/{number}"), 1, number as u64),
        );
    }
    publish(&mut rig, &client, &record("a/0", 1, 0));
    assert_eq!(
        told(&mut rig),
        [(TOPICS_MAX as u64, Outcome::TooManyTopics)]
    );
    assert_eq!(visible(&mut rig, "a/0"), 2);
}

#[test]
fn a_record_for_another_shard_leaves_with_the_turn_and_its_outcome_comes_back() {
    let (mut first, mut second, client, topic) = two(QUICK);
    let bytes = record(&topic, 10, 9);
    assert_eq!(publish(&mut first, &client, &bytes), Handled::Done);
    assert_eq!(inflight(&mut first, &client), (1, bytes.len() as u32));
    second.parts().publishing().take_publishes();
    assert_eq!(visible(&mut second, &topic), 0, "it has not left");
    first.parts().submit().expect("a disk in memory");
    second.parts().publishing().take_publishes();
    assert_eq!(visible(&mut second, &topic), 1);
    assert!(!second.parts().publishes.has_left());
    settle(&mut [&mut first, &mut second]);
    assert_eq!(client.hear_outcomes(), [[(9, Outcome::Ok)]]);
    assert_eq!(inflight(&mut first, &client), (0, 0));
    assert!(told(&mut second).is_empty());
}

#[test]
fn sessions_that_send_much_have_a_lane_of_their_own_until_all_their_records_are_answered() {
    let (mut first, mut second, client, topic) = two(QUICK);
    let mut lane_of = |says_much, is_answered: bool| {
        let session = first
            .parts()
            .sessions
            .get_mut(client.id)
            .expect("it is there");
        session.note_much(says_much);
        if is_answered {
            session.note_outcomes(u32::MAX, u32::MAX);
        }
        publish(&mut first, &client, &record(&topic, 10, 1));
        first.parts().submit().expect("a disk in memory");
        let inbox = &mut second.parts().inbox;
        let mut lanes = Lane::ALL.into_iter();
        let lane = lanes.find(|lane| inbox.next_parcel(*lane).is_some());
        let lane = lane.expect("a parcel has come");
        inbox.finish(lane);
        lane
    };
    assert_eq!(lane_of(false, false), Lane::Little);
    assert_eq!(lane_of(true, false), Lane::Much);
    assert_eq!(lane_of(false, false), Lane::Much, "behind the one before");
    assert_eq!(lane_of(false, true), Lane::Little);
    assert_eq!(lane_of(true, true), Lane::Much);
}

#[test]
fn a_record_that_another_shard_has_no_room_for_waits_for_room() {
    let (mut first, mut second, client, topic) = two(QUICK);
    let bytes = record(&topic, 60_000, 1);
    let mut handled = || publish(&mut first, &client, &bytes);
    let fitted = (0..100).take_while(|_| handled() == Handled::Done).count() as u32;
    assert!(fitted < 40, "{fitted}");
    assert_eq!(handled(), Handled::Later(Until::Room));
    assert_eq!(inflight(&mut first, &client).0, fitted);
    assert_eq!(
        first.parts().context.metrics().records_in.get(),
        u64::from(fitted)
    );
    settle(&mut [&mut first, &mut second]);
    assert_eq!(publish(&mut first, &client, &bytes), Handled::Done);
}

#[test]
fn parcels_go_back_to_their_shard_when_all_their_records_are_taken() {
    let (mut first, mut second, _client, topic) = two(QUICK);
    hand_over(&mut first, Lane::Little, (&topic, 10), 3);
    second.parts().publishing().take_publishes();
    second.parts().submit().expect("a disk in memory");
    let message = first.parts().inbox.next_message();
    assert!(
        matches!(message, Some(Message::EmptyParcel(_))),
        "{message:?}"
    );
}

#[test]
fn a_record_for_a_log_of_another_shard_is_refused() {
    let (mut first, mut second, client, _topic) = two(QUICK);
    let (topic, bytes) = (first.topic_of(0, QUICK), record("a", 10, 4));
    let log = first.parts().context.shared.log_of(&topic);
    let origin = Origin {
        shard: 0,
        session: client.id,
        correlation: 4,
        size: bytes.len() as u32,
        lane: Lane::Little,
        may_begin: true,
    };
    first
        .parts()
        .outbox
        .hand_over(1, Handed { origin, log }, &bytes);
    settle(&mut [&mut first, &mut second]);
    assert_eq!(client.hear_outcomes(), [[(4, Outcome::LogFailed)]]);
}

#[test]
fn a_log_that_takes_no_more_holds_up_only_its_own_records_which_keep_their_order() {
    let (mut first, mut second, client, slow) = two(SYNCED);
    let quick = first.topic_of(1, QUICK);
    second.disk.hold(OpKind::Prepare);
    for (topic, number) in [(&slow, 1), (&quick, 2), (&slow, 3), (&slow, 4), (&quick, 5)] {
        publish(&mut first, &client, &record(topic, 10, number));
    }
    settle(&mut [&mut first, &mut second]);
    assert_eq!(
        client.hear_outcomes(),
        [[(2, Outcome::Ok), (5, Outcome::Ok)]]
    );
    assert!(second.parts().publishes.has_stalled());
    second.disk.lift(OpKind::Prepare);
    settle(&mut [&mut first, &mut second]);
    let outcomes: Vec<_> = client.hear_outcomes().concat();
    assert_eq!(outcomes, [1, 3, 4].map(|number| (number, Outcome::Ok)));
    assert!(!second.parts().publishes.has_stalled());
    assert_eq!(inflight(&mut first, &client), (0, 0));
}

#[test]
fn records_that_wait_for_their_log_are_not_overtaken_once_it_takes_more() {
    let (mut first, mut second, client, slow) = two(SYNCED);
    second.disk.hold(OpKind::Prepare);
    publish(&mut first, &client, &record(&slow, 10, 1));
    settle(&mut [&mut first, &mut second]);
    second.disk.lift(OpKind::Prepare);
    // The log has room again, and the next record comes in the turn that sees it.
    while !second.parts().freed.is_noted() {
        second.parts().submit().expect("a disk in memory");
        second.parts().pump().expect("the log works");
    }
    publish(&mut first, &client, &record(&slow, 10, 2));
    first.parts().submit().expect("a disk in memory");
    settle(&mut [&mut second, &mut first]);
    assert_eq!(
        client.hear_outcomes().concat(),
        [(1, Outcome::Ok), (2, Outcome::Ok)]
    );
}

#[test]
fn too_many_records_that_wait_for_logs_leave_the_others_in_the_inbox() {
    let (mut first, mut second, _client, slow) = two(SYNCED);
    let quick = first.topic_of(1, QUICK);
    second.disk.hold(OpKind::Prepare);
    hand_over(&mut first, Lane::Little, (&slow, 1), 1_100);
    hand_over(&mut first, Lane::Little, (&quick, 1), 1);
    for _ in 0..4 {
        second.parts().publishing().take_publishes();
    }
    assert!(second.parts().publishes.is_full() && second.parts().publishes.has_left());
    assert_eq!(visible(&mut second, &quick), 0);
    assert_eq!(
        second.parts().read_due(),
        Due::Idle,
        "that would change nothing"
    );
    second.disk.lift(OpKind::Prepare);
    second.settle();
    assert_eq!(
        (visible(&mut second, &slow), visible(&mut second, &quick)),
        (1_100, 1)
    );
}

#[test]
fn a_turn_tries_a_bounded_number_of_records_again_that_wait_for_a_log() {
    let (mut first, mut second, _client, slow) = two(SYNCED);
    second.disk.hold(OpKind::Prepare);
    hand_over(&mut first, Lane::Little, (&slow, 1), 1_024);
    for _ in 0..2 {
        second.parts().publishing().take_publishes();
    }
    assert!(second.parts().publishes.is_full());
    second.disk.lift(OpKind::Prepare);
    while second.parts().publishes.is_full() {
        second.turn();
    }
    assert!(second.parts().publishes.has_stalled(), "a turn takes 1,000");
    assert_eq!(second.parts().read_due(), Due::Now);
    second.parts().publishing().take_publishes();
    assert!(!second.parts().publishes.has_stalled());
    assert!(!second.parts().publishes.has_unretried());
}

#[test]
fn a_turn_takes_a_bounded_number_of_records_of_other_shards_and_keeps_a_quarter_for_floods() {
    let (mut first, mut second, _client, little) = two("little/");
    let much = first.topic_of(1, "much/");
    let mut taken = |of_little, of_much| {
        for (lane, topic, count) in [
            (Lane::Little, &little, of_little),
            (Lane::Much, &much, of_much),
        ] {
            hand_over(&mut first, lane, (topic, 1), count);
        }
        second.parts().publishing().take_publishes();
        (visible(&mut second, &little), visible(&mut second, &much))
    };
    assert_eq!(taken(600, 1_100), (600, 400));
    assert_eq!(taken(800, 0), (1_350, 650));
    assert_eq!(taken(0, 0), (1_400, 1_100));
    assert!(!second.parts().publishes.has_left());
}

#[test]
fn a_turn_takes_a_bounded_number_of_bytes_of_other_shards() {
    let (mut first, mut second, _client, topic) = two(QUICK);
    hand_over(&mut first, Lane::Much, (&topic, 50_000), 20);
    second.parts().publishing().take_publishes();
    assert!(second.parts().publishes.has_left());
    assert_eq!(second.parts().read_due(), Due::Now);
    // A parcel that was begun is finished.
    assert_eq!(visible(&mut second, &topic), (512 << 10) / 50_000 + 1);
}

#[test]
fn a_turn_passes_on_a_bounded_number_of_outcomes_and_the_next_one_goes_on() {
    let mut rig = Rig::with(wide());
    let (client, outcomes_max) = (rig.join(), 8_192);
    for number in 0..outcomes_max + 10 {
        publish(&mut rig, &client, &record("a", 1, number));
    }
    rig.parts().pump().expect("the log works");
    let first: Vec<u64> = told(&mut rig).iter().map(|(number, _)| *number).collect();
    assert_eq!(first, Vec::from_iter(0..outcomes_max));
    assert_eq!(rig.parts().pump_due(), Due::Now);
    rig.parts().pump().expect("the log works");
    let rest: Vec<u64> = told(&mut rig).iter().map(|(number, _)| *number).collect();
    assert_eq!(rest, Vec::from_iter(outcomes_max..outcomes_max + 10));
    assert!(rig.parts().publishes.all_told() && !rig.parts().publishes.has_unsettled());
}

#[test]
fn visible_records_and_a_log_that_takes_records_again_free_publishers() {
    let mut rig = Rig::new();
    let log = rig.parts().context.shared.log_of("a");
    let frees = |rig: &mut Rig, progress| rig.parts().publishing().take_progress(&progress);
    assert!(!frees(&mut rig, StoreEvents::default()));
    let advanced = StoreEvents {
        advanced: vec![log],
        ..StoreEvents::default()
    };
    assert!(frees(&mut rig, advanced));
    rig.parts().publishes.refused(log, 5);
    let accepting_again = StoreEvents {
        accepting_again: vec![log],
        ..StoreEvents::default()
    };
    assert!(frees(&mut rig, accepting_again));
    assert_eq!(rig.parts().publishes.waiting_since_us(), None);
}

/// A broker in which a session may begin five topics at once, and one in a second.
fn slow_to_begin() -> Config {
    Config {
        topic_creation_rate: 1,
        topic_creation_burst: 5,
        ..settings()
    }
}

/// What a client gets for publishes to topics with these numbers, one after the other.
fn publish_to(
    rigs: &mut [&mut Rig],
    client: &Client,
    numbers: std::ops::Range<u64>,
) -> Vec<Outcome> {
    for number in numbers {
        let bytes = record(&format!("quick/{number}"), 1, number);
        client.peer.write(&bytes);
        settle(rigs);
    }
    let told = client.hear_outcomes().concat();
    told.into_iter().map(|(_, outcome)| outcome).collect()
}

#[test]
fn a_session_begins_a_bounded_number_of_topics_and_publishes_to_old_ones_without_a_bound() {
    for shards in [1, 2] {
        let (mut first, mut second);
        let mut rigs: Vec<&mut Rig> = if shards == 1 {
            first = Rig::with(slow_to_begin());
            vec![&mut first]
        } else {
            [first, second] = Rig::shards(slow_to_begin());
            vec![&mut first, &mut second]
        };
        let (client, other) = (rigs[0].join(), rigs[0].join());
        let told = publish_to(&mut rigs, &client, 0..8);
        assert_eq!(
            told,
            [[Outcome::Ok; 5].as_slice(), &[Outcome::TooFast; 3]].concat()
        );
        assert_eq!(publish_to(&mut rigs, &client, 0..5), [Outcome::Ok; 5]);
        assert_eq!(publish_to(&mut rigs, &other, 5..6), [Outcome::Ok]);
        rigs[0].pass(1_000);
        let told = publish_to(&mut rigs, &client, 6..8);
        assert_eq!(told, [Outcome::Ok, Outcome::TooFast]);
        let refused: u64 = (0..shards)
            .map(|shard| {
                rigs[0].parts().context.shared.metrics[shard]
                    .topics_refused
                    .get()
            })
            .sum();
        assert_eq!(refused, 4);
    }
}

#[test]
fn a_session_that_begins_too_many_topics_is_told_when_to_try_again() {
    let mut rig = Rig::with(slow_to_begin());
    let client = rig.join();
    let _told = publish_to(&mut [&mut rig], &client, 0..5);
    client.peer.write(&record("quick/5", 1, 5));
    rig.settle();
    assert_eq!(client.hear_waits(), [1_000]);
}

#[test]
fn many_sessions_together_begin_a_bounded_number_of_topics() {
    let mut rig = Rig::with(slow_to_begin());
    let mut told = Vec::new();
    for session in 0..60 {
        let client = rig.join();
        told.extend(publish_to(
            &mut [&mut rig],
            &client,
            session * 5..session * 5 + 5,
        ));
        client.peer.close();
    }
    let begun = told
        .iter()
        .filter(|outcome| **outcome == Outcome::Ok)
        .count();
    assert_eq!(
        (begun, told.len()),
        (200, 300),
        "two seconds of a hundred sessions"
    );
}
