//! The JSON of answers is what the page of the specification says, member by member.

use serde_json::Value;
use testkit::{Broker, Session, Start};

const PAGE: &str = include_str!("../protocol/src/answer.rs");

/// The sections of the page, each with its example and its text.
fn sections() -> Vec<(Value, &'static str)> {
    let section = |text: &'static str| {
        let begin = text.split_once("```json\n").expect("an example").1;
        let (example, rest) = begin.split_once("//! ```\n").expect("its end");
        let json: String = example
            .lines()
            .map(|line| line.trim_start_matches("//!"))
            .collect();
        (serde_json::from_str(&json).expect("JSON"), rest)
    };
    PAGE.split("//! # Question").skip(1).map(section).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// Compares what was told with the example of the page, in which each list has one row of its kind.
fn compare(place: &str, told: &Value, example: &Value) {
    match (told, example) {
        (Value::Object(told), Value::Object(example)) => {
            let keys = |object: &serde_json::Map<String, Value>| -> Vec<String> {
                object.keys().cloned().collect()
            };
            assert_eq!(keys(told), keys(example), "members of {place}");
            for (key, value) in told {
                compare(&format!("{place}.{key}"), value, &example[key]);
            }
        }
        (Value::Array(told), Value::Array(example)) => {
            for row in told {
                compare(&format!("a row of {place}"), row, &example[0]);
            }
        }
        (told, example) => {
            // Whether a socket takes something differs from one answer to the next.
            let is_either =
                place.ends_with(".blocked_ms") && matches!(kind(told), "null" | "number");
            assert!(
                is_either || kind(told) == kind(example),
                "{place} is {told}"
            );
        }
    }
}

/// The names of all members, however deep.
fn members(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                into.push(key.clone());
                members(value, into);
            }
        }
        Value::Array(rows) => rows.iter().for_each(|row| members(row, into)),
        _ => {}
    }
}

/// A broker with something to tell, a subscriber that does not read, and a session that may ask.
fn busy() -> (Broker, Session, Session) {
    let broker = Broker::start();
    let mut slow = broker.connect();
    slow.keep_receive_buffer_small();
    slow.subscribe("orders/eu", Start::Latest);
    let mut session = broker.connect();
    // More than the sockets between them hold.
    let payload = testkit::random::Random::new(3).bytes(200_000);
    session.publish_each("orders/eu", &vec![payload; 100]);
    (broker, slow, session)
}

#[test]
fn answers_have_the_members_that_the_page_shows() {
    let (_broker, _slow, mut session) = busy();
    let topics = serde_json::json!({ "topics": session.topics() });
    let told = [session.stats(), topics, session.lag()];
    let rows = |told: &Value, list: &str| told[list].as_array().map_or(0, Vec::len);
    assert_eq!(
        (rows(&told[1], "topics"), rows(&told[2], "slowest")),
        (1, 1)
    );
    let sections = sections();
    assert_eq!(told.len(), sections.len());
    for (number, (told, (example, _))) in (1..).zip(told.iter().zip(&sections)) {
        compare(&format!("answer {number}"), told, example);
    }
}

#[test]
fn the_page_says_what_each_member_is() {
    for (example, text) in sections() {
        let mut names = Vec::new();
        members(&example, &mut names);
        for name in names {
            assert!(
                text.contains(&format!("`{name}`")),
                "nothing is said of {name}"
            );
        }
    }
}
