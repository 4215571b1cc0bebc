//! What the file system says of a directory.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that a directory takes on its disk, as `du` counts them. Files that come or go meanwhile may be missing.
#[must_use]
pub fn disk_usage(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let inside: u64 = entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk_usage(&entry.path()),
            Ok(found) => found.blocks() * 512,
            Err(_) => 0,
        })
        .sum();
    inside + std::fs::metadata(directory).map_or(0, |own| own.blocks() * 512)
}
