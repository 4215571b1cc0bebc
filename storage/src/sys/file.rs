//! Blocking file operations: everything that creates, replaces or removes files, each followed by a sync of the directory.

use std::ffi::CString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::is_refused;
use super::map::Map;
use crate::disk::Entry;
use crate::names::{ASIDE_MAX, aside};
use crate::scan::used_bytes;

/// Bytes of zeroes that are handed to the disk at once: enough to keep it busy, few enough that other writes do not wait long
/// behind them. If all of a segment were handed over at once, a log's small writes would wait behind it in the disk's queue.
/// *7-42 ms each while 64 MiB were being written, against 0.4-1.6 ms this way.*
const ZEROES: u64 = 1 << 20;
/// Bytes of one write into the page cache. The kernel keeps in one piece what is written at once, takes memory for a
/// piece and gives it back without a pause, and the other threads of the core wait, whatever their priority. *200 MB/s into
/// segments of 64 MiB that come and go: with writes of 1 MiB a thread at `SCHED_FIFO` that sleeps 1 ms woke up to 33 ms
/// late, 88 times over 5 ms in 40 s, in `copy_folio_from_iter_atomic` and, where a segment was removed, in
/// `block_invalidate_folio`; with writes of 64 KiB up to 5 ms and twice. Of a log's own 100 MB/s with 32 KiB a copy into
/// memory that a hypervisor had yet to find took 5.7 ms once.*
const WRITE: usize = 8 << 10;

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn parent(path: &Path) -> &Path {
    // A bare name's parent is empty, which no system call takes for the current directory.
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes sure that an existing directory is still there after a power cut: it may have been created without a sync.
pub(crate) fn sync_name(dir: &Path) -> io::Result<()> {
    let file = File::open(dir)?;
    let above = parent(dir);
    if fs::metadata(above)?.dev() != file.metadata()?.dev() {
        // A mount point: its name belongs to another file system.
        return Ok(());
    }
    match sync_dir(above) {
        // The directory above must not be read: the whole file system is synced instead.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => sync_all_of(&file),
        synced => synced,
    }
}

fn sync_all_of(file: &File) -> io::Result<()> {
    // SAFETY: a call on an open descriptor that touches no memory of ours.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Creates a directory with mode 0700 unless it is there.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync_dir(parent(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        entries.push(Entry {
            is_file: metadata.is_file() && name.to_str().is_some(),
            name: name.to_string_lossy().into_owned(),
            bytes: metadata.len(),
        });
    }
    Ok(entries)
}

/// Reads until `out` is full or the file ends.
pub(crate) fn read(path: &Path, at: u64, out: &mut [u8]) -> io::Result<usize> {
    let file = File::open(path)?;
    let mut done = 0;
    while done < out.len() {
        match file.read_at(&mut out[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Renames a file; the new name must not be taken.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rename_with(from, to, libc::RENAME_NOREPLACE) {
        // Creating a hard link never replaces a file either.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        renamed => renamed?,
    }
    sync_dir(parent(to))
}

/// Exchanges the names of two files.
pub(crate) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    rename_with(a, b, libc::RENAME_EXCHANGE)?;
    sync_dir(parent(a))
}

fn rename_with(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: two paths that end with a zero byte and live during the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            flags,
        )
    };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // The first is the answer of a file system that knows no such flag.
            error if error.raw_os_error() == Some(libc::EINVAL) || is_refused(&error) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            error => Err(error),
        },
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidFilename.into())
}

/// Opens a file for reading and writing and maps it.
pub(crate) fn open(path: &Path) -> io::Result<(File, Arc<Map>)> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let map = Map::file(&file, file.metadata()?.len())?;
    Ok((file, Arc::new(map)))
}

pub(crate) fn map(path: &Path) -> io::Result<Arc<Map>> {
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    Ok(Arc::new(Map::file(&file, len)?))
}

/// Makes a file of `size` zero bytes, durable before it gets its name.
///
/// Appending and syncing into such a file is some thirty times faster than into one that grows or whose blocks are
/// only reserved, because the sync has no metadata to write.
///
/// If a file has the name already, it is used if it is just that, as one that was made and never used. Any other file is
/// set aside, and this attempt fails; the next one finds the name free.
pub(crate) fn prepare(path: &Path, size: u64) -> io::Result<(File, Arc<Map>)> {
    if let Some(file) = adopt(path, size)? {
        let map = Map::file(&file, size)?;
        return Ok((file, Arc::new(map)));
    }
    let unfinished = with_suffix(path, ".new");
    let prepared = zeroed(&unfinished, size).and_then(|file| {
        fs::rename(&unfinished, path)?;
        sync_dir(parent(path))?;
        Ok(file)
    });
    match prepared {
        Ok(file) => {
            let map = Map::file(&file, size)?;
            Ok((file, Arc::new(map)))
        }
        Err(error) => {
            // Frees the space of this attempt. If this fails too, opening the log removes the file.
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// Opens the file if it holds `size` zeroes. Sets another file of this name aside.
fn adopt(path: &Path, size: u64) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() == size && is_zero(&file, size)? {
        file.sync_all()?;
        return Ok(Some(file));
    }
    for number in 1..=ASIDE_MAX {
        let aside = aside(path, number);
        match rename(path, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
            Ok(()) => return Err(occupied(path, &aside)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// The error about a file that stood in the place of a new segment.
pub(crate) fn occupied(path: &Path, aside: &Path) -> io::Error {
    io::Error::other(format!(
        "{} was in the place of a new segment and was not empty; it is now named {}",
        path.display(),
        aside.display()
    ))
}

fn is_zero(file: &File, size: u64) -> io::Result<bool> {
    let mut bytes = vec![0; ZEROES as usize];
    let mut at = 0;
    while at < size {
        let read = file.read_at(&mut bytes, at)?;
        if read == 0 || used_bytes(&bytes[..read]) > 0 {
            return Ok(false);
        }
        at += read as u64;
    }
    Ok(true)
}

fn zeroed(path: &Path, size: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    allocate(&file, size)?;
    let mut at = 0;
    while at < size {
        let len = (size - at).min(ZEROES);
        zero(&file, at, len)?;
        write_out(&file, at, len)?;
        at += len;
    }
    file.sync_all()?;
    Ok(file)
}

/// Writes zeroes into the page cache.
fn zero(file: &File, at: u64, len: u64) -> io::Result<()> {
    let zeroes = [0; WRITE];
    (0..len).step_by(WRITE).try_for_each(|done| {
        let part = usize::try_from(len - done).map_or(WRITE, |left| left.min(WRITE));
        file.write_all_at(&zeroes[..part], at + done)
    })
}

/// Reserves the space in few extents, and fails at once if there is too little.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: a call on an open descriptor that touches no memory of ours.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Not every file system supports it, and a sandbox may forbid it; then the writes of zeroes allocate the space.
            error if is_refused(&error) => Ok(()),
            error => Err(error),
        },
    }
}

/// Waits until a range has left the page cache for the disk, whose own cache it may still be in.
fn write_out(file: &File, at: u64, len: u64) -> io::Result<()> {
    let place = |bytes| libc::off64_t::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge);
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: a call on an open descriptor that touches no memory of ours.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), place(at)?, place(len)?, all) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // A sandbox may forbid the call; then the sync at the end writes everything out.
            error if is_refused(&error) => Ok(()),
            error => Err(error),
        },
    }
}

/// Replaces a file. After a crash it is the old one or the new one.
pub(crate) fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = with_suffix(path, ".new");
    let replaced = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        content
            .chunks(WRITE)
            .try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_dir(parent(path))
    })();
    if replaced.is_err() {
        // As in `prepare`.
        let _ = fs::remove_file(&unfinished);
    }
    replaced
}

/// Overwrites a file of the same length in place. A missing file, or one of another length, is replaced.
pub(crate) fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) if file.metadata()?.len() == content.len() as u64 => file,
        Ok(_) => return put(path, content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return put(path, content);
        }
        Err(error) => return Err(error),
    };
    file.write_all_at(content, 0)?;
    file.sync_data()
}

/// Removes files and syncs their directories. Missing files are no error.
pub(crate) fn unlink(paths: &[PathBuf]) -> io::Result<()> {
    for path in paths {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let mut dirs: Vec<&Path> = paths.iter().map(|path| parent(path)).collect();
    dirs.dedup();
    dirs.into_iter().try_for_each(sync_dir)
}

/// Bytes that an unprivileged process may still write below `path`; `u64::MAX` if the kernel does not say.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = c_path(path)?;
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends with a zero byte, and the call fills `stat` when it returns 0.
    let stat = unsafe {
        if libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            let error = io::Error::last_os_error();
            return if is_refused(&error) {
                Ok(u64::MAX)
            } else {
                Err(error)
            };
        }
        stat.assume_init()
    };
    Ok(stat.f_bavail * stat.f_frsize)
}

/// A number that tells a file from its copies. It is made of the inode number and, as these are used again, of the time of
/// birth if the file system has one. Renaming changes neither.
pub(crate) fn fingerprint(path: &Path) -> io::Result<u64> {
    let metadata = fs::metadata(path)?;
    let made = metadata.created().ok();
    let made = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    let made_ns = made.map_or(0, |made| made.as_nanos() as u64);
    Ok((metadata.ino().rotate_left(32) ^ made_ns).max(1))
}

/// An id of this run of the machine, which changes at each boot.
pub(crate) fn boot_id() -> io::Result<u128> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
}
