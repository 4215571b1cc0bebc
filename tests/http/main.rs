//! HTTP on the broker's one port, as hostile and careless peers speak it: what cannot be read is refused and closed, nothing
//! behind it is read, what is slow has its time, and nobody else notices.
//!
//! **How a connection ends.** A broker that closes shuts its side behind its last answer, and reads on for a while, so that
//! the answer is not destroyed by a reset. A peer that reads sees the answer and the end of the stream. A peer that goes on
//! sending for longer than that while may see a reset behind the answer. Each test says which of them it is about.

mod browsers;
mod half_closes;
mod malformed;
mod pipelines;
mod served;
mod slow;
mod stalled;
mod strangers;
mod thousands;
mod websockets;

use testkit::http::{Connection, post};
use testkit::{Broker, Setup};

/// A broker whose messages cost no time of a disk.
fn broker() -> Broker {
    Setup::new().set("memory_topics", "#").start()
}

/// Somebody who publishes on a connection that stays open, whatever others do.
struct Bystander {
    connection: Connection,
    published: u64,
}

impl Bystander {
    fn new(broker: &Broker) -> Self {
        let mut bystander = Self {
            connection: Connection::open(broker.address()),
            published: 0,
        };
        bystander.goes_on(broker);
        bystander
    }

    /// The next message goes through as if nothing had happened, and so does one of a newcomer.
    fn goes_on(&mut self, broker: &Broker) {
        let mut newcomer = Connection::open(broker.address());
        for connection in [&mut self.connection, &mut newcomer] {
            let answer = connection.ask(post("/bystanders", "goes on"));
            assert_eq!(
                (answer.status, answer.offset()),
                (200, Some(self.published))
            );
            self.published += 1;
        }
    }
}

/// Nothing was ever published to a topic: the message that asks is its first.
fn assert_is_empty(broker: &Broker, topic: &str) {
    let answer = Connection::open(broker.address()).ask(post(topic, ""));
    assert_eq!((answer.status, answer.offset()), (200, Some(0)), "{topic}");
}
