//! Leads each command to the step that serves it.

use oyez_protocol::command::Question;
use oyez_protocol::event::GoodbyeCode;

use crate::dialect::command::{Command, Reply, Unsupported};
use crate::parts::awake::Awake;
use crate::parts::budget::{ReadBudget, SUBSCRIBE_STEPS};
use crate::parts::catchups::Catchups;
use crate::parts::command_handler::CommandHandler;
use crate::parts::context::ShardContext;
use crate::parts::ending::{Closing, FULL, Reason, full};
use crate::parts::feeds::Feeds;
use crate::parts::handled::{Handled, Until};
use crate::parts::held::HeldReplies;
use crate::parts::logs::Logs;
use crate::parts::mail::{Inbox, Outbox};
use crate::parts::membership::Membership;
use crate::parts::publishes::Publishes;
use crate::parts::questions::Questions;
use crate::parts::session::{Admitted, SessionId, Stage};
use crate::parts::sessions::Sessions;
use crate::replies::tell;
use crate::turn::greet::greet;
use crate::turn::lag;
use crate::turn::publish::Publishing;
use crate::turn::query::{answer_health, answer_metrics, answer_stats, list_topics};
use crate::turn::subscribe::Subscribing;
use crate::turn::topic::describe;

const NO_HELLO: &str = "the first frame of a connection is a hello";

/// Handles commands, with the parts that they need.
pub(crate) struct Dispatch<'a> {
    pub(crate) context: &'a ShardContext,
    pub(crate) feeds: &'a mut Feeds,
    pub(crate) logs: &'a mut Logs,
    pub(crate) publishes: &'a mut Publishes,
    pub(crate) catchups: &'a mut Catchups,
    pub(crate) inbox: &'a mut Inbox,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) held: &'a mut HeldReplies,
    pub(crate) questions: &'a mut Questions,
    pub(crate) awake: &'a mut Awake,
    /// How small chains are sent: by a ring, or one by one.
    pub(crate) sending: &'static str,
    /// The broker is shutting down, and has no time left for logs that are short of room.
    pub(crate) refuses: bool,
}

impl CommandHandler for Dispatch<'_> {
    fn handle(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
        command: Command<'_>,
    ) -> Handled {
        let context = self.context;
        let Some(session) = sessions.get(id) else {
            return Handled::Over; // It has ended.
        };
        let (stage, place) = (session.stage(), session.place());
        if stage == Stage::Open
            && let Some(until) = sessions.waits_for_output(id)
        {
            return Handled::Later(until);
        }
        if place == Admitted::Reserved && !may_go_on(context, sessions, id, &command) {
            return Handled::Over;
        }
        match (stage, command) {
            (Stage::Leaving | Stage::Closing | Stage::Lingering | Stage::Gone, _) => Handled::Over,
            (Stage::Greeting, Command::Hello(hello)) => greet(context, sessions, id, &hello),
            (Stage::Greeting, _) => unexpected(context, sessions, id, NO_HELLO),
            (Stage::Open, Command::Publish(record)) => {
                self.publishing(sessions).publish(id, record)
            }
            (Stage::Open, Command::Subscribe(asked)) => {
                budget.spend(SUBSCRIBE_STEPS, 0);
                self.subscribing(sessions).subscribe(id, &asked)
            }
            (Stage::Open, Command::Unsubscribe { request, topic }) => {
                budget.spend(SUBSCRIBE_STEPS, 0);
                self.subscribing(sessions).unsubscribe(id, request, topic)
            }
            (Stage::Open, Command::Query { request, question }) => {
                self.query(sessions, budget, (id, request), question)
            }
            (Stage::Open, Command::Unsupported { request, what }) => {
                tell(context, sessions, id, &Reply::Unsupported { request, what })
            }
            (
                Stage::Open,
                Command::Topic { .. }
                | Command::Health { .. }
                | Command::Metrics
                | Command::Say(_)
                | Command::Refuse(_),
            ) => self.take_request(sessions, budget, id, command),
            (Stage::Open, Command::Ping { token }) => {
                tell(context, sessions, id, &Reply::Pong { token })
            }
            (Stage::Open, Command::Nothing) => Handled::Done,
            (Stage::Open, Command::Goodbye) => leave(context, sessions, id),
            (Stage::Open, Command::Hello(_)) => unexpected(context, sessions, id, "a second hello"),
            (Stage::Open, Command::OutOfPlace(what)) => unexpected(context, sessions, id, what),
        }
    }
}

impl Dispatch<'_> {
    fn publishing<'a>(&'a mut self, sessions: &'a mut Sessions) -> Publishing<'a> {
        Publishing {
            context: self.context,
            sessions,
            logs: self.logs,
            publishes: self.publishes,
            inbox: self.inbox,
            outbox: self.outbox,
            awake: self.awake,
            refuses: self.refuses,
        }
    }

    fn subscribing<'a>(&'a mut self, sessions: &'a mut Sessions) -> Subscribing<'a> {
        Subscribing {
            members: Membership {
                context: self.context,
                sessions,
                feeds: self.feeds,
                logs: self.logs,
                catchups: self.catchups,
            },
            outbox: self.outbox,
            held: self.held,
        }
    }

    /// Takes what is asked over HTTP only.
    fn take_request(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
        command: Command<'_>,
    ) -> Handled {
        let context = self.context;
        match command {
            Command::Topic { request, topic } => {
                self.describe(sessions, budget, (id, request, topic))
            }
            Command::Health { ready } => answer_health(context, sessions, (id, ready)),
            Command::Metrics => self.metrics(sessions, budget, id),
            Command::Say(text) => tell(context, sessions, id, &Reply::Said(text)),
            Command::Refuse(refusal) => tell(context, sessions, id, &Reply::Refused(refusal)),
            _ => unreachable!("`handle` serves the other commands"),
        }
    }

    /// Describes a topic, if questions have time left.
    fn describe(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        asked: (SessionId, u32, &str),
    ) -> Handled {
        if !self.questions.allowance.has_some() {
            return Handled::Later(Until::Room);
        }
        let seen = (&*self.feeds, &mut *self.logs, &mut *self.outbox);
        let gathered = (&mut self.questions.inquiries, sessions);
        match describe(self.context, gathered, seen, asked) {
            Ok(steps) => {
                budget.spend(steps, 0);
                self.questions.allowance.spend(steps);
                Handled::Done
            }
            Err(until) => Handled::Later(until),
        }
    }

    /// Answers with the counters, if questions have time left.
    fn metrics(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
    ) -> Handled {
        if !self.questions.allowance.has_some() {
            return Handled::Later(Until::Room);
        }
        let told = (&*self.logs, &*self.outbox, self.sending);
        let steps = answer_metrics(self.context, sessions, told, id);
        budget.spend(steps, 0);
        self.questions.allowance.spend(steps);
        Handled::Done
    }

    /// Answers a question about the broker, or begins to. A question that takes more than is left of the questions' share of time
    /// begins all the same, and delays those after it.
    fn query(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        (id, request): (SessionId, u32),
        question: Question<'_>,
    ) -> Handled {
        if !self.questions.allowance.has_some() {
            return Handled::Later(Until::Room);
        }
        let asked = match question {
            Question::Stats => {
                let told = (&*self.logs, &*self.outbox, self.sending);
                Ok(answer_stats(self.context, sessions, told, (id, request)))
            }
            Question::Topics { after } => list_topics(
                self.context,
                (&mut self.questions.listings, sessions),
                (&*self.logs, &mut *self.outbox),
                (id, request, after),
            ),
            Question::Lag => lag::ask(
                self.context,
                (&mut self.questions.lag, sessions),
                self.outbox,
                (id, request),
            ),
            Question::Other { .. } => {
                let what = Unsupported::Query;
                return tell(
                    self.context,
                    sessions,
                    id,
                    &Reply::Unsupported { request, what },
                );
            }
        };
        match asked {
            Ok(steps) => {
                budget.spend(steps, 0);
                self.questions.allowance.spend(steps);
                Handled::Done
            }
            Err(until) => Handled::Later(until),
        }
    }
}

/// Lets a session leave whose peer has said that it goes.
fn leave(context: &ShardContext, sessions: &mut Sessions, id: SessionId) -> Handled {
    if sessions.there(id).dialect().is_in_messages() {
        // Without a Close the peer would take the end for a failure.
        sessions.note_close(id, Closing::DONE);
    }
    let why = ("the client has said Goodbye", Reason::PeerDone);
    sessions.leave(context, id, why);
    Handled::Over
}

/// Returns whether a session that may only ask goes on with a command. To publish or subscribe it needs a place like any other;
/// without one it is dismissed.
fn may_go_on(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    command: &Command<'_>,
) -> bool {
    let asks = !matches!(command, Command::Publish(_) | Command::Subscribe(_));
    let may = asks || sessions.move_up(context, id);
    if !may {
        sessions.dismiss(context, id, full(FULL));
    }
    may
}

fn unexpected(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    what: &'static str,
) -> Handled {
    sessions.refuse(context, id, GoodbyeCode::Unexpected, what);
    Handled::Over
}

#[cfg(test)]
mod tests {
    use oyez_protocol::command::Start;
    use oyez_protocol::event::Outcome;

    use super::*;
    use crate::dialect::command::Subscribe;
    use crate::net::memory::End;
    use crate::parts::budget::{Budget, STATS_STEPS};
    use crate::parts::room::{MUCH_BYTES, OUTPUT_BYTES_MAX};
    use crate::rig::{Client, Rig};

    /// Handles one command. Returns what became of it, and the steps that it took of the visit's budget.
    fn take(rig: &mut Rig, client: &Client, command: Command<'_>) -> (Handled, usize) {
        let mut budget = ReadBudget::default();
        budget.begin_turn(Budget::READING);
        budget.begin_visit(Budget::MUCH);
        let before = budget.steps();
        let mut reading = rig.parts().reading();
        let taken = reading
            .handler
            .handle(reading.sessions, &mut budget, client.id, command);
        (taken, before - budget.steps())
    }

    /// Lets so many bytes wait to be sent to a client.
    fn tell_bytes(rig: &mut Rig, client: &Client, bytes: usize) {
        let parts = rig.parts();
        let _told = parts.sessions.control(&parts.context, client.id, |out| {
            out.resize(out.len() + bytes, 0);
        });
    }

    /// Counts `bytes` of answers as kept, without a session that holds them.
    fn fill_output(rig: &mut Rig, bytes: impl Fn(usize) -> usize) {
        let output = &mut rig.parts().sessions.room.output;
        let bytes = bytes(output.max()) - output.bytes();
        output.count(&mut 0, bytes);
    }

    const PING: Command<'_> = Command::Ping { token: 1 };
    const STATS: Command<'_> = Command::Query {
        request: 1,
        question: Question::Stats,
    };
    const SUBSCRIBE: Command<'_> = Command::Subscribe(Subscribe {
        request: 1,
        topic: "a",
        start: Start::Latest,
        epoch: None,
    });

    #[test]
    fn only_the_first_frame_is_a_hello() {
        let mut rig = Rig::new();
        let (early, twice) = (rig.connect(), rig.join());
        early.ping(1);
        early.hello();
        twice.hello();
        twice.ping(1);
        rig.settle();
        let told = "goodbye Unexpected: the first frame of a connection is a hello";
        assert_eq!(early.hear(), [told]);
        assert_eq!(twice.hear(), ["goodbye Unexpected: a second hello"]);
    }

    #[test]
    fn a_frame_that_only_a_broker_sends_ends_the_session() {
        let mut rig = Rig::new();
        let client = rig.join();
        client.say_as_a_broker();
        rig.settle();
        let told = "goodbye Unexpected: a frame that only a broker sends";
        assert_eq!(client.hear(), [told]);
    }

    #[test]
    fn a_ping_is_answered_and_a_pong_is_not() {
        let mut rig = Rig::new();
        let client = rig.join();
        client.pong(3);
        client.ping(4);
        rig.settle();
        assert_eq!(client.hear(), ["pong 4"]);
        assert_eq!(
            take(&mut rig, &client, Command::Nothing),
            (Handled::Done, 0)
        );
    }

    #[test]
    fn ids_may_repeat_and_each_request_has_its_answer() {
        let mut rig = Rig::new();
        let client = rig.join();
        for topic in ["a", "b"] {
            client.subscribe(topic, Start::Latest);
        }
        rig.settle();
        let told = client.hear_subscribed();
        assert_eq!([told[0].id, told[1].id], [1, 1]);
        for _ in 0..2 {
            client.publish("c", 10);
        }
        rig.settle();
        let told = client.hear_outcomes().concat();
        assert_eq!(told, [(1, Outcome::Ok); 2]);
    }

    #[test]
    fn a_goodbye_ends_the_session_without_a_word() {
        let mut rig = Rig::new();
        let client = rig.join();
        assert_eq!(take(&mut rig, &client, Command::Goodbye).0, Handled::Over);
        assert_eq!(take(&mut rig, &client, PING).0, Handled::Over);
        rig.settle();
        assert!(client.hear().is_empty());
        assert_eq!(client.peer.how_it_ended(), End::Closed);
    }

    #[test]
    fn each_command_leads_to_its_step() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.pass(1_000);
        rig.settle();
        client.subscribe("a", Start::Latest);
        client.publish("a", 10);
        rig.settle();
        let mut heard = client.hear();
        heard.sort();
        let told = ["a 0", "published Ok 0", "subscribed Ok at 0"];
        assert_eq!(heard, told);
        client.unsubscribe("a");
        rig.settle();
        assert_eq!(client.hear(), ["unsubscribed Ok"]);
        for question in [
            Question::Stats,
            Question::Lag,
            Question::Topics { after: "" },
        ] {
            client.ask(question);
            rig.settle();
            let heard = client.hear();
            assert!(
                heard.len() == 1 && heard[0].starts_with("answer {"),
                "{heard:?}"
            );
        }
    }

    #[test]
    fn subscriptions_and_questions_take_more_of_a_visit_than_other_commands() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.pass(1_000);
        rig.settle();
        assert_eq!(take(&mut rig, &client, PING), (Handled::Done, 0));
        let taken = take(&mut rig, &client, SUBSCRIBE);
        assert_eq!(taken, (Handled::Done, SUBSCRIBE_STEPS));
        let (request, topic) = (1, "a");
        let unsubscribe = Command::Unsubscribe { request, topic };
        let taken = take(&mut rig, &client, unsubscribe);
        assert_eq!(taken, (Handled::Done, SUBSCRIBE_STEPS));
        let (taken, steps) = take(&mut rig, &client, STATS);
        assert!(taken == Handled::Done && steps >= STATS_STEPS);
    }

    #[test]
    fn questions_wait_when_their_share_of_the_time_is_spent() {
        let mut rig = Rig::new();
        let client = rig.join();
        rig.pass(1_000);
        rig.settle();
        let later = Handled::Later(Until::Room);
        let count = (0..100).take_while(|_| take(&mut rig, &client, STATS).0 == Handled::Done);
        let count = count.count();
        assert!((1..=20).contains(&count), "{count}");
        assert_eq!(take(&mut rig, &client, STATS), (later, 0));
        assert_eq!(take(&mut rig, &client, PING).0, Handled::Done);
        rig.pass(1_000);
        rig.settle();
        assert_eq!(take(&mut rig, &client, STATS).0, Handled::Done);
    }

    #[test]
    fn a_session_that_does_not_take_its_answers_gets_no_more_of_them() {
        let mut rig = Rig::new();
        let client = rig.join();
        tell_bytes(&mut rig, &client, OUTPUT_BYTES_MAX);
        assert_eq!(take(&mut rig, &client, PING).0, Handled::Done);
        let later = Handled::Later(Until::Answered);
        assert_eq!(take(&mut rig, &client, PING).0, later);
        rig.parts().flushing().run();
        assert_eq!(take(&mut rig, &client, PING).0, Handled::Done);
    }

    #[test]
    fn while_memory_is_short_sessions_with_answers_in_it_get_no_more_of_them() {
        let mut rig = Rig::new();
        let (little, much) = (rig.join(), rig.join());
        tell_bytes(&mut rig, &little, MUCH_BYTES - 24);
        tell_bytes(&mut rig, &much, MUCH_BYTES);
        fill_output(&mut rig, |max| max / 2 + 1);
        assert_eq!(take(&mut rig, &little, PING).0, Handled::Done);
        assert_eq!(take(&mut rig, &much, PING).0, Handled::Done);
        let later = Handled::Later(Until::Answered);
        assert_eq!(take(&mut rig, &much, PING).0, later);
        assert_eq!(take(&mut rig, &little, PING).0, Handled::Done);
        assert!(!rig.parts().sessions.room.missed);
    }

    #[test]
    fn without_memory_for_answers_sessions_wait_for_room_and_newcomers_are_greeted() {
        let mut rig = Rig::new();
        let (client, newcomer) = (rig.join(), rig.connect());
        fill_output(&mut rig, |max| max);
        let later = Handled::Later(Until::Room);
        assert_eq!(take(&mut rig, &client, PING).0, later);
        assert!(rig.parts().sessions.room.missed);
        newcomer.hello();
        rig.settle();
        assert_eq!(newcomer.hear(), ["welcome"]);
    }

    #[test]
    fn no_command_is_handled_of_a_session_that_is_over() {
        for stage in [
            Stage::Leaving,
            Stage::Closing,
            Stage::Lingering,
            Stage::Gone,
        ] {
            let mut rig = Rig::new();
            let client = rig.join();
            rig.session(&client).set_stage(stage);
            assert_eq!(take(&mut rig, &client, PING), (Handled::Over, 0));
            assert_eq!(take(&mut rig, &client, SUBSCRIBE), (Handled::Over, 0));
        }
    }
}
