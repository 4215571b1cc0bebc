//! Cores that are kept awake while publishers wait for every record.

use std::fs::File;
use std::io::Read;

use testkit::deadline::wait_until;
use testkit::figures::{figure, skipped};
use testkit::{Outcome, Setup};

/// The longest time to wake up that any process asks for, as the kernel tells it.
fn wake_up_us() -> i32 {
    let mut us = [0; 4];
    let device = File::open("/dev/cpu_dma_latency");
    device
        .and_then(|mut device| device.read_exact(&mut us))
        .expect("who may write there may read");
    i32::from_ne_bytes(us)
}

#[test]
fn cores_are_kept_awake_always_or_the_broker_says_why_it_cannot() {
    let data = tempfile::tempdir().expect("a directory");
    let mut broker = match Setup::new()
        .set("keep_awake", "always")
        .start_or_refused_on(data.path())
    {
        Ok(broker) => broker,
        Err(refusal) => {
            assert_eq!(refusal.code, 1);
            assert!(refusal.message.contains("/dev/cpu_dma_latency"));
            assert!(refusal.message.contains("--keep-awake auto"));
            return skipped("cores that are kept awake", &refusal.message);
        }
    };
    assert!(wake_up_us() <= 2, "{} us", wake_up_us());
    wait_until("the time to be counted", || broker.counter("awake_ms") > 0);
    broker.stop();
}

#[test]
fn cores_are_kept_awake_while_a_publisher_waits_for_every_record() {
    let broker = |keep_awake: &str| Setup::new().set("keep_awake", keep_awake).start();
    let auto = broker("auto");
    if auto.log().contains("cannot be kept awake") {
        return skipped("cores that are kept awake", "the kernel cannot be asked");
    }
    let (mut publisher, mut records) = (auto.connect(), 0);
    assert_eq!(auto.counter("awake_ms"), 0, "nobody has waited yet");
    wait_until("cores to be kept awake", || {
        for _ in 0..100 {
            records += 1;
            assert_eq!(publisher.publish("a/topic", b"x").outcome, Outcome::Ok);
        }
        auto.counter("awake_ms") > 0
    });
    figure("records until cores were kept awake", &format!("{records}"));
    wait_until("cores to be let sleep", || {
        let before_ms = auto.counter("awake_ms");
        auto.connect().ping();
        auto.counter("awake_ms") == before_ms
    });
    let never = broker("never");
    let mut publisher = never.connect();
    for _ in 0..records {
        publisher.publish("a/topic", b"x");
    }
    assert_eq!(never.counter("awake_ms"), 0);
}
