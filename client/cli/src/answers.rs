//! Reads the broker's answers to questions about itself from their JSON, whose shape `oyez_protocol::answer` states.

use oyez_client::Client;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// A topic that the broker keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TopicInfo {
    pub(crate) name: String,
    /// `memory`, `written` or `synced`.
    pub(crate) durability: String,
    /// Offset of the oldest message kept.
    pub(crate) earliest: u64,
    /// Offset that the next message gets.
    pub(crate) next: u64,
    /// Records kept.
    pub(crate) records: u64,
    /// Bytes of these records.
    pub(crate) bytes: u64,
    /// The epoch of its history, in hexadecimal digits.
    pub(crate) epoch: String,
}

/// The body of an answer about topics.
#[derive(Debug, Deserialize)]
struct Page {
    topics: Vec<TopicInfo>,
}

/// Asks for the broker's counters.
pub(crate) fn stats<T: DeserializeOwned>(client: &Client) -> Result<T, Failure> {
    read(&client.stats()?)
}

/// Asks how far subscriptions are behind.
pub(crate) fn lag<T: DeserializeOwned>(client: &Client) -> Result<T, Failure> {
    read(&client.lag()?)
}

/// Asks for all topics that the broker keeps, in the order of their names.
pub(crate) fn topics(client: &Client) -> Result<Vec<TopicInfo>, Failure> {
    let mut topics: Vec<TopicInfo> = Vec::new();
    loop {
        let after = topics.last().map_or("", |topic| &topic.name).to_owned();
        let answer = client.topics_after(&after)?;
        let page = page_after(&after, &answer.json)?;
        let is_last = !answer.more || page.is_empty();
        topics.extend(page);
        if is_last {
            return Ok(topics);
        }
    }
}

/// Reads the topics of a page. A topic that does not come after `after` is an error: asking on would never end.
fn page_after(after: &str, json: &str) -> Result<Vec<TopicInfo>, Failure> {
    let page: Page = read(json)?;
    match page.topics.iter().find(|topic| *topic.name <= *after) {
        Some(topic) => Err(not_understood(&serde_json::Error::custom(format!(
            "the topics after `{after}` hold `{}`",
            topic.name
        )))),
        None => Ok(page.topics),
    }
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| not_understood(&error))
}

fn not_understood(error: &serde_json::Error) -> Failure {
    Failure::Failed(format!(
        "cannot read the broker's answer: {error}; do broker and client have the same version?"
    ))
}
