//! What a stream gets beside its records, in the form of each: where it begins, gaps, signs of life, its end.

use oyez_protocol::Offset;
use oyez_protocol::command::{Numbered, Place};
use oyez_protocol::event::GapCause;
use oyez_protocol::planted::{Bug, planted};
use serde::Serialize;

use crate::dialect::chunk::{self, in_chunk};
use crate::dialect::command::{Goodbye, Reply, Subscribed};
use crate::dialect::form::{Form, Kind};
use crate::dialect::sse::{NoData, PLACE};
use crate::dialect::{lines, sse};

#[derive(Serialize)]
struct GapData<'a> {
    /// In streams of several topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    cause: &'static str,
    from: u64,
    to: u64,
}

#[derive(Serialize)]
struct EpochData<'a> {
    /// In streams of several topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    /// As text, because JSON numbers lose the low bits of 64.
    epoch: String,
    from: u64,
}

/// Whether a stream gets a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// [`tell`] adds it.
    Told,
    /// The reply is not for streams of this kind.
    Nothing,
    /// The stream has to get it, and its form has no way to say it: the stream breaks off.
    Impossible,
}

/// Whether a stream gets `reply`.
pub(crate) const fn telling(form: Form, reply: &Reply<'_>) -> Telling {
    match (form.kind, reply) {
        (Kind::Events | Kind::Lines, Reply::Gap { .. } | Reply::Ping { .. }) => Telling::Told,
        (Kind::Events, Reply::ResumeAt(_)) => Telling::Told,
        (Kind::Raw, Reply::Gap { .. }) => Telling::Impossible,
        _ => Telling::Nothing,
    }
}

/// Whether a stream can begin as `subscribed` says: payloads alone cannot show that some are missing.
pub(crate) const fn can_begin(form: Form, subscribed: &Subscribed) -> bool {
    let is_whole = !(subscribed.epoch_changed || subscribed.dropped);
    is_whole || !matches!(form.kind, Kind::Raw)
}

/// Adds the beginning of a stream, behind the head of the response.
pub(crate) fn begin(form: Form, subscribed: &Subscribed, out: &mut Vec<u8>) {
    in_chunk(form.style, out, |out| {
        if form.kind == Kind::Events {
            sse::write_begin(subscribed.epoch, subscribed.next, out);
        }
        let is_told = write_why_elsewhere((form, None), subscribed, out);
        if form.kind == Kind::Events && !is_told {
            sse::write_named(PLACE, &NoData {}, out);
        }
    });
}

/// Adds the beginning of a stream of several topics: what each has missed, and where all of them begin.
pub(crate) fn begin_several(form: Form, begun: &[(&str, &Subscribed)], out: &mut Vec<u8>) {
    in_chunk(form.style, out, |out| {
        sse::write_patience(out);
        for (topic, subscribed) in begun {
            write_why_elsewhere((form, Some(topic)), subscribed, out);
        }
        let places = begun.iter().map(|(topic, subscribed)| Place {
            name: topic,
            epoch: subscribed.epoch,
            next: Numbered::Offset(subscribed.next),
        });
        let places: Vec<Place<'_>> = places.collect();
        sse::write_places(&places, out);
    });
}

/// Adds why a stream does not begin where it was asked to. Returns whether it does not.
pub(crate) fn write_why_elsewhere(
    (form, topic): (Form, Option<&str>),
    subscribed: &Subscribed,
    out: &mut Vec<u8>,
) -> bool {
    let (epoch, next) = (subscribed.epoch, subscribed.next);
    if subscribed.epoch_changed {
        let data = EpochData {
            topic,
            epoch: epoch.to_string(),
            from: next.get(),
        };
        write_event(form, "$epoch", &data, out);
    } else if subscribed.dropped {
        let data = gap(topic, GapCause::Retention, (subscribed.asked, next));
        write_event(form, "$gap", &data, out);
    }
    subscribed.epoch_changed || subscribed.dropped
}

/// Adds a reply that is [told](Telling::Told).
pub(crate) fn tell(form: Form, reply: &Reply<'_>, out: &mut Vec<u8>) {
    in_chunk(form.style, out, |out| match (form.kind, reply) {
        (
            Kind::Events,
            Reply::Gap {
                topic,
                cause,
                from,
                to,
                ..
            },
        ) if form.style.is_of_several() => {
            sse::write_named("$gap", &gap(Some(topic), *cause, (*from, *to)), out);
        }
        (
            Kind::Events,
            Reply::Gap {
                cause,
                from,
                to,
                epoch,
                ..
            },
        ) => {
            let next = match planted(Bug::GapIdIsItsBeginning) {
                true => *from,
                false => *to,
            };
            let data = gap(None, *cause, (*from, *to));
            sse::write_event("$gap", (*epoch, next), &data, out);
        }
        (
            Kind::Lines,
            Reply::Gap {
                topic,
                cause,
                from,
                to,
                ..
            },
        ) => {
            let topic = form.style.is_framed().then_some(*topic);
            write_event(form, "$gap", &gap(topic, *cause, (*from, *to)), out);
        }
        (Kind::Events, Reply::ResumeAt(places)) => sse::write_places(places, out),
        // A comment: proxies cut connections that are silent for a minute.
        (Kind::Events, Reply::Ping { .. }) => out.extend_from_slice(b":\n\n"),
        (Kind::Lines, Reply::Ping { .. }) => write_event(form, "$keepalive", &NoData {}, out),
        _ => {}
    });
}

/// Adds an event without a token.
fn write_event(form: Form, name: &str, data: &impl Serialize, out: &mut Vec<u8>) {
    match form.kind {
        Kind::Events => sse::write_named(name, data, out),
        Kind::Lines => lines::write_event(name, data, form.style, out),
        Kind::Native | Kind::Raw => {}
    }
}

/// Adds the end of a stream, with the places where it stands if it is one of several topics.
pub(crate) fn conclude(form: Form, (goodbye, places): (&Goodbye, &[Place<'_>]), out: &mut Vec<u8>) {
    if !places.is_empty() {
        tell(form, &Reply::ResumeAt(places), out);
    }
    if form.kind == Kind::Events && goodbye.retry_after_ms > 0 {
        in_chunk(form.style, out, |out| {
            sse::write_retry(goodbye.retry_after_ms, out);
        });
    }
    if form.style.is_chunked() && !planted(Bug::EndsAStreamSilently) {
        out.extend_from_slice(chunk::LAST);
    }
}

const fn gap(topic: Option<&str>, cause: GapCause, (from, to): (Offset, Offset)) -> GapData<'_> {
    GapData {
        topic,
        cause: match cause {
            GapCause::Retention => "retention",
            GapCause::Damage => "damage",
            GapCause::Unreadable => "unreadable",
            _ => "other",
        },
        from: from.get(),
        to: to.get(),
    }
}

#[cfg(test)]
mod tests;
