//! What dying costs in space.

use testkit::Setup;
use testkit::deadline::wait_until;
use testkit::figures::figure;
use testkit::files::disk_usage;

const SEGMENT_BYTES: u64 = 64 << 20;
/// Segments of a log that has hardly anything in it: the one that is written, one that is prepared, and one that may be
/// on its way out.
const SEGMENTS_MAX: u64 = 3;
const KILLS: usize = 8;

/// Kills a broker each time that one byte was acknowledged, and looks at the directory.
fn dies_with_a_byte_each(topic: &str) {
    let mut broker = Setup::new()
        .set("segment_bytes", SEGMENT_BYTES)
        .set("written_topics", "written")
        .start();
    for kill in 1..=KILLS {
        broker.connect().publish(topic, b"x");
        broker.kill();
        broker.restart();
        let taken = disk_usage(broker.data()) >> 20;
        figure(
            &format!("{topic}, after {kill} kills"),
            &format!("{taken} MiB"),
        );
    }
    wait_until("what dying has cost to be given back", || {
        disk_usage(broker.data()) <= SEGMENTS_MAX * SEGMENT_BYTES + (1 << 20)
    });
}

#[test]
fn a_synced_log_takes_no_space_for_each_time_that_the_broker_was_killed() {
    dies_with_a_byte_each("synced");
}

#[test]
fn a_written_log_takes_no_space_for_each_time_that_the_broker_was_killed() {
    dies_with_a_byte_each("written");
}
