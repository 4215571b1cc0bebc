//! The data directory: its lock, its identity, its logs, and the log that a topic belongs to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oyez_protocol::LogId;
use oyez_protocol::planted::{Bug, planted};

use crate::error::DirError;
use crate::format::{FORMAT_VERSION, FileFault, intact_version, seal_file, u16_at, u64_at};
use crate::options::{DirOptions, Durability, LogSpec};
use crate::siphash::siphash13;
use crate::sys::file;

/// Most logs for each durability.
const LOGS_PER_DURABILITY_MAX: u16 = 1024;

const META: &str = "meta";
/// Its second copy. Without either of them it is not known which topic lies in which log.
const META_COPY: &str = "meta.copy";
const LOCK: &str = "LOCK";
const META_MAGIC: [u8; 8] = *b"OYEZDIR1";
const META_SIZE: usize = 48;

/// An opened data directory. Holds no descriptor, so every thread may have a copy.
#[derive(Clone, Debug)]
pub struct DataDir {
    path: PathBuf,
    meta: Meta,
    entropy: [u64; 2],
    restored: bool,
    fingerprint: u64,
    rewritten: Vec<Rewritten>,
}

/// A copy of the directory's identity that was damaged or missing.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// The copy.
    pub path: PathBuf,
    /// Whether it could be written again from the other one.
    pub result: Result<(), io::ErrorKind>,
}

/// The lock on a data directory, released when dropped. It owns a descriptor, so it stays in the thread that opened
/// the directory: another thread may have another descriptor table.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    _not_send: PhantomData<*const ()>,
}

impl DirLock {
    /// Its descriptor. The lock lasts until this and all copies of it are closed. A thread with a descriptor table of its
    /// own has such a copy, and so holds the directory until it has closed the copy or has ended.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Meta {
    version: u32,
    dir_id: u64,
    key: [u64; 2],
    logs_per_durability: u16,
}

impl DataDir {
    /// Opens a data directory, or makes one of an empty or missing directory.
    ///
    /// # Errors
    /// When the path is no data directory, is in use, was written by another version, or cannot be written.
    pub fn open(path: impl AsRef<Path>, options: &DirOptions) -> Result<(Self, DirLock), DirError> {
        let path = path.as_ref();
        file::make_dir(path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => DirError::NotADirectory {
                path: path.to_owned(),
            },
            io::ErrorKind::NotFound => DirError::NoParent {
                path: path.to_owned(),
            },
            _ => DirError::from_io(path, error),
        })?;
        refuse_foreign(path)?;
        let lock = lock(path)?;
        // The directory and the logs in it may have been created without a sync of their names.
        file::sync_name(path)
            .and_then(|()| file::sync_dir(path))
            .map_err(|error| DirError::from_io(path, error))?;
        let (meta, rewritten) = match identity(path)? {
            Some(known) => known,
            None => (create(path, options)?, Vec::new()),
        };
        let dir = Self {
            path: path.to_owned(),
            meta,
            entropy: random(&options.entropy),
            restored: options.restored,
            fingerprint: file::fingerprint(path).map_err(|error| DirError::from_io(path, error))?,
            rewritten,
        };
        Ok((dir, lock))
    }

    /// A new directory that exists nowhere; its logs are to lie on memory disks.
    ///
    /// # Errors
    /// When the number of logs is not usable.
    pub fn imagined(options: &DirOptions) -> Result<Self, DirError> {
        Ok(Self {
            path: "imagined".into(),
            meta: Meta::new(options)?,
            entropy: random(&options.entropy),
            restored: options.restored,
            fingerprint: 1,
            rewritten: Vec::new(),
        })
    }

    /// The same directory as another start would open it, with this entropy.
    #[must_use]
    pub fn opened_again(&self, entropy: &[u8; 16]) -> Self {
        Self {
            entropy: random(entropy),
            ..self.clone()
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Copies of the directory's identity that were damaged or missing, and are written again from the other one.
    #[must_use]
    pub fn rewritten(&self) -> &[Rewritten] {
        &self.rewritten
    }

    /// Logs of each durability.
    #[must_use]
    pub fn logs_per_durability(&self) -> u16 {
        self.meta.logs_per_durability
    }

    /// The log that holds a topic.
    #[must_use]
    pub fn log_of(&self, topic: &str, durability: Durability) -> LogId {
        let logs = self.meta.logs_per_durability;
        let key = match planted(Bug::MovesTopics) {
            true => self.entropy,
            false => self.meta.key,
        };
        let ordinal = siphash13(key, topic.as_bytes()) % u64::from(logs);
        let ordinal = u16::try_from(ordinal).expect("the remainder of a 16-bit number");
        LogId::new(durability as u16 * logs + ordinal)
    }

    /// All logs, in the order of their numbers.
    pub fn logs(&self) -> impl Iterator<Item = LogSpec> + use<> {
        let logs = self.meta.logs_per_durability;
        (0..3 * logs).map(move |id| LogSpec {
            id: LogId::new(id),
            durability: match id / logs {
                0 => Durability::Memory,
                1 => Durability::Written,
                _ => Durability::Synced,
            },
            ordinal: id % logs,
        })
    }

    pub(crate) fn spec(&self, log: LogId) -> Option<LogSpec> {
        self.logs().nth(usize::from(log.get()))
    }

    pub(crate) fn log_path(&self, spec: &LogSpec) -> PathBuf {
        self.path
            .join(format!("{}-{}", spec.durability, spec.ordinal))
    }

    pub(crate) fn dir_id(&self) -> u64 {
        self.meta.dir_id
    }

    pub(crate) fn key(&self) -> [u64; 2] {
        self.meta.key
    }

    /// Whether every log gets a new epoch, because the directory was put back from a copy.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored
    }

    /// A number that tells the directory from a copy of it.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// An epoch that differs from all others of this log. It is never 0, which means "not known" on the wire.
    pub(crate) fn fresh_epoch(&self, log: LogId, now_ms: u64) -> u64 {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&now_ms.to_le_bytes());
        bytes[8..].copy_from_slice(&log.get().to_le_bytes());
        siphash13(self.entropy, &bytes).max(1)
    }
}

fn lock(path: &Path) -> Result<DirLock, DirError> {
    let name = path.join(LOCK);
    let failed = |error| DirError::from_io(&name, error);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&name)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // The number is only for the message; the holder may not have written it yet.
            let _ = file.read_to_string(&mut pid);
            let pid = match pid.trim() {
                "" => "unknown",
                pid => pid,
            };
            return Err(DirError::Locked {
                path: path.to_owned(),
                pid: pid.to_owned(),
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    write_pid(&mut file).map_err(failed)?;
    Ok(DirLock {
        file,
        _not_send: PhantomData,
    })
}

/// Writes the process id, for the error message of a second broker.
fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Refuses a directory with foreign files, before anything is put into it.
fn refuse_foreign(path: &Path) -> Result<(), DirError> {
    let entries = file::list(path).map_err(|error| DirError::from_io(path, error))?;
    // These are left by an interrupted creation, or by the file system itself.
    let ours = [
        LOCK,
        META,
        META_COPY,
        "meta.new",
        "meta.copy.new",
        "lost+found",
    ];
    let is_ours = |name: &str| ours.contains(&name);
    let known = |name: &str| name == META || name == META_COPY;
    let known = entries.iter().any(|entry| known(&entry.name));
    if known || entries.iter().all(|entry| is_ours(&entry.name)) {
        return Ok(());
    }
    Err(DirError::Foreign {
        path: path.to_owned(),
    })
}

fn create(path: &Path, options: &DirOptions) -> Result<Meta, DirError> {
    let meta = Meta::new(options)?;
    for name in [META, META_COPY] {
        let name = path.join(name);
        file::put(&name, &meta.encode()).map_err(|error| DirError::from_io(name, error))?;
    }
    Ok(meta)
}

/// The random numbers of this start.
fn random(entropy: &[u8; 16]) -> [u64; 2] {
    [u64_at(entropy, 0), u64_at(entropy, 8)]
}

/// The directory's identity as one of its copies has it, and the copies that had to be written again; `None` when there
/// is no copy yet.
fn identity(path: &Path) -> Result<Option<(Meta, Vec<Rewritten>)>, DirError> {
    let mut copies = Vec::new();
    for name in [META, META_COPY] {
        let name = path.join(name);
        let found = match fs::read(&name) {
            Ok(bytes) => Some(Meta::decode(&bytes, &name)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => Some(Err(DirError::from_io(&name, source))),
        };
        copies.push((name, found));
    }
    let newer = |(_, copy): &(PathBuf, Option<Result<Meta, DirError>>)| {
        matches!(copy, Some(Err(DirError::Version { .. })))
    };
    let whole = copies.iter().find_map(|(_, copy)| match copy {
        Some(Ok(meta)) => Some(*meta),
        _ => None,
    });
    let Some(meta) = whole.filter(|_| !copies.iter().any(newer)) else {
        // A whole copy of another version explains more than a damaged one.
        copies.sort_by_key(|copy| !newer(copy));
        let mut errors = copies.into_iter().filter_map(|(_, copy)| copy?.err());
        return errors.next().map_or(Ok(None), Err);
    };
    let mut rewritten = Vec::new();
    for (path, copy) in copies {
        let missing = copy.is_none();
        if missing || matches!(copy, Some(Err(_))) {
            // One copy is enough for this start; the next start tries again.
            let result = file::put(&path, &meta.encode()).map(drop);
            // A directory of version 1 has no second copy yet.
            if !missing || meta.version > 1 || result.is_err() {
                let result = result.map_err(|error| error.kind());
                rewritten.push(Rewritten { path, result });
            }
        }
    }
    Ok(Some((meta, rewritten)))
}

impl Meta {
    /// The identity of a new directory.
    fn new(options: &DirOptions) -> Result<Self, DirError> {
        let logs = options.logs_per_durability;
        if logs == 0 || logs > LOGS_PER_DURABILITY_MAX {
            return Err(DirError::Logs {
                logs,
                max: LOGS_PER_DURABILITY_MAX,
            });
        }
        let key = random(&options.entropy);
        Ok(Self {
            version: FORMAT_VERSION,
            dir_id: siphash13(key, b"data directory"),
            key: [
                siphash13(key, b"topic hash"),
                siphash13(key, b"topic hash 2"),
            ],
            logs_per_durability: logs,
        })
    }

    fn encode(&self) -> [u8; META_SIZE] {
        let mut out = [0; META_SIZE];
        out[..8].copy_from_slice(&META_MAGIC);
        out[8..12].copy_from_slice(&self.version.to_le_bytes());
        out[16..24].copy_from_slice(&self.dir_id.to_le_bytes());
        out[24..32].copy_from_slice(&self.key[0].to_le_bytes());
        out[32..40].copy_from_slice(&self.key[1].to_le_bytes());
        out[40..42].copy_from_slice(&self.logs_per_durability.to_le_bytes());
        seal_file(&mut out);
        out
    }

    fn decode(bytes: &[u8], path: &Path) -> Result<Self, DirError> {
        let damaged = || DirError::Damaged {
            path: path.to_owned(),
        };
        let version = match intact_version(bytes, META_MAGIC) {
            Ok(version @ (1 | FORMAT_VERSION)) if bytes.len() == META_SIZE => version,
            Ok(1 | FORMAT_VERSION) | Err(FileFault::Damaged) => return Err(damaged()),
            Ok(found) | Err(FileFault::Version(found)) => {
                return Err(DirError::Version {
                    path: path.to_owned(),
                    found,
                    expected: FORMAT_VERSION,
                });
            }
        };
        let logs_per_durability = u16_at(bytes, 40);
        if logs_per_durability == 0 || logs_per_durability > LOGS_PER_DURABILITY_MAX {
            return Err(damaged());
        }
        Ok(Self {
            version,
            dir_id: u64_at(bytes, 16),
            key: [u64_at(bytes, 24), u64_at(bytes, 32)],
            logs_per_durability,
        })
    }
}
