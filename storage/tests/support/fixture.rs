//! Data directories that releases wrote, kept in `tests/fixtures` as an archive and a manifest each. Both forms are
//! described in `tests/fixtures/make`, which makes them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use oyez_protocol::checksum::{crc32c, crc32c_append};
use oyez_protocol::limits::Limits;
use oyez_protocol::record::Record;
use oyez_storage::Durability;

/// What a log must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldLog {
    pub epoch: u64,
    /// Of the first record.
    pub first_sequence: u64,
    /// In the order of their names.
    pub topics: Vec<HeldTopic>,
    /// In the log's order.
    pub records: Vec<Held>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldTopic {
    pub name: String,
    pub earliest: u64,
    pub next: u64,
}

/// A record, told by all that may not change but its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub topic: String,
    pub offset: u64,
    pub messages: u16,
    pub timestamp_ms: u64,
    /// CRC-32C from byte 48 on.
    pub crc: u32,
}

impl Held {
    pub fn of(bytes: &[u8]) -> Self {
        let record = Record::verify_stamped(bytes, &Limits::HARD).expect("a sound record");
        Self {
            topic: record.topic().to_owned(),
            offset: record.offset().get(),
            messages: record.count(),
            timestamp_ms: record.timestamp_ms(),
            crc: crc32c(&bytes[48..]),
        }
    }

    pub fn next(&self) -> u64 {
        self.offset + u64::from(self.messages)
    }
}

/// What a directory must hold.
#[derive(Debug)]
pub struct Manifest {
    archive_bytes: usize,
    archive_crc: u32,
    pub logs: BTreeMap<Durability, HeldLog>,
}

impl Manifest {
    fn parse(text: &str) -> Option<Self> {
        let mut manifest = Self {
            archive_bytes: 0,
            archive_crc: 0,
            logs: BTreeMap::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            manifest.take(&line.split(' ').collect::<Vec<_>>())?;
        }
        Some(manifest)
    }

    fn take(&mut self, words: &[&str]) -> Option<()> {
        match words {
            ["archive", bytes, crc] => {
                self.archive_bytes = bytes.parse().ok()?;
                self.archive_crc = u32::from_str_radix(crc, 16).ok()?;
            }
            ["log", durability, epoch, sequence] => {
                let log = self.log(durability)?;
                log.epoch = epoch.parse().ok()?;
                log.first_sequence = sequence.parse().ok()?;
            }
            ["topic", durability, name, earliest, next] => {
                let topic = HeldTopic {
                    name: (*name).to_owned(),
                    earliest: earliest.parse().ok()?,
                    next: next.parse().ok()?,
                };
                self.log(durability)?.topics.push(topic);
            }
            [
                "record",
                durability,
                topic,
                offset,
                messages,
                timestamp,
                crc,
            ] => {
                let record = Held {
                    topic: (*topic).to_owned(),
                    offset: offset.parse().ok()?,
                    messages: messages.parse().ok()?,
                    timestamp_ms: timestamp.parse().ok()?,
                    crc: u32::from_str_radix(crc, 16).ok()?,
                };
                self.log(durability)?.records.push(record);
            }
            _ => return None,
        }
        Some(())
    }

    fn log(&mut self, durability: &str) -> Option<&mut HeldLog> {
        let durability = match durability {
            "written" => Durability::Written,
            "synced" => Durability::Synced,
            _ => return None,
        };
        Some(self.logs.entry(durability).or_default())
    }

    /// When the newest record was stamped.
    pub fn last_ms(&self) -> u64 {
        let records = self.logs.values().flat_map(|log| &log.records);
        let stamps = records.map(|record| record.timestamp_ms);
        stamps.max().expect("a directory with records")
    }
}

/// A piece of a file.
enum Piece<'a> {
    Bytes(&'a [u8]),
    Fill { byte: u8, bytes: usize },
}

/// A file of an archive.
pub struct Packed<'a> {
    pub name: &'a str,
    pub bytes: u64,
    pieces: Vec<Piece<'a>>,
}

impl<'a> Packed<'a> {
    /// A file as long as it was; what was zero is left to the file system.
    fn write(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        let file = File::create_new(path).expect("a file of its own");
        file.set_len(self.bytes).expect("room for the file");
        let mut at = 0;
        for piece in &self.pieces {
            let (filled, bytes);
            (bytes, at) = match piece {
                Piece::Bytes(bytes) => (*bytes, at + bytes.len() as u64),
                Piece::Fill { byte: 0, bytes } => (&[][..], at + *bytes as u64),
                Piece::Fill { byte, bytes } => {
                    filled = vec![*byte; *bytes];
                    (&filled[..], at + *bytes as u64)
                }
            };
            let from = at - bytes.len() as u64;
            file.write_all_at(bytes, from).expect("room for the file");
        }
        assert_eq!(at, self.bytes, "the pieces make up the file");
    }

    /// Whether there is nothing but zeroes in it.
    pub fn is_blank(&self) -> bool {
        let is_zero = |piece: &Piece<'_>| matches!(piece, Piece::Fill { byte: 0, .. });
        self.pieces.iter().all(is_zero)
    }

    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let name_size = u16::from_le_bytes(array(rest)?);
        let name = std::str::from_utf8(slice(rest, usize::from(name_size))?).ok()?;
        let bytes = u64::from_le_bytes(array(rest)?);
        let pieces = (0..u32::from_le_bytes(array(rest)?))
            .map(|_| Piece::take(rest))
            .collect::<Option<_>>()?;
        Some(Self {
            name,
            bytes,
            pieces,
        })
    }
}

impl<'a> Piece<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let bytes = u32::from_le_bytes(array(rest)?) as usize;
        match array(rest)? {
            [0] => {
                let [byte] = array(rest)?;
                Some(Self::Fill { byte, bytes })
            }
            [1] => Some(Self::Bytes(slice(rest, bytes)?)),
            _ => None,
        }
    }
}

fn slice<'a>(rest: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(bytes)?;
    *rest = after;
    Some(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    slice(rest, N)?.try_into().ok()
}

/// An archive with its manifest.
pub struct Fixture {
    pub archive: Vec<u8>,
    pub manifest: Manifest,
}

impl Fixture {
    /// The directory that `version` left, and the test calls `name`.
    pub fn load(version: &str, name: &str) -> Self {
        let path = |ending: &str| -> PathBuf {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            folder.join(version).join(format!("{name}.{ending}"))
        };
        let manifest = std::fs::read_to_string(path("manifest")).expect("a manifest");
        Self {
            archive: std::fs::read(path("archive")).expect("an archive"),
            manifest: Manifest::parse(&manifest).expect("a manifest of the form that make tells"),
        }
    }

    /// The files of the archive.
    ///
    /// # Errors
    /// When it is not the one that the manifest tells of.
    pub fn files(&self) -> Result<Vec<Packed<'_>>, &'static str> {
        let wanted = (self.manifest.archive_bytes, self.manifest.archive_crc);
        if (self.archive.len(), crc32c(&self.archive)) != wanted {
            return Err("the archive is damaged");
        }
        let mut rest = self
            .archive
            .strip_prefix(b"OYEZARC1")
            .ok_or("not an archive")?;
        let mut files = Vec::new();
        while !rest.is_empty() {
            files.push(Packed::take(&mut rest).ok_or("an archive of another form")?);
        }
        Ok(files)
    }

    /// Makes the directory again, with the files that are wanted.
    pub fn unpack(&self, to: &Path, wanted: impl Fn(&str) -> bool) {
        for file in self.files().expect("a sound archive") {
            if wanted(file.name) {
                file.write(&to.join(file.name));
            }
        }
    }
}

/// Says that a log of format 1 was last open in another run of the machine.
pub fn set_boot_id(log: &Path, boot_id: u128) {
    let path = log.join("state");
    let mut state = std::fs::read(&path).expect("a state file");
    assert_eq!(state[..12], *b"OYEZLOG1\x01\0\0\0");
    state[32..48].copy_from_slice(&boot_id.to_le_bytes());
    let crc = crc32c_append(crc32c(&state[..12]), &[0; 4]);
    let crc = crc32c_append(crc, &state[16..]);
    state[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(path, state).expect("it is ours");
}

/// This run of the machine.
pub fn boot_id() -> u128 {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the kernel says");
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).expect("a UUID")
}
