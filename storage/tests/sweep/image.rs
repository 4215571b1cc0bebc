//! An image: one log of a data directory as a stop has left it, with the records that it had acknowledged by then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use oyez_protocol::LogId;
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_storage::Durability;

use crate::layout::{Part, Sort, Span, base_of, spans};
use crate::writer::Stop;

const PAGE: usize = 4096;

/// Files by their path in the data directory.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// An acknowledged record that the log keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) topic: String,
    pub(crate) first: u64,
    pub(crate) next: u64,
    pub(crate) position: u64,
    pub(crate) size: u32,
    pub(crate) sequence: u64,
}

impl Known {
    pub(crate) fn key(&self) -> (String, u64) {
        (self.topic.clone(), self.first)
    }
}

/// Everything that the log has acknowledged and keeps, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oracle {
    pub(crate) log: LogId,
    pub(crate) epoch: u64,
    /// Topic -> offset after its last acknowledged message, whether that is kept or not.
    pub(crate) next: BTreeMap<String, u64>,
    pub(crate) records: Vec<Known>,
}

impl Oracle {
    pub(crate) fn encode(&self) -> String {
        let mut out = format!("log {}\nepoch {}\n", self.log, self.epoch);
        for (topic, next) in &self.next {
            let _ = writeln!(out, "next {topic} {next}");
        }
        for known in &self.records {
            let Known { topic, first, .. } = known;
            let (next, sequence) = (known.next, known.sequence);
            let (position, size) = (known.position, known.size);
            let _ = writeln!(
                out,
                "record {topic} {first} {next} {position} {size} {sequence}"
            );
        }
        out
    }

    fn decode(text: &str) -> Self {
        let mut oracle = Self {
            log: LogId::new(0),
            epoch: 0,
            next: BTreeMap::new(),
            records: Vec::new(),
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse().expect("a number");
            match words[0] {
                "log" => oracle.log = LogId::new(number(1) as u16),
                "epoch" => oracle.epoch = number(1),
                "next" => {
                    oracle.next.insert(words[1].to_owned(), number(2));
                }
                _ => oracle.records.push(Known {
                    topic: words[1].to_owned(),
                    first: number(2),
                    next: number(3),
                    position: number(4),
                    size: number(5) as u32,
                    sequence: number(6),
                }),
            }
        }
        oracle
    }
}

/// One log of an image.
pub(crate) struct Image {
    pub(crate) stop: Stop,
    pub(crate) durability: Durability,
    pub(crate) oracle: Oracle,
    /// The log's files, and those of the directory.
    pub(crate) files: Files,
    /// Earlier contents of some of them.
    pub(crate) older: Files,
    /// The use of the bytes of each file.
    pub(crate) spans: BTreeMap<String, Vec<Span>>,
}

/// Identifies an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) script: &'static str,
    pub(crate) stop: Stop,
    pub(crate) durability: Durability,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (script, stop) = (self.script, self.stop.name());
        write!(f, "{script}, {}, {stop}", self.durability)
    }
}

impl Image {
    pub(crate) fn load(images: &Path, name: Name) -> Self {
        let root = images.join(name.script);
        let Name {
            stop, durability, ..
        } = name;
        let oracle = format!("{}-{durability}.oracle", stop.name());
        let oracle = fs::read_to_string(root.join(oracle)).expect("an oracle");
        let files = read_log(&root.join(stop.name()), durability);
        let mut older = read_log(&root.join("older"), durability);
        older.retain(|name, bytes| files.get(name).is_some_and(|now| now != bytes));
        let oracle = Oracle::decode(&oracle);
        let live: BTreeSet<u64> = oracle.records.iter().map(|known| known.position).collect();
        let spans = files
            .iter()
            .map(|(name, bytes)| (name.clone(), spans(name, bytes, &live)))
            .collect();
        let image = Self {
            stop,
            durability,
            oracle,
            files,
            older,
            spans,
        };
        image.check();
        image
    }

    /// Every acknowledged record stands where the oracle says.
    fn check(&self) {
        for known in &self.oracle.records {
            let record = Record::verify_stamped(self.bytes(known), &Limits::HARD);
            let record = record.expect("an intact record");
            assert_eq!(record.topic(), known.topic);
            assert_eq!(record.offset().get(), known.first);
            assert_eq!(record.sequence().get(), known.sequence);
        }
        let headers = self.spans.values().flatten();
        let headers = headers.filter(|span| span.part == Part::RecordHeader);
        assert_eq!(headers.count(), self.oracle.records.len());
    }

    /// The segment that holds a record, and where in it.
    pub(crate) fn place(&self, known: &Known) -> (&str, Range<usize>) {
        let position = known.position;
        let holds = |(name, bytes): &(&String, &Vec<u8>)| {
            let base = base_of(name);
            Sort::of(name, bytes) == Sort::Segment
                && (base..base + bytes.len() as u64).contains(&position)
        };
        let file = self.files.iter().find(holds).expect("a segment holds it");
        let from = (position - base_of(file.0)) as usize;
        (file.0, from..from + known.size as usize)
    }

    pub(crate) fn bytes(&self, known: &Known) -> &[u8] {
        let (file, range) = self.place(known);
        &self.files[file][range]
    }

    pub(crate) fn sort(&self, file: &str) -> Sort {
        Sort::of(file, &self.files[file])
    }

    /// Whether another file says the same.
    pub(crate) fn has_second_copy(&self, file: &str) -> bool {
        let sort = self.sort(file);
        let small = matches!(sort, Sort::State | Sort::Carried | Sort::Meta);
        let others = self.files.keys().filter(|other| *other != file);
        small && others.into_iter().any(|other| self.sort(other) == sort)
    }
}

/// The files of a log, and those of the directory.
fn read_log(data: &Path, durability: Durability) -> Files {
    let mut files = Files::new();
    let log = format!("{durability}-0");
    for directory in ["", &log] {
        for entry in fs::read_dir(data.join(directory))
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            if entry.path().is_file() && name != "LOCK" {
                let name = Path::new(directory).join(name).display().to_string();
                files.insert(name, read_sparse(&entry.path()));
            }
        }
    }
    files
}

/// Reads a file; what is zero in it takes no memory.
pub(crate) fn read_sparse(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("the file is there");
    let len = file.metadata().expect("a size").len() as usize;
    let mut out = vec![0; len];
    let mut part = vec![0; 64 * PAGE];
    for from in (0..len).step_by(part.len()) {
        let part = &mut part[..(len - from).min(64 * PAGE)];
        file.read_exact_at(part, from as u64).expect("it is read");
        for range in used_pages(part) {
            out[from + range.start..from + range.end].copy_from_slice(&part[range]);
        }
    }
    out
}

/// Writes a file; what is zero in it takes no space.
pub(crate) fn write_sparse(path: &Path, bytes: &[u8]) {
    let file = File::create(path).expect("a new file");
    file.set_len(bytes.len() as u64).expect("its size");
    for range in used_pages(bytes) {
        let from = range.start as u64;
        file.write_all_at(&bytes[range], from)
            .expect("it is written");
    }
}

pub(crate) fn copy_sparse(from: &Path, to: &Path) {
    write_sparse(to, &read_sparse(from));
}

/// Runs of pages that are not all zero.
fn used_pages(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (number, page) in bytes.chunks(PAGE).enumerate() {
        if page == &[0; PAGE][..page.len()] {
            continue;
        }
        let range = number * PAGE..number * PAGE + page.len();
        match runs.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => runs.push(range),
        }
    }
    runs
}
