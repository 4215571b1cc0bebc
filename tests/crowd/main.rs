//! `oyez-crowd ADDR TOPIC SUBSCRIBERS RECORDS`: that many subscribers to one topic, each of which must get every record
//! once and in order. Says `subscribed` and `satisfied` on stdout, or panics with who missed what.
//!
//! The first subscriber to get a record checks it in full; for everybody else it must be the same bytes, which is what
//! the broker promises and costs a comparison.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use oyez_protocol::event::Heartbeat;
use oyez_protocol::header::kind;
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use testkit::stream::Cutter;
use testkit::{Outcome, Session, Start};

/// Longest time without any news before the crowd gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Subscriber {
    stream: TcpStream,
    cutter: Cutter,
    got: usize,
    ponged: bool,
}

struct Crowd {
    poll: Poll,
    subscribers: Vec<Subscriber>,
    /// Every record, as the first to get it got it.
    records: Vec<Vec<u8>>,
    wanted: usize,
    buffer: Vec<u8>,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, topic, subscribers, records] = arguments.as_slice() else {
        eprintln!("usage: oyez-crowd ADDR TOPIC SUBSCRIBERS RECORDS");
        std::process::exit(2);
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let mut crowd = Crowd {
        poll: Poll::new().expect("a poll"),
        subscribers: Vec::new(),
        records: Vec::new(),
        wanted: number(records),
        buffer: vec![0; 256 << 10],
    };
    for _ in 0..number(subscribers) {
        crowd.join(address, topic);
    }
    say("subscribed");
    crowd.run(|subscriber, wanted| subscriber.got == wanted);
    crowd.ping();
    crowd.run(|subscriber, _| subscriber.ponged);
    say("satisfied");
}

fn say(word: &str) {
    println!("{word}");
    std::io::stdout().flush().expect("somebody listens");
}

impl Crowd {
    fn join(&mut self, address: &str, topic: &str) {
        let mut session = Session::connect(address.parse().expect("an address"));
        let answer = session.subscribe(topic, Start::Earliest);
        assert_eq!(answer.outcome, Outcome::Ok);
        let (stream, rest) = session.into_parts();
        stream.set_nonblocking(true).expect("a TCP socket");
        let mut stream = TcpStream::from_std(stream);
        self.poll
            .registry()
            .register(
                &mut stream,
                Token(self.subscribers.len()),
                Interest::READABLE,
            )
            .expect("room in the poll");
        self.subscribers.push(Subscriber {
            stream,
            cutter: Cutter::new(rest),
            got: 0,
            ponged: false,
        });
    }

    /// Reads until everybody is `done`.
    fn run(&mut self, done: fn(&Subscriber, usize) -> bool) {
        let mut events = Events::with_capacity(4096);
        let wanted = self.wanted;
        let mut last_news = Instant::now();
        let mut waiting = self.subscribers.iter().filter(|s| !done(s, wanted)).count();
        while waiting > 0 {
            self.poll
                .poll(&mut events, Some(Duration::from_secs(1)))
                .expect("the poll waits");
            for event in &events {
                let number = event.token().0;
                let before = done(&self.subscribers[number], wanted);
                self.read(number);
                waiting -= usize::from(!before && done(&self.subscribers[number], wanted));
                last_news = Instant::now();
            }
            if last_news.elapsed() > PATIENCE {
                let got: usize = self.subscribers.iter().map(|s| s.got).sum();
                panic!("{waiting} subscribers still wait; all together got {got} records");
            }
        }
    }

    fn read(&mut self, number: usize) {
        let subscriber = &mut self.subscribers[number];
        loop {
            let size = match subscriber.stream.read(&mut self.buffer) {
                Ok(0) => panic!(
                    "subscriber {number} was cut off after {} records",
                    subscriber.got
                ),
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("subscriber {number}: {error}"),
            };
            let (records, got) = (&mut self.records, &mut subscriber.got);
            let (mut ponged, wanted) = (subscriber.ponged, self.wanted);
            subscriber
                .cutter
                .feed(&self.buffer[..size], |kind, bytes| match kind {
                    kind::RECORD => {
                        assert!(*got < wanted, "subscriber {number} got a record too many");
                        check(records, *got, bytes, number);
                        *got += 1;
                    }
                    kind::PONG => ponged = true,
                    kind::PING => {}
                    kind if kind::is_skippable(kind) => {}
                    kind => panic!("subscriber {number} got a frame of kind {kind}"),
                });
            subscriber.ponged = ponged;
        }
    }

    /// Whoever has answered has said all that it had to say.
    fn ping(&mut self) {
        let mut ping = Vec::new();
        Heartbeat { token: 1 }.encode_ping(&mut ping);
        for subscriber in &mut self.subscribers {
            subscriber
                .stream
                .write_all(&ping)
                .expect("an idle socket takes a ping");
        }
    }
}

fn check(records: &mut Vec<Vec<u8>>, number: usize, bytes: &[u8], subscriber: usize) {
    if let Some(expected) = records.get(number) {
        assert!(
            expected == bytes,
            "subscriber {subscriber}: record {number} is not the one that others got"
        );
        return;
    }
    assert_eq!(
        number,
        records.len(),
        "subscriber {subscriber} skipped records"
    );
    let record = Record::verify_stamped(bytes, &Limits::HARD)
        .unwrap_or_else(|error| panic!("record {number}: {error}"));
    assert_eq!(
        record.offset().get(),
        number as u64,
        "records come in order"
    );
    records.push(bytes.to_vec());
}
