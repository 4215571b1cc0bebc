//! The browser client in Chromium: across restarts, without a network, in a tab that stalls, under load, with many subscriptions,
//! and its examples.
#![allow(
    clippy::unwrap_used,
    reason = "a failure here is a failure of the test"
)]

mod blocks;
mod examples;
mod load;
mod node;
mod tab;

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Broker, Setup};

use crate::tab::Tab;

/// A broker that pages of the tab may use, and which comes back where it was.
pub(crate) fn broker_for(tab: &Tab) -> Broker {
    let broker = Setup::new().set("origins", tab.origin()).start();
    let address = broker.address();
    drop(broker);
    Setup::new()
        .set("origins", tab.origin())
        .set("listen", address)
        .start()
}

/// A page that is connected.
pub(crate) fn connected(tab: &mut Tab, broker: &Broker) {
    tab.open("/page");
    let url = format!("ws://{}", broker.address());
    tab.run(
        "connect",
        &json!([url, { "minDelayMs": 50, "maxDelayMs": 500 }]),
    );
    tab.await_saying(&json!({ "state": "open" }));
}

pub(crate) fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("message {number}")).collect()
}

/// The next messages of a topic; what else is said is passed over, unless something is missing.
fn messages(tab: &mut Tab, count: usize) -> Vec<(u64, String)> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let heard = tab.heard();
        for word in ["gap", "epoch", "end", "thrown"] {
            assert_eq!(heard.get(word), None, "{heard}");
        }
        if let Some(text) = heard.get("text").and_then(Value::as_str) {
            messages.push((
                heard["offset"].as_u64().expect("an offset"),
                text.to_owned(),
            ));
        }
    }
    messages
}

/// The messages that are to come next, from one on.
fn expected(from: usize, texts: &[String]) -> Vec<(u64, String)> {
    let offsets = (from as u64)..;
    offsets.zip(texts.iter().cloned()).collect()
}

#[test]
fn messages_come_in_order_and_once_though_the_broker_is_restarted_and_killed() {
    let Some(mut tab) = Tab::start("the client across restarts") else {
        return;
    };
    let mut broker = broker_for(&tab);
    connected(&mut tab, &broker);
    tab.run("follow", &json!(["news", "earliest"]));
    for (round, kills) in [false, true, false, true].into_iter().enumerate() {
        let numbers = round * 40..round * 40 + 20;
        broker
            .connect()
            .publish_each("news", &numbered(numbers.clone()));
        assert_eq!(
            messages(&mut tab, 20),
            expected(numbers.start, &numbered(numbers))
        );
        match kills {
            true => broker.kill(),
            false => assert!(broker.stop().success()),
        }
        broker.restart();
        // What comes before the page is back.
        let numbers = round * 40 + 20..round * 40 + 40;
        broker
            .connect()
            .publish_each("news", &numbered(numbers.clone()));
        assert_eq!(
            messages(&mut tab, 20),
            expected(numbers.start, &numbered(numbers))
        );
    }
    // A page publishes while the broker is away, and hears when it is back.
    broker.stop();
    tab.await_saying(&json!({ "state": "waiting" }));
    tab.begin(&json!({ "do": "run", "run": "publish", "given": ["news", "from the page"] }));
    broker.restart();
    assert_eq!(tab.finish(), 160);
    assert_eq!(messages(&mut tab, 1), [(160, "from the page".to_owned())]);
}

#[test]
fn a_page_without_a_network_waits_and_goes_on_when_it_is_back() {
    let Some(mut tab) = Tab::start("the client without a network") else {
        return;
    };
    let mut broker = broker_for(&tab);
    connected(&mut tab, &broker);
    tab.run("follow", &json!(["news", "earliest"]));
    for round in 0..3 {
        tab.order(&json!({ "do": "offline", "offline": true }));
        // Chromium leaves open connections alone: this is how the page loses its own.
        broker.stop();
        tab.await_saying(&json!({ "state": "waiting" }));
        broker.restart();
        let heard = tab.heard_within(Duration::from_secs(1));
        assert_eq!(heard, None, "it tries nothing while there is no network");
        publish_and_hear(
            &mut tab,
            &broker,
            round,
            ("offline", "offline", &json!(false)),
        );
    }
}

#[test]
fn a_page_that_is_frozen_has_everything_when_it_goes_on() {
    let Some(mut tab) = Tab::start("the client in a frozen tab") else {
        return;
    };
    let broker = broker_for(&tab);
    connected(&mut tab, &broker);
    tab.run("follow", &json!(["news", "earliest"]));
    for round in 0..3 {
        tab.order(&json!({ "do": "lifecycle", "state": "frozen" }));
        publish_and_hear(
            &mut tab,
            &broker,
            round,
            ("lifecycle", "state", &json!("active")),
        );
    }
}

/// Publishes to a page that cannot hear, brings it back by an order, and hears all of it there.
fn publish_and_hear(
    tab: &mut Tab,
    broker: &Broker,
    round: usize,
    (order, name, value): (&str, &str, &Value),
) {
    let numbers = round * 100..round * 100 + 100;
    let texts = numbered(numbers.clone());
    broker.connect().publish_each("news", &texts);
    tab.order(&json!({ "do": order, name: value }));
    assert_eq!(messages(tab, 100), expected(numbers.start, &texts));
}
