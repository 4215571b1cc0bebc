//! Opening a log: surveys its directory, decides on its epoch, and rebuilds it.
//!
//! After a drain the log goes on where it ended. Otherwise it goes on in a new incarnation, in the first block that was
//! never written to: of the active segment, else of a new one. Records of a synced log that nothing proves to be durable may
//! be in the page cache alone, and the kernel may have forgotten an earlier failure to write them out: they are written
//! again, the same bytes in the same place, and synced. Then the state commits the incarnation. Only after that are files set
//! aside or removed (unreadable copies of the state are set aside just before). An interruption leaves the old log or the
//! new one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oyez_protocol::Epoch;
use oyez_protocol::planted::{Bug, planted};

use crate::dir::DataDir;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::fixed::Fixed;
use crate::log::Log;
use crate::moment::Moment;
use crate::options::{Durability, LogOptions, LogSpec};
use crate::parts::LogParts;
use crate::rebuild::Rebuild;
use crate::survey::Survey;
use crate::surveyor::Surveyor;
use crate::sys::arena::ArenaPool;
use crate::values::RecoveryReport;

/// The arguments of opening a log.
pub(crate) struct Opening<'a> {
    pub dir: &'a DataDir,
    pub spec: LogSpec,
    pub slot: u16,
    pub options: LogOptions,
    pub pool: Arc<ArenaPool>,
    pub now: Moment,
}

impl Opening<'_> {
    pub(crate) fn run(self, disk: &mut dyn Disk) -> Result<(Log, RecoveryReport), OpenError> {
        let mut report = self.report();
        if self.spec.durability == Durability::Memory {
            let epoch = self.dir.fresh_epoch(self.spec.id, self.now.wall_ms);
            report.epoch = Epoch::new(epoch);
            report.epoch_changed = true;
            let parts = LogParts::new(self.fixed(PathBuf::new(), epoch, 0), &self.pool);
            return Ok((Log::new(parts, self.now), report));
        }
        let path = self.dir.log_path(&self.spec);
        let survey = self.survey(&path, disk)?;
        let (epoch, changed) = self.epoch(&survey);
        report.epoch = Epoch::new(epoch);
        report.epoch_changed = changed;
        report.is_new = survey.state.is_none() && survey.segments.is_empty() && !changed;
        report.scanned_bytes = survey.scanned_bytes;
        report.cut_bytes = survey.assembler.cut_bytes;
        report.copies_removed = survey.copies_removed;
        report.gaps = survey.new_losses().collect();
        report.aside_before.clone_from(&survey.set_aside);
        report.foreign.clone_from(&survey.foreign);
        let fingerprint = survey.state.map_or(0, |state| state.fingerprint);
        report.copied = fingerprint != 0 && fingerprint != self.dir.fingerprint();
        let parts = LogParts::new(self.fixed(path, epoch, survey.boot_id), &self.pool);
        let parts = Rebuild::new(parts, disk, self.now).run(survey, &mut report)?;
        report.segments = parts.segments.len() as u64;
        Ok((Log::new(parts, self.now), report))
    }

    fn survey(&self, path: &Path, disk: &mut dyn Disk) -> Result<Survey, OpenError> {
        let failed = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        disk.make_dir(path).map_err(failed)?;
        let survey = Surveyor {
            disk: &mut *disk,
            path,
            log: self.spec.id.get(),
            dir_id: self.dir.dir_id(),
            durability: self.spec.durability,
            buffer: Vec::new(),
        }
        .run()?;
        if survey.state.is_none() && survey.segments.is_empty() {
            let (free, needed) = (
                disk.free_bytes(path).map_err(failed)?,
                self.options.segment_bytes,
            );
            if free < needed {
                let path = path.to_owned();
                return Err(OpenError::NoSpace { path, free, needed });
            }
        }
        Ok(survey)
    }

    fn report(&self) -> RecoveryReport {
        RecoveryReport {
            log: self.spec.id,
            clean: false,
            is_new: false,
            epoch: Epoch::default(),
            epoch_changed: false,
            segments: 0,
            scanned_bytes: 0,
            footers_rebuilt: 0,
            records_rewritten: 0,
            cut_bytes: 0,
            copies_removed: 0,
            gaps: Vec::new(),
            set_aside: Vec::new(),
            aside_before: Vec::new(),
            foreign: Vec::new(),
            copied: false,
        }
    }

    fn fixed(&self, path: PathBuf, epoch: u64, boot_id: u128) -> Fixed {
        Fixed {
            spec: self.spec,
            slot: self.slot,
            path,
            dir_id: self.dir.dir_id(),
            key: self.dir.key(),
            options: self.options,
            epoch,
            boot_id,
            fingerprint: self.dir.fingerprint(),
        }
    }

    /// The epoch, and whether it is new because history was, or may have been, lost.
    fn epoch(&self, survey: &Survey) -> (u64, bool) {
        let fresh = || self.dir.fresh_epoch(self.spec.id, self.now.wall_ms);
        let Some(state) = survey.state else {
            return (fresh(), survey.is_lossy());
        };
        let went_down = self.spec.durability == Durability::Written
            && !state.clean
            && state.boot_id != survey.boot_id;
        let has_lost = went_down || survey.is_lossy() || self.dir.is_restored();
        if has_lost && !planted(Bug::KeepsTheEpoch) {
            (fresh(), true)
        } else {
            (state.epoch, false)
        }
    }
}
