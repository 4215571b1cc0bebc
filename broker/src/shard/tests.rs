use std::time::Duration;

use oyez_protocol::command::{Question, Start};
use oyez_storage::OpKind as DiskStep;

use crate::parts::due::Due;
use crate::rig::{Client, Rig, record, settings, settle};

/// When the next turn is due after a turn, with the time of silent sessions far away.
fn due(rig: &mut Rig) -> Due {
    match rig.turn() {
        Due::At(due_ms) if due_ms > rig.now_ms() + 5_000 => Due::Idle,
        due => due,
    }
}

#[test]
fn a_shard_without_anything_to_do_waits_for_ever() {
    let mut rig = Rig::new();
    rig.settle();
    let due = rig.turn();
    assert_eq!(due, Due::Idle);
    assert_eq!(rig.wait(due), None);
    let (now, later) = (rig.now_ms(), Due::At(rig.now_ms() + 10));
    assert_eq!(rig.wait(later), Some(Duration::from_millis(10)));
    assert_eq!(rig.wait(Due::At(now)), Some(Duration::ZERO));
    assert_eq!(rig.wait(Due::Now), Some(Duration::ZERO));
}

#[test]
fn sessions_that_may_be_silent_are_looked_at_in_time() {
    let mut rig = Rig::new();
    rig.net.connect();
    rig.settle();
    let Due::At(due_ms) = rig.turn() else {
        panic!("the timer for a hello should run");
    };
    let wait_ms = due_ms - rig.now_ms();
    assert!((9_000..=11_000).contains(&wait_ms), "{wait_ms}");
}

#[test]
fn connections_that_a_turn_has_not_accepted_are_due_at_once() {
    let mut rig = Rig::new();
    let _peers: Vec<_> = (0..129).map(|_| rig.net.connect()).collect();
    assert_eq!(due(&mut rig), Due::Now);
    assert_eq!(rig.parts().sessions.len(), 128);
    while due(&mut rig) == Due::Now {}
    assert_eq!(rig.parts().sessions.len(), 129);
}

#[test]
fn connections_that_cannot_be_accepted_are_tried_a_little_later() {
    let mut rig = Rig::new();
    rig.net.short_next(libc::ENFILE);
    rig.net.connect();
    assert_eq!(due(&mut rig), Due::At(rig.now_ms() + 1));
}

#[test]
fn input_that_a_turn_has_not_read_is_due_at_once() {
    let mut rig = Rig::new();
    let client = rig.join();
    for token in 0..3_000 {
        client.ping(token);
    }
    assert_eq!(due(&mut rig), Due::Now);
    rig.settle();
    assert_eq!(client.hear().len(), 3_000);
}

#[test]
fn sessions_that_a_turn_has_not_sent_to_are_due_at_once() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..120).map(|_| rig.join()).collect();
    for client in &clients {
        rig.parts().sessions.schedule_send(client.id);
    }
    assert_eq!(due(&mut rig), Due::Now);
    assert_eq!(rig.parts().sessions.count_to_send(), 20);
    assert_eq!(due(&mut rig), Due::Idle);
}

#[test]
fn a_walk_that_was_cut_is_due_at_once() {
    let mut rig = Rig::new();
    let _crowd = rig.subscribers("t", 300);
    let publisher = rig.join();
    publisher.publish("t", 10);
    assert_eq!(due(&mut rig), Due::Now);
    assert!(rig.parts().feeds.have_news());
    while due(&mut rig) == Due::Now {}
    assert!(!rig.parts().feeds.have_news());
}

#[test]
fn sessions_that_a_turn_has_not_ended_are_due_at_once() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..60).map(|_| rig.join()).collect();
    for client in &clients {
        client.peer.reset();
    }
    assert_eq!(due(&mut rig), Due::Now);
    assert!(rig.parts().sessions.has_some_to_end());
    while due(&mut rig) == Due::Now {}
    assert_eq!(rig.parts().sessions.len(), 0);
}

#[test]
fn messages_that_a_turn_has_not_handled_are_due_at_once() {
    let [mut first, mut second] = Rig::shards(settings());
    settle(&mut [&mut first, &mut second]);
    for listing in 0..8 {
        let page = Default::default();
        let gone = crate::parts::mail::Message::Topics { listing, page };
        second.parts().outbox.say(0, gone);
    }
    assert_eq!(due(&mut second), Due::Idle);
    assert_eq!(second.net.woken(), [0]);
    assert_eq!(due(&mut first), Due::Now, "a turn handles five of them");
    assert!(first.parts().inbox.has_messages_left());
    assert_eq!(due(&mut first), Due::Idle);
}

#[test]
fn a_sleeping_shard_waits_for_what_its_sessions_and_files_need() {
    let mut rig = Rig::new();
    rig.settle();
    let client = rig.join();
    let now_ms = rig.now_ms();
    rig.session(&client).forget_subscriptions();
    rig.parts().drain = Default::default();
    let parts = rig.parts();
    let session = parts.sessions.get_mut(client.id).expect("it is there");
    session.put_outgoing(Vec::new());
    let subscription = crate::parts::subscription::SubscriptionRef { topic: 9, slot: 0 };
    session.put_subscription(subscription);
    parts.held.hold(now_ms, client.id, session);
    assert_eq!(due(&mut rig), Due::At(now_ms + 100), "an answer is held");
    rig.pass(100);
    rig.session(&client).forget_subscriptions();
    assert_eq!(due(&mut rig), Due::Idle);
}

#[test]
fn questions_go_on_at_once_and_later_when_their_share_is_used_up() {
    let mut rig = Rig::new();
    let client = rig.join();
    for _ in 0..50 {
        client.ask(Question::Topics { after: "" });
    }
    let mut dues = std::iter::from_fn(|| Some(due(&mut rig))).take(20);
    assert!(
        dues.any(|due| matches!(due, Due::At(_))),
        "their share is used up"
    );
    for _ in 0..50 {
        rig.pass(10);
        rig.settle();
    }
    assert_eq!(client.hear().len(), 50);
}

#[test]
fn a_shutdown_goes_on_every_few_milliseconds() {
    let [mut first, _second] = Rig::shards(settings());
    let now_ms = first.now_ms();
    first.parts().context.shared.stop(now_ms);
    for _ in 0..3 {
        assert_eq!(due(&mut first), Due::At(now_ms + 2));
    }
}

#[test]
fn paused_sessions_are_tried_when_something_has_become_free_and_not_before() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.parts().sessions.pause(client.id);
    rig.begin_turn();
    assert_eq!(rig.parts().paused_due(), Due::Idle);
    rig.parts().try_paused();
    assert!(rig.parts().sessions.has_paused());
    rig.parts().freed.note(true);
    assert_eq!(rig.parts().paused_due(), Due::Now);
    rig.parts().try_paused();
    assert!(!rig.parts().sessions.has_paused());
    assert!(rig.parts().sessions.has_some_to_read());
    rig.parts().freed.note(true);
    assert_eq!(rig.parts().paused_due(), Due::Idle, "nobody waits");
}

#[test]
fn records_that_others_have_handed_over_are_due_unless_too_many_wait() {
    let mut rig = Rig::new();
    rig.settle();
    assert_eq!(rig.parts().read_due(), Due::Idle);
    rig.parts().publishes.note_left(true);
    assert_eq!(rig.parts().read_due(), Due::Now);
    for _ in 0..1_024 {
        let handed = crate::parts::parcel::Handed {
            origin: crate::parts::parcel::Origin {
                shard: 0,
                session: crate::parts::session::SessionId::new(0, 0),
                correlation: 0,
                size: 0,
                lane: crate::parts::lane::Lane::Little,
                may_begin: true,
            },
            log: Default::default(),
        };
        let record = Box::from([]);
        let stalled = crate::parts::publishes::Stalled { handed, record };
        rig.parts().publishes.stall(stalled);
    }
    assert_eq!(rig.parts().read_due(), Due::Idle);
}

#[test]
fn own_publishers_and_those_of_others_go_first_in_turn() {
    let [mut first, mut second] = Rig::shards(settings());
    let shared = first.parts().context.shared.clone();
    let mut topics = (0..).map(|number| format!("t/{number}"));
    let topic = topics.find(|topic| shared.owner(shared.log_of(topic)) == 0);
    let topic = topic.expect("there are enough topics");
    let subscriber = first.subscriber(&topic);
    let (near, far) = (first.join(), second.join());
    let mut order = Vec::new();
    for _ in 0..2 {
        far.publish(&topic, 20);
        second.turn();
        near.publish(&topic, 10);
        first.turn();
        let sizes = [20, 10].map(|size| record(&topic, size).len());
        let bytes = subscriber.peer.read();
        let size_of_first = u32::from_le_bytes(bytes[..4].try_into().expect("4 bytes"));
        order.push(sizes.map(|size| bytes[..size].len() == size_of_first as usize));
    }
    assert_ne!(order[0], order[1], "{order:?}");
}

#[test]
fn a_store_that_waits_for_its_time_is_due_then() {
    let mut rig = Rig::new();
    rig.disk.refuse(true);
    let publisher = rig.join();
    publisher.publish("synced/a", 10);
    rig.turn();
    let due = due(&mut rig);
    assert!(matches!(due, Due::At(_) | Due::Now), "{due:?}");
    rig.disk.refuse(false);
}

#[test]
fn bytes_that_are_kept_and_questions_that_wait_are_counted() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.disk.hold(DiskStep::Sync);
    client.publish("synced/a", 10);
    let half = record("synced/a", 1_000);
    rig.settle();
    assert_eq!(rig.metrics().waiting_since_us.get(), rig.now_ms() * 1_000);
    client.peer.write(&half[..500]);
    let other = rig.join();
    other.peer.stall();
    other.ping(1);
    let turns = rig.metrics().turns.get();
    rig.turn();
    let metrics = rig.metrics();
    assert_eq!(metrics.turns.get() - turns, 1);
    assert!(metrics.input_bytes.get() >= 500);
    assert!(metrics.output_bytes.get() > 0);
    rig.disk.lift(DiskStep::Sync);
    rig.settle();
    assert_eq!(rig.metrics().waiting_since_us.get(), 0);
}

#[test]
fn a_subscriber_of_another_shard_wakes_it() {
    let [mut first, mut second] = Rig::shards(settings());
    let client = second.join();
    for topic in ["a", "b", "c", "d", "e", "f"] {
        client.subscribe(topic, Start::Latest);
    }
    settle(&mut [&mut first, &mut second]);
    let publisher = first.join();
    for topic in ["a", "b", "c", "d", "e", "f"] {
        publisher.publish(topic, 10);
    }
    first.turn();
    assert_eq!(first.net.woken(), [1]);
}
