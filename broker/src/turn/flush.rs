//! Sends to sessions. What is half out leaves first; then control frames; then records, subscription by subscription.

use std::io::IoSlice;

use oyez_protocol::planted::{Bug, planted};
use oyez_protocol::record::Record;
use oyez_storage::{Read, ReadError};

use crate::dialect::render::size_of_record;
use crate::dialect::run::{Opcode, RunHeader};
use crate::parts::budget::{Budget, RESOLVE_STEPS, SEND_STEPS};
use crate::parts::chain::Broken;
use crate::parts::ending::{Reason, done};
use crate::parts::sending::{
    SENDFILE_BYTES_MIN, SendProgress, Sent, Stop, lacks_bytes, send, send_all, send_range, taken,
};
use crate::parts::session::{Session, SessionId, Stage};
use crate::parts::subscription::{Delivery, SubscriptionRef};
use crate::parts::tail::RecordTail;
use crate::replies::places::tell_places;
use crate::turn::catchup::Serving;

/// A visit that has sent or rendered this many bytes goes to no further topic of its session.
const VISIT_BYTES: usize = 512 << 10;
/// A visit that has looked up places for this many steps does not either.
const VISIT_STEPS: usize = 16 * RESOLVE_STEPS;

/// The step that sends to sessions, with the parts that it needs.
pub(crate) struct Flushing<'a> {
    pub(crate) serving: Serving<'a>,
}

impl Flushing<'_> {
    /// Sends to the sessions that have something to get, within the turn's budget.
    pub(crate) fn run(&mut self) {
        let mut budget = Budget::FLUSHES;
        for _ in 0..self.serving.out.sessions.count_to_send() {
            if budget.is_spent() {
                return;
            }
            let next = self.serving.out.sessions.next_to_send();
            let id = next.expect("flushing takes no session off the list");
            let Some(session) = self.serving.out.sessions.get(id) else {
                continue; // It has ended since.
            };
            let visited = session.subscriptions().len();
            self.flush(id);
            let bytes = std::mem::take(&mut self.serving.out.sent);
            let rendered = self.serving.out.rendering.take_steps();
            let looked_up = self.serving.catchups.take_steps();
            budget.spend(SEND_STEPS + visited + rendered + looked_up, bytes);
        }
    }

    /// Sends what a session has to get, as far as its socket takes it.
    fn flush(&mut self, id: SessionId) {
        let session = self.session(id);
        if session.is_held() {
            return;
        }
        if self.session(id).form().style.is_framed() && planted(Bug::SpeaksWithinARun) {
            self.flush_control(id);
        }
        let mut progress = self.flush_tail(id);
        if progress == SendProgress::Done {
            self.tell_places(id);
            progress = self.flush_control(id);
        }
        if progress == SendProgress::Done {
            progress = self.flush_subscriptions(id);
        }
        self.finish_bounded(id);
        match progress {
            SendProgress::More => self.serving.out.sessions.schedule_send(id),
            SendProgress::Gone => {
                self.serving
                    .out
                    .sessions
                    .end(self.serving.out.context, id, Reason::PeerReset);
            }
            SendProgress::Blocked => self.serving.pause(id),
            SendProgress::Done => {}
        }
    }

    /// Tells a stream of several topics where it stands, when that is due. A stream that always has something half out would
    /// otherwise never get that.
    fn tell_places(&mut self, id: SessionId) {
        if self.session(id).form().style.is_of_several() {
            let out = &mut self.serving.out;
            tell_places(out.context, (out.sessions, id), (out.feeds, out.logs));
        }
    }

    /// Ends a stream that has come to its end, when what is half out has left.
    fn finish_bounded(&mut self, id: SessionId) {
        let out = &mut self.serving.out;
        let Some(end) = out.sessions.end_of(id) else {
            return; // The stream goes on.
        };
        let session = out.sessions.there(id);
        let first = session.subscriptions().as_slice().first();
        let cursor = first.map(|place| out.feeds.cursor(*place));
        if session.is_open() && cursor.is_some_and(|cursor| cursor >= end) {
            let goodbye = done("the stream has come to its end");
            out.sessions.reach_end(id);
            out.sessions.dismiss(out.context, id, goodbye);
        }
    }

    /// A session that is being sent to. Nothing ends it before its visit is over.
    fn session(&self, id: SessionId) -> &Session {
        self.serving.out.sessions.there(id)
    }

    /// Sends every subscription of a session something, from another one on in each turn, so that none is always
    /// behind the others.
    fn flush_subscriptions(&mut self, id: SessionId) -> SendProgress {
        let session = self.session(id);
        match session.stage() {
            Stage::Open => {}
            // The session is served no more; its catch-ups may serve others.
            Stage::Leaving => return SendProgress::Blocked,
            _ => return SendProgress::Done,
        }
        let count = session.subscriptions().len();
        let first = self.serving.out.context.turns;
        let mut more = false;
        for index in 0..count {
            let index = first.wrapping_add(index) % count;
            let session = self.session(id);
            let out = &self.serving.out;
            let is_much = out.sent >= VISIT_BYTES
                || out.rendering.has_rendered(VISIT_BYTES)
                || self.serving.catchups.steps() >= VISIT_STEPS;
            // The rest of a record leaves before anything else, and one visit does not serve all topics.
            if session.tail().is_some() || is_much {
                more = true;
                break;
            }
            let subscription = session.subscriptions().as_slice()[index];
            match self.deliver(id, subscription) {
                SendProgress::Done => {}
                SendProgress::More => more = true,
                end @ (SendProgress::Blocked | SendProgress::Gone) => return end,
            }
        }
        if more {
            SendProgress::More
        } else {
            SendProgress::Done
        }
    }

    /// Sends one subscription what it has to get, outside the topic's walk.
    fn deliver(&mut self, id: SessionId, place: SubscriptionRef) -> SendProgress {
        let serving = &mut self.serving;
        let topic = serving.out.feeds.subscribed(place.topic);
        let subscription = *topic.audience.at(place.slot as usize);
        match subscription.delivery() {
            Delivery::Pending(_) => SendProgress::Done,
            Delivery::CatchingUp(catchup) => serving.go_on(catchup),
            Delivery::Live if !topic.is_behind(subscription.cursor) => SendProgress::Done,
            Delivery::Live => {
                let mut chain = std::mem::take(serving.chain);
                let cursor = subscription.cursor;
                let out = &mut serving.out;
                let until = out.sessions.end_of(id);
                let built = out.build_from_window(&mut chain, place.topic, (cursor, until));
                let progress = if built {
                    serving.out.send_one(id, place, &chain)
                } else {
                    serving.begin(id, place)
                };
                chain.clear();
                *serving.chain = chain;
                progress
            }
        }
    }

    /// Sends the rest of a record of which the socket has taken a part.
    fn flush_tail(&mut self, id: SessionId) -> SendProgress {
        let session = self.session(id);
        if session.is_blocked() {
            return SendProgress::Blocked;
        }
        let Some(tail) = session.tail() else {
            return SendProgress::Done;
        };
        if !session.form().is_native() {
            return self.flush_rendered(id, tail);
        }
        let is_framed = session.form().style.is_framed();
        let read = self
            .serving
            .out
            .logs
            .read(tail.log(), tail.position(), tail.size());
        match read {
            Ok(Read::Ready(bytes)) if is_framed && !self.is_run(id, tail, &bytes) => {
                let out = &mut self.serving.out;
                out.sessions.end(out.context, id, Reason::Dropped);
                SendProgress::Blocked
            }
            Ok(Read::Ready(bytes)) => {
                let header = is_framed.then(|| RunHeader::new(Opcode::Binary, bytes.len()));
                let header = header.as_ref().map_or(&[][..], RunHeader::as_bytes);
                self.send_tail(id, tail, (header, &bytes))
            }
            Ok(Read::Cold(cold)) => {
                self.serving.warm_for_tail(id, cold);
                SendProgress::Blocked
            }
            Err(ReadError::Dropped | ReadError::Damaged | ReadError::Unreadable) => {
                self.serving
                    .out
                    .sessions
                    .end(self.serving.out.context, id, Reason::Dropped);
                SendProgress::Blocked
            }
        }
    }

    /// Whether bytes are the run of records that is half out. After a misdirected write whole records may lie in the place of
    /// others, and a record of another topic is not for this subscriber.
    fn is_run(&mut self, id: SessionId, tail: RecordTail, bytes: &[u8]) -> bool {
        let out = &mut self.serving.out;
        if !out.logs.reader(tail.log()).is_doubtful(tail.position()) {
            return true;
        }
        let session = out.sessions.there(id);
        let Some(first) = front(bytes) else {
            return false;
        };
        let topic = out.feeds.find(first.topic(), session.form());
        let place = topic.and_then(|topic| session.subscriptions().find(topic));
        // The cursor stands behind what is half out.
        let Some(end) = place.map(|place| out.feeds.cursor(place)) else {
            return false;
        };
        let (mut rest, mut next) = (bytes, first.offset());
        while let Some(record) = front(rest) {
            if (record.topic(), record.offset()) != (first.topic(), next) {
                return false;
            }
            next = next.plus(record.count().into());
            rest = &rest[record.bytes().len()..];
        }
        rest.is_empty() && next == end
    }

    /// Sends the rest of a record in another form, which is rendered again if it is not kept.
    fn flush_rendered(&mut self, id: SessionId, tail: RecordTail) -> SendProgress {
        let out = &mut self.serving.out;
        let (feeds, session) = (&*out.feeds, out.sessions.there(id));
        let form = session.form();
        let is_it = |record: &Record<'_>| {
            let topic = feeds.find(record.topic(), form);
            let place = topic.and_then(|topic| session.subscriptions().find(topic));
            // The cursor stands behind what is half out.
            let end = record.offset().plus(tail.part().end.into());
            place.is_some_and(|place| feeds.cursor(place) == end)
        };
        let means = (&mut *out.logs, out.context.metrics());
        match out.rendering.again(means, &tail, (form, &is_it)) {
            Ok(bytes) => {
                let session = out.sessions.there_mut(id);
                let off = planted(Bug::RenditionOffAtACut) && tail.sent as usize + 1 < bytes.len();
                let Some(rest) = bytes.get(tail.sent as usize + usize::from(off)..) else {
                    out.sessions.end(out.context, id, Reason::Dropped);
                    return SendProgress::Blocked; // The record is not what it was.
                };
                let sent = send(out.net, session, &[IoSlice::new(rest)], rest.len());
                self.note_tail_sent(id, tail, (sent, rest.len()))
            }
            Err(Broken::Cold(cold)) => {
                self.serving.warm_for_tail(id, cold);
                SendProgress::Blocked
            }
            Err(Broken::Dropped | Broken::Damaged) => {
                out.sessions.end(out.context, id, Reason::Dropped);
                SendProgress::Blocked
            }
        }
    }

    /// Sends the rest of a record, or of a run that is a message with the header in front of it.
    fn send_tail(
        &mut self,
        id: SessionId,
        tail: RecordTail,
        (header, bytes): (&[u8], &[u8]),
    ) -> SendProgress {
        let sent = tail.sent as usize;
        let header_left = header.get(sent..).unwrap_or_default();
        let is_off = !header.is_empty() && planted(Bug::HeaderUncounted);
        let out = match is_off {
            true => sent.min(bytes.len()),
            false => sent.saturating_sub(header.len()),
        };
        let rest = &bytes[out..];
        let total = header_left.len() + rest.len();
        let sent = match header {
            [_, ..] if rest.len() >= SENDFILE_BYTES_MIN => {
                self.send_rest_from_file(id, tail, (header_left, out, rest))
            }
            _ => self.send_rest(id, (header_left, rest)),
        };
        let done = sent == Sent::Bytes(total);
        let reader = self.serving.out.logs.reader(tail.log());
        if !done && lacks_bytes(reader, tail.position(), bytes.len()) {
            self.serving
                .out
                .sessions
                .end(self.serving.out.context, id, Reason::Dropped);
            return SendProgress::Blocked;
        }
        self.note_tail_sent(id, tail, (sent, total))
    }

    fn send_rest(&mut self, id: SessionId, (header, bytes): (&[u8], &[u8])) -> Sent {
        let out = &mut self.serving.out;
        let session = out.sessions.there_mut(id);
        let parts = [IoSlice::new(header), IoSlice::new(bytes)];
        let parts = match header {
            [] => &parts[1..],
            _ => &parts,
        };
        send(out.net, session, parts, header.len() + bytes.len())
    }

    /// Sends the rest of a large run by `sendfile`, beginning `from` bytes behind its start; from the map where its file cannot be
    /// had.
    fn send_rest_from_file(
        &mut self,
        id: SessionId,
        tail: RecordTail,
        (header, from, bytes): (&[u8], usize, &[u8]),
    ) -> Sent {
        let out = &mut self.serving.out;
        let now_ms = out.context.now.monotonic_ms;
        let range = out
            .logs
            .file_range(tail.log(), tail.position(), tail.size(), now_ms);
        let Some((file, offset)) = range else {
            return self.send_rest(id, (header, bytes));
        };
        let session = out.sessions.there_mut(id);
        let range = ((file, offset + from as u64), bytes.len());
        let sent = send_range(out.net, session.socket(), header, range);
        let is_unreadable = sent.1 == Stop::Unreadable;
        let sent = taken(session, sent);
        // Nothing comes behind the end of a file: the next read reports that.
        if is_unreadable {
            out.logs.reader(tail.log()).give_up(tail.position());
        }
        sent
    }

    /// Notes that the socket has taken `size` of the `total` bytes that were left of a record.
    fn note_tail_sent(
        &mut self,
        id: SessionId,
        mut tail: RecordTail,
        (sent, total): (Sent, usize),
    ) -> SendProgress {
        let Sent::Bytes(size) = sent else {
            return SendProgress::Gone;
        };
        let session = self.serving.out.sessions.there_mut(id);
        let (done, blocked) = (size == total, session.is_blocked());
        tail.sent += u32::try_from(size).expect("a part of a record is smaller than the record");
        session.set_tail((!done).then_some(tail));
        if done {
            self.serving.out.sessions.resume(id);
        }
        let metrics = self.serving.out.context.metrics();
        metrics.sends.add(1);
        metrics.bytes_out.add(size as u64);
        self.serving.out.sent += size;
        match (done, blocked) {
            (true, _) => SendProgress::Done,
            (false, true) => SendProgress::Blocked,
            (false, false) => SendProgress::More,
        }
    }

    fn flush_control(&mut self, id: SessionId) -> SendProgress {
        let session = self.serving.out.sessions.there_mut(id);
        let Some(rest) = session.control() else {
            return SendProgress::Done; // There are no control frames.
        };
        let (total, socket) = (rest.len(), session.socket());
        let net = &mut *self.serving.out.net;
        let out = send_all(total, |sent| {
            net.send(socket, &[IoSlice::new(&rest[sent..])])
        });
        let Sent::Bytes(size) = taken(session, out) else {
            return SendProgress::Gone;
        };
        if size < total {
            session.note_control_sent(size, self.serving.out.context.now.monotonic_ms);
            return match session.is_blocked() {
                true => SendProgress::Blocked,
                false => SendProgress::More,
            };
        }
        let closing = session.stage() == Stage::Closing;
        self.serving.out.sessions.empty_outgoing(id);
        if !planted(Bug::ForgetsToResume) {
            self.serving.out.sessions.resume(id);
        }
        if closing {
            if self.serving.out.net.shutdown(socket).is_err() {
                return SendProgress::Gone;
            }
            self.serving.out.sessions.linger(id);
        }
        SendProgress::Done
    }
}

/// The record at the front of `bytes`.
fn front(bytes: &[u8]) -> Option<Record<'_>> {
    let size = size_of_record(bytes)?;
    Record::trusted(bytes.get(..size as usize)?)
}

#[cfg(test)]
mod tests;
