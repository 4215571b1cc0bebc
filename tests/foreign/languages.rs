//! Libraries of other languages: what they publish is there, and they read it in order, whole, and once.

use testkit::Setup;

use crate::client::{Language, NODE, PHP, PYTHON, messages, steady, texts};
use testkit::tools::are_here;

/// Publishes, reads, goes on behind an event, and comes back to a broker that was away.
fn speaks(language: Language, test: &str) {
    if !are_here(test, language.tools) {
        return;
    }
    let mut broker = steady(&Setup::new());
    let topic = format!("http://{}/from/abroad", broker.address());
    let stream = format!("{topic}/sse?from=earliest");
    let mut reader = language.read(&stream, "").connected();
    let mut publisher = language.publish(&topic);

    let first = messages(0..20);
    let offsets = publisher.publish(&first);
    assert_eq!(offsets, (0..20).collect::<Vec<u64>>());
    let heard = reader.messages(20);
    assert_eq!(texts(&heard), first);

    let mut resumed = language.read(&stream, &heard[6].id).connected();
    assert_eq!(resumed.messages(13), heard[7..]);

    broker.stop();
    broker.restart();
    let second = messages(20..40);
    assert_eq!(publisher.publish(&second), (20..40).collect::<Vec<u64>>());
    for reader in [&mut reader, &mut resumed] {
        assert_eq!(texts(&reader.messages(20)), second);
        assert_eq!(reader.connections, 2, "it came back once");
    }
}

#[test]
fn node_publishes_with_fetch_and_reads_with_eventsource() {
    speaks(NODE, "clients in Node");
}

#[test]
fn python_publishes_and_reads_with_its_standard_library() {
    speaks(PYTHON, "clients in Python");
}

#[test]
fn php_publishes_and_reads_with_curl() {
    speaks(PHP, "clients in PHP");
}
