//! Models of shards that hand records to each other and wake each other up, in every interleaving.

use std::sync::Arc;

use loom::model::Builder;
use loom::thread;

use super::*;
use crate::parts::bell::Bell;
use crate::parts::parcel::{Origin, WAITING_BYTES_MAX};

/// Switches away from a thread that could go on, in one run.
const PREEMPTIONS_MAX: usize = 3;
/// Bytes of a record.
const SIZE: usize = 8;

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS_MAX);
    builder.check(run);
}

/// The shard that is written to: shard 0.
struct Addressee {
    bell: Arc<Bell>,
    sender: InboxSender,
    inbox: Inbox,
}

impl Addressee {
    fn new() -> Self {
        let (sender, inbox) = inbox();
        Self {
            bell: Arc::new(Bell::default()),
            sender,
            inbox,
        }
    }

    fn writer(&self, shard: usize) -> Writer {
        Writer {
            shard,
            outbox: Outbox::new(shard, vec![self.sender.clone()]),
            bell: self.bell.clone(),
        }
    }

    /// Whether nothing counts as being on its way.
    fn has_all_its_room(&self) -> bool {
        self.sender
            .waiting
            .has_room(WAITING_BYTES_MAX, Lane::Little)
    }

    /// Takes turns until so many records have come, and sleeps between them. Returns their senders and numbers.
    fn take(&mut self, count: usize) -> Vec<(usize, u64)> {
        let mut taken = Vec::new();
        loop {
            for lane in Lane::ALL {
                self.take_lane(lane, &mut taken);
            }
            if taken.len() == count {
                return taken;
            }
            if !self.inbox.has_begun() {
                self.bell.wait();
            }
        }
    }

    fn take_lane(&mut self, lane: Lane, taken: &mut Vec<(usize, u64)>) {
        while let Some(mut parcel) = self.inbox.next_parcel(lane) {
            while let Some((handed, _)) = parcel.next() {
                taken.push((handed.origin.shard, handed.origin.correlation));
                parcel.advance();
            }
            self.inbox.finish(lane);
        }
    }
}

/// A shard that has something for shard 0.
struct Writer {
    shard: usize,
    outbox: Outbox,
    bell: Arc<Bell>,
}

impl Writer {
    fn hand_over(&mut self, number: u64, lane: Lane) {
        let origin = Origin {
            shard: self.shard,
            session: SessionId::new(7, 7),
            correlation: number,
            size: SIZE as u32,
            lane,
            may_begin: true,
        };
        let log = LogId::new(2);
        let handed = Handed { origin, log };
        assert!(self.outbox.hand_over(0, handed, &[0; SIZE]));
    }

    fn finish_turn(&mut self) {
        self.outbox.finish_turn(|_| self.bell.ring());
    }

    /// Turns until all has left.
    fn finish(mut self) {
        self.finish_turn();
        while self.outbox.has_unsaid() {
            thread::yield_now();
            self.finish_turn();
        }
    }
}

#[test]
fn loom_records_of_both_lanes_and_two_shards_come_in_the_order_of_each() {
    model(|| {
        let mut addressee = Addressee::new();
        let writers = [1, 2].map(|shard| {
            let mut writer = addressee.writer(shard);
            thread::spawn(move || {
                writer.hand_over(0, Lane::Little);
                writer.hand_over(1, Lane::Much);
                writer.finish();
            })
        });
        let taken = addressee.take(4);
        for shard in [1, 2] {
            let of_one = taken.iter().filter(|(from, _)| *from == shard);
            assert!(of_one.map(|(_, number)| *number).eq(0..2), "{taken:?}");
        }
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(addressee.has_all_its_room());
    });
}

#[test]
fn loom_records_that_find_no_room_leave_later_in_their_order() {
    model(|| {
        let mut addressee = Addressee::new();
        let mut writer = addressee.writer(1);
        let writer = thread::spawn(move || {
            for number in 0..4 {
                writer.hand_over(number, Lane::Little);
                writer.finish_turn();
            }
            writer.finish();
        });
        let taken = addressee.take(4);
        assert_eq!(taken, [0, 1, 2, 3].map(|number| (1, number)));
        writer.join().unwrap();
        assert!(addressee.has_all_its_room());
    });
}

#[test]
fn loom_messages_that_find_no_room_leave_later_in_their_order() {
    model(|| {
        let addressee = Addressee::new();
        let mut writer = addressee.writer(1);
        let writer = thread::spawn(move || {
            for survey in 0..4 {
                writer
                    .outbox
                    .say(0, Message::MeasureLag { from: 1, survey });
            }
            writer.finish();
        });
        let mut surveys = Vec::new();
        loop {
            while let Some(message) = addressee.inbox.next_message() {
                match message {
                    Message::MeasureLag { survey, .. } => surveys.push(survey),
                    other => panic!("{other:?}"),
                }
            }
            if surveys.len() == 4 {
                break;
            }
            addressee.bell.wait();
        }
        assert_eq!(surveys, [0, 1, 2, 3]);
        writer.join().unwrap();
    });
}
