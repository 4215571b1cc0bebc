//! Checks of the data directory: its file system, its room, and how the disk is driven.

use std::path::Path;

use super::figures::bytes;
use super::{Exam, Finding, Fix, Verdict};
use crate::Wish;

/// Segments of a log beside those kept: the active one and the next one.
const SEGMENTS_IN_WORK: u64 = 2;

/// File systems that the layout was measured on.
const GOOD: [&str; 2] = ["ext4", "xfs"];
/// File systems on other machines, whose syncs are promises at best.
const REMOTE: [&str; 9] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "9p",
    "ceph",
    "glusterfs",
    "virtiofs",
    "fuse.sshfs",
];

/// Judges whether io_uring can be used, and if not, why.
pub(crate) fn ring(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "io_uring";
    const KEY: &str = "kernel.io_uring_disabled";
    let (disk, sending) = (exam.setup.disk_ring, exam.setup.send_ring);
    if disk == Wish::Never && sending == Wish::Never {
        let why = "the configuration has a thread drive the disk (disk = \"thread\") and records leave one by one \
                   (sending = \"loop\")";
        return Finding::new(NAME, "not used", "any", why);
    }
    let Err(error) = exam.facts.uring() else {
        let why = "one ring per shard carries writes and syncs behind the loop's back, one submission a turn; another one \
                   carries records to many subscribers in batches";
        return Finding::new(NAME, "available", "available", why);
    };
    let disabled = exam.sysctl_number(KEY).filter(|value| *value != 0);
    let verdict = if disk == Wish::Required || sending == Wish::Required {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    let (instead, fix) = match disabled {
        Some(_) => ("the kernel is told to refuse it", Fix::sysctl(KEY, &0)),
        None => (
            "something else refuses it, such as a container's filter of system calls",
            Fix::Advice("allow io_uring_setup, io_uring_enter and io_uring_register".to_owned()),
        ),
    };
    let why = format!(
        "{instead} ({error}); without it a thread of each shard drives the disk, with two switches of threads for each \
         group commit, and each subscriber costs a call of its own"
    );
    let present = disabled.map_or("refused".to_owned(), |value| format!("{KEY} = {value}"));
    Finding::new(NAME, present, "available", why).judged(false, verdict, fix)
}

/// A mounted file system.
struct Mount {
    kind: String,
    point: String,
    /// Options of the mount, as the table has them.
    own: String,
    /// Options of the mount and of its file system.
    options: Vec<String>,
}

/// The mount that `path` lies on: the last one of the longest mount point above it.
fn mount_of(table: &str, path: &Path) -> Option<Mount> {
    let mounts = table.lines().filter_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let (point, options) = (unescaped(fields.get(4)?), *fields.get(5)?);
        let mut source = source.split(' ');
        let (kind, more) = (source.next()?.to_owned(), source.nth(1).unwrap_or(""));
        let all = options.split(',').chain(more.split(','));
        Some(Mount {
            kind,
            point,
            own: options.to_owned(),
            options: all.map(str::to_owned).collect(),
        })
    });
    mounts
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.len())
}

/// The text of a mount point, in which the table writes spaces in octal.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t")
}

fn own_mount(exam: &Exam<'_>) -> Option<Mount> {
    let path = exam.facts.existing(&exam.setup.data)?;
    mount_of(&exam.facts.read("/proc/self/mountinfo")?, &path)
}

/// Judges whether syncs on the file system are reliable and cheap.
pub(crate) fn file_system(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "file system of the data directory";
    let Some(mount) = own_mount(exam) else {
        return Finding::unknown(NAME, "/proc/self/mountinfo cannot be read here");
    };
    let kind = mount.kind.as_str();
    let why = match kind {
        "ext4" | "xfs" => "syncs of zero-written segments are one flush each here",
        "tmpfs" | "ramfs" => "it is memory: what is acknowledged as synced is lost with the power",
        "overlay" => "it is the writable layer of a container: slow, and gone with the container",
        kind if REMOTE.contains(&kind) => {
            "it is on another machine: each sync is a round trip, and a lock may be lost"
        }
        "btrfs" | "zfs" | "bcachefs" => {
            "it writes elsewhere what is overwritten, so each sync writes its tree as well"
        }
        _ => "the broker was never measured on it",
    };
    let present = format!("{kind} on {}", mount.point);
    let fix = Fix::Advice("put the data directory (`data`) on ext4 or xfs".to_owned());
    Finding::new(NAME, present, "ext4 or xfs", why).judged(GOOD.contains(&kind), Verdict::Warn, fix)
}

/// The harm that a mount option does, if any.
fn harm(option: &str) -> Option<(&'static str, Verdict)> {
    match option {
        "ro" => Some(("it cannot be written", Verdict::Fail)),
        "nobarrier" | "barrier=0" => {
            Some(("a sync does not reach the disk's own cache", Verdict::Warn))
        }
        "sync" | "dirsync" => Some(("every write waits for the disk", Verdict::Warn)),
        "data=journal" => Some(("every byte is written twice", Verdict::Warn)),
        _ => None,
    }
}

/// Judges the options of the mount.
pub(crate) fn mount_options(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "mount options";
    let Some(mount) = own_mount(exam) else {
        return Finding::unknown(NAME, "/proc/self/mountinfo cannot be read here");
    };
    let harms = mount.options.iter().filter_map(|option| {
        let (why, verdict) = harm(option)?;
        Some((option, why, verdict))
    });
    let Some((option, why, verdict)) = harms.min_by_key(|(_, _, verdict)| *verdict) else {
        let why = "nothing in them delays a sync or takes away its meaning";
        return Finding::new(NAME, mount.own, "writable, barriers on", why);
    };
    let fix = match option.as_str() {
        "ro" => Fix::Command(format!("mount -o remount,rw '{}'", mount.point)),
        option => Fix::Advice(format!(
            "take {option} out of /etc/fstab for {} and mount it anew",
            mount.point
        )),
    };
    let why = format!("{} is mounted with {option}: {why}", mount.point);
    Finding::new(NAME, option.as_str(), format!("without {option}"), why)
        .judged(false, verdict, fix)
}

/// Judges whether all that retention keeps fits.
pub(crate) fn space(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "free space";
    let Some(space) = exam.facts.space(&exam.setup.data) else {
        return Finding::unknown(NAME, "the file system does not report its free space");
    };
    let (logs, segment) = (exam.logs_on_disk(), exam.setup.segment_bytes);
    let least = logs * SEGMENTS_IN_WORK * segment;
    let kept = exam.setup.retention_bytes;
    let wanted = logs.saturating_mul(kept) + least;
    let room = space.available.saturating_add(space.held);
    let why = if kept == 0 {
        format!(
            "retention_bytes is 0, so nothing is ever dropped; {logs} logs begin with {SEGMENTS_IN_WORK} segments of \
             {} each",
            bytes(segment)
        )
    } else {
        format!(
            "{logs} logs on disk keep {} each (retention_bytes) and {SEGMENTS_IN_WORK} segments of {} in work",
            bytes(kept),
            bytes(segment)
        )
    };
    let verdict = if room < least {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    let most = room.saturating_sub(least) / logs / segment * segment;
    let advice = format!("make room, or set retention_bytes to {} or less", most);
    let present = format!("{}, {} in use", bytes(space.available), bytes(space.held));
    Finding::new(NAME, present, format!(">= {}", bytes(wanted)), why).judged(
        room >= wanted,
        verdict,
        Fix::Advice(advice),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Space;
    use crate::fake::{Case, FakeFacts, check_table};

    fn mounted(line: &str) -> FakeFacts {
        let table = format!("22 1 0:21 / / rw - overlay overlay rw\n{line}\n");
        FakeFacts::healthy().file("/proc/self/mountinfo", &table)
    }

    #[test]
    fn the_way_to_the_disk_is_judged() {
        let refused = || FakeFacts::healthy().without_uring("EPERM");
        let mut demanded = refused();
        demanded.setup.disk_ring = Wish::Required;
        let mut unused = refused();
        unused.setup.disk_ring = Wish::Never;
        unused.setup.send_ring = Wish::Never;
        let mut for_sends = refused();
        for_sends.setup.disk_ring = Wish::Never;
        for_sends.setup.send_ring = Wish::Required;
        let disabled = refused().sysctl("kernel.io_uring_disabled", "2");
        check_table(&[
            Case::new(ring, FakeFacts::healthy(), Verdict::Ok, "ring per shard"),
            Case::new(ring, refused(), Verdict::Warn, "EPERM"),
            Case::new(ring, disabled, Verdict::Warn, "told to refuse"),
            Case::new(ring, demanded, Verdict::Fail, "EPERM"),
            Case::new(ring, for_sends, Verdict::Fail, "EPERM"),
            Case::new(ring, unused, Verdict::Ok, "configuration"),
        ]);
    }

    #[test]
    fn file_systems_and_their_options_are_judged() {
        let on = |kind: &str, options: &str| {
            mounted(&format!(
                "30 22 8:1 / /data rw,relatime - {kind} /dev/x {options}"
            ))
        };
        let other = mounted("30 22 8:1 / /database rw - ext4 /dev/x rw");
        check_table(&[
            Case::new(file_system, on("ext4", "rw"), Verdict::Ok, "zero-written"),
            Case::new(file_system, on("xfs", "rw"), Verdict::Ok, "flush"),
            Case::new(file_system, on("tmpfs", "rw"), Verdict::Warn, "memory"),
            Case::new(
                file_system,
                on("nfs4", "rw"),
                Verdict::Warn,
                "another machine",
            ),
            Case::new(file_system, on("btrfs", "rw"), Verdict::Warn, "tree"),
            Case::new(
                file_system,
                on("vfat", "rw"),
                Verdict::Warn,
                "never measured",
            ),
            Case::new(file_system, other, Verdict::Warn, "container"),
            Case::new(
                file_system,
                FakeFacts::default(),
                Verdict::Unknown,
                "mountinfo",
            ),
            Case::new(mount_options, on("ext4", "rw"), Verdict::Ok, "nothing"),
            Case::new(
                mount_options,
                on("ext4", "rw,nobarrier"),
                Verdict::Warn,
                "own cache",
            ),
            Case::new(
                mount_options,
                on("ext4", "rw,data=journal"),
                Verdict::Warn,
                "twice",
            ),
            Case::new(
                mount_options,
                on("ext4", "data=journal,ro"),
                Verdict::Fail,
                "cannot be written",
            ),
            Case::new(
                mount_options,
                FakeFacts::default(),
                Verdict::Unknown,
                "mountinfo",
            ),
        ]);
    }

    #[test]
    fn room_is_free_space_and_what_the_broker_holds_already() {
        let room = |available: u64, held: u64| {
            FakeFacts::healthy().space(Space {
                available: available << 30,
                held: held << 30,
            })
        };
        let mut all = room(1, 0);
        all.setup.retention_bytes = 0;
        check_table(&[
            Case::new(
                space,
                room(40, 0),
                Verdict::Ok,
                "4 logs on disk keep 8.0 GiB",
            ),
            Case::new(space, room(20, 20), Verdict::Ok, "in work"),
            Case::new(space, room(20, 0), Verdict::Warn, "retention_bytes"),
            Case::new(space, room(0, 0), Verdict::Fail, "64.0 MiB"),
            Case::new(space, all, Verdict::Ok, "nothing is ever dropped"),
            Case::new(space, FakeFacts::default(), Verdict::Unknown, "free space"),
        ]);
    }

    #[test]
    fn a_mount_point_with_a_space_is_found() {
        let table = "1 1 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / /my\\040data rw - xfs /dev/b rw";
        let mount = mount_of(table, Path::new("/my data/oyez")).unwrap();
        assert_eq!(mount.kind, "xfs");
    }
}
