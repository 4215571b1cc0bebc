//! Real input: newline-delimited JSON files beside the repository when they are there, else lines like them from a
//! fixed seed.

use std::path::PathBuf;

use crate::programs::workspace;
use crate::random::Random;

/// Seed of the generated lines.
const SEED: u64 = 0x6f79_657a;

/// One file of the corpus.
#[derive(Clone, Debug)]
pub struct Corpus {
    /// Its name without the extension; good as a topic.
    pub name: String,
    /// The lines, without their ends.
    pub lines: Vec<Vec<u8>>,
}

impl Corpus {
    /// The lines as a file has them.
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        joined(&self.lines)
    }
}

/// Lines with a newline after each.
#[must_use]
pub fn joined(lines: &[Vec<u8>]) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text
}

/// All files: those of `OYEZ_CORPUS` or of `../shared/corpus`, or generated ones.
///
/// # Panics
/// When a file that is there cannot be read.
#[must_use]
pub fn all() -> Vec<Corpus> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(directory())
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "ndjson"));
    paths.sort();
    if paths.is_empty() {
        return vec![generated("notifications", 100), generated("events", 400)];
    }
    paths.iter().map(read).collect()
}

/// The file of short notifications.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn notifications() -> Corpus {
    all()
        .into_iter()
        .find(|corpus| corpus.name == "notifications")
        .expect("the corpus has notifications")
}

fn directory() -> PathBuf {
    std::env::var_os("OYEZ_CORPUS")
        .map_or_else(|| workspace().join("../shared/corpus"), PathBuf::from)
}

fn read(path: &PathBuf) -> Corpus {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let text = text.strip_suffix(b"\n").unwrap_or(&text);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Corpus {
        name: name.into_owned(),
        lines: text
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect(),
    }
}

fn generated(name: &str, count: u64) -> Corpus {
    const NAMES: [&str; 6] = ["Ada", "Grace", "Jürgen", "宮本", "Zoë", "José"];
    const VERBS: [&str; 5] = [
        "commented on",
        "liked",
        "shared",
        "replied to",
        "mentioned you in",
    ];
    let mut random = Random::new(SEED ^ count);
    let line = |index: u64| {
        let (who, verb) = (random.below(6) as usize, random.below(5) as usize);
        format!(
            "{{\"id\":\"{:016x}\",\"index\":{index},\"type\":\"notification\",\"actor\":{{\"name\":\"{}\"}},\
             \"text\":\"{} {} your post\",\"url\":\"https://example.org/posts/{}\",\"unread\":{}}}",
            random.next(),
            NAMES[who],
            NAMES[who],
            VERBS[verb],
            random.below(100_000),
            random.below(2) == 0,
        )
        .into_bytes()
    };
    Corpus {
        name: name.to_owned(),
        lines: (0..count).map(line).collect(),
    }
}
