//! Leads each message of another shard to its step.

use crate::lend::Parts;
use crate::parts::budget::Budget;
use crate::parts::mail::Message;
use crate::turn::query::{add_topics, ask_topics};
use crate::turn::topic::{add_topic, know_topic};
use crate::turn::{catchup, lag, subscribe};

impl Parts {
    /// Handles the messages of other shards, as far as the turn's budget goes.
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
        let context = &self.context;
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
                subscribe::locate(context, &mut self.logs, &mut self.outbox, &ask);
                false
            }
            Message::Located { from, answer } => self.subscribing().answered(from, &answer),
            Message::Resolve(ask) => {
                catchup::resolve(context, &mut self.logs, &mut self.outbox, ask);
                false
            }
            Message::Resolved(answer) => {
                self.serving().resolved(answer);
                false
            }
            question => self.take_question(question),
        };
        self.freed.note(frees);
    }

    /// Handles a question about the broker, or an answer to one. Returns whether other sessions may have waited for that.
    fn take_question(&mut self, message: Message) -> bool {
        let (context, questions) = (&self.context, &mut self.questions);
        match message {
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
                add_topics(context, listings, &mut self.sessions, told)
            }
            Message::DescribeTopic {
                from,
                inquiry,
                log,
                name,
            } => {
                let seen = (&self.feeds, &mut self.logs);
                let known = Box::new(know_topic(context, seen, log, &name));
                self.outbox.say(from, Message::Topic { inquiry, known });
                false
            }
            Message::Topic { inquiry, known } => {
                let (told, inquiries) = ((inquiry, *known), &mut questions.inquiries);
                add_topic(context, inquiries, &mut self.sessions, told)
            }
            Message::MeasureLag { from, survey } => {
                questions.lag.ask(from, survey);
                false
            }
            Message::Lag { survey, lag } => {
                let (counted, surveys) = ((survey, *lag), &mut questions.lag);
                lag::add(context, surveys, &mut self.sessions, counted)
            }
            Message::Published { .. }
            | Message::EmptyParcel(_)
            | Message::EmptyAcks(_)
            | Message::Locate(_)
            | Message::Located { .. }
            | Message::Resolve(_)
            | Message::Resolved(_) => unreachable!("`take_message` handles these"),
        }
    }
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::{Question, Start};

    use crate::parts::mail::Message;
    use crate::rig::{Rig, settings, settle};

    /// Lets a shard send `count` messages to the first one, which cost `steps` each.
    fn say(from: &mut Rig, count: usize, steps: usize) {
        let parts = from.parts();
        for _ in 0..count {
            let message = match steps {
                200 => Message::MeasureLag { from: 1, survey: 0 },
                _ => Message::EmptyAcks(Vec::new()),
            };
            parts.outbox.say(0, message);
        }
        parts.outbox.finish_turn(|_| {});
    }

    fn count_left(rig: &mut Rig) -> usize {
        std::iter::from_fn(|| rig.parts().inbox.next_message()).count()
    }

    #[test]
    fn a_turn_handles_so_many_messages_and_later_turns_the_rest() {
        let [mut rig, mut far] = Rig::shards(settings());
        say(&mut far, 60, 200);
        rig.parts().hear();
        assert!(rig.parts().inbox.has_messages_left());
        assert_eq!(count_left(&mut rig), 10);
    }

    #[test]
    fn all_messages_that_cost_little_are_handled() {
        let [mut rig, mut far] = Rig::shards(settings());
        say(&mut far, 500, 1);
        rig.parts().hear();
        assert!(!rig.parts().inbox.has_messages_left());
        assert_eq!(count_left(&mut rig), 0);
    }

    #[test]
    fn questions_between_shards_come_to_their_step_and_back() {
        let [mut rig, mut far] = Rig::shards(settings());
        let client = rig.join();
        rig.pass(1_000);
        let topic = rig.topic_of(1, "t/");
        for _ in 0..3 {
            client.publish(&topic, 10);
            settle(&mut [&mut rig, &mut far]);
        }
        assert_eq!(client.hear().len(), 3, "each was acknowledged");
        // The other shard knows where the topic begins and where its records lie.
        client.subscribe(&topic, Start::Earliest);
        settle(&mut [&mut rig, &mut far]);
        let told = [0, 1, 2].map(|offset| format!("{topic} {offset}"));
        let heard = client.hear();
        assert_eq!(heard[0], "subscribed Ok at 0");
        assert_eq!(heard[1..], told);
        client.ask(Question::Topics { after: "" });
        settle(&mut [&mut rig, &mut far]);
        let heard = client.hear();
        assert!(heard.len() == 1 && heard[0].contains(&topic), "{heard:?}");
        client.ask(Question::Lag);
        settle(&mut [&mut rig, &mut far]);
        assert_eq!(client.hear().len(), 1, "both shards have looked");
    }
}
