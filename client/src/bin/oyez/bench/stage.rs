//! What every bench does around its own measurement: a target, crowds that gather, a deadline, a bar, a report.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::board::Board;
use super::composed::Composed;
use super::crowd::{Audience, Crowd};
use super::memory::Moment;
use super::options::{Common, Content, TargetName};
use super::progress::Progress;
use super::publishers::{Load, Published, PublisherState, Publishers};
use super::report::Report;
use super::spread::Spread;
use super::sys::bell::Bell;
use super::sys::table;
use super::target::Target;
use super::target::floor::FloorTarget;
use super::target::oyez::{OyezOptions, OyezTarget};
use crate::Shared;
use crate::failure::Failure;
use crate::output::{grouped, say};

/// Time between two looks at what the threads tell.
const LOOK: Duration = Duration::from_millis(5);

/// What a bench wants of its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) connections: usize,
    /// Topics that they are spread over.
    pub(crate) groups: usize,
    pub(crate) subscribe: bool,
    pub(crate) compress: bool,
}

/// A bench under way.
pub(crate) struct Stage {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) common: Common,
    pub(crate) bell: Bell,
    descriptors: usize,
    cores: usize,
    deadline: Instant,
}

/// Publishers at work in a thread of their own.
pub(crate) struct Publishing {
    pub(crate) state: Arc<PublisherState>,
    thread: JoinHandle<Result<Published, String>>,
}

impl Stage {
    pub(crate) fn set(shared: &Shared, common: &Common, wanted: Wanted) -> Result<Self, Failure> {
        let system = |error| Failure::io("cannot prepare the bench", &error);
        let deadline = Instant::now() + common.timeout;
        let options = OyezOptions {
            topic: common.topic.clone(),
            groups: wanted.groups,
            subscribe: wanted.subscribe,
            compress: wanted.compress,
            pid: common.pid,
        };
        let target: Arc<dyn Target> = match common.target {
            TargetName::Oyez => Arc::new(OyezTarget::new(shared, options)?),
            TargetName::Floor => Arc::new(FloorTarget::new(options, wanted.connections)?),
        };
        Ok(Self {
            target,
            common: common.clone(),
            bell: Bell::new().map_err(system)?,
            descriptors: table::limit().map_err(system)?,
            cores: std::thread::available_parallelism().map_err(system)?.get(),
            deadline,
        })
    }

    /// How so many connections and topics are spread over threads; says so when it takes more of them than cores.
    pub(crate) fn spread(&self, connections: usize, groups: usize) -> Spread {
        let spread = Spread::new(connections, groups, self.descriptors, self.cores);
        if spread.tables() > self.cores {
            say(&format!(
                "oyez: {} connections take {} threads with {} descriptors each (RLIMIT_NOFILE)",
                grouped(connections as u64),
                spread.tables(),
                grouped(self.descriptors as u64),
            ));
        }
        spread
    }

    /// Connects a crowd; its connections are numbered from `first` on.
    pub(crate) fn gather(
        &self,
        spread: &Spread,
        first: usize,
        decode: bool,
        board: &Arc<Board>,
    ) -> Result<Crowd, Failure> {
        let audience = Audience {
            spread: spread.clone(),
            first,
            outstanding: self.common.outstanding,
            receive_buffer: self.common.receive_buffer(spread.connections()),
            decode,
        };
        let crowd = Crowd::gather(audience, self.target.clone(), board.clone())?;
        self.await_ready(&crowd)?;
        self.await_accepted(first + crowd.size(), &crowd)?;
        Ok(crowd)
    }

    /// Waits until everybody is subscribed.
    pub(crate) fn await_ready(&self, crowd: &Crowd) -> Result<(), Failure> {
        let size = crowd.size() as u64;
        self.wait("subscribed", size, || crowd.ready() as u64, &[crowd], None)
    }

    /// Waits until a server that tells it has taken in so many connections since it started.
    pub(crate) fn await_accepted(&self, total: usize, crowd: &Crowd) -> Result<(), Failure> {
        let accepted = || self.target.accepted().map_err(Failure::Failed);
        if accepted()?.is_none() {
            return Ok(());
        }
        let mut now = 0;
        while now < total {
            now = accepted()?.unwrap_or(total);
            self.check("accepted", (now as u64, total as u64), &[crowd])?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Composes what `load` needs, and connects its publishers.
    pub(crate) fn publishers(
        &self,
        content: &Content,
        load: Load,
        board: &Arc<Board>,
    ) -> Result<(Publishers, f64), Failure> {
        let corpus = content.corpus()?;
        let count = match load.end {
            super::publishers::End::Count(count) => count,
            super::publishers::End::After(_) => usize::MAX,
        };
        let composed = Composed::new(
            &*self.target,
            &corpus,
            board.groups(),
            usize::from(content.batch),
            count,
        )?;
        let ratio = composed.ratio();
        Ok((
            Publishers::connect(self.target.clone(), board.clone(), composed, load)?,
            ratio,
        ))
    }

    /// Waits until `reached` is `total`, with a bar, unless time runs out or a crowd is in trouble.
    pub(crate) fn wait(
        &self,
        what: &'static str,
        total: u64,
        reached: impl Fn() -> u64,
        crowds: &[&Crowd],
        publishing: Option<&Publishing>,
    ) -> Result<(), Failure> {
        let bar = Progress::new(what, total);
        loop {
            let now = reached();
            bar.set(now);
            self.check(what, (now, total), crowds)?;
            if now >= total {
                return Ok(());
            }
            if publishing.is_some_and(Publishing::has_failed) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Holds everything as it is for `time`.
    pub(crate) fn hold(&self, time: Duration, crowds: &[&Crowd]) -> Result<(), Failure> {
        let started = Instant::now();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.wait("ms held", ms(time), || ms(started.elapsed()), crowds, None)
    }

    fn check(
        &self,
        what: &str,
        (now, total): (u64, u64),
        crowds: &[&Crowd],
    ) -> Result<(), Failure> {
        if let Some(trouble) = crowds.iter().find_map(|crowd| crowd.trouble()) {
            let progress = format!("{} of {} {what}", grouped(now), grouped(total));
            return Err(Failure::Failed(format!(
                "the bench has failed: {trouble} ({progress})"
            )));
        }
        if now < total && Instant::now() >= self.deadline {
            let seconds = self.common.timeout.as_secs_f64();
            return Err(Failure::Overdue(format!(
                "{} of {} {what} after {seconds} s (--timeout)",
                grouped(now),
                grouped(total)
            )));
        }
        Ok(())
    }

    /// Memory at this moment.
    pub(crate) fn moment(&self) -> Result<Moment, Failure> {
        Ok(Moment::new(self.target.memory().map_err(Failure::Failed)?))
    }

    /// Prints the report where it is wanted.
    pub(crate) fn publish(&self, report: &Report) -> Result<(), Failure> {
        report.print(self.common.output)?;
        if let Some(path) = &self.common.report {
            let failed = |error| Failure::io(&format!("cannot write {}", path.display()), &error);
            std::fs::write(path, report.page()).map_err(failed)?;
            say(&format!("oyez: the charts are in {}", path.display()));
        }
        Ok(())
    }
}

impl Publishing {
    /// Sets publishers to work.
    pub(crate) fn begin(publishers: Publishers) -> Self {
        let state = publishers.state();
        let thread = std::thread::spawn(move || publishers.run());
        Self { state, thread }
    }

    /// Whether it has ended without being asked.
    fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the last answer.
    pub(crate) fn finish(self) -> Result<Published, Failure> {
        let ended = self.thread.join();
        ended
            .map_err(|_| Failure::Failed("the publishing thread has panicked".to_owned()))?
            .map_err(Failure::Failed)
    }
}
