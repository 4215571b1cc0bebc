//! Tracks which message is in which record, and its outcome.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::batch::Finished;
use crate::error::PublishError;
use crate::ledger::Ledger;
use crate::message::Ack;

/// A message that a [`Publisher`](super::Publisher) has taken. Its number is that of the message, from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// How many messages the publisher had taken with it.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Messages that gather in the batches of one batcher, by topic, oldest first.
#[derive(Debug, Default)]
pub(super) struct Gathering(BTreeMap<Arc<str>, VecDeque<Ticket>>);

impl Gathering {
    pub(super) fn add(&mut self, topic: &str, ticket: Ticket) {
        match self.0.get_mut(topic) {
            Some(tickets) => tickets.push_back(ticket),
            None => drop(self.0.insert(Arc::from(topic), VecDeque::from([ticket]))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The messages of a record, which are the oldest of its topic.
    fn take(&mut self, finished: &Finished) -> Vec<Ticket> {
        let Some(tickets) = self.0.get_mut(&finished.topic) else {
            return Vec::new();
        };
        let count = usize::from(finished.messages).min(tickets.len());
        let taken = tickets.drain(..count).collect();
        if tickets.is_empty() {
            self.0.remove(&finished.topic);
        }
        taken
    }
}

/// A record of which some message's outcome was not fetched yet.
#[derive(Debug)]
struct Told {
    /// Messages that have not fetched it.
    open: usize,
    outcome: Option<Result<Ack, PublishError>>,
}

/// Tickets whose outcome was not fetched yet.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    made: u64,
    /// The record of each message, and its place in it.
    places: BTreeMap<Ticket, (u64, u64)>,
    records: BTreeMap<u64, Told>,
}

impl Tickets {
    pub(super) const fn make(&mut self) -> Ticket {
        self.made += 1;
        Ticket(self.made)
    }

    /// Notes that a record was finished: it holds the messages gathered for it.
    pub(super) fn finished(&mut self, gathering: &mut Gathering, finished: &Finished) {
        let (tickets, outcome) = (gathering.take(finished), None);
        let open = tickets.len();
        let told = Told { open, outcome };
        self.records.insert(finished.correlation, told);
        for (place, ticket) in (0..).zip(tickets) {
            self.places.insert(ticket, (finished.correlation, place));
        }
    }

    /// Takes the outcome of a message, once. Its acknowledgement is for this message alone.
    pub(super) fn outcome(
        &mut self,
        ticket: Ticket,
        ledger: &mut Ledger,
    ) -> Option<Result<Ack, PublishError>> {
        let (correlation, place) = *self.places.get(&ticket)?;
        let told = self.records.get_mut(&correlation)?;
        if told.outcome.is_none() {
            told.outcome = ledger.take_outcome(correlation);
        }
        let outcome = told.outcome.clone()?;
        told.open -= 1;
        if told.open == 0 {
            self.records.remove(&correlation);
        }
        self.places.remove(&ticket);
        Some(outcome.map(|record| Ack {
            offset: record.offset.plus(place),
            messages: 1,
            ..record
        }))
    }
}
