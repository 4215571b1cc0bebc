//! Logs for the operator what a start has found: which logs were recovered, what they lost, and which files were set aside.

use oyez_protocol::LogId;
use oyez_storage::{DataDir, Durability, RecoveryReport, SetAside};
use tracing::{error, info, warn};

use crate::measure::metrics::ShardMetrics;
use crate::parts::shared::Shared;

/// Logs which copies of the directory's identity were damaged or missing.
pub(crate) fn tell_identity(dir: &DataDir) {
    for copy in dir.rewritten() {
        let path = copy.path.display();
        match copy.result {
            Ok(()) => warn!("{path} was damaged or missing; it is written again from its copy"),
            Err(error) => error!(
                "{path} is damaged or missing and cannot be written again ({error}); the directory depends on its other copy"
            ),
        }
    }
}

/// Logs what opening a shard's logs on disk found and did.
pub(crate) fn tell_all(reports: &[RecoveryReport], shared: &Shared, shard: usize) {
    let on_disk = |log: LogId| {
        let mut logs = shared.dir.logs();
        logs.any(|spec| spec.id == log && spec.durability != Durability::Memory)
    };
    for report in reports.iter().filter(|report| on_disk(report.log)) {
        tell(report, &shared.metrics[shard]);
    }
}

/// Logs what opening a log found and did.
fn tell(report: &RecoveryReport, metrics: &ShardMetrics) {
    let log = report.log.get();
    if !report.clean && !report.is_new {
        info!(
            log,
            segments = report.segments,
            scanned_bytes = report.scanned_bytes,
            records_rewritten = report.records_rewritten,
            cut_bytes = report.cut_bytes,
            copies_removed = report.copies_removed,
            footers_rebuilt = report.footers_rebuilt,
            "log recovered"
        );
    }
    if report.epoch_changed {
        warn!(
            log,
            epoch = %report.epoch,
            "the log has a new epoch: history was, or may have been, lost; subscribers begin at the oldest message kept"
        );
    }
    if report.copied && !report.epoch_changed {
        warn!(
            log,
            "this data directory is a copy of the one that the log was last open in; if the broker went on with the \
             original after the copy was made, restart with --restored, or subscribers will miss messages in silence"
        );
    }
    for gap in &report.gaps {
        error!(
            log,
            from = gap.from.get(),
            to = gap.to.get(),
            first_sequence = gap.first_sequence.get(),
            next_sequence = gap.next_sequence.get(),
            "records are damaged or missing: they are not served, their subscribers are told of a gap"
        );
    }
    tell_files(report);
    let damaged = report.set_aside.len() + report.aside_before.len();
    metrics.damaged_files.add(damaged as u64);
    metrics.losses.add(report.gaps.len() as u64);
}

fn tell_files(report: &RecoveryReport) {
    let log = report.log.get();
    for SetAside { path, to, why } in &report.set_aside {
        let path = path.display();
        match to {
            Some(to) => error!(
                log,
                "{path} is set aside: {why}; it is now {}. Keep it until you know what it held, then remove it",
                to.display()
            ),
            None => error!(
                log,
                "{path}: {why}; it cannot be renamed and stays where it is. Move it out of the directory"
            ),
        }
    }
    for path in &report.aside_before {
        warn!(
            log,
            "{} was set aside by an earlier start; remove it when it is not needed any more",
            path.display()
        );
    }
    for path in &report.foreign {
        warn!(
            log,
            "{} is not a file of the broker and is left alone",
            path.display()
        );
    }
}
