//! Two questions about the host that no file of `/proc` answers.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::check;

/// `SYSLOG_ACTION_READ_ALL`: the last messages, without taking them away.
const READ_ALL: i32 = 3;
/// `SYSLOG_ACTION_SIZE_BUFFER`: the size of the kernel's log.
const BUFFER_SIZE: i32 = 10;

/// What the kernel's log holds.
pub(crate) fn kernel_log() -> io::Result<String> {
    // SAFETY: this action takes no buffer.
    let size = check(unsafe { libc::klogctl(BUFFER_SIZE, std::ptr::null_mut(), 0) })?;
    let mut text = vec![0u8; usize::try_from(size).unwrap_or(0)];
    // SAFETY: `text` has `size` writable bytes, and the kernel says how many it has filled.
    let filled = check(unsafe { libc::klogctl(READ_ALL, text.as_mut_ptr().cast(), size) })?;
    text.truncate(usize::try_from(filled).unwrap_or(0));
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Bytes that this user may still write to the file system of `path`.
pub(crate) fn available_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: statvfs is plain integers, for which zero is a value.
    let mut room: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero byte and `room` is a valid statvfs to write to.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut room) })?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}
