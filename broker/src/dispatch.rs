//! The table that leads from a command to the step that does what it asks.

use oyez_protocol::command::Question;
use oyez_protocol::event::GoodbyeCode;

use crate::dialect::command::{Command, Reply};
use crate::parts::awake::Awake;
use crate::parts::budget::{ReadBudget, SUBSCRIBE_STEPS};
use crate::parts::catchups::Catchups;
use crate::parts::ending::Reason;
use crate::parts::feeds::Feeds;
use crate::parts::held::Held;
use crate::parts::here::Here;
use crate::parts::logs::Logs;
use crate::parts::mail::{Inbox, Outbox};
use crate::parts::membership::Membership;
use crate::parts::publishes::Publishes;
use crate::parts::questions::Questions;
use crate::parts::room::MUCH_BYTES;
use crate::parts::session::{SessionId, Stage};
use crate::parts::sessions::Sessions;
use crate::parts::taken::{Taken, Until};
use crate::parts::takes::Takes;
use crate::tell::tell;
use crate::turn::greet::greet;
use crate::turn::lag;
use crate::turn::publish::Publishing;
use crate::turn::query::{answer_stats, list_topics};
use crate::turn::subscribe::Subscribing;

/// A peer that does not take its answers gets no more of them once this many bytes wait for it.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// What commands ask for, and what it takes to answer.
pub(crate) struct Dispatch<'a> {
    pub(crate) here: &'a Here,
    pub(crate) feeds: &'a mut Feeds,
    pub(crate) logs: &'a mut Logs,
    pub(crate) publishes: &'a mut Publishes,
    pub(crate) catchups: &'a mut Catchups,
    pub(crate) inbox: &'a mut Inbox,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) held: &'a mut Held,
    pub(crate) questions: &'a mut Questions,
    pub(crate) awake: &'a mut Awake,
    /// How small chains leave: by a ring, or one by one.
    pub(crate) sending: &'static str,
    /// The broker is being shut down, and has no time left for logs that are short of room.
    pub(crate) refuses: bool,
}

impl Takes for Dispatch<'_> {
    fn take(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        id: SessionId,
        command: Command<'_>,
    ) -> Taken {
        let here = self.here;
        let Some(session) = sessions.get(id) else {
            return Taken::Over; // It has ended.
        };
        let stage = session.stage();
        if stage == Stage::Open
            && let Some(until) = waits_for_output(sessions, id)
        {
            return Taken::Later(until);
        }
        match (stage, command) {
            (Stage::Closing | Stage::Lingering | Stage::Gone, _) => Taken::Over,
            (Stage::Greeting, Command::Hello(hello)) => greet(here, sessions, id, &hello),
            (Stage::Greeting, _) => {
                let what = "the first frame of a connection is a hello";
                unexpected(here, sessions, id, what)
            }
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
            (Stage::Open, Command::Ping { token }) => {
                tell(here, sessions, id, &Reply::Pong { token })
            }
            (Stage::Open, Command::Nothing) => Taken::Done,
            (Stage::Open, Command::Goodbye) => {
                sessions.end(here, id, Reason::PeerDone);
                Taken::Over
            }
            (Stage::Open, Command::Hello(_)) => unexpected(here, sessions, id, "a second hello"),
            (Stage::Open, Command::OutOfPlace(what)) => unexpected(here, sessions, id, what),
        }
    }
}

/// What a session's next frame waits for whose answers are not taken, or for which there is no room.
fn waits_for_output(sessions: &mut Sessions, id: SessionId) -> Option<Until> {
    let unread = sessions.get(id)?.outgoing_bytes();
    let output = &sessions.room.output;
    if unread > OUTPUT_BYTES_MAX || (unread > MUCH_BYTES && output.is_short()) {
        return Some(Until::Answered);
    }
    let is_full = output.is_full();
    sessions.room.missed |= is_full;
    is_full.then_some(Until::Room)
}

impl Dispatch<'_> {
    fn publishing<'a>(&'a mut self, sessions: &'a mut Sessions) -> Publishing<'a> {
        Publishing {
            here: self.here,
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
                here: self.here,
                sessions,
                feeds: self.feeds,
                logs: self.logs,
                catchups: self.catchups,
            },
            outbox: self.outbox,
            held: self.held,
        }
    }

    /// Answers a question about the broker, or begins to. One that takes more than is left of the questions' share is begun
    /// all the same, and delays those after it.
    fn query(
        &mut self,
        sessions: &mut Sessions,
        budget: &mut ReadBudget,
        (id, request): (SessionId, u32),
        question: Question<'_>,
    ) -> Taken {
        if !self.questions.allowance.has_some() {
            return Taken::Later(Until::Room);
        }
        let asked = match question {
            Question::Stats => {
                let told = (&*self.logs, &*self.outbox, self.sending);
                Ok(answer_stats(self.here, sessions, told, (id, request)))
            }
            Question::Topics { after } => list_topics(
                self.here,
                &mut self.questions.listings,
                (&*self.logs, &mut *self.outbox),
                (id, request, after),
            ),
            Question::Lag => lag::ask(
                self.here,
                &mut self.questions.lag,
                self.outbox,
                (id, request),
            ),
        };
        match asked {
            Ok(steps) => {
                budget.spend(steps, 0);
                self.questions.allowance.spend(steps);
                Taken::Done
            }
            Err(until) => Taken::Later(until),
        }
    }
}

fn unexpected(here: &Here, sessions: &mut Sessions, id: SessionId, what: &'static str) -> Taken {
    sessions.refuse(here, id, GoodbyeCode::Unexpected, what);
    Taken::Over
}
