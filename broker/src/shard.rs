//! One shard: a thread and all it owns. This file is the turn; what happens in each step is in the file of its noun.

use crate::clock::Clock;
use crate::error::ShardError;
use crate::lend::{Parts, ShardInit};
use crate::measure::turn_cpu::TurnCpu;
use crate::net::Event;
use crate::parts::due::Due;
use crate::parts::session::SessionId;
use crate::turn::fanout::take_news;
use crate::turn::notice::note_readiness;

/// A step of the turn: what it does, and when it is due again.
enum Step {
    Does(fn(&mut Parts), fn(&Parts) -> Due),
    /// The shard ends when it fails.
    Tries(fn(&mut Parts) -> Result<(), ShardError>, fn(&Parts) -> Due),
}

/// The turn: every step once, in the order that makes one submission to the disk and one wake-up of each other shard
/// enough.
const TURN: [Step; 21] = [
    // The shutdown, once it was asked for.
    Step::Tries(Parts::follow_phase, |parts| parts.drain.due(parts.now_ms())),
    // Connections that have come.
    Step::Does(
        |parts| parts.accepting().run(),
        |parts| parts.arrivals.due(parts.now_ms()),
    ),
    // Input of sessions and other shards; first, sessions and records that wait for room that has become free.
    Step::Does(Parts::try_paused, Parts::paused_due),
    Step::Does(Parts::read, Parts::read_due),
    Step::Does(
        |parts| parts.outbox.send_parcels(),
        |parts| parts.outbox.due(parts.now_ms()),
    ),
    Step::Does(Parts::hear, |parts| {
        Due::now_if(parts.inbox.has_messages_left())
    }),
    // Memory of sessions that have stalled.
    Step::Does(Parts::make_room, |parts| {
        Due::now_if(parts.sessions.room.has_some_again())
    }),
    // The store.
    Step::Tries(Parts::pump, Parts::pump_due),
    Step::Does(
        |parts| parts.logs.close_idle_files(parts.now_ms()),
        |parts| parts.logs.files_due(),
    ),
    // Sessions that may be silent.
    Step::Does(
        |parts| parts.watch().fire(),
        |parts| parts.timers.due(parts.now_ms()),
    ),
    // Records that have become visible.
    Step::Does(
        |parts| take_news(&mut parts.feeds, &mut parts.logs),
        |parts| Due::now_if(parts.logs.have_news()),
    ),
    Step::Does(Parts::walk, |parts| Due::now_if(parts.feeds.have_news())),
    // Outcomes of publishes, before the Goodbye to sessions that wait for nothing else.
    Step::Does(Parts::deliver_acks, |_| Due::Idle),
    // Sessions that are over.
    Step::Does(
        |parts| parts.endings().run(),
        |parts| Due::now_if(parts.sessions.has_some_to_end()),
    ),
    // Replies and records to sessions beside the walks.
    Step::Does(
        |parts| parts.catchups.start_waiting(&mut parts.sessions),
        |parts| Due::now_if(parts.catchups.can_start()),
    ),
    Step::Does(Parts::release_held, |parts| parts.held.due()),
    Step::Does(
        |parts| parts.flushing().run(),
        |parts| Due::now_if(parts.sessions.count_to_send() > 0),
    ),
    Step::Does(Parts::answer_questions, |parts| parts.questions.due()),
    // Messages to other shards, and operations for the disk.
    Step::Tries(Parts::submit, |_| Due::Idle),
    Step::Does(Parts::keep_awake, |parts| parts.awake.due()),
    // The sums of log lines that were held back.
    Step::Does(Parts::tell_held_back, |parts| parts.context.lines.due()),
];

/// A shard. Not `Send`: its descriptors are numbers in its thread's own table.
pub(crate) struct Shard {
    clock: Box<dyn Clock>,
    pub(crate) parts: Parts,
    turn_cpu: TurnCpu,
    events: Vec<Event>,
}

impl Shard {
    pub(crate) fn new(init: ShardInit, mut clock: Box<dyn Clock>) -> Self {
        Self {
            parts: Parts::new(init, clock.now()),
            clock,
            turn_cpu: TurnCpu::default(),
            events: Vec::new(),
        }
    }

    /// Runs turns until the broker stops.
    ///
    /// # Errors
    /// When the shard cannot go on: a log is poisoned, or the kernel refuses to wait or to write. The process ends.
    pub(crate) fn run(mut self) -> Result<(), ShardError> {
        let mut due = Due::Now;
        while !self.parts.drain.is_over() {
            self.begin_turn(due)?;
            due = self.turn()?;
        }
        self.parts.close()
    }

    /// Waits until a step is due or an event comes, reads the clock, and notes the events.
    pub(crate) fn begin_turn(&mut self, due: Due) -> Result<(), ShardError> {
        let parts = &mut self.parts;
        let wait = due.wait(parts.context.now.monotonic_ms);
        let polled = parts.net.poll(wait, &mut self.events);
        polled.map_err(ShardError::Poll)?;
        parts.context.now = self.clock.now();
        for event in self.events.drain(..) {
            match event {
                Event::Arrivals => parts.arrivals.came(),
                Event::Socket(token, readiness) => {
                    let (tick, id) = (parts.context.tick(), SessionId::from_token(token));
                    note_readiness(&mut parts.sessions, id, tick, readiness);
                }
            }
        }
        Ok(())
    }

    /// Runs each step once: everything between two waits. Returns when the first step is due again.
    pub(crate) fn turn(&mut self) -> Result<Due, ShardError> {
        for step in &TURN {
            match step {
                Step::Does(run, _) => run(&mut self.parts),
                Step::Tries(run, _) => run(&mut self.parts)?,
            }
        }
        self.count_turn();
        // Only after all steps, since a step may have left work to those before it.
        let mut next = Due::Idle;
        for Step::Does(_, due) | Step::Tries(_, due) in &TURN {
            next = next.min(due(&self.parts));
            if next == Due::Now {
                break;
            }
        }
        Ok(next)
    }

    /// Counts a turn that is over, and how long it took.
    fn count_turn(&mut self) {
        let parts = &mut self.parts;
        parts.context.turns += 1;
        let took_us = self.clock.elapsed_us() - parts.context.now.monotonic_us;
        let cpu_us = self.turn_cpu.finish_turn(took_us, &mut *self.clock);
        let metrics = parts.context.metrics();
        metrics.turns.add(1);
        metrics.turn_us.record(took_us);
        let waiting_since_us = parts.publishes.waiting_since_us().unwrap_or(0);
        metrics.waiting_since_us.set(waiting_since_us);
        if let Some(cpu_us) = cpu_us {
            let longest = metrics.turn_cpu_us_max.get();
            metrics.turn_cpu_us_max.set(longest.max(cpu_us));
        }
        let room = &parts.sessions.room;
        metrics.input_bytes.set(room.input.bytes() as u64);
        metrics.output_bytes.set(room.output.bytes() as u64);
        metrics.questions.set(parts.outbox.questions() as u64);
        metrics.rendition_bytes.set(parts.rendering.bytes() as u64);
    }
}

#[cfg(test)]
mod tests;
