//! Which connections one shard has room for. Those that are served share the broker's `max_connections` slots, here called
//! places. A few more are reserved, so that a refused connection takes no place from one that could be served:
//!
//! - for the operator, at the operator's address, and for questions from this machine, which are answered when all else is full;
//! - for connections that are turned away, until their first bytes show in which dialect to tell them so;
//! - for sessions that were told to go, until they have taken their last bytes. When too many of these linger, the one that has
//!   lingered longest is closed, and reset if it has not taken all of them.

use std::collections::VecDeque;

use crate::parts::context::ShardContext;
use crate::parts::session::{Admitted, Session, SessionId, Stage};
use crate::parts::shared::Shared;
use crate::plan::CONNECTIONS_BESIDE;

/// Connections at the operator's address that each shard answers though the broker is full.
const OPERATORS_MAX: usize = 8;
/// Sessions from this machine that each shard lets ask, and do nothing else, though the broker is full.
const ASKING_MAX: usize = 8;
/// Connections that each shard tells in their own dialect that there is no room; others are told at once.
const TURNED_AWAY_MAX: usize = 16;
/// Sessions told to go that may linger on each shard, however low `max_connections` is.
const LEAVING_MIN: usize = 32;
/// A shard's share of `max_connections`, divided by this, may linger if that is more.
const LEAVING_PART: usize = 8;
const _: () =
    assert!(OPERATORS_MAX + ASKING_MAX + TURNED_AWAY_MAX + LEAVING_MIN <= CONNECTIONS_BESIDE);

/// Counts the connections of one shard by the places that they hold.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    /// Connections without a place, including those that have ended and are not closed yet.
    without: usize,
    /// Connections without a place that have not been told so yet.
    turned_away: usize,
    operators: usize,
    asking: usize,
    /// Sessions that were told to go and are still there.
    leaving: usize,
    /// The leaving sessions in the order in which they were told, and some that are gone by now.
    told_to_go: VecDeque<SessionId>,
}

impl Admission {
    /// Finds a place for one more connection beside the `all` that the shard has; `None` if there is none, and the peer has to be
    /// told so at once. The caller has to take the place that is found.
    pub(crate) fn find(&self, shared: &Shared, all: usize, is_operators: bool) -> Option<Admitted> {
        let served = all - self.without - self.operators - self.asking;
        let beside = all - served;
        let has_room = served < shared.connections_per_shard
            && all < shared.connections_per_shard + CONNECTIONS_BESIDE;
        if has_room && shared.take_place() {
            return Some(Admitted::Own);
        }
        if is_operators && self.operators < OPERATORS_MAX {
            return Some(Admitted::Reserved);
        }
        let has_room = self.turned_away < TURNED_AWAY_MAX
            && (all < shared.connections_per_shard || beside < CONNECTIONS_BESIDE);
        has_room.then_some(Admitted::None)
    }

    /// Gives a fresh connection the place that was found for it.
    pub(in crate::parts) fn take(&mut self, session: &mut Session, place: Admitted) {
        session.set_place(place);
        match place {
            Admitted::Own => {}
            Admitted::Reserved => self.operators += 1,
            Admitted::None => {
                self.without += 1;
                self.turned_away += 1;
            }
        }
    }

    /// Lets a session that was to be turned away stay and ask, if there are not too many of these. Returns whether it may.
    pub(in crate::parts) fn let_ask(&mut self, session: &mut Session) -> bool {
        let may_ask = self.asking < ASKING_MAX;
        if may_ask {
            session.set_place(Admitted::Reserved);
            self.asking += 1;
            self.without -= 1;
            self.turned_away -= 1;
        }
        may_ask
    }

    /// Moves a session that may only ask to a place of its own, if one is free now. Returns whether it moved.
    pub(in crate::parts) fn move_up(&mut self, shared: &Shared, session: &mut Session) -> bool {
        let moves = shared.take_place();
        if moves {
            *self.reserved(shared, session) -= 1;
            session.set_place(Admitted::Own);
        }
        moves
    }

    /// The count of the reserved places of the kind that this session holds.
    fn reserved(&mut self, shared: &Shared, session: &Session) -> &mut usize {
        match shared.doors[usize::from(session.door())].is_operators {
            true => &mut self.operators,
            false => &mut self.asking,
        }
    }

    /// Frees the place of a session that is told to go, or has ended without a word.
    pub(in crate::parts) fn give_back(&mut self, context: &ShardContext, session: &mut Session) {
        match session.place() {
            Admitted::Own => context.shared.give_place_back(),
            Admitted::Reserved => *self.reserved(&context.shared, session) -= 1,
            Admitted::None => {
                if session.stage == Stage::Greeting {
                    self.turned_away -= 1;
                }
                return;
            }
        }
        session.set_place(Admitted::None);
        self.without += 1;
    }

    /// Notes that a session was told to go.
    pub(in crate::parts) fn note_leaving(&mut self, id: SessionId) {
        self.leaving += 1;
        self.told_to_go.push_back(id);
    }

    /// Notes that a session that was told to go is gone.
    pub(in crate::parts) fn note_left(&mut self) {
        self.leaving -= 1;
    }

    /// Notes that the connection of an ended session is closed.
    pub(in crate::parts) fn note_closed(&mut self) {
        self.without -= 1;
    }

    /// Whether too many leaving sessions linger for a shard that has `all` connections.
    pub(in crate::parts) fn are_too_many_leaving(&self, shared: &Shared, all: usize) -> bool {
        let share = shared.config.max_connections / shared.shards / LEAVING_PART;
        let max = match all < shared.connections_per_shard {
            true => LEAVING_MIN.max(share),
            false => LEAVING_MIN,
        };
        self.leaving > max
    }

    /// Takes the first session told to go whose last bytes were offered to its socket. Sessions before it move behind the others.
    pub(in crate::parts) fn next_told_to_go(
        &mut self,
        is_leaving: impl Fn(SessionId) -> bool,
        is_offered: impl Fn(SessionId) -> bool,
    ) -> Option<SessionId> {
        for _ in 0..self.told_to_go.len() {
            let id = self.told_to_go.pop_front()?;
            if is_offered(id) {
                return Some(id);
            }
            if is_leaving(id) {
                self.told_to_go.push_back(id);
            }
        }
        None
    }

    /// Whether most sessions in the list of those told to go are gone, so that it is time to tidy it.
    pub(in crate::parts) fn has_many_gone(&self) -> bool {
        self.told_to_go.len() > 2 * self.leaving + LEAVING_MIN
    }

    /// Removes the sessions that are not leaving any more from that list.
    pub(in crate::parts) fn keep_leaving(&mut self, is_leaving: impl Fn(SessionId) -> bool) {
        self.told_to_go.retain(|id| is_leaving(*id));
    }
}
