//! What other shards say: each message leads to the step that it is for.

use crate::lend::Parts;
use crate::parts::budget::Budget;
use crate::parts::mail::Message;
use crate::turn::query::{add_topics, ask_topics};
use crate::turn::{catchup, lag, subscribe};

impl Parts {
    /// Handles what other shards have said, as far as the turn's budget goes.
    pub(crate) fn hear(&mut self) {
        let mut budget = Budget::MESSAGES;
        let mut left = true;
        while left && !budget.is_spent() {
            let message = self.inbox.next_message();
            left = message.is_some();
            if let Some(message) = message {
                budget.spend(message.steps(), 0);
                self.take_message(message);
            }
        }
        self.inbox.note_messages_left(left);
    }

    fn take_message(&mut self, message: Message) {
        let (here, questions) = (&self.here, &mut self.questions);
        let frees = match message {
            Message::Published { from, acks } => {
                let empty = self.publishes.tell_all(acks);
                self.outbox.give_back(from, Message::EmptyAcks(empty));
                false
            }
            Message::EmptyParcel(parcel) => {
                self.outbox.keep_parcel(parcel);
                false
            }
            Message::EmptyAcks(acks) => {
                self.outbox.keep_acks(acks);
                false
            }
            Message::Locate(ask) => {
                subscribe::locate(here, &mut self.logs, &mut self.outbox, &ask);
                false
            }
            Message::Located { from, answer } => self.subscribing().answered(from, &answer),
            Message::Resolve(ask) => {
                catchup::resolve(here, &mut self.logs, &mut self.outbox, ask);
                false
            }
            Message::Resolved(answer) => {
                self.serving().resolved(answer);
                false
            }
            Message::ListTopics {
                from,
                listing,
                after,
            } => {
                ask_topics(&mut questions.listings, &self.logs, from, listing, after);
                false
            }
            Message::Topics { listing, page } => {
                let (told, listings) = ((listing, page), &mut questions.listings);
                add_topics(here, listings, &mut self.sessions, told)
            }
            Message::MeasureLag { from, survey } => {
                questions.lag.ask(from, survey);
                false
            }
            Message::Lag { survey, lag } => {
                let (counted, surveys) = ((survey, *lag), &mut questions.lag);
                lag::add(here, surveys, &mut self.sessions, counted)
            }
        };
        self.freed.note(frees);
    }
}
