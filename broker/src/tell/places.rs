//! Where streams of several topics stand: the token that such a stream is told now and then, so that it is resumed there.

use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::planted::{Bug, planted};

use crate::dialect::command::Reply;
use crate::parts::feeds::Feeds;
use crate::parts::here::Here;
use crate::parts::logs::Logs;
use crate::parts::patience::STREAM_MS;
use crate::parts::session::{Session, SessionId};
use crate::parts::sessions::{Sessions, Told};
use crate::tell::tell;

/// Where a stream of several topics stands: behind all that it was sent of each, and behind what is half out. None of any other
/// session.
pub(crate) fn places<'a>(session: &Session, feeds: &'a Feeds, logs: &Logs) -> Vec<Place<'a>> {
    if !session.form().style.is_of_several() {
        return Vec::new();
    }
    let subscriptions = session.subscriptions().as_slice().iter();
    let places = subscriptions.map(|subscription| {
        let topic = feeds.subscribed(subscription.topic);
        let next = feeds.cursor(*subscription);
        Place {
            name: &topic.name,
            epoch: logs.known(topic.log).epoch,
            next: Numbered::Offset(next.plus(u64::from(planted(Bug::PlaceIsAhead)))),
        }
    });
    places.collect()
}

/// Tells a stream of several topics, which has nothing half out, where it stands if that is news to it, or gives a sign of life
/// when it is time for one.
pub(crate) fn tell_places(
    here: &Here,
    (sessions, id): (&mut Sessions, SessionId),
    (feeds, logs): (&Feeds, &Logs),
) {
    if sessions.exchanges.has(id) {
        return; // It has not begun.
    }
    let now_ms = here.now.monotonic_ms;
    let places = places(sessions.there(id), feeds, logs);
    let told = sessions.told(id);
    let sum = places.iter().fold(0, |sum: u64, place| {
        let Numbered::Offset(next) = place.next else {
            return sum;
        };
        // Cursors only grow: another sum is another place.
        sum.wrapping_add(next.get())
    });
    if told.is_none_or(|told| told.sum != sum) {
        sessions.note_told(id, Told { sum, at_ms: now_ms });
        tell(here, sessions, id, &Reply::Places(&places));
    } else if told.is_some_and(|told| now_ms - told.at_ms >= u64::from(STREAM_MS)) {
        sessions.note_told(id, Told { sum, at_ms: now_ms });
        tell(here, sessions, id, &Reply::Ping { token: now_ms });
    }
}
