//! Questions about one topic, whose answers are gathered from all shards: the owner of its log knows what is kept of it, and each
//! shard knows its own subscriptions.

use oyez_storage::TopicInfo;
use slab::Slab;

use crate::parts::handled::Until;
use crate::parts::session::SessionId;

/// Questions that one shard has under way; others wait.
const INQUIRIES_MAX: usize = 8;

/// What a shard knows of a topic.
#[derive(Debug, Default)]
pub(crate) struct KnownTopic {
    /// What is kept of it; `None` from shards that do not own its log, or if nothing is kept.
    pub(crate) info: Option<TopicInfo>,
    /// Subscriptions to it on this shard.
    pub(crate) subscribers: u64,
}

#[derive(Debug)]
struct Inquiry {
    session: SessionId,
    request: u32,
    waiting: usize,
    known: KnownTopic,
}

/// The questions of one shard's sessions.
#[derive(Debug, Default)]
pub(crate) struct Inquiries(Slab<Inquiry>);

/// A question that all shards have answered.
#[derive(Debug)]
pub(crate) struct CompleteInquiry {
    pub(crate) session: SessionId,
    pub(crate) request: u32,
    pub(crate) known: KnownTopic,
    /// Other sessions may have waited for the place of this question.
    pub(crate) makes_room: bool,
}

impl Inquiries {
    /// Begins a session's question to so many shards; each session has one at a time. Returns its number, or what it has to wait
    /// for.
    pub(crate) fn begin(
        &mut self,
        (session, request): (SessionId, u32),
        shards: usize,
    ) -> Result<usize, Until> {
        if self.0.iter().any(|(_, inquiry)| inquiry.session == session) {
            return Err(Until::Answered);
        }
        if self.0.len() >= INQUIRIES_MAX {
            return Err(Until::Room);
        }
        Ok(self.0.insert(Inquiry {
            session,
            request,
            waiting: shards,
            known: KnownTopic::default(),
        }))
    }

    /// Adds what a shard knows. Returns the answer when this was the last shard.
    pub(crate) fn add(&mut self, number: usize, known: KnownTopic) -> Option<CompleteInquiry> {
        let inquiry = self.0.get_mut(number)?;
        inquiry.known.subscribers += known.subscribers;
        inquiry.known.info = inquiry.known.info.take().or(known.info);
        inquiry.waiting -= 1;
        if inquiry.waiting > 0 {
            return None;
        }
        let inquiry = self.0.remove(number);
        Some(CompleteInquiry {
            session: inquiry.session,
            request: inquiry.request,
            known: inquiry.known,
            makes_room: self.0.len() + 1 == INQUIRIES_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_all_shards_have_answered() {
        let mut inquiries = Inquiries::default();
        let session = SessionId::new(1, 1);
        let number = inquiries.begin((session, 7), 2).expect("there is room");
        assert_eq!(inquiries.begin((session, 8), 2), Err(Until::Answered));
        let known = |subscribers| KnownTopic {
            info: None,
            subscribers,
        };
        assert!(inquiries.add(number, known(3)).is_none());
        let complete = inquiries.add(number, known(4)).expect("both have told");
        assert_eq!((complete.request, complete.known.subscribers), (7, 7));
        assert!(!complete.makes_room);
        assert!(inquiries.add(number, known(1)).is_none(), "it is over");
    }

    #[test]
    fn a_shard_has_so_many_questions_at_once() {
        let mut inquiries = Inquiries::default();
        for key in 0..8 {
            assert!(inquiries.begin((SessionId::new(key, 0), 1), 1).is_ok());
        }
        let ninth = (SessionId::new(9, 0), 1);
        assert_eq!(inquiries.begin(ninth, 1), Err(Until::Room));
        assert!(
            inquiries
                .add(0, KnownTopic::default())
                .expect("complete")
                .makes_room
        );
        assert!(inquiries.begin(ninth, 1).is_ok());
    }
}
