//! What the kernel says of a process.

use std::path::Path;
use std::process::{Command, ExitStatus, Output};

/// A field of `/proc/PID/status` in bytes, such as `RssAnon`.
///
/// # Panics
/// When the process is gone or has no such field.
#[must_use]
pub fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .unwrap_or_else(|error| panic!("process {pid}: {error}"));
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
        .unwrap_or_else(|| panic!("no {field} in the status of {pid}"));
    let kib: u64 = value
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .expect("the kernel gives a number of kB");
    kib * 1024
}

/// Whether a program can be found.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).any(|directory| is_file(&directory.join(program)))
    })
}

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, or fails; with what it said.
pub fn succeed(command: &mut Command) -> Output {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs a command to its end, however that is.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Output {
    command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
}

/// The exit code, or -1 of a process that a signal ended.
#[must_use]
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}
