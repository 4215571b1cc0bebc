//! Prepares the next segment: starts when `spare` says so, and has the next commit of the state name it.

use std::io;

use oyez_protocol::planted::{Bug, planted};

use crate::commit::Commits;
use crate::disk::{Disk, Opened};
use crate::error::Poisoned;
use crate::failing::Task;
use crate::fixed::Fixed;
use crate::health::Health;
use crate::operations::{Operations, Purpose};
use crate::segments::Segments;
use crate::spare::{Prepared, SpareSegment};

/// The parts of a log that preparing its next segment takes.
pub(crate) struct SparePreparer<'a> {
    pub fixed: &'a Fixed,
    pub spare: &'a mut SpareSegment,
    pub segments: &'a Segments,
    pub commits: &'a mut Commits,
    pub operations: &'a mut Operations,
    pub health: &'a mut Health,
    pub disk: &'a mut dyn Disk,
    /// Where the log's next frame goes.
    pub head: u64,
    pub now_ms: u64,
}

impl SparePreparer<'_> {
    /// Starts preparing a segment if that is due. `rolls`: the log is to go on in another segment at once.
    pub(crate) fn start(&mut self, rolls: bool) {
        let newest = self.segments.newest();
        let due = self.spare.due(newest, self.head, rolls, self.now_ms);
        if let Some(base) = due {
            self.spare.begin(base);
            let path = self.fixed.segment_path(base).to_path_buf();
            let token = self.operations.begin(Purpose::Prepare);
            self.disk
                .prepare(token, path, self.fixed.options.segment_bytes);
            if planted(Bug::NamesTheUnmade) {
                self.commits.want();
            }
        }
    }

    /// Takes the result of preparing a segment.
    pub(crate) fn ended(&mut self, token: u64, result: io::Result<Opened>) -> Result<(), Poisoned> {
        self.operations.end(token);
        match self.spare.prepared(result, self.now_ms) {
            Prepared::Made => {
                self.health.worked(Task::Prepare);
                self.commits.want();
            }
            Prepared::Failed(error) => self.health.fail(Task::Prepare, error)?,
            Prepared::Unwanted(file) => file.into_iter().for_each(|file| self.disk.close(file)),
        }
        Ok(())
    }
}
