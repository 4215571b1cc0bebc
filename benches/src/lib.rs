//! Shared by the benches: the corpus, records made of it, logs to put them into, and the size of the run.
//!
//! The corpus is `notifications.ndjson` of `../shared/corpus` beside the workspace, or of the directory that
//! `OYEZ_CORPUS` names. Without it one of the same shape is generated from a fixed seed; every bench prints which it
//! used. `OYEZ_BENCH_SMOKE=1` makes a run so short that it only shows that the bench still works.
//!
//! Whole servers are compared by the program `oyez-compare`, which the scripts `peers` and `link` run.
#![forbid(unsafe_code)]

mod rig;

pub use rig::Rig;

use criterion::Criterion;
use oyez_protocol::limits::Limits;
use oyez_protocol::lz4::Scratch;
use oyez_protocol::message::MessageRef;
use oyez_protocol::record::{Record, RecordBuilder};
use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs};

/// Lines of a generated corpus: as many as the recorded one has.
const GENERATED_LINES: usize = 100;
const SEED: u64 = 0x0e2e_55ee_d000_0001;

/// Payloads to measure with.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// The source of the payloads, which is printed beside every figure.
    pub name: String,
    /// One payload each, without its line's end.
    pub lines: Vec<Vec<u8>>,
}

impl Corpus {
    /// Push notifications: JSON of some 600 bytes each.
    #[must_use]
    pub fn notifications() -> Self {
        Self::recorded("notifications.ndjson").unwrap_or_else(Self::generated)
    }

    /// A file of the recorded corpus; `None` if it is not there.
    #[must_use]
    fn recorded(file: &str) -> Option<Self> {
        let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
        let directory = env::var_os("OYEZ_CORPUS").map_or_else(beside, PathBuf::from);
        let text = fs::read(directory.join(file)).ok()?;
        let lines = text.split(|byte| *byte == b'\n');
        Some(Self {
            name: file.to_owned(),
            lines: lines
                .filter(|line| !line.is_empty())
                .map(<[u8]>::to_vec)
                .collect(),
        })
    }

    /// Notifications that are generated from a fixed seed.
    #[must_use]
    pub fn generated() -> Self {
        let mut random = Random::new(SEED);
        Self {
            name: "generated notifications".to_owned(),
            lines: (0..GENERATED_LINES)
                .map(|_| notification(&mut random))
                .collect(),
        }
    }

    /// Repeats the lines until there are at least `messages`.
    #[must_use]
    pub fn repeated(&self, messages: usize) -> Vec<&[u8]> {
        let lines = self.lines.iter().map(Vec::as_slice);
        lines
            .cycle()
            .take(messages.next_multiple_of(self.lines.len()))
            .collect()
    }
}

/// Records of one topic with `batch` messages each, as a publisher sends them.
///
/// # Panics
/// If the topic is not valid, or a batch does not fit into a record.
#[must_use]
pub fn records(topic: &str, payloads: &[&[u8]], batch: usize) -> Vec<Vec<u8>> {
    let mut builder = RecordBuilder::new(topic, Limits::DEFAULT).expect("a topic");
    let mut scratch = Scratch::new();
    let record = |payloads: &[&[u8]]| {
        let mut out = Vec::new();
        for payload in payloads {
            let pushed = builder.push(&MessageRef::new(payload));
            pushed.expect("a batch fits into a record");
        }
        scratch.finish(&mut builder, 0, &mut out);
        out
    };
    payloads.chunks(batch).map(record).collect()
}

/// Decodes and verifies a record, as a shard does.
///
/// # Panics
/// If it is not a sound record.
#[must_use]
pub fn verified(bytes: &[u8]) -> Record<'_> {
    Record::verify(bytes, &Limits::DEFAULT).expect("a built record is accepted")
}

/// A xorshift generator, so that a seed means the same everywhere.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that depend on the seed alone.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    fn words(&mut self, count: u64) -> String {
        const SYLLABLES: [&str; 16] = [
            "ka", "mo", "ri", "ten", "su", "lo", "ver", "an", "dei", "pol", "ix", "ora", "bun",
            "es", "ty", "chal",
        ];
        let word = |random: &mut Self| {
            let syllable = |_| SYLLABLES[random.below(16) as usize];
            (0..3).map(syllable).collect::<String>()
        };
        (0..count).map(|_| word(self)).collect::<Vec<_>>().join(" ")
    }
}

fn notification(random: &mut Random) -> Vec<u8> {
    let (id, user) = (random.below(1 << 48), random.below(1 << 32));
    let (name, avatar) = (random.words(1), random.below(1 << 40));
    let words = 10 + random.below(25);
    let body = random.words(words);
    let counts = (random.below(100), random.below(5000));
    format!(
        r#"{{"id":"{id}","at":"Sun Aug 31 00:29:15 +0000 2014","from":{{"id":"{user}","name":"{name}","avatar":"https://img.example.com/profile_images/{avatar}_normal.jpeg"}},"title":"{name}","body":"{body}","likes":{},"shares":{},"lang":"en"}}"#,
        counts.0, counts.1
    )
    .into_bytes()
}

/// Whether this run only has to show that the bench works.
#[must_use]
pub fn is_smoke() -> bool {
    env::var_os("OYEZ_BENCH_SMOKE").is_some_and(|value| value == "1")
}

/// Criterion, configured for the size of the run.
#[must_use]
pub fn criterion() -> Criterion {
    let criterion = Criterion::default();
    let criterion = if is_smoke() {
        // It has a name of its own, so that it does not replace a measured run.
        criterion
            .save_baseline("smoke".to_owned())
            .sample_size(10)
            .warm_up_time(Duration::from_millis(10))
            .measurement_time(Duration::from_millis(50))
    } else {
        criterion
            .sample_size(50)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
    };
    criterion.configure_from_args()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_corpus_is_always_the_same() {
        let (one, two) = (Corpus::generated(), Corpus::generated());
        assert_eq!(one.lines, two.lines);
        assert_eq!(one.lines.len(), GENERATED_LINES);
        let bytes: usize = one.lines.iter().map(Vec::len).sum();
        assert!((300..900).contains(&(bytes / GENERATED_LINES)));
    }

    #[test]
    fn repeating_keeps_the_order_and_ends_with_a_whole_round() {
        let corpus = Corpus::generated();
        let repeated = corpus.repeated(101);
        assert_eq!(repeated.len(), 200);
        assert_eq!(repeated[100], corpus.lines[0]);
    }
}
