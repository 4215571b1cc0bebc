//! Runs cases in processes of their own, so that a signal ends a case and not the sweep: this test binary starts itself
//! with the seeds in a variable, and prints the result of each case.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::case::Case;
use crate::damage::{Damage, Damaged, inflict};
use crate::image::{Image, Name};
use crate::judge::{Fault, FilesSeen, Note, Verdict, judge};
use crate::panics;
use crate::support::Dice;
use crate::writer::{DURABLE, SCRIPTS, Stop};

/// The seeds that a child runs, and the directory that it works in.
pub(crate) const SEEDS: &str = "OYEZ_SWEEP_SEEDS";
pub(crate) const WORK: &str = "OYEZ_SWEEP_WORK";
/// Not a case: it ends the process that it runs in.
pub(crate) const ENDS_ITS_PROCESS: u64 = 1 << 63;
/// Prefix of the lines that a child prints for its parent.
const LINE: &str = "@sweep\t";
/// How long a case may take, on a machine that does other things too.
const CASE_MAX: Duration = Duration::from_secs(120);

/// The directories of the images, and of cases while they run.
pub(crate) fn images(work: &Path) -> PathBuf {
    work.join("images")
}

/// The image that a seed damages.
pub(crate) fn image_of(seed: u64) -> Name {
    let mut dice = Dice::of(seed ^ 0x5eed);
    Name {
        script: SCRIPTS[dice.roll(SCRIPTS.len() as u64) as usize].name,
        durability: DURABLE[dice.roll(2) as usize],
        stop: Stop::BOTH[dice.roll(2) as usize],
    }
}

/// The result of one case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) seed: u64,
    pub(crate) image: String,
    pub(crate) kind: String,
    pub(crate) hit: String,
    pub(crate) about: String,
    pub(crate) faults: BTreeMap<Fault, Vec<String>>,
    pub(crate) notes: Vec<Note>,
    /// The reports of the starts.
    pub(crate) reports: Vec<String>,
}

/// Runs cases in children until each has a result.
pub(crate) fn run(work: &Path, seeds: &[u64]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    let mut left: Vec<u64> = seeds.to_vec();
    left.sort_by_key(|seed| image_of(*seed));
    while !left.is_empty() {
        let before = shown.len();
        let end = run_child(work, &left, &mut shown);
        if let Some(what) = end {
            let last = shown[before..].last_mut();
            let last = last.unwrap_or_else(|| panic!("no case has begun: {what}"));
            last.faults.entry(Fault::Signal).or_default().push(what);
        }
        let begun = shown.len() - before;
        assert!(begun > 0, "a child runs at least one case");
        left.drain(..begun);
    }
    shown.sort_by_key(|shown| shown.seed);
    shown
}

/// Runs a child to its end. Returns how it ended if that was too early.
fn run_child(work: &Path, seeds: &[u64], shown: &mut Vec<Shown>) -> Option<String> {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    let mut child = itself("runs_its_part_of_the_sweep")
        .env(SEEDS, list.join(" "))
        .env(WORK, work)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test binary starts itself");
    let lines = lines_of(&mut child);
    loop {
        match lines.recv_timeout(CASE_MAX) {
            Ok(line) => hear(&line, shown),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill().expect("the child is there");
                child.wait().expect("the child ends");
                return Some(format!("no end after {CASE_MAX:?}"));
            }
        }
    }
    let status = child.wait().expect("the child ends");
    (!status.success()).then(|| match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => status.to_string(),
    })
}

/// This test binary with one of its tests.
pub(crate) fn itself(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test binary"));
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command
}

pub(crate) fn lines_of(child: &mut Child) -> Receiver<String> {
    let out = child.stdout.take().expect("a pipe");
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Takes a line of a child.
fn hear(line: &str, shown: &mut Vec<Shown>) {
    let Some((_, line)) = line.split_once(LINE) else {
        return;
    };
    let (word, rest) = line.split_once('\t').unwrap_or((line, ""));
    if word == "case" {
        let [seed, image, kind, hit, about] = fields(rest);
        shown.push(Shown {
            seed: seed.parse().expect("a seed"),
            image,
            kind,
            hit,
            about,
            ..Shown::default()
        });
        return;
    }
    let case = shown.last_mut().expect("a case has begun");
    match word {
        "fault" => {
            let [name, what] = fields(rest);
            let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            let fault = fault.expect("a fault");
            case.faults.entry(fault).or_default().push(what);
        }
        "note" => {
            let note = Note::ALL.into_iter().find(|note| note.name() == rest);
            case.notes.push(note.expect("a note"));
        }
        _ => case.reports.push(rest.to_owned()),
    }
}

fn fields<const N: usize>(line: &str) -> [String; N] {
    let fields: Vec<String> = line.splitn(N, '\t').map(str::to_owned).collect();
    fields.try_into().expect("all fields of the line")
}

fn tell(word: &str, fields: &[&dyn Display]) {
    let mut line = format!("\n{LINE}{word}");
    for field in fields {
        let text = field.to_string().replace(['\n', '\t'], " ");
        line.push('\t');
        line.push_str(&text);
    }
    line.push('\n');
    // Not `print`, which the test runner may keep to itself.
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).expect("the parent listens");
    out.flush().expect("the parent listens");
}

/// The work of a child.
pub(crate) fn part(work: &Path, seeds: &str) {
    panics::keep();
    let mut loaded: Option<(Name, Image)> = None;
    let dir = work.join("case");
    for seed in seeds.split_whitespace() {
        let seed = seed.parse().expect("a seed");
        let name = image_of(seed);
        if loaded.as_ref().is_none_or(|(other, _)| *other != name) {
            loaded = Some((name, Image::load(&images(work), name)));
        }
        let image = &loaded.as_ref().expect("it was loaded").1;
        let mut files = intact(image);
        let damage = inflict(image, seed, &mut files);
        let (kind, hit) = (damage.kind.name(), damage.hit);
        tell("case", &[&seed, &name, &kind, &hit, &damage.about]);
        if seed == ENDS_ITS_PROCESS {
            std::process::abort();
        }
        let mut case = Case::new(image, seed, &dir);
        let verdict = try_case(&mut case, &damage, &files);
        for (fault, whats) in &verdict.faults {
            for what in whats {
                tell("fault", &[&fault.name(), what]);
            }
        }
        for note in &verdict.notes {
            tell("note", &[&note.name()]);
        }
        for start in &case.outcome.starts {
            tell("report", &[&start.report]);
        }
    }
}

/// The files of an image as they are.
pub(crate) fn intact(image: &Image) -> Damaged<'_> {
    let files = image.files.iter();
    let files = files.map(|(name, bytes)| (name.clone(), Cow::Borrowed(bytes.as_slice())));
    files.collect()
}

/// Lays out, runs and judges a case.
pub(crate) fn try_case(case: &mut Case<'_>, damage: &Damage, files: &Damaged<'_>) -> Verdict {
    case.lay_out(files);
    case.run();
    let mut verdict = judge(case.image, damage, &case.outcome);
    let seen = FilesSeen {
        image: case.image,
        damage,
        before: files,
        dir: case.dir,
    };
    seen.judge(&case.outcome, &mut verdict);
    verdict
}
