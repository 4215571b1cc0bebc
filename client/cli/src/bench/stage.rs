//! What every bench does around its own measurement: it finds a target, gathers crowds, keeps a deadline, shows a
//! progress bar, and reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oyez_sys::fdtable;
use oyez_sys::waker::Waker;

use super::board::Board;
use super::broker::Plan;
use super::composed::Composed;
use super::crowd::{Audience, Crowd};
use super::memory::Moment;
use super::options::{Common, Content};
use super::progress::Progress;
use super::publishers::{Load, Published, Publishers};
use super::report::Report;
use super::room::{self, Asked};
use super::spread::{DESCRIPTORS_RESERVED, Spread};
use super::target::{Greeting, Target, Via};
use super::targets::Targets;
use crate::failure::Failure;
use crate::output::grouped;
use crate::say::say;

/// Time between two reads of the threads' counters.
const LOOK: Duration = Duration::from_millis(5);

/// What a bench wants of its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) connections: usize,
    /// Number of topics that the subscribers are spread over.
    pub(crate) groups: usize,
    /// What each subscriber sends when it is connected.
    pub(crate) greeting: Greeting,
    /// How subscribers get what is published.
    pub(crate) via: Via,
    pub(crate) compress: bool,
}

/// A bench under way.
pub(crate) struct Stage {
    pub(crate) target: Arc<dyn Target>,
    pub(crate) common: Common,
    pub(crate) waker: Waker,
    via: Via,
    descriptors: usize,
    cores: usize,
    deadline: Instant,
    /// Connections that subscribers have made so far, those that are gone again included.
    made: AtomicUsize,
    /// Whether something was published, which may stay in the server.
    has_published: AtomicBool,
}

/// Publishers at work in a thread of their own.
pub(crate) struct Publishing {
    thread: JoinHandle<Result<Published, String>>,
}

impl Stage {
    /// Finds or starts the target.
    pub(crate) fn set(
        targets: &dyn Targets,
        common: &Common,
        wanted: Wanted,
    ) -> Result<Self, Failure> {
        let system = |error| Failure::io("cannot prepare the bench", &error);
        let deadline = Instant::now() + common.timeout;
        if wanted.via != Via::Native && wanted.greeting != Greeting::Subscribe {
            // Over HTTP the first request already asks for the topic.
            let via = wanted.via.name();
            return Err(Failure::Usage(format!(
                "--via {via} asks for a stream; leave out --silent and --no-subscribe"
            )));
        }
        let target = targets.find(Plan {
            connections: wanted.connections,
            topic: common.topic.clone(),
            groups: wanted.groups,
            greeting: wanted.greeting,
            via: wanted.via,
            compress: wanted.compress,
            pid: common.pid,
        })?;
        Ok(Self {
            target,
            common: common.clone(),
            via: wanted.via,
            waker: Waker::new().map_err(system)?,
            descriptors: fdtable::limit(),
            cores: std::thread::available_parallelism().map_err(system)?.get(),
            deadline,
            made: AtomicUsize::new(0),
            has_published: AtomicBool::new(false),
        })
    }

    /// How many connections the bench makes: as many as were asked for with `flag`, else as many as are usual and fit.
    pub(crate) fn fit(&self, connections: Option<usize>, flag: &str) -> Result<usize, Failure> {
        let server = self.target.room().map_err(Failure::Failed)?;
        let own = (fdtable::probe().is_err())
            .then(|| self.descriptors.saturating_sub(DESCRIPTORS_RESERVED));
        room::fit(Asked { connections, flag }, server, own).map_err(Failure::Failed)
    }

    /// Spreads connections and topics over threads; prints a note when it takes more threads than cores.
    pub(crate) fn spread(&self, connections: usize, groups: usize) -> Spread {
        let spread = Spread::new(connections, groups, self.descriptors, self.cores);
        if spread.tables() > self.cores {
            say(&format!(
                "oyez bench: {} connections take {} threads with {} descriptors each (RLIMIT_NOFILE)",
                grouped(connections as u64),
                spread.tables(),
                grouped(self.descriptors as u64),
            ));
        }
        spread
    }

    /// Connects a crowd to all topics.
    pub(crate) fn gather(
        &self,
        spread: &Spread,
        decode: bool,
        board: &Arc<Board>,
    ) -> Result<Crowd, Failure> {
        self.gather_topic(spread, 0, decode, board)
    }

    /// Connects a crowd to the topics from `topic` on.
    pub(crate) fn gather_topic(
        &self,
        spread: &Spread,
        topic: usize,
        decode: bool,
        board: &Arc<Board>,
    ) -> Result<Crowd, Failure> {
        self.gather_audience(self.audience(spread, topic, decode), board)
    }

    /// A crowd that could be gathered next.
    pub(crate) fn audience(&self, spread: &Spread, topic: usize, decode: bool) -> Audience {
        Audience {
            spread: spread.clone(),
            first: self.made.load(Ordering::Relaxed),
            topic,
            outstanding: self.common.outstanding,
            receive_buffer: self.common.receive_buffer(spread.connections()),
            source_net: self.common.source_net,
            decode,
        }
    }

    /// Connects the crowd that [`Self::audience`] has described.
    pub(crate) fn gather_audience(
        &self,
        audience: Audience,
        board: &Arc<Board>,
    ) -> Result<Crowd, Failure> {
        let crowd = Crowd::gather(audience, self.target.clone(), board.clone())?;
        self.await_ready(&crowd)?;
        Ok(crowd)
    }

    /// Publishes to a crowd until all subscribers have everything. Returns also how much smaller compression made it.
    pub(crate) fn broadcast(
        &self,
        crowd: &Crowd,
        board: &Arc<Board>,
        content: &Content,
        load: Load,
    ) -> Result<(Published, f64), Failure> {
        let (publishers, ratio) = self.publishers(content, load, board)?;
        let publishing = Publishing::begin(publishers);
        let records = board.publications() as u64;
        let what = "records at the last subscriber";
        self.wait(
            what,
            records,
            || board.done() as u64,
            &[crowd],
            Some(&publishing),
        )?;
        let published = self.finish(publishing, &[crowd])?;
        // The last answer may be there before the last delivery.
        self.wait(what, records, || board.done() as u64, &[crowd], None)?;
        Ok((published, ratio))
    }

    /// Waits for the last answer to publishers.
    pub(crate) fn finish(
        &self,
        publishing: Publishing,
        crowds: &[&Crowd],
    ) -> Result<Published, Failure> {
        let done = || u64::from(publishing.thread.is_finished());
        self.wait("publishers done", 1, done, crowds, None)?;
        let ended = publishing.thread.join();
        ended
            .map_err(|_| Failure::Failed("the publishing thread has panicked".to_owned()))?
            .map_err(Failure::Failed)
    }

    /// Waits, with a bar of time, for publishers that stop by themselves after `time`.
    pub(crate) fn finish_after(
        &self,
        publishing: Publishing,
        time: Duration,
    ) -> Result<Published, Failure> {
        let started = Instant::now();
        let total = millis(time);
        let passed = || millis(started.elapsed()).min(total);
        self.wait("ms", total, passed, &[], Some(&publishing))?;
        self.finish(publishing, &[])
    }

    /// Waits until all are subscribed; asks the server where it does not tell subscribers so.
    pub(crate) fn await_ready(&self, crowd: &Crowd) -> Result<(), Failure> {
        let size = crowd.size();
        self.wait(
            "subscribed",
            size as u64,
            || crowd.ready() as u64,
            &[crowd],
            None,
        )?;
        let total = self.made.fetch_add(size, Ordering::Relaxed) + size;
        loop {
            match self.target.accepted().map_err(Failure::Failed)? {
                Some(now) if now < total => {
                    self.check("accepted", (now as u64, total as u64), &[crowd])?;
                }
                _ => return Ok(()),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Composes what `load` needs, and connects its publishers.
    pub(crate) fn publishers(
        &self,
        content: &Content,
        load: Load,
        board: &Arc<Board>,
    ) -> Result<(Publishers, f64), Failure> {
        let corpus = content.corpus()?;
        self.has_published.store(true, Ordering::Relaxed);
        let count = match load.end {
            super::publishers::End::Count(count) => count,
            super::publishers::End::After(_) => usize::MAX,
        };
        let composed = Composed::new(
            &*self.target,
            &corpus,
            load.topic..load.topic + board.groups(),
            usize::from(content.batch),
            count,
        )?;
        let ratio = composed.ratio();
        Ok((
            Publishers::connect(self.target.clone(), board.clone(), composed, load)?,
            ratio,
        ))
    }

    /// Waits until `reached` is `total`, with a bar, unless time runs out or a crowd is in trouble; not longer than the
    /// publishers, where there are any.
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
            if publishing.is_some_and(|publishing| publishing.thread.is_finished()) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Leaves everything as it is for `time`.
    pub(crate) fn hold(&self, time: Duration, crowds: &[&Crowd]) -> Result<(), Failure> {
        let started = Instant::now();
        let held = || millis(started.elapsed());
        self.wait("ms held", millis(time), held, crowds, None)
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

    /// An empty report of this bench on its target.
    pub(crate) fn report(&self, bench: &'static str) -> Report {
        let mut report = Report::new(bench, self.target.name());
        report.parameter("via", self.via.name());
        report
    }

    /// Prints the report, and writes the page if one was asked for.
    pub(crate) fn publish(&self, report: &Report) -> Result<(), Failure> {
        report.print(self.common.output)?;
        if let Some(path) = &self.common.report {
            let failed = |error| Failure::io(&format!("cannot write {}", path.display()), &error);
            std::fs::write(path, report.page()).map_err(failed)?;
            say(&format!("oyez bench: the charts are in {}", path.display()));
        }
        let left = self.has_published.load(Ordering::Relaxed);
        if let Some(left) = left.then(|| self.target.leaves()).flatten() {
            say(&format!("oyez bench: {left}"));
        }
        Ok(())
    }
}

impl Publishing {
    /// Starts the publishers in a thread.
    pub(crate) fn begin(publishers: Publishers) -> Self {
        let thread = std::thread::spawn(move || publishers.run());
        Self { thread }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
