//! Clients that want to be answered, or answer without having been asked, as fast as their sockets take it.

use testkit::random::Random;
use testkit::{Broker, Outcome};

use crate::flood::Flood;
use crate::frames;
use crate::script::{Client, Kind, Reading};

/// Topics that questions are about.
const TOPICS: usize = 2000;
/// Subscriptions of each client that asks.
const SUBSCRIPTIONS: usize = 256;
/// Times that all questions are asked in one piece.
const TIMES: u32 = 8;

pub(crate) fn pongs() -> Flood {
    Flood::new("pongs", || {
        let pongs = frames::pongs();
        let client =
            move |_, _: &mut Random| Client::endless(frames::hello(), Reading::All, &pongs);
        vec![Kind::many(client)]
    })
}

pub(crate) fn pings() -> Flood {
    Flood::new("pings, answers not read", || {
        let pings = frames::pings();
        let client =
            move |_, _: &mut Random| Client::endless(frames::hello(), Reading::Nothing, &pings);
        vec![Kind::many(client)]
    })
}

pub(crate) fn questions() -> Flood {
    Flood {
        prepare: |broker: &Broker| {
            let mut publisher = broker.connect();
            let topics = (0..TOPICS).map(topic);
            publisher.send(&frames::records(8, topics));
            for correlation in 1..=TOPICS as u64 {
                assert_eq!(publisher.outcome_of(correlation).outcome, Outcome::Ok);
            }
        },
        pends: true,
        ..Flood::new("questions", || {
            let kind = |reading| {
                let questions = frames::questions(TIMES);
                Kind::many(move |place, _: &mut Random| {
                    let opening = frames::subscriber(SUBSCRIPTIONS, |number| {
                        topic((place + number) % TOPICS)
                    });
                    Client::endless(opening, reading, &questions)
                })
            };
            vec![kind(Reading::All), kind(Reading::Nothing)]
        })
    }
}

fn topic(number: usize) -> String {
    format!("memory/asked/{number}")
}
