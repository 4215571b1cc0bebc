//! Watches whether the store is still where it was opened. Files that are removed go on taking records for as long as they are
//! open, and are gone with the process, acknowledged records included. So a thread checks the directories, and the broker stops
//! when one is gone or replaced.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use oyez_storage::{DataDir, Durability};

use crate::ends::ShardEnd;
use crate::error::ShardError;

/// How often the thread looks.
const LOOK: Duration = Duration::from_secs(1);

/// A directory, and its device and inode at the start.
struct Seen {
    path: PathBuf,
    id: (u64, u64),
}

/// The watch ends at its next look when this is dropped; the drop does not wait for it, as the disk may not answer.
pub(crate) struct DirectoryWatch {
    _over: Sender<()>,
}

impl DirectoryWatch {
    /// Begins to watch a data directory whose logs are open.
    ///
    /// # Errors
    /// When a directory is gone already, or the thread cannot be started.
    pub(crate) fn begin(dir: &DataDir, ends: Sender<ShardEnd>) -> io::Result<Self> {
        let on_disk = dir
            .logs()
            .filter(|log| log.durability != Durability::Memory);
        let paths = on_disk.map(|log| {
            dir.path()
                .join(format!("{}-{}", log.durability, log.ordinal))
        });
        let seen = paths
            .chain([dir.path().to_owned()])
            .map(|path| {
                Ok(Seen {
                    id: id(&path)?,
                    path,
                })
            })
            .collect::<io::Result<Vec<_>>>()?;
        let (over_in, over) = channel();
        let thread = std::thread::Builder::new().name("watch".to_owned());
        thread.spawn(move || watch(&seen, &over, &ends))?;
        Ok(Self { _over: over_in })
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let meta = path.metadata()?;
    Ok((meta.dev(), meta.ino()))
}

fn watch(seen: &[Seen], over: &Receiver<()>, ends: &Sender<ShardEnd>) {
    while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if let Some(gone) = seen.iter().find(|seen| is_gone(seen)) {
            let path = gone.path.clone();
            // The receiver is gone when the broker ends at the same time.
            let _ = ends.send(ShardEnd::Failed(ShardError::Vanished { path }));
            return;
        }
    }
}

/// Whether the directory is gone or replaced. Other errors, such as those of a broken disk, are left to the store.
fn is_gone(seen: &Seen) -> bool {
    match id(&seen.path) {
        Ok(id) => id != seen.id,
        Err(error) => matches!(
            error.kind(),
            io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::StaleNetworkFileHandle
        ),
    }
}
