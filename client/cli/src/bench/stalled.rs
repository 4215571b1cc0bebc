//! Subscribers that stop reading, while others go on: what they cost the server, and what they cost the others.
//!
//! They have a topic of their own. At first they read, and one record comes. Then they stop, so many records are
//! published to them that the kernel's buffers are full, and further records trickle in while the others are measured.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::board::Board;
use super::crowd::Crowd;
use super::memory::{self, Moment};
use super::options::{Content, at_least_one, rate};
use super::publishers::{DEPTH_PACED, End, Gate, Load};
use super::report::{Report, Unit};
use super::stage::{Publishing, Stage};
use crate::duration;
use crate::failure::Failure;
use crate::output::grouped;
use crate::say::say;

/// Receive buffer of subscribers that stop reading: the kernel raises it to its minimum.
const RECEIVE_BYTES: u32 = 1;
/// Bytes of a message to them, and how many messages are on their way at once.
const MESSAGE_BYTES: usize = 4_096;
const DEPTH: usize = 64;
/// Longest time until the kernel's buffers are as full as they get: that of the machine, and that of each connection. A
/// server that fills 10,000 a second is a slow one.
const FILL_MAX: Duration = Duration::from_millis(500);
const FILL_EACH_MAX: Duration = Duration::from_micros(100);

/// Arguments about subscribers that stop reading.
#[derive(Clone, Debug, Args)]
pub(crate) struct StalledOptions {
    /// Connections, out of all, that subscribe to a topic of their own and stop reading it; all is measured before
    /// and after they stop
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) stalled: usize,

    /// Records of 4 KiB to publish to them when they stop; give more than the kernel's buffers hold
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = at_least_one)]
    pub(crate) stalled_records: usize,

    /// Time from when they stop reading until the measurement begins
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration::parse)]
    pub(crate) stalled_for: Duration,

    /// Records per second to publish to them from then on
    #[arg(long, value_name = "N", default_value = "1", value_parser = rate)]
    pub(crate) stalled_rate: f64,
}

/// The crowd, and memory around the moment when it stopped reading.
pub(crate) struct Stalled {
    options: StalledOptions,
    /// Number of its topic among those of the target.
    topic: usize,
    crowd: Crowd,
    board: Arc<Board>,
    memory: Option<Around>,
}

#[derive(Clone, Copy)]
struct Around {
    before: Moment,
    full: Moment,
}

impl StalledOptions {
    /// How many of `connections` go on reading, which must be `least`.
    pub(crate) fn readers(&self, connections: usize, least: usize) -> Result<usize, Failure> {
        connections
            .checked_sub(self.stalled)
            .filter(|readers| *readers >= least)
            .ok_or_else(|| {
                Failure::Usage(format!(
                    "{} of {} connections cannot stop reading (--stalled)",
                    grouped(self.stalled as u64),
                    grouped(connections as u64)
                ))
            })
    }

    /// Number of topics that they need.
    pub(crate) fn topics(&self) -> usize {
        usize::from(self.stalled > 0)
    }

    /// Connects them, if there are any; they read for now.
    pub(crate) fn gather(&self, stage: &Stage, topic: usize) -> Result<Option<Stalled>, Failure> {
        if self.stalled == 0 {
            return Ok(None);
        }
        let spread = stage.spread(self.stalled, 1);
        let board = Arc::new(Board::new(1, 1, &spread, stage.waker));
        let mut audience = stage.audience(&spread, topic, false);
        audience.receive_buffer = Some(RECEIVE_BYTES);
        let stalled = Stalled {
            options: self.clone(),
            topic,
            crowd: stage.gather_audience(audience, &board)?,
            board,
            memory: None,
        };
        // By then the server has allocated what it needs for the topic itself.
        let load = stalled.load(Gate::Answers, End::Count(1), 1);
        stage.broadcast(&stalled.crowd, &stalled.board, &content(), load)?;
        Ok(Some(stalled))
    }
}

impl Stalled {
    /// Returns what `measure` finds after they have stopped reading, while records for them go on. The records begin
    /// when `measure` calls its argument.
    pub(crate) fn measure<T>(
        &mut self,
        stage: &Stage,
        time: Duration,
        measure: impl FnOnce(&mut dyn FnMut() -> Result<(), Failure>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut trickle = None;
        let measured = measure(&mut || {
            self.stop_reading(stage)?;
            trickle = Some(self.trickle(stage, time)?);
            Ok(())
        })?;
        if let Some(trickle) = trickle {
            stage.finish(trickle, &[])?;
        }
        Ok(measured)
    }

    /// From here on they do not read, and the kernel's buffers are full of what they do not read.
    fn stop_reading(&mut self, stage: &Stage) -> Result<(), Failure> {
        let before = stage.moment()?;
        self.crowd.stop_reading();
        let load = self.load(
            Gate::Answers,
            End::Count(self.options.stalled_records),
            DEPTH,
        );
        let (publishers, _) = stage.publishers(&content(), load, &self.board)?;
        stage.finish(Publishing::begin(publishers), &[&self.crowd])?;
        let count = u32::try_from(self.options.stalled).unwrap_or(u32::MAX);
        memory::settle_buffers(FILL_MAX + FILL_EACH_MAX * count);
        let full = stage.moment()?;
        self.memory = Some(Around { before, full });
        let kept = kept_each(&full, &before, self.options.stalled);
        if kept.is_some_and(|kept| kept >= self.published_each()) {
            say(
                "oyez bench: the kernel's buffers hold all that was not read, so that no subscriber is behind; \
                 lower the broker's send_buffer_bytes or publish more (--stalled-records)",
            );
        }
        // The kernel probes a peer that does not read again and again, less and less often.
        stage.hold(self.options.stalled_for, &[&self.crowd])
    }

    /// Publishes to them for `time`, though they do not read.
    fn trickle(&self, stage: &Stage, time: Duration) -> Result<Publishing, Failure> {
        let gate = Gate::PerSecond(self.options.stalled_rate);
        let load = self.load(gate, End::After(time), DEPTH_PACED);
        let (publishers, _) = stage.publishers(&content(), load, &self.board)?;
        Ok(Publishing::begin(publishers))
    }

    /// Says what they cost, until `end`; the server's memory had grown by `before_bytes` under the same load when they
    /// still read.
    pub(crate) fn report(&self, report: &mut Report, before_bytes: Option<i64>, end: &Moment) {
        let count = self.options.stalled;
        report
            .parameter("stalled", count)
            .parameter("stalled_records", self.options.stalled_records)
            .parameter("stalled_for_s", self.options.stalled_for.as_secs_f64())
            .parameter("stalled_records_per_s", self.options.stalled_rate)
            .parameter("stalled_message_bytes", MESSAGE_BYTES);
        let Some(Around { before, full }) = self.memory else {
            return;
        };
        let user = |end: &Moment| end.since(&before, count).server_user;
        let grown = [
            ("server_user_grown_before_the_stall", before_bytes),
            ("server_user_grown_by_the_stall", user(&full)),
            ("server_user_grown_until_the_end", user(end)),
        ];
        for (name, bytes) in grown {
            if let Some(bytes) = bytes {
                report.figure(name, bytes as f64, Unit::Bytes);
            }
        }
        let kept = kept_each(&full, &before, count);
        report.figure("stalled_published_each", self.published_each(), Unit::Bytes);
        if let Some(kept) = kept {
            report.figure("stalled_in_the_kernel_each", kept, Unit::Bytes);
        }
    }

    /// What went wrong with them, and their end.
    pub(crate) fn dismiss(self) -> Result<(), Failure> {
        let trouble = self.crowd.trouble();
        drop(self.crowd.dismiss());
        match trouble {
            Some(trouble) => Err(Failure::Failed(format!("the bench has failed: {trouble}"))),
            None => Ok(()),
        }
    }

    fn load(&self, gate: Gate, end: End, depth: usize) -> Load {
        Load {
            connections: 1,
            topic: self.topic,
            depth,
            gate,
            end,
        }
    }

    /// Payload bytes that were published to each when they stopped.
    fn published_each(&self) -> f64 {
        (self.options.stalled_records * MESSAGE_BYTES) as f64
    }
}

/// Bytes that the kernel keeps for each, of what was sent to it, where they can be told from those of others.
fn kept_each(full: &Moment, before: &Moment, count: usize) -> Option<f64> {
    let growth = full.since(before, count);
    growth.each(growth.kernel_socket_buffers)
}

/// What they do not read: messages that compression does not make smaller.
fn content() -> Content {
    Content {
        corpus: None,
        size: MESSAGE_BYTES,
        batch: 1,
        no_compress: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_connections_must_go_on_reading() {
        let options = |stalled| StalledOptions {
            stalled,
            stalled_records: 1,
            stalled_for: Duration::ZERO,
            stalled_rate: 1.0,
        };
        assert_eq!(options(0).readers(10, 1).ok(), Some(10));
        assert_eq!(options(9).readers(10, 1).ok(), Some(1));
        assert_eq!(options(10).readers(10, 0).ok(), Some(0));
        assert!(options(10).readers(10, 1).is_err() && options(11).readers(10, 0).is_err());
        assert_eq!((options(0).topics(), options(3).topics()), (0, 1));
    }
}
