//! Pages with much to do: many messages, many subscriptions, a script that holds everything up, a long time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::deadline::wait_until;
use testkit::figures::{figure, full};
use testkit::{Broker, Setup};

use crate::tab::Tab;
use crate::{broker_for, connected};

const TOPIC: &str = "load";
const RATE: usize = 10_000;
/// Messages of a batch, each of which is a record.
const BATCH: usize = 100;

/// Publishes at the rate, so many messages in all.
fn publish(broker: &Broker, count: usize) {
    let mut publisher = broker.connect();
    let begin = Instant::now();
    for batch in 0..count / BATCH {
        let due = Duration::from_secs_f64((batch * BATCH) as f64 / RATE as f64);
        wait_until("the next batch is due", || begin.elapsed() >= due);
        let payloads: Vec<String> = (0..BATCH)
            .map(|number| {
                format!(
                    "{{\"score\":[{batch},{number}],\"text\":\"two hundred bytes, more or less\"}}"
                )
            })
            .collect();
        publisher.publish_each(TOPIC, &payloads);
    }
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().expect("a number")
}

#[test]
fn ten_thousand_messages_a_second_take_little_of_a_page() {
    let Some(mut tab) = Tab::start("a page under load") else {
        return;
    };
    let broker = broker_for(&tab);
    connected(&mut tab, &broker);
    tab.run("count", &json!([[TOPIC], "latest"]));
    let count = RATE * if full() { 30 } else { 5 };
    let before = tab.order(&json!({ "do": "figures" }));
    let begin = Instant::now();
    publish(&broker, count);
    let heard = tab.run("counted", &json!([count]));
    let after = tab.order(&json!({ "do": "figures" }));
    assert_eq!(heard, count, "each once");
    let busy_us = (number(&after, "busy") - number(&before, "busy")) * 1e6 / count as f64;
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    figure(
        "browser: processor time of a message",
        &format!("{busy_us:.1} us at {rate:.0} messages/s"),
    );
    // A page has a sixtieth of a second for each picture: half of that is left at this rate.
    assert!(busy_us < 50.0, "{busy_us} us a message");
}

#[test]
fn a_page_that_computes_holds_nobody_up_and_has_everything_afterwards() {
    let Some(mut tab) = Tab::start("a page that computes") else {
        return;
    };
    let broker = broker_for(&tab);
    connected(&mut tab, &broker);
    tab.run("count", &json!([[TOPIC], "latest"]));
    tab.begin(&json!({ "do": "run", "run": "stall", "given": [5_000] }));
    // 20 MB, which are more than sockets hold.
    let count = 1_000;
    let payload = vec![b'x'; 20_000];
    let begin = Instant::now();
    let mut publisher = broker.connect();
    for _ in 0..count {
        publisher.publish(TOPIC, &payload);
    }
    assert!(begin.elapsed() < Duration::from_secs(60));
    tab.finish();
    assert_eq!(tab.run("counted", &json!([count])), count);
}

#[test]
fn a_hundred_subscriptions_share_a_connection() {
    let Some(mut tab) = Tab::start("a page with many subscriptions") else {
        return;
    };
    let broker = broker_for(&tab);
    connected(&mut tab, &broker);
    let topics: Vec<String> = (0..100).map(|topic| format!("many/{topic}")).collect();
    assert_eq!(tab.run("count", &json!([topics, "latest"])), 100);
    assert_eq!(broker.counter("subscriptions"), 100);
    let mut publisher = broker.connect();
    for topic in &topics {
        publisher.publish_each(topic, &["one", "two", "three"]);
    }
    assert_eq!(tab.run("counted", &json!([300])), 300);
    // One connection is the publisher's.
    assert_eq!(
        broker.counter("connections"),
        3,
        "one is that of the question"
    );
}

#[test]
fn a_page_that_stays_open_keeps_nothing() {
    let Some(mut tab) = Tab::start("a page that stays open") else {
        return;
    };
    let broker = broker_for(&tab);
    connected(&mut tab, &broker);
    tab.run("count", &json!([[TOPIC], "latest"]));
    let rounds = if full() { 60 } else { 3 };
    let (mut count, mut heaps) = (0, Vec::new());
    for _ in 0..rounds {
        // Ten seconds at a fifth of the rate.
        let begin = Instant::now();
        publish(&broker, 2 * RATE);
        count += 2 * RATE;
        tab.run("counted", &json!([count]));
        if full() {
            wait_until("ten seconds are over", || {
                begin.elapsed() >= Duration::from_secs(10)
            });
        }
        heaps.push(number(&tab.order(&json!({ "do": "figures" })), "heap"));
    }
    let (first, last) = (heaps[0], heaps[rounds - 1]);
    figure(
        "browser: heap of a page",
        &format!("{first:.0} bytes, {last:.0} after {count} messages"),
    );
    assert!(last < first + 1e6, "{heaps:?}");
}

#[test]
fn pages_of_other_origins_have_no_client() {
    let Some(mut tab) = Tab::start("pages of foreign origins with the client") else {
        return;
    };
    let broker = Setup::new().start();
    tab.open("/page");
    let url = format!("ws://{}", broker.address());
    tab.run(
        "connect",
        &json!([url, { "minDelayMs": 50, "maxDelayMs": 100 }]),
    );
    for _ in 0..3 {
        let before = tab.await_saying(&json!({ "state": "waiting" }));
        assert!(
            before.iter().all(|said| said["state"] != "open"),
            "{before:?}"
        );
    }
}
