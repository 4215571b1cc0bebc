//! Questions about the broker itself, and their answers. Pure: a session carries them.

use std::collections::BTreeMap;

use oyez_protocol::command::{Query, Question};
use oyez_protocol::event::{Answer, Outcome};

/// A question to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Stats,
    TopicsAfter(String),
    Lag,
}

/// An answer: whether the question was answered, the text of a JSON object (see [`oyez_protocol::answer`]), and whether
/// more can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    pub(crate) json: String,
    pub(crate) more: bool,
}

/// The questions that wait for their answers.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    asked: u32,
    /// Questions in the order in which they were asked, and in which they are asked again over a new connection.
    open: BTreeMap<u32, (Ask, Option<Reply>)>,
}

impl Questions {
    /// Appends the question's frame to `out`. The id that it returns fetches the answer.
    pub(crate) fn ask(&mut self, ask: Ask, out: &mut Vec<u8>) -> u32 {
        self.asked = self.asked.wrapping_add(1);
        let id = self.asked;
        encode(id, &ask, out);
        self.open.insert(id, (ask, None));
        id
    }

    /// Appends the frames of all questions without an answer to `out`, for a new connection.
    pub(crate) fn ask_again(&self, out: &mut Vec<u8>) {
        for (id, (ask, reply)) in &self.open {
            if reply.is_none() {
                encode(*id, ask, out);
            }
        }
    }

    pub(crate) fn answer(&mut self, answer: &Answer<'_>) {
        if let Some((_, reply)) = self.open.get_mut(&answer.id) {
            *reply = Some(Reply {
                outcome: answer.outcome,
                json: answer.json.to_owned(),
                more: answer.more,
            });
        }
    }

    /// Forgets a question whose caller waits no longer.
    pub(crate) fn forget(&mut self, id: u32) {
        self.open.remove(&id);
    }

    /// Takes the answer, if it has come.
    pub(crate) fn take(&mut self, id: u32) -> Option<Reply> {
        self.open.get(&id)?.1.as_ref()?;
        self.open.remove(&id)?.1
    }
}

fn encode(id: u32, ask: &Ask, out: &mut Vec<u8>) {
    let question = match ask {
        Ask::Stats => Question::Stats,
        Ask::TopicsAfter(after) => Question::Topics { after },
        Ask::Lag => Question::Lag,
    };
    Query { id, question }.encode(out);
}

/// A page of the topics that the broker keeps, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicsPage {
    /// `{"topics":[{"name":...,"durability":...,"earliest":...,"next":...,"records":...,"bytes":...,"epoch":...},
    /// ...]}`: the offsets of the oldest message kept and of the next one, the records and bytes kept, and the epoch in
    /// hexadecimal digits. [The specification](oyez_protocol::answer#question-2-topics) states each member.
    pub json: String,
    /// Whether more topics follow: ask for those after the last name of this page.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use oyez_protocol::limits::Limits;
    use oyez_protocol::{Decoded, Frame, decode};

    fn asked(wire: &[u8]) -> Query<'_> {
        match decode(wire, &Limits::HARD).unwrap() {
            Decoded::Frame {
                frame: Frame::Query(query),
                ..
            } => query,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_reaches_its_question_once() {
        let (mut questions, mut wire) = (Questions::default(), Vec::new());
        let first = questions.ask(Ask::Stats, &mut wire);
        let second = questions.ask(Ask::TopicsAfter("a".into()), &mut Vec::new());
        assert_eq!(asked(&wire).question, Question::Stats);
        questions.answer(&Answer {
            id: second,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            more: true,
            json: "{}",
        });
        assert_eq!(questions.take(first), None);
        let reply = questions.take(second).unwrap();
        assert_eq!((reply.json.as_str(), reply.more), ("{}", true));
        assert_eq!(questions.take(second), None);
    }

    #[test]
    fn what_was_not_answered_is_asked_again_with_its_id() {
        let mut questions = Questions::default();
        let answered = questions.ask(Ask::Stats, &mut Vec::new());
        let open = questions.ask(Ask::TopicsAfter("t".into()), &mut Vec::new());
        questions.answer(&Answer {
            id: answered,
            outcome: Outcome::Ok,
            retry_after_ms: 0,
            more: false,
            json: "{}",
        });
        let mut wire = Vec::new();
        questions.ask_again(&mut wire);
        assert_eq!(asked(&wire).id, open);
        assert_eq!(asked(&wire).question, Question::Topics { after: "t" });
    }
}
