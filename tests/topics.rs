//! Lists of topics: what one costs is spread over turns, and it has all that were there.

use testkit::record::record;
use testkit::{Session, Setup};

const TOPICS: usize = 30_000;
const AT_ONCE: usize = 1000;

/// Names of which neighbours come far from each other.
fn name(number: usize) -> String {
    format!("many/{:05}", number * 7919 % TOPICS)
}

fn publish(publisher: &mut Session, numbers: std::ops::Range<usize>) {
    let mut bytes = Vec::new();
    let mut last = 0;
    for number in numbers {
        last = publisher.correlation();
        bytes.extend(record(&name(number), &[b"x"], last));
    }
    publisher.send(&bytes);
    publisher.outcome_of(last);
}

#[test]
fn the_first_list_after_many_new_topics_takes_many_turns_and_has_them_all() {
    let broker = Setup::new()
        .set("shards", 1)
        .set("memory_topics", "many/#")
        .set("topic_creation_rate", 0)
        .start();
    let mut publisher = broker.connect();
    for first in (0..TOPICS).step_by(AT_ONCE) {
        publish(&mut publisher, first..first + AT_ONCE);
    }
    let mut asking = broker.connect();
    let turns = |session: &mut Session| session.stats()["turns"].as_u64().expect("a number");
    let before = turns(&mut asking);
    let first = asking.topics_after("");
    let took = turns(&mut asking) - before;
    // A turn orders a thousand.
    assert!(took >= TOPICS as u64 / 1024, "{took} turns");

    let mut names: Vec<String> = Vec::new();
    let (mut page, mut more) = first;
    loop {
        let of = |topic: &serde_json::Value| topic["name"].as_str().expect("a name").to_owned();
        names.extend(page.iter().map(of));
        if !more {
            break;
        }
        (page, more) = asking.topics_after(names.last().expect("a page has topics"));
    }
    assert_eq!(names.len(), TOPICS);
    assert!(names.is_sorted());
}

#[test]
fn many_clients_that_ask_at_once_are_all_answered() {
    let broker = Setup::new().set("shards", 3).start();
    let mut publisher = broker.connect();
    for topic in ["a", "b", "c"] {
        publisher.publish(topic, b"x");
    }
    let mut asking: Vec<Session> = (0..60).map(|_| broker.connect()).collect();
    let asked: Vec<u32> = asking
        .iter_mut()
        .map(|session| session.ask_topics(""))
        .collect();
    for (session, asked) in asking.iter_mut().zip(asked) {
        let (topics, more) = session.listed(asked);
        assert_eq!((topics.len(), more), (3, false));
    }
    for session in &mut asking {
        assert_eq!(session.lag()["subscriptions"], 0);
    }
}
