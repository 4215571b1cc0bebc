//! Subscribers that come and go, take everything, take nothing, or never quite come.

use std::time::Duration;

use testkit::figures::full;
use testkit::random::Random;
use testkit::{Broker, Setup, Start};

use crate::flood::{Flood, clients};
use crate::frames;
use crate::script::{Client, Count, Kind, Reading, Step};

/// Subscriptions that a session may have.
const SUBSCRIPTIONS: usize = 1024;
/// Subscriptions that come and go in one piece.
const PAIRS: u32 = 64;
/// Sessions that close at once, of a whole run.
const CLOSING: usize = 500;
/// Publishers that send to clients which do not read.
const PUBLISHERS: usize = 4;
/// What a log has that is caught up with.
const HISTORY_BYTES: usize = 64 << 20;
const HISTORY_RECORD_BYTES: usize = 64 << 10;
const HISTORY: &str = "written/history";
/// A few kilobytes a second.
const SLOW: Reading = Reading::Slow {
    bytes: 512,
    pause: Duration::from_millis(100),
};

pub(crate) fn come_and_go() -> Flood {
    Flood::new("subscriptions that come and go", || {
        let kind = |reading| {
            Kind::many(move |_, _: &mut Random| {
                Client::after(frames::hello(), reading, |random| {
                    let mut out = Vec::new();
                    for pair in 0..PAIRS {
                        let topic = format!("memory/passing/{}", random.next());
                        frames::subscribe(&mut out, 2 * pair + 1, &topic, Start::Latest);
                        frames::unsubscribe(&mut out, 2 * pair + 2, &topic);
                    }
                    Step::Send(out.into())
                })
            })
        };
        vec![kind(Reading::All), kind(Reading::Nothing)]
    })
}

pub(crate) fn mass_close() -> Flood {
    let round = Duration::from_millis(if full() { 2500 } else { 500 });
    Flood {
        round: Some(round),
        ..Flood::new("mass close", || {
            let count = if full() { CLOSING } else { clients() };
            let client = |place, _: &mut Random| {
                let topic = move |number| format!("memory/crowd/{place}/{number}");
                Client::resting(frames::subscriber(SUBSCRIPTIONS, topic), Reading::All)
            };
            vec![Kind::counted(Count::Exactly(count), client)]
        })
    }
}

pub(crate) fn deaf() -> Flood {
    Flood::new("subscribers that do not read", || {
        let topic = |number| format!("memory/everything/{number}");
        let records = frames::records(200, (0..SUBSCRIPTIONS).map(topic));
        let subscriber = move |_, _: &mut Random| {
            Client::resting(frames::subscriber(SUBSCRIPTIONS, topic), Reading::Nothing)
        };
        let publisher =
            move |_, _: &mut Random| Client::endless(frames::hello(), Reading::All, &records);
        vec![
            Kind::many(subscriber),
            Kind::counted(Count::Exactly(PUBLISHERS), publisher),
        ]
    })
}

pub(crate) fn slow_catch_ups() -> Flood {
    let plain = Flood::new("catch-ups abandoned", || {
        let client = |_, random: &mut Random| {
            let mut opening = frames::hello();
            frames::subscribe(&mut opening, 1, HISTORY, Start::Earliest);
            // Some go at once, some read for a while.
            let mut stay = Some(Duration::from_micros(random.below(4_000_000)));
            Client::after(opening, SLOW, move |random| match stay.take() {
                Some(time) => Step::Wait(time),
                None if random.below(2) == 0 => Step::Close,
                None => Step::Reset,
            })
        };
        vec![Kind::many(client)]
    });
    Flood {
        setup: keeps_history(plain.setup.clone()),
        prepare: |broker: &Broker| {
            let payload = Random::new(2).bytes(HISTORY_RECORD_BYTES);
            let payloads = vec![payload; 16];
            let mut publisher = broker.connect();
            for _ in 0..HISTORY_BYTES / HISTORY_RECORD_BYTES / payloads.len() {
                publisher.publish_each(HISTORY, &payloads);
            }
        },
        ..plain
    }
}

fn keeps_history(setup: Setup) -> Setup {
    setup.set("retention_bytes", 2 * HISTORY_BYTES)
}

pub(crate) fn dribbled() -> Flood {
    Flood::new("subscriptions byte by byte", || {
        let client = |place, random: &mut Random| {
            let topic = move |number| format!("memory/dribbled/{place}/{number}");
            let frames = frames::subscriber(SUBSCRIPTIONS, topic);
            // The hello comes whole, and of the subscriptions some.
            let whole = frames::hello().len() + random.below(2000) as usize;
            let (opening, rest) = frames.split_at(whole);
            let (rest, mut next, mut pauses) = (rest.to_vec(), 0, false);
            Client::after(opening.to_vec(), Reading::All, move |random| {
                pauses = !pauses;
                if pauses {
                    return Step::Wait(Duration::from_micros(5_000 + random.below(20_000)));
                }
                let Some(byte) = rest.get(next) else {
                    return Step::Rest;
                };
                next += 1;
                Step::Send([*byte].into())
            })
        };
        vec![Kind::many(client)]
    })
}
