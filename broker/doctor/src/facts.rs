//! The facts about a host that the checks ask for. Only [`HostFacts`] reads the real host.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use oyez_sys::{cpu, fdtable, host};

/// How deep below the data directory files count for its size.
const DATA_DEPTH_MAX: usize = 4;

/// Questions about a host.
pub(crate) trait Facts {
    /// The text of a file of `/proc` or `/sys`.
    fn read(&self, path: &str) -> Option<String>;

    /// Whether this user may write to a device.
    fn access(&self, device: &str) -> Access;

    /// The names in a directory, sorted; none when it does not exist.
    fn list(&self, path: &str) -> Vec<String>;

    /// Cores that this process may run on.
    fn cores(&self) -> usize;

    /// Whether io_uring can be used.
    ///
    /// # Errors
    /// Why it cannot.
    fn uring(&self) -> Result<(), String>;

    /// Whether threads can have descriptor tables of their own.
    ///
    /// # Errors
    /// Why they cannot.
    fn private_tables(&self) -> Result<(), String>;

    /// The kernel's log.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn kernel_log(&self) -> Result<String, String>;

    /// The routes of the main table as `ip route show` prints them.
    fn routes(&self) -> Option<String>;

    /// The absolute path of `path`, or of the nearest directory above it that exists.
    fn existing(&self, path: &Path) -> Option<PathBuf>;

    /// The room on the file system of `path`.
    fn space(&self, path: &Path) -> Option<Space>;
}

/// The outcome of opening a device for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It can be written.
    Granted,
    /// There is no device of that name.
    Missing,
    /// It cannot be opened, for this reason of the system.
    Refused(String),
}

/// Room for the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// Free for this user, in bytes.
    pub(crate) available: u64,
    /// What the data directory holds already, in bytes.
    pub(crate) held: u64,
}

/// The host that this program runs on.
#[derive(Debug, Default)]
pub(crate) struct HostFacts;

impl Facts for HostFacts {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn access(&self, device: &str) -> Access {
        match OpenOptions::new().write(true).open(device) {
            Ok(_) => Access::Granted,
            Err(error) if error.kind() == ErrorKind::NotFound => Access::Missing,
            Err(error) => Access::Refused(error.to_string()),
        }
    }

    fn list(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    fn cores(&self) -> usize {
        cpu::allowed().len()
    }

    fn uring(&self) -> Result<(), String> {
        oyez_storage::probe_uring()
    }

    fn private_tables(&self) -> Result<(), String> {
        fdtable::probe().map_err(|error| error.to_string())
    }

    fn kernel_log(&self) -> Result<String, String> {
        host::kernel_log().map_err(|error| error.to_string())
    }

    fn routes(&self) -> Option<String> {
        let output = Command::new("ip").args(["route", "show"]).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn existing(&self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        path.ancestors()
            .find_map(|above| std::fs::canonicalize(above).ok())
    }

    fn space(&self, path: &Path) -> Option<Space> {
        let existing = self.existing(path)?;
        Some(Space {
            available: host::available_bytes(&existing).ok()?,
            held: bytes_below(path, DATA_DEPTH_MAX),
        })
    }
}

fn bytes_below(path: &Path, depth: usize) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
            Ok(metadata) if metadata.is_file() => metadata.len(),
            _ => 0,
        })
        .sum()
}
