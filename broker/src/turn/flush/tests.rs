use oyez_protocol::command::Start;
use oyez_protocol::event::GoodbyeCode;

use super::*;
use crate::net::memory::End;
use crate::parts::catchups::Waits;
use crate::rig::{Client, Rig, lines, record};

/// A rig with a subscriber of `t` and a publisher.
fn pair() -> (Rig, Client, Client) {
    let mut rig = Rig::new();
    let (subscriber, publisher) = (rig.subscriber("t"), rig.join());
    (rig, subscriber, publisher)
}

/// Publishes records of which the walk sends this many bytes to the subscriber, whose socket is full then.
fn half_send(rig: &mut Rig, subscriber: &Client, publisher: &Client, room: usize) {
    subscriber.peer.set_room(room);
    for _ in 0..3 {
        publisher.publish("t", 100);
    }
    rig.follow();
    rig.take_to_send();
    rig.parts().walk();
}

/// Lets the socket take this many bytes more, and sends to the session.
fn make_room(rig: &mut Rig, client: &Client, room: usize) {
    client.peer.set_room(room);
    rig.begin_turn();
}

#[test]
fn what_is_half_out_leaves_first_then_answers_then_records() {
    let (mut rig, subscriber, publisher) = pair();
    half_send(&mut rig, &subscriber, &publisher, 50);
    subscriber.ping(7);
    rig.begin_turn();
    rig.parts().read();
    make_room(&mut rig, &subscriber, 1 << 20);
    rig.parts().flushing().run();
    assert_eq!(subscriber.hear(), ["t 0", "pong 7", "t 1", "t 2"]);
    assert_eq!(rig.take_to_send(), [], "everything is out");
    assert_eq!(rig.tail(&subscriber), None);
}

#[test]
fn a_tail_that_the_socket_does_not_take_whole_stays() {
    let (mut rig, subscriber, publisher) = pair();
    half_send(&mut rig, &subscriber, &publisher, 50);
    make_room(&mut rig, &subscriber, 90);
    let before = rig.metrics().bytes_out.get();
    rig.parts().flushing().run();
    assert_eq!(rig.metrics().bytes_out.get() - before, 40);
    assert_eq!(rig.tail(&subscriber), Some(90));
    assert!(rig.session(&subscriber).is_blocked());
    let mut heard = subscriber.peer.read();
    subscriber.peer.set_room(1 << 20);
    rig.settle();
    heard.extend(subscriber.peer.read());
    assert_eq!(lines(&heard), ["t 0", "t 1", "t 2"]);
}

#[test]
fn a_tail_that_dribbles_goes_on_in_the_next_turn_without_an_event() {
    let (mut rig, subscriber, publisher) = pair();
    subscriber.peer.dribble(4);
    publisher.publish("t", 200);
    rig.follow();
    rig.take_to_send();
    rig.parts().walk();
    assert_eq!(rig.tail(&subscriber), Some(64));
    for sent in [128, 192] {
        rig.parts().flushing().run();
        assert_eq!(rig.tail(&subscriber), Some(sent), "a visit's calls");
    }
    let rest = record("t", 200).len().div_ceil(64) - 3;
    for _ in 0..rest {
        assert_eq!(rig.parts().sessions.count_to_send(), 1);
        rig.parts().flushing().run();
    }
    assert_eq!(rig.take_to_send(), []);
    assert_eq!(subscriber.hear(), ["t 0"]);
}

#[test]
fn answers_that_dribble_go_on_in_the_next_turn_without_an_event() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.peer.dribble(1);
    for token in 0..3 {
        client.ping(token);
    }
    rig.begin_turn();
    rig.parts().read();
    let total = rig.session(&client).outgoing_bytes();
    rig.pass(5);
    rig.begin_turn();
    let now_ms = rig.now_ms();
    for visit in 1..=total.div_ceil(16) {
        rig.parts().flushing().run();
        let left = total.saturating_sub(visit * 16);
        assert_eq!(rig.session(&client).outgoing_bytes(), left);
        let moved = rig
            .session(&client)
            .outgoing()
            .map(|outgoing| outgoing.moved_ms);
        assert_eq!(moved.unwrap_or(now_ms), now_ms, "the socket takes some");
        assert_eq!(rig.parts().sessions.count_to_send(), usize::from(left > 0));
    }
    assert_eq!(client.hear(), ["pong 0", "pong 1", "pong 2"]);
}

#[test]
fn answers_keep_what_the_full_socket_has_not_taken() {
    let mut rig = Rig::new();
    let client = rig.join();
    for token in 0..3 {
        client.ping(token);
    }
    rig.begin_turn();
    rig.parts().read();
    let (since_ms, total) = (rig.now_ms(), rig.session(&client).outgoing_bytes());
    client.peer.set_room(0);
    rig.pass(5);
    rig.begin_turn();
    rig.parts().flushing().run();
    let kept = |rig: &mut Rig| {
        let outgoing = rig.session(&client).outgoing().expect("some are left");
        (outgoing.bytes.len(), outgoing.sent, outgoing.moved_ms)
    };
    assert_eq!(kept(&mut rig), (total, 0, since_ms), "nothing has moved");
    for (room, expected) in [(10, (total, 10)), (total / 2, (total - total / 2, 0))] {
        make_room(&mut rig, &client, room);
        rig.parts().flushing().run();
        let (bytes, sent, moved_ms) = kept(&mut rig);
        assert_eq!(
            (bytes, sent),
            expected,
            "what is out makes room once it is half"
        );
        assert_eq!(moved_ms, since_ms + 5);
        assert!(rig.session(&client).is_blocked());
    }
    client.peer.set_room(1 << 20);
    rig.settle();
    assert_eq!(client.hear(), ["pong 0", "pong 1", "pong 2"]);
}

#[test]
fn a_session_whose_socket_is_reset_ends() {
    let (mut rig, subscriber, publisher) = pair();
    half_send(&mut rig, &subscriber, &publisher, 50);
    make_room(&mut rig, &subscriber, 1 << 20);
    subscriber.peer.reset();
    rig.parts().flushing().run();
    assert!(rig.parts().sessions.get(subscriber.id).is_none());
    publisher.ping(1);
    rig.begin_turn();
    rig.parts().read();
    publisher.peer.reset();
    rig.parts().flushing().run();
    assert!(rig.parts().sessions.get(publisher.id).is_none());
    assert_eq!(rig.parts().sessions.count_gone(), 2);
}

/// A session with this many topics whose records it has not got, and its topics.
fn with_backlog(rig: &mut Rig, topics: usize) -> Client {
    let client = rig.join();
    let topics: Vec<String> = (0..topics).map(|topic| format!("t/{topic}")).collect();
    for topic in &topics {
        client.subscribe(topic, Start::Latest);
    }
    rig.settle();
    client.peer.read();
    rig.session(&client).set_blocked(true);
    for topic in &topics {
        rig.publish(topic, 100, 1);
    }
    rig.session(&client).set_blocked(false);
    client
}

#[test]
fn each_turn_begins_with_another_subscription() {
    let whole = record("t/0", 100).len();
    let mut rig = Rig::new();
    let client = with_backlog(&mut rig, 3);
    client.peer.set_room(2 * whole);
    let first = rig.parts().context.turns % 3;
    rig.parts().sessions.schedule_send(client.id);
    rig.parts().flushing().run();
    let topics = [first, (first + 1) % 3].map(|topic| format!("t/{topic} 0"));
    assert_eq!(client.hear(), topics);
    client.peer.set_room(1 << 20);
    rig.settle();
    assert_eq!(client.hear(), [format!("t/{} 0", (first + 2) % 3)]);
}

#[test]
fn nothing_comes_between_a_record_and_its_rest() {
    let mut rig = Rig::new();
    let client = with_backlog(&mut rig, 2);
    client.peer.dribble(5);
    rig.parts().sessions.schedule_send(client.id);
    rig.parts().flushing().run();
    assert_eq!(rig.tail(&client), Some(80));
    assert_eq!(client.peer.read().len(), 80);
    assert_eq!(rig.parts().sessions.count_to_send(), 1, "there is more");
}

#[test]
fn a_subscription_that_is_not_behind_is_sent_nothing() {
    let (mut rig, subscriber, _publisher) = pair();
    rig.parts().sessions.schedule_send(subscriber.id);
    let before = rig.net.calls();
    rig.parts().flushing().run();
    assert_eq!(rig.net.calls(), before);
    assert_eq!(rig.take_to_send(), []);
}

#[test]
fn a_subscription_behind_the_window_begins_a_catch_up() {
    let (mut rig, subscriber, _publisher) = pair();
    rig.session(&subscriber).set_blocked(true);
    rig.publish("t", 100, 2);
    let place = rig.place(&subscriber, "t");
    rig.parts().feeds.subscribed_mut(place.topic).trim(None);
    rig.session(&subscriber).set_blocked(false);
    rig.parts().sessions.schedule_send(subscriber.id);
    rig.parts().flushing().run();
    assert_eq!(rig.metrics().catchups.get(), 1);
    let catchup = rig.parts().catchups.get(0).expect("it has begun");
    assert_eq!((catchup.waits, catchup.left().len()), (Waits::Nothing, 2));
    rig.settle();
    assert_eq!(subscriber.hear(), ["t 0", "t 1"]);
}

#[test]
fn held_answers_wait_but_not_for_a_goodbye() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.session(&client).hold();
    client.ping(1);
    rig.begin_turn();
    rig.parts().read();
    rig.parts().flushing().run();
    assert_eq!(client.hear(), [""; 0]);
    assert!(rig.session(&client).control().is_some());
    let parts = rig.parts();
    let (context, sessions) = (&parts.context, &mut parts.sessions);
    sessions.refuse(context, client.id, GoodbyeCode::Full, "enough");
    parts.endings().run();
    parts.flushing().run();
    assert_eq!(client.hear(), ["pong 1", "goodbye Full: enough"]);
}

#[test]
fn our_side_is_shut_when_the_goodbye_is_out_and_not_before() {
    let (mut rig, subscriber, publisher) = pair();
    half_send(&mut rig, &subscriber, &publisher, 50);
    let parts = rig.parts();
    let (context, sessions) = (&parts.context, &mut parts.sessions);
    sessions.refuse(context, subscriber.id, GoodbyeCode::Full, "enough");
    parts.endings().run();
    parts.flushing().run();
    assert_eq!(subscriber.peer.how_it_ended(), End::Open);
    make_room(&mut rig, &subscriber, 1 << 20);
    rig.parts().flushing().run();
    assert_eq!(subscriber.peer.how_it_ended(), End::Shut);
    assert_eq!(subscriber.hear(), ["t 0", "goodbye Full: enough"]);
    assert_eq!(rig.session(&subscriber).stage(), Stage::Lingering);
    assert_eq!(rig.metrics().sessions.get(), 1);
}

#[test]
fn a_session_whose_peer_is_gone_when_our_side_is_to_be_shut_ends() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.refuse(&client, "enough");
    rig.parts().endings().run();
    client.peer.reset();
    rig.parts().flushing().run();
    assert!(rig.parts().sessions.get(client.id).is_none());
}

#[test]
fn a_publisher_whose_answers_are_out_is_read_on() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.ping(1);
    rig.begin_turn();
    rig.parts().read();
    rig.parts().sessions.await_answer(client.id);
    assert!(!rig.parts().sessions.has_some_to_read());
    rig.parts().flushing().run();
    assert!(rig.parts().sessions.has_some_to_read());
}

#[test]
fn a_turn_sends_to_a_bounded_number_of_sessions_and_the_next_one_to_the_others() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..120).map(|_| rig.join()).collect();
    for client in &clients {
        client.ping(1);
    }
    rig.begin_turn();
    rig.parts().read();
    while rig.parts().sessions.has_some_to_read() {
        rig.parts().read();
    }
    rig.parts().flushing().run();
    let heard: Vec<usize> = clients.iter().map(|client| client.hear().len()).collect();
    let at_once = 5_000 / SEND_STEPS;
    assert_eq!(heard.iter().sum::<usize>(), at_once);
    assert!(
        heard[..at_once].iter().all(|heard| *heard == 1),
        "the first ones"
    );
    rig.parts().flushing().run();
    assert!(
        clients[at_once..]
            .iter()
            .all(|client| client.hear().len() == 1)
    );
}

#[test]
fn bytes_of_a_turn_are_bounded_too() {
    let mut rig = Rig::new();
    let clients = rig.subscribers("t", 12);
    for client in &clients {
        client.peer.set_room(4 << 20);
        rig.session(client).set_blocked(true);
    }
    rig.publish("t", 250 << 10, 1);
    for client in &clients {
        rig.session(client).set_blocked(false);
        rig.parts().sessions.schedule_send(client.id);
    }
    rig.parts().flushing().run();
    let heard = clients.iter().filter(|client| client.hear() == ["t 0"]);
    assert_eq!(heard.count(), 9, "of 2 MiB");
}

#[test]
fn visits_to_subscriptions_are_bounded_too() {
    let mut rig = Rig::new();
    let topics = 1_000;
    let clients: Vec<Client> = (0..8).map(|_| rig.join()).collect();
    for (client, topic) in clients
        .iter()
        .flat_map(|client| (0..topics).map(move |t| (client, t)))
    {
        client.subscribe(&format!("t/{topic}"), Start::Latest);
    }
    rig.settle();
    for client in &clients {
        client.peer.read();
        client.ping(1);
    }
    rig.begin_turn();
    rig.parts().read();
    rig.parts().flushing().run();
    let heard = clients.iter().filter(|client| client.hear() == ["pong 1"]);
    assert_eq!(heard.count(), 5, "a step each");
}

#[test]
fn the_rest_of_a_record_that_is_not_kept_any_more_ends_the_session() {
    let (mut rig, subscriber, publisher) = pair();
    half_send(&mut rig, &subscriber, &publisher, 50);
    let tail = rig.session(&subscriber).tail().expect("a tail");
    let beyond = oyez_protocol::Position::new(1 << 40);
    rig.session(&subscriber)
        .set_tail(RecordTail::new(tail.log(), beyond, tail.size(), 50));
    make_room(&mut rig, &subscriber, 1 << 20);
    rig.parts().flushing().run();
    assert!(rig.parts().sessions.get(subscriber.id).is_none());
    assert!(rig.parts().sessions.has_some_to_end());
}

#[test]
fn a_full_socket_makes_its_catch_ups_bare_cursors_again() {
    let (mut rig, subscriber, _publisher) = pair();
    rig.session(&subscriber).set_blocked(true);
    rig.publish("t", 100, 2);
    let place = rig.place(&subscriber, "t");
    rig.session(&subscriber).set_blocked(false);
    rig.parts().serving().begin(subscriber.id, place);
    subscriber.ping(1);
    rig.begin_turn();
    rig.parts().read();
    subscriber.peer.stall();
    rig.parts().flushing().run();
    assert!(rig.parts().catchups.get(0).is_none());
    let delivery = rig.parts().feeds.subscription(place).delivery();
    assert_eq!(delivery, Delivery::Live);
    assert_eq!(rig.cursor(&subscriber, "t"), 0);
    subscriber.peer.resume();
    rig.settle();
    assert_eq!(subscriber.hear(), ["pong 1", "t 0", "t 1"]);
}

/// Puts every topic of a backlog behind its window, so that only the log has what comes next.
fn put_behind_windows(rig: &mut Rig, client: &Client, topics: usize) {
    for topic in 0..topics {
        let place = rig.place(client, &format!("t/{topic}"));
        rig.parts().feeds.subscribed_mut(place.topic).trim(None);
    }
}

#[test]
fn a_slow_reader_of_many_topics_begins_no_more_catch_ups_than_it_can_use() {
    let (topics, mut rig) = (200, Rig::new());
    let client = with_backlog(&mut rig, topics);
    put_behind_windows(&mut rig, &client, topics);
    let whole = record("t/0", 100).len();
    client.peer.set_room(0);
    rig.parts().sessions.schedule_send(client.id);
    rig.settle();
    let before = [rig.metrics().sends.get(), rig.metrics().catchups.get()];
    let mut heard = 0;
    for _ in 0..40 {
        client.peer.set_room(2 * whole);
        rig.settle();
        heard += client.hear().len();
    }
    let sends = rig.metrics().sends.get() - before[0];
    let begun = rig.metrics().catchups.get() - before[1];
    assert!(heard >= 70, "{heard} records");
    assert!(begun <= 3 * sends, "{begun} catch-ups for {sends} sends");
    client.peer.set_room(1 << 20);
    rig.settle();
    assert_eq!(heard + client.hear().len(), topics, "and all of it comes");
}

#[test]
fn a_turn_pays_for_the_catch_ups_that_its_visits_begin() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..120).map(|_| rig.subscriber("t/0")).collect();
    for client in &clients {
        rig.session(client).set_blocked(true);
    }
    rig.publish("t/0", 100, 1);
    put_behind_windows(&mut rig, &clients[0], 1);
    for client in &clients {
        rig.session(client).set_blocked(false);
        rig.parts().sessions.schedule_send(client.id);
    }
    rig.parts().flushing().run();
    // Of 5,000 steps: a visit, a subscription, and looking up its places.
    assert_eq!(
        rig.metrics().catchups.get(),
        5_000_u64.div_ceil(50 + 1 + 150)
    );
    rig.settle();
    assert!(clients.iter().all(|client| client.hear() == ["t/0 0"]));
}

#[test]
fn a_session_one_of_whose_catch_ups_ends_with_its_subscription_goes_on_with_the_others() {
    let mut rig = Rig::new();
    let client = with_backlog(&mut rig, 3);
    put_behind_windows(&mut rig, &client, 3);
    rig.parts().sessions.schedule_send(client.id);
    rig.parts().flushing().run();
    assert_eq!(rig.metrics().catchups.get(), 1, "the others come after it");
    let begun = rig.parts().catchups.begun(0).topic;
    let others: Vec<String> = (0..3).map(|topic| format!("t/{topic}")).collect();
    let (mut gone, mut left) = (String::new(), Vec::new());
    for topic in others {
        match rig.place(&client, &topic).topic == begun {
            true => gone = topic,
            false => left.push(format!("{topic} 0")),
        }
    }
    rig.take_to_send();
    let place = rig.place(&client, &gone);
    rig.parts().endings().members.leave(client.id, place);
    rig.settle();
    let mut heard = client.hear();
    heard.sort();
    assert_eq!(heard, left);
}
