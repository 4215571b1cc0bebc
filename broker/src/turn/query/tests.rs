use oyez_protocol::command::Question;
use oyez_protocol::{Epoch, LogId, Offset};
use oyez_storage::Durability;
use serde_json::Value;

use super::*;
use crate::parts::due::Due;
use crate::rig::{Client, Rig, settings, settle};

/// The answers that a client has got: each with whether there is more to ask for.
fn answers(client: &Client) -> Vec<(Value, bool)> {
    let answers = client.hear_answers().into_iter();
    let parsed =
        answers.map(|(json, more)| (serde_json::from_str(&json).expect("it is JSON"), more));
    parsed.collect()
}

/// The names of the only answer's topics, and whether there are more.
fn names(client: &Client) -> (Vec<String>, bool) {
    let mut answers = answers(client);
    assert_eq!(answers.len(), 1);
    let (answer, more) = answers.remove(0);
    let topics = answer["topics"].as_array().expect("a list").iter();
    let name = |topic: &Value| topic["name"].as_str().expect("a name").to_owned();
    (topics.map(name).collect(), more)
}

/// Begins a list for a session, with this step alone.
fn list(rig: &mut Rig, client: &Client, after: &str) -> Result<usize, Until> {
    let parts = rig.parts();
    let (listings, outbox) = (&mut parts.questions.listings, &mut parts.outbox);
    let asked = (client.id, 1, after);
    let gathered = (listings, &mut parts.sessions);
    list_topics(&parts.context, gathered, (&parts.logs, outbox), asked)
}

/// Makes pages, with this step alone. Returns those of the shard's own lists.
fn tell_pages(rig: &mut Rig) -> Vec<(usize, TopicPage)> {
    let parts = rig.parts();
    let listings = &mut parts.questions.listings;
    tell_topics(&parts.context, listings, &mut parts.logs, &mut parts.outbox)
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{prefix}{number:04}"))
        .collect()
}

fn append_all(rig: &mut Rig, topics: &[String]) {
    for topic in topics {
        rig.append(topic, 1);
    }
}

#[test]
fn counters_are_those_of_all_shards_and_cost_more_the_more_these_are() {
    let [mut first, _second] = Rig::shards(settings());
    let client = first.join();
    first.parts().context.shared.metrics[1].records_in.add(7);
    let parts = first.parts();
    let told = (&parts.logs, &parts.outbox, "ring");
    let steps = answer_stats(&parts.context, &mut parts.sessions, told, (client.id, 1));
    assert_eq!(steps, 1_060);
    first.settle();
    let (stats, more) = answers(&client).remove(0);
    assert!(!more);
    for (name, value) in [("shards", 2), ("records_in", 7), ("sessions", 1)] {
        assert_eq!(stats[name], value, "{name}");
    }
    assert_eq!(
        (&stats["sending"], &stats["disk"]),
        (&"ring".into(), &"memory".into())
    );
    assert_eq!(stats["questions_max"], 2 * 16_384);
    assert_eq!(stats["uptime_ms"], first.now_ms());
}

#[test]
fn questions_take_their_share_of_the_time_and_the_others_wait_for_more() {
    let mut rig = Rig::new();
    let client = rig.join();
    for _ in 0..30 {
        client.ask(Question::Stats);
    }
    rig.settle();
    // 1,030 steps each, of 20,000; the last one may take more than is left.
    assert_eq!(answers(&client).len(), 20);
    rig.pass(10);
    rig.settle();
    assert!(answers(&client).is_empty(), "not one by one");
    rig.pass(1);
    rig.settle();
    assert_eq!(answers(&client).len(), 10);
}

#[test]
fn topics_are_told_in_the_order_of_their_names_from_all_logs_and_shards() {
    let [mut first, mut second] = Rig::shards(settings());
    let client = first.join();
    let mut all: Vec<String> = first.topics_of(0, "a/").take(5).collect();
    append_all(&mut first, &all);
    let others: Vec<String> = first.topics_of(1, "a/").take(5).collect();
    append_all(&mut second, &others);
    all.extend(others);
    all.sort();
    assert_eq!(list(&mut first, &client, ""), Ok(2 * TOPICS_STEPS));
    settle(&mut [&mut first, &mut second]);
    assert_eq!(names(&client), (all.clone(), false));
    list(&mut first, &client, &all[3]).expect("the list before is told");
    settle(&mut [&mut first, &mut second]);
    assert_eq!(names(&client), (all[4..].to_vec(), false));
}

#[test]
fn a_broker_without_topics_says_so() {
    let mut rig = Rig::new();
    let client = rig.join();
    client.ask(Question::Topics { after: "" });
    rig.settle();
    assert_eq!(names(&client), (vec![], false));
}

#[test]
fn a_list_is_cut_where_the_first_page_ends_that_has_more_behind_it() {
    let [mut first, mut second] = Rig::shards(settings());
    let client = first.join();
    let mut all: Vec<String> = first.topics_of(0, "a/").take(300).collect();
    all.sort();
    append_all(&mut first, &all);
    let other = first.topic_of(1, "b/");
    second.append(&other, 1);
    list(&mut first, &client, "").expect("it is the first");
    settle(&mut [&mut first, &mut second]);
    assert_eq!(names(&client), (all[..256].to_vec(), true));
    list(&mut first, &client, &all[255]).expect("the list before is told");
    settle(&mut [&mut first, &mut second]);
    let rest = [&all[256..], &[other]].concat();
    assert_eq!(names(&client), (rest, false));
}

#[test]
fn a_turn_makes_two_pages_and_those_that_have_waited_longest() {
    let mut rig = Rig::new();
    rig.append("a", 1);
    let clients = [rig.join(), rig.join(), rig.join()];
    for client in &clients {
        list(&mut rig, client, "").expect("there is room for it");
    }
    let numbers = |told: &[(usize, TopicPage)]| Vec::from_iter(told.iter().map(|told| told.0));
    assert_eq!(numbers(&tell_pages(&mut rig)), [0, 1]);
    assert_eq!(rig.parts().questions.due(), Due::Now);
    assert_eq!(numbers(&tell_pages(&mut rig)), [2]);
    assert_eq!(rig.parts().questions.due(), Due::Idle);
    assert!(tell_pages(&mut rig).is_empty());
}

#[test]
fn topics_are_put_into_order_a_part_in_each_turn_and_told_when_all_are() {
    let mut rig = Rig::new();
    let client = rig.join();
    let topics = numbered("a/", 1_500);
    append_all(&mut rig, &topics);
    list(&mut rig, &client, "").expect("it is the first");
    assert!(
        tell_pages(&mut rig).is_empty(),
        "1,024 of them are in order"
    );
    assert_eq!(rig.parts().questions.due(), Due::Now);
    // Topics that come meanwhile are not waited for.
    append_all(&mut rig, &numbered("b/", 400));
    let pages = tell_pages(&mut rig);
    assert_eq!(pages.len(), 1);
    let told: Vec<&str> = pages[0].1.topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!(
        (told, pages[0].1.more),
        (
            Vec::from_iter(topics[..256].iter().map(|name| &**name)),
            true
        )
    );
}

#[test]
fn a_session_gathers_one_list_at_a_time_and_a_shard_eight() {
    let mut rig = Rig::new();
    let clients: Vec<Client> = (0..9).map(|_| rig.join()).collect();
    for client in &clients[..8] {
        assert_eq!(list(&mut rig, client, ""), Ok(TOPICS_STEPS));
        assert_eq!(list(&mut rig, client, ""), Err(Until::Answered));
    }
    assert_eq!(list(&mut rig, &clients[8], ""), Err(Until::Room));
    let frees: Vec<bool> = (0..8)
        .map(|number| {
            let parts = rig.parts();
            let told = (number, TopicPage::default());
            add_topics(
                &parts.context,
                &mut parts.questions.listings,
                &mut parts.sessions,
                told,
            )
        })
        .collect();
    assert_eq!(
        frees,
        [true, false, false, false, false, false, false, false]
    );
    rig.settle();
    assert!(clients[..8].iter().all(|client| answers(client).len() == 1));
    assert!(list(&mut rig, &clients[8], "").is_ok());
}

#[test]
fn a_list_is_answered_when_the_last_shard_has_reported_its_part() {
    let [mut first, _second] = Rig::shards(settings());
    let client = first.join();
    list(&mut first, &client, "").expect("it is the first");
    first.parts().answer_questions();
    first.parts().flushing().run();
    assert!(answers(&client).is_empty());
    let parts = first.parts();
    let told = (0, TopicPage::default());
    add_topics(
        &parts.context,
        &mut parts.questions.listings,
        &mut parts.sessions,
        told,
    );
    first.parts().flushing().run();
    assert_eq!(names(&client), (vec![], false));
}

#[test]
fn a_session_that_waits_for_its_list_goes_on_when_it_has_it() {
    let mut rig = Rig::new();
    let client = rig.join();
    rig.append("a", 1);
    for _ in 0..2 {
        client.ask(Question::Topics { after: "" });
    }
    rig.settle();
    assert_eq!(answers(&client).len(), 2);
}

fn info(name: &str) -> TopicInfo {
    TopicInfo {
        name: name.to_owned(),
        log: LogId::new(2),
        durability: Durability::Synced,
        earliest: Offset::new(3),
        next: Offset::new(9),
        records: 5,
        bytes: 640,
        epoch: Epoch::new(0xab),
    }
}

#[test]
fn a_topic_is_told_with_all_that_is_known_of_it() {
    let (json, told) = topics_json(&[info("a\"b"), info("c")]);
    let row = |name| {
        format!(
            "{{\"name\":\"{name}\",\"durability\":\"synced\",\"earliest\":3,\"next\":9,\"records\":5,\
             \"bytes\":640,\"epoch\":\"00000000000000ab\"}}"
        )
    };
    let expected = format!("{{\"topics\":[{},{}]}}", row("a\\\"b"), row("c"));
    assert_eq!((json, told), (expected, 2));
}

#[test]
fn an_answer_has_as_many_topics_as_fit_and_says_that_there_are_more() {
    let one = topics_json(&[info("a")]).0.len();
    let row_bytes = one - "{\"topics\":[]}".len();
    // Rows that fill an answer to its last byte: all of the same length but the last.
    let rows = (ANSWER_SIZE_MAX - 13) / (row_bytes + 100);
    let name = "n".repeat(100);
    let mut topics: Vec<TopicInfo> = (0..rows).map(|_| info(&name)).collect();
    let size = topics_json(&topics).0.len();
    topics[rows - 1]
        .name
        .push_str(&"n".repeat(ANSWER_SIZE_MAX - size));
    let (json, told) = topics_json(&topics);
    assert_eq!((json.len(), told), (ANSWER_SIZE_MAX, rows));
    topics[rows - 1].name.push('n');
    let (json, told) = topics_json(&topics);
    assert_eq!(told, rows - 1);
    assert!(json.ends_with("}]}") && json.len() < ANSWER_SIZE_MAX);
}

#[test]
fn a_list_that_does_not_fit_into_its_answer_goes_on_with_the_next_one() {
    let mut rig = Rig::new();
    let client = rig.join();
    let topics = numbered(&"n".repeat(200), 250);
    append_all(&mut rig, &topics);
    let (mut told, mut more) = (Vec::<String>::new(), true);
    while more {
        let after = told.last().cloned().unwrap_or_default();
        list(&mut rig, &client, &after).expect("the list before is told");
        rig.settle();
        let (names, is_cut) = names(&client);
        assert!(!names.is_empty() && names.len() < topics.len());
        told.extend(names);
        more = is_cut;
    }
    assert_eq!(told, topics);
}
