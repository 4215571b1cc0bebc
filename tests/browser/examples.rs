//! The client's examples do what they are there to show. With `OYEZ_PICTURES=DIRECTORY` they are left there as pictures.

use std::path::PathBuf;

use serde_json::json;
use testkit::Broker;
use testkit::deadline::wait_until;

use crate::broker_for;
use crate::tab::Tab;

/// A tab with an example, and the broker that it uses.
fn open(test: &str, page: &str) -> Option<(Tab, Broker)> {
    let mut tab = Tab::start(test)?;
    let broker = broker_for(&tab);
    tab.open(&format!(
        "/examples/{page}?broker=ws://{}",
        broker.address()
    ));
    Some((tab, broker))
}

/// What is to be read within an element, once that is what is expected.
fn await_text(tab: &mut Tab, of: &str, is_it: impl Fn(&str) -> bool) {
    wait_until(&format!("{of} says what it should"), || {
        let text = tab.order(&json!({ "do": "text", "of": of }));
        is_it(text.as_str().expect("text"))
    });
}

/// Takes a picture for people to look at.
fn picture(tab: &mut Tab, name: &str) {
    if let Some(directory) = std::env::var_os("OYEZ_PICTURES") {
        let file = PathBuf::from(directory).join(name);
        tab.order(&json!({ "do": "picture", "file": file }));
    }
}

#[test]
fn a_chat_shows_what_everybody_says_and_says_what_is_typed() {
    let Some((mut tab, broker)) = open("the chat", "chat.html") else {
        return;
    };
    await_text(&mut tab, "#state", |state| state == "open");
    let said = json!({ "by": "Ada", "words": "Is anybody there?" });
    broker
        .connect()
        .publish("chat/lobby", said.to_string().as_bytes());
    await_text(&mut tab, "#log", |log| log.contains("Is anybody there?"));
    tab.order(&json!({ "do": "fill", "into": "#name", "text": "Bob" }));
    tab.order(&json!({ "do": "fill", "into": "#text", "text": "Yes, here I am." }));
    tab.order(&json!({ "do": "press", "on": "#text", "key": "Enter" }));
    await_text(&mut tab, "li.mine", |log| log.contains("Yes, here I am."));
    picture(&mut tab, "chat.png");
    let mut session = broker.connect();
    session.subscribe("chat/lobby", testkit::Start::Earliest);
    let messages = session.messages("chat/lobby", 2);
    let own = String::from_utf8(messages[1].1.clone()).expect("text");
    assert_eq!(own, r#"{"by":"Bob","words":"Yes, here I am."}"#);
}

#[test]
fn a_page_raises_notifications() {
    let Some((mut tab, broker)) = open("the notifications", "notify.html") else {
        return;
    };
    tab.order(&json!({ "do": "click", "on": "#start" }));
    await_text(&mut tab, "#state", |state| state.ends_with("open"));
    broker.connect().publish("notify", b"The kettle boils");
    await_text(&mut tab, "#log", |log| log.contains("The kettle boils"));
    tab.order(&json!({ "do": "click", "on": "#test" }));
    await_text(&mut tab, "#log", |log| log.contains("Hello at "));
    let raised = tab.order(&json!({ "do": "notifications" }));
    let bodies = raised.as_array().expect("a list");
    assert!(
        bodies.contains(&json!("The kettle boils")) && bodies.len() == 2,
        "{raised}"
    );
    picture(&mut tab, "notify.png");
}
