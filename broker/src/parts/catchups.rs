//! The subscriptions of one shard that are served from the log (catch-ups), and the sessions that wait to begin one.

use std::collections::{BTreeMap, VecDeque};

use oyez_protocol::planted::{Bug, planted};
use oyez_storage::Place;
use slab::Slab;

use crate::parts::feeds::Feeds;
use crate::parts::session::SessionId;
use crate::parts::sessions::Sessions;
use crate::parts::subscription::{Delivery, NUMBER_MAX, SubscriptionRef};

/// Catch-ups of one shard at once; others wait as bare cursors.
const CATCHUPS_MAX: usize = 1024;
/// Catch-ups of one session at once, when its socket has taken what earlier ones had.
const PER_SESSION_MAX: usize = 16;
/// Sessions whose share of catch-ups is remembered. When there are more, those without a catch-up are forgotten.
const SHARES_MAX: usize = 2 * CATCHUPS_MAX;

/// What a catch-up waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// It can send.
    Nothing,
    /// Places, from the owner of the log.
    Places,
    /// Bytes, from the disk.
    Bytes,
}

/// One subscription that is being served from the log.
#[derive(Debug)]
pub(crate) struct Catchup {
    pub(crate) session: SessionId,
    pub(crate) topic: u32,
    nonce: u32,
    pub(crate) waits: Waits,
    pub(crate) places: Vec<Place>,
    /// Index of the first of `places` that is not sent.
    pub(crate) at: usize,
}

impl Catchup {
    /// Where its subscription lies; `None` if its session has ended, and its subscriptions are not removed yet.
    pub(crate) fn place(&self, sessions: &Sessions) -> Option<SubscriptionRef> {
        let session = sessions.get(self.session)?;
        session.subscriptions.find(self.topic)
    }

    /// The places that are not sent.
    pub(crate) fn left(&self) -> &[Place] {
        &self.places[self.at.min(self.places.len())..]
    }
}

/// How many catch-ups a session has, and may have. A full socket ends all of them, and look-ups for those that had sent nothing
/// were in vain. So a session begins one, and may have twice as many whenever its socket has taken all that one had.
#[derive(Clone, Copy, Debug)]
struct Share {
    begun: usize,
    allowed: usize,
}

impl Default for Share {
    fn default() -> Self {
        let (begun, allowed) = (0, 1);
        Self { begun, allowed }
    }
}

/// The catch-ups of one shard.
#[derive(Debug, Default)]
pub(crate) struct Catchups {
    all: Slab<Catchup>,
    /// Shares of the sessions that have catch-ups, or had some lately.
    shares: BTreeMap<SessionId, Share>,
    /// Steps spent on look-ups that no turn's budget has paid for yet.
    steps: usize,
    waiting: VecDeque<SessionId>,
    last_nonce: u32,
    /// Empty lists of places, to be used again.
    places_spare: Vec<Vec<Place>>,
}

impl Catchups {
    /// Whether a session may use one more catch-up. When one of its own ends, the shard sends to it again.
    pub(crate) fn has_use(&self, session: SessionId) -> bool {
        let share = self.shares.get(&session).copied().unwrap_or_default();
        share.begun < share.allowed
    }

    /// Notes that a session's socket has taken all that was looked up for one of its catch-ups.
    pub(crate) fn note_use(&mut self, session: SessionId) {
        if let Some(share) = self.shares.get_mut(&session) {
            share.allowed = (2 * share.allowed).min(PER_SESSION_MAX);
        }
    }

    /// Notes steps that the turn's budget has to pay for.
    pub(crate) fn spend(&mut self, steps: usize) {
        self.steps += steps;
    }

    /// Steps that the turn's budget has not paid for.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Takes the steps that are not paid for; the caller's budget pays them now.
    pub(crate) fn take_steps(&mut self) -> usize {
        std::mem::take(&mut self.steps)
    }

    /// Begins a catch-up, which waits for places. Returns its number; `None` if there are as many as may be.
    pub(crate) fn begin(&mut self, session: SessionId, topic: u32) -> Option<u32> {
        if self.all.len() >= CATCHUPS_MAX {
            return None;
        }
        if self.shares.len() >= SHARES_MAX {
            self.shares.retain(|_, share| share.begun > 0);
        }
        self.shares.entry(session).or_default().begun += 1;
        self.last_nonce = (self.last_nonce + 1) & NUMBER_MAX;
        let number = self.all.insert(Catchup {
            session,
            topic,
            nonce: self.last_nonce,
            waits: Waits::Places,
            places: self.places_spare.pop().unwrap_or_default(),
            at: 0,
        });
        Some(u32::try_from(number).expect("catch-ups are bounded by CATCHUPS_MAX"))
    }

    /// The catch-up with a number, if there is one.
    #[cfg(test)]
    pub(crate) fn get(&self, number: u32) -> Option<&Catchup> {
        self.all.get(number as usize)
    }

    /// A catch-up that a subscription names.
    pub(crate) fn begun(&self, number: u32) -> &Catchup {
        &self.all[number as usize]
    }

    /// A catch-up that a subscription names, to be changed.
    pub(crate) fn begun_mut(&mut self, number: u32) -> &mut Catchup {
        &mut self.all[number as usize]
    }

    /// Ends a catch-up; only its subscription's cursor is left of it.
    pub(crate) fn end(&mut self, number: u32) {
        let ended = self.all.remove(number as usize);
        let share = self.shares.get_mut(&ended.session);
        share.expect("it was counted when it began").begun -= 1;
        let mut places = ended.places;
        places.clear();
        self.places_spare.push(places);
    }

    /// The token that names a catch-up in questions to owners of logs and to the disk.
    pub(crate) fn token(&self, number: u32) -> u64 {
        u64::from(self.begun(number).nonce) << 32 | u64::from(number)
    }

    /// The catch-up that a token names, if it is still there.
    pub(crate) fn named(&self, token: u64) -> Option<u32> {
        let number = token as u32;
        let catchup = self.all.get(number as usize)?;
        let is_it = u64::from(catchup.nonce) == token >> 32;
        (is_it || planted(Bug::BelievesStaleCatchups)).then_some(number)
    }

    /// Lets a session wait until there is room for one more catch-up.
    pub(crate) fn wait(&mut self, sessions: &mut Sessions, id: SessionId) {
        if let Some(session) = sessions.get_mut(id).filter(|session| !session.waiting) {
            session.waiting = true;
            self.waiting.push_back(id);
        }
    }

    /// Lets sessions that have waited try again, as many as there is room for.
    pub(crate) fn start_waiting(&mut self, sessions: &mut Sessions) {
        let room = CATCHUPS_MAX - self.all.len();
        for _ in 0..room.min(self.waiting.len()) {
            let id = self.waiting.pop_front().expect("so many wait");
            if let Some(session) = sessions.get_mut(id) {
                session.waiting = false;
            }
            sessions.schedule_send(id);
        }
    }

    /// Whether a session waits, and there is room.
    pub(crate) fn can_start(&self) -> bool {
        !self.waiting.is_empty() && self.all.len() < CATCHUPS_MAX
    }

    /// Ends a catch-up whose subscription the window serves again, or which becomes a bare cursor behind the window.
    pub(crate) fn return_to_window(
        &mut self,
        feeds: &mut Feeds,
        number: u32,
        place: SubscriptionRef,
    ) {
        self.end(number);
        feeds.set_delivery(place, Delivery::Live);
    }

    /// Makes all catch-ups of a session bare cursors again: its socket is full, or nothing more is sent to it.
    pub(crate) fn pause(&mut self, sessions: &Sessions, feeds: &mut Feeds, id: SessionId) {
        let Some(session) = sessions.get(id) else {
            return; // Its subscriptions end with it.
        };
        if self.shares.get(&id).is_none_or(|share| share.begun == 0) {
            self.shares.remove(&id);
            return; // The session has no catch-up: no subscription needs a look.
        }
        for place in session.subscriptions.as_slice() {
            if let Delivery::CatchingUp(number) = feeds.subscription(*place).delivery() {
                self.return_to_window(feeds, number, *place);
            }
        }
        self.shares.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rig::{Client, Rig};

    const SESSION: SessionId = SessionId::new(3, 1);

    #[test]
    fn a_shard_has_so_many_catch_ups_at_once_and_no_more() {
        let mut catchups = Catchups::default();
        let numbers: Vec<u32> = std::iter::from_fn(|| catchups.begin(SESSION, 0)).collect();
        assert_eq!(numbers.len(), CATCHUPS_MAX);
        assert!(!catchups.can_start(), "no session waits");
        catchups.end(numbers[7]);
        assert_eq!(catchups.begin(SESSION, 0), Some(numbers[7]));
    }

    #[test]
    fn the_share_of_a_session_doubles_as_its_socket_takes_catch_ups_and_is_one_after_a_full_socket()
    {
        let mut rig = Rig::new();
        let client = rig.subscriber("t");
        let parts = rig.parts();
        let (catchups, feeds, sessions) = (&mut parts.catchups, &mut parts.feeds, &parts.sessions);
        for allowed in [1, 2, 4, 8, 16, 16] {
            while catchups.has_use(client.id) {
                catchups.begin(client.id, 0).expect("there is room");
            }
            assert_eq!(catchups.all.len(), allowed);
            catchups.note_use(client.id);
        }
        catchups.pause(sessions, feeds, client.id);
        assert!(catchups.shares.is_empty(), "it begins with one again");
    }

    #[test]
    fn sessions_that_have_no_catch_up_any_more_are_forgotten() {
        let mut catchups = Catchups::default();
        for session in 0..3 * SHARES_MAX as u32 {
            let begun = catchups.begin(SessionId::new(session, 0), 0);
            catchups.end(begun.expect("there is room"));
        }
        assert!(catchups.shares.len() <= SHARES_MAX);
    }

    #[test]
    fn a_token_names_its_catch_up_and_no_later_one_of_the_same_number() {
        let mut catchups = Catchups::default();
        let number = catchups.begin(SESSION, 0).expect("there is room");
        let token = catchups.token(number);
        assert_eq!(catchups.named(token), Some(number));
        catchups.end(number);
        assert_eq!(catchups.named(token), None);
        assert_eq!(catchups.begin(SESSION, 0), Some(number));
        assert_eq!(catchups.named(token), None);
    }
    #[test]
    fn a_list_of_places_is_used_again_and_empty_then() {
        let mut catchups = Catchups::default();
        let number = catchups.begin(SESSION, 5).expect("there is room");
        let place = Place {
            first: Default::default(),
            next: Default::default(),
            position: Default::default(),
            size: 1,
        };
        let catchup = catchups.begun_mut(number);
        assert_eq!(
            (catchup.waits, catchup.topic, catchup.at),
            (Waits::Places, 5, 0)
        );
        catchup.places.extend([place; 100]);
        for (at, left) in [(0, 100), (99, 1), (100, 0), (101, 0)] {
            catchup.at = at;
            assert_eq!(catchup.left().len(), left);
        }
        catchups.end(number);
        assert_eq!(catchups.places_spare.len(), 1);
        let number = catchups.begin(SESSION, 5).expect("there is room");
        let places = &catchups.get(number).expect("it is there").places;
        assert!(places.is_empty() && places.capacity() >= 100);
    }

    #[test]
    fn sessions_that_wait_try_again_as_far_as_there_is_room() {
        let mut rig = Rig::new();
        let clients: Vec<Client> = (0..3).map(|_| rig.join()).collect();
        let parts = rig.parts();
        let (catchups, sessions) = (&mut parts.catchups, &mut parts.sessions);
        let begin = || catchups.begin(SESSION, 0);
        let numbers: Vec<u32> = std::iter::from_fn(begin).collect();
        for client in &clients {
            catchups.wait(sessions, client.id);
            catchups.wait(sessions, client.id);
        }
        assert_eq!(catchups.waiting.len(), 3, "each waits once");
        catchups.start_waiting(sessions);
        assert!(!catchups.can_start() && sessions.next_to_send().is_none());
        catchups.end(numbers[0]);
        catchups.end(numbers[1]);
        assert!(catchups.can_start());
        catchups.start_waiting(sessions);
        let queued = [(); 3].map(|()| sessions.next_to_send());
        assert_eq!(queued, [Some(clients[0].id), Some(clients[1].id), None]);
        let waiting = [0, 2].map(|client: usize| {
            sessions
                .get(clients[client].id)
                .map(|session| session.waiting)
        });
        assert_eq!(waiting, [Some(false), Some(true)]);
        catchups.start_waiting(sessions);
        assert!(!catchups.can_start(), "no session is left");
        assert_eq!(sessions.next_to_send(), Some(clients[2].id));
    }

    #[test]
    fn all_catch_ups_of_a_session_are_paused_and_those_of_others_go_on() {
        let mut rig = Rig::new();
        let (paused, other) = (rig.subscriber("t"), rig.subscriber("t"));
        let places = [&paused, &other].map(|client| rig.place(client, "t"));
        let parts = rig.parts();
        let (catchups, feeds, sessions) = (&mut parts.catchups, &mut parts.feeds, &parts.sessions);
        for (client, place) in [&paused, &other].into_iter().zip(places) {
            let number = catchups
                .begin(client.id, place.topic)
                .expect("there is room");
            feeds.set_delivery(place, Delivery::CatchingUp(number));
            assert_eq!(
                catchups.get(number).and_then(|begun| begun.place(sessions)),
                Some(place)
            );
        }
        catchups.pause(sessions, feeds, paused.id);
        catchups.pause(sessions, feeds, SESSION);
        let deliveries = places.map(|place| feeds.subscription(place).delivery());
        assert_eq!(deliveries, [Delivery::Live, Delivery::CatchingUp(1)]);
        assert!(catchups.get(0).is_none() && catchups.get(1).is_some());
    }
}
