//! Two questions about the host that no file of `/proc` answers.

use std::io;
use std::path::Path;

use crate::check;

/// `SYSLOG_ACTION_READ_ALL`: the last messages, without taking them away.
const READ_ALL: i32 = 3;
/// `SYSLOG_ACTION_SIZE_BUFFER`: the size of the kernel's log.
const BUFFER_SIZE: i32 = 10;

/// The text of the kernel's log.
///
/// # Errors
/// When this user may not read it.
pub fn kernel_log() -> io::Result<String> {
    // SAFETY: this action takes no buffer.
    let size = check(unsafe { libc::klogctl(BUFFER_SIZE, std::ptr::null_mut(), 0) })?;
    let mut text = vec![0u8; usize::try_from(size).unwrap_or(0)];
    // SAFETY: `text` has `size` writable bytes, and the kernel says how many it has filled.
    let filled = check(unsafe { libc::klogctl(READ_ALL, text.as_mut_ptr().cast(), size) })?;
    text.truncate(usize::try_from(filled).unwrap_or(0));
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Bytes that this user may still write to the file system of `path`.
///
/// # Errors
/// When there is no such path, or its file system does not report its space.
pub fn available_bytes(path: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}
