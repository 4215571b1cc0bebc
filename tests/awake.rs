//! Cores that are kept awake while publishers wait for every record.

use std::fs::File;
use std::io::Read;

use testkit::deadline::wait_until;
use testkit::figures::{figure, skipped};
use testkit::{Broker, Outcome, Setup};

/// The longest wake-up latency that is requested on this machine, as the kernel reports it.
fn wake_up_us() -> i32 {
    let mut us = [0; 4];
    let device = File::open("/dev/cpu_dma_latency");
    device
        .and_then(|mut device| device.read_exact(&mut us))
        .expect("who may write there may read");
    i32::from_ne_bytes(us)
}

/// Publishes one record after the other.
fn wait_for_each(broker: &Broker, topic: &str, records: usize) {
    let mut publisher = broker.connect();
    for _ in 0..records {
        assert_eq!(publisher.publish(topic, b"x").outcome, Outcome::Ok);
    }
}

/// One test, because all requests to the kernel are for the whole machine.
#[test]
fn cores_are_kept_awake_as_configured_or_the_broker_says_why_it_cannot() {
    let data = tempfile::tempdir().expect("a directory");
    let always = Setup::new().set("keep_awake", "always");
    let mut broker = match always.start_or_refused_on(data.path()) {
        Ok(broker) => broker,
        Err(refusal) => {
            assert_eq!(refusal.code, 1);
            assert!(refusal.message.contains("--keep-awake auto"), "{refusal:?}");
            return skipped("cores that are kept awake", &refusal.message);
        }
    };
    assert!(wake_up_us() <= 2, "{} us", wake_up_us());
    wait_until("the time to be counted", || broker.counter("awake_ms") > 0);
    broker.stop();
    if wake_up_us() <= 2 {
        return skipped("cores that may sleep", "somebody else keeps them awake");
    }

    let broker = Broker::start();
    let mut records = 0;
    wait_until("cores to be kept awake", || {
        records += 100;
        wait_for_each(&broker, "a/topic", 100);
        wake_up_us() <= 2
    });
    figure("records until cores were kept awake", &format!("{records}"));
    wait_until("cores to be let sleep", || wake_up_us() > 2);
    assert!(broker.counter("awake_ms") > 0);

    for (key, value) in [("keep_awake", "never"), ("memory_topics", "#")] {
        let broker = Setup::new().set(key, value).start();
        wait_for_each(&broker, "a/topic", records);
        assert_eq!(broker.counter("awake_ms"), 0, "{key} = {value}");
    }
}
