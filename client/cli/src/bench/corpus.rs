//! What is published: the lines of a file, or notifications like real ones from a fixed seed.

use std::path::Path;

use super::random::Random;
use crate::failure::Failure;

/// Seed of what is generated.
const SEED: u64 = 0x6f79_657a;
/// Messages that are generated; a run that publishes more begins again.
const GENERATED: usize = 4_096;

const NAMES: [&str; 8] = [
    "Ada", "Grace", "Edsger", "Barbara", "Dennis", "Radia", "Leslie", "Frances",
];
const KINDS: [&str; 5] = ["comment", "like", "share", "reply", "mention"];
const WORDS: [&str; 40] = [
    "the", "meeting", "moved", "to", "three", "please", "confirm", "your", "order", "has", "been",
    "shipped", "and", "will", "arrive", "tomorrow", "new", "photo", "from", "last", "night",
    "thanks", "for", "joining", "us", "build", "finished", "without", "errors", "release", "is",
    "ready", "see", "you", "soon", "payment", "received", "train", "delayed", "again",
];

/// Payloads, in a circle.
#[derive(Clone, Debug)]
pub(crate) struct Corpus {
    payloads: Vec<Vec<u8>>,
}

impl Corpus {
    /// Every line that is not empty is a payload.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.display();
        let text = std::fs::read(path)
            .map_err(|error| Failure::io(&format!("cannot read the corpus {name}"), &error))?;
        let lines = text.split(|byte| *byte == b'\n');
        let payloads: Vec<Vec<u8>> = lines
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        if payloads.is_empty() {
            return Err(Failure::Usage(format!("the corpus {name} has no lines")));
        }
        Ok(Self { payloads })
    }

    /// JSON notifications of exactly `size` bytes; below what the JSON needs, its first bytes.
    pub(crate) fn generate(size: usize) -> Self {
        let mut random = Random::new(SEED);
        Self {
            payloads: (0..GENERATED)
                .map(|_| notification(&mut random, size))
                .collect(),
        }
    }

    /// Payload `number`, counted around the circle.
    pub(crate) fn payload(&self, number: usize) -> &[u8] {
        &self.payloads[number % self.payloads.len()]
    }

    /// How many different payloads there are.
    pub(crate) const fn len(&self) -> usize {
        self.payloads.len()
    }
}

fn notification(random: &mut Random, size: usize) -> Vec<u8> {
    let name = random.pick(&NAMES);
    let mut text = format!(
        "{{\"id\":\"{:016x}\",\"type\":\"{}\",\"from\":\"{name}\",\"url\":\"/posts/{}\",\"body\":\"{name}:",
        random.next(),
        random.pick(&KINDS),
        random.next() % 1_000_000,
    );
    while text.len() < size {
        text.push(' ');
        text.push_str(random.pick(&WORDS));
    }
    text.truncate(size.saturating_sub(2));
    text.push_str("\"}");
    text.truncate(size);
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_payload_is_json_of_the_size_asked_for() {
        let corpus = Corpus::generate(200);
        for number in 0..corpus.len() {
            let payload = corpus.payload(number);
            assert_eq!(payload.len(), 200);
            let value: serde_json::Value = serde_json::from_slice(payload).unwrap();
            assert!(value["id"].is_string());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_payloads() {
        assert_eq!(
            Corpus::generate(100).payloads,
            Corpus::generate(100).payloads
        );
        let corpus = Corpus::generate(100);
        assert_ne!(corpus.payload(0), corpus.payload(1));
        assert_eq!(corpus.payload(0), corpus.payload(corpus.len()));
    }

    #[test]
    fn any_size_can_be_asked_for() {
        for size in [1, 2, 10, 64, 4096] {
            assert_eq!(Corpus::generate(size).payload(7).len(), size);
        }
    }

    #[test]
    fn a_file_gives_its_lines() {
        let path = std::env::temp_dir().join(format!("oyez-corpus-{}", std::process::id()));
        std::fs::write(&path, "one\n\ntwo").unwrap();
        let corpus = Corpus::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(corpus.payloads, [b"one", b"two"]);
    }
}
