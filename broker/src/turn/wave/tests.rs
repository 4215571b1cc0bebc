use super::*;
use crate::rig::{Client, Rig, record};

/// Bytes of a record to these tests' topic.
fn size_of_record(size: usize) -> usize {
    record("t", size).len()
}

/// A rig that sends in batches, or one by one, with this many subscribers of `t` and a publisher.
fn crowd(has_batches: bool, count: usize) -> (Rig, Vec<Client>, Client) {
    let mut rig = Rig::new();
    rig.net.set_batches(has_batches);
    let subscribers = rig.subscribers("t", count);
    let publisher = rig.join();
    (rig, subscribers, publisher)
}

/// Publishes this many records and brings them to where the walk is the next step.
fn bring(rig: &mut Rig, publisher: &Client, size: usize, count: usize) {
    for _ in 0..count {
        publisher.publish("t", size);
    }
    rig.follow();
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("t {number}")).collect()
}

/// Sends that the walk makes: batches, and single sends.
fn calls_of_walk(rig: &mut Rig) -> (usize, usize) {
    let before = rig.net.calls();
    rig.parts().walk();
    let after = rig.net.calls();
    (after.batches - before.batches, after.sends - before.sends)
}

fn delivered(rig: &mut Rig) -> [u64; 4] {
    let metrics = rig.metrics();
    [
        metrics.sends.get(),
        metrics.deliveries.get(),
        metrics.messages_out.get(),
        metrics.bytes_out.get(),
    ]
}

#[test]
fn every_subscriber_gets_new_records_in_one_send() {
    for (has_batches, calls) in [(true, (1, 0)), (false, (0, 20))] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 20);
        bring(&mut rig, &publisher, 10, 3);
        let before = delivered(&mut rig);
        assert_eq!(calls_of_walk(&mut rig), calls);
        let counted: Vec<u64> = std::iter::zip(delivered(&mut rig), before)
            .map(|(after, before)| after - before)
            .collect();
        let bytes = 60 * size_of_record(10) as u64;
        assert_eq!(counted, [20, 60, 60, bytes]);
        for subscriber in &subscribers {
            assert_eq!(subscriber.hear(), numbered(0..3));
            assert_eq!(rig.cursor(subscriber, "t"), 3);
        }
        assert!(!rig.parts().feeds.have_news());
    }
}

#[test]
fn few_subscribers_are_not_worth_a_batch() {
    for (count, calls) in [(SUBSCRIPTIONS_MIN - 1, (0, 7)), (SUBSCRIPTIONS_MIN, (1, 0))] {
        let (mut rig, _subscribers, publisher) = crowd(true, count);
        bring(&mut rig, &publisher, 10, 1);
        assert_eq!(calls_of_walk(&mut rig), calls);
    }
}

#[test]
fn a_long_chain_leaves_one_by_one() {
    let overhead = size_of_record(CHAIN_BYTES_MAX) - CHAIN_BYTES_MAX;
    let whole = CHAIN_BYTES_MAX - overhead;
    assert_eq!(size_of_record(whole), CHAIN_BYTES_MAX);
    for (size, calls) in [(whole, (1, 0)), (whole + 8, (0, 8))] {
        let (mut rig, _subscribers, publisher) = crowd(true, SUBSCRIPTIONS_MIN);
        bring(&mut rig, &publisher, size, 1);
        assert_eq!(calls_of_walk(&mut rig), calls);
    }
}

/// Room for all of the first of two records and for this many bytes of the second, or for less.
fn rooms(whole: usize) -> [usize; 6] {
    [0, 1, whole - 1, whole, whole + 1, 2 * whole - 1]
}

#[test]
fn a_cursor_stands_where_a_full_socket_has_stopped() {
    let whole = size_of_record(100);
    for (has_batches, is_reversed) in [(true, false), (true, true), (false, false)] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 10);
        rig.net.reverse_batches(is_reversed);
        for (subscriber, room) in subscribers.iter().zip(rooms(whole)) {
            subscriber.peer.set_room(room);
        }
        bring(&mut rig, &publisher, 100, 2);
        let before = delivered(&mut rig);
        rig.parts().walk();
        assert!(!rig.parts().feeds.have_news(), "nobody waits for a walk");
        let expected = [
            (0, None),
            (1, Some(1)),
            (1, Some(whole - 1)),
            (1, None),
            (2, Some(1)),
            (2, Some(whole - 1)),
        ];
        for (subscriber, (cursor, tail)) in subscribers.iter().zip(expected) {
            assert_eq!(rig.cursor(subscriber, "t"), cursor);
            assert_eq!(rig.tail(subscriber), tail.map(|tail| tail as u32));
            assert!(rig.session(subscriber).is_blocked());
        }
        // The records of tails count: they will be out.
        let [sends, deliveries, messages, bytes] = delivered(&mut rig);
        let bytes_out = rooms(whole).iter().sum::<usize>() + 8 * whole;
        let counted = [sends, deliveries, messages, bytes - bytes_out as u64];
        assert_eq!(
            counted,
            [before[0] + 10, before[1] + 15, before[2] + 15, before[3]]
        );
        for subscriber in &subscribers {
            let mut heard = subscriber.peer.read();
            subscriber.peer.set_room(1 << 20);
            rig.settle();
            heard.extend(subscriber.peer.read());
            assert_eq!(crate::rig::lines(&heard), numbered(0..2));
        }
        assert_eq!(
            rig.metrics().catchups.get(),
            0,
            "the window has waited for them"
        );
    }
}

#[test]
fn a_short_count_goes_on_in_the_same_visit_and_then_beside_the_walk() {
    for has_batches in [true, false] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 10);
        let (quick, slow) = (&subscribers[3], &subscribers[6]);
        let whole = size_of_record(4_000);
        quick.peer.dribble(whole / 10);
        slow.peer.dribble(whole / 40);
        bring(&mut rig, &publisher, 4_000, 1);
        rig.take_to_send();
        rig.parts().walk();
        assert_eq!(quick.hear(), ["t 0"]);
        assert_eq!(slow.peer.read().len(), 16 * (whole / 40), "a visit's calls");
        assert_eq!(rig.tail(slow), Some(16 * (whole / 40) as u32));
        assert!(!rig.session(slow).is_blocked());
        assert_eq!(rig.take_to_send(), [slow.id], "no event will tell of it");
    }
}

#[test]
fn sends_that_were_not_tried_leave_one_by_one() {
    let (mut rig, subscribers, publisher) = crowd(true, 10);
    rig.net.interrupt_next_batch(3);
    bring(&mut rig, &publisher, 10, 1);
    assert_eq!(calls_of_walk(&mut rig), (1, 7));
    for subscriber in &subscribers {
        assert_eq!(subscriber.hear(), ["t 0"]);
        assert_eq!(rig.cursor(subscriber, "t"), 1);
    }
}

#[test]
fn a_reset_ends_its_session_and_no_other() {
    for has_batches in [true, false] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 10);
        bring(&mut rig, &publisher, 10, 1);
        subscribers[4].peer.reset();
        let before = rig.metrics().deliveries.get();
        rig.parts().walk();
        assert_eq!(rig.metrics().deliveries.get() - before, 9);
        assert!(rig.parts().sessions.has_some_to_end());
        assert!(rig.parts().sessions.get(subscribers[4].id).is_none());
        rig.settle();
        for (number, subscriber) in subscribers.iter().enumerate() {
            let heard = if number == 4 { vec![] } else { numbered(0..1) };
            assert_eq!(subscriber.hear(), heard);
            assert_eq!(subscriber.peer.is_closed(), number == 4);
        }
    }
}

#[test]
fn a_walk_that_the_budget_cuts_goes_on_where_it_stopped() {
    for (has_batches, batches) in [(true, 2), (false, 0)] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 300);
        bring(&mut rig, &publisher, 10, 1);
        assert_eq!(calls_of_walk(&mut rig).0, batches);
        let reached = subscribers.iter().filter(|one| one.hear() == ["t 0"]);
        let reached = reached.count();
        assert!(reached > 200 && reached <= 256, "{reached} in one turn");
        assert!(rig.parts().feeds.have_news());
        // Subscribers that were not reached get what has come since in the same send.
        bring(&mut rig, &publisher, 10, 1);
        while rig.parts().feeds.have_news() {
            rig.parts().walk();
        }
        for (number, subscriber) in subscribers.iter().enumerate() {
            let first = if number < reached { 1 } else { 0 };
            assert_eq!(subscriber.hear(), numbered(first..2), "subscriber {number}");
        }
    }
}

/// Publishes records that do not lie together, so that a chain holds only some of them.
fn bring_scattered(rig: &mut Rig, publisher: &Client, count: usize) {
    for _ in 0..count {
        publisher.publish("t", 10);
        publisher.publish("other", 10);
    }
    rig.follow();
}

#[test]
fn records_that_a_chain_does_not_hold_leave_in_another_pass() {
    let count = PARTS_MAX + 6;
    for (has_batches, tries) in [(true, 128), (true, 0), (false, 128)] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 10);
        rig.subscriber("other");
        bring_scattered(&mut rig, &publisher, count);
        rig.net.interrupt_next_batch(tries);
        rig.parts().walk();
        assert!(rig.parts().feeds.have_news(), "somebody can take more");
        for subscriber in &subscribers {
            assert_eq!(subscriber.hear(), numbered(0..PARTS_MAX));
        }
        rig.parts().walk();
        for subscriber in &subscribers {
            assert_eq!(subscriber.hear(), numbered(PARTS_MAX..count));
        }
        assert!(!rig.parts().feeds.have_news());
    }
}

#[test]
fn no_walk_begins_again_for_full_sockets() {
    for has_batches in [true, false] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 10);
        for subscriber in &subscribers {
            subscriber.peer.set_room(size_of_record(10));
        }
        rig.subscriber("other").peer.stall();
        bring_scattered(&mut rig, &publisher, PARTS_MAX + 6);
        rig.take_to_send();
        rig.parts().walk();
        assert!(!rig.parts().feeds.have_news());
        assert_eq!(rig.take_to_send(), []);
    }
}

#[test]
fn a_subscription_behind_the_others_gets_a_chain_of_its_own() {
    for has_batches in [true, false] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 20);
        subscribers[9].peer.stall();
        bring(&mut rig, &publisher, 10, 1);
        rig.parts().walk();
        bring(&mut rig, &publisher, 10, 1);
        subscribers[9].peer.resume();
        rig.session(&subscribers[9]).set_blocked(false);
        let calls = if has_batches { (3, 0) } else { (0, 20) };
        assert_eq!(calls_of_walk(&mut rig), calls);
        for subscriber in &subscribers {
            assert_eq!(subscriber.hear(), numbered(0..2));
        }
    }
}

#[test]
fn a_session_whose_answers_have_not_left_is_passed_by() {
    for has_batches in [true, false] {
        let (mut rig, subscribers, publisher) = crowd(has_batches, 10);
        subscribers[5].ping(1);
        bring(&mut rig, &publisher, 10, 1);
        rig.parts().walk();
        assert_eq!(subscribers[5].hear(), [""; 0]);
        assert_eq!(subscribers[6].hear(), ["t 0"]);
        rig.parts().flushing().run();
        assert_eq!(subscribers[5].hear(), ["pong 1", "t 0"]);
    }
}

#[test]
fn the_cursor_of_a_subscription_outside_the_walk_moves_by_what_was_sent() {
    let (mut rig, subscribers, publisher) = crowd(true, 1);
    let subscriber = &subscribers[0];
    bring(&mut rig, &publisher, 100, 2);
    let (place, whole) = (rig.place(subscriber, "t"), size_of_record(100));
    let mut send = |room: usize| {
        subscriber.peer.set_room(room);
        rig.session(subscriber).set_blocked(false);
        let (mut out, _, chain) = rig.parts().way_out();
        let cursor = out.feeds.cursor(place);
        assert!(out.build_from_window(chain, place.topic, (cursor, None)));
        let progress = out.send_one(subscriber.id, place, chain);
        (progress, out.feeds.cursor(place).get())
    };
    assert_eq!(send(0), (SendProgress::Blocked, 0));
    assert_eq!(send(whole), (SendProgress::Blocked, 1));
    assert_eq!(send(2 * whole), (SendProgress::Done, 2));
    assert_eq!(subscriber.hear(), numbered(0..2));
    subscriber.peer.dribble(4);
    bring(&mut rig, &publisher, 100, 1);
    let (mut out, _, chain) = rig.parts().way_out();
    assert!(out.build_from_window(chain, place.topic, (Offset::new(2), None)));
    let progress = out.send_one(subscriber.id, place, chain);
    assert_eq!(progress, SendProgress::More, "the rest of a record");
}

#[test]
fn a_window_with_a_hole_at_the_cursor_is_left_to_the_log() {
    let (mut rig, subscribers, publisher) = crowd(true, 1);
    subscribers[0].peer.stall();
    bring(&mut rig, &publisher, 10, 3);
    let place = rig.place(&subscribers[0], "t");
    let parts = rig.parts();
    let topic = parts.feeds.subscribed_mut(place.topic);
    let places: Vec<_> = topic
        .window_from(Offset::new(0))
        .expect("a window")
        .collect();
    topic.trim(None);
    for place in [places[0], places[2]] {
        topic.push(place, 10);
    }
    let mut builds = |cursor| {
        let (mut out, _, chain) = rig.parts().way_out();
        let built = out.build_from_window(chain, place.topic, (Offset::new(cursor), None));
        (built, chain.records())
    };
    assert_eq!(builds(0), (true, 1), "the chain ends before the hole");
    assert_eq!(builds(1), (false, 1));
    assert_eq!(builds(2), (true, 1));
}

#[test]
fn an_answer_finds_its_send_by_its_tag() {
    for (slot, key) in [(0, 0), (1, 2), (70_000, u32::MAX)] {
        assert_eq!(untag(tag(slot, key)), (slot, key));
    }
}
