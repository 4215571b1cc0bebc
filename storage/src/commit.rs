//! Writing down what a log must know at its next start, while it runs: which segments were made, up to where retention
//! has removed the log, that it was closed.
//!
//! Both copies of the state are written over, one after the other, and one commit is on its way at a time. What waits for
//! it goes on when it has landed: a new segment may be used once it is named, and files are removed once the floor is
//! above them.

use std::io;

use crate::disk::Disk;
use crate::error::Poisoned;
use crate::log::{Drain, Log, Purpose, Spare};
use crate::state::{Named, STATE, STATE_COPY, State};
use crate::trouble::Attempt;

/// How long until a commit that failed is tried again.
const RETRY_MS: u64 = 1000;

/// The state's way to the disk.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    /// Counts them; the copy with the highest number holds.
    pub generation: u64,
    /// Something has changed that the next start must know.
    wanted: bool,
    flight: Option<Flight>,
    retry_ms: Option<u64>,
    /// Position below which the last commit says that everything is acknowledged.
    pub end: u64,
}

#[derive(Debug)]
struct Flight {
    state: State,
    /// One copy is durable.
    landed: bool,
}

impl Log {
    pub(crate) fn want_commit(&mut self) {
        self.commits.wanted = true;
    }

    /// Has the next start know that a segment is in use, once something in it is acknowledged: were all of it lost, it
    /// would look as if it had never been used.
    pub(crate) fn note_use(&mut self) {
        let base = self.segments.back().map_or(0, |active| active.base);
        if self.commits.end <= base && self.flush.acknowledged.end > base {
            self.commits.end = self.flush.acknowledged.end;
            self.want_commit();
        }
    }

    /// When a commit that failed is tried again.
    pub(crate) fn commit_deadline_ms(&self) -> Option<u64> {
        self.commits.retry_ms
    }

    /// The log's state as of this moment.
    pub(crate) fn state(&self, clean: bool) -> State {
        let acknowledged = self.flush.acknowledged;
        let spare = match &self.spare {
            Spare::Unnamed { base, opened } | Spare::Ready { base, opened } => Named {
                base: *base,
                bytes: opened.map.len(),
            },
            _ => Named::default(),
        };
        let last = self.segments.back().map(|last| Named {
            base: last.base,
            bytes: last.bytes,
        });
        State {
            epoch: self.shared.epoch,
            incarnation: self.incarnation,
            log: self.parts.spec.id.get(),
            clean,
            boot_id: self.parts.boot_id,
            end: if clean { self.head } else { acknowledged.end },
            sequence: if clean {
                self.reached.sequence
            } else {
                acknowledged.sequence
            },
            last_ms: self.last_ms,
            dir_id: self.parts.dir_id,
            chain: self.reached.chain,
            generation: self.commits.generation,
            floor: Some(self.floor),
            named: [last.unwrap_or_default(), spare],
            carried: self.carried_generation,
            fingerprint: self.parts.fingerprint,
            known: self.known_losses,
        }
    }

    /// Starts a commit if one is wanted and none is on its way.
    pub(crate) fn start_commit(&mut self, disk: &mut dyn Disk) {
        let commits = &mut self.commits;
        let waits = commits
            .retry_ms
            .is_some_and(|at| self.now.monotonic_ms < at);
        if !commits.wanted || commits.flight.is_some() || waits {
            return;
        }
        commits.wanted = false;
        commits.retry_ms = None;
        commits.generation += 1;
        let state = self.state(self.drain == Drain::Closing);
        self.commits.end = state.end;
        self.commits.flight = Some(Flight {
            state,
            landed: false,
        });
        self.write_copy(disk, Purpose::State);
    }

    fn write_copy(&mut self, disk: &mut dyn Disk, purpose: Purpose) {
        let Some(flight) = &self.commits.flight else {
            return;
        };
        let name = match purpose {
            Purpose::StateCopy => STATE_COPY,
            _ => STATE,
        };
        let (path, content) = (self.parts.path.join(name), flight.state.encode());
        let token = self.token(purpose);
        disk.overwrite(token, path, content);
    }

    /// A copy of the state has been written, or not.
    pub(crate) fn overwritten(
        &mut self,
        token: u64,
        result: io::Result<()>,
        disk: &mut dyn Disk,
    ) -> Result<(), Poisoned> {
        let purpose = self.take_purpose(token);
        let Some(flight) = &mut self.commits.flight else {
            return Ok(());
        };
        flight.landed |= result.is_ok();
        if let Err(error) = result {
            self.fail(Attempt::State, error)?;
        } else if matches!(purpose, Some(Purpose::StateCopy)) {
            self.streaks.worked(Attempt::State);
        }
        if matches!(purpose, Some(Purpose::State)) {
            self.write_copy(disk, Purpose::StateCopy);
            return Ok(());
        }
        if let Some(flight) = self.commits.flight.take() {
            self.committed(&flight, disk);
        }
        Ok(())
    }

    fn committed(&mut self, flight: &Flight, disk: &mut dyn Disk) {
        if self.drain == Drain::Closing {
            // Without it the next start takes the log for killed, which it is a match for.
            self.drain = Drain::Done;
            return;
        }
        if !flight.landed {
            self.commits.wanted = true;
            self.commits.retry_ms = Some(self.now.monotonic_ms + RETRY_MS);
            return;
        }
        self.name_spare(flight.state.named[1]);
        if flight.state.floor == Some(self.floor) {
            self.remove_dropped(disk);
        }
    }

    /// The spare segment may be used once the state names it.
    fn name_spare(&mut self, named: Named) {
        let is_named = |base| named.bytes > 0 && named.base == base;
        self.spare = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Unnamed { base, opened } if is_named(base) => {
                self.forget_need();
                Spare::Ready { base, opened }
            }
            other => other,
        };
    }
}
