//! Lists of the broker's topics that are being gathered from all shards, and the pages that other shards want of this one.

use std::collections::VecDeque;

use oyez_protocol::limits::ANSWER_SIZE_MAX;
use oyez_storage::{TopicCounts, TopicInfo, TopicPage};
use slab::Slab;

use crate::parts::handled::Until;
use crate::parts::session::SessionId;

/// Lists that one shard gathers at once; others wait.
const LISTINGS_MAX: usize = 8;
/// More rows than this do not fit into an answer, however short they are.
const ROWS_MAX: usize = ANSWER_SIZE_MAX / ROW_BYTES_MIN;
const ROW_BYTES_MIN: usize = 96;

/// A list of topics that is being gathered from all shards.
#[derive(Debug)]
struct Listing {
    session: SessionId,
    request: u32,
    waiting: usize,
    topics: Vec<TopicInfo>,
    /// A shard has more topics behind this name; topics beyond it are left to a later list.
    cut_at: Option<String>,
}

/// A page of this shard's topics for which another shard, or this one, waits.
#[derive(Debug)]
pub(crate) struct AskedPage {
    pub(crate) from: usize,
    pub(crate) listing: usize,
    pub(crate) after: Box<str>,
    /// The topics that there were when the page was asked for. It does not wait for topics that come meanwhile.
    pub(crate) counted: TopicCounts,
}

/// The lists of topics that a shard gathers, and the pages that are wanted of it.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    own: Slab<Listing>,
    asked: VecDeque<AskedPage>,
}

impl Listings {
    /// Begins a session's list, gathered from so many shards; each session has one at a time, because gathering costs every shard
    /// some work. Returns its number, or what it has to wait for.
    pub(crate) fn begin(
        &mut self,
        session: SessionId,
        request: u32,
        shards: usize,
    ) -> Result<usize, Until> {
        if self
            .own
            .iter()
            .any(|(_, listing)| listing.session == session)
        {
            return Err(Until::Answered);
        }
        if self.own.len() >= LISTINGS_MAX {
            return Err(Until::Room);
        }
        Ok(self.own.insert(Listing {
            session,
            request,
            waiting: shards,
            topics: Vec::new(),
            cut_at: None,
        }))
    }

    /// Notes that a shard wants a page of this shard's topics.
    pub(crate) fn ask(&mut self, asked: AskedPage) {
        self.asked.push_back(asked);
    }

    /// Takes the page that has been wanted longest.
    pub(crate) fn next_asked(&mut self) -> Option<AskedPage> {
        self.asked.pop_front()
    }

    /// Puts back a page that cannot be made yet.
    pub(crate) fn put_back(&mut self, asked: AskedPage) {
        self.asked.push_front(asked);
    }

    /// Adds the topics of a shard. Returns the list when this was the last shard.
    pub(crate) fn add(&mut self, number: usize, page: TopicPage) -> Option<CompleteListing> {
        let listing = self.own.get_mut(number)?;
        listing.add(page);
        listing.waiting -= 1;
        if listing.waiting > 0 {
            return None;
        }
        let mut listing = self.own.remove(number);
        if let Some(cut) = &listing.cut_at {
            listing.topics.retain(|topic| topic.name <= *cut);
        }
        Some(CompleteListing {
            session: listing.session,
            request: listing.request,
            topics: listing.topics,
            is_cut: listing.cut_at.is_some(),
            makes_room: self.own.len() + 1 == LISTINGS_MAX,
        })
    }

    /// Whether a shard waits for a page.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Listing {
    /// Takes in a shard's page, as far as an answer may have room for it.
    fn add(&mut self, page: TopicPage) {
        if page.more {
            let last = page.topics.last().map(|topic| topic.name.clone());
            self.cut(last);
        }
        self.topics.extend(page.topics);
        self.topics
            .sort_by(|left, right| left.name.cmp(&right.name));
        if self.topics.len() > ROWS_MAX {
            self.topics.truncate(ROWS_MAX);
            let last = self.topics.last().map(|topic| topic.name.clone());
            self.cut(last);
        }
    }

    fn cut(&mut self, at: Option<String>) {
        self.cut_at = match (self.cut_at.take(), at) {
            (Some(before), Some(at)) => Some(before.min(at)),
            (before, at) => before.or(at),
        };
    }
}

/// A list with the topics of all shards.
#[derive(Debug)]
pub(crate) struct CompleteListing {
    pub(crate) session: SessionId,
    pub(crate) request: u32,
    pub(crate) topics: Vec<TopicInfo>,
    /// There are more topics behind the last of these.
    pub(crate) is_cut: bool,
    /// Other sessions may have waited for the place of this list.
    pub(crate) makes_room: bool,
}

#[cfg(test)]
mod tests {
    use oyez_protocol::{Epoch, Offset};
    use oyez_storage::Durability;

    use super::*;

    fn page(names: &[&str], more: bool) -> TopicPage {
        let topic = |name: &&str| TopicInfo {
            name: (*name).to_owned(),
            log: oyez_protocol::LogId::new(0),
            durability: Durability::Memory,
            earliest: Offset::default(),
            next: Offset::default(),
            epoch: Epoch::default(),
            records: 0,
            bytes: 0,
        };
        TopicPage {
            topics: names.iter().map(topic).collect(),
            more,
        }
    }

    fn session(number: u32) -> SessionId {
        SessionId::new(number, 0)
    }

    fn names(complete: &CompleteListing) -> Vec<&str> {
        complete.topics.iter().map(|topic| &*topic.name).collect()
    }

    #[test]
    fn a_list_is_complete_when_all_shards_have_answered_and_in_the_order_of_names() {
        let mut listings = Listings::default();
        let number = listings.begin(session(1), 9, 2).expect("there is room");
        assert!(listings.add(number, page(&["b", "d"], false)).is_none());
        let complete = listings.add(number, page(&["a", "c"], false));
        let complete = complete.expect("all have told");
        assert_eq!(names(&complete), ["a", "b", "c", "d"]);
        assert_eq!((complete.session, complete.request), (session(1), 9));
        assert!(!complete.is_cut && !complete.makes_room);
        assert!(
            listings.add(number, page(&[], false)).is_none(),
            "it is gone"
        );
    }

    #[test]
    fn a_list_ends_where_the_first_shard_had_more_to_tell() {
        let mut listings = Listings::default();
        let number = listings.begin(session(1), 9, 3).expect("there is room");
        listings.add(number, page(&["a", "x"], true));
        listings.add(number, page(&["b", "m"], true));
        let complete = listings.add(number, page(&["c", "n", "z"], false));
        let complete = complete.expect("all have told");
        assert_eq!(
            names(&complete),
            ["a", "b", "c", "m"],
            "the first shards may have others beyond"
        );
        assert!(complete.is_cut);
    }

    #[test]
    fn a_session_has_one_list_and_a_shard_so_many() {
        let mut listings = Listings::default();
        for number in 0..LISTINGS_MAX {
            assert_eq!(listings.begin(session(number as u32), 1, 1), Ok(number));
        }
        assert_eq!(listings.begin(session(1), 2, 1), Err(Until::Answered));
        assert_eq!(listings.begin(session(99), 1, 1), Err(Until::Room));
        let complete = listings.add(3, page(&[], false)).expect("it is complete");
        assert!(complete.makes_room, "another session may have waited");
        assert_eq!(listings.begin(session(99), 1, 1), Ok(3));
    }
}
