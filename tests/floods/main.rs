//! Floods by hostile and broken clients: whatever hundreds of them do, no turn of a shard is long, what the broker
//! keeps for them has a cap, honest clients hardly notice, and when they are gone nothing of them is left.
//!
//! - `trial` runs one flood twice against a broker and once against the bare loop, and `verdict` judges.
//! - `script` is what a client does, `connection` and `generator` do it hundreds of times, `frames` has the bytes.
//! - `greeting`, `asking`, `publishing` and `subscribing` are the floods.
//! - `bare` is the floor, `pairs` are the honest clients, `gauges` reads the broker's statistics.
//!
//! The daily run is a sample; `OYEZ_FULL=1` runs all floods. `OYEZ_SEED` repeats a run.

mod asking;
mod bare;
mod connection;
mod flood;
mod frames;
mod gauges;
mod generator;
mod greeting;
mod pairs;
mod publishing;
mod script;
mod subscribing;
mod trial;
mod verdict;

use trial::withstands;

#[test]
fn unsolicited_pongs() {
    withstands(&asking::pongs());
}

#[test]
fn pings_whose_answers_are_never_read() {
    withstands(&asking::pings());
}

#[test]
fn questions_without_end() {
    withstands(&asking::questions());
}

#[test]
fn publishers_that_ignore_their_window() {
    withstands(&publishing::without_window());
}

#[test]
fn records_that_stall_halfway() {
    withstands(&publishing::stalled());
}

#[test]
fn catch_ups_that_are_read_slowly_and_abandoned() {
    withstands(&subscribing::slow_catch_ups());
}

#[test]
fn subscriptions_that_come_and_go() {
    withstands(&subscribing::come_and_go());
}

#[test]
fn sessions_with_many_subscriptions_that_all_close_at_once() {
    withstands(&subscribing::mass_close());
}

#[test]
fn subscribers_of_everything_that_do_not_read() {
    withstands(&subscribing::deaf());
}

#[test]
fn subscriptions_that_come_byte_by_byte() {
    withstands(&subscribing::dribbled());
}

#[test]
fn sockets_that_never_say_hello() {
    withstands(&greeting::silent());
}

#[test]
fn malformed_frames_and_reconnects_in_a_loop() {
    withstands(&greeting::churn());
}
