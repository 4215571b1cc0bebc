//! Sessions over WebSocket: how a session becomes one, and how it is read. The framing of WebSocket is taken off first, and what
//! is left is read like any other input: frames, or lines of JSON. A session keeps framing only within a message.

use oyez_protocol::event::GoodbyeCode;

use crate::dialect::command::{DecodeProgress, Dialect};
use crate::dialect::http::{self, Upgrade};
use crate::dialect::websocket::unframe::Unframing;
use crate::dialect::websocket::{self, Heard, hear};
use crate::parts::budget::{ENCODED_BYTES, PIECE_STEPS, REQUEST_STEPS};
use crate::parts::command_handler::CommandHandler;
use crate::parts::ending::{Closing, Reason};
use crate::parts::handled::{Handled, Until};
use crate::parts::partial::Partial;
use crate::parts::patience::PINGED_MS;
use crate::parts::session::{SessionId, Stage, Window};
use crate::turn::read::{Reading, Step, Visit};

impl<T: CommandHandler> Reading<'_, T> {
    /// Makes a session one over WebSocket. It takes the command in `says` first if its request has asked for that.
    pub(super) fn upgrade(
        &mut self,
        id: SessionId,
        upgrade: &Upgrade,
        says: &[u8],
        size: usize,
    ) -> Step {
        // The outcome of a record that no request waits for would otherwise go to the session over WebSocket.
        if self.sessions.there(id).has_publishes() {
            return Step::Stop(Visit::Waiting(Until::Answered), size);
        }
        self.sessions
            .control(self.context, id, |out| http::switch(upgrade, out));
        let metrics = self.context.metrics();
        metrics.requests.add(1);
        let session = self.sessions.there_mut(id);
        let was_open = session.upgrade(upgrade.dialect, self.context.tick());
        if was_open {
            metrics.sessions.subtract(1);
        }
        if upgrade.dialect == Dialect::Json {
            session.open(PINGED_MS.min(self.context.shared.config.heartbeat_ms));
            metrics.sessions.add(1);
        }
        match says {
            [] => Step::Went(size),
            says => Step::Last(size, self.consume_read(id, says)),
        }
    }

    /// What has to come before a session over WebSocket is read; `None` if nothing has to.
    pub(super) fn before_messages(&mut self, id: SessionId) -> Option<Visit> {
        let session = self.sessions.there(id);
        if !session.stage().is_heard() {
            return None;
        }
        if let Some(closing) = self.sessions.closing(id) {
            return Some(self.close(id, closing));
        }
        // WebSocket's own replies are made without another check of the room for output.
        self.sessions.waits_for_output(id).map(Visit::Waiting)
    }

    /// Ends a session whose peer has closed, or has to be closed; all that it sent before is taken.
    fn close(&mut self, id: SessionId, closing: Closing) -> Visit {
        match closing.fault {
            None => {
                let why = ("the client has closed", Reason::PeerDone);
                self.sessions.leave(self.context, id, why);
            }
            Some(reason) => {
                let code = GoodbyeCode::BadFrame;
                self.sessions.refuse(self.context, id, code, reason);
            }
        }
        Visit::Over
    }

    /// Takes the framing of WebSocket off what was read of a session, and then takes what the messages hold.
    pub(super) fn take_messages(
        &mut self,
        id: SessionId,
        partial: Option<Box<Partial>>,
        input: &[u8],
    ) -> Visit {
        let mut scratch = std::mem::take(self.messages);
        let visit = self.take_messages_in(&mut scratch, id, partial, input);
        *self.messages = scratch;
        visit
    }

    fn take_messages_in(
        &mut self,
        scratch: &mut websocket::Scratch,
        id: SessionId,
        mut partial: Option<Box<Partial>>,
        input: &[u8],
    ) -> Visit {
        let websocket::Scratch {
            plain,
            answers,
            state: at_rest,
        } = scratch;
        plain.clear();
        answers.clear();
        let begun = partial.as_mut().and_then(|partial| {
            let framing = partial.framing.take()?;
            Some((framing, partial.begun_tick))
        });
        let (mut state, begun_tick) =
            begun.unwrap_or_else(|| (at_rest.take().unwrap_or_default(), self.context.tick()));
        let how = (
            self.sessions.there(id).dialect(),
            self.context.shared.rules.body_size_max(),
        );
        let heard = hear(&mut state, input, how, (plain, answers));
        self.budget.spend(heard.pieces * PIECE_STEPS, 0);
        let session = self.sessions.there_mut(id);
        if session.stage() == Stage::Open {
            session.note_life(self.context.tick());
        }
        if !answers.is_empty() {
            let answers = &answers[..];
            self.sessions
                .control(self.context, id, |out| out.extend_from_slice(answers));
        }
        // Input without content does not begin the wait anew: empty frames keep no message open.
        let begun_tick = match plain.is_empty() {
            true => begun_tick,
            false => self.context.tick(),
        };
        // A message that has begun may have brought nothing yet.
        let partial = partial.filter(|partial| !partial.bytes.is_empty());
        let visit = match partial {
            _ if plain.is_empty() => self.put_back(id, partial),
            None => self.consume_read(id, plain),
            Some(partial) => self.complete(id, partial, plain),
        };
        let visit = self.end_messages(id, heard, visit);
        if visit == Visit::Over || heard.closes.is_some() {
            return visit; // What comes behind does not count.
        }
        match state.is_at_rest() {
            true => *at_rest = Some(state),
            false => self.keep_message(id, (state, begun_tick)),
        }
        visit
    }

    /// Keeps what was kept before.
    fn put_back(&mut self, id: SessionId, partial: Option<Box<Partial>>) -> Visit {
        if let Some(partial) = partial {
            self.keep(id, partial);
        }
        Visit::More
    }

    /// Goes on with what WebSocket itself has said, after what was read is taken or kept.
    fn end_messages(&mut self, id: SessionId, heard: Heard, visit: Visit) -> Visit {
        let Some(code) = heard.closes.filter(|_| visit != Visit::Over) else {
            return visit;
        };
        let fault = heard.fault.map(|fault| fault.reason);
        let closing = Closing { code, fault };
        self.sessions.note_close(id, closing);
        match visit {
            Visit::More | Visit::Empty => self.close(id, closing),
            later => later,
        }
    }

    /// Keeps the state of a message that has begun and not ended.
    fn keep_message(&mut self, id: SessionId, (state, begun_tick): (Box<Unframing>, u32)) {
        let kept = self.sessions.there_mut(id).take_input();
        let mut partial = kept.unwrap_or_else(|| Box::new(Partial::new(Vec::new(), 1, begun_tick)));
        partial.framing = Some(state);
        self.keep(id, partial);
    }

    /// Keeps the state of a message whose rest is waited for, after all kept bytes of the session are taken.
    pub(super) fn keep_within(&mut self, id: SessionId, mut partial: Box<Partial>) {
        partial.bytes = Vec::new();
        partial.need = 1;
        partial.begun_tick = self.context.tick();
        partial.progress = DecodeProgress::default();
        self.keep(id, partial);
    }

    /// Takes a line of JSON.
    pub(super) fn take_line(
        &mut self,
        id: SessionId,
        input: &[u8],
        progress: &mut DecodeProgress,
    ) -> Step {
        let from = (progress.searched as usize).min(input.len());
        let end = input[from..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| from + end) else {
            progress.searched = u32::try_from(input.len()).expect("a line is short");
            return Step::Stop(Visit::More, input.len() + 1);
        };
        // A message that cannot be published yet is not compressed in vain.
        let config = &self.context.shared.config;
        let session = self.sessions.there(id);
        let window = session.window(config.inflight_records_max, config.inflight_bytes_max);
        if window == Window::Full {
            return Step::Stop(Visit::Waiting(Until::Answered), end + 1);
        }
        self.budget.spend(REQUEST_STEPS + end / ENCODED_BYTES, 0);
        let mut scratch = std::mem::take(self.scratch);
        let rules = &self.context.shared.rules;
        let (command, encoded) = websocket::decode(&input[..end], rules, &mut scratch);
        self.pay_for_encoding(1, encoded);
        let handled = self.take(id, command);
        *self.scratch = scratch;
        match handled {
            Handled::Done => {
                *progress = DecodeProgress::default();
                Step::Went(end + 1)
            }
            Handled::Later(until) => Step::Stop(Visit::Waiting(until), end + 1),
            Handled::Over => Step::Stop(Visit::Over, 0),
        }
    }
}

#[cfg(test)]
mod tests;
