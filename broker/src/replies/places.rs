//! Where streams of several topics stand: such a stream gets a token now and then, with which it is resumed there.

use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::planted::{Bug, planted};

use crate::dialect::command::Reply;
use crate::parts::context::ShardContext;
use crate::parts::feeds::Feeds;
use crate::parts::logs::Logs;
use crate::parts::patience::{PLACES_MS, STREAM_MS};
use crate::parts::session::{Session, SessionId};
use crate::parts::sessions::{Sessions, Told};
use crate::replies::tell;

/// Where a stream of several topics stands: behind all that it was sent of each, and behind what is half out. Empty for any
/// other session.
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

/// The sum of the offsets at which a stream stands. Cursors only grow: another sum is another place.
fn sum(session: &Session, feeds: &Feeds) -> u64 {
    let subscriptions = session.subscriptions().as_slice().iter();
    let cursors = subscriptions.map(|place| feeds.cursor(*place).get());
    cursors.fold(0, u64::wrapping_add)
}

/// Notes that a stream of several topics begins, with the places of its beginning.
pub(crate) fn note_begin(
    context: &ShardContext,
    sessions: &mut Sessions,
    feeds: &Feeds,
    id: SessionId,
) {
    let told = Told {
        sum: sum(sessions.there(id), feeds),
        at_ms: context.now.monotonic_ms,
    };
    sessions.note_told(id, told);
}

/// Tells a stream of several topics, if nothing is half out, where it stands when that has changed and is due, or sends a sign of
/// life when it is time for one.
pub(crate) fn tell_places(
    context: &ShardContext,
    (sessions, id): (&mut Sessions, SessionId),
    (feeds, logs): (&Feeds, &Logs),
) {
    let Some(told) = sessions.told(id) else {
        return; // The stream has not begun.
    };
    let (session, now_ms) = (sessions.there(id), context.now.monotonic_ms);
    let ago_ms = now_ms - told.at_ms;
    if ago_ms < u64::from(PLACES_MS) || session.control().is_some() || !session.is_open() {
        return;
    }
    let sum = sum(session, feeds);
    let is_news = told.sum != sum;
    if is_news || ago_ms >= u64::from(STREAM_MS) {
        sessions.note_told(id, Told { sum, at_ms: now_ms });
    }
    if is_news {
        let places = places(sessions.there(id), feeds, logs);
        tell(context, sessions, id, &Reply::ResumeAt(&places));
    } else if ago_ms >= u64::from(STREAM_MS) {
        tell(context, sessions, id, &Reply::Ping { token: now_ms });
    }
}
