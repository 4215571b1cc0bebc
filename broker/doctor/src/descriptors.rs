//! Checks of descriptor limits: of one shard, of one process, of the whole system.

use super::figures::{grouped, scaled};
use super::{Exam, Finding, Fix, Verdict};

/// Shards that share a core without harm; a million connections at 20,000 descriptors a shard take 27 shards on each of two
/// cores.
const SHARDS_PER_CORE_MAX: usize = 64;

/// Files open beside the connections, with room for what else starts on the host.
const FILES_SPARE: u64 = 65_536;

/// Judges the descriptor limit. With a table for each shard the limit counts per shard, and more shards are a way around it; in a
/// shared table there is none.
pub(crate) fn per_shard(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "descriptor limit";
    let (Some(limit), Some(spread)) = (exam.limit("Max open files"), exam.spread()) else {
        return Finding::unknown(NAME, "/proc/self/limits cannot be read here");
    };
    let (cores, shards) = (exam.facts.cores(), spread.shards);
    let own = grouped(spread.reserved as u64);
    let (why, holder) = match exam.has_private_tables() {
        true => (
            format!(
                "the limit counts for each shard's private table: {} shards on {cores} cores take {} connections each, \
                 {} with six standard deviations and {own} of the broker's own",
                grouped(shards as u64),
                grouped(exam.connections.div_ceil(shards as u64)),
                grouped(spread.needed as u64),
            ),
            "a shard",
        ),
        false => (
            format!(
                "the limit counts for the one table that all shards share: {} connections and {own} of the broker's own",
                grouped(exam.connections),
            ),
            "for all",
        ),
    };
    let fine = spread.fits && shards <= cores * SHARDS_PER_CORE_MAX;
    let (wanted, verdict) = match (fine, spread.fits) {
        (true, _) => (spread.needed, Verdict::Ok),
        (false, true) => (spread.needed_per_core, Verdict::Warn),
        (false, false) => (spread.needed_per_core, Verdict::Fail),
    };
    let fix = Fix::Unit(format!("LimitNOFILE={}", spread.needed_per_core));
    let present = format!("{} {holder}", grouped(limit));
    let wanted = format!(">= {}", grouped(wanted as u64));
    Finding::new(NAME, present, wanted, why).judged(fine, verdict, fix)
}

/// Judges whether the shards can have tables of their own.
pub(crate) fn tables(exam: &Exam<'_>) -> Finding {
    const NAME: &str = "descriptor tables";
    const WANTED: &str = "private";
    let Err(error) = exam.facts.private_tables() else {
        let why =
            "each shard has a table of its own: no lock is shared, and the limit counts for each";
        return Finding::new(NAME, WANTED, WANTED, why);
    };
    let why = format!(
        "something refuses them, such as a container's filter of system calls ({error}); the shards share one table, its \
         lock, and its limit"
    );
    let fix = Fix::Advice("allow unshare, for a container in its seccomp profile".to_owned());
    Finding::new(NAME, "shared", WANTED, why).judged(false, Verdict::Warn, fix)
}

/// Judges how far the limit of a process may be raised.
pub(crate) fn ceiling(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "fs.nr_open";
    let Some(present) = exam.sysctl_number(KEY) else {
        return Finding::unreadable(KEY);
    };
    let Some(spread) = exam.spread() else {
        return Finding::unknown(KEY, "/proc/self/limits cannot be read here");
    };
    let (cores, wanted) = (exam.facts.cores(), spread.needed_per_core as u64);
    if per_shard(exam).verdict == Verdict::Ok {
        let why = "the descriptor limit does not need to be raised, so its ceiling does not matter";
        return Finding::new(KEY, grouped(present), "any", why);
    }
    let who = match exam.has_private_tables() {
        true => format!("one shard on each of {cores} cores needs"),
        false => "the table that all shards share needs".to_owned(),
    };
    let why = format!(
        "{who} {} descriptors, and no limit can be above this",
        grouped(wanted)
    );
    Finding::new(
        KEY,
        grouped(present),
        format!(">= {}", grouped(wanted)),
        why,
    )
    .judged(present >= wanted, Verdict::Warn, Fix::sysctl(KEY, &wanted))
}

/// Judges the limit of open files of all processes together.
pub(crate) fn of_the_system(exam: &Exam<'_>) -> Finding {
    const KEY: &str = "fs.file-max";
    let Some([open, _, most]) = exam.sysctl_numbers("fs.file-nr") else {
        return Finding::unreadable(KEY);
    };
    let needed = open.saturating_add(exam.connections);
    let wanted = scaled(needed, 11, 10).saturating_add(FILES_SPARE);
    let why = format!(
        "{} files are open on this host and each connection is one more, {} in all (twice the connections where the \
         clients run here too)",
        grouped(open),
        grouped(needed)
    );
    let verdict = if most < needed {
        Verdict::Fail
    } else {
        Verdict::Warn
    };
    Finding::new(KEY, grouped(most), format!(">= {}", grouped(wanted)), why).judged(
        most >= wanted,
        verdict,
        Fix::sysctl(KEY, &wanted.next_power_of_two()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Case, FakeFacts, check_table};

    fn limit(hard: &str) -> FakeFacts {
        FakeFacts::healthy().limit("Max open files", hard)
    }

    #[test]
    fn the_limit_of_a_shard_is_judged() {
        check_table(&[
            Case::new(
                per_shard,
                limit("1048576"),
                Verdict::Ok,
                "2 shards on 2 cores",
            ),
            Case::new(
                per_shard,
                limit("unlimited"),
                Verdict::Ok,
                "500,000 connections each",
            ),
            Case::new(
                per_shard,
                limit("20000"),
                Verdict::Ok,
                "six standard deviations",
            ),
            Case::new(per_shard, limit("8000"), Verdict::Warn, "shards on 2 cores"),
            Case::new(per_shard, limit("1024"), Verdict::Fail, "private table"),
            Case::new(
                per_shard,
                FakeFacts::default(),
                Verdict::Unknown,
                "/proc/self/limits",
            ),
        ]);
    }

    #[test]
    fn one_table_for_all_is_reported_and_must_hold_all_connections() {
        let shared = |hard| limit(hard).without_private_tables("EPERM");
        check_table(&[
            Case::new(tables, limit("1024"), Verdict::Ok, "for each"),
            Case::new(tables, shared("1024"), Verdict::Warn, "EPERM"),
            Case::new(
                per_shard,
                shared("1048576"),
                Verdict::Ok,
                "all shards share",
            ),
            Case::new(per_shard, shared("1000575"), Verdict::Fail, "576 of the"),
            Case::new(
                ceiling,
                shared("1000575").sysctl("fs.nr_open", "65536"),
                Verdict::Warn,
                "all shards share",
            ),
        ]);
    }

    #[test]
    fn the_ceiling_of_the_limit_and_that_of_the_system_are_judged() {
        check_table(&[
            Case::new(
                ceiling,
                FakeFacts::healthy().sysctl("fs.nr_open", "1048576"),
                Verdict::Ok,
                "ceiling",
            ),
            Case::new(
                ceiling,
                limit("1024").sysctl("fs.nr_open", "1048576"),
                Verdict::Ok,
                "2 cores",
            ),
            Case::new(
                ceiling,
                limit("1024").sysctl("fs.nr_open", "65536"),
                Verdict::Warn,
                "no limit can be above",
            ),
            Case::new(ceiling, FakeFacts::default(), Verdict::Unknown, "nr_open"),
            Case::new(
                of_the_system,
                FakeFacts::healthy().sysctl("fs.file-nr", "1000\t0\t2000000"),
                Verdict::Ok,
                "1,001,000 in all",
            ),
            Case::new(
                of_the_system,
                FakeFacts::healthy().sysctl("fs.file-nr", "1000\t0\t1010000"),
                Verdict::Warn,
                "one more",
            ),
            Case::new(
                of_the_system,
                FakeFacts::healthy().sysctl("fs.file-nr", "1000\t0\t400000"),
                Verdict::Fail,
                "one more",
            ),
            Case::new(
                of_the_system,
                FakeFacts::default(),
                Verdict::Unknown,
                "file-max",
            ),
        ]);
    }

    #[test]
    fn a_fixed_number_of_shards_must_hold_its_share() {
        let mut facts = FakeFacts::healthy().limit("Max open files", "20000");
        facts.shards = Some(2);
        let finding = per_shard(&facts.exam(1_000_000));
        assert_eq!(finding.verdict, Verdict::Fail);
        let Some(Fix::Unit(line)) = finding.fix else {
            panic!("no unit line");
        };
        assert!(line.starts_with("LimitNOFILE=50"), "{line}");
    }
}
