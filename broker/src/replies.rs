//! Replying to sessions: the one place where replies become bytes, in the dialect of each session. They leave at the end of
//! the turn.

pub(crate) mod places;

use oyez_protocol::command::Place;
use oyez_protocol::planted::{Bug, planted};

use crate::dialect::command::{Dialect, Goodbye, Reply, Subscribed};
use crate::dialect::exchange::{Stream, Wants};
use crate::dialect::form::Form;
use crate::dialect::stream::{self, Telling};
use crate::dialect::{http, native, refused, websocket};
use crate::parts::context::ShardContext;
use crate::parts::ending::{Reason, done};
use crate::parts::handled::Handled;
use crate::parts::patience::IDLE_MS;
use crate::parts::session::{Session, SessionId, Stage};
use crate::parts::sessions::Sessions;

/// Sends a session a reply, unless the session is over.
pub(crate) fn tell(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    reply: &Reply<'_>,
) -> Handled {
    match sessions.get(id).map(Session::dialect) {
        Some(Dialect::Http) => respond(context, sessions, id, reply),
        Some(dialect @ (Dialect::WebSocket | Dialect::Json)) => {
            sessions.control(context, id, |out| websocket::encode(dialect, reply, out))
        }
        _ => sessions.control(context, id, |out| native::encode(reply, out)),
    }
}

/// Answers the request of a session with `reply`, if it waits for that. The next request may be taken from here on.
fn respond(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    reply: &Reply<'_>,
) -> Handled {
    // A session that is to end learns what became of its request from its Goodbye.
    let stage = sessions.get(id).map(Session::stage);
    if !stage.is_some_and(Stage::is_heard) {
        return Handled::Over;
    }
    let exchanges = &mut sessions.exchanges;
    let Some(exchange) = exchanges.take_if(id, |exchange| http::answers(exchange, reply)) else {
        return tell_stream(context, sessions, id, reply);
    };
    let wall_ms = context.now.wall_ms;
    let handled = sessions.control(context, id, |out| {
        http::answer(&exchange, reply, wall_ms, out);
    });
    if let (Reply::Subscribed { .. }, Wants::Streams(streams)) = (reply, &exchange.wants) {
        if streams.refused().is_none() {
            return handled; // The answer goes on for as long as its connection does.
        }
        sessions.there_mut(id).stream(Form::NATIVE, IDLE_MS);
        // Some of its topics may have begun; they go with their connection.
        sessions.dismiss(context, id, done("the stream could not begin"));
        return Handled::Over;
    }
    if let (Reply::Subscribed { subscribed, .. }, Wants::Stream(stream)) = (reply, &exchange.wants)
    {
        if http::begins(stream, subscribed) {
            begin_stream(context, sessions, id, (stream, subscribed));
            return handled;
        }
        sessions.there_mut(id).stream(Form::NATIVE, IDLE_MS);
        if subscribed.outcome.is_done() {
            // There is a subscription that cannot be streamed; it ends with its connection.
            sessions.dismiss(context, id, done("the stream could not begin"));
            return Handled::Over;
        }
    }
    if exchange.closes {
        sessions.dismiss(context, id, done("the client asked for one answer"));
        return Handled::Over;
    }
    sessions.resume(id);
    handled
}

/// Bounds a stream that has an end, which it may have reached already.
fn begin_stream(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    (stream, subscribed): (&Stream, &Subscribed),
) {
    let Some(end) = stream.end(subscribed.next, subscribed.head) else {
        return;
    };
    sessions.set_end(id, end);
    if end <= subscribed.next {
        sessions.reach_end(id);
        sessions.dismiss(context, id, done("the stream has come to its end"));
    }
}

/// Sends a stream a reply beside its records, if there is an event for it. A stream whose request has no answer yet gets none:
/// the head of the response comes first.
fn tell_stream(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    reply: &Reply<'_>,
) -> Handled {
    let Some(form) = sessions.get(id).map(Session::form) else {
        return Handled::Over;
    };
    if sessions.exchanges.has(id) && !planted(Bug::SpeaksBeforeTheHead) {
        return Handled::Done;
    }
    match stream::telling(form, reply) {
        Telling::Told => sessions.control(context, id, |out| stream::tell(form, reply, out)),
        Telling::Nothing => Handled::Done, // Nobody waits for it.
        Telling::Impossible => {
            sessions.end(context, id, Reason::Dropped);
            Handled::Over
        }
    }
}

/// Tells a peer that waits for `100 Continue` that the rest of its request is wanted.
pub(crate) fn ask_for_rest(context: &ShardContext, sessions: &mut Sessions, id: SessionId) {
    sessions.control(context, id, http::respond_continue);
}

/// Sends a session that was dismissed its Goodbye, with the places where it stands if it is a stream of several topics. Returns
/// whether the session was there to get it.
pub(crate) fn say_goodbye(
    context: &ShardContext,
    sessions: &mut Sessions,
    id: SessionId,
    (goodbye, places): (&Goodbye, &[Place<'_>]),
) -> bool {
    let Some(session) = sessions.get(id) else {
        return false;
    };
    let (dialect, form) = (session.dialect(), session.form());
    let is_broken_off = sessions.is_broken_off(id);
    if is_broken_off && !form.style.is_chunked() {
        // The connection's end is the end of the data: only a reset says that there was more.
        sessions.end(context, id, Reason::Dropped);
        return false;
    }
    let exchange = sessions.exchanges.take_if(id, |_| true);
    let closes = sessions.take_close(id);
    let (reply, wall_ms) = (Reply::Goodbye(goodbye), context.now.wall_ms);
    let said = sessions.conclude(context, id, |out| match (dialect, &exchange) {
        (Dialect::Http, Some(exchange)) => http::answer(exchange, &reply, wall_ms, out),
        (Dialect::Http, None) if form.is_native() => http::conclude(goodbye, wall_ms, out),
        (Dialect::Http, None) if is_broken_off => {} // Without its last chunk it is not whole.
        (Dialect::Http, None) => stream::conclude(form, (goodbye, places), out),
        (Dialect::Tls | Dialect::Mqtt | Dialect::Proxy, _) => {
            out.extend_from_slice(refused::farewell(dialect));
        }
        (Dialect::WebSocket | Dialect::Json, _) => {
            let code = closes.map(|closing| closing.code);
            websocket::conclude(dialect, (goodbye, code), out);
        }
        (Dialect::Native | Dialect::Unknown, _) => native::encode(&reply, out),
    });
    said == Handled::Done
}

#[cfg(test)]
mod tests;
