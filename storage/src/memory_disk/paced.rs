//! The memory disk at a given pace: one step of one operation at a time, in the orders that real disks can show.

use std::fmt;
use std::path::{Path, PathBuf};

use super::MemoryDisk;
use super::chances::Dice;
use super::fault::OpKind;
use super::medium::{Covers, Inner, Operation};
use crate::disk::{Completion, Outcome, WriteSync};

/// A step that was performed. Its text is a line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advanced {
    /// The kind of the operation. A write's own sync is a sync.
    pub step: OpKind,
    /// The file: of removed files the first one; empty where there is none.
    pub path: PathBuf,
    /// The stage that the operation has reached.
    pub stage: OpStage,
}

/// The stage that an operation has reached with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpStage {
    /// A sync has started: it covers what the file holds now.
    Started,
    /// It is done, in full. The sync of a write may be yet to come.
    Done,
    /// A write has fallen short; so many bytes are written.
    Short(usize),
    /// It has failed, with an error number if it has one.
    Failed(Option<i32>),
}

#[cfg(test)]
impl Advanced {
    /// Whether the operation has failed. A write that fell short has not.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.stage, OpStage::Failed(_))
    }
}

impl fmt::Display for Advanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, path, .. } = self;
        write!(f, "{step} {}: ", path.display())?;
        match self.stage {
            OpStage::Started => f.write_str("started"),
            OpStage::Done => f.write_str("done"),
            OpStage::Short(written) => write!(f, "short after {written} bytes"),
            OpStage::Failed(Some(number)) => write!(f, "failed with error {number}"),
            OpStage::Failed(None) => f.write_str("failed"),
        }
    }
}

impl MemoryDisk {
    /// Sets whether the disk is paced. A paced disk performs no operation by itself: [`Self::advance`] performs them step by
    /// step, and [`Disk::reap`](crate::Disk::reap) takes the completions. [`Disk::wait`](crate::Disk::wait) performs steps,
    /// as the seed of the chances decides, until an operation has completed. A crash does not change it.
    pub fn set_paced(&self, paced: bool) {
        self.inner.borrow_mut().paced = paced;
    }

    /// Performs one step of one operation in flight, which `choice` picks among those that may be next. `None` if none may
    /// be, for example because of [`Self::hold`] or [`Self::allow`].
    #[expect(clippy::must_use_candidate, reason = "the step counts")]
    pub fn advance(&self, choice: u64) -> Option<Advanced> {
        if self.dead.get() {
            return None;
        }
        self.inner.borrow_mut().advance(choice)
    }

    /// Steps that the operations in flight have yet to take: a write and the sync of its range have one each, a sync of a
    /// file has two. Operations that are held back count, those that wait for a submission do not.
    #[must_use]
    pub fn pending(&self) -> usize {
        let inner = self.inner.borrow();
        inner.in_flight.iter().map(|(_, o)| o.steps()).sum()
    }

    /// Whether an operation has completed and was not reaped, as an eventfd would show.
    #[must_use]
    pub fn has_completions(&self) -> bool {
        !self.inner.borrow().done.is_empty()
    }
}

impl Operation {
    /// Whether the housekeeper performs it, at once and in order.
    pub(super) fn is_housekeeping(&self) -> bool {
        matches!(
            self,
            Self::Prepare { .. } | Self::Put { .. } | Self::Overwrite { .. } | Self::Unlink { .. }
        )
    }

    /// Steps that it has yet to take, if nothing goes wrong.
    fn steps(&self) -> usize {
        match self {
            Self::Write { sync, .. } => match sync {
                WriteSync::None => 1,
                WriteSync::Range => 2,
                WriteSync::File => 3,
            },
            Self::Sync {
                covers: Covers::File(None),
                cancelled: false,
                ..
            } => 2,
            _ => 1,
        }
    }

    /// The file that it writes to, up to the end of its own sync.
    fn writes_to(&self) -> Option<&Path> {
        match self {
            Self::Write { file, .. }
            | Self::Sync {
                file,
                covers: Covers::Range { .. },
                ..
            } => Some(file),
            _ => None,
        }
    }

    fn waits_for(&self, before: &Self) -> bool {
        let same_file = self.writes_to().is_some() && self.writes_to() == before.writes_to();
        same_file || self.is_housekeeping() && before.is_housekeeping()
    }
}

impl Inner {
    pub(super) fn advance(&mut self, choice: u64) -> Option<Advanced> {
        if self.allowance == Some(0) {
            return None;
        }
        let free = (0..self.in_flight.len()).filter(|place| self.may_be_next(*place));
        let free: Vec<_> = free.collect();
        if free.is_empty() {
            return None;
        }
        let place = free[Dice(choice).roll(free.len())];
        let operation = &self.in_flight[place].1;
        let path = self.path_of(operation);
        let has_two_steps = operation.step() == OpKind::Sync && operation.steps() == 2;
        let (step, stage) = if self.start_sync(place) && has_two_steps {
            (OpKind::Sync, OpStage::Started)
        } else {
            self.perform_at(place)
        };
        Some(Advanced { step, path, stage })
    }

    fn perform_at(&mut self, place: usize) -> (OpKind, OpStage) {
        if let Some(allowance) = &mut self.allowance {
            *allowance -= 1;
        }
        let (token, operation) = self.in_flight.remove(place).expect("it is in flight");
        let step = operation.step();
        let asked = match &operation {
            Operation::Write { bytes, .. } => Some(bytes.bytes().len()),
            _ => None,
        };
        let Some(outcome) = self.perform(place, token, operation) else {
            return (step, self.stage_of_half(place, asked));
        };
        let stage = stage(&outcome, asked);
        // The sync of a write may have run before it.
        let step = match outcome {
            Outcome::Synced(_) => OpKind::Sync,
            _ => step,
        };
        self.done.push(Completion { token, outcome });
        (step, stage)
    }

    /// The stage of a write whose own sync, of the range that it wrote, is next.
    fn stage_of_half(&self, place: usize, asked: Option<usize>) -> OpStage {
        match (&self.in_flight[place].1, asked) {
            (
                Operation::Sync {
                    covers: Covers::Range { range, .. },
                    ..
                },
                Some(asked),
            ) if range.len() < asked => OpStage::Short(range.len()),
            _ => OpStage::Done,
        }
    }

    /// Whether an operation is not held back, and need not wait for one before it.
    fn may_be_next(&self, place: usize) -> bool {
        let operation = &self.in_flight[place].1;
        let mut before = self.in_flight.range(..place);
        !self.holding.contains(&operation.step())
            && !before.any(|(_, before)| operation.waits_for(before))
    }

    fn path_of(&self, operation: &Operation) -> PathBuf {
        match operation {
            Operation::Write { file: path, .. }
            | Operation::Sync { file: path, .. }
            | Operation::Prepare { path, .. }
            | Operation::Put { path, .. }
            | Operation::Overwrite { path, .. } => path.clone(),
            Operation::Unlink { paths } => paths.first().cloned().unwrap_or_default(),
            Operation::Populate { map, .. } => {
                let mut files = self.files.iter();
                let found = files.find(|(_, file)| std::sync::Arc::ptr_eq(file.map(), map));
                found.map(|(path, _)| path.clone()).unwrap_or_default()
            }
        }
    }

    /// Performs steps until an operation has completed, or none may be next.
    pub(super) fn advance_until_done(&mut self) {
        while self.done.is_empty() {
            let choice = self.luck.pick(usize::MAX) as u64;
            if self.advance(choice).is_none() {
                return;
            }
        }
    }

    /// Performs some of the operations in flight, which may have happened when the process ended. Of operations that keep an
    /// order it performs those up to some operation, and a part of that one.
    pub(super) fn apply_in_order(&mut self, dice: &mut Dice) {
        let in_flight = std::mem::take(&mut self.in_flight).into_iter();
        let operations: Vec<_> = in_flight.chain(std::mem::take(&mut self.queued)).collect();
        let mut undone: Vec<Operation> = Vec::new();
        for (_, operation) in operations {
            let late = undone.iter().any(|undone| operation.waits_for(undone));
            if !late && self.end_one(&operation, dice) {
                continue;
            }
            undone.push(operation);
        }
    }

    /// Ends one operation at a crash. Returns whether it had completed before.
    fn end_one(&mut self, operation: &Operation, dice: &mut Dice) -> bool {
        let happens = dice.roll(2) == 0;
        match operation {
            Operation::Write {
                file,
                at,
                bytes,
                sync,
            } => {
                let bytes = bytes.bytes();
                let len = match happens {
                    true => bytes.len(),
                    false => dice.roll(bytes.len() + 1),
                };
                let at = usize::try_from(*at).expect("a place in a segment");
                let synced = *sync == WriteSync::Range && dice.roll(2) == 0;
                if let Some(file) = self.files.get_mut(file) {
                    file.write(at, &bytes[..len]);
                    if synced && len == bytes.len() {
                        file.sync(at..at + len);
                    }
                }
                return len == bytes.len() && (synced || *sync != WriteSync::Range);
            }
            Operation::Sync { file, covers, .. } => match (self.files.get_mut(file), covers) {
                (Some(file), Covers::File(Some(noted))) => {
                    file.settle(noted, || happens || dice.roll(2) == 0);
                }
                (Some(file), Covers::Range { range, .. }) if happens => file.sync(range.clone()),
                _ => {}
            },
            Operation::Prepare { path, size } if happens => drop(self.prepare(path, *size)),
            Operation::Put { path, content } if happens => drop(self.put(path, content)),
            Operation::Overwrite { path, content } if happens => {
                drop(self.overwrite(path, content));
            }
            Operation::Overwrite { path, content } => self.overwrite_in_part(path, content, dice),
            Operation::Unlink { paths } => {
                for path in paths {
                    if happens || dice.roll(2) == 0 {
                        self.files.remove(path);
                    }
                }
            }
            _ => {}
        }
        happens
    }
}

fn stage(outcome: &Outcome, asked: Option<usize>) -> OpStage {
    let error = match outcome {
        Outcome::Written(Ok(written)) if asked.is_some_and(|asked| *written < asked) => {
            return OpStage::Short(*written);
        }
        Outcome::Written(result) => result.as_ref().err(),
        Outcome::Prepared(result) => result.as_ref().err(),
        Outcome::Put(result) => result.as_ref().err(),
        Outcome::Synced(result)
        | Outcome::Populated(result)
        | Outcome::Overwritten(result)
        | Outcome::Unlinked(result) => result.as_ref().err(),
    };
    error.map_or(OpStage::Done, |error| OpStage::Failed(error.raw_os_error()))
}
