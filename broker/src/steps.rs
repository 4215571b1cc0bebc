//! Steps of the turn, with the parts that they need and when they are due, where that takes more than a line.

use crate::error::ShardError;
use crate::lend::Parts;
use crate::parts::due::Due;
use crate::turn::fanout::walk_topics;
use crate::turn::hold::release_due;
use crate::turn::lag;
use crate::turn::publish::deliver_acks;
use crate::turn::pump::pump;
use crate::turn::query::{add_topics, tell_topics};
use crate::turn::room::make_room;

impl Parts {
    /// The time of the turn, by the monotonic clock.
    pub(crate) const fn now_ms(&self) -> u64 {
        self.context.now.monotonic_ms
    }

    /// Lets paused sessions try again when room has become free.
    pub(crate) fn try_paused(&mut self) {
        let now_ms = self.now_ms();
        self.freed.note(self.questions.allowance.pass(now_ms));
        self.freed.note(self.outbox.has_room_again());
        if self.freed.take() {
            self.sessions.try_paused();
        }
    }

    pub(crate) fn paused_due(&self) -> Due {
        let waits = self.sessions.has_paused() || self.publishes.has_stalled();
        let questions = Due::after(self.now_ms(), self.questions.allowance.wait_ms());
        Due::now_if(waits && self.freed.is_noted()).min(questions)
    }

    /// Reads own sessions, and takes records that other shards have handed over. Which of the two comes first alternates, so that
    /// neither own publishers nor those of other shards take all the room of a log that is short of it.
    pub(crate) fn read(&mut self) {
        let own_first = self.context.turns.is_multiple_of(2);
        if own_first {
            self.reading().run();
        }
        self.publishing().take_publishes();
        if !own_first {
            self.reading().run();
        }
    }

    pub(crate) fn read_due(&self) -> Due {
        let handed_over = self.publishes.has_left() && !self.publishes.is_full();
        let retries = self.publishes.has_unretried();
        Due::now_if(handed_over || retries || self.sessions.has_some_to_read())
    }

    /// Lets the store work.
    ///
    /// # Errors
    /// When a log is poisoned.
    pub(crate) fn pump(&mut self) -> Result<(), ShardError> {
        let mut progress = pump(&self.context, &mut self.logs, &mut self.outbox)?;
        let frees = self.publishing().take_progress(&progress);
        self.freed.note(frees);
        for (token, outcome) in progress.populated.drain(..) {
            self.serving().populated(token, outcome);
        }
        self.logs.keep_progress(progress);
        Ok(())
    }

    pub(crate) fn pump_due(&self) -> Due {
        let unsettled = Due::now_if(self.publishes.has_unsettled());
        unsettled.min(self.logs.store_due())
    }

    /// Goes on with answers to questions about the broker.
    pub(crate) fn answer_questions(&mut self) {
        let (context, sessions, questions) =
            (&self.context, &mut self.sessions, &mut self.questions);
        let seen = (&*sessions, &self.feeds, &*self.net);
        for counted in lag::measure(context, &mut questions.lag, seen, &mut self.outbox) {
            let frees = lag::add(context, &mut questions.lag, sessions, counted);
            self.freed.note(frees);
        }
        let listings = &mut questions.listings;
        for page in tell_topics(context, listings, &mut self.logs, &mut self.outbox) {
            self.freed
                .note(add_topics(context, listings, sessions, page));
        }
    }

    /// Sends the messages for other shards, and hands all operations to the disk.
    ///
    /// # Errors
    /// When the kernel does not take the operations.
    pub(crate) fn submit(&mut self) -> Result<(), ShardError> {
        let net = &mut self.net;
        self.outbox.finish_turn(|shard| net.wake(shard));
        let in_storage_us = self.logs.finish_turn().map_err(ShardError::Submit)?;
        self.context.metrics().storage_us.record(in_storage_us);
        Ok(())
    }

    /// Ends stalled sessions that hold too much memory.
    pub(crate) fn make_room(&mut self) {
        self.freed
            .note(make_room(&self.context, &mut self.sessions));
    }

    pub(crate) fn walk(&mut self) {
        let (mut out, batch, chain) = self.way_out();
        walk_topics(&mut out, batch, chain);
    }

    pub(crate) fn deliver_acks(&mut self) {
        deliver_acks(&self.context, &mut self.sessions, &mut self.publishes);
    }

    pub(crate) fn release_held(&mut self) {
        release_due(&self.context, &mut self.sessions, &mut self.held);
    }

    /// Logs how many lines were held back.
    pub(crate) fn tell_held_back(&mut self) {
        let (context, now_ms) = (&self.context, self.now_ms());
        context
            .lines
            .tell_held_back(context.id, &context.shared.config, now_ms);
    }

    /// Keeps the machine's cores awake, or lets them sleep again.
    pub(crate) fn keep_awake(&mut self) {
        let awake_ms = self.awake.keep_up(self.now_ms());
        self.context.metrics().awake_ms.add(awake_ms);
    }
}
