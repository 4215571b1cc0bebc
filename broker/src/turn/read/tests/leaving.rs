//! Clients that say Goodbye, or shut their side, while something has no answer yet.

use oyez_protocol::command::{Question, Start};
use oyez_storage::OpKind;

use crate::net::memory::End;
use crate::parts::ending::ANSWERS_MS;
use crate::parts::session::Stage;
use crate::rig::{Client, Rig, settings, settle};

const ANSWERED: &str = "goodbye Done: everything is answered";
const SYNCED: &str = "synced/a";

fn shut_down(client: &Client) {
    client.peer.shutdown();
}

/// The ways in which a client says that it is done.
const WAYS: [fn(&Client); 2] = [Client::say_goodbye, shut_down];

/// A client that has published two records that the disk does not sync, and then goes.
fn leaving(rig: &mut Rig, go: fn(&Client)) -> Client {
    let client = rig.join();
    rig.disk.hold(OpKind::Sync);
    client.publish(SYNCED, 10);
    client.publish(SYNCED, 10);
    go(&client);
    rig.settle();
    assert!(client.hear().is_empty());
    client
}

fn is_there(rig: &mut Rig, client: &Client) -> bool {
    rig.parts().sessions.get(client.id).is_some()
}

#[test]
fn a_client_that_goes_is_told_every_outcome_before_its_connection_ends() {
    for go in WAYS {
        let mut rig = Rig::new();
        let client = leaving(&mut rig, go);
        assert_eq!(client.peer.how_it_ended(), End::Open);
        rig.disk.lift(OpKind::Sync);
        rig.settle();
        let told = client.hear();
        assert_eq!(told, ["published Ok 0, Ok 1", ANSWERED]);
        if is_there(&mut rig, &client) {
            client.peer.shutdown();
            rig.settle();
        }
        assert!(client.peer.is_closed());
        assert_eq!(rig.metrics().sessions.get(), 0);
        assert_eq!(rig.parts().sessions.len(), 0);
    }
}

#[test]
fn outcomes_of_another_shard_come_before_the_connection_ends() {
    for go in WAYS {
        let [mut first, mut second] = Rig::shards(settings());
        let client = first.join();
        let topic = first.topic_of(1, "a/");
        client.publish(&topic, 10);
        go(&client);
        settle(&mut [&mut first, &mut second]);
        assert_eq!(client.hear(), ["published Ok 0", ANSWERED]);
    }
}

#[test]
fn answers_to_questions_and_subscriptions_come_before_the_connection_ends() {
    for go in WAYS {
        let [mut first, mut second] = Rig::shards(settings());
        let client = first.join();
        first.pass(1_000);
        let topic = first.topic_of(1, "a/");
        client.subscribe(&topic, Start::Latest);
        client.ask(Question::Topics { after: "" });
        client.ping(5);
        go(&client);
        settle(&mut [&mut first, &mut second]);
        let mut told = client.hear();
        assert_eq!(told.pop().expect("a last word"), ANSWERED);
        told.sort();
        let expected = ["answer {\"topics\":[]}", "pong 5", "subscribed Ok at 0"];
        assert_eq!(told, expected);
    }
}

#[test]
fn an_answer_that_is_not_out_yet_leaves_before_the_connection_ends() {
    for go in WAYS {
        let mut rig = Rig::new();
        let client = rig.join();
        client.ping(5);
        go(&client);
        rig.settle();
        let told = client.hear();
        assert_eq!(told[0], "pong 5");
        assert!(told[1].starts_with("goodbye Done: "), "{told:?}");
        assert_eq!(told.len(), 2);
    }
}

#[test]
fn a_client_that_waits_for_nothing_goes_without_a_word() {
    for go in WAYS {
        let mut rig = Rig::new();
        let client = rig.join();
        go(&client);
        rig.settle();
        assert!(client.hear().is_empty());
        assert_eq!(client.peer.how_it_ended(), End::Closed);
    }
}

#[test]
fn a_client_that_goes_is_delivered_nothing_and_read_no_more() {
    for go in WAYS {
        let mut rig = Rig::new();
        let client = rig.subscriber("a");
        rig.disk.hold(OpKind::Sync);
        client.publish(SYNCED, 10);
        go(&client);
        rig.settle();
        assert_eq!(rig.session(&client).stage(), Stage::Leaving);
        rig.append("a", 10);
        if !rig.session(&client).has_ended() {
            client.ping(5);
        }
        rig.settle();
        assert!(client.hear().is_empty());
        rig.disk.lift(OpKind::Sync);
        rig.settle();
        assert_eq!(client.hear(), ["published Ok 0", ANSWERED]);
    }
}

#[test]
fn a_client_waits_for_its_outcomes_for_a_bounded_time() {
    for go in WAYS {
        let mut rig = Rig::new();
        let client = leaving(&mut rig, go);
        rig.pass(ANSWERS_MS - 500);
        rig.settle();
        assert!(is_there(&mut rig, &client));
        // What it has acknowledged until now was long ago.
        client.peer.set_answered_ms(2 * ANSWERS_MS);
        rig.pass(ANSWERS_MS + 1_000);
        rig.settle();
        assert!(!is_there(&mut rig, &client));
        assert!(client.hear().is_empty() && client.peer.is_closed());
        rig.disk.lift(OpKind::Sync);
        rig.settle();
    }
}

#[test]
fn a_connection_that_breaks_while_its_client_waits_ends_at_once() {
    let mut rig = Rig::new();
    let client = leaving(&mut rig, Client::say_goodbye);
    client.peer.reset();
    rig.settle();
    assert!(!is_there(&mut rig, &client));
}

#[test]
fn in_a_shutdown_a_client_that_goes_gets_its_outcomes_too() {
    let mut rig = Rig::new();
    let client = leaving(&mut rig, shut_down);
    let now_ms = rig.now_ms();
    rig.parts().context.shared.stop(now_ms);
    rig.settle();
    rig.disk.lift(OpKind::Sync);
    for _ in 0..20 {
        rig.pass(2);
        rig.turn();
    }
    let told = client.hear();
    assert_eq!(told[0], "published Ok 0, Ok 1");
    assert!(told[1].starts_with("goodbye "), "{told:?}");
}

#[test]
fn a_client_that_has_shut_its_side_and_takes_little_is_told_everything_all_the_same() {
    let mut rig = Rig::new();
    let client = leaving(&mut rig, shut_down);
    client.peer.set_room(10);
    rig.disk.lift(OpKind::Sync);
    rig.settle();
    assert_eq!(rig.session(&client).stage(), Stage::Closing);
    // The kernel reports the end once more.
    rig.parts().sessions.queue_read(client.id);
    rig.settle();
    client.peer.set_room(usize::MAX);
    rig.settle();
    assert_eq!(client.hear(), ["published Ok 0, Ok 1", ANSWERED]);
}
